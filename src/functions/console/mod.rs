//! Pages for people: campaigns, how far they are, what waits for a decision. They work without scripts.
//!
//! Who looks must be known (see [`access`](super::access)); each form asks for the role that it needs, and is taken only
//! from a page of this console.

mod page;

use axum::{
    Form, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::page::{Page, Refused, STYLE};
use super::{
    App,
    access::{Access, Person, Role},
    refusal::Refusal,
};
use crate::{
    domain::{
        decision::Approved,
        digest::Digest,
        id::{CampaignId, VariantId},
        variant::{Claim, Variant},
        verdict::Finding,
    },
    orchestration::{
        client::{Answer, StageView, View},
        engine::Held,
        instance::{EventId, Happened, Instance, Request, Status},
        layout,
        listing::{Listed, Place},
        names::Run,
    },
    store,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/console", get(campaigns))
        .route("/console/style.css", get(style))
        .route("/console/campaigns/{id}", get(campaign))
        .route("/console/campaigns/{id}/review", get(review))
        .route("/console/campaigns/{id}/decision", post(decide))
        .route("/console/campaigns/{id}/report", get(report))
        .route("/console/campaigns/{id}/{action}", post(steer))
}

impl FromRequestParts<App> for Person {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        Ok(app.access.person(&parts.headers)?)
    }
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// On a page.
const CAMPAIGNS: usize = 100;
/// Requests that did not fit, of which a page tells.
const REFUSALS: usize = 5;
/// Seconds between two looks at a campaign that is at work.
const REFRESH: u32 = 5;

#[derive(Serialize)]
struct Campaigns {
    campaigns: Vec<Row>,
    /// What the next page begins with.
    next: Option<String>,
}

#[derive(Serialize)]
struct Row {
    id: CampaignId,
    status: String,
    /// Messages that wait for a person.
    waits: Option<u32>,
    updated: String,
}

#[derive(Deserialize)]
struct Turned {
    /// As the link to the page has it; anything else is the first page.
    from: Option<String>,
}

async fn campaigns(
    State(app): State<App>,
    person: Person,
    Query(Turned { from }): Query<Turned>,
) -> Result<Response, Refused> {
    person.must(Role::Viewer)?;
    let mut campaigns = Vec::new();
    let mut is_at_work = false;
    let from: Option<Place> = from.and_then(|from| from.parse().ok());
    let Listed { places, next } = app.engine.list("", from.as_ref(), CAMPAIGNS).await?;
    for Place { campaign: id, .. } in places {
        // It may not have begun, or have been purged meanwhile.
        let Some(Held { instance, .. }) = app.engine.load(&id).await? else { continue };
        is_at_work |= instance.status == Status::Running && instance.gate.is_none();
        campaigns.push(Row {
            id,
            status: instance.status.to_string(),
            waits: instance.gate.filter(|_| !instance.status.is_final()).map(|gate| gate.needs_review),
            updated: moment(instance.updated),
        });
    }
    let page = Page {
        title: "Campaigns",
        person: Some(&person.name),
        refresh: is_at_work.then_some(REFRESH),
        content: Campaigns { campaigns, next: next.map(|place| place.to_string()) },
    };
    Ok(page.render("campaigns.html"))
}

#[derive(Serialize)]
struct CampaignPage {
    id: CampaignId,
    view: View,
    status: String,
    created: String,
    updated: String,
    gate: Option<Waits>,
    complete: bool,
    stages: Vec<StageRow>,
    cost: Option<Cost>,
    refused: Vec<RefusedRequest>,
    actions: Vec<Action>,
}

#[derive(Serialize)]
struct Waits {
    needs_review: u32,
    expires: String,
}

#[derive(Serialize)]
struct StageRow {
    name: String,
    unit: &'static str,
    planned: u32,
    done: u32,
    failed: u32,
    attempt: u32,
    time: String,
}

#[derive(Serialize)]
struct Cost {
    settled: String,
    reserved: String,
}

#[derive(Serialize)]
struct RefusedRequest {
    at: String,
    why: String,
}

/// What an operator can do with a campaign as it stands.
#[derive(Debug, Clone, Copy, Serialize)]
struct Action {
    path: &'static str,
    name: &'static str,
    what: &'static str,
}

impl Action {
    const SUSPEND: Self =
        Self { path: "suspend", name: "Suspend", what: "nothing new is begun; what is under way is finished and kept" };
    const RESUME: Self = Self { path: "resume", name: "Resume", what: "it goes on where it stopped" };
    const TERMINATE: Self = Self {
        path: "terminate",
        name: "Terminate",
        what: "it ends for good; what it has made stays until it is purged",
    };
    const REWIND: Self = Self { path: "rewind", name: "Rewind", what: "what failed is done again, and only that" };

    fn of(status: &Status) -> Vec<Self> {
        match status {
            Status::Running => vec![Self::SUSPEND, Self::TERMINATE],
            Status::Suspended { .. } => vec![Self::RESUME, Self::TERMINATE],
            Status::Failed { .. } => vec![Self::REWIND],
            Status::Completed | Status::Terminated { .. } => Vec::new(),
        }
    }

    fn request(path: &str, reason: String) -> Option<Request> {
        Some(match path {
            "suspend" => Request::Suspend { reason },
            "resume" => Request::Resume { reason },
            "terminate" => Request::Terminate { reason },
            "rewind" => Request::Rewind { reason },
            _ => return None,
        })
    }
}

async fn campaign(State(app): State<App>, person: Person, Path(id): Path<String>) -> Result<Response, Refused> {
    person.must(Role::Viewer)?;
    let id = known(&id)?;
    let view = app.engine.status(&id).await?;
    let events = app.engine.events(&id, 0).await?;
    let mut refused: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event.what {
            Happened::Refused { why, .. } => Some(RefusedRequest { at: moment(event.at), why }),
            _ => None,
        })
        .collect();
    refused.drain(..refused.len().saturating_sub(REFUSALS));
    let now = app.engine.now();
    let content = CampaignPage {
        status: view.status.to_string(),
        created: moment(view.created),
        updated: moment(view.updated),
        gate: view
            .gate
            .as_ref()
            .filter(|_| !view.status.is_final())
            .map(|gate| Waits { needs_review: gate.needs_review, expires: moment(gate.expires) }),
        complete: view.status == Status::Completed,
        stages: view.stages.iter().map(|stage| row(stage, now)).collect(),
        cost: (view.budget.reserved.dollars() > 0.0)
            .then(|| Cost { settled: view.budget.settled.to_string(), reserved: view.budget.reserved.to_string() }),
        refused,
        actions: if person.may(Role::Operator) { Action::of(&view.status) } else { Vec::new() },
        id: id.clone(),
        view,
    };
    let is_at_work = content.view.status == Status::Running && content.gate.is_none();
    // A page with a form that somebody fills in must not go away.
    let refresh = (is_at_work && content.actions.is_empty()).then_some(REFRESH);
    Ok(Page { title: id.as_str(), person: Some(&person.name), refresh, content }.render("campaign.html"))
}

fn row(stage: &StageView, now: Timestamp) -> StageRow {
    let time = |end: Timestamp| duration(end.duration_since(stage.opened));
    StageRow {
        name: stage.step.to_string(),
        unit: stage.step.stage.unit(),
        planned: stage.planned,
        done: stage.done,
        failed: stage.failed,
        attempt: stage.attempt,
        time: stage.closed.map_or_else(|| format!("{} so far", time(now)), time),
    }
}

#[derive(Serialize)]
struct ReviewPage {
    id: CampaignId,
    status: String,
    digest: Option<Digest>,
    expires: String,
    variants: Vec<Card>,
    may_decide: bool,
    /// Nobody has told us who they are: they say it themselves.
    names_themselves: bool,
}

#[derive(Serialize)]
struct Card {
    id: VariantId,
    channel: &'static str,
    subject: Option<String>,
    paragraphs: Vec<String>,
    findings: Vec<FindingRow>,
    claims: Vec<ClaimRow>,
    writer: String,
}

#[derive(Serialize)]
struct FindingRow {
    why: String,
    text: String,
}

#[derive(Serialize)]
struct ClaimRow {
    text: String,
    passage: String,
    quote: String,
}

impl Card {
    fn new(variant: &Variant) -> Self {
        let finding = |finding: &Finding| FindingRow { why: finding.why.clone(), text: finding.text.clone() };
        let claim = |claim: &Claim| ClaimRow {
            text: claim.text.clone(),
            passage: claim.citation.passage.to_string(),
            quote: claim.citation.quote.clone(),
        };
        Self {
            id: variant.id.clone(),
            channel: variant.cell.channel.as_str(),
            subject: variant.message.subject.clone(),
            paragraphs: variant.message.body.split("\n\n").map(str::to_owned).collect(),
            findings: variant.verdict.findings.iter().map(finding).collect(),
            claims: variant.claims.iter().map(claim).collect(),
            writer: variant.writer.clone(),
        }
    }
}

async fn review(State(app): State<App>, person: Person, Path(id): Path<String>) -> Result<Response, Refused> {
    person.must(Role::Viewer)?;
    let id = known(&id)?;
    let Held { instance, .. } = app.engine.held(&id).await?;
    let gate = instance.gate.as_ref().filter(|_| !instance.status.is_final());
    let variants = match gate {
        Some(_) => app.engine.review(&instance).await?.waiting().map(Card::new).collect(),
        None => Vec::new(),
    };
    let content = ReviewPage {
        status: instance.status.to_string(),
        digest: gate.map(|gate| gate.digest),
        expires: gate.map(|gate| moment(gate.expires)).unwrap_or_default(),
        variants,
        may_decide: person.may(Role::Approver),
        names_themselves: app.access == Access::Local,
        id: id.clone(),
    };
    let title = format!("{id}: review");
    Ok(Page { title: &title, person: Some(&person.name), refresh: None, content }.render("review.html"))
}

/// The fields of a form, several of which may have one name.
type Fields = Form<Vec<(String, String)>>;

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

async fn decide(
    State(app): State<App>,
    person: Person,
    headers: HeaderMap,
    Path(id): Path<String>,
    Form(fields): Fields,
) -> Result<Redirect, Refused> {
    from_own_page(&headers)?;
    person.must(Role::Approver)?;
    let id = known(&id)?;
    let incomplete = |what| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "form", what);
    let digest = field(&fields, "digest").and_then(|digest| digest.parse().ok());
    let digest: Digest = digest.ok_or_else(|| incomplete("the form does not say which messages it is about"))?;
    let by = match app.access {
        Access::Local => field(&fields, "by").ok_or_else(|| incomplete("say who decides"))?.to_owned(),
        Access::Platform | Access::Nobody => person.name,
    };
    let ticked = fields.iter().filter(|(name, _)| name == "approve").map(|(_, id)| VariantId::new(id.as_str()));
    let ticked = ticked.collect::<Result<Vec<_>, _>>().map_err(|_| incomplete("a ticked message is not one"))?;
    let note = field(&fields, "note").map(str::to_owned);
    app.engine.decide(&id, digest, Approved::Only(ticked), by, note, EventId::next()).await?;
    Ok(Redirect::to(&format!("/console/campaigns/{id}")))
}

async fn steer(
    State(app): State<App>,
    person: Person,
    headers: HeaderMap,
    Path((id, action)): Path<(String, String)>,
    Form(fields): Fields,
) -> Result<Redirect, Refused> {
    from_own_page(&headers)?;
    person.must(Role::Operator)?;
    let id = known(&id)?;
    let reason = field(&fields, "reason").unwrap_or("asked in the console");
    let reason = format!("{reason} ({})", person.name);
    let request = Action::request(&action, reason)
        .ok_or_else(|| Refusal::not_found("no_such_route", "campaigns cannot do that"))?;
    match app.engine.ask(&id, request).await? {
        Answer::Taken | Answer::Later => Ok(Redirect::to(&format!("/console/campaigns/{id}"))),
        Answer::Refused { why } => Err(Refusal::new(StatusCode::CONFLICT, "refused", why).into()),
    }
}

async fn report(State(app): State<App>, person: Person, Path(id): Path<String>) -> Result<Response, Refused> {
    person.must(Role::Viewer)?;
    let id = known(&id)?;
    let Held { instance: Instance { generation, .. }, .. } = app.engine.held(&id).await?;
    let path = Run { campaign: id, generation }.file(&layout::blob(layout::REPORT_HTML));
    match app.engine.store.blobs.get(&path).await {
        Ok(blob) => Ok(page::html_response(StatusCode::OK, blob.bytes, page::REPORT_POLICY)),
        Err(store::Error::NotFound { .. }) => {
            Err(Refusal::not_found("no_report", "there is a report when the campaign is complete").into())
        }
        Err(error) => Err(error.into()),
    }
}

fn known(id: &str) -> Result<CampaignId, Refusal> {
    CampaignId::new(id).map_err(|error| Refusal::not_found("unknown_campaign", error.to_string()))
}

/// A browser says where a form was sent from. Another site's page cannot have it send ours in the name of who is signed
/// in.
fn from_own_page(headers: &HeaderMap) -> Result<(), Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match header("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let origin = header("origin").and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            origin.is_some() && (origin == header("host") || origin == header("x-forwarded-host"))
        }
    };
    if is_own {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, "not_own_page", "this was not sent from a page of the console"))
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn duration(time: SignedDuration) -> String {
    match time.as_secs() {
        0..100 => format!("{:.2} s", time.as_secs_f64()),
        seconds @ 100..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        functions::api::uploads::UploadUrls,
        orchestration::{
            engine::{Clock, Engine},
            names,
            workshop::{Providers, Workshop},
        },
        store::{Memory, Precondition},
    };

    const CAMPAIGN: &str = "first-campaign";

    /// With a campaign that runs.
    async fn app(access: Access) -> App {
        let store = Memory::default().store();
        let mut instance: Instance =
            serde_json::from_slice(include_bytes!("../../../tests/data/formats/instance-1.json")).unwrap();
        instance.campaign = CampaignId::new(CAMPAIGN).unwrap();
        instance.status = Status::Suspended { reason: "<script>alert(1)</script>".to_owned() };
        (instance.gate, instance.outbox) = (None, Vec::new());
        // No history before it.
        (instance.version, instance.previous) = (1, None);
        let path = names::instance(&instance.campaign);
        store.blobs.put(&path, serde_json::to_vec(&instance).unwrap(), Precondition::Absent).await.unwrap();
        let scratch = std::env::temp_dir();
        let workshop = Workshop::new(store.clone(), scratch.clone(), Providers::default());
        App {
            engine: Arc::new(Engine::new(store, Arc::new(workshop), Clock::default())),
            scratch: scratch.into(),
            uploads: UploadUrls::Here,
            access,
            realtime: Arc::default(),
        }
    }

    /// As App Service tells who is signed in.
    fn principal(roles: &[&str]) -> String {
        let roles = roles.iter().map(|role| json!({"typ": "roles", "val": role}));
        let name = json!({"typ": "preferred_username", "val": "ada@example.com"});
        let claims: Vec<_> = [name].into_iter().chain(roles).collect();
        STANDARD.encode(json!({"auth_typ": "aad", "role_typ": "roles", "claims": claims}).to_string())
    }

    async fn ask(app: &App, request: axum::http::request::Builder, body: &'static str) -> (StatusCode, String) {
        let form = request.header("content-type", "application/x-www-form-urlencoded");
        let routes = routes().with_state(app.clone());
        let response = routes.oneshot(form.body(Body::from(body)).unwrap()).await.unwrap();
        let (status, body) = (response.status(), to_bytes(response.into_body(), 1 << 20).await.unwrap());
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_is_not_known_sees_nothing() {
        let look = || Request::get(format!("/console/campaigns/{CAMPAIGN}"));
        for (access, roles) in [(Access::Nobody, &["viewer"][..]), (Access::Platform, &[])] {
            let (status, page) =
                ask(&app(access).await, look().header("x-ms-client-principal", principal(roles)), "").await;
            assert!(status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN, "{status}");
            assert!(!page.contains(CAMPAIGN), "{page}");
        }
        let (status, _) = ask(&app(Access::Platform).await, look(), "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn each_does_what_their_role_says_and_no_more() {
        let app = app(Access::Platform).await;
        let paths = [("resume", "operator"), ("terminate", "operator"), ("decision", "approver")];
        for (path, needed) in paths {
            for role in ["viewer", "operator", "approver"].into_iter().filter(|role| *role != needed) {
                let request = Request::post(format!("/console/campaigns/{CAMPAIGN}/{path}"))
                    .header("sec-fetch-site", "same-origin")
                    .header("x-ms-client-principal", principal(&[role]));
                assert_eq!(ask(&app, request, "reason=x").await.0, StatusCode::FORBIDDEN, "{path} as {role}");
            }
        }
        let request = Request::post(format!("/console/campaigns/{CAMPAIGN}/resume"))
            .header("sec-fetch-site", "same-origin")
            .header("x-ms-client-principal", principal(&["operator"]));
        assert_eq!(ask(&app, request, "reason=go").await.0, StatusCode::SEE_OTHER);
        let id = CampaignId::new(CAMPAIGN).unwrap();
        assert_eq!(app.engine.held(&id).await.unwrap().instance.status, Status::Running);
    }

    #[tokio::test]
    async fn a_form_of_another_sites_page_is_not_taken() {
        let app = app(Access::Local).await;
        let post = || Request::post(format!("/console/campaigns/{CAMPAIGN}/terminate")).header("host", "app.example");
        let foreign = [
            post(),
            post().header("sec-fetch-site", "cross-site"),
            post().header("sec-fetch-site", "same-site").header("origin", "https://app.example"),
            post().header("origin", "https://evil.example"),
            post().header("origin", "null"),
        ];
        for request in foreign {
            assert_eq!(ask(&app, request, "reason=x").await.0, StatusCode::FORBIDDEN);
        }
        let own = post().header("origin", "https://app.example");
        assert_eq!(ask(&app, own, "reason=x").await.0, StatusCode::SEE_OTHER);
    }

    #[tokio::test]
    async fn every_page_shows_what_it_is_about_and_text_stays_text() {
        let app = app(Access::Local).await;
        for path in ["/console", "/console/campaigns/first-campaign", "/console/campaigns/first-campaign/review"] {
            let (status, page) = ask(&app, Request::get(path), "").await;
            assert_eq!(status, StatusCode::OK, "{path}: {page}");
            assert!(page.contains(CAMPAIGN) && page.contains("suspended (&lt;script&gt;"), "{path}: {page}");
            assert!(!page.contains("<script"), "{path}");
            roxmltree::Document::parse_with_options(
                &page,
                roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
            )
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for path in
            ["/console/campaigns/nobody", "/console/campaigns/%2e%2e", "/console/campaigns/first-campaign/report"]
        {
            assert_eq!(ask(&app, Request::get(path), "").await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
