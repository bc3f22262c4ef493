//! What only Azure Storage has: credentials, answers with many meanings, and a network in between.

use std::{
    env, fs, io,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use cpo::store::{Azure, BlobPath, Error, Precondition, QueueName, Store};
use futures::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use crate::{
    azurite::{self, Azurite},
    conformance::{self, Subject, assert_error},
    stub::{Stub, reply},
};

fn store(location: &str) -> Store {
    Azure::open(location).unwrap().store()
}

fn path(path: &str) -> BlobPath {
    BlobPath::new(path).unwrap()
}

fn subject() -> Subject {
    Subject {
        store: store(&azurite::account()),
        folder: path("campaigns/spring/1"),
        shortest_lease: Duration::from_secs(15),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blobs_conform() {
    conformance::blobs(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queues_conform() {
    conformance::queues(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_conform_beyond_a_page() {
    conformance::long_lists(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_large_files_one_is_there_whole() {
    let store = store(&azurite::account());
    let folder = tempfile::tempdir().unwrap();
    let path = path("campaigns/file");
    let puts = (1..=2u8).map(|fill| {
        let (store, path, file) = (store.clone(), path.clone(), folder.path().join(fill.to_string()));
        fs::write(&file, vec![fill; 40 << 20]).unwrap();
        tokio::spawn(async move {
            loop {
                match store.blobs.put_file(&path, &file, Precondition::Absent).await {
                    // The other's commit has dropped the blocks of this one.
                    Err(Error::Transient { .. }) => {}
                    outcome => return (fill, outcome),
                }
            }
        })
    });
    let mut winners = Vec::new();
    for outcome in join_all(puts).await {
        match outcome.unwrap() {
            (fill, Ok(etag)) => winners.push((fill, etag)),
            (_, lost) => assert_error!(lost, AlreadyExists),
        }
    }
    let [(fill, etag)] = &winners[..] else { panic!("winners: {winners:?}") };
    let copy = folder.path().join("copy");
    assert_eq!(store.blobs.get_file(&path, &copy).await.unwrap(), *etag);
    assert!(fs::read(copy).unwrap() == vec![*fill; 40 << 20]);
}

#[tokio::test]
async fn a_path_without_a_container_is_refused() {
    let store = store(&azurite::account());
    assert_error!(store.blobs.put(&path("campaigns"), Vec::new(), Precondition::None).await, Permanent);
    assert_error!(store.blobs.get(&path("campaigns")).await, Permanent);
    assert_error!(store.blobs.put(&path("No_Container/x"), Vec::new(), Precondition::None).await, Permanent);
}

/// The string-to-sign of an account signature, once more.
fn signed(account: &str, permissions: &str) -> String {
    let key = azurite::KEY;
    let expiry = "2999-12-31T00:00:00Z";
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
    mac.update(format!("{account}\n{permissions}\nbq\nsco\n\n{expiry}\n\n\n2021-12-02\n\n").as_bytes());
    let signature =
        STANDARD.encode(mac.finalize().into_bytes()).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv=2021-12-02&ss=bq&srt=sco&sp={permissions}&se={expiry}&sig={signature}")
}

#[tokio::test]
async fn a_signature_opens_what_it_permits_and_nothing_else() {
    let azurite = azurite::shared();
    let account = azurite.account_name();
    let (blobs, queues) = azurite.endpoints(&account);
    let with = |permissions| {
        let sas = signed(&account, permissions);
        store(&format!("BlobEndpoint={blobs};QueueEndpoint={queues};SharedAccessSignature={sas}"))
    };
    let (blob, queue) = (path("campaigns/blob"), QueueName::new("queue").unwrap());
    let owner = with("rwdlacup");
    owner.blobs.put(&blob, b"1".to_vec(), Precondition::Absent).await.unwrap();
    owner.queues.send(&queue, b"1".to_vec(), Duration::ZERO).await.unwrap();

    let reader = with("rl");
    assert_eq!(reader.blobs.get(&blob).await.unwrap().bytes, b"1");
    assert_eq!(reader.blobs.list(None).await.unwrap(), vec![blob.clone()]);
    assert_error!(reader.blobs.put(&blob, b"2".to_vec(), Precondition::None).await, Permanent);
    assert_error!(reader.blobs.delete(&blob).await, Permanent);
    assert_error!(reader.queues.receive(&queue, 1, Duration::from_secs(1)).await, Permanent);
    assert_eq!(owner.blobs.get(&blob).await.unwrap().bytes, b"1");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_shown() {
    let location = azurite::account().replace(azurite::KEY, "d3Jvbmcga2V5");
    let error = store(&location).blobs.put(&path("campaigns/blob"), Vec::new(), Precondition::None).await.unwrap_err();
    assert!(error.to_string().contains("the key or signature"), "{error}");
    let shown = format!("{error:?} {:?}", Azure::open(&location).unwrap());
    assert!(!shown.contains("sig=") && !shown.contains("d3Jvbm"), "{shown}");
    assert_error!(Err::<(), _>(error), Permanent);
}

/// Not even what the libraries below say when they say everything.
#[tokio::test]
async fn no_log_shows_a_signature() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = {
        let log = log.clone();
        move || Log(log.clone())
    };
    let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer).finish();
    // Where it is the only one in the process, a line that another thread comes by first is off for good.
    let second = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(io::sink).finish();
    let _second = tracing::Dispatch::new(second);
    let guard = tracing::subscriber::set_default(everything);
    let account = azurite::shared().account_name();
    let (blobs, queues) = azurite::shared().endpoints(&account);
    let sas = signed(&account, "rwdlacup");
    let blobs = store(&format!("BlobEndpoint={blobs};QueueEndpoint={queues};SharedAccessSignature={sas}")).blobs;
    blobs.put(&path("campaigns/blob"), b"1".to_vec(), Precondition::None).await.unwrap();
    blobs.list(None).await.unwrap();
    assert_error!(blobs.get(&path("campaigns/none")).await, NotFound);
    drop(guard);
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/campaigns/blob"), "requests are logged");
    // Escaped or not, the longest run of letters is the same.
    let signature = sas.rsplit('=').next().unwrap().split('%').max_by_key(|run| run.len()).unwrap();
    assert!(!log.contains(signature), "{:?}", log.lines().find(|line| line.contains(signature)));
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_message_is_plain_text_and_does_not_expire() {
    let sent = "<QueueMessagesList><QueueMessage><MessageId>1</MessageId></QueueMessage></QueueMessagesList>";
    let stub = Stub::start(move |_| Some(reply(201, &["content-type: application/xml"], sent)));
    let queues = store(&stub.account()).queues;
    queues.send(&QueueName::new("queue").unwrap(), b"{\"a\":1}".to_vec(), Duration::from_millis(1_500)).await.unwrap();
    let request = stub.seen().remove(0);
    assert!(request.contains(r#"{"a":1}"#) || request.contains("{&quot;a&quot;:1}"), "{request}");
    assert!(request.contains("messagettl=-1") && request.contains("visibilitytimeout=2"), "{request}");
}

#[tokio::test]
async fn what_others_put_into_a_queue_or_container_does_no_harm() {
    let messages = "<QueueMessagesList><QueueMessage><MessageId>1</MessageId><PopReceipt>2</PopReceipt>\
                    <DequeueCount>3</DequeueCount><MessageText>no base64</MessageText></QueueMessage></QueueMessagesList>";
    let names = "<EnumerationResults><Blobs><Blob><Name>x//y</Name></Blob><Blob><Name>b</Name></Blob></Blobs>\
                 </EnumerationResults>";
    let stub = Stub::start(move |request| {
        let body = if request.contains("comp=list") { names } else { messages };
        Some(reply(200, &["content-type: application/xml"], body))
    });
    let store = store(&stub.account());
    let queue = QueueName::new("queue").unwrap();
    let delivery = store.queues.receive(&queue, 1, Duration::from_secs(1)).await.unwrap().remove(0);
    assert_eq!((&delivery.body[..], delivery.deliveries), (&b"no base64"[..], 3));
    assert_eq!(store.blobs.list(Some(&path("a"))).await.unwrap(), [path("a/b")]);
}

#[tokio::test]
async fn a_busy_store_is_not_asked_again_at_once() {
    for (status, headers) in [(429, &["Retry-After: 7"][..]), (503, &["Retry-After: 7", "x-ms-error-code: ServerBusy"])]
    {
        let stub = Stub::start(move |_| Some(reply(status, headers, "")));
        let store = store(&stub.account());
        for outcome in [
            store.blobs.get(&path("a/b")).await.map(drop),
            store.blobs.put(&path("a/b"), Vec::new(), Precondition::Absent).await.map(drop),
            store.blobs.append(&path("a/b"), vec![1]).await.map(drop),
            store.queues.send(&QueueName::new("queue").unwrap(), Vec::new(), Duration::ZERO).await,
        ] {
            let Err(Error::Throttled { retry_after, .. }) = outcome else { panic!("{status}: {outcome:?}") };
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
        assert_eq!(stub.seen().len(), 4);
    }
}

/// Nobody knows whether it broke before or after the write.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_ambiguous_and_sent_once() {
    let broken: [fn(&str) -> Option<String>; 4] = [
        |_| None,
        |_| Some("HTTP/1.1 201 X\r\nx-ms-".to_owned()),
        |_| Some(reply(500, &["x-ms-error-code: InternalError"], "")),
        |_| Some(reply(500, &["x-ms-error-code: OperationTimedOut"], "")),
    ];
    for answer in broken {
        let stub = Stub::start(answer);
        let store = store(&stub.account());
        let path = path("a/b");
        let mut delivery = cpo::store::Delivery {
            queue: QueueName::new("queue").unwrap(),
            id: "id".into(),
            receipt: "receipt".into(),
            body: Vec::new(),
            deliveries: 1,
        };
        let outcomes = [
            store.blobs.put(&path, vec![1], Precondition::None).await.map(drop),
            store.blobs.put(&path, vec![1], Precondition::Absent).await.map(drop),
            store.blobs.put(&path, vec![1], Precondition::Match(cpo::store::ETag("x".into()))).await.map(drop),
            store.blobs.append(&path, vec![1]).await.map(drop),
            store.blobs.delete(&path).await,
            store.queues.send(&delivery.queue, Vec::new(), Duration::ZERO).await,
            store.queues.extend(&mut delivery, Duration::from_secs(1)).await,
            store.queues.delete(&delivery).await,
        ];
        assert_eq!(stub.seen().len(), outcomes.len());
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("sig") && !shown.contains("http://"), "{shown}");
            assert_error!(Err::<(), _>(error), Ambiguous);
        }
    }
}

#[tokio::test]
async fn a_read_whose_answer_is_lost_is_made_again() {
    let lost = AtomicBool::new(false);
    let stub = Stub::start(move |_| {
        let answer = reply(200, &["etag: \"1\""], "content");
        lost.swap(true, Ordering::Relaxed).then_some(answer)
    });
    assert_eq!(store(&stub.account()).blobs.get(&path("a/b")).await.unwrap().bytes, b"content");
    assert_eq!(stub.seen().len(), 2);

    let stub = Stub::start(|_| None);
    assert_error!(store(&stub.account()).blobs.get(&path("a/b")).await, Transient);
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn what_was_never_sent_has_changed_nothing() {
    // A port that is reserved for what nobody runs.
    let url = "http://127.0.0.1:1/gone";
    let store = store(&format!("AccountName=gone;AccountKey=c2VjcmV0;BlobEndpoint={url};QueueEndpoint={url}"));
    let error = store.blobs.put(&path("a/b"), Vec::new(), Precondition::Absent).await.unwrap_err();
    assert!(!format!("{error:?}").contains("sig="), "{error:?}");
    assert_error!(Err::<(), _>(error), Transient);
    assert_error!(store.queues.send(&QueueName::new("queue").unwrap(), Vec::new(), Duration::ZERO).await, Transient);
}

/// Nobody else writes there, so a conflict could only be with a writer's own lost write.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_is_never_taken_for_a_conflict() {
    let mut azurite = Azurite::start(&[]);
    let store = store(&azurite.account());
    store.blobs.append(&path("state/log"), b"first\n".to_vec()).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut acknowledged = 0;
                let counter = path(&format!("state/counter-{writer}"));
                let mut etag = store.blobs.put(&counter, b"0".to_vec(), Precondition::Absent).await?;
                loop {
                    let fresh = path(&format!("state/{writer}/{acknowledged}"));
                    store.blobs.put(&fresh, b"1".to_vec(), Precondition::Absent).await?;
                    etag = store.blobs.put(&counter, b"1".to_vec(), Precondition::Match(etag)).await?;
                    store.blobs.append(&path("state/log"), format!("{writer}\n").into_bytes()).await?;
                    acknowledged += 1;
                    if acknowledged == 5 && writer == 0 {
                        return Ok::<_, Error>(());
                    }
                }
            })
        })
        .collect();
    // In the middle of it: the first writer has got somewhere, the others go on.
    let mut writers = writers.into_iter();
    writers.next().unwrap().await.unwrap().unwrap();
    azurite.kill();
    for writer in writers {
        match writer.await.unwrap() {
            Err(Error::Ambiguous { .. } | Error::Transient { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_error!(store.blobs.get(&path("state/log")).await, Transient);

    azurite.start_again();
    store.blobs.put(&path("state/after"), b"1".to_vec(), Precondition::None).await.unwrap();
}

#[tokio::test]
async fn what_an_emulator_holds_is_there_after_an_orderly_restart() {
    let mut azurite = Azurite::start(&[]);
    let store = store(&azurite.account());
    let queue = QueueName::new("queue").unwrap();
    store.blobs.put(&path("state/blob"), b"kept".to_vec(), Precondition::None).await.unwrap();
    store.queues.send(&queue, b"kept".to_vec(), Duration::ZERO).await.unwrap();
    azurite.stop();
    azurite.start_again();
    assert_eq!(store.blobs.get(&path("state/blob")).await.unwrap().bytes, b"kept");
    assert_eq!(store.queues.receive(&queue, 1, Duration::from_secs(1)).await.unwrap()[0].body, b"kept");
}

const LOCATION: &str = "CPO_TEST_ENTRA_LOCATION";

/// The managed identity of a function app: its endpoint is ours, its token one that Azurite believes. Both are found by
/// environment variables, so the half that uses them is this test in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entra_identity_opens_blobs_and_queues() {
    if let Ok(location) = env::var(LOCATION) {
        let store = store(&location);
        let queue = QueueName::new("queue").unwrap();
        store.blobs.put(&path("campaigns/blob"), b"1".to_vec(), Precondition::Absent).await.unwrap();
        assert_eq!(store.blobs.get(&path("campaigns/blob")).await.unwrap().bytes, b"1");
        store.queues.send(&queue, b"2".to_vec(), Duration::ZERO).await.unwrap();
        assert_eq!(store.queues.receive(&queue, 1, Duration::from_secs(1)).await.unwrap()[0].body, b"2");
        // What it signs in its own name lets others write one blob, and that is all.
        let upload = Azure::open(&location).unwrap().upload(&path("customers/a b/ü.csv"), Timestamp::now()).await;
        let upload = upload.unwrap().unwrap();
        let (_, sas) = upload.url.split_once('?').unwrap();
        assert!(sas.contains("skoid="), "it is a user delegation signature");
        let others = self::store(&format!("{location};SharedAccessSignature={sas}"));
        others.blobs.put(&path("customers/a b/ü.csv"), b"3".to_vec(), Precondition::None).await.unwrap();
        assert_eq!(store.blobs.get(&path("customers/a b/ü.csv")).await.unwrap().bytes, b"3");
        for wrong in ["customers/a b/u.csv", "campaigns/blob"] {
            let put = others.blobs.put(&path(wrong), b"4".to_vec(), Precondition::None).await;
            assert!(matches!(put, Err(Error::Permanent { .. })), "{put:?}");
        }
        let got = others.blobs.get(&path("customers/a b/ü.csv")).await;
        assert!(matches!(got, Err(Error::Permanent { .. })), "{got:?}");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azurite");
    let [certificate, key] = ["localhost.pem", "localhost.key"].map(|name| folder.join(name).display().to_string());
    let azurite = Azurite::start(&["--oauth", "basic", "--cert", &certificate, "--key", &key]);
    let (blobs, queues) = azurite.endpoints(&azurite.account_name());
    let identity = |token: String| {
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3_600;
        let answer = format!(
            r#"{{"access_token":"{token}","expires_on":"{expiry}","token_type":"Bearer","resource":"storage"}}"#
        );
        Stub::start(move |_| Some(reply(200, &["content-type: application/json"], &answer)))
    };
    let child = |identity: &Stub| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "azure::an_entra_identity_opens_blobs_and_queues"])
            .env(LOCATION, format!("BlobEndpoint={blobs};QueueEndpoint={queues}"))
            .env("IDENTITY_ENDPOINT", identity.url())
            .env("IDENTITY_HEADER", "secret")
            .env("SSL_CERT_FILE", &certificate)
            .env_remove("AZURE_FEDERATED_TOKEN_FILE")
            .output()
            .unwrap()
    };
    let believed = identity(token("https://storage.azure.com"));
    let output = child(&believed);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let asked = believed.seen().remove(0);
    assert!(asked.contains("resource=https%3A%2F%2Fstorage.azure.com"), "{asked}");

    let output = child(&identity(token("https://vault.azure.net")));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("AuthenticationFailed"), "{said}");
}

/// A JSON Web Token as Entra makes them, signed by nobody.
fn token(audience: &str) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = format!(
        r#"{{"aud":"{audience}","iss":"https://sts.windows.net/tenant/","oid":"object","tid":"tenant","iat":1500000000,"nbf":1500000000,"exp":32000000000}}"#
    );
    format!("{}.{}.{}", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(&claims), part("signature"))
}
