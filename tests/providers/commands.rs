//! Commands and the settings of providers, as processes: `cpo doctor` and `cpo estimate`, which look at them before a
//! campaign asks them, and `cpo run` as far as its settings say how it asks.

use std::{
    fs,
    path::Path,
    process::Output,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    azurite, doubles,
    mlflow::nobody,
    scripted::{Reply, Scripted},
};

/// With these settings and no others.
async fn cpo(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpo"));
    command.args(arguments).env_clear().envs(settings.iter().copied());
    command.output().await.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn all(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_doctor_tells_of_each_provider_in_a_line_and_by_its_exit_code_whether_all_work() {
    let yes = json!({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]});
    let server = Scripted::start(move |request| match request.path() {
        "/v1/chat/completions" => Reply::json(200, &yes),
        "/broken/v1/chat/completions" => Reply::reset(),
        _ => Reply::json(403, &json!({"error": {"code": "AuthorizationFailed", "message": "no"}})),
    })
    .await;
    let (base, broken) = (format!("{}/v1", server.url()), format!("{}/broken/v1", server.url()));
    let well = [("OPENAI_BASE_URL", base.as_str()), ("OPENAI_MODEL", "local"), ("OPENAI_API_KEY", "hunter2")];
    let safety = [("AZURE_CONTENT_SAFETY_ENDPOINT", server.url()), ("AZURE_CONTENT_SAFETY_KEY", "hunter2".to_owned())];

    let output = cpo(&["doctor", "--format", "json"], &well).await;
    let told: Vec<_> = lines(&output).iter().map(|line| (line["used_for"].clone(), line["ok"].clone())).collect();
    let expected = ["generation", "calls", "storage"].map(|used_for| (json!(used_for), json!(true)));
    assert_eq!(told, expected, "{}", all(&output));
    assert_eq!(output.status.code(), Some(0));

    let mut settings = well.to_vec();
    settings.extend(safety.iter().map(|(name, value)| (*name, value.as_str())));
    let output = cpo(&["doctor", "--format", "json"], &settings).await;
    let told = lines(&output);
    assert_eq!((told.len(), told[0]["ok"].as_bool(), told[1]["ok"].as_bool()), (4, Some(true), Some(false)));
    assert!(told[1]["remedy"].as_str().unwrap().contains("Cognitive Services User"), "{}", told[1]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!all(&output).contains("hunter2"));

    let nonsense = [well.as_slice(), &[("CPO_CALLS", "many")]].concat();
    let output = cpo(&["doctor", "--format", "json"], &nonsense).await;
    let told = lines(&output);
    assert_eq!((told[0]["ok"].as_bool(), told[1]["ok"].as_bool()), (Some(true), Some(false)));
    assert!(told[1]["says"].as_str().unwrap().contains("CPO_CALLS"), "{}", told[1]);
    assert_eq!(output.status.code(), Some(1));

    let settings = [("OPENAI_BASE_URL", broken.as_str()), ("OPENAI_MODEL", "local")];
    let output = cpo(&["doctor"], &settings).await;
    assert!(all(&output).contains("FAILS") && all(&output).contains("fix: "), "{}", all(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn the_doctor_says_whether_blobs_or_queues_of_an_account_do_not_work_and_leaves_nothing_in_them() {
    let account = azurite::account();
    let (blobs, queues) = account.rsplit_once(";QueueEndpoint=").unwrap();
    let name = queues.rsplit('/').next().unwrap();
    let no_queues = format!("{blobs};QueueEndpoint={}/{name}", nobody());
    let wrong_key = account.replace(azurite::KEY, "c29tZWJvZHkgZWxzZSdz");
    for (setting, status, says) in [
        (&account, 0, "blobs and queues took and gave back"),
        (&no_queues, 1, "blobs work, queues do not: doctor"),
        (&wrong_key, 1, "blobs: doctor/"),
    ] {
        let output = cpo(&["doctor", "--format", "json"], &[("CPO_STORAGE", setting)]).await;
        let told = lines(&output).pop().unwrap();
        assert_eq!(told["provider"], "azure_storage");
        assert!(told["says"].as_str().unwrap().starts_with(says), "{told}");
        assert_eq!(output.status.code(), Some(status), "{told}");
        assert!(!all(&output).contains(azurite::KEY));
    }
    let store = cpo::store::Azure::open(&account).unwrap().store();
    assert_eq!(store.blobs.list(None).await.unwrap(), []);
    let queue = cpo::store::QueueName::new("doctor").unwrap();
    assert_eq!(store.queues.receive(&queue, 32, std::time::Duration::from_secs(1)).await.unwrap(), []);
}

#[tokio::test]
async fn an_estimate_over_the_budget_is_shown_and_refused_and_nobody_is_asked() {
    let server = Scripted::start(|_| Reply::empty(500)).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join("spring").join(name).display().to_string();
    let made = cpo(&["init", &folder.path().join("spring").display().to_string()], &[]).await;
    assert_eq!(made.status.code(), Some(0), "{}", all(&made));
    let (campaign, customers) = (path("campaign.toml"), path("customers.csv"));
    let rewrite = |max: &str| {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/campaign.toml");
        let text = fs::read_to_string(starter).unwrap().replace("max_usd = 5.0", &format!("max_usd = {max}"));
        let priced = "[providers]\ngeneration = \"azure_openai\"\n[prices.models]\n\
                      mine = { input = 0.15, cached_input = 0.075, output = 0.60 }\n";
        fs::write(&campaign, format!("{text}\n{priced}")).unwrap();
    };
    let url = server.url();
    let settings = [
        ("AZURE_OPENAI_ENDPOINT", url.as_str()),
        ("AZURE_OPENAI_API_KEY", "hunter2"),
        ("AZURE_OPENAI_DEPLOYMENT", "mine"),
    ];

    rewrite("5.0");
    let command = ["estimate", &campaign, "--customers", &customers, "--format", "json"];
    let output = cpo(&command, &settings).await;
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let told = lines(&output).pop().unwrap();
    let (expected, most) = (told["expected_usd"].as_f64().unwrap(), told["most_usd"].as_f64().unwrap());
    assert!(0.0 < expected && expected < most && most < 5.0, "{told}");
    let of_stages: f64 =
        told["stages"].as_array().unwrap().iter().map(|stage| stage["most_usd"].as_f64().unwrap()).sum();
    assert!((of_stages - most).abs() < 1e-9, "{told}");

    rewrite("0.01");
    let output = cpo(&command[..4], &settings).await;
    assert_eq!(output.status.code(), Some(2), "{}", all(&output));
    let (table, problem) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("together") && table.contains("This rests on:"), "{table}");
    assert!(problem.contains("budget.max_usd") && problem.contains("fix: raise the budget"), "{problem}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_run_makes_no_more_calls_at_once_than_the_setting_says() {
    const TAKES: Duration = Duration::from_millis(100);
    let calls: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&calls);
    let server = Scripted::start(move |request| {
        seen.lock().unwrap().push(Instant::now());
        doubles::writes(request).after(TAKES)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join("spring").join(name).display().to_string();
    cpo(&["init", &path("")], &[]).await;
    let campaign = path("campaign.toml");
    let starter = fs::read_to_string(&campaign).unwrap();
    fs::write(&campaign, format!("{starter}\n[providers]\ngeneration = \"openai\"\n")).unwrap();
    let base = format!("{}/v1", server.url());
    let (customers, out) = (path("customers.csv"), path("out"));
    let run = ["run", &campaign, "--customers", &customers, "--out", &out];
    let settings = [("OPENAI_BASE_URL", base.as_str()), ("OPENAI_MODEL", "local")];

    let nonsense = cpo(&run, &[settings.as_slice(), &[("CPO_CALLS", "0")]].concat()).await;
    assert_eq!((nonsense.status.code(), calls.lock().unwrap().len()), (Some(2), 0), "{}", all(&nonsense));
    assert!(all(&nonsense).contains("CPO_CALLS is no number from 1 to 1000"), "{}", all(&nonsense));

    let done = cpo(&run, &[settings.as_slice(), &[("CPO_CALLS", "2")]].concat()).await;
    assert_eq!(done.status.code(), Some(0), "{}", all(&done));
    let calls = calls.lock().unwrap();
    assert!(calls.len() > 4, "{}", calls.len());
    // A third begins when one of two has ended.
    assert!(calls.windows(3).all(|three| three[2] - three[0] >= TAKES), "{calls:?}");
}
