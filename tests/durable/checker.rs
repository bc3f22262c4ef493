//! Reads a store and the journal, and says what is not as it must be.
//!
//! The rules are those of a ledger: everything planned is there once, everything there was planned, and the history
//! has no gap.

use std::collections::{BTreeMap, BTreeSet};

use cpo::{
    domain::{digest::Digest, id::CampaignId, money::Usd},
    orchestration::{
        arrivals::{self, Standing},
        engine::Engine,
        instance::{Happened, Instance, Progress, Status},
        names::{self, Run},
        record,
        stage::{Agent, Stage},
        turn::History,
    },
    store::{BlobPath, QueueName, Store},
};

use crate::simulated::Simulated;

/// Everything that is wrong with a campaign that has come to rest. Real agents keep no journal: theirs is looked at by
/// whoever put them there.
pub async fn complaints(store: &Store, campaign: &CampaignId, agents: Option<&Simulated>) -> Vec<String> {
    let mut wrong = Vec::new();
    let bytes = store.blobs.get(&names::instance(campaign)).await.unwrap().bytes;
    if bytes.len() > 65_536 {
        wrong.push(format!("the instance has {} bytes", bytes.len()));
    }
    let instance: Instance = serde_json::from_slice(&bytes).unwrap();
    if !matches!(instance.status, Status::Completed) {
        wrong.push(format!("the campaign is {:?}", instance.status));
    }
    if !instance.outbox.is_empty() {
        wrong.push(format!("left in the outbox: {:?}", instance.outbox));
    }
    wrong.extend(history(store, campaign, &instance).await);
    wrong.extend(items(store, campaign, &instance, agents).await);
    wrong.extend(money(&instance, agents));
    let active = store.blobs.list(Some(&BlobPath::new(names::ACTIVE).unwrap())).await.unwrap();
    if !active.is_empty() {
        wrong.push(format!("still on the sweeper's list: {active:?}"));
    }
    let inbox = store.blobs.list(Some(&names::inbox(campaign))).await.unwrap();
    if !inbox.is_empty() {
        wrong.push(format!("left in the inbox: {inbox:?}"));
    }
    wrong
}

/// Versions without a gap, each naming the one before by its digest, and no stage closed twice.
async fn history(store: &Store, campaign: &CampaignId, instance: &Instance) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut previous = None;
    let mut closed = BTreeSet::new();
    let mut events = Vec::new();
    for version in 1..instance.version {
        let Ok(blob) = store.blobs.get(&names::history(campaign, version)).await else {
            wrong.push(format!("version {version} is not in the history"));
            continue;
        };
        let history: History = serde_json::from_slice(&blob.bytes).unwrap();
        if history.version != version || history.previous != previous {
            wrong.push(format!("version {version} does not follow from the one before"));
        }
        previous = Some(Digest::of(&blob.bytes));
        events.extend(history.events);
    }
    if instance.previous != previous {
        wrong.push("the instance does not follow from its history".to_owned());
    }
    events.extend(instance.events.clone());
    let (mut generation, mut attempts) = (0, BTreeMap::new());
    for event in &events {
        match &event.what {
            Happened::Started { generation: begun, .. } => generation = *begun,
            Happened::Opened { step, attempt, .. } => {
                attempts.insert(*step, *attempt);
            }
            Happened::Closed { step, .. } if !closed.insert((generation, *step, attempts.get(step).copied())) => {
                wrong.push(format!("{step} was closed twice"));
            }
            _ => {}
        }
    }
    if events.windows(2).any(|pair| pair[0].at > pair[1].at) {
        wrong.push("time runs backwards in the history".to_owned());
    }
    wrong
}

/// Every planned item has one result, its arrival says the same, and nothing was made of anything unplanned.
async fn items(store: &Store, campaign: &CampaignId, instance: &Instance, agents: Option<&Simulated>) -> Vec<String> {
    let mut wrong = Vec::new();
    let run = Run { campaign: campaign.clone(), generation: instance.generation };
    for stage in &instance.stages {
        let Progress::Closed { total, .. } = &stage.state else {
            wrong.push(format!("{} is still open", stage.step));
            continue;
        };
        if total.done + total.failed != stage.planned {
            wrong.push(format!("{}: {} + {} of {}", stage.step, total.done, total.failed, stage.planned));
        }
        let mut done = 0;
        for index in 0..stage.planned {
            let log = arrivals::read(store.blobs.as_ref(), &run, stage.step, index / 4_096).await.unwrap();
            let standing = log.standings(stage, index / 4_096)[(index % 4_096) as usize];
            let record = record::read(store.blobs.as_ref(), &run, stage.step, index, stage.attempt).await.unwrap();
            let is_done = record.as_ref().is_some_and(record::Record::is_done);
            done += u32::from(is_done);
            match (record, standing) {
                (None, _) => wrong.push(format!("{} {index} has no record", stage.step)),
                (Some(_), Standing::Missing) => wrong.push(format!("{} {index} never arrived", stage.step)),
                (Some(_), standing) if (standing == Standing::Done) != is_done => {
                    wrong.push(format!("{} {index}: {standing:?}, and its record says otherwise", stage.step));
                }
                _ => {}
            }
            let item = (run.generation, stage.step, index);
            if is_done && agents.is_some_and(|agents| !agents.journal.lock().unwrap().calls.contains_key(&item)) {
                wrong.push(format!("{} {index} has a result that nobody made", stage.step));
            }
        }
        if done != total.done {
            wrong.push(format!("{}: {done} records are done, {} are counted", stage.step, total.done));
        }
        let stored = store.blobs.list(Some(&run.items(stage.step))).await.unwrap();
        for path in stored {
            if run.index_of(&path).is_none_or(|(index, _)| index >= stage.planned) {
                wrong.push(format!("{path} was never planned"));
            }
        }
    }
    let release = instance.stages.iter().find(|stage| stage.step.stage == Stage::Release);
    if release.is_none() {
        wrong.push("nothing was released".to_owned());
    }
    wrong
}

/// What is counted was spent, and what was spent stays below the cap but for calls that died unheard.
fn money(instance: &Instance, agents: Option<&Simulated>) -> Vec<String> {
    let mut wrong = Vec::new();
    let settled: Usd = instance.stages.iter().map(|stage| stage.total().cost).sum();
    if settled != instance.budget.settled {
        wrong.push(format!("{} settled, the stages say {settled}", instance.budget.settled));
    }
    if let Some(spent) = agents.map(|agents| agents.journal.lock().unwrap().spent)
        && settled > spent
    {
        wrong.push(format!("{settled} settled, but only {spent} were spent"));
    }
    if let Some(cap) = instance.policy.cap_usd
        && settled > cap
    {
        wrong.push(format!("{settled} settled, more than the cap {cap}"));
    }
    wrong
}

/// What waits on the queues, poison queues included; handed out to nobody.
pub async fn waiting(store: &Store) -> usize {
    let mut waiting = 0;
    for queue in queues() {
        loop {
            let received = store.queues.receive(&queue, 32, std::time::Duration::from_secs(600)).await.unwrap();
            if received.is_empty() {
                break;
            }
            waiting += received.len();
        }
    }
    waiting
}

/// Takes whatever waits on the queues away for good.
pub async fn lose_all(store: &Store) {
    for queue in queues() {
        while let Some(message) =
            store.queues.receive(&queue, 1, std::time::Duration::from_secs(600)).await.unwrap().pop()
        {
            store.queues.delete(&message).await.unwrap();
        }
    }
}

fn queues() -> impl Iterator<Item = QueueName> {
    let queues = Agent::ALL.map(Agent::queue).into_iter().flat_map(|queue| [queue.poison(), queue]);
    queues.chain([Engine::orchestrate()])
}
