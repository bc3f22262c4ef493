//! The recorded exchanges, one after the other.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Request, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use cpo::domain::id::CampaignId;

use crate::{
    compare::{Comparison, Shapes},
    deviations::{self, Deviation},
    json::Json,
    recording::{self, Exchange},
    world::{self, HOST, State, World},
};

/// Where the recording began with other instances than those it had left.
const ANEW: [usize; 6] = [348, 439, 454, 504, 572, 575];

/// Instances that the recording made out of sight, before its first call for them.
const MADE: &[(&str, State)] = &[
    ("s-fails", State::Failed),
    ("s-term", State::Terminated),
    ("e-done", State::Completed),
    ("e-failed", State::Failed),
    ("e-term", State::Terminated),
    ("e-susp", State::Suspended),
    ("r-2", State::Failed),
    ("r-3", State::Failed),
    ("r-perm", State::Failed),
    ("rs-1", State::Failed),
    ("r-run", State::Running),
    ("r-done", State::Completed),
    ("r-term", State::Terminated),
    ("r-susp", State::Suspended),
    ("x-1", State::Completed),
    ("x-fail", State::Failed),
    ("x-term", State::Terminated),
    ("x-run", State::Running),
    ("x-run2", State::Running),
    ("l-sub", State::Failed),
    ("v-1", State::Running),
    ("tsl", State::Running),
    ("tsl2", State::Running),
];

/// Those wait for an event, or sleep.
const RUNNING: [&str; 4] = ["e-", "t-", "p-", "je-"];

/// Names under which the recording's app had no orchestrator.
const NO_ORCHESTRATORS: [&str; 2] = ["NoSuch", "SayHello"];

/// What its driver did between two calls.
const MEANWHILE: &[(usize, &str, State, &str)] =
    &[(109, "s-dup", State::Suspended, ""), (242, "p-3", State::Suspended, "s")];

/// Times that are placeholders there.
const T0: &str = "2026-11-22T17:58:00Z";
const T1: &str = "2026-11-22T17:58:18Z";

struct Replay {
    world: World,
    /// The id that was made last where the recording has a placeholder.
    made: String,
    shapes: Shapes,
}

struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

#[tokio::test(start_paused = true)]
async fn every_recorded_exchange_is_answered_as_recorded_or_stands_among_the_deviations() {
    let exchanges = recording::read();
    assert_eq!(exchanges.len(), 590);
    let deviations = deviations::by_line(&exchanges);
    let mut replay = Replay { world: World::new().await, made: String::new(), shapes: Shapes::of(exchanges.values()) };
    let (mut same, mut failures) = (0, Vec::new());
    for (line, exchange) in &exchanges {
        if ANEW.contains(line) {
            replay.world = World::new().await;
        }
        let deviation = deviations.get(line);
        if matches!(deviation, Some(Deviation::NotAsked)) {
            continue;
        }
        replay.prepare(*line, exchange, deviation.is_none()).await;
        let verbatim = matches!(deviation, Some(Deviation::Answered { code: 400 }));
        let got = replay.ask(*line, exchange, verbatim).await;
        let differences = replay.differences(exchange, &got);
        match deviation {
            None if differences.is_empty() => same += 1,
            None => failures.push(format!("{line} {}\n    {}", exchange.name(), differences.join("\n    "))),
            Some(Deviation::Answered { code, .. }) => {
                if differences.is_empty() {
                    failures.push(format!("{line} {}: is no deviation any more", exchange.name()));
                } else if got.status != *code {
                    failures.push(format!("{line} {}: answered {}, not {code}", exchange.name(), got.status));
                }
            }
            Some(Deviation::NotAsked) => {}
        }
    }
    assert!(failures.is_empty(), "{} differ, {same} are the same:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(same + deviations.len(), exchanges.len());
    println!("{same} exchanges are the same, {} deviate", deviations.len());
}

impl Replay {
    /// Brings the instances into the states that the recording found them in.
    async fn prepare(&mut self, line: usize, exchange: &Exchange, is_compared: bool) {
        for (_, id, state, said) in MEANWHILE.iter().filter(|(before, ..)| *before == line) {
            self.world.bring(&CampaignId::new(*id).unwrap(), *state, said).await;
        }
        let body = exchange.response.body.as_ref();
        let told = body.filter(|_| is_compared && exchange.request.method.eq_ignore_ascii_case("get"));
        for told in
            told.map_or(&[][..], |body| if body.items().is_empty() { std::slice::from_ref(body) } else { body.items() })
        {
            let state = told.text("runtimeStatus").and_then(State::of);
            let id = CampaignId::new(self.ours(told.text("instanceId").unwrap_or_default()));
            if let (Some(state), Ok(id)) = (state, id) {
                let said = told.text("output").unwrap_or_default();
                let events = told.get("historyEvents").map_or(&[][..], Json::items);
                if events.iter().any(|event| event.text("EventType") == Some("EventRaised")) {
                    self.world.gate(&id);
                }
                self.bear(&id).await;
                self.world.bring(&id, state, said).await;
            }
        }
        // The first time that an instance is asked something.
        if told.is_none()
            && let Some(id) = exchange.instance()
            && let Ok(campaign) = CampaignId::new(self.ours(id))
            && self.world.state(&campaign).await.is_none()
        {
            let made = MADE.iter().find(|(made, _)| *made == id).map(|(_, state)| *state);
            let runs = !exchange.is_start() && RUNNING.iter().any(|prefix| id.starts_with(prefix));
            if let Some(state) = made.or(runs.then_some(State::Running)) {
                self.world.bring(&campaign, state, "").await;
            }
        }
    }

    /// Sets the clock to when the recording made an instance.
    async fn bear(&self, id: &CampaignId) {
        if self.world.state(id).await.is_some() {
            return;
        }
        match id.as_str() {
            "warm" => self.world.set_time("2026-11-22T17:50:00Z"),
            id if id.starts_with("l-z") || id.starts_with("m-") => self.world.set_time("2026-11-22T17:58:30Z"),
            id if id.starts_with("l-") => self.world.set_time("2026-11-22T17:58:10Z"),
            _ => {}
        }
    }

    /// A recorded text in this app's terms.
    fn ours(&self, text: &str) -> String {
        let mut text = text
            .replace("/runtime/webhooks/durabletask", "/api")
            .replace("/RUNTIME/WebHooks/DurableTask", "/API")
            .replace("{base}", &format!("http://{HOST}"))
            .replace("{hubWithoutWorker}", "cpo")
            .replace("{hub-lower-case}", "cpo")
            .replace("{hub}", "cpo")
            .replace("taskHub=TestHubName", "taskHub=cpo")
            .replace("{code percent-encoded}", "%6Bey")
            .replace("{code}", "key")
            .replace("{T0}", T0)
            .replace("{T1}", T1)
            .replace("{warm}", "warm")
            // Capitals stand before digits and digits before letters: the order stays.
            .replace("l-F2", "l-02");
        if !self.made.is_empty() {
            text = text.replace("{instanceId}", &self.made);
        }
        text
    }

    fn token(&self, token: &str) -> String {
        let id = BASE64_STANDARD.decode(token.trim()).ok().and_then(|id| String::from_utf8(id).ok());
        match id.filter(|id| id.is_ascii()) {
            Some(id) => BASE64_STANDARD.encode(self.ours(&id)),
            None => token.trim().to_owned(),
        }
    }

    /// `verbatim`: with the recorded body, where it is what the call is about.
    fn request(&self, line: usize, exchange: &Exchange, verbatim: bool) -> Request<Body> {
        let asked = &exchange.request;
        let mut path = self.ours(&asked.path_and_query);
        let mut body = asked.body.clone().unwrap_or_default();
        let was_taken = matches!(exchange.response.status, 200 | 202 | 409);
        if exchange.is_start() {
            let function = exchange.segments()[1];
            if !NO_ORCHESTRATORS.contains(&function) {
                path = path.replacen(&format!("/{function}"), "/Campaign", 1);
            }
            if was_taken && !verbatim {
                let id = exchange.instance().map_or_else(|| format!("without-{line}"), |id| self.ours(id));
                let mut spec = world::spec(&id, &body);
                // Nobody works there: the instance stays Pending, as a campaign does whose file is not there.
                if asked.path_and_query.contains("{hubWithoutWorker}") {
                    spec["inputs"]["customers"] = "customers/later.csv".into();
                }
                body = spec.to_string();
            }
        }
        for (theirs, our) in [("/Approve", "/Approval"), ("/aPPROVE", "/aPPROVAL")] {
            if path.contains(theirs) {
                path = path.replace(theirs, our);
                if was_taken && !verbatim {
                    body = world::approval().to_string();
                }
            }
        }
        let mut request = Request::builder().method(asked.method.as_str()).uri(path).header("Host", HOST);
        for (name, value) in &asked.headers {
            request = match name.as_str() {
                // The body is one piece here.
                "Transfer-Encoding" => request,
                "x-ms-continuation-token" => request.header(name, self.token(value)),
                _ => request.header(name, self.ours(value)),
            };
        }
        request.body(Body::from(body)).unwrap()
    }

    async fn ask(&mut self, line: usize, exchange: &Exchange, verbatim: bool) -> Got {
        let request = self.request(line, exchange, verbatim);
        let known = self.world.engine.campaigns().await.unwrap();
        let waits = exchange.request.path_and_query.to_lowercase().contains("pollinginterval");
        let call = self.world.call(request);
        let response = if waits && exchange.response.status == 200 {
            tokio::select! {
                response = call => response,
                () = self.work_on_new(exchange, &known) => unreachable!("it works until the call has returned"),
            }
        } else {
            call.await
        };
        let got = Got::of(response).await;
        // The recording has a placeholder for an id that was made there.
        let body = exchange.response.body.as_ref();
        if body.and_then(|body| body.text("id")) == Some("{instanceId}")
            && let Some(Json::String(id)) = got.json().as_ref().and_then(|body| body.get("id"))
        {
            self.made.clone_from(id);
        }
        got
    }

    /// Brings whatever is started meanwhile to its recorded end.
    async fn work_on_new(&self, exchange: &Exchange, known: &[CampaignId]) {
        let fails = exchange.segments().contains(&"Fails");
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            for id in self.world.engine.campaigns().await.unwrap() {
                if !known.contains(&id) {
                    self.world.work(&id, fails).await;
                }
            }
        }
    }

    fn differences(&self, exchange: &Exchange, got: &Got) -> Vec<String> {
        let recorded = &exchange.response;
        let mut comparison = Comparison { shapes: &self.shapes, exchange, differences: Vec::new() };
        comparison.same("status", recorded.status, got.status);
        for name in ["content-type", "location", "retry-after", "x-ms-continuation-token", "www-authenticate"] {
            let expected = recorded.headers.get(name).map(|value| match name {
                "x-ms-continuation-token" => self.token(value),
                _ => self.ours(value),
            });
            comparison.same(name, expected, got.headers.get(name).cloned());
        }
        match &recorded.body {
            Some(body) => {
                let body = body.with_texts(&|text| self.ours(text));
                match got.json() {
                    Some(actual) => comparison.body(&body, &actual),
                    None => comparison.differences.push("body: it is no JSON".to_owned()),
                }
            }
            None => comparison.same("body", 0, got.body.len()),
        }
        comparison.differences
    }
}

impl Got {
    async fn of(response: Response<Body>) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Self { status, headers, body }
    }

    fn json(&self) -> Option<Json> {
        serde_json::from_slice(&self.body).ok()
    }
}
