//! Retrieval with Azure AI Search.
//!
//! All libraries share one index for each length of vectors. A document of the index is a passage of one library, under a
//! key that is made of both, and names its library; every query is for one library. A library is the frozen content of
//! campaigns, by digest, with the model that embedded it: another version of it is another library. So an upload never
//! changes what another campaign finds, two workers may upload the same library at once, and what an upload left behind
//! is mended by doing it again.
//!
//! An upload is found some time after the service has taken it. Before the first query of a library its documents are
//! counted: until all are found, the question is put off.
//!
//! The service only ranks. What may be returned is decided by its filters, and once more here; that a document was written
//! for the segment that asks counts here too, after it. (A scoring profile would count it before the semantic ranker, which
//! does not look at it, or need another field of the answer with each kind of ranking.)

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::{Date, date};
use reqwest::StatusCode;
use serde::Serialize;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    Hit, Query, Retriever,
    full_text::{folded, locales},
    library::Library,
    vectors::{Embeddings, Vectors, passages},
};
use crate::{
    domain::{
        content::{Document, Passage},
        digest::Digest,
        id::{DocumentId, Locale, PassageId},
        money::Usd,
        variant::Usage,
    },
    providers::{
        ErrorKind, Forecast, Meter, ProviderError,
        search::{
            self, Entry, Filter, Index, Neighbours, Search, Words,
            filter::moment,
            index::{Field, Kind, Meaning},
        },
        service::Fault,
    },
};

/// The names of our indexes begin so. With other fields they get another number.
const INDEX: &str = "cpo-passages-1";

/// How many hits are asked for at least: equal scores among them are ordered by id before the list is cut. As many as the
/// semantic ranker reads; of more, it could rank only some.
const FETCHED: usize = 50;
/// What the service returns at most.
const MOST_FETCHED: usize = 1_000;

/// What it adds that a document was written for the segment that asks, as a share of the answer's best score: where two
/// orders were fused, as much as to be the first in one of them.
const ADDRESSED: f64 = 0.5;

/// When a question is asked again whose library is not found yet.
const SOON: Duration = Duration::from_secs(2);

/// What was uploaded and is not found after this time is uploaded again: somebody may have removed it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Recalled documents are removed by so many at once.
const RECALLS: usize = 50;

/// What a campaign may draw on.
#[derive(Debug)]
pub struct Content {
    pub library: Arc<Library>,
    /// Of what the library was read from.
    pub digest: Digest,
    /// Documents that were recalled after the campaign had begun.
    pub recalled: BTreeSet<DocumentId>,
    pub date: Date,
}

#[derive(Debug)]
pub struct AzureSearch {
    client: Arc<Search>,
    content: Content,
    embeddings: Option<Embeddings>,
    /// Names the library in the index.
    version: Digest,
    /// By the keys that this library's passages have in the index.
    passages: HashMap<String, PassageId>,
    /// What a query costs that is ranked by meaning.
    semantic_query: Usd,
    most: Usd,
    ready: OnceCell<Ready>,
    uploaded: Mutex<Option<Instant>>,
}

/// All of the library can be found.
#[derive(Debug)]
struct Ready {
    index: String,
    /// Without vectors: by words alone.
    dimensions: Option<usize>,
}

/// A passage as the index keeps it, beside its key. Its words stand there twice, to be analysed in two ways.
#[derive(Debug, Serialize)]
struct Fields<'a> {
    library: &'a str,
    document: &'a str,
    passage: &'a str,
    approved: bool,
    valid_from: String,
    valid_until: String,
    audience: Vec<String>,
    eligible: Vec<String>,
    locales: Vec<&'a str>,
    channels: Vec<&'a str>,
    title: &'a str,
    keywords: String,
    text: &'a str,
    title_en: &'a str,
    keywords_en: String,
    text_en: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<&'a [f32]>,
}

impl<'a> Fields<'a> {
    fn new(library: &'a str, document: &'a Document, passage: &'a Passage, vector: Option<&'a [f32]>) -> Self {
        let offer = document.offer.as_ref();
        let names = |names: &[String]| names.iter().map(|name| folded(name)).collect();
        let keywords = document.keywords.join(" ");
        // All of them bind, as in `Document::is_usable_on`.
        let starts = [document.approved_on, document.validity.from, offer.map(|offer| offer.start)];
        let ends = [document.validity.until, offer.map(|offer| offer.end)];
        Self {
            library,
            document: document.id.as_str(),
            passage: passage.id.as_str(),
            approved: document.approved_on.is_some() && !document.is_endless_offer(),
            valid_from: moment(starts.into_iter().flatten().fold(FIRST, Date::max)),
            valid_until: moment(ends.into_iter().flatten().fold(LAST, Date::min)),
            audience: names(&document.audience),
            eligible: offer.map_or_else(Vec::new, |offer| names(&offer.eligible)),
            locales: document.locales.iter().map(Locale::as_str).collect(),
            channels: document.channels.iter().map(|channel| channel.as_str()).collect(),
            title: &document.title,
            keywords: keywords.clone(),
            text: &passage.text,
            title_en: &document.title,
            keywords_en: keywords,
            text_en: &passage.text,
            vector,
        }
    }
}

/// The days between which the service knows any.
const FIRST: Date = date(1, 1, 1);
const LAST: Date = date(9999, 12, 31);

const PLAIN: &[&str] = &["title", "keywords", "text"];
const ENGLISH: &[&str] = &["title_en", "keywords_en", "text_en"];
const VECTOR: &str = "vector";

impl AzureSearch {
    /// Asks nobody yet.
    pub fn new(client: Arc<Search>, content: Content, embeddings: Option<Embeddings>, semantic_query: Usd) -> Self {
        let version = embeddings.as_ref().map_or(content.digest, |made| made.embedder.version(content.digest));
        let key = |passage: &Passage| Digest::of(format!("{version}\n{}", passage.id)).to_string();
        let passages = passages(&content.library)
            .filter(|(document, _)| !content.recalled.contains(&document.id))
            .map(|(_, passage)| (key(passage), passage.id.clone()))
            .collect();
        let embedded = embeddings.as_ref().map_or(Usd::ZERO, |embeddings| embeddings.most(&content.library));
        Self {
            client,
            content,
            embeddings,
            version,
            passages,
            semantic_query,
            most: embedded + semantic_query,
            ready: OnceCell::new(),
            uploaded: Mutex::default(),
        }
    }

    /// Makes sure that all of the library can be found.
    async fn prepared(&self, meter: &Meter) -> Result<Ready, ProviderError> {
        let vectors = match &self.embeddings {
            Some(embeddings) => Some(embeddings.of_library(&self.content.library, meter).await?),
            None => None,
        };
        let dimensions = vectors.as_ref().map(Vectors::dimensions);
        let ready = Ready { index: index_name(dimensions), dimensions };
        let there = self.found(&ready.index).await?;
        let is_whole = there.is_some_and(|there| self.is_whole(there));
        if !is_whole && self.is_patient() {
            return Err(self.not_yet());
        }
        if there.is_some() {
            withdraw_from(&self.client, &ready.index, &self.content.recalled).await?;
        }
        if is_whole {
            return Ok(ready);
        }
        self.client.create(&definition(&ready.index, dimensions)).await?;
        let library = self.version.to_string();
        self.client.upload(&ready.index, self.entries(&library, vectors.as_ref())).await?;
        *self.uploaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let there = self.found(&ready.index).await?;
        if there.is_some_and(|there| self.is_whole(there)) { Ok(ready) } else { Err(self.not_yet()) }
    }

    /// How many of the library's passages can be found; `None`: there is no such index yet.
    async fn found(&self, index: &str) -> Result<Option<u64>, ProviderError> {
        match self.client.count(index, Filter::All(self.of_this_library())).await {
            Ok(found) => Ok(Some(found)),
            Err(Fault { status: Some(StatusCode::NOT_FOUND), .. }) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    fn is_whole(&self, found: u64) -> bool {
        found >= self.passages.len() as u64
    }

    fn is_patient(&self) -> bool {
        let uploaded = *self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded.is_some_and(|uploaded| uploaded.elapsed() < PATIENCE)
    }

    fn not_yet(&self) -> ProviderError {
        let message = format!("not all {} passages of the content can be found yet", self.passages.len());
        ProviderError { provider: search::NAME, kind: ErrorKind::Throttled { retry_after: Some(SOON) }, message }
    }

    fn entries<'a>(
        &'a self,
        library: &'a str,
        vectors: Option<&'a Vectors>,
    ) -> impl Iterator<Item = Entry<Fields<'a>>> + Send {
        let keys: HashMap<&PassageId, &String> = self.passages.iter().map(|(key, id)| (id, key)).collect();
        let mut vectors = vectors.map(Vectors::iter);
        passages(&self.content.library).filter_map(move |(document, passage)| {
            // Each passage has its own, whether it is uploaded or not.
            let vector = vectors.as_mut().and_then(Iterator::next);
            let key = (*keys.get(&passage.id)?).clone();
            let fields = Fields::new(library, document, passage, vector);
            Some(Entry { key, name: passage.id.to_string(), fields })
        })
    }

    /// What was recalled may still be found for a while after it was removed.
    fn of_this_library(&self) -> Vec<Filter> {
        let recalled = self.content.library.documents().iter().filter(|own| self.content.recalled.contains(&own.id));
        let recalled: Vec<Filter> = recalled.map(|own| Filter::Eq("document", own.id.to_string())).collect();
        let mut filters = vec![Filter::Eq("library", self.version.to_string())];
        if !recalled.is_empty() {
            filters.push(Filter::Not(Box::new(Filter::Any(recalled))));
        }
        filters
    }

    fn filter(&self, query: &Query) -> Filter {
        let audience: Vec<String> = query.audience.iter().map(|name| folded(name.as_str())).collect();
        let mut filters = self.of_this_library();
        filters.extend([
            Filter::Is("approved"),
            Filter::NotAfter("valid_from", self.content.date),
            Filter::NotBefore("valid_until", self.content.date),
            Filter::EmptyOrHas("audience", audience.clone()),
            Filter::EmptyOrHas("eligible", audience),
            Filter::EmptyOrHas("locales", locales(&query.locale).map(str::to_owned).into()),
            Filter::EmptyOrHas("channels", vec![query.channel.as_str().to_owned()]),
        ]);
        Filter::All(filters)
    }

    /// The rule itself, on the library: what the filters must come to; and whether it was written for the segment.
    fn allowed(&self, query: &Query) -> BTreeMap<&PassageId, bool> {
        let segment = query.audience.as_ref().map(|name| folded(name.as_str()));
        let is_addressed =
            |document: &Document| document.audience.iter().any(|name| segment.as_ref() == Some(&folded(name)));
        let is_allowed = |document: &&Document| {
            document.is_for(query.audience.as_ref())
                && document.is_in(query.channel, &query.locale)
                && !self.content.recalled.contains(&document.id)
        };
        let documents = self.content.library.usable(self.content.date).filter(is_allowed);
        let passages = documents.flat_map(|document| {
            let is_addressed = is_addressed(document);
            document.passages.iter().map(move |passage| (&passage.id, is_addressed))
        });
        passages.collect()
    }

    async fn ask(
        &self,
        index: &str,
        query: &search::Query,
        meter: &Meter,
    ) -> Result<Vec<search::Found>, ProviderError> {
        let price = if self.client.is_semantic() { self.semantic_query } else { Usd::ZERO };
        let reserved = meter.reserve(search::NAME, price)?;
        let answer = self.client.search(index, query).await;
        match &answer {
            // The service may have found out that it has no ranker.
            Ok(_) => {
                let cost_usd = if self.client.is_semantic() { price } else { Usd::ZERO };
                reserved.settle(Usage { requests: 1, cost_usd, ..Usage::default() });
            }
            Err(fault) if !fault.may_have_cost => reserved.settle(Usage::default()),
            Err(_) => drop(reserved),
        }
        Ok(answer?)
    }
}

#[async_trait]
impl Retriever for AzureSearch {
    /// Whoever is first embeds the library too, and anybody may be.
    fn most(&self) -> Usd {
        self.most
    }

    fn forecast(&self) -> Forecast {
        let embedded = self.embeddings.as_ref().map(|embeddings| embeddings.forecast(&self.content.library));
        let mut forecast = embedded.unwrap_or_default();
        if self.client.is_semantic() {
            forecast.expected = forecast.expected + self.semantic_query;
            forecast.assumes.push("each query reordered by the semantic ranker".to_owned());
        }
        forecast.assumes.push("the search service itself is rent, and not counted".to_owned());
        forecast
    }

    /// What the service does not find has a score of 0, and what was written for the segment so much more, as in the embedded
    /// index: the rest follows in the order of ids.
    async fn retrieve(&self, query: &Query, meter: &Meter) -> Result<Vec<Hit>, ProviderError> {
        let allowed = self.allowed(query);
        if allowed.is_empty() || query.limit == 0 {
            return Ok(Vec::new());
        }
        let ready = self.ready.get_or_try_init(|| self.prepared(meter)).await?;
        let vector = match (&self.embeddings, ready.dimensions) {
            (Some(embeddings), Some(dimensions)) => {
                let vector = embeddings.of_question(&query.text, dimensions, meter).await?;
                Some(Neighbours { vector, field: VECTOR })
            }
            _ => None,
        };
        let fields = if query.locale.language() == "en" { ENGLISH } else { PLAIN };
        let words = Words { text: query.text.clone(), fields };
        let limit = query.limit.clamp(FETCHED, MOST_FETCHED);
        let asked = search::Query::ranked(words, vector, self.filter(query), limit);
        let found = self.ask(&ready.index, &asked, meter).await?;

        let mut scores: BTreeMap<&PassageId, f64> = BTreeMap::new();
        for search::Found { key, score } in found {
            let passage = self.passages.get(&key).filter(|passage| allowed.contains_key(passage));
            let Some(passage) = passage.filter(|_| score.is_finite()) else {
                let message = "search: its answer holds a document that it was not asked for".to_owned();
                return Err(ProviderError { provider: search::NAME, kind: ErrorKind::Unavailable, message });
            };
            scores.entry(passage).or_insert(score);
        }
        let best = scores.values().copied().fold(0.0, f64::max);
        let addressed = ADDRESSED * if best > 0.0 { best } else { 1.0 };
        let hit = |(passage, is_addressed): (&PassageId, bool)| {
            let score = scores.get(passage).copied().unwrap_or_default();
            Hit { passage: passage.clone(), score: if is_addressed { score + addressed } else { score } }
        };
        let mut hits: Vec<Hit> = allowed.into_iter().map(hit).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.passage.cmp(&b.passage)));
        hits.truncate(query.limit);
        Ok(hits)
    }
}

/// Removes recalled documents from all our indexes, whichever library they are of. Campaigns whose library had them find
/// the others as before.
pub async fn withdraw(client: &Search, documents: &BTreeSet<DocumentId>) -> Result<(), ProviderError> {
    for index in client.indexes().await?.iter().filter(|name| name.starts_with(INDEX)) {
        withdraw_from(client, index, documents).await?;
    }
    Ok(())
}

/// Removes a library from all our indexes. A campaign that still wants it uploads it again when it is next picked up.
pub async fn forget(client: &Search, library: Digest) -> Result<(), ProviderError> {
    for index in client.indexes().await?.iter().filter(|name| name.starts_with(INDEX)) {
        client.remove(index, &Filter::Eq("library", library.to_string())).await?;
    }
    Ok(())
}

async fn withdraw_from(client: &Search, index: &str, documents: &BTreeSet<DocumentId>) -> Result<(), ProviderError> {
    let documents: Vec<&DocumentId> = documents.iter().collect();
    for some in documents.chunks(RECALLS) {
        let is_it = |document: &&DocumentId| Filter::Eq("document", document.to_string());
        client.remove(index, &Filter::Any(some.iter().map(is_it).collect())).await?;
    }
    Ok(())
}

fn index_name(dimensions: Option<usize>) -> String {
    dimensions.map_or_else(|| INDEX.to_owned(), |dimensions| format!("{INDEX}-{dimensions}"))
}

fn definition(name: &str, dimensions: Option<usize>) -> Index {
    let field = |name, kind| Field { name, kind };
    let words = |analyzer: &'static str, fields: &'static [&'static str]| {
        fields.iter().map(move |name| field(name, Kind::Words { analyzer }))
    };
    let mut fields = vec![
        field("library", Kind::Name),
        field("document", Kind::Name),
        field("passage", Kind::Note),
        field("approved", Kind::Flag),
        field("valid_from", Kind::Moment),
        field("valid_until", Kind::Moment),
        field("audience", Kind::Names),
        field("eligible", Kind::Names),
        field("locales", Kind::Names),
        field("channels", Kind::Names),
    ];
    fields.extend(words("standard.lucene", PLAIN).chain(words("en.lucene", ENGLISH)));
    fields.extend(dimensions.map(|dimensions| field(VECTOR, Kind::Vector { dimensions })));
    let meaning = Meaning { title: "title", text: "text", keywords: "keywords" };
    Index { name: name.to_owned(), fields, meaning }
}
