//! Whichever answer is lost, the next try completes the run, and there is one.

use std::collections::BTreeMap;

use cpo::{
    agents::experimentation::{mlflow::track, tracking::Tracked},
    providers::Services,
};
use futures::future::join_all;
use jiff::Timestamp;

use super::{
    fake::{Fake, digests},
    front::{Backend, Front},
};

pub fn services(front: &Front) -> Services {
    let url = front.url();
    Services::new(move |name| (name == "MLFLOW_TRACKING_URI").then(|| url.clone()))
}

/// With so many metrics; of 1,150, more of everything than one call may bring.
pub fn sample(experiment: &str, metrics: u32) -> Tracked {
    let time: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
    let mut tracked = Tracked {
        experiment: experiment.to_owned(),
        identity: format!("{experiment}/1/{time}"),
        name: format!("{experiment} 1"),
        began: time,
        ended: time,
        told: time,
        params: Vec::new(),
        metrics: BTreeMap::new(),
        tags: BTreeMap::new(),
        artifacts: vec![
            ("report.html".to_owned(), b"<p>a report</p>".to_vec()),
            ("experiment/design.json".to_owned(), b"{}".to_vec()),
        ],
    };
    for number in 0..metrics.min(150) {
        tracked.param(&format!("p.{number:03}"), format!("value {number}"));
        tracked.tag(&format!("t.{number:03}"), "ä ö ü");
    }
    for number in 0..metrics {
        tracked.metric(&format!("m.{number:03}"), f64::from(number) / 7.0);
    }
    tracked
}

fn fake(backend: &Backend) -> &Fake {
    let Backend::Fake(fake) = backend else { panic!("it is a real one") };
    fake
}

#[tokio::test]
async fn whichever_answer_is_lost_the_next_try_completes_the_run_and_there_is_one() {
    let undisturbed = Front::start(Backend::fake()).await;
    track(&services(&undisturbed).mlflow().unwrap(), &sample("spring", 1_150)).await.unwrap();
    let requests = undisturbed.seen().len();
    join_all((0..requests).map(async |lost| {
        let backend = Backend::fake();
        let front = Front::start(backend.clone()).await;
        front.lose_answers_from(lost);
        let tracked = sample("spring", 1_150);
        assert!(track(&services(&front).mlflow().unwrap(), &tracked).await.is_err(), "{lost}");
        front.lose_answers_from(usize::MAX);
        // Another process, and another one that does not know of it.
        for _ in 0..2 {
            track(&services(&front).mlflow().unwrap(), &tracked).await.unwrap();
        }
        let runs = fake(&backend).runs("spring");
        assert_eq!(runs.len(), 1, "{lost}");
        runs[0].assert_holds(&tracked);
        assert_eq!(fake(&backend).files(&runs[0]), digests(&tracked.artifacts), "{lost}");
    }))
    .await;
}

#[tokio::test]
async fn many_processes_at_once_make_one_run() {
    let backend = Backend::fake();
    let front = Front::start(backend.clone()).await;
    let tracked = sample("spring", 1_150);
    join_all((0..8).map(async |_| track(&services(&front).mlflow().unwrap(), &tracked).await)).await;
    // One of those whose run another one has removed may have failed: it is owed still.
    track(&services(&front).mlflow().unwrap(), &tracked).await.unwrap();
    let runs = fake(&backend).runs("spring");
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].params.len(), 150);
    let told = |history: &Vec<(f64, i64, i64)>| history.iter().all(|entry| *entry == history[0]);
    assert!(runs[0].metrics.values().all(told));
}

#[tokio::test]
async fn what_is_new_is_told_as_a_next_step_and_parameters_stay() {
    let backend = Backend::fake();
    let front = Front::start(backend.clone()).await;
    let server = services(&front).mlflow().unwrap();
    let mut tracked = sample("spring", 1_150);
    track(&server, &tracked).await.unwrap();
    tracked.params[0].1 = "another".to_owned();
    tracked.metric("m.003", 5.0);
    tracked.tag("t.003", "new");
    let before = front.seen().len();
    track(&server, &tracked).await.unwrap();
    let run = &fake(&backend).runs("spring")[0];
    assert_eq!(run.params["p.000"], "value 0");
    assert_eq!(run.tags["t.003"], "new");
    assert_eq!(
        run.metrics["m.003"].iter().map(|(value, _, step)| (*value, *step)).collect::<Vec<_>>(),
        [(3.0 / 7.0, 0), (5.0, 1)]
    );
    // Nothing else was sent again.
    let sent: usize = front.seen()[before..].iter().map(|seen| seen.body.len()).sum();
    assert!(sent < 1_500, "{sent}");
}

#[tokio::test]
async fn the_probe_asks_for_little_and_says_what_is_wrong() {
    let front = Front::start(Backend::fake()).await;
    let server = services(&front).mlflow().unwrap();
    server.probe().await.unwrap();
    assert_eq!(front.seen()[0].json(), serde_json::json!({ "max_results": 1 }));
    front.lose_answers_from(0);
    let fault = server.probe().await.unwrap_err();
    assert!(fault.message.contains("search experiments: 503"), "{}", fault.message);
}
