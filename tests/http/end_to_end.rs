//! A campaign from its files to its results, as an outsider does it: an account, processes of the product, plain HTTP.

mod ended;
mod input;
mod outsider;
mod processes;

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use cpo::agents::experimentation::deliveries::Table;
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use self::{
    ended::Ended,
    input::{Input, with_a_rough_word},
    outsider::Outsider,
    processes::Processes,
};
use crate::{
    azurite,
    support::{campaign, documents},
};

const ID: &str = "spring";
/// So many that several processes have something to do.
const CANDIDATES: u32 = 5;
const PERSON: &str = "Ada Lovelace";
/// What an answer asks a poller to wait at most.
const AS_TOLD: Duration = Duration::from_secs(10);
/// For who must not miss how processes die.
const HASTY: Duration = Duration::from_millis(100);
/// No test takes that long.
const BOUND: Duration = Duration::from_secs(240);

/// A campaign that waits for a person.
struct Waiting {
    /// As its start was answered.
    started: Value,
    digest: String,
    /// What waits, of which a person approves the first.
    flagged: Vec<String>,
    /// Items that are done.
    done: u64,
}

/// How the person's decision is sent.
enum Decision {
    Approval,
    /// Of Durable Functions.
    Event,
}

/// How many items are done; none fails.
async fn done(outsider: &Outsider) -> u64 {
    let answer = outsider.get(&format!("/api/campaigns/{ID}")).await;
    if answer.status == 404 {
        return 0;
    }
    let progress = answer.is(200).json()["progress"].take();
    assert_eq!(progress["failed"], 0, "{progress}");
    progress["done"].as_u64().unwrap()
}

async fn until_it_waits(outsider: &Outsider, input: &Input) -> Waiting {
    for (name, bytes) in documents().into_iter().map(with_a_rough_word) {
        let path = outsider.upload(json!({ "kind": "content", "name": format!("autumn/{name}") }), bytes).await;
        assert_eq!(path, format!("content/autumn/{name}"));
    }
    let what = |kind: &str, name: &str| json!({ "kind": kind, "name": name });
    let customers = outsider.upload(what("customers", "customers.csv"), input.customers.clone().into()).await;
    let listed = outsider.upload(what("suppression", "never.txt"), input.suppression.clone().into()).await;
    let mut spec = campaign(ID, &customers);
    spec["inputs"]["suppression"] = listed.into();
    spec["safety"]["block_at"]["violence"] = 4.into();
    spec["generation"]["candidates"] = CANDIDATES.into();
    let begun = outsider.post("/api/campaigns", &spec).await.is(202);
    let started = begun.json();
    assert_eq!(started["statusQueryGetUri"], begun.header("location"));

    let stands = outsider.poll(begun, |status| !status["customStatus"]["gate"].is_null()).await.is(202).json();
    let gate = &stands["customStatus"]["gate"];
    let queue = format!("/api/campaigns/{ID}/variants?decision=needs_review");
    let queue = outsider.get(&queue).await.is(200).json();
    let flagged = queue["items"].as_array().unwrap();
    assert_eq!((&queue["gate"]["digest"], &gate["needs_review"]), (&gate["digest"], &flagged.len().into()));
    for variant in flagged {
        let findings = variant["verdict"]["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["rule"] == "harm" && finding["blocks"] == false), "{variant:#}");
    }
    let mut flagged: Vec<_> = flagged.iter().map(|variant| variant["id"].as_str().unwrap().to_owned()).collect();
    // What most customers of its cell would get comes first.
    flagged.sort_by_key(|id| !id.contains("friendly / email"));
    assert!(flagged.len() >= 2, "{flagged:?}");

    // Nobody has got anything.
    let files = outsider.pages(&format!("/api/campaigns/{ID}/files")).await;
    assert!(files.iter().all(|file| !file["path"].as_str().unwrap().starts_with("deliveries")), "{files:?}");
    let customer = input.planned.keys().next().unwrap();
    outsider.get(&format!("/api/campaigns/{ID}/customers/{customer}")).await.refused(409, "not_complete");
    let digest = gate["digest"].as_str().unwrap().to_owned();
    Waiting { started, digest, flagged, done: done(outsider).await }
}

async fn decide(outsider: &Outsider, waiting: &Waiting, how: Decision) {
    let body = json!({ "digest": waiting.digest, "approve": [waiting.flagged[0]], "by": PERSON });
    match how {
        Decision::Approval => {
            let decided = outsider.post(&format!("/api/campaigns/{ID}/approvals"), &body).await.is(200).json();
            assert_eq!(decided, json!({ "campaign": ID, "approved": 1, "blocked": waiting.flagged.len() - 1 }));
        }
        Decision::Event => {
            let uri = waiting.started["sendEventPostUri"].as_str().unwrap().replace("{eventName}", "approval");
            let before = outsider.again();
            let answer = outsider.post(&uri, &body).await;
            // It was taken by a process that died before it said so, and the campaign has ended since.
            let is_gone = answer.status == 410 && outsider.again() > before;
            assert!(answer.status == 202 || is_gone, "{answer:?}");
        }
    }
}

async fn to_its_end(outsider: &Outsider, input: &Input, waiting: Waiting, how: Decision) -> Ended {
    decide(outsider, &waiting, how).await;
    let uri = waiting.started["statusQueryGetUri"].as_str().unwrap();
    let stands = outsider.get(uri).await;
    let ended = if stands.status == 202 { outsider.poll(stands, |_| false).await } else { stands };
    let ended = ended.is(200).json();
    assert_eq!(ended["runtimeStatus"], "Completed");
    let told = outsider.get(&format!("{uri}&showHistory=true")).await.is(200).json();

    let (outcomes, _) = input.outcomes();
    let what = json!({ "kind": "outcomes", "name": "first week.csv", "campaign": ID });
    let upload = outsider.upload(what, outcomes.into()).await;
    let brought = outsider.post(&format!("/api/campaigns/{ID}/outcomes"), &json!({ "upload": upload })).await.is(202);
    let results = outsider.get(brought.header("location")).await.is(200).json();

    let mut files = BTreeMap::new();
    for file in outsider.pages(&format!("/api/campaigns/{ID}/files")).await {
        let path = file["path"].as_str().unwrap();
        let bytes = outsider.get(&format!("/api/campaigns/{ID}/files/{path}")).await.is(200).body;
        files.insert(path.to_owned(), bytes);
    }
    let mut flagged = waiting.flagged.into_iter();
    Ended {
        approved: flagged.next().unwrap(),
        declined: flagged.collect(),
        output: ended["output"].clone(),
        history: told["historyEvents"].as_array().unwrap().clone(),
        results,
        files,
        done: [waiting.done, done(outsider).await],
    }
}

/// One who got the approved message, and one who must get none.
async fn check_explanations(outsider: &Outsider, input: &Input, ended: &Ended) {
    let explain =
        async |customer: &str| outsider.get(&format!("/api/campaigns/{ID}/customers/{customer}")).await.is(200).json();
    let tables = ended.deliveries();
    let mut rows = tables.iter().flat_map(Table::rows);
    let reached = rows.find(|row| row.variant == Some(&ended.approved)).unwrap();
    let told = explain(reached.customer).await;
    assert_eq!(told["outcome"], "planned");
    assert_eq!((&told["segment"], &told["arm"]), (&reached.segment.into(), &reached.arm.into()));
    let sent = &told["sent"];
    assert_eq!((&sent["variant"], &sent["decision"]), (&json!(ended.approved), &json!("approved")));
    assert!(sent["message"]["body"].as_str().unwrap().contains("strangling"), "{told:#}");
    assert!(
        sent["claims"].as_array().unwrap().iter().any(|claim| claim["text"].as_str().unwrap().contains("strangling"))
    );
    assert_eq!(explain(input.suppressed.first().unwrap()).await["outcome"], "suppressed");
}

/// One process, left in peace, and a client that waits as it is told to.
async fn in_peace() -> &'static Ended {
    static ENDED: OnceCell<Ended> = OnceCell::const_new();
    let walk = async {
        let input = Input::new();
        let processes = Processes::start(azurite::account(), 0);
        let outsider = Outsider::new(processes.address(), AS_TOLD);
        let waiting = until_it_waits(&outsider, &input).await;
        let ended = to_its_end(&outsider, &input, waiting, Decision::Approval).await;
        check_explanations(&outsider, &input, &ended).await;
        ended
    };
    ENDED.get_or_init(|| async { tokio::time::timeout(BOUND, walk).await.expect("it takes too long") }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_over_plain_http_reaches_everybody_it_may_and_what_was_flagged_only_as_approved() {
    let ended = in_peace().await;
    ended.check_customers(&Input::new());
    ended.check_decision();
    ended.check_audit();
}

fn seed() -> u64 {
    let seed = std::env::var("CPO_SEED");
    let seed = seed.map_or_else(|_| u64::from(uuid::Uuid::new_v4().as_fields().0), |seed| seed.parse().unwrap());
    println!("CPO_SEED={seed}");
    seed
}

/// Kills each process once, in any order, at any moment between these counts of items that are done.
async fn kill_each(processes: &mut Processes, random: &mut ChaCha8Rng, between: RangeInclusive<u64>) {
    let outsider = Outsider::new(processes.address(), HASTY);
    let mut order: Vec<usize> = (0..processes.count()).collect();
    order.shuffle(random);
    let mut moments: Vec<u64> = order.iter().map(|_| random.random_range(between.clone())).collect();
    moments.sort_unstable();
    for (place, moment) in order.into_iter().zip(moments) {
        while done(&outsider).await < moment {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // In the midst of the next ones.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
        processes.replace(place);
        println!("process {place} is killed after {moment} items");
    }
}

/// Four deaths before the gate and four after it: a message may be in hand at each and still has a try left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_whose_processes_are_killed_again_and_again_gives_its_client_the_same() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let expected = in_peace().await;
    let [at_gate, at_end] = expected.done;
    let input = Input::new();
    let mut processes = Processes::start(azurite::account(), 3);
    let outsider = Outsider::new(processes.address(), HASTY);
    let walk = async {
        let kills = kill_each(&mut processes, &mut random, 0..=at_gate);
        let (waiting, ()) = tokio::join!(until_it_waits(&outsider, &input), kills);
        let kills = kill_each(&mut processes, &mut random, at_gate..=at_end);
        let (ended, ()) = tokio::join!(to_its_end(&outsider, &input, waiting, Decision::Event), kills);
        check_explanations(&outsider, &input, &ended).await;
        ended
    };
    let ended = tokio::time::timeout(BOUND, walk).await.expect("it takes too long");
    ended.check_customers(&input);
    ended.check_decision();
    ended.check_audit();
    ended.assert_same(expected);
    println!("items {:?}, {} calls were made again", processes.items(), outsider.again());
}
