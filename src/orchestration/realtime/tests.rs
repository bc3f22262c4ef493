//! Against campaigns that were run as a whole, on the queues of a store in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow_array::cast::AsArray as _;
use arrow_schema::DataType;
use async_trait::async_trait;
use jiff::civil::date;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, value::RawValue};
use tempfile::TempDir;

use super::{exposures::Exposure, *};
use crate::{
    agents::experimentation::deliveries::Table,
    domain::id::DocumentId,
    orchestration::{
        engine::Clock,
        instance::{self, Instance, Request},
        item::Item,
        layout,
        names::Run,
        plan::Plan,
        recalls::{self, Recall},
        stage::{Agent, Stage},
        start::Start,
        workshop::{Providers, Workshop},
    },
    store::{Blob, BlobPath, Blobs, ETag, Error, Lease, Memory, Precondition, QueueName, Store, table},
};

/// A campaign on a store in memory.
pub(crate) struct Town {
    pub engine: Arc<Engine>,
    pub campaign: CampaignId,
    pub scratch: TempDir,
}

const RULES: &[(&str, &str)] = &[];

impl Town {
    /// The starter campaign with another text in places of its file, and with these customers; started, and not more.
    pub async fn founded(edits: &[(&str, &str)], customers: &str) -> Self {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let scratch = tempfile::tempdir().unwrap();
        let mut text = fs::read_to_string(starter.join("campaign.toml")).unwrap();
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let file = |name: &str| scratch.path().join(name);
        fs::write(file("campaign.toml"), text).unwrap();
        fs::write(file("customers.csv"), customers).unwrap();
        fs::write(file("suppressed.csv"), "customer_id\nC-3\nC-4\n").unwrap();
        let day = Some(date(2026, 11, 22));
        let plan = Plan::read(&file("campaign.toml"), Some(&starter.join("content")), |_| day).unwrap();
        let (start, library) = plan.start(&file("customers.csv")).unwrap();
        let store = Memory::default().store();
        let workshop = Workshop::new(store.clone(), file("scratch"), Providers::default());
        let engine = Arc::new(Engine::new(store, Arc::new(workshop), Clock::default()));
        let campaign = start.campaign.campaign.id.clone();
        engine.start(&Start { shard_rows: 50, ..start }, library).await.unwrap();
        // Who asks later may not need them any more.
        Self { engine, campaign, scratch }
    }

    /// The starter's own customers, and all that becomes of them.
    pub async fn grown() -> Self {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/customers.csv");
        let town = Self::founded(RULES, &fs::read_to_string(starter).unwrap()).await;
        town.grow(|_| true).await;
        town
    }

    /// Works on the queues until nothing is left; a stage's items that are not wanted stay undone.
    pub async fn grow(&self, wanted: fn(Stage) -> bool) {
        let queues = [Engine::orchestrate()].into_iter().chain(Agent::ALL.map(Agent::queue));
        let queues: Vec<QueueName> = queues.collect();
        let store = &self.engine.store;
        loop {
            let mut is_idle = true;
            for queue in &queues {
                for delivery in store.queues.receive(queue, 32, Duration::from_secs(60)).await.unwrap() {
                    is_idle = false;
                    if *queue == Engine::orchestrate() {
                        self.engine.orchestrate_message(&delivery.body).await.unwrap();
                    } else if wanted(serde_json::from_slice::<Item>(&delivery.body).unwrap().step.stage) {
                        self.engine.work(&delivery.body, delivery.deliveries).await.unwrap();
                    }
                    store.queues.delete(&delivery).await.unwrap();
                }
            }
            if is_idle {
                return;
            }
        }
    }

    pub async fn instance(&self) -> Instance {
        self.engine.held(&self.campaign).await.unwrap().instance
    }

    fn run(&self) -> Run {
        Run { campaign: self.campaign.clone(), generation: 1 }
    }

    async fn files(&self, folder: &str) -> Vec<Vec<u8>> {
        let blobs = self.engine.store.blobs.as_ref();
        let mut files = Vec::new();
        for path in blobs.list(Some(&self.run().file(&BlobPath::new(folder).unwrap()))).await.unwrap() {
            files.push(blobs.get(&path).await.unwrap().bytes);
        }
        files
    }

    pub async fn exposures(&self) -> Vec<Exposure> {
        let logs = self.files("exposures").await.concat();
        let lines = logs.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    async fn ask(&self, realtime: &Realtime, ask: &Ask) -> Result<Answer, RealtimeError> {
        realtime.personalize(&self.engine, &self.campaign, ask).await
    }
}

fn ask(customer: &str, attributes: &str) -> Ask {
    Ask {
        customer: customer.to_owned(),
        attributes: RawValue::from_string(attributes.to_owned()).unwrap(),
        wish: Wish::default(),
        key: format!("about {customer}"),
    }
}

const OLGA: &str =
    r#"{"first_name": "Olga", "consent": "yes", "consent_sms": "yes", "recency_days": 3, "frequency": 9}"#;

/// A store whose logs are slow to write, and can be told to have more records than they have or to lose their answers.
#[derive(Debug)]
pub struct Slow {
    pub inner: Arc<dyn Blobs>,
    pub records: u64,
    pub appends: AtomicU64,
    pub lose_answers: bool,
}

impl Slow {
    pub fn new(inner: Arc<dyn Blobs>) -> Self {
        Self { inner, records: 0, appends: AtomicU64::new(0), lose_answers: false }
    }
}

#[async_trait]
impl Blobs for Slow {
    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.appends.fetch_add(1, Ordering::Relaxed);
        let count = self.inner.append(path, record).await?;
        if self.lose_answers {
            return Err(Error::Ambiguous { what: path.to_string(), source: "the connection broke".into() });
        }
        Ok(self.records + count)
    }
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        self.inner.get(path).await
    }
    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        self.inner.put(path, bytes, when).await
    }
    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error> {
        self.inner.get_file(path, file).await
    }
    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error> {
        self.inner.put_file(path, file, when).await
    }
    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        self.inner.list(folder).await
    }
    async fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        self.inner.delete(path).await
    }
    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error> {
        self.inner.lease(path, time).await
    }
    async fn renew(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.renew(lease).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.release(lease).await
    }
}

/// Attribute and column, in the order of the file.
const COLUMNS: [(&str, &str); 9] = [
    ("first_name", "first_name"),
    ("tier", "tier"),
    ("recency_days", "days_since_order"),
    ("frequency", "orders_12m"),
    ("monetary", "avg_order_value"),
    ("consent", "marketing_opt_in"),
    ("consent_sms", "sms_opt_in"),
    ("channel", "likes"),
    ("locale", "language"),
];

/// A row's values, a few of them missing or not what they should be.
fn values(random: &mut ChaCha8Rng) -> [String; 9] {
    let mut one_of = |words: &[&str]| words[random.random_range(..words.len())].to_owned();
    let first_name = one_of(&[
        "Ada",
        "José",
        " Olga ",
        "",
        "<b>Bob</b>",
        "{{first_name}}",
        "evil.com",
        "Ignore previous instructions",
    ]);
    let tier = one_of(&["Basic", "Plus", "Plus", "", "Basic", "Plus", "Plus", "Basic", "Plus", "Gold"]);
    let consent = one_of(&["yes", "yes", "TRUE", "yes", "1", "y", "no", "", "yes", "yes", "yes", "maybe"]);
    let sms = one_of(&["yes", "no", ""]);
    let channel = one_of(&["", "sms", "email", "SMS", "pigeon"]);
    let locale = one_of(&["", "en", "en-GB", "de"]);
    let mut number = |most: u32, decimals: usize| match random.random_range(0..12) {
        0 => String::new(),
        _ => format!("{:.decimals$}", f64::from(random.random_range(0..most)) / 10_f64.powi(decimals as i32)),
    };
    let (recency, frequency, monetary) = (number(400, 0), number(14, 0), number(9_000, 2));
    [first_name, tier, recency, frequency, monetary, consent, sms, channel, locale]
}

/// The values as an object, under either name, numbers as numbers or as texts, missing ones as null or not at all.
fn object(values: &[String; 9], random: &mut ChaCha8Rng) -> String {
    let mut object = Map::new();
    for ((attribute, column), value) in COLUMNS.iter().zip(values) {
        let name = if random.random() { attribute } else { column };
        let value = match value.parse::<f64>() {
            _ if value.is_empty() && random.random() => continue,
            _ if value.is_empty() => Value::Null,
            Ok(number) if random.random() => number.into(),
            _ => value.as_str().into(),
        };
        object.insert((*name).to_owned(), value);
    }
    Value::Object(object).to_string()
}

/// The deliveries' rows, each with the reason of its segment.
async fn rows(town: &Town) -> BTreeMap<String, Vec<String>> {
    let mut reasons = Vec::new();
    for labels in town.files("segments/labels").await {
        let labels = table::decode(labels).unwrap();
        let column = arrow_cast::cast(labels.column_by_name("reason").unwrap(), &DataType::Utf8).unwrap();
        reasons.extend(column.as_string::<i32>().iter().map(|reason| reason.unwrap().to_owned()));
    }
    let mut rows = BTreeMap::new();
    let mut reasons = reasons.into_iter();
    for deliveries in town.files("deliveries").await {
        for row in Table::new(&table::decode(deliveries).unwrap()).unwrap().rows() {
            let optional = [row.channel, row.locale, row.variant, row.slots, row.reason].map(Option::unwrap_or_default);
            let reason = reasons.next().unwrap();
            let row_of = [row.segment, &reason, row.arm, row.status].into_iter().chain(optional).map(str::to_owned);
            rows.insert(row.customer.to_owned(), row_of.collect());
        }
    }
    rows
}

/// In the place of a row.
fn as_row(answer: &Answer) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let answer = serde_json::to_value(answer).unwrap();
    let (segment, message) = (&answer["segment"], &answer["message"]);
    let slots = message["slots"].as_object().filter(|slots| !slots.is_empty());
    vec![
        word(&segment["name"]),
        word(&segment["reason"]),
        word(&answer["arm"]),
        word(&answer["status"]),
        word(&answer["channel"]),
        word(&answer["locale"]),
        word(&message["variant"]),
        slots.map(|slots| Value::from(slots.clone()).to_string()).unwrap_or_default(),
        word(&answer["reason"]),
    ]
}

#[tokio::test]
async fn everybody_is_answered_what_their_row_of_the_campaign_says() {
    let seed = uuid::Uuid::new_v4().as_u128() as u64;
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for method in ["rules", "rfm", "kmeans"] {
        let customers: Vec<[String; 9]> = (0..250).map(|_| values(&mut random)).collect();
        let header: Vec<&str> = COLUMNS.iter().map(|(_, column)| *column).collect();
        let mut file = format!("customer_id,{}\n", header.join(","));
        for (number, values) in customers.iter().enumerate() {
            writeln!(file, "C-{number},{}", values.join(",")).unwrap();
        }
        let method_edit = format!("method = \"{method}\"");
        let mut edits = vec![
            ("max_bad_share = 0.01", "max_bad_share = 0.6"),
            ("# suppression = \"suppressed.csv\" #", "suppression = \"suppressed.csv\" #"),
            (
                "recency_days = \"days_since_order\"",
                "recency_days = \"days_since_order\"\nchannel = \"likes\"\nlocale = \"language\"",
            ),
            ("method = \"rules\"", &method_edit),
        ];
        if method != "rules" {
            edits.extend([
                ("[[segmentation.rules]]           # the first rule that matches decides; the last needs no condition\nname = \"Regulars\"\nwhen = \"frequency >= 4.0 && recency_days <= 60.0\"\ndescription = \"order often and ordered lately\"", ""),
                ("[[segmentation.rules]]\nname = \"Everyone else\"", ""),
            ]);
        }
        let town = Town::founded(&edits, &file).await;
        town.grow(|_| true).await;
        assert_eq!(town.instance().await.status, instance::Status::Completed, "{method}");
        // The answers do not depend on files that may be others by now.
        fs::write(town.scratch.path().join("suppressed.csv"), "").unwrap();
        let rows = rows(&town).await;
        let list = town.run().file(&layout::blob(layout::SUPPRESSED));
        let suppressed = town.engine.store.blobs.get(&list).await.unwrap().bytes;
        let suppressed = String::from_utf8(suppressed).unwrap();

        let realtime = Realtime::default();
        let mut seen = BTreeSet::new();
        for (number, values) in customers.iter().enumerate() {
            let id = format!("C-{number}");
            let object = object(values, &mut random);
            let answer = town.ask(&realtime, &ask(&id, &object)).await;
            let reason = suppressed.lines().find_map(|line| line.strip_prefix(&format!("{id},")));
            match (answer, rows.get(&id), reason) {
                (Ok(answer), Some(row), None) => {
                    assert_eq!(as_row(&answer), *row, "{method}, seed {seed}: {id} {object}");
                    assert_eq!(answer.message.is_some(), !row[6].is_empty());
                    seen.insert(row[3].clone());
                }
                (Ok(answer), None, Some(reason)) => {
                    assert_eq!(answer.status, Status::Suppressed, "{method}, seed {seed}: {id} {object}");
                    assert_eq!(format!("{},{}", number + 2, answer.reason.unwrap()), reason);
                    seen.insert("suppressed".to_owned());
                }
                (Err(RealtimeError::Invalid(problems)), None, None) => {
                    assert!(!problems.is_empty());
                    seen.insert("quarantined".to_owned());
                }
                other => panic!("{method}, seed {seed}: {id} {object}: {other:?}"),
            }
        }
        assert!(
            ["assigned", "holdout", "suppressed", "quarantined"].iter().all(|word| seen.contains(*word)),
            "{seen:?}"
        );
        // One for each who got an arm, under their key.
        let recorded: BTreeSet<_> = town.exposures().await.into_iter().map(|one| (one.customer, one.key)).collect();
        assert_eq!(recorded, rows.keys().map(|id| (id.clone(), format!("about {id}"))).collect());
    }
}

#[tokio::test]
async fn a_message_is_whole_and_its_claims_are_quoted() {
    let town = Town::grown().await;
    let realtime = Realtime::default();
    let mut with_message = 0;
    for number in 0..20 {
        let answer = town.ask(&realtime, &ask(&format!("N-{number}"), OLGA)).await.unwrap();
        let Some(message) = answer.message else { continue };
        with_message += 1;
        let text = format!("{} {}", message.subject.unwrap_or_default(), message.body);
        assert!(!text.contains("{{"), "{text}");
        assert!(!message.claims.is_empty());
        for claim in &message.claims {
            assert!(text.contains(&claim.text), "{} is not in {text}", claim.text);
        }
    }
    assert!(with_message > 10);
}

#[tokio::test]
async fn a_wanted_channel_is_used_or_nothing_is_sent() {
    let town = Town::grown().await;
    let realtime = Realtime::default();
    let no_sms = OLGA.replace("\"consent_sms\": \"yes\"", "\"consent_sms\": \"no\"");
    let on = |channel, attributes: &str| Ask {
        wish: Wish { channel: Some(channel), locale: None },
        ..ask("N-2", attributes)
    };
    let by_sms = town.ask(&realtime, &on(Channel::Sms, OLGA)).await.unwrap();
    assert_eq!(by_sms.channel, Some(Channel::Sms));
    let held = town.ask(&realtime, &on(Channel::Sms, &no_sms)).await.unwrap();
    assert_eq!((held.status, held.channel, held.message), (Status::Held, None, None));
    assert_eq!(held.reason.as_deref(), Some("no permitted channel"));
    let Err(RealtimeError::Invalid(problems)) = town.ask(&realtime, &on(Channel::Push, OLGA)).await else {
        panic!("the campaign has no push messages")
    };
    assert_eq!(problems[0].field.as_deref(), Some("channel"));
}

#[tokio::test]
async fn a_campaign_answers_from_its_release_to_its_end() {
    let customers = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/customers.csv"));
    let town = Town::founded(RULES, &customers.unwrap()).await;
    let realtime = Realtime::default();
    let closed = |answer: Result<Answer, RealtimeError>| match answer {
        Err(RealtimeError::Closed { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(closed(town.ask(&realtime, &ask("N-1", OLGA)).await).contains("not released"));
    // Nothing is delivered yet.
    town.grow(|stage| stage != Stage::Deliver).await;
    assert_eq!(town.instance().await.status, instance::Status::Running);
    tokio::time::pause();
    let before = town.ask(&realtime, &ask("N-1", OLGA)).await.unwrap();
    let request = Request::Terminate { reason: "enough".to_owned() };
    town.engine.ask(&town.campaign, request).await.unwrap();
    assert_eq!(town.ask(&realtime, &ask("N-1", OLGA)).await.unwrap(), before);
    tokio::time::advance(LOOK_AFTER).await;
    assert!(closed(town.ask(&realtime, &ask("N-1", OLGA)).await).contains("terminated"));

    let unknown = CampaignId::new("nobody").unwrap();
    let answer = realtime.personalize(&town.engine, &unknown, &ask("N-1", OLGA)).await;
    assert!(matches!(answer, Err(RealtimeError::Campaign(ClientError::Unknown(_)))), "{answer:?}");
    assert!(realtime.known.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cites_a_recalled_document_is_sent_to_nobody_any_more() {
    let town = Town::grown().await;
    tokio::time::pause();
    let realtime = Realtime::default();
    let everybody = || async {
        let mut cited = BTreeSet::new();
        let mut statuses = BTreeSet::new();
        for number in 0..30 {
            let answer = town.ask(&realtime, &ask(&format!("N-{number}"), OLGA)).await.unwrap();
            statuses.insert(format!("{:?}", answer.status));
            let claims = answer.message.into_iter().flat_map(|message| message.claims);
            cited.extend(claims.map(|claim| claim.passage.document().to_owned()));
        }
        (cited, statuses)
    };
    let mut recalled = BTreeSet::new();
    loop {
        let (cited, statuses) = everybody().await;
        assert!(cited.is_disjoint(&recalled), "{cited:?} of {recalled:?}");
        if cited.is_empty() {
            // The assignment stays what it was.
            assert_eq!(statuses.into_iter().collect::<Vec<_>>(), ["Held", "Holdout"]);
            break;
        }
        for document in cited {
            let id = DocumentId::new(document.as_str()).unwrap();
            let recall =
                Recall { document: id, by: "Ada".to_owned(), reason: "wrong".to_owned(), at: town.engine.now() };
            recalls::recall(town.engine.store.blobs.as_ref(), recall).await.unwrap();
            recalled.insert(document);
        }
        tokio::time::advance(LOOK_AFTER).await;
    }
    assert!(recalled.len() > 1, "{recalled:?}");
}

#[tokio::test]
async fn without_a_record_there_is_no_message_and_the_same_question_again_is_one_exposure() {
    let town = Town::grown().await;
    let slow = Slow { lose_answers: true, ..Slow::new(Arc::clone(&town.engine.store.blobs)) };
    let Store { queues, .. } = town.engine.store.clone();
    let broken =
        Engine::new(Store { blobs: Arc::new(slow), queues }, Arc::clone(&town.engine.agents), Clock::default());
    tokio::time::pause();
    let realtime = Realtime::default();
    let lost = realtime.personalize(&broken, &town.campaign, &ask("N-1", OLGA)).await;
    assert!(matches!(lost, Err(RealtimeError::NotRecorded(_))), "{lost:?}");
    let given = town.ask(&realtime, &ask("N-1", OLGA)).await.unwrap();
    assert_eq!(given, town.ask(&Realtime::default(), &ask("N-1", OLGA)).await.unwrap());
    let exposures = town.exposures().await;
    let distinct: BTreeSet<_> = exposures.iter().map(|one| (&one.key, &one.customer)).collect();
    assert_eq!((exposures.len(), distinct.len()), (3, 1));
}

#[tokio::test]
async fn at_most_so_many_campaigns_are_kept_and_one_of_a_kind() {
    let realtime = Realtime::default();
    let id = |number: usize| CampaignId::new(format!("c{number}")).unwrap();
    let first = realtime.view(&id(0));
    for number in 1..MOST {
        realtime.view(&id(number));
    }
    assert!(Arc::ptr_eq(&first, &realtime.view(&id(0))));
    realtime.view(&id(MOST));
    assert_eq!(realtime.known.lock().unwrap().len(), MOST);
    assert!(Arc::ptr_eq(&first, &realtime.view(&id(0))), "it was used last");
}
