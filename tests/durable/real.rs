//! A real campaign in a folder of its own: customers in, deliveries out, with the agents of the product.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cpo::{
    Error,
    agents::experimentation::deliveries::Table,
    audit,
    domain::id::CampaignId,
    orchestration::{
        campaign::{self, Ended, Inputs, Means},
        engine::{Clock, Engine},
        layout,
        names::Run,
        stage::Agent,
        workshop::{Providers, Workshop},
        workspace,
    },
    store::{BlobPath, Embedded, Files, Store},
};
use tempfile::TempDir;

use crate::checker;

/// The starter campaign with customers of our own.
pub struct Folder(TempDir);

/// How customers are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Rules,
    /// In several passes over all shards.
    Rfm,
    KMeans,
}

impl Folder {
    pub fn new(method: Method, customers: usize) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let text = fs::read_to_string(starter.join("campaign.toml")).unwrap();
        let mut text = replaced(&text, "# date = ", "date = ");
        if method != Method::Rules {
            let name = if method == Method::Rfm { "rfm" } else { "kmeans" };
            text = replaced(&text, "method = \"rules\"", &format!("method = \"{name}\""));
            let rules = text.find("[[segmentation.rules]]").unwrap()..text.find("# --- what may be said").unwrap();
            text.replace_range(rules, "");
        }
        fs::write(folder.path("campaign.toml"), text).unwrap();
        copy(&starter.join("content"), &folder.path("content"));
        fs::write(folder.path("customers.csv"), customer_file(customers)).unwrap();
        folder
    }

    /// With a part of the campaign file replaced.
    pub fn edited(self, from: &str, to: &str) -> Self {
        let file = self.path("campaign.toml");
        fs::write(&file, replaced(&fs::read_to_string(&file).unwrap(), from, to)).unwrap();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A copy of everything, as somebody makes who pulls the plug on a disk.
    pub fn copied(&self) -> Self {
        let copied = Self(tempfile::tempdir().unwrap());
        copy(self.0.path(), copied.0.path());
        copied
    }

    pub fn inputs(&self) -> Inputs {
        inputs(self.0.path())
    }

    pub async fn run(&self, means: Means) -> Result<Ended, Error> {
        campaign::run_with(self.inputs(), means, &|_| ()).await
    }

    /// Where the run that is not complete keeps its state.
    pub fn working(&self) -> PathBuf {
        workspace::working(&self.path("out"), &id())
    }

    /// Where a complete one is.
    pub fn target(&self) -> PathBuf {
        workspace::target(&self.path("out"), &id())
    }

    /// What a complete run gave: file to bytes.
    pub fn given(&self) -> BTreeMap<String, Vec<u8>> {
        files_of(&self.target())
    }

    pub fn store(&self) -> Store {
        Embedded::open(&self.target(), run().folder()).unwrap().store()
    }

    /// Everything that is wrong with a complete run.
    pub async fn complaints(&self) -> Vec<String> {
        let embedded = Embedded::open(&self.target(), run().folder()).unwrap();
        embedded.take_over().unwrap();
        let store = embedded.store();
        settle(&store).await;
        let mut wrong = checker::complaints(&store, &id(), None).await;
        let waiting = checker::waiting(&store).await;
        if waiting > 0 {
            wrong.push(format!("{waiting} messages are left"));
        }
        let folder = self.target();
        wrong.extend(of_files(&folder));
        let left: Vec<_> = fs::read_dir(folder.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != id().as_str() && !name.ends_with(".lock"))
            .collect();
        if !left.is_empty() {
            wrong.push(format!("left beside the results: {left:?}"));
        }
        wrong
    }
}

/// File to bytes.
pub fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = Files::new(folder);
    let names = files.list(None).unwrap();
    names.iter().map(|name| (name.to_string(), files.get(name).unwrap())).collect()
}

/// Handles the messages that were still on the queues when a run ended, as any other process would: they change
/// nothing any more.
pub async fn settle(store: &Store) {
    let scratch = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(store.clone(), scratch.path().to_owned(), Providers::default());
    let engine = Engine::new(store.clone(), Arc::new(workshop), Clock::default());
    let orchestrate = Engine::orchestrate();
    let queues: Vec<_> = [orchestrate.clone()].into_iter().chain(Agent::ALL.map(Agent::queue)).collect();
    let mut is_quiet = false;
    while !is_quiet {
        is_quiet = true;
        for queue in &queues {
            for delivery in store.queues.receive(queue, 32, Duration::from_secs(600)).await.unwrap() {
                is_quiet = false;
                if *queue == orchestrate {
                    engine.orchestrate_message(&delivery.body).await.unwrap();
                } else {
                    engine.work(&delivery.body, delivery.deliveries).await.unwrap();
                }
                store.queues.delete(&delivery).await.unwrap();
            }
        }
    }
    engine.sweep().await.unwrap();
}

/// The files alone, whoever brought them there: they verify, and every planned customer is in exactly one delivery.
pub fn of_files(folder: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let files = Files::new(folder);
    let known = |path: &str| path.starts_with("audit/") || path.starts_with("report.");
    if let Err(mismatches) = audit::verify(&files, &files.list(None).unwrap(), known) {
        wrong.push(format!("{mismatches:?}"));
    }
    let mut customers = BTreeSet::new();
    for path in files.list(Some(&BlobPath::new(layout::DELIVERIES).unwrap())).unwrap() {
        let table = Table::new(&cpo::store::table::decode(files.get(&path).unwrap()).unwrap()).unwrap();
        for row in table.rows() {
            if !customers.insert(row.customer.to_owned()) {
                wrong.push(format!("{} is delivered to twice", row.customer));
            }
        }
    }
    let planned: usize = files
        .list(Some(&BlobPath::new(layout::SHARDS).unwrap()))
        .unwrap()
        .iter()
        .map(|shard| cpo::store::table::decode(files.get(shard).unwrap()).unwrap().num_rows())
        .sum();
    if planned != customers.len() || planned == 0 {
        wrong.push(format!("{} of {planned} customers are in the deliveries", customers.len()));
    }
    wrong
}

/// Of the one campaign in a folder.
pub fn id() -> CampaignId {
    CampaignId::new("first-campaign").unwrap()
}

pub fn run() -> Run {
    Run { campaign: id(), generation: 1 }
}

pub fn inputs(folder: &Path) -> Inputs {
    Inputs {
        campaign_file: folder.join("campaign.toml"),
        customers: folder.join("customers.csv"),
        content: None,
        out: folder.join("out"),
        replace: false,
        simulate: false,
        storage: None,
    }
}

pub fn is_complete(ended: &Result<Ended, Error>) -> bool {
    matches!(ended, Ok(Ended::Complete(_)))
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "there is no `{from}`");
    text.replacen(from, to, 1)
}

/// Nearly all of them may be contacted.
fn customer_file(customers: usize) -> String {
    let mut text =
        "customer_id,first_name,tier,days_since_order,orders_12m,avg_order_value,marketing_opt_in,sms_opt_in\n"
            .to_owned();
    for i in 0..customers {
        let name = ["Ada", "Ben", "Cleo", "Dan", ""][i % 5];
        let (tier, consent) = (["Basic", "Plus"][i % 2], if i % 11 == 0 { "no" } else { "yes" });
        let (days, orders, value) = (i * 37 % 300, i * 7 % 13, i * 13 % 60 + 5);
        text.push_str(&format!("C-{i:05},{name},{tier},{days},{orders},{value}.50,{consent},yes\n"));
    }
    text
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Another one each time, unless `CPO_SEED` says which.
pub fn seed() -> u64 {
    let seed = match std::env::var("CPO_SEED") {
        Ok(seed) => seed.parse().expect("CPO_SEED is a number"),
        Err(_) => u64::from(uuid::Uuid::new_v4().as_fields().0),
    };
    println!("CPO_SEED={seed}");
    seed
}
