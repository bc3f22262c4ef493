//! Whole campaigns whose services show a fault at every third call: nothing goes out that the screen did not pass, what
//! is blocked says why, and the ledger holds all that was charged.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use cpo::{
    domain::{id::CampaignId, money::Usd, variant::Variant, verdict::Decision},
    orchestration::{
        client::View,
        engine::{Clock, Engine},
        finished::Variants,
        host::Host,
        instance::{Instance, Status},
        layout, names,
        names::Run,
        plan::Plan,
        workshop::{Providers, Workshop},
    },
    providers::Services,
    store::{Memory, Store},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    doubles::{self, TOKENS},
    faults::{Fault, let_time_pass},
    scripted::{Reply, Request, Scripted},
};

/// Dollars for a million tokens.
const PRICE: (f64, f64) = (0.15, 0.60);

/// The starter's campaign with a model and a screen behind HTTP, in virtual time.
struct World {
    store: Store,
    model: Scripted,
    safety: Scripted,
    view: View,
}

impl World {
    async fn run(
        model: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        safety: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let_time_pass();
        let (model, safety) = (Scripted::start(model).await, Scripted::start(safety).await);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("campaign.toml");
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let text = fs::read_to_string(starter.join("campaign.toml")).unwrap();
        let text = text.replace("# date = ", "date = ").replace("candidates = 2", "candidates = 1");
        let (input, output) = PRICE;
        let more = format!(
            "\n[providers]\ngeneration = \"openai\"\nsafety = \"azure_content_safety\"\n\n[prices.models]\nwriter = \
             {{ input = {input}, output = {output} }}\n"
        );
        fs::write(&file, text + &more).unwrap();
        let plan = Plan::read(&file, Some(&starter.join("content")), |_| None).unwrap();
        let (start, library) = plan.start(&starter.join("customers.csv")).unwrap();
        let addresses = (format!("{}/v1", model.url()), safety.url());
        let services = Services::new(move |name| match name {
            "OPENAI_BASE_URL" => Some(addresses.0.clone()),
            "OPENAI_MODEL" => Some("writer".to_owned()),
            "AZURE_CONTENT_SAFETY_ENDPOINT" => Some(addresses.1.clone()),
            "AZURE_CONTENT_SAFETY_KEY" => Some("the-key".to_owned()),
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
                assert!(began.elapsed() < Duration::from_secs(24 * 3_600), "it does not end: {view:#?}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let view = tokio::select! {
            served = host.serve() => panic!("the host ended: {served:?}"),
            view = ended => view,
        };
        Self { store, model, safety, view }
    }

    async fn variants(&self) -> Vec<Variant> {
        let run = Run { campaign: id(), generation: 1 };
        match self.store.blobs.get(&run.file(&layout::blob(layout::VARIANTS))).await {
            Ok(blob) => serde_json::from_slice::<Variants>(&blob.bytes).unwrap().variants,
            Err(cpo::store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    async fn instance(&self) -> Instance {
        let blob = self.store.blobs.get(&names::instance(&id())).await.unwrap();
        serde_json::from_slice(&blob.bytes).unwrap()
    }

    /// What is wrong, where the calls that `is_good` were answered as they should be.
    async fn complaints(&self, is_good: impl Fn(&Request) -> bool, fault: Option<Fault>) -> Vec<String> {
        let mut wrong = Vec::new();
        let screened = self.safety.requests();
        let passed: BTreeSet<String> = screened
            .iter()
            .filter(|request| request.path().ends_with("text:analyze") && is_good(request))
            .map(|request| request.json()["text"].as_str().unwrap().to_owned())
            .collect();
        let variants = self.variants().await;
        for variant in &variants {
            if variant.verdict.decision == Decision::Approved {
                let read = as_read(variant);
                if !passed.contains(&read) {
                    wrong.push(format!("{} goes out, and the screen never passed it: {read}", variant.id));
                }
            } else if !variant.verdict.findings.iter().any(|finding| finding.blocks && !finding.why.is_empty()) {
                wrong.push(format!("{} is not approved, and nobody says why", variant.id));
            }
        }
        let instance = self.instance().await;
        let (settled, reserved) = (instance.budget.settled, instance.budget.reserved);
        let (least, uncertain) = self.charged(fault, &is_good);
        let is_right = if uncertain { settled >= least } else { settled == least };
        if !is_right || settled > reserved {
            wrong.push(format!("{settled} settled of {reserved}, {least} charged (uncertain: {uncertain})"));
        }
        wrong
    }

    /// What the services charge for whatever they answered as they should, and whether there were calls of which nobody
    /// knows.
    fn charged(&self, fault: Option<Fault>, is_good: &impl Fn(&Request) -> bool) -> (Usd, bool) {
        let answers = |fault: Option<Fault>| fault.is_none_or(|fault| fault == Fault::Slow);
        let messages = self.model.requests().iter().filter(|request| answers(fault) || is_good(request)).count();
        let per_message = (TOKENS.0 as f64 * PRICE.0 + TOKENS.1 as f64 * PRICE.1) / 1e6;
        let records: usize =
            self.safety.requests().iter().filter(|request| answers(fault) || is_good(request)).map(records).sum();
        let cost = Usd::from_dollars(messages as f64 * per_message).unwrap() + records_cost(records);
        (cost, fault.is_some_and(|fault| fault != Fault::Slow && fault.may_have_cost()))
    }
}

fn id() -> CampaignId {
    CampaignId::new("first-campaign").unwrap()
}

/// Of a call of Content Safety: each text begins one, and each thousand of its characters.
fn records(request: &Request) -> usize {
    let body = request.json();
    let texts = body["text"].as_str().into_iter();
    let documents = body["documents"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.chain(documents).map(|text| text.chars().count().div_ceil(1_000).max(1)).sum()
}

fn records_cost(records: usize) -> Usd {
    cpo::providers::prices::Prices::default().text_records(records as u64)
}

/// As the gate gives it to the screen: with what stands in for a customer's values.
fn as_read(variant: &Variant) -> String {
    let filled = variant.message.filled(&BTreeMap::from([("first_name".to_owned(), "there".to_owned())]));
    format!("{}\n\n{}", filled.subject.unwrap_or_default(), filled.body)
}

fn approved(variants: &[Variant]) -> usize {
    variants.iter().filter(|variant| variant.verdict.decision == Decision::Approved).count()
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_every_message_is_written_screened_and_paid_for() {
    let world = World::run(doubles::writes, doubles::passes).await;
    assert_eq!(world.view.status, Status::Completed, "{:#?}", world.view);
    let variants = world.variants().await;
    let blocked: Vec<_> = variants.iter().map(|variant| &variant.verdict).collect();
    assert_eq!(approved(&variants), variants.len(), "{blocked:#?}");
    assert!(variants.len() >= 8 && variants.iter().all(|variant| variant.usage.requests == 1));
    assert_eq!(world.complaints(|_| true, None).await, [""; 0]);
}

fn is_faulty(request: &Request) -> bool {
    request.number % 3 == 1
}

/// What the fault means for a campaign at whose every third call it shows.
fn assert_status(fault: Fault, view: &View) {
    let is_misconfigured = matches!(fault, Fault::Status(302 | 401 | 403 | 404));
    match &view.status {
        Status::Completed if !is_misconfigured => {}
        Status::Failed { failure } if is_misconfigured => {
            let said = format!("{failure:?}");
            assert!(said.contains("cpo doctor"), "{fault:?}: {said}");
        }
        status => panic!("{fault:?}: {status:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_model_does_nothing_goes_out_unscreened_and_the_ledger_holds_what_was_charged() {
    for fault in Fault::ALL {
        let model = move |request: &Request| {
            let good = doubles::writes(request);
            if is_faulty(request) { fault.of(good) } else { good }
        };
        let world = World::run(model, doubles::passes).await;
        assert_status(fault, &world.view);
        let good = |request: &Request| request.path().contains("contentsafety") || !is_faulty(request);
        let wrong = world.complaints(good, Some(fault)).await;
        assert!(wrong.is_empty(), "{fault:?}: {}", wrong.join("\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_screen_does_nothing_goes_out_unscreened_and_the_ledger_holds_what_was_charged() {
    for fault in Fault::ALL {
        let safety = move |request: &Request| {
            let good = doubles::passes(request);
            if is_faulty(request) { fault.of(good) } else { good }
        };
        let world = World::run(doubles::writes, safety).await;
        assert_status(fault, &world.view);
        let answers = fault == Fault::Slow;
        let good = move |request: &Request| answers || !request.path().contains("contentsafety") || !is_faulty(request);
        let wrong = world.complaints(good, Some(fault)).await;
        assert!(wrong.is_empty(), "{fault:?}: {}", wrong.join("\n"));
    }
}
