//! A whole campaign on services behind HTTP, one of which shows a fault; and everything that may be wrong with its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cpo::{
    agents::{experimentation::deliveries::Table, generation::messages},
    audit,
    domain::{id::CampaignId, money::Usd, variant::Variant, verdict::Decision},
    orchestration::{
        client::View,
        engine::{Clock, Engine},
        finished::RunFiles,
        host::Host,
        instance::{Instance, Status},
        layout,
        ledger::Ledger,
        names,
        names::Run,
        plan::Plan,
        record::{self, Outcome, Record},
        workshop::{Providers, Workshop},
    },
    providers::{Services, prices::Prices},
    store::{BlobPath, Files, Memory, Store, table},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    doubles::{self, Index},
    faults::Fault,
    mlflow::fake::Fake,
    scripted::{Reply, Request, Scripted},
};

/// Dollars for a million tokens.
const PRICE: (f64, f64) = (0.15, 0.60);
const VECTORS_PRICE: f64 = 0.02;

/// Whose calls are faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Model,
    Embeddings,
    Safety,
    Search,
    Tracking,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    EveryThird,
    EveryOther,
    /// Half of them, in no order.
    Half,
    /// As many as open a breaker.
    AtFirst,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    pub part: Part,
    pub fault: Fault,
    pub when: When,
}

impl Trouble {
    /// How long nobody listens, in virtual time.
    const AWAY: Duration = Duration::from_secs(30);

    fn strikes(self, request: &Request) -> bool {
        match self.when {
            _ if self.fault == Fault::Refused => false,
            When::EveryThird => request.number % 3 == 1,
            When::EveryOther => request.number % 2 == 1,
            When::Half => (request.number + 1).wrapping_mul(0x9e37_79b9) >> 16 & 1 == 1,
            When::AtFirst => request.number < 8,
            When::Always => true,
        }
    }

    async fn shown(self, end: &Arc<AtomicBool>, good: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Scripted {
        let wait = match (self.fault, self.when) {
            (Fault::Refused, When::Always) => Duration::MAX,
            (Fault::Refused, _) => Self::AWAY,
            _ => Duration::ZERO,
        };
        let is_over = Arc::clone(end);
        let answer = move |request: &Request| {
            let is_struck = self.strikes(request) && !is_over.load(Ordering::Relaxed);
            if is_struck { self.fault.of(good(request)) } else { good(request) }
        };
        Scripted::start_after(wait, answer).await
    }

    /// Whether the service may have charged for calls that it shows the fault at.
    fn may_have_cost(self) -> bool {
        let is_model = matches!(self.part, Part::Model | Part::Embeddings);
        self.fault != Fault::Slow && (self.fault.may_have_cost() || is_model && self.fault == Fault::Status(400))
    }
}

/// The starter's campaign with everything behind HTTP, in virtual time.
pub struct World {
    trouble: Option<Trouble>,
    is_over: Arc<AtomicBool>,
    model: Scripted,
    embeddings: Scripted,
    safety: Scripted,
    search: Scripted,
    pub tracking: Arc<Fake>,
    store: Store,
    engine: Arc<Engine>,
    pub view: View,
    _folder: tempfile::TempDir,
}

impl World {
    /// Where time passes, see [`crate::faults::let_time_pass`].
    pub async fn run(trouble: Option<Trouble>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (index, fake) = (Index::default(), Arc::<Fake>::default());
        let told = Arc::clone(&fake);
        let model = served(trouble, Part::Model, &is_over, doubles::writes).await;
        let embeddings = served(trouble, Part::Embeddings, &is_over, embeds).await;
        let safety = served(trouble, Part::Safety, &is_over, doubles::passes).await;
        let search = served(trouble, Part::Search, &is_over, move |request| index.answers(request)).await;
        let tracking = served(trouble, Part::Tracking, &is_over, move |request| told.replies(request)).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("campaign.toml");
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let text = fs::read_to_string(starter.join("campaign.toml")).unwrap();
        let text = text.replace("# date = ", "date = ").replace("candidates = 2", "candidates = 1");
        let personal = "mode = \"customer\"\nfields = [\"first_name\", \"recency_days\"] #";
        let text = text.replace("mode = \"segment\"", personal);
        let (input, output) = PRICE;
        let more = format!(
            r#"
[providers]
generation = "openai"
safety = "azure_content_safety"
retrieval = "azure_search"
embeddings = "azure_openai"
tracking = "mlflow"

[prices.models]
writer = {{ input = {input}, output = {output} }}
vectors = {{ input = {VECTORS_PRICE} }}
"#
        );
        fs::write(&file, text + &more).unwrap();
        let plan = Plan::read(&file, Some(&starter.join("content")), |_| None).unwrap();
        let (start, library) = plan.start(&starter.join("customers.csv")).unwrap();
        let base = format!("{}/v1", model.url());
        let urls = [&embeddings, &safety, &search, &tracking].map(Scripted::url);
        let services = Services::new(move |name| match name {
            "OPENAI_BASE_URL" => Some(base.clone()),
            "OPENAI_MODEL" => Some("writer".to_owned()),
            "AZURE_OPENAI_ENDPOINT" => Some(urls[0].clone()),
            "AZURE_OPENAI_EMBEDDING_DEPLOYMENT" => Some("vectors".to_owned()),
            "AZURE_CONTENT_SAFETY_ENDPOINT" => Some(urls[1].clone()),
            "AZURE_SEARCH_ENDPOINT" => Some(urls[2].clone()),
            "MLFLOW_TRACKING_URI" => Some(urls[3].clone()),
            "AZURE_OPENAI_API_KEY" | "AZURE_CONTENT_SAFETY_KEY" | "AZURE_SEARCH_API_KEY" => Some("the-key".to_owned()),
            _ => None,
        });
        let providers = Providers { services: Arc::new(services), ..Providers::default() };
        let store = Memory::default().store();
        let began = Instant::now();
        let clock = Clock(Arc::new(move || Timestamp::UNIX_EPOCH + began.elapsed()));
        let workshop = Workshop::new(store.clone(), folder.path().join("scratch"), providers);
        let engine = Arc::new(Engine::new(store.clone(), Arc::new(workshop), clock));
        engine.start(&start, library).await.unwrap();
        let host = Host::new(Arc::clone(&engine), Duration::from_secs(30), Duration::from_secs(60), false);
        let ended = async {
            loop {
                let view = engine.status(&id()).await.unwrap();
                if view.status.is_final() {
                    return view;
                }
                assert!(began.elapsed() < Duration::from_secs(2 * 3_600), "{trouble:?} does not end: {view:#?}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let view = tokio::select! {
            served = host.serve() => panic!("the host ended: {served:?}"),
            view = ended => view,
        };
        let tracking = fake;
        Self { trouble, is_over, model, embeddings, safety, search, tracking, store, engine, view, _folder: folder }
    }

    /// The service is well again, and the sweeper comes until nobody is owed anything; how often.
    pub async fn swept(&self) -> u32 {
        self.is_over.store(true, Ordering::Relaxed);
        let notes = BlobPath::new(names::TRACKING).unwrap();
        for sweeps in 0..10 {
            if self.store.blobs.list(Some(&notes)).await.unwrap().is_empty() {
                return sweeps;
            }
            // Whoever did not answer is left alone for up to a minute.
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.engine.sweep().await.unwrap();
        }
        panic!("{:?}: the tracking server is still owed the run", self.trouble);
    }

    fn files(&self) -> RunFiles {
        RunFiles::Store { blobs: Arc::clone(&self.store.blobs), run: run() }
    }

    /// All of them with what is in them.
    async fn contents(&self) -> BTreeMap<BlobPath, Vec<u8>> {
        let files = self.files();
        let mut contents = BTreeMap::new();
        for path in files.list(None).await.unwrap() {
            contents.insert(path.clone(), files.bytes(&path).await.unwrap());
        }
        contents
    }

    /// As [`World::contents`], of what does not tell when the campaign ran.
    pub async fn timeless(&self) -> BTreeMap<BlobPath, Vec<u8>> {
        let mut contents = self.contents().await;
        contents.retain(|path, _| !path.as_str().starts_with("report."));
        contents
    }

    /// Those for segments, and those for single customers.
    pub async fn variants(&self) -> Vec<Variant> {
        let contents = self.contents().await;
        if !contents.contains_key(&layout::blob(layout::VARIANTS)) {
            return Vec::new();
        }
        let mut variants = self.files().variants().await.unwrap();
        let lines = contents.iter().filter(|(path, _)| path.as_str().starts_with(layout::MESSAGES));
        let personal = lines.flat_map(|(_, lines)| messages::from_lines(lines).unwrap());
        variants.extend(personal.map(|message| message.variant));
        variants
    }

    async fn instance(&self) -> Instance {
        let blob = self.store.blobs.get(&names::instance(&id())).await.unwrap();
        serde_json::from_slice(&blob.bytes).unwrap()
    }

    /// Why items were given up.
    pub async fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for stage in &self.instance().await.stages {
            for index in 0..stage.planned {
                let read = record::read(self.store.blobs.as_ref(), &run(), stage.step, index, stage.attempt).await;
                if let Ok(Some(Record { result: Outcome::Failed(tombstone), .. })) = read {
                    reasons.push(format!("{} {index}: {}", stage.step, tombstone.reason));
                }
            }
        }
        reasons
    }

    /// The calls of a service that were answered as they should be.
    fn answered(&self, part: Part) -> Vec<Request> {
        let server = match part {
            Part::Model => &self.model,
            Part::Embeddings => &self.embeddings,
            Part::Safety => &self.safety,
            Part::Search => &self.search,
            Part::Tracking => unreachable!("nobody asks"),
        };
        let trouble = self.trouble.filter(|trouble| trouble.part == part && trouble.fault != Fault::Slow);
        let is_struck = |request: &Request| trouble.is_some_and(|trouble| trouble.strikes(request));
        server.requests().into_iter().filter(|request| !is_struck(request)).collect()
    }

    /// Everything that is wrong with the end of a campaign, whatever the fault.
    pub async fn complaints(&self) -> Vec<String> {
        let mut wrong = self.of_variants().await;
        wrong.extend(self.of_money().await);
        wrong.extend(self.of_files().await);
        wrong
    }

    /// What goes out was read by the screen and by the shields, in calls that they answered well; what does not says why.
    async fn of_variants(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (mut screened, mut shielded) = (BTreeSet::new(), BTreeSet::new());
        for request in self.answered(Part::Safety) {
            let text = |text: &Value| text.as_str().unwrap().to_owned();
            match &request.json()["documents"] {
                Value::Array(documents) => shielded.extend(documents.iter().map(text)),
                _ => screened.extend([text(&request.json()["text"])]),
            }
        }
        for variant in &self.variants().await {
            let read = as_read(variant);
            if variant.verdict.decision == Decision::Approved {
                if !screened.contains(&read) || !shielded.contains(&read) {
                    wrong.push(format!("{} goes out, and was not passed by screen and shields: {read}", variant.id));
                }
            } else if !variant.verdict.findings.iter().any(|finding| finding.blocks && !finding.why.is_empty()) {
                wrong.push(format!("{} is not approved, and nobody says why", variant.id));
            }
        }
        wrong
    }

    /// What was charged is counted, and what may have been.
    async fn of_money(&self) -> Vec<String> {
        let budget = self.instance().await.budget;
        let charged = self.charged();
        let is_uncertain = self.trouble.is_some_and(Trouble::may_have_cost);
        let is_right = if is_uncertain { budget.settled >= charged } else { budget.settled == charged };
        let (settled, reserved) = (budget.settled, budget.reserved);
        if is_right && settled <= reserved {
            return Vec::new();
        }
        vec![format!("{settled} settled of {reserved}, {charged} charged, and more: {is_uncertain}")]
    }

    /// The files of one that was completed hold together; of one that was not, there is nothing that could be sent.
    async fn of_files(&self) -> Vec<String> {
        let contents = self.contents().await;
        let is_delivery = |path: &&BlobPath| path.as_str().starts_with(layout::DELIVERIES);
        if self.view.status != Status::Completed {
            let sent = contents.keys().filter(is_delivery);
            return sent.map(|path| format!("{path} is there, and the campaign is not complete")).collect();
        }
        let mut wrong = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        contents.iter().for_each(|(path, bytes)| files.put(path, bytes).unwrap());
        let is_known = |path: &str| path.starts_with("audit/") || path.starts_with("report.");
        if let Err(mismatches) = audit::verify(&files, &files.list(None).unwrap(), is_known) {
            wrong.push(format!("the audit: {mismatches:?}"));
        }
        let ledger: Ledger = self.files().json(layout::LEDGER).await.unwrap();
        let settled = self.instance().await.budget.settled;
        if ledger.total_usd != settled {
            wrong.push(format!("the ledger has {}, and {settled} is settled", ledger.total_usd));
        }
        let variants = self.variants().await;
        let is_approved = |variant: &&Variant| variant.verdict.decision == Decision::Approved;
        let approved: BTreeSet<&str> = variants.iter().filter(is_approved).map(|variant| variant.id.as_str()).collect();
        for (path, bytes) in contents.iter().filter(|(path, _)| is_delivery(path)) {
            for row in Table::new(&table::decode(bytes.clone()).unwrap()).unwrap().rows() {
                match row.variant {
                    Some(variant) if !approved.contains(variant) => {
                        wrong.push(format!("{path}: {variant} is delivered, and not approved"));
                    }
                    None if row.reason.is_none() && row.arm != "holdout" => {
                        wrong.push(format!("{path}: nothing is delivered, and no reason"))
                    }
                    _ => {}
                }
            }
        }
        wrong
    }

    /// How many customers get a message.
    pub async fn delivered(&self) -> usize {
        let contents = self.contents().await;
        let tables = contents.iter().filter(|(path, _)| path.as_str().starts_with(layout::DELIVERIES));
        let sent = |bytes: &Vec<u8>| {
            let table = Table::new(&table::decode(bytes.clone()).unwrap()).unwrap();
            table.rows().filter(|row| row.variant.is_some()).count()
        };
        tables.map(|(_, bytes)| sent(bytes)).sum()
    }

    /// That the index answered, and charged for.
    pub fn ranked_queries(&self) -> usize {
        let is_semantic = |request: &&Request| !request.body.is_empty() && request.json()["queryType"] == "semantic";
        self.answered(Part::Search).iter().filter(is_semantic).count()
    }

    /// For all that was answered as it should be.
    fn charged(&self) -> Usd {
        let prices = Prices::default();
        let (input, output) = doubles::TOKENS;
        let per_message = (input as f64 * PRICE.0 + output as f64 * PRICE.1) / 1e6;
        let messages = self.answered(Part::Model).len();
        let tokens: u64 = self.answered(Part::Embeddings).iter().map(tokens).sum();
        let records: u64 = self.answered(Part::Safety).iter().map(records).sum();
        let queries = self.ranked_queries();
        Usd::from_dollars(messages as f64 * per_message + tokens as f64 * VECTORS_PRICE / 1e6).unwrap()
            + prices.text_records(records)
            + prices.semantic_queries(queries as u64)
    }
}

async fn served(
    trouble: Option<Trouble>,
    part: Part,
    is_over: &Arc<AtomicBool>,
    good: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Scripted {
    match trouble.filter(|trouble| trouble.part == part) {
        Some(trouble) => trouble.shown(is_over, good).await,
        None => Scripted::start(good).await,
    }
}

/// A vector for each text, whatever it says.
fn embeds(request: &Request) -> Reply {
    let texts = request.json()["input"].as_array().unwrap().len();
    let vector = |index: usize| json!({"index": index, "embedding": [1.0, 1.0 / (index + 1) as f64, 0.5]});
    let data: Vec<Value> = (0..texts).map(vector).collect();
    Reply::json(200, &json!({"data": data, "usage": {"prompt_tokens": tokens(request)}}))
}

/// What an embedding says that it took.
fn tokens(request: &Request) -> u64 {
    10 * request.json()["input"].as_array().unwrap().len() as u64
}

pub fn id() -> CampaignId {
    CampaignId::new("first-campaign").unwrap()
}

fn run() -> Run {
    Run { campaign: id(), generation: 1 }
}

/// Of a call of Content Safety: each text begins one, and each thousand of its characters.
fn records(request: &Request) -> u64 {
    let body = request.json();
    let texts = body["text"].as_str().into_iter();
    let documents = body["documents"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.chain(documents).map(|text| text.chars().count().div_ceil(1_000).max(1) as u64).sum()
}

/// As the gate gives it to the screen: with what stands in for a customer's values.
fn as_read(variant: &Variant) -> String {
    let filled = variant.message.filled(&BTreeMap::from([("first_name".to_owned(), "there".to_owned())]));
    format!("{}\n\n{}", filled.subject.unwrap_or_default(), filled.body)
}
