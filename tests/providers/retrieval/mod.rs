//! Retrieval: one suite for the embedded index and for Azure AI Search, by words alone and with vectors; and what only a
//! service can do wrong.

pub mod stand_in;
mod withdrawals;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use cpo::{
    agents::retrieval::{
        Query, Retriever,
        azure_search::{self, AzureSearch, Content},
        embedder::Embedder,
        full_text::FullText,
        hybrid::Hybrid,
        library::Library,
        vectors::Embeddings,
    },
    domain::{
        channel::Channel,
        digest::Digest,
        id::{CampaignId, DocumentId, Locale, SegmentName},
        money::Usd,
    },
    orchestration::names,
    providers::{ErrorKind, Meter, ProviderError, Services, prices::Price, search::Search},
    store::{Blobs, Memory},
};
use jiff::civil::{Date, date};
use serde_json::{Value, json};

use self::stand_in::StandIn;
use crate::scripted::{Reply, Request, Scripted};

const TODAY: Date = date(2026, 11, 23);
pub const APPROVED: &str = "status: approved\napproved_on: 2026-01-01";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedded { vectors: bool },
    Azure { vectors: bool },
}

const ALL: [Kind; 4] = [
    Kind::Embedded { vectors: false },
    Kind::Embedded { vectors: true },
    Kind::Azure { vectors: false },
    Kind::Azure { vectors: true },
];
const WITH_VECTORS: [Kind; 2] = [Kind::Embedded { vectors: true }, Kind::Azure { vectors: true }];

/// The services, and a store.
pub struct World {
    pub search: StandIn,
    models: Scripted,
    client: Arc<Search>,
    blobs: Arc<dyn Blobs>,
}

impl World {
    async fn new() -> Self {
        Self::of(StandIn::start().await, Scripted::start(embeddings).await)
    }

    pub fn of(search: StandIn, models: Scripted) -> Self {
        let client = client(&search);
        Self { search, models, client, blobs: Arc::new(Memory::default()) }
    }

    fn embeddings(&self, library: &Library) -> Embeddings {
        let base = format!("{}/v1", self.models.url());
        let client = Services::new(move |name| (name == "OPENAI_BASE_URL").then(|| base.clone())).openai().unwrap();
        let price = Price { input: Usd::from_dollars(20.0).unwrap(), ..Price::default() };
        let embedder = Embedder::new(client, "small".to_owned(), price);
        let campaign = CampaignId::new("spring").unwrap();
        let path = names::vectors(&campaign, embedder.version(digest(library)));
        Embeddings { embedder, blobs: Arc::clone(&self.blobs), path }
    }

    fn retriever(&self, kind: Kind, library: &Library) -> Arc<dyn Retriever> {
        match kind {
            Kind::Embedded { vectors: false } => Arc::new(FullText::new(library, TODAY).unwrap()),
            Kind::Embedded { vectors: true } => {
                let embeddings = self.embeddings(library);
                Arc::new(Hybrid::new(Arc::new(library.clone()), TODAY, embeddings).unwrap())
            }
            Kind::Azure { vectors } => self.azure(vectors, library, &[]),
        }
    }

    pub fn azure(&self, vectors: bool, library: &Library, recalled: &[&str]) -> Arc<dyn Retriever> {
        let content = Content {
            library: Arc::new(library.clone()),
            digest: digest(library),
            recalled: ids(recalled),
            date: TODAY,
        };
        let embeddings = vectors.then(|| self.embeddings(library));
        let price = Usd::from_dollars(0.001).unwrap();
        Arc::new(AzureSearch::new(Arc::clone(&self.client), content, embeddings, price))
    }

    /// What the vendor's documents say of everything that the search service was sent.
    async fn checked(&self) {
        for request in self.search.server.requests() {
            let violations = crate::search::violations(&request).await;
            assert_eq!(violations, [""; 0], "{} {}", request.method, request.target);
        }
    }
}

fn client(search: &StandIn) -> Arc<Search> {
    let url = search.server.url();
    let settings = move |name: &str| match name {
        "AZURE_SEARCH_ENDPOINT" => Some(url.clone()),
        "AZURE_SEARCH_API_KEY" => Some("the-key".to_owned()),
        _ => None,
    };
    Services::new(settings).azure_search().unwrap()
}

/// A model that knows of coffee, tea and weather, whatever they are called.
pub fn embeddings(request: &Request) -> Reply {
    const SUBJECTS: [&[&str]; 3] = [&["coffee", "espresso", "roast"], &["tea", "infusion"], &["rain", "storm"]];
    let body = request.json();
    let texts = body["input"].as_array().unwrap();
    let vector = |text: &str| -> Vec<f64> {
        let text = text.to_lowercase();
        let about = |words: &&[&str]| words.iter().filter(|word| text.contains(**word)).count() as f64;
        SUBJECTS.iter().map(about).chain([0.1]).collect()
    };
    let data = texts.iter().enumerate();
    let data: Vec<Value> =
        data.map(|(index, text)| json!({"index": index, "embedding": vector(text.as_str().unwrap())})).collect();
    Reply::json(200, &json!({"data": data, "usage": {"prompt_tokens": 10 * texts.len()}}))
}

/// From (id, front matter, text), each of one passage.
pub fn library(documents: &[(&str, &str, &str)]) -> Library {
    let file = |(id, front, text): &(&str, &str, &str)| {
        let source = format!("---\nid: {id}\ntitle: Untitled\n{front}\n---\n{text}\n");
        (Path::new(id).with_extension("md"), Ok(source.into_bytes()))
    };
    Library::of_files(Path::new("content"), documents.iter().map(file)).unwrap()
}

fn digest(library: &Library) -> Digest {
    Digest::of_json(library).unwrap()
}

fn ids(documents: &[&str]) -> BTreeSet<DocumentId> {
    documents.iter().map(|id| DocumentId::new(*id).unwrap()).collect()
}

pub fn query(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        audience: Some(SegmentName::new("Gold o'Hara").unwrap()),
        channel: Channel::Email,
        locale: Locale::new("en-GB").unwrap(),
        limit: 100,
    }
}

fn meter() -> Meter {
    Meter::new(Usd::MAX)
}

/// The documents that were found.
async fn found(retriever: &dyn Retriever, query: &Query) -> Result<Vec<String>, ProviderError> {
    let hits = retriever.retrieve(query, &meter()).await?;
    assert!(hits.is_sorted_by(|a, b| a.score > b.score || (a.score == b.score && a.passage < b.passage)), "{hits:?}");
    Ok(hits.iter().map(|hit| hit.passage.document().to_owned()).collect())
}

#[tokio::test]
async fn only_what_is_approved_valid_and_meant_for_the_cell_is_ever_found() {
    let approved = |more: &str| format!("{APPROVED}\n{more}");
    let fronts = [
        ("good", approved("")),
        ("good-audience", approved("audience: [\"other\", \"GOLD O'HARA\"]")),
        ("good-days", approved("valid_from: 2026-11-23\nvalid_until: 2026-11-23")),
        ("good-language", approved("locales: [en]")),
        ("good-locale", approved("locales: [de, en-GB]\nchannels: [email, sms]")),
        (
            "good-offer",
            approved("offer: {amount: \"5%\", start: 2026-11-01, end: 2026-11-23, eligible: [gold o'hara]}"),
        ),
        ("bad-audience", approved("audience: [Gold]")),
        ("bad-channel", approved("channels: [sms]")),
        ("bad-draft", String::new()),
        ("bad-early", approved("valid_from: 2026-11-24")),
        ("bad-eligible", approved("offer: {amount: \"5%\", start: 2026-11-01, end: 2026-12-01, eligible: [silver]}")),
        ("bad-endless", approved("category: offer")),
        ("bad-late", approved("valid_until: 2026-11-22")),
        ("bad-locale", approved("locales: [en-US, de]")),
        ("bad-offer", approved("offer: {amount: \"5%\", start: 2026-11-01, end: 2026-11-22}")),
        ("bad-unapproved-yet", "status: approved\napproved_on: 2026-11-24".to_owned()),
        ("bad-withdrawn", "status: withdrawn\napproved_on: 2026-01-01".to_owned()),
    ];
    let documents: Vec<_> = fronts.iter().map(|(id, front)| (*id, front.as_str(), "Fresh coffee.")).collect();
    let library = library(&documents);
    let good: Vec<&str> = documents.iter().map(|(id, ..)| *id).filter(|id| id.starts_with("good")).collect();
    let world = World::new().await;
    for kind in ALL {
        let retriever = world.retriever(kind, &library);
        let mut here = found(&*retriever, &query("coffee")).await.unwrap();
        here.sort();
        let mut sorted = good.clone();
        sorted.sort_unstable();
        assert_eq!(here, sorted, "{kind:?}");
        let everybody = Query { audience: None, locale: Locale::new("fr").unwrap(), ..query("coffee") };
        let mut here = found(&*retriever, &everybody).await.unwrap();
        here.sort();
        assert_eq!(here, ["good", "good-days"], "{kind:?}");
    }
    world.checked().await;
}

#[tokio::test]
async fn ties_are_in_the_order_of_ids_the_limit_holds_and_nothing_is_an_answer() {
    let names: Vec<String> = (0..40).map(|n| format!("d{n:02}")).collect();
    let documents: Vec<_> = names.iter().map(|id| (id.as_str(), APPROVED, "The same coffee.")).collect();
    let library = library(&documents);
    let nobody = Query { locale: Locale::new("fr").unwrap(), ..query("coffee") };
    let foreign = self::library(&[("a", "status: approved\napproved_on: 2026-01-01\nlocales: [de]", "Kaffee.")]);
    let world = World::new().await;
    for kind in ALL {
        let retriever = world.retriever(kind, &library);
        for (limit, text) in [(3, "coffee"), (0, "coffee"), (40, "tea"), (3, "")] {
            let asked = Query { limit, ..query(text) };
            let found = found(&*retriever, &asked).await.unwrap();
            // A service that fuses two orders gives equals different places, and so different scores.
            if kind == (Kind::Azure { vectors: true }) {
                let distinct: BTreeSet<&String> = found.iter().collect();
                assert_eq!((found.len(), distinct.len()), (limit, limit), "{text}");
            } else {
                assert_eq!(found, names[..limit], "{kind:?} {text}");
            }
        }
        assert!(found(&*world.retriever(kind, &foreign), &nobody).await.unwrap().is_empty(), "{kind:?}");
    }
    world.checked().await;
}

#[tokio::test]
async fn an_exact_word_beats_noise_and_operators_are_words() {
    let world = World::new().await;
    let library = library(&[
        ("a", APPROVED, "Nothing of the kind."),
        ("b", APPROVED, "Something else again."),
        ("z", APPROVED, "The grinder stands here."),
    ]);
    for kind in ALL {
        let retriever = world.retriever(kind, &library);
        for text in ["grinder", "-grinder", "\"(grinder* | + ~", "grinder' or 1 eq 1"] {
            let found = found(&*retriever, &query(text)).await.unwrap();
            assert_eq!((found[0].as_str(), found.len()), ("z", 3), "{kind:?} {text}");
        }
    }
    world.checked().await;
}

#[tokio::test]
async fn of_passages_that_fit_alike_those_written_for_the_segment_go_first() {
    let world = World::new().await;
    let addressed = format!("{APPROVED}\naudience: [gold o'hara]");
    let library = library(&[
        ("a", APPROVED, "Fresh coffee."),
        ("b", &addressed, "Fresh coffee."),
        ("c", APPROVED, "Something else."),
        ("d", &addressed, "Something else."),
    ]);
    for kind in ALL {
        let retriever = world.retriever(kind, &library);
        let order = found(&*retriever, &query("coffee")).await.unwrap();
        let place = |id: &str| order.iter().position(|found| found == id).unwrap();
        assert!(place("b") == 0 && place("d") < place("c"), "{kind:?}: {order:?}");
        let everybody = Query { audience: None, ..query("coffee") };
        assert_eq!(found(&*retriever, &everybody).await.unwrap(), ["a", "c"], "{kind:?}");
    }
    world.checked().await;
}

#[tokio::test]
async fn a_paraphrase_is_found_with_vectors() {
    let world = World::new().await;
    let library = library(&[
        ("a", APPROVED, "A storm is coming."),
        ("b", APPROVED, "Green tea, loose."),
        ("c", APPROVED, "Our darkest roast."),
    ]);
    for kind in WITH_VECTORS {
        let retriever = world.retriever(kind, &library);
        assert_eq!(found(&*retriever, &query("espresso")).await.unwrap()[0], "c", "{kind:?}");
        assert_eq!(found(&*retriever, &query("infusion")).await.unwrap()[0], "b", "{kind:?}");
    }
    world.checked().await;
}

#[tokio::test]
async fn a_library_is_embedded_once_and_no_question_costs_more_than_it_says() {
    let library = library(&[("a", APPROVED, "Coffee."), ("b", APPROVED, "Tea."), ("c", "", "A draft stays here.")]);
    for kind in WITH_VECTORS {
        let world = World::new().await;
        let (first, second) = (world.retriever(kind, &library), world.retriever(kind, &library));
        let mut tokens = Vec::new();
        for retriever in [&first, &first, &second] {
            let meter = Meter::new(retriever.most());
            retriever.retrieve(&query("coffee"), &meter).await.unwrap();
            tokens.push(meter.spent().input_tokens);
            assert!(meter.spent().cost_usd > Usd::ZERO && meter.spent().cost_usd <= retriever.most(), "{kind:?}");
        }
        assert_eq!(tokens, [30, 10, 10], "{kind:?}: two passages and a question, then questions");
        let sent: Vec<Value> = world.models.requests().iter().map(|request| request.json()).collect();
        assert!(!json!(sent).to_string().contains("draft"), "drafts stay in the house");

        let broke = Meter::new(Usd::ZERO);
        let error = world.retriever(kind, &library).retrieve(&query("coffee"), &broke).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::OverAllowance);
    }
}

#[tokio::test]
async fn libraries_share_an_index_and_never_a_passage() {
    let world = World::new().await;
    let old = library(&[("a", APPROVED, "Old coffee."), ("b", APPROVED, "Tea.")]);
    let new = library(&[("a", APPROVED, "New coffee."), ("c", APPROVED, "Rain.")]);
    for (library, expected) in [(&old, ["a", "b"]), (&new, ["a", "c"]), (&old, ["a", "b"])] {
        let retriever = world.azure(false, library, &[]);
        for _ in 0..2 {
            assert_eq!(found(&*retriever, &query("coffee")).await.unwrap(), expected);
        }
    }
    assert_eq!(world.search.asked("/docs/search.index").len(), 2, "each library is uploaded once");
    assert_eq!(world.search.state().indexes.len(), 1);
    world.checked().await;
}

#[tokio::test]
async fn until_all_of_a_library_is_found_questions_are_put_off() {
    let world = World::new().await;
    let library = library(&[("a", APPROVED, "Coffee."), ("b", APPROVED, "Tea.")]);
    let retriever = world.azure(true, &library, &[]);
    world.search.delay();
    for _ in 0..3 {
        let error = found(&*retriever, &query("coffee")).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Throttled { retry_after: Some(_) }), "{error}");
    }
    assert_eq!(world.search.asked("/docs/search.index").len(), 1, "it is not sent again at once");
    world.search.catch_up();
    assert_eq!(found(&*retriever, &query("coffee")).await.unwrap(), ["a", "b"]);
    // Another worker finds what the first has uploaded.
    assert_eq!(found(&*world.azure(true, &library, &[]), &query("tea")).await.unwrap(), ["b", "a"]);
    assert_eq!(world.search.asked("/docs/search.index").len(), 1);
    world.checked().await;
}

#[tokio::test]
async fn a_recalled_document_leaves_all_indexes_and_stays_out() {
    let world = World::new().await;
    let library = library(&[("a", APPROVED, "Coffee."), ("b", APPROVED, "More coffee.")]);
    for vectors in [false, true] {
        assert_eq!(found(&*world.azure(vectors, &library, &[]), &query("coffee")).await.unwrap().len(), 2);
    }
    azure_search::withdraw(&world.client, &ids(&["b", "unknown"])).await.unwrap();
    let left: Vec<Value> = world.search.documents().iter().map(|document| document["document"].clone()).collect();
    assert_eq!(left, ["a", "a"]);
    for vectors in [false, true] {
        let retriever = world.azure(vectors, &library, &["b"]);
        assert_eq!(found(&*retriever, &query("coffee")).await.unwrap(), ["a"]);
    }
    assert_eq!(world.search.documents().len(), 2);
    world.checked().await;
}

#[tokio::test]
async fn what_the_service_may_not_return_is_an_error_and_no_hit() {
    let world = World::new().await;
    let library = library(&[("a", APPROVED, "Coffee."), ("b", &format!("{APPROVED}\nchannels: [sms]"), "Coffee.")]);
    let retriever = world.azure(false, &library, &[]);
    assert_eq!(found(&*retriever, &query("coffee")).await.unwrap(), ["a"]);
    let documents = world.search.documents();
    let other_channel = documents.iter().find(|document| document["document"] == "b").unwrap();
    for key in [json!("another library's"), other_channel["key"].clone()] {
        world.search.state().stray = Some(json!({"@search.score": 9.0, "key": key}));
        let error = found(&*retriever, &query("coffee")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }
    world.search.state().stray = Some(json!({"@search.score": "high"}));
    assert_eq!(found(&*retriever, &query("coffee")).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn documents_that_fail_for_the_moment_are_sent_again_and_refused_ones_are_named() {
    let world = World::new().await;
    let library = library(&[("a", APPROVED, "Coffee."), ("b", APPROVED, "Tea.")]);
    world.search.state().next_items = vec![503, 200];
    assert_eq!(found(&*world.azure(false, &library, &[]), &query("tea")).await.unwrap(), ["b", "a"]);
    let sent: Vec<usize> = world.search.asked("/docs/search.index").iter().map(items).collect();
    assert_eq!(sent, [2, 1], "only what failed is sent again");

    let world = World::new().await;
    world.search.state().next_items = vec![400, 200];
    let error = found(&*world.azure(false, &library, &[]), &query("tea")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Rejected);
    assert!(error.message.contains("`b#p1` was refused (400): it was not to be"), "{error}");

    let world = World::new().await;
    world.search.state().next_items = vec![503; 6];
    let error = found(&*world.azure(false, &library, &[]), &query("tea")).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Throttled { .. }), "{error}");
}

fn items(request: &Request) -> usize {
    request.json()["value"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_semantic_ranker_is_asked_and_paid_for_where_there_is_one() {
    let library = library(&[("a", APPROVED, "Coffee."), ("b", APPROVED, "Tea.")]);
    for has_ranker in [true, false] {
        let world = World::new().await;
        world.search.state().has_ranker = has_ranker;
        let retriever = world.azure(true, &library, &[]);
        let mut cost = Usd::ZERO;
        for _ in 0..2 {
            let meter = meter();
            retriever.retrieve(&query("tea"), &meter).await.unwrap();
            cost = meter.spent().cost_usd;
        }
        let asked = world.search.asked("/docs/search.post.search");
        let ranked: Vec<Value> = asked.iter().map(Request::json).filter(|body| body["search"] != "*").collect();
        let types: Vec<&str> = ranked.iter().map(|body| body["queryType"].as_str().unwrap()).collect();
        let expected = if has_ranker { vec!["semantic"; 2] } else { vec!["semantic", "simple", "simple"] };
        assert_eq!(types, expected, "a service without one is asked once");
        assert_eq!(cost >= Usd::from_dollars(0.001).unwrap(), has_ranker);
        world.checked().await;
    }
}

#[tokio::test]
async fn the_probe_tells_a_wrong_key_from_a_missing_role_and_a_wrong_address() {
    for (status, said) in [(401, "key"), (403, "role"), (404, "address")] {
        let server =
            Scripted::start(move |_| Reply::json(status, &json!({"error": {"code": "", "message": ""}}))).await;
        let url = server.url();
        let settings = move |name: &str| match name {
            "AZURE_SEARCH_ENDPOINT" => Some(url.clone()),
            "AZURE_SEARCH_API_KEY" => Some("the-key".to_owned()),
            _ => None,
        };
        let fault = Services::new(settings).azure_search().unwrap().probe().await.unwrap_err();
        assert_eq!(fault.kind, ErrorKind::Misconfigured);
        assert!(fault.message.contains(said), "{}", fault.message);
        assert_eq!(server.requests().len(), 1);
    }
    let world = World::new().await;
    world.client.probe().await.unwrap();
    world.checked().await;
}
