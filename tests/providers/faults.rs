//! The fault matrix: each provider of an agent, each fault of its service; what the agent is told, and what the meter
//! counts.

use std::{path::Path, sync::Arc, time::Duration};

use cpo::{
    agents::safety::{AsRead, HarmScreen},
    config::{Campaign, campaign::ScreenName},
    domain::{money::Usd, variant::Usage},
    orchestration::workshop::Providers,
    providers::{ErrorKind, Meter, ProviderError, Services},
};
use futures::future::join_all;

use crate::{
    doubles,
    openai::{self, plenty, says},
    scripted::{Refusing, Reply, Scripted},
};

/// What a service does to a call. Where there is an answer at all, it is the good one: nobody may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// In virtual time.
    Slow,
    Silent,
    Reset,
    ResetMidway,
    Half,
    Status(u16),
    RetryAfter(u16),
    WrongType,
    Large,
    NotUtf8,
}

impl Fault {
    pub const ALL: [Self; 21] = [
        Self::Slow,
        Self::Silent,
        Self::Reset,
        Self::ResetMidway,
        Self::Half,
        Self::Status(302),
        Self::Status(400),
        Self::Status(401),
        Self::Status(403),
        Self::Status(404),
        Self::Status(408),
        Self::Status(409),
        Self::Status(413),
        Self::Status(429),
        Self::RetryAfter(429),
        Self::Status(500),
        Self::Status(503),
        Self::RetryAfter(503),
        Self::WrongType,
        Self::Large,
        Self::NotUtf8,
    ];
    const WAIT: Duration = Duration::from_secs(2);

    pub fn of(self, good: Reply) -> Reply {
        match self {
            Self::Slow => good.after(Duration::from_secs(20)),
            Self::Silent => Reply::never(),
            Self::Reset => Reply::reset(),
            Self::ResetMidway => good.reset_midway(),
            Self::Half => good.half(),
            Self::Status(status) => good.with_status(status),
            Self::RetryAfter(status) => good.with_status(status).header("retry-after", "2"),
            Self::WrongType => good.with_type("text/html"),
            Self::Large => {
                let mut body = good.body().to_vec();
                body.resize(10 << 20, b' ');
                good.with_body(body)
            }
            Self::NotUtf8 => {
                let body = String::from_utf8(good.body().to_vec()).unwrap();
                let (first, rest) = body.split_once('{').unwrap();
                good.with_body([first.as_bytes(), b"{\"name\": \"\xff\",", rest.as_bytes()].concat())
            }
        }
    }

    /// `None`: no fault.
    fn kind(self) -> Option<ErrorKind> {
        Some(match self {
            Self::Slow => return None,
            Self::Status(302 | 401 | 403 | 404) => ErrorKind::Misconfigured,
            Self::Status(400 | 413) => ErrorKind::Rejected,
            Self::Status(429) => ErrorKind::Throttled { retry_after: None },
            Self::RetryAfter(_) => ErrorKind::Throttled { retry_after: Some(Self::WAIT) },
            _ => ErrorKind::Unavailable,
        })
    }

    /// Whether the service may have charged for the call.
    pub fn may_have_cost(self) -> bool {
        match self {
            Self::Status(status) => status == 408,
            Self::RetryAfter(_) => false,
            _ => true,
        }
    }

    /// How often the one stack of all clients asks.
    fn requests(self) -> usize {
        if matches!(self, Self::Status(409 | 500 | 503)) { 3 } else { 1 }
    }
}

/// Lets virtual time pass by milliseconds, and what comes over a connection arrive between them: otherwise time jumps to
/// the end of whatever waits for an answer.
pub fn let_time_pass() {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// What a question gave, and what it took.
struct Met {
    error: Option<ProviderError>,
    requests: usize,
    meter: Meter,
}

fn wrong(provider: &str, fault: Fault, met: &Met, most: Usd) -> Option<String> {
    let spent = met.meter.spent();
    let is_as_expected = met.error.as_ref().map(|error| error.kind) == fault.kind()
        && met.requests == fault.requests()
        && match fault {
            Fault::Slow => spent.requests == 1 && spent.cost_usd > Usd::ZERO,
            // Nobody knows what it cost, so it counts as all that it may cost.
            _ if fault.may_have_cost() => spent.requests == 1 && spent.cost_usd == most,
            _ => spent.requests == 0 && spent.cost_usd == Usd::ZERO,
        };
    let Met { error, requests, .. } = met;
    (!is_as_expected).then(|| format!("{provider}, {fault:?}: {error:?} after {requests} requests, {spent:?}"))
}

fn assert_none(wrong: Vec<Option<String>>) {
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_writer_tells_each_fault_of_its_model_for_what_it_is() {
    let_time_pass();
    let world = openai::World::new();
    let most = {
        let server = Scripted::in_turn([Reply::reset()]).await;
        let meter = plenty();
        world.write(&openai::writer(&server, 0), &meter).await.unwrap_err();
        meter.spent().cost_usd
    };
    let cell = async |fault: Fault| {
        let server = Scripted::in_turn([fault.of(says(&world.answer("Hello.")))]).await;
        let meter = plenty();
        let error = world.write(&openai::writer(&server, 0), &meter).await.err();
        wrong("openai", fault, &Met { error, requests: server.requests().len(), meter }, most)
    };
    assert_none(join_all(Fault::ALL.map(cell)).await);
}

fn screen(url: String) -> Arc<dyn HarmScreen> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/campaign.toml");
    let mut campaign = Campaign::read(&file).unwrap();
    campaign.providers.safety = ScreenName::AzureContentSafety;
    campaign.safety.content_safety.prompt_shields = false;
    let services = Services::new(move |name| match name {
        "AZURE_CONTENT_SAFETY_ENDPOINT" => Some(url.clone()),
        "AZURE_CONTENT_SAFETY_KEY" => Some("the-key".to_owned()),
        _ => None,
    });
    let providers = Providers { services: Arc::new(services), ..Providers::default() };
    providers.chosen(&campaign, &campaign.prices).unwrap().screen
}

async fn screened(url: String) -> (Option<ProviderError>, Meter) {
    let meter = plenty();
    let message = AsRead { text: "The shop opens at nine.", sources: &[] };
    (screen(url).screen(&message, &meter).await.err(), meter)
}

#[tokio::test(start_paused = true)]
async fn a_screen_tells_each_fault_of_its_service_for_what_it_is_and_passes_nothing() {
    let_time_pass();
    let most = {
        let server = Scripted::start(doubles::passes).await;
        screened(server.url()).await.1.spent().cost_usd
    };
    let cell = async |fault: Fault| {
        let server = Scripted::start(move |request| fault.of(doubles::passes(request))).await;
        let (error, meter) = screened(server.url()).await;
        wrong("content safety", fault, &Met { error, requests: server.requests().len(), meter }, most)
    };
    assert_none(join_all(Fault::ALL.map(cell)).await);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_there_costs_nothing() {
    let_time_pass();
    let nobody = Refusing::start();
    let (error, meter) = screened(nobody.url()).await;
    assert_eq!(error.unwrap().kind, ErrorKind::Unavailable);
    assert_eq!(meter.spent(), Usage::default());
}
