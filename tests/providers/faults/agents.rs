//! Each question of an agent under each fault of the service that answers it: what the agent is told, and what the meter
//! counts.

use cpo::{
    agents::{
        retrieval::embedder::Embedder,
        safety::{AsRead, HarmScreen as _, PromptShields},
    },
    config::campaign,
    domain::{money::Usd, variant::Usage},
    providers::{ErrorKind, Meter, ProviderError, Services, prices::Price, prices::Prices},
};
use futures::future::join_all;

use super::{Fault, assert_none, let_time_pass};
use crate::{
    content_safety::{self, client_at, everything, operation, screen_at},
    openai::{self, plenty, says, writer_at},
    retrieval::{self, APPROVED, library, stand_in::StandIn},
    scripted::{Reply, Request, Scripted},
};

/// What a question of one call gave, and what it took.
struct Met {
    error: Option<ProviderError>,
    requests: usize,
    meter: Meter,
}

/// `most`: what is set aside for the call.
fn wrong(what: &str, fault: Fault, may_have_cost: bool, met: &Met, most: Usd) -> Option<String> {
    let spent = met.meter.spent();
    let is_as_expected = met.error.as_ref().map(|error| error.kind) == fault.kind()
        && met.requests == fault.requests()
        && match fault {
            Fault::Slow => spent.requests == 1 && spent.cost_usd > Usd::ZERO,
            // Nobody knows what it cost, so it counts as all that it may cost.
            _ if may_have_cost => spent.requests == 1 && spent.cost_usd == most,
            _ => spent == Usage::default(),
        };
    let Met { error, requests, .. } = met;
    (!is_as_expected).then(|| format!("{what}, {fault:?}: {error:?} after {requests} requests, {spent:?}"))
}

#[tokio::test(start_paused = true)]
async fn a_writer_tells_each_fault_of_its_model_and_pays_for_what_may_have_been_charged() {
    let_time_pass();
    let world = openai::World::new();
    let ask = async |fault: Fault| {
        let good = says(&world.answer("Hello."));
        let server = fault.shown(move |_| good.clone()).await;
        let meter = plenty();
        let error = world.write(&writer_at(&server.url(), 0), &meter).await.err();
        Met { error, requests: server.requests().len(), meter }
    };
    let most = ask(Fault::Reset).await.meter.spent().cost_usd;
    assert_none(
        join_all(Fault::ALL.map(async |fault| wrong("writer", fault, of_model(fault), &ask(fault).await, most))).await,
    );
}

/// A model charges for questions that it refuses, too.
fn of_model(fault: Fault) -> bool {
    fault.may_have_cost() || fault == Fault::Status(400)
}

#[tokio::test(start_paused = true)]
async fn an_embedder_tells_each_fault_of_its_model_and_pays_for_what_may_have_been_charged() {
    let_time_pass();
    let ask = async |fault: Fault| {
        let server = fault.shown(retrieval::embeddings).await;
        let base = format!("{}/v1", server.url());
        let client = Services::new(move |name| (name == "OPENAI_BASE_URL").then(|| base.clone())).openai().unwrap();
        let price = Price { input: Usd::from_dollars(20.0).unwrap(), ..Price::default() };
        let meter = plenty();
        let error = Embedder::new(client, "small".to_owned(), price).embed(&["tea", "coffee"], &meter).await.err();
        Met { error, requests: server.requests().len(), meter }
    };
    let most = ask(Fault::Reset).await.meter.spent().cost_usd;
    assert_none(
        join_all(Fault::ALL.map(async |fault| wrong("embedder", fault, of_model(fault), &ask(fault).await, most)))
            .await,
    );
}

const MESSAGE: &str = "The shop opens at nine.";

#[tokio::test(start_paused = true)]
async fn a_screen_tells_each_fault_of_its_service_and_passes_nothing() {
    let_time_pass();
    let ask = async |fault: Fault| {
        let server = fault.shown(content_safety::good).await;
        let settings = campaign::ContentSafety { prompt_shields: false, groundedness: false, ..everything() };
        let meter = plenty();
        let message = AsRead { text: MESSAGE, sources: &[] };
        let error = screen_at(&server.url(), settings).screen(&message, &meter).await.err();
        Met { error, requests: server.requests().len(), meter }
    };
    let most = Prices::default().text_records(1);
    let cell = async |fault: Fault| wrong("screen", fault, fault.may_have_cost(), &ask(fault).await, most);
    assert_none(join_all(Fault::ALL.map(cell)).await);
}

#[tokio::test(start_paused = true)]
async fn shields_tell_each_fault_of_their_service_and_let_no_passage_through() {
    let_time_pass();
    let document = content_safety::document("kettle", &["One."]);
    let ask = async |fault: Fault| {
        let server = fault.shown(content_safety::good).await;
        let shields = PromptShields::new(client_at(&server.url()), Prices::default());
        let meter = plenty();
        let error = shields.attacked_passages(&[(&document, &document.passages[0])], &meter).await.err();
        Met { error, requests: server.requests().len(), meter }
    };
    let most = Prices::default().text_records(1);
    let cell = async |fault: Fault| wrong("shields", fault, fault.may_have_cost(), &ask(fault).await, most);
    assert_none(join_all(Fault::ALL.map(cell)).await);
}

/// Those that a service can show at one call and not at the next.
fn at_a_call() -> impl Iterator<Item = Fault> + Clone {
    Fault::ALL.into_iter().filter(|fault| *fault != Fault::Refused)
}

#[tokio::test(start_paused = true)]
async fn a_screen_of_three_calls_needs_them_all_and_counts_each_that_was_answered() {
    let_time_pass();
    let cell = async |spoilt: &'static str, fault: Fault| {
        let answer = move |request: &Request| {
            let good = content_safety::good(request);
            if operation(request) == spoilt { fault.of(good) } else { good }
        };
        let server = Scripted::start(answer).await;
        let screen = screen_at(&server.url(), everything());
        let meter = plenty();
        let message = AsRead { text: MESSAGE, sources: &[MESSAGE.to_owned()] };
        let error = screen.screen(&message, &meter).await.err();
        let is_free = !fault.may_have_cost() && fault != Fault::Slow;
        // A text each, and for groundedness its source.
        let records = |request: &Request| if operation(request) == "detectGroundedness" { 2 } else { 1 };
        let charged = |request: &&Request| operation(request) != spoilt || !is_free;
        let charged: u64 = server.requests().iter().filter(charged).map(records).sum();
        let spent = meter.spent().cost_usd;
        let is_paid = spent == Prices::default().text_records(charged);
        let is_right = error.as_ref().map(|error| error.kind) == fault.kind() && is_paid;
        (!is_right).then(|| format!("{spoilt}, {fault:?}: {error:?}, {spent} for {charged} records"))
    };
    let operations = ["analyze", "shieldPrompt", "detectGroundedness"];
    let cells = operations.into_iter().flat_map(|spoilt| at_a_call().map(move |fault| (spoilt, fault)));
    assert_none(join_all(cells.map(|(spoilt, fault)| cell(spoilt, fault))).await);
}

/// A request of retrieval, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create,
    Upload,
    Count,
    Query,
}

impl Asked {
    const ALL: [Self; 4] = [Self::Create, Self::Upload, Self::Count, Self::Query];

    fn of(request: &Request) -> Self {
        match request.method.as_str() {
            "PUT" => Self::Create,
            _ if request.path().ends_with("search.index") => Self::Upload,
            _ if request.json()["search"] == "*" => Self::Count,
            _ => Self::Query,
        }
    }

    fn expected(self, fault: Fault) -> Option<ErrorKind> {
        match (self, fault) {
            // Nobody reads what the service says of the index that it made.
            (Self::Create, Fault::WrongType | Fault::NotUtf8) => None,
            // An index that is not there is made, and looked for again some time later.
            (Self::Count, Fault::Status(404)) => Some(ErrorKind::Throttled { retry_after: Some(Fault::WAIT) }),
            _ => fault.kind(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retriever_tells_each_fault_of_its_index_and_pays_for_ranked_queries_only() {
    let_time_pass();
    let library = library(&[("a", APPROVED, "Coffee."), ("b", APPROVED, "Tea.")]);
    let price = Usd::from_dollars(0.001).unwrap();
    let cell = async |spoilt: Asked, fault: Fault| {
        let change =
            move |request: &Request, good: Reply| if Asked::of(request) == spoilt { fault.of(good) } else { good };
        let world = retrieval::World::of(StandIn::changed(change).await, Scripted::start(retrieval::embeddings).await);
        world.search.state().has_ranker = true;
        let retriever = world.azure(false, &library, &[]);
        let meter = plenty();
        let found = retriever.retrieve(&retrieval::query("tea"), &meter).await;
        let (expected, spent) = (spoilt.expected(fault), meter.spent());
        let is_charged = expected.is_none() || spoilt == Asked::Query && fault.may_have_cost();
        let is_paid = spent.cost_usd == if is_charged { price } else { Usd::ZERO };
        let is_right = found.as_ref().err().map(|error| error.kind) == expected && is_paid;
        (!is_right).then(|| format!("{spoilt:?}, {fault:?}: {found:?}, {spent:?}"))
    };
    let cells = Asked::ALL.into_iter().flat_map(|spoilt| at_a_call().map(move |fault| (spoilt, fault)));
    assert_none(join_all(cells.map(|(spoilt, fault)| cell(spoilt, fault))).await);
}
