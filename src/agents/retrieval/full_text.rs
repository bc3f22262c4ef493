//! The embedded index: BM25 over title, keywords and text, in memory.

use async_trait::async_trait;
use jiff::civil::Date;
use tantivy::{
    Index, IndexReader, Score, TantivyDocument, TantivyError, Term,
    collector::TopDocs,
    query::{BooleanQuery, BoostQuery, ConstScoreQuery, Occur, Query as Search, TermQuery, TermSetQuery},
    schema::{FAST, Field, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions},
    tokenizer::TokenStream as _,
};

use super::{Hit, Query, Retriever, library::Library};
use crate::{
    domain::{
        content::Document,
        id::{Locale, PassageId},
    },
    providers::{ErrorKind, Meter, ProviderError},
};

/// Marks a document without a limit of that kind. No name of a segment, locale or channel is a line end.
const ANY: &str = "\n";

/// How much the BM25 score of a title counts, relative to the text's.
const TITLE: Score = 2.0;

/// What a query word among a document's keywords adds. A constant: its author chose them, and BM25 would mark a
/// document down for having keywords where most have none.
const KEYWORD: Score = 3.0;

/// What it adds that a document was written for the segment that asks.
const ADDRESSED: Score = 6.0;

/// The passages that may be cited on one date. What may not is not in the index at all.
pub struct FullText {
    index: Index,
    reader: IndexReader,
    fields: Fields,
    /// By the position that the index keeps of each.
    passages: Vec<PassageId>,
}

struct Fields {
    position: Field,
    audience: Field,
    eligible: Field,
    locale: Field,
    channel: Field,
    /// For any language.
    plain: Words,
    /// With English stems.
    english: Words,
}

/// The searchable words of a passage, analysed in one way.
#[derive(Clone, Copy)]
struct Words {
    analyser: &'static str,
    title: Field,
    keywords: Field,
    text: Field,
}

impl FullText {
    pub fn new(library: &Library, date: Date) -> Result<Self, ProviderError> {
        Self::build(library, date).map_err(failed)
    }

    fn build(library: &Library, date: Date) -> tantivy::Result<Self> {
        let (schema, fields) = schema();
        let index = Index::create_in_ram(schema);
        // With one thread the same library always makes the same index.
        let mut writer = index.writer_with_num_threads(1, 15_000_000)?;
        let mut passages = Vec::new();
        for document in library.usable(date) {
            let shared = fields.document(document);
            for passage in &document.passages {
                let mut entry = shared.clone();
                entry.add_u64(fields.position, passages.len() as u64);
                entry.add_text(fields.plain.text, &passage.text);
                entry.add_text(fields.english.text, &passage.text);
                writer.add_document(entry)?;
                passages.push(passage.id.clone());
            }
        }
        writer.commit()?;
        let reader = index.reader()?;
        Ok(Self { index, reader, fields, passages })
    }

    pub(super) fn ranked(&self, query: &Query) -> Result<Vec<Hit>, ProviderError> {
        self.search(query).map_err(failed)
    }

    fn search(&self, query: &Query) -> tantivy::Result<Vec<Hit>> {
        if self.passages.is_empty() {
            return Ok(Vec::new());
        }
        let searcher = self.reader.searcher();
        let search = self.translate(query)?;
        // All that are eligible are ranked, so that equal scores are ordered by id before the list is cut.
        let ranked = searcher.search(&search, &TopDocs::with_limit(self.passages.len()).order_by_score())?;
        let mut hits = Vec::with_capacity(ranked.len());
        for (score, address) in ranked {
            let positions = searcher.segment_reader(address.segment_ord).fast_fields().u64("position")?;
            let passage = positions
                .first(address.doc_id)
                .and_then(|position| self.passages.get(usize::try_from(position).ok()?))
                .ok_or_else(|| TantivyError::InternalError("a passage has no position".to_owned()))?;
            hits.push(Hit { passage: passage.clone(), score: f64::from(score) });
        }
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.passage.cmp(&b.passage)));
        hits.truncate(query.limit);
        Ok(hits)
    }

    /// The filters decide what matches and add nothing to the score; words and audience decide the order only, so a
    /// passage that shares no word with the query still follows the others, with a score of 0.
    fn translate(&self, query: &Query) -> tantivy::Result<BooleanQuery> {
        let fields = &self.fields;
        let segment = query.audience.as_ref().map(|name| folded(name.as_str()));
        let audience = || segment.iter().map(String::as_str);
        let mut clauses = vec![
            filter(fields.audience, audience()),
            filter(fields.eligible, audience()),
            filter(fields.locale, locales(&query.locale)),
            filter(fields.channel, [query.channel.as_str()]),
        ];
        for name in audience() {
            let term = TermQuery::new(Term::from_field_text(fields.audience, name), IndexRecordOption::Basic);
            clauses.push((Occur::Should, Box::new(ConstScoreQuery::new(Box::new(term), ADDRESSED))));
        }
        let words = if query.locale.language() == "en" { fields.english } else { fields.plain };
        let mut analyser = self
            .index
            .tokenizers()
            .get(words.analyser)
            .ok_or_else(|| TantivyError::InternalError(format!("there is no tokenizer `{}`", words.analyser)))?;
        let mut tokens = Vec::new();
        analyser.token_stream(&query.text).process(&mut |token| tokens.push(token.text.clone()));
        tokens.sort();
        tokens.dedup();
        for token in &tokens {
            let term =
                |field| Box::new(TermQuery::new(Term::from_field_text(field, token), IndexRecordOption::WithFreqs));
            clauses.push((Occur::Should, term(words.text)));
            clauses.push((Occur::Should, Box::new(BoostQuery::new(term(words.title), TITLE))));
            clauses.push((Occur::Should, Box::new(ConstScoreQuery::new(term(words.keywords), KEYWORD))));
        }
        Ok(BooleanQuery::new(clauses))
    }
}

#[async_trait]
impl Retriever for FullText {
    async fn retrieve(&self, query: &Query, _: &Meter) -> Result<Vec<Hit>, ProviderError> {
        self.ranked(query)
    }
}

fn failed(error: TantivyError) -> ProviderError {
    ProviderError { provider: "full-text index", kind: ErrorKind::Rejected, message: error.to_string() }
}

/// A passage must have one of `values`, or [`ANY`].
fn filter<'a>(field: Field, values: impl IntoIterator<Item = &'a str>) -> (Occur, Box<dyn Search>) {
    let terms = values.into_iter().chain([ANY]).map(|value| Term::from_field_text(field, value));
    (Occur::Must, Box::new(ConstScoreQuery::new(Box::new(TermSetQuery::new(terms)), 0.0)))
}

/// Names of segments are compared without regard to case.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// `de-AT` is served by documents in `de-AT` and in `de`.
pub(super) fn locales(locale: &Locale) -> [&str; 2] {
    [locale.as_str(), locale.language()]
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let position = schema.add_u64_field("position", FAST);
    let audience = schema.add_text_field("audience", STRING);
    let eligible = schema.add_text_field("eligible", STRING);
    let locale = schema.add_text_field("locale", STRING);
    let channel = schema.add_text_field("channel", STRING);
    let mut words = |analyser: &'static str| {
        let indexing =
            TextFieldIndexing::default().set_tokenizer(analyser).set_index_option(IndexRecordOption::WithFreqs);
        let options = TextOptions::default().set_indexing_options(indexing);
        let mut field = |name| schema.add_text_field(&format!("{name}_{analyser}"), options.clone());
        Words { analyser, title: field("title"), keywords: field("keywords"), text: field("text") }
    };
    let (plain, english) = (words("default"), words("en_stem"));
    (schema.build(), Fields { position, audience, eligible, locale, channel, plain, english })
}

impl Fields {
    /// What all passages of a document have in common.
    fn document(&self, document: &Document) -> TantivyDocument {
        let mut entry = TantivyDocument::new();
        let mut limit = |field, values: Vec<String>| {
            if values.is_empty() {
                entry.add_text(field, ANY);
            }
            values.into_iter().for_each(|value| entry.add_text(field, value));
        };
        let names = |names: &[String]| names.iter().map(|name| folded(name)).collect();
        limit(self.audience, names(&document.audience));
        limit(self.eligible, document.offer.as_ref().map_or_else(Vec::new, |offer| names(&offer.eligible)));
        limit(self.locale, document.locales.iter().map(ToString::to_string).collect());
        limit(self.channel, document.channels.iter().map(ToString::to_string).collect());
        for words in [self.plain, self.english] {
            entry.add_text(words.title, &document.title);
            entry.add_text(words.keywords, document.keywords.join(" "));
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan as _, civil::date};
    use proptest::prelude::*;

    use super::*;
    use crate::agents::retrieval::library::obstacles;
    use crate::domain::{
        channel::Channel,
        content::{Approval, Category, Offer, Passage, Validity},
        digest::Digest,
        id::{DocumentId, SegmentName},
    };

    fn document(id: &str, texts: &[&str]) -> Document {
        let passage = |(index, text): (usize, &&str)| Passage {
            id: PassageId::new(format!("{id}#p{}", index + 1)).unwrap(),
            start: 0,
            end: text.chars().count(),
            text: (*text).to_owned(),
            version: Digest::of(text),
        };
        Document {
            id: DocumentId::new(id).unwrap(),
            title: String::new(),
            category: Category::Other,
            approval: Approval::Approved,
            approved_on: Some(TODAY),
            validity: Validity::default(),
            audience: Vec::new(),
            locales: Vec::new(),
            channels: Vec::new(),
            keywords: Vec::new(),
            products: Vec::new(),
            headlines: Vec::new(),
            offer: None,
            source_url: None,
            text: texts.join("\n\n"),
            digest: Digest::of(id),
            passages: texts.iter().enumerate().map(passage).collect(),
        }
    }

    const TODAY: Date = date(2026, 11, 22);

    fn query(text: &str) -> Query {
        Query {
            text: text.to_owned(),
            audience: None,
            channel: Channel::Email,
            locale: Locale::new("en").unwrap(),
            limit: 100,
        }
    }

    fn found(documents: Vec<Document>, query: &Query) -> Vec<String> {
        let index = FullText::new(&Library::new(documents), TODAY).unwrap();
        index.search(query).unwrap().into_iter().map(|hit| hit.passage.to_string()).collect()
    }

    #[test]
    fn the_best_match_is_first_and_what_matches_nothing_still_follows_in_order() {
        let keyword = Document { keywords: vec!["baking".into()], ..document("k", &["Nothing here."]) };
        let documents = || {
            let ten: Vec<&str> = vec!["Plain."; 11];
            vec![
                document("a", &["A tray for bread."]),
                document("z", &ten),
                keyword.clone(),
                document("b", &["He bakes."]),
            ]
        };
        let hits = found(documents(), &query("bakes \"AND( -bread^"));
        assert_eq!(hits[..4], ["k#p1", "b#p1", "a#p1", "z#p1"]);
        assert_eq!(hits[4..6], ["z#p10", "z#p11"], "ties are in the order of ids as texts");
        assert_eq!(hits.len(), 14);
        assert_eq!(found(documents(), &Query { limit: 2, ..query("bakes bread") }).len(), 2);
        assert!(found(documents(), &Query { limit: 0, ..query("bakes") }).is_empty());
        assert!(found(Vec::new(), &query("bakes")).is_empty());
    }

    #[test]
    fn english_words_match_by_their_stems_and_others_as_they_stand() {
        let documents = || vec![document("a", &["Other."]), document("b", &["The baker was baking."])];
        assert_eq!(found(documents(), &query("bakes"))[0], "b#p1");
        let german = Query { locale: Locale::new("de").unwrap(), ..query("bakes") };
        assert_eq!(found(documents(), &german)[0], "a#p1");
    }

    #[test]
    fn both_ends_of_a_window_belong_to_it() {
        let yesterday = TODAY.yesterday().unwrap();
        let tomorrow = TODAY.tomorrow().unwrap();
        let within = |from, until| Document { validity: Validity { from, until }, ..document("a", &["Words."]) };
        for (document, usable) in [
            (within(Some(TODAY), Some(TODAY)), true),
            (within(Some(tomorrow), None), false),
            (within(None, Some(yesterday)), false),
            (Document { approved_on: Some(tomorrow), ..within(None, None) }, false),
        ] {
            assert_eq!(!found(vec![document], &query("words")).is_empty(), usable);
        }
    }

    prop_compose! {
        fn any_document()(
            approval in prop_oneof![4 => Just(Approval::Approved), 1 => Just(Approval::Draft), 1 => Just(Approval::Withdrawn)],
            days in proptest::array::uniform5(proptest::option::weighted(0.6, -2_i32..=2)),
            audience in proptest::sample::subsequence(vec!["Gold", "new", "all day"], 0..=1),
            eligible in proptest::sample::subsequence(vec!["gold", "NEW"], 0..=1),
            locales in proptest::sample::subsequence(vec!["en", "en-GB", "de"], 0..=2),
            channels in proptest::sample::subsequence(vec![Channel::Email, Channel::Sms], 0..=2),
            words in proptest::sample::subsequence(vec!["bread", "tea", "mug"], 0..=3),
        ) -> Document {
            let day = |index: usize| days[index].map(|offset| TODAY.saturating_add(offset.days()));
            let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let offer = day(3).zip(day(4)).map(|(start, end)| Offer {
                code: None, amount: "1%".into(), start, end, eligible: owned(eligible),
            });
            Document {
                approval,
                approved_on: day(0),
                validity: Validity { from: day(1), until: day(2) },
                audience: owned(audience),
                locales: locales.into_iter().map(|locale| Locale::new(locale).unwrap()).collect(),
                channels,
                offer,
                ..document("x", &[&format!("Some {}.", words.join(" ")), "Always."])
            }
        }
    }

    /// The rule, said in another way than the index does.
    fn may_see(document: &Document, query: &Query) -> bool {
        let segment = query.audience.as_ref().map(|name| name.as_str().to_lowercase());
        let admits =
            |names: &[String]| names.is_empty() || names.iter().any(|name| Some(name.to_lowercase()) == segment);
        let speaks = |locale: &Locale| {
            locale == &query.locale
                || query.locale.as_str().strip_prefix(locale.as_str()).is_some_and(|r| r.starts_with('-'))
        };
        obstacles(document, TODAY).is_empty()
            && admits(&document.audience)
            && document.offer.as_ref().is_none_or(|offer| admits(&offer.eligible))
            && (document.locales.is_empty() || document.locales.iter().any(speaks))
            && (document.channels.is_empty() || document.channels.contains(&query.channel))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_the_passages_that_may_be_used_are_ever_returned(
            documents in proptest::collection::vec(any_document(), 0..12),
            audience in proptest::option::of(proptest::sample::select(vec!["gold", "New", "other"])),
            locale in proptest::sample::select(vec!["en", "en-GB", "en-US", "de", "fr"]),
            channel in proptest::sample::select(Channel::ALL.to_vec()),
            text in proptest::sample::select(vec!["", "bread", "tea mug gold", "\n all"]),
        ) {
            let documents: Vec<Document> = documents
                .into_iter()
                .enumerate()
                .map(|(index, found)| {
                    let id = format!("d{index}");
                    let texts: Vec<&str> = found.passages.iter().map(|passage| passage.text.as_str()).collect();
                    let renamed = document(&id, &texts);
                    Document { id: renamed.id, passages: renamed.passages, ..found }
                })
                .collect();
            let query = Query {
                audience: audience.map(|name| SegmentName::new(name).unwrap()),
                locale: Locale::new(locale).unwrap(),
                channel,
                ..query(text)
            };
            let mut expected: Vec<String> = documents
                .iter()
                .filter(|document| may_see(document, &query))
                .flat_map(|document| document.passages.iter().map(|passage| passage.id.to_string()))
                .collect();
            for document in &documents {
                let usable = obstacles(document, TODAY).is_empty();
                prop_assert_eq!(usable, document.is_usable_on(TODAY));
            }
            let mut returned = found(documents, &query);
            expected.sort();
            returned.sort();
            prop_assert_eq!(returned, expected);
        }
    }
}
