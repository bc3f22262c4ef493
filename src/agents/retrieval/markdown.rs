//! Markdown: front matter, plain text, and the passages in it.

use std::{ops::Range, path::Path};

use pulldown_cmark::{Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::document::{Metadata, Source};
use crate::{
    config::in_plain_words,
    domain::{content::Document, digest::Digest, problem::Problem},
};

/// One Markdown file is one document.
pub(super) fn read(source: &str, path: &Path, digest: Digest) -> Result<Document, Problem> {
    let page = Page::parse(source);
    let Some(header) = &page.front_matter else {
        // Without its closing line, front matter would be read as text, and what it says would not count.
        if source.starts_with("---") || source.starts_with("+++") {
            return Err(Problem::new(
                "the front matter has no end",
                "close it with a line that repeats its first line, `---` or `+++`",
            )
            .in_file(path)
            .at_line(1));
        }
        return Metadata::default().into_document(Source { path, digest, page: &page });
    };
    let metadata: Metadata = header.read().map_err(|problem| problem.in_file(path))?;
    metadata.into_document(Source { path, digest, page: &page }).map_err(|problem| {
        let line = problem.field.as_deref().and_then(|field| header.line_of(field));
        Problem { line: problem.line.or(line), ..problem }
    })
}

/// What a Markdown source says once its markup is taken away.
#[derive(Debug, Default)]
pub(super) struct Page {
    front_matter: Option<FrontMatter>,
    /// The first heading of level 1.
    pub title: Option<String>,
    /// Blocks (headings, paragraphs, list items, table cells) separated by empty lines.
    pub text: String,
    /// Character ranges of `text`: paragraphs and list items. Headings and tables hold no sentences to cite.
    pub passages: Vec<Range<usize>>,
}

#[derive(Debug)]
struct FrontMatter {
    kind: MetadataBlockKind,
    text: String,
}

/// Where the text of front matter starts in its file, 1-based: after the opening `---` or `+++`.
const FIRST_LINE: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Passage,
    Title,
    Other,
}

impl Page {
    pub fn parse(source: &str) -> Self {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
            | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
        let mut page = Self::default();
        let mut chars = 0;
        let mut open: Option<(Block, String)> = None;
        let mut in_front_matter = false;
        // How deep inside what is not said to the reader: images (their descriptions), struck-out words, code, HTML,
        // a metadata block that is not the first.
        let mut hidden = 0_usize;
        for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
            match event {
                Event::Start(Tag::MetadataBlock(kind)) if range.start == 0 => {
                    page.front_matter = Some(FrontMatter { kind, text: String::new() });
                    in_front_matter = true;
                }
                Event::End(TagEnd::MetadataBlock(_)) if in_front_matter => in_front_matter = false,
                Event::Text(text) if in_front_matter => {
                    if let Some(matter) = &mut page.front_matter {
                        matter.text.push_str(&text);
                    }
                }
                Event::Start(
                    Tag::Image { .. } | Tag::Strikethrough | Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::MetadataBlock(_),
                ) => hidden += 1,
                Event::End(
                    TagEnd::Image
                    | TagEnd::Strikethrough
                    | TagEnd::CodeBlock
                    | TagEnd::HtmlBlock
                    | TagEnd::MetadataBlock(_),
                ) => hidden = hidden.saturating_sub(1),
                _ if hidden > 0 => {}
                Event::Start(tag) => {
                    let Some(block) = block_of(&tag) else { continue };
                    page.close(&mut open, &mut chars);
                    open = Some((block, String::new()));
                }
                Event::End(
                    TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_) | TagEnd::TableCell | TagEnd::TableHead,
                ) => page.close(&mut open, &mut chars),
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, words)) = &mut open {
                        words.push_str(&text);
                    }
                }
                Event::SoftBreak | Event::HardBreak => {
                    if let Some((_, words)) = &mut open {
                        words.push(' ');
                    }
                }
                _ => {}
            }
        }
        page
    }

    fn close(&mut self, open: &mut Option<(Block, String)>, chars: &mut usize) {
        let Some((block, words)) = open.take() else { return };
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
            *chars += 2;
        }
        let start = *chars;
        *chars += words.chars().count();
        self.text.push_str(&words);
        match block {
            Block::Passage => self.passages.push(start..*chars),
            Block::Title if self.title.is_none() => self.title = Some(words),
            Block::Title | Block::Other => {}
        }
    }
}

fn block_of(tag: &Tag<'_>) -> Option<Block> {
    match tag {
        Tag::Paragraph | Tag::Item => Some(Block::Passage),
        Tag::Heading { level: HeadingLevel::H1, .. } => Some(Block::Title),
        Tag::Heading { .. } | Tag::TableCell => Some(Block::Other),
        _ => None,
    }
}

impl FrontMatter {
    fn read(&self) -> Result<Metadata, Problem> {
        let (message, line) = match self.kind {
            MetadataBlockKind::YamlStyle => match serde_norway::from_str(&self.text) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => (error.to_string(), error.location().map(|location| location.line())),
            },
            MetadataBlockKind::PlusesStyle => match toml::from_str(&self.text) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => {
                    let line = error.span().map(|span| self.text[..span.start].matches('\n').count() + 1);
                    (error.message().trim_end().to_owned(), line)
                }
            },
        };
        let message = in_plain_words(&message);
        let field = line.and_then(|line| self.text.lines().nth(line - 1)).and_then(key_of);
        // YAML's messages start with the key themselves, where they know it.
        let message =
            field.and_then(|field| message.strip_prefix(field)?.strip_prefix(": ")).unwrap_or(message.as_str());
        let mut problem = Problem::new(
            message,
            "the front matter knows id, title, category, status, approved_on, valid_from, valid_until, audience, locales, \
             channels, keywords, products, headlines, offer (code, amount, start, end, eligible) and source_url",
        );
        problem.line = line.map(|line| line as u64 + FIRST_LINE - 1);
        problem.field = field.map(str::to_owned);
        Err(problem)
    }

    fn line_of(&self, field: &str) -> Option<u64> {
        let key = field.rsplit('.').next();
        let index = self.text.lines().position(|line| key_of(line) == key)?;
        Some(index as u64 + FIRST_LINE)
    }
}

/// The key on a line of YAML or TOML, for a message.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once([':', '='])?;
    Some(key.trim_start_matches([' ', '-', '{']).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::content::{Approval, Category};

    fn document(source: &str) -> Result<Document, Problem> {
        read(source, Path::new("content/lamp.md"), Digest::of(source))
    }

    const YAML: &str = "---\ntitle: The lamp\ncategory: offer\nstatus: approved\napproved_on: 2026-10-01\n\
        audience: all\nlocales: [en]\noffer:\n  code: GLOW\n  amount: 15%\n  start: 2026-11-01\n  end: 2026-11-30\n---\n";
    const TOML: &str = "+++\ntitle = \"The lamp\"\ncategory = \"offer\"\nstatus = \"approved\"\n\
        approved_on = 2026-10-01\nlocales = [\"en\"]\n[offer]\ncode = \"GLOW\"\namount = \"15%\"\n\
        start = 2026-11-01\nend = \"2026-11-30\"\n+++\n";
    const BODY: &str = "# Lamp\n\nThe lamp is **small**\nand [bright](https://example.com).\n\n![a lamp](x.png)\n\n\
        - ~~It rolls.~~ It folds.\n- It bends.\n  - A nested item.\n\n```\ncode\n```\n\n## More\n\n1. A loose item.\n\n   \
        Its second paragraph costs \u{20ac}5.\n\n| a | b |\n|---|---|\n| c | d |\n";

    #[test]
    fn yaml_and_toml_front_matter_say_the_same() {
        let yaml = document(&format!("{YAML}{BODY}")).unwrap();
        let toml = document(&format!("{TOML}{BODY}")).unwrap();
        assert_eq!(yaml.approval, Approval::Approved);
        assert_eq!(yaml.category, Category::Offer);
        assert_eq!(yaml.offer.as_ref().unwrap().end.to_string(), "2026-11-30");
        assert!(yaml.audience.is_empty());
        assert_eq!(Document { digest: toml.digest, ..yaml }, toml);
    }

    #[test]
    fn passages_are_paragraphs_and_items_without_markup_at_their_place_in_the_text() {
        let document = document(BODY).unwrap();
        let passages: Vec<_> = document.passages.iter().map(|p| (p.id.as_str(), p.text.as_str())).collect();
        assert_eq!(
            passages,
            [
                ("lamp#p1", "The lamp is small and bright."),
                ("lamp#p2", "It folds."),
                ("lamp#p3", "It bends."),
                ("lamp#p4", "A nested item."),
                ("lamp#p5", "A loose item."),
                ("lamp#p6", "Its second paragraph costs \u{20ac}5."),
            ]
        );
        let chars: Vec<char> = document.text.chars().collect();
        for passage in &document.passages {
            assert_eq!(chars[passage.start..passage.end].iter().collect::<String>(), passage.text);
            assert_eq!(passage.version, Digest::of(&passage.text));
        }
        assert_eq!(document.title, "Lamp");
    }

    #[test]
    fn a_document_that_does_not_state_its_approval_is_not_approved() {
        assert_eq!(document(BODY).unwrap().approval, Approval::Draft);
        let unstated = YAML.replace("status: approved\n", "");
        assert_eq!(document(&format!("{unstated}{BODY}")).unwrap().approval, Approval::Draft);
    }

    #[test]
    fn a_defect_of_the_front_matter_names_its_line_and_key() {
        for (from, to, line, field) in [
            ("title: The lamp", "titel: The lamp", 2, "titel"),
            ("2026-10-01", "2026-13-01", 5, "approved_on"),
            ("end: 2026-11-30", "end: 2026-10-30", 12, "offer.end"),
            ("audience: all", "audience: ''", 6, "audience"),
            ("category: offer", "category: offr", 3, "category"),
        ] {
            let problem = document(&format!("{}{BODY}", YAML.replace(from, to))).unwrap_err();
            assert_eq!((problem.line, problem.field.as_deref()), (Some(line), Some(field)), "{problem}");
        }
        let problem = document(&format!("{}{BODY}", TOML.replace("locales", "locale"))).unwrap_err();
        assert_eq!((problem.line, problem.field.as_deref()), (Some(6), Some("locale")), "{problem}");
        assert!(document("---\ntitle: x\n\nText.\n").unwrap_err().message.contains("no end"));
    }

    #[test]
    fn a_document_without_a_passage_is_refused() {
        let problem = document(&format!("{YAML}# Only a heading\n")).unwrap_err();
        assert!(problem.message.contains("no text"), "{problem}");
    }
}
