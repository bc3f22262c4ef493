//! The content folder: documents and their passages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{json, markdown};
use crate::domain::{
    content::{Approval, Document, Passage},
    digest::Digest,
    id::{DocumentId, PassageId},
    problem::Problem,
    segment::Segment,
};

/// All documents of a campaign, usable or not, with their passages by id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Library {
    documents: Vec<Document>,
    /// Passage id -> (document, passage) positions.
    passages: HashMap<PassageId, (usize, usize)>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Saved {
    #[serde(rename = "content/1")]
    V1 { documents: Vec<Document> },
}

impl From<Library> for Saved {
    fn from(library: Library) -> Self {
        Self::V1 { documents: library.documents }
    }
}

/// What is cited rests on passages being what they say, so that is checked.
impl TryFrom<Saved> for Library {
    type Error = &'static str;

    fn try_from(Saved::V1 { documents }: Saved) -> Result<Self, &'static str> {
        let passages: usize = documents.iter().map(|document| document.passages.len()).sum();
        let library = Self::new(documents);
        let is_own = |document: &Document, passage: &Passage| {
            let length = passage.end.checked_sub(passage.start);
            let words = length.map(|length| document.text.chars().skip(passage.start).take(length));
            passage.id.document() == document.id.as_str()
                && words.is_some_and(|words| words.eq(passage.text.chars()))
                && passage.version == Digest::of(&passage.text)
        };
        if !library.documents.is_sorted_by(|a, b| a.id < b.id) || library.passages.len() < passages {
            return Err("two documents or passages have the same id");
        }
        if library.documents.iter().any(|document| !document.passages.iter().all(|passage| is_own(document, passage))) {
            return Err("a passage is not what its document says there");
        }
        Ok(library)
    }
}

impl Library {
    /// Sorted by document id, so that the order of files means nothing.
    pub fn new(mut documents: Vec<Document>) -> Self {
        documents.sort_by(|a, b| a.id.cmp(&b.id));
        let passages = documents
            .iter()
            .enumerate()
            .flat_map(|(d, document)| {
                document.passages.iter().enumerate().map(move |(p, passage)| (passage.id.clone(), (d, p)))
            })
            .collect();
        Self { documents, passages }
    }

    /// Reads every `.md`, `.json` and `.jsonl` file under `folder`; other files and hidden ones are left alone.
    /// Every defect of every file is reported.
    pub fn load(folder: &Path) -> Result<Self, Vec<Problem>> {
        let files = files_under(folder).map_err(|(path, error)| {
            vec![
                Problem::new(
                    format!("the content folder cannot be read: {error}"),
                    "name a readable folder under `[content] path` or with `--content DIR`",
                )
                .in_file(path),
            ]
        })?;
        Self::of_files(
            folder,
            files.into_iter().filter(|path| is_document(path)).map(|path| {
                let bytes = bytes_of(&path);
                (path, bytes)
            }),
        )
    }

    /// From the bytes of all files of a folder, wherever it is, or why there are none.
    pub fn of_files(
        folder: &Path,
        files: impl IntoIterator<Item = (PathBuf, Result<Vec<u8>, Problem>)>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut documents: BTreeMap<DocumentId, (PathBuf, Document)> = BTreeMap::new();
        for (path, bytes) in files {
            let read = bytes.map_or_else(|problem| vec![Err(problem)], |bytes| documents_in(&path, &bytes));
            for document in read {
                match document {
                    Err(problem) => problems.push(problem),
                    Ok(document) => {
                        if let Some((first, _)) = documents.get(&document.id) {
                            problems.push(
                                Problem::new(
                                    format!("the document id `{}` is taken by {}", document.id, first.display()),
                                    "give every document its own id",
                                )
                                .in_file(&path)
                                .at_field("id"),
                            );
                            continue;
                        }
                        documents.insert(document.id.clone(), (path.clone(), document));
                    }
                }
            }
        }
        if documents.is_empty() && problems.is_empty() {
            problems.push(
                Problem::new(
                    "there is no document in the content folder",
                    "put approved content there: Markdown with front matter (.md), JSON (.json) or JSON Lines (.jsonl)",
                )
                .in_file(folder),
            );
        }
        if problems.is_empty() {
            Ok(Self::new(documents.into_values().map(|(_, document)| document).collect()))
        } else {
            Err(problems)
        }
    }

    /// What was recalled counts as withdrawn, whatever its file says.
    #[must_use]
    pub fn without(mut self, recalled: &BTreeSet<DocumentId>) -> Self {
        for document in self.documents.iter_mut().filter(|document| recalled.contains(&document.id)) {
            document.approval = Approval::Withdrawn;
        }
        self
    }

    /// In the order of their ids.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    pub fn passage(&self, id: &PassageId) -> Option<(&Document, &Passage)> {
        let (document, passage) = *self.passages.get(id)?;
        let document = &self.documents[document];
        Some((document, &document.passages[passage]))
    }

    /// What may be cited on `date`.
    pub fn usable(&self, date: Date) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(move |document| document.is_usable_on(date))
    }

    /// What is meant for segments that do not exist, in words: a name may be misspelt, or be another campaign's.
    pub fn strangers(&self, date: Date, segments: &[Segment]) -> Vec<String> {
        let is_known = |name: &str| segments.iter().any(|s| s.name.as_str().to_lowercase() == name.to_lowercase());
        let warning = |document: &Document| {
            let eligible = document.offer.as_ref().map(|offer| offer.eligible.as_slice()).unwrap_or_default();
            let named = document.audience.iter().chain(eligible).map(String::as_str);
            let unknown: BTreeSet<&str> = named.filter(|name| !is_known(name)).collect();
            let unknown = unknown.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let is_lost = !segments.iter().any(|segment| document.is_for(Some(&segment.name)));
            let lost = if is_lost { ", so no message can use it" } else { "" };
            (!unknown.is_empty()).then(|| {
                format!("Document `{}` is meant for {unknown}: this campaign has no such segment{lost}.", document.id)
            })
        };
        self.usable(date).filter_map(warning).collect()
    }

    /// Changes when the bytes of any document's file do.
    pub fn digest(&self) -> Digest {
        let lines: String =
            self.documents.iter().map(|document| format!("{} {}\n", document.id, document.digest)).collect();
        Digest::of(lines)
    }
}

/// Everything that keeps a document from being used on `date`; empty exactly where [`Document::is_usable_on`] holds.
pub fn obstacles(document: &Document, date: Date) -> Vec<String> {
    let mut found = Vec::new();
    match (document.approval, document.approved_on) {
        (Approval::Draft, _) => found.push("it is a draft".to_owned()),
        (Approval::Withdrawn, _) => found.push("it was withdrawn".to_owned()),
        (Approval::Approved, None) => found.push("it does not say when it was approved".to_owned()),
        (Approval::Approved, Some(approved)) if approved > date => {
            found.push(format!("its approval is dated {approved}, after {date}"));
        }
        (Approval::Approved, Some(_)) => {}
    }
    if let Some(from) = document.validity.from.filter(|from| date < *from) {
        found.push(format!("it is valid from {from}"));
    }
    if let Some(until) = document.validity.until.filter(|until| *until < date) {
        found.push(format!("it was valid until {until}"));
    }
    if let Some(offer) = &document.offer {
        if date < offer.start {
            found.push(format!("its offer starts on {}", offer.start));
        } else if offer.end < date {
            found.push(format!("its offer ended on {}", offer.end));
        }
    }
    if document.is_endless_offer() {
        found.push("it is an offer that does not state its end: state `offer` or `valid_until`".to_owned());
    }
    found
}

/// All content is kept in memory.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Sorted. Links to folders are not followed, so a folder cannot contain itself.
fn files_under(folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error| (folder.clone(), error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file of that name holds documents.
pub fn is_document(path: &Path) -> bool {
    reader(path).is_some()
}

type Reader = fn(&str, &Path, Digest) -> Vec<Result<Document, Problem>>;

fn reader(path: &Path) -> Option<Reader> {
    match path.extension()?.to_ascii_lowercase().to_str()? {
        "md" => Some(|source, path, digest| vec![markdown::read(source, path, digest)]),
        "json" => Some(json::read),
        "jsonl" => Some(json::read_lines),
        _ => None,
    }
}

/// The documents of one file; none where its name says that it holds none.
pub fn documents_in(path: &Path, bytes: &[u8]) -> Vec<Result<Document, Problem>> {
    let Some(read) = reader(path) else { return Vec::new() };
    match std::str::from_utf8(bytes) {
        Ok(source) => read(source.strip_prefix('\u{feff}').unwrap_or(source), path, Digest::of(bytes)),
        Err(_) => vec![Err(Problem::new("the document is not UTF-8 text", "save it as UTF-8").in_file(path))],
    }
}

/// Why a file beyond [`MAX_FILE_BYTES`] is not read.
pub fn too_large(path: &Path) -> Problem {
    Problem::new("the file is larger than 64 MiB", "split it").in_file(path)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Problem> {
    match fs::metadata(path) {
        // A pipe or a device could be waited for without end.
        Ok(metadata) if !metadata.is_file() => {
            Err(Problem::new("this is not a file", "remove it, or put a file in its place").in_file(path))
        }
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => Err(too_large(path)),
        read => read.and_then(|_| fs::read(path)).map_err(|error| {
            Problem::new(format!("the document cannot be read: {error}"), "make it readable or remove it").in_file(path)
        }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, source) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, source).unwrap();
        }
        folder
    }

    fn approved(body: &str) -> String {
        format!("---\nstatus: approved\napproved_on: 2026-01-01\n---\n{body}\n")
    }

    #[test]
    fn all_formats_in_all_folders_are_read_in_the_order_of_ids() {
        let folder = folder(&[
            ("b.md", &approved("B.")),
            ("deep/er/a.md", &format!("\u{feff}{}", approved("A."))),
            ("c.json", r#"{"document_id": "d", "content": "D."}"#),
            ("c.jsonl", r#"{"document_id": "c", "content": "C."}"#),
            ("picture.png", "\u{1}"),
            (".hidden.md", "---\nbroken"),
        ]);
        let library = Library::load(folder.path()).unwrap();
        let ids: Vec<_> = library.documents().iter().map(|document| document.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert_eq!(library.usable(date(2026, 11, 22)).count(), 2);
        let (document, passage) = library.passage(&PassageId::new("b#p1").unwrap()).unwrap();
        assert_eq!((document.id.as_str(), passage.text.as_str()), ("b", "B."));
    }

    fn reread(library: &Library) -> Library {
        serde_json::from_str(&serde_json::to_string(library).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn content_reads_back_as_it_was_with_its_index(
            bodies in prop::collection::vec("[^\\p{Cc}]{0,40}(\n\n(- )?[^\\p{Cc}]{1,40}){0,3}", 0..4),
            header in prop::sample::select(vec![
                "", "offer: {amount: free, start: 2026-01-01, end: 2026-12-31}\n", "locales: [de-AT]\nchannels: [sms]\n",
            ]),
        ) {
            let read = |(index, body): (usize, &String)| {
                let source = format!("---\nid: d{index}\nstatus: approved\napproved_on: 2026-01-01\n{header}---\n{body}\n");
                markdown::read(&source, Path::new("d.md"), Digest::of(&source)).ok()
            };
            let library = Library::new(bodies.iter().enumerate().filter_map(read).collect());
            let after = reread(&library);
            prop_assert_eq!(&after, &library);
            for passage in library.documents.iter().flat_map(|document| &document.passages) {
                prop_assert_eq!(after.passage(&passage.id), library.passage(&passage.id));
            }
        }
    }

    #[test]
    fn the_sample_s_content_reads_back_and_no_word_of_it_can_be_changed() {
        let library = Library::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/content")).unwrap();
        assert_eq!(reread(&library), library);
        let document = serde_json::to_value(&library).unwrap();
        let first = "/documents/0/passages/0";
        for (path, wrong) in [
            ("/schema".to_owned(), serde_json::json!("content/2")),
            (format!("{first}/text"), "Everything is free.".into()),
            (format!("{first}/version"), serde_json::to_value(Digest::of("another")).unwrap()),
            (format!("{first}/start"), 1.into()),
            (format!("{first}/end"), u64::MAX.into()),
            (format!("{first}/id"), "another#p1".into()),
            ("/documents/0/text".to_owned(), "Everything is free.".into()),
            ("/documents/0".to_owned(), document["documents"][1].clone()),
        ] {
            let mut spoiled = document.clone();
            assert_ne!(*spoiled.pointer(&path).unwrap(), wrong, "{path}");
            *spoiled.pointer_mut(&path).unwrap() = wrong;
            assert!(serde_json::from_value::<Library>(spoiled).is_err(), "{path}");
        }
    }

    #[test]
    fn every_defect_of_a_folder_is_reported_at_once() {
        let folder = folder(&[
            ("1/same.md", &approved("One.")),
            ("2/same.md", &approved("Two.")),
            ("empty.md", ""),
            ("bad name.md", &approved("Three.")),
            ("bad.json", "{"),
        ]);
        fs::write(folder.path().join("latin.md"), b"caf\xe9").unwrap();
        let problems = Library::load(folder.path()).unwrap_err();
        let at: Vec<_> = problems
            .iter()
            .map(|p| p.file.as_ref().unwrap().strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(at, ["2/same.md", "bad name.md", "bad.json", "empty.md", "latin.md"]);
        assert!(problems[0].message.contains("1/same.md"));
    }

    #[test]
    fn what_could_not_be_sent_or_not_be_read_to_its_end_is_refused() {
        let long = approved(&"Words. ".repeat(100_000));
        let folder = folder(&[
            ("escape.md", &approved("It is \u{1b}[31mred.")),
            ("headline.md", "---\nheadlines: [\"a\\eb\"]\n---\nText."),
            ("long.md", &long),
        ]);
        #[cfg(unix)]
        std::os::unix::fs::symlink("/dev/null", folder.path().join("device.md")).unwrap();
        let problems = Library::load(folder.path()).unwrap_err();
        let said: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(
            said[usize::from(cfg!(unix))..],
            [
                "the document has control characters",
                "an entry has control characters",
                "the document has more than 500,000 bytes of text"
            ]
        );
        assert!(cfg!(not(unix)) || said[0] == "this is not a file", "{said:?}");
    }

    #[test]
    fn an_absent_folder_and_one_without_documents_are_refused() {
        let folder = folder(&[("notes.txt", "x")]);
        assert!(Library::load(folder.path()).unwrap_err()[0].message.contains("no document"));
        assert!(Library::load(&folder.path().join("absent")).unwrap_err()[0].message.contains("cannot be read"));
    }

    #[test]
    fn the_digest_depends_on_the_words_and_not_on_where_they_lie() {
        let digest = |files: &[(&str, &str)]| Library::load(folder(files).path()).unwrap().digest();
        let (a, b) = (approved("A."), approved("B."));
        let first = digest(&[("a.md", &a), ("b.md", &b)]);
        assert_eq!(first, digest(&[("x/b.md", &b), ("a.md", &a)]));
        assert_ne!(first, digest(&[("a.md", &b), ("b.md", &a)]));
    }

    #[test]
    fn the_sample_says_why_its_unusable_documents_are_that() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/content");
        let library = Library::load(&folder).unwrap();
        let today = date(2026, 11, 22);
        let unusable: Vec<_> = library
            .documents()
            .iter()
            .map(|document| (document, obstacles(document, today)))
            .filter(|(_, why)| !why.is_empty())
            .map(|(document, why)| format!("{}: {}", document.id, why.join("; ")))
            .collect();
        assert_eq!(
            unusable,
            [
                "cobalt-mug: it was withdrawn",
                "harvest-offer: its offer ended on 2026-10-31",
                "skylark-glaze: it is a draft",
                "wholesale-draft: it is a draft",
            ]
        );
        assert_eq!(library.usable(today).count() + unusable.len(), library.documents().len());
    }
    #[test]
    fn an_offer_without_an_end_is_not_usable() {
        let text =
            |header: &str| format!("---\nstatus: approved\napproved_on: 2026-01-01\n{header}---\nAll is free.\n");
        for (header, usable) in [
            ("category: offer\n", 0),
            ("category: offer\nvalid_until: 2026-12-31\n", 1),
            ("category: offer\noffer: {amount: free, start: 2026-01-01, end: 2026-12-31}\n", 1),
            ("category: product\n", 1),
        ] {
            let folder = folder(&[("a.md", &text(header))]);
            let library = Library::load(folder.path()).unwrap();
            let today = date(2026, 11, 22);
            assert_eq!(library.usable(today).count(), usable, "{header}");
            assert_eq!(obstacles(&library.documents()[0], today).is_empty(), usable == 1, "{header}");
        }
    }
    #[test]
    fn a_document_for_an_unknown_segment_is_told() {
        let text = |header: &str| format!("---\nstatus: approved\napproved_on: 2026-01-01\n{header}---\nText.\n");
        let offer = "offer: {amount: free, start: 2026-01-01, end: 2026-12-31, eligible: [Silver]}\n";
        let folder = folder(&[
            ("a.md", &text("audience: [gold]\n")),
            ("b.md", &text("audience: [Gold, Glod]\n")),
            ("c.md", &text("audience: Glod\n")),
            ("d.md", &text(offer)),
            ("e.md", &text("audience: all\n")),
        ]);
        let library = Library::load(folder.path()).unwrap();
        let name = crate::domain::id::SegmentName::new("Gold").unwrap();
        let segments = [Segment { name, description: String::new(), keywords: Vec::new() }];
        assert_eq!(
            library.strangers(date(2026, 11, 22), &segments),
            [
                "Document `b` is meant for `Glod`: this campaign has no such segment.",
                "Document `c` is meant for `Glod`: this campaign has no such segment, so no message can use it.",
                "Document `d` is meant for `Silver`: this campaign has no such segment, so no message can use it.",
            ]
        );
    }
}
