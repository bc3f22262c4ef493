//! The app over a store in memory, with campaigns that are brought to any state on purpose.
//!
//! Nothing works by itself here: no queue is served, time stands still unless somebody waits.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{Request as HttpRequest, Response},
};
use cpo::{
    config::Campaign,
    domain::{decision, digest::Digest, id::CampaignId, money::Usd, problem::Problem, variant::Usage},
    functions::{self, App, access::Access, api::uploads::UploadUrls},
    orchestration::{
        client::Answer,
        engine::{Clock, Engine},
        instance::{Approval, Fact, Instance, Plan, Request, Status},
        item::{Item, Wake, WakeSchema},
        stage::Stage,
        start::{self, Source, Start},
        summary::{CustomerCounts, VariantCounts},
        workshop::{Agents, Closed, Output, Setback, Trouble},
    },
    store::{BlobPath, Memory, Precondition, Store},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Suspended,
    Completed,
    Failed,
    Terminated,
}

impl State {
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "Running" => Self::Running,
            "Suspended" => Self::Suspended,
            "Completed" => Self::Completed,
            "Failed" => Self::Failed,
            "Terminated" => Self::Terminated,
            _ => return None,
        })
    }
}

/// Agents that answer at once, and fail the campaigns that they are told to fail.
#[derive(Debug, Default)]
struct Made {
    failing: Mutex<BTreeSet<CampaignId>>,
    /// Those whose messages wait for a person.
    gated: Mutex<BTreeSet<CampaignId>>,
}

/// What the gate asks about.
pub fn waiting() -> Digest {
    Digest::of("variants")
}

#[async_trait]
impl Agents for Made {
    async fn perform(&self, item: &Item, _: &Instance) -> Result<Output, Setback> {
        if item.step.stage == Stage::Label && self.failing.lock().unwrap().contains(&item.campaign) {
            return Err(Trouble::Problems(vec![Problem::new("it was made to fail", "mend it")]).into());
        }
        let needs_review = u32::from(self.gated.lock().unwrap().contains(&item.campaign));
        let fact = match item.step.stage {
            Stage::Ingest => Some(Fact::Ingested { shards: 1, profile: false }),
            Stage::Design => Some(Fact::Designed(Plan { queries: 1, variants: 1, ..Plan::default() })),
            Stage::Collect => Some(Fact::Collected { digest: waiting(), approved: 0, blocked: 0, needs_review }),
            _ => None,
        };
        if item.step.stage != Stage::Close {
            return Ok(Output::new(fact, Usage::default(), &"made up")?);
        }
        let closed = Closed {
            root: Digest::of("audit"),
            customers: CustomerCounts {
                read: 1,
                quarantined: 0,
                suppressed: 0,
                duplicates: 0,
                holdout: 0,
                held: 0,
                assigned: 1,
                undelivered: 0,
            },
            segments: Vec::new(),
            variants: VariantCounts { generated: 1, approved: 1, blocked: 0, needs_review: 0 },
            personal: None,
            arms: Vec::new(),
            cost_usd: Usd::ZERO,
            warnings: Vec::new(),
        };
        Ok(Output::new(None, Usage::default(), &closed)?)
    }
}

pub struct World {
    pub engine: Arc<Engine>,
    store: Store,
    agents: Arc<Made>,
    router: Router,
    now: Arc<Mutex<Timestamp>>,
}

/// Where the client reached the app, and with which key.
pub const HOST: &str = "app.example";
pub const CUSTOMERS: &str = "customers/first.csv";

impl World {
    pub async fn new() -> Self {
        let now = Arc::new(Mutex::new("2026-11-22T17:00:00Z".parse::<Timestamp>().unwrap()));
        let clock = {
            let now = Arc::clone(&now);
            move || {
                let mut now = now.lock().unwrap();
                *now += Duration::from_micros(1);
                *now
            }
        };
        let store = Memory::default().store();
        let agents = Arc::new(Made::default());
        let engine = Arc::new(Engine::new(store.clone(), agents.clone(), Clock(Arc::new(clock))));
        let scratch = Arc::from(std::env::temp_dir());
        let app = App {
            engine: Arc::clone(&engine),
            scratch,
            uploads: UploadUrls::Here,
            access: Access::Local,
            realtime: Arc::default(),
        };
        let world = Self { engine, store, agents, router: functions::router(app), now };
        let starter = starter();
        for entry in std::fs::read_dir(starter.join("content")).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            world.put(&format!("content/starter/{name}"), std::fs::read(&file).unwrap()).await;
        }
        world.put(CUSTOMERS, std::fs::read(starter.join("customers.csv")).unwrap()).await;
        world
    }

    pub async fn put(&self, path: &str, bytes: Vec<u8>) {
        self.store.blobs.put(&BlobPath::new(path).unwrap(), bytes, Precondition::None).await.unwrap();
    }

    pub fn set_time(&self, now: &str) {
        *self.now.lock().unwrap() = now.parse().unwrap();
    }

    pub async fn call(&self, request: HttpRequest<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn state(&self, id: &CampaignId) -> Option<State> {
        let held = self.engine.load(id).await.unwrap()?;
        Some(match held.instance.status {
            Status::Running => State::Running,
            Status::Suspended { .. } => State::Suspended,
            Status::Completed => State::Completed,
            Status::Failed { .. } => State::Failed,
            Status::Terminated { .. } => State::Terminated,
        })
    }

    /// Does whatever it takes that the campaign is in that state. `said`: the reason for it, where it is new there.
    pub async fn bring(&self, id: &CampaignId, wanted: State, said: &str) {
        let reason = said.to_owned();
        let is_new = self.state(id).await.is_none();
        loop {
            match (self.state(id).await, wanted) {
                (None, _) => self.start(id).await,
                (Some(State::Running), State::Running) if is_new && !said.is_empty() => {
                    self.ask(id, Request::Suspend { reason: "pause".to_owned() }).await;
                    return self.ask(id, Request::Resume { reason }).await;
                }
                (Some(state), _) if state == wanted => return,
                (Some(State::Running), State::Completed) => self.work(id, false).await,
                (Some(State::Running), State::Failed) => self.work(id, true).await,
                (Some(State::Running), State::Suspended) => {
                    self.ask(id, Request::Suspend { reason: reason.clone() }).await;
                }
                (Some(State::Running | State::Suspended), State::Terminated) => {
                    self.ask(id, Request::Terminate { reason: reason.clone() }).await;
                }
                (Some(State::Suspended), _) => {
                    let reason = if wanted == State::Running { reason.clone() } else { String::new() };
                    self.ask(id, Request::Resume { reason }).await;
                }
                // It has ended, and is wanted otherwise: another one takes its id.
                (Some(_), _) => self.engine.purge(id).await.unwrap(),
            }
        }
    }

    /// Without the API.
    async fn start(&self, id: &CampaignId) {
        let mut campaign = Campaign::read(&starter().join("campaign.toml")).unwrap();
        campaign.campaign.id = id.clone();
        let start = Start {
            schema: start::Schema::V1,
            campaign,
            documents: Digest::of("library"),
            content: Digest::of("content"),
            content_folder: "content".into(),
            customers: Source::Blob { path: BlobPath::new(CUSTOMERS).unwrap(), etag: None, name: CUSTOMERS.into() },
            suppression: None,
            shard_rows: 1,
            engine: "test".to_owned(),
            prices: None,
        };
        self.engine.start(&start, b"library".to_vec()).await.unwrap();
    }

    /// Lets the campaign's messages wait for a person.
    pub fn gate(&self, id: &CampaignId) {
        self.agents.gated.lock().unwrap().insert(id.clone());
    }

    pub async fn ask(&self, id: &CampaignId, request: Request) {
        assert_eq!(self.engine.ask(id, request).await.unwrap(), Answer::Taken, "{id}");
    }

    /// Works on the campaign until it has ended; decides on what waits.
    pub async fn work(&self, id: &CampaignId, fails: bool) {
        {
            let mut failing = self.agents.failing.lock().unwrap();
            if fails {
                failing.insert(id.clone())
            } else {
                failing.remove(id)
            };
        }
        while let Some(instance) = self.work_to_gate(id).await {
            if instance.gate.is_none() {
                return;
            }
            let decision = decision::Decision {
                schema: decision::Schema::V1,
                digest: waiting(),
                approved: decision::Approved::All,
                by: "Ada".to_owned(),
                note: None,
            };
            let kept = self.engine.keep_input(id, serde_json::to_vec(&decision).unwrap()).await.unwrap();
            let approval = Approval { digest: waiting(), decision: kept, by: decision.by };
            self.ask(id, Request::Decide { approval }).await;
        }
    }

    /// Works until nothing is open any more.
    pub async fn work_to_gate(&self, id: &CampaignId) -> Option<Instance> {
        loop {
            let wake = Wake { schema: WakeSchema::V1, campaign: id.clone(), group: None };
            self.engine.turn(&wake).await.unwrap();
            let instance = self.engine.load(id).await.unwrap()?.instance;
            if instance.status != Status::Running || instance.open_stages().next().is_none() {
                return Some(instance);
            }
            for stage in instance.open_stages() {
                for index in 0..stage.planned {
                    let item = json!({
                        "schema": "item/1",
                        "campaign": id,
                        "generation": instance.generation,
                        "step": stage.step,
                        "index": index,
                        "attempt": stage.attempt,
                        "allowance": stage.allowance,
                        "version": instance.version,
                        "expected": 1,
                    });
                    self.engine.work(&serde_json::to_vec(&item).unwrap(), 1).await.unwrap();
                }
            }
        }
    }
}

fn starter() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter")
}

/// A campaign as a client sends it. Another `name` makes other inputs.
pub fn spec(id: &str, name: &str) -> Value {
    let campaign = Campaign::read(&starter().join("campaign.toml")).unwrap();
    let mut spec = serde_json::to_value(&campaign).unwrap();
    spec["campaign"]["id"] = id.into();
    spec["campaign"]["name"] = format!("Campaign {name}").into();
    spec["content"]["path"] = "starter".into();
    spec["inputs"] = json!({ "customers": CUSTOMERS });
    spec
}

/// That everything which waits is approved.
pub fn approval() -> Value {
    json!({ "digest": waiting(), "approve": "all", "by": "Ada", "note": "looks good" })
}
