//! Vectors that a real model makes.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use cpo::{
    agents::retrieval::{
        Hit, Query, Retrieved, Retriever as _, embedder::Embedder, full_text::FullText, hybrid::Hybrid,
        library::Library, vectors, vectors::Embeddings,
    },
    domain::{
        channel::Channel,
        id::{CampaignId, Locale, PassageId},
        money::Usd,
    },
    orchestration::names,
    providers::{Meter, Services, prices::Price},
    store::{Blobs, Memory},
};
use jiff::civil::{Date, date};
use serde_json::Value;

use super::{
    campaign::{cpo, read},
    recorder::Recorder,
    server::Llama,
};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
const TODAY: Date = date(2026, 11, 22);

/// How many requests a library's passages take.
const PER_CALL: usize = 256;

fn embeddings(recorder: &Recorder, library: &Library, blobs: &Arc<dyn Blobs>) -> Embeddings {
    let base = recorder.base();
    let client = Services::new(move |name| (name == "OPENAI_BASE_URL").then(|| base.clone())).openai().unwrap();
    let embedder = Embedder::new(client, "tiny".to_owned(), Price::default());
    let path = names::vectors(&CampaignId::new("winter-table").unwrap(), embedder.version(library.digest()));
    Embeddings { embedder, blobs: Arc::clone(blobs), path }
}

/// A text and its vector, as the server answered.
fn said(recorder: &Recorder) -> BTreeMap<String, Vec<f64>> {
    let mut said = BTreeMap::new();
    for exchange in recorder.exchanges() {
        let data = exchange.answer["data"].as_array().unwrap();
        for vector in data {
            let text = exchange.asked["input"][vector["index"].as_u64().unwrap() as usize].as_str().unwrap();
            let numbers = vector["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap());
            said.insert(text.to_owned(), numbers.collect());
        }
    }
    said
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn passages(hits: &[Hit]) -> Vec<&PassageId> {
    hits.iter().map(|hit| &hit.passage).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a real model: docs/testing.md has the command"]
async fn a_library_is_embedded_once_and_found_by_the_vectors_of_a_real_model() {
    let llama = tokio::task::spawn_blocking(Llama::embedder).await.unwrap();
    let library = Library::load(&Path::new(SAMPLES).join("content")).unwrap();
    let texts: Vec<String> = vectors::passages(&library)
        .map(|(document, passage)| format!("{}\n{}", document.title, passage.text))
        .collect();

    // Batches, order, length, and who asks again.
    let recorder = Recorder::before(&llama.url).await;
    let blobs: Arc<dyn Blobs> = Arc::new(Memory::default());
    let meter = Meter::new(Usd::ZERO);
    let made = embeddings(&recorder, &library, &blobs).of_library(&library, &meter).await.unwrap();
    let asked = recorder.exchanges();
    let inputs = asked.iter().flat_map(|exchange| exchange.asked["input"].as_array().unwrap());
    assert_eq!(inputs.map(|text| text.as_str().unwrap()).collect::<Vec<_>>(), texts);
    assert_eq!(asked.len(), texts.len().div_ceil(PER_CALL));
    let by_text = said(&recorder);
    println!("{} passages, vectors of {} numbers", texts.len(), made.dimensions());
    for (text, vector) in texts.iter().zip(made.iter()) {
        let vector: Vec<f64> = vector.iter().map(|number| f64::from(*number)).collect();
        assert_eq!(vector.len(), by_text[text].len());
        assert!(cosine(&vector, &by_text[text]) > 0.999_999, "{text}");
    }
    assert_eq!(meter.spent().input_tokens, recorder.counted("prompt_tokens"));
    let kept = embeddings(&recorder, &library, &blobs).of_library(&library, &meter).await.unwrap();
    assert!(kept == made && recorder.exchanges().len() == asked.len(), "what is kept is not asked for again");

    // A question that has no word in common with anything is answered by its vector alone.
    let hybrid = Hybrid::new(Arc::new(library.clone()), TODAY, embeddings(&recorder, &library, &blobs)).unwrap();
    let query = Query {
        text: "qwertz uiopü".to_owned(),
        audience: None,
        channel: Channel::Email,
        locale: Locale::new("en").unwrap(),
        limit: 20,
    };
    let hits = hybrid.retrieve(&query, &meter).await.unwrap();
    let by_text = said(&recorder);
    let near = |id: &&PassageId| {
        let (document, passage) = library.passage(id).unwrap();
        cosine(&by_text[&query.text], &by_text[&format!("{}\n{}", document.title, passage.text)])
    };
    let angles: Vec<f64> = passages(&hits).iter().map(near).collect();
    assert!(angles.len() == 20 && angles.is_sorted_by(|a, b| a >= &(b - 1e-9)), "{angles:?}");
    let beside = vectors::passages(&library).map(|(_, passage)| &passage.id).filter(|id| !passages(&hits).contains(id));
    println!("the nearest at {:.3}, the last of 20 at {:.3}; {} are left", angles[0], angles[19], beside.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a real model: docs/testing.md has the command"]
async fn a_campaign_retrieves_by_words_and_by_the_vectors_of_a_real_model() {
    let llama = tokio::task::spawn_blocking(Llama::embedder).await.unwrap();
    let recorder = Recorder::before(&llama.url).await;
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(Path::new(SAMPLES).join("campaign.toml")).unwrap();
    fs::write(folder.path().join("campaign.toml"), text + "\n[providers]\nembeddings = \"openai\"\n").unwrap();
    fs::copy(Path::new(SAMPLES).join("suppressed.csv"), folder.path().join("suppressed.csv")).unwrap();
    let (content, customers) = (format!("{SAMPLES}/content"), format!("{SAMPLES}/customers.csv"));
    let base = recorder.base();
    let settings = [("OPENAI_BASE_URL", base.as_str()), ("OPENAI_EMBEDDING_MODEL", "tiny")];
    cpo(folder.path(), &["doctor", "campaign.toml"], &settings).await;
    let (probes, of_probes) = (recorder.exchanges().len(), recorder.counted("prompt_tokens"));
    let run = ["run", "campaign.toml", "--customers", &customers, "--content", &content];
    cpo(folder.path(), &run, &settings).await;

    let library = Library::load(Path::new(&content)).unwrap();
    let passages = vectors::passages(&library).count();
    let results = folder.path().join("out/campaigns/winter-table");
    let retrieved: Vec<Retrieved> = read(&results.join("passages.json"));
    let requests = recorder.exchanges().len() - probes;
    assert_eq!(requests, passages.div_ceil(PER_CALL) + retrieved.len(), "the library once, and each question");

    // The same again, from what the server said: another process gets the same passages.
    let again = Recorder::before(&llama.url).await;
    let blobs: Arc<dyn Blobs> = Arc::new(Memory::default());
    let hybrid = Hybrid::new(Arc::new(library.clone()), TODAY, embeddings(&again, &library, &blobs)).unwrap();
    let words = FullText::new(&library, TODAY).unwrap();
    let mut by_vectors = 0;
    for found in &retrieved {
        let query = Query {
            text: found.query.clone(),
            audience: found.segment.clone(),
            channel: found.channel,
            locale: found.locale.clone(),
            limit: found.hits.len(),
        };
        let hits = hybrid.retrieve(&query, &Meter::new(Usd::ZERO)).await.unwrap();
        assert_eq!(self::passages(&hits), self::passages(&found.hits), "{}", found.query);
        let by_words = words.retrieve(&query, &Meter::new(Usd::ZERO)).await.unwrap();
        by_vectors += usize::from(self::passages(&by_words) != self::passages(&hits));
    }
    println!("{by_vectors} of {} questions have another order than by words alone", retrieved.len());
    assert!(by_vectors > 0);

    let ledger: Value = read(&results.join("ledger.json"));
    let entry =
        ledger["entries"].as_array().unwrap().iter().find(|entry| entry["stage"] == "retrieve").unwrap().clone();
    assert_eq!(entry["requests"], requests);
    assert_eq!(entry["input_tokens"], recorder.counted("prompt_tokens") - of_probes);
    assert_eq!(ledger["total_usd"], 0.0);
}
