//! Starting campaigns, and how they stand.

use std::collections::BTreeMap;

use axum::{
    body::{self, Body},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, TryStreamExt as _, future::ready, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::page;
use super::refusals::{Busy, OfAList};
use crate::{
    Error,
    agents::generation::messages,
    config::Campaign,
    domain::{id::CampaignId, problem::Problem},
    functions::{
        App,
        extract::{Path, Query},
        origin::{Management, Origin},
        refusal::Refusal,
    },
    orchestration::{
        campaign::why_failed,
        client::{ClientError, StageView, View},
        engine::Engine,
        instance::{Budget, Failure, Gate, Status},
        intake::{self, Pending, Started},
        listing::{InvalidPlace, Listed, Place},
        names::Run,
        summary::{self, CustomerCounts, VariantCounts},
        tracking,
    },
    report::Tracking,
    store::BlobPath,
};

/// As of a campaign file.
const MAX_BODY: usize = 4 << 20;
/// Campaigns on a page, where the client does not say how many.
const PAGE: usize = 25;
pub(super) const MAX_PAGE: usize = 100;
/// Campaigns read at once.
const READERS: usize = 16;
/// Seconds after which it is worth asking again.
const RETRY_AFTER: &str = "10";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(start, list)).routes(routes!(get))
}

/// Where a campaign's files are, for a campaign in TOML, which has no place to say it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Files {
    /// `customers/<path>`, as its upload gave it.
    customers: Option<String>,
    /// Of the suppression list, `customers/<path>`.
    suppression: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Begun {
    /// As a client of Durable Functions expects it.
    #[serde(flatten)]
    management: Management,
    #[schema(value_type = String, example = "running")]
    status: Standing,
    /// Files that must arrive before it begins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    waits_for: Vec<BlobPath>,
    links: Links,
}

/// Addresses of this app.
#[derive(Debug, Serialize, ToSchema)]
struct Links {
    #[serde(rename = "self")]
    itself: String,
    variants: String,
    results: String,
    /// In the management API of Durable Functions.
    instance: String,
}

impl Links {
    fn of(id: &CampaignId) -> Self {
        Self {
            itself: format!("/api/campaigns/{id}"),
            variants: format!("/api/campaigns/{id}/variants"),
            results: format!("/api/campaigns/{id}/results"),
            instance: format!("/api/instances/{id}"),
        }
    }
}

/// Where a campaign is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// Its files are not all there.
    Pending,
    Running,
    /// A person must look at its variants.
    Waiting,
    Suspended,
    Completed,
    Failed,
    Terminated,
}

impl Standing {
    fn of(status: &Status, has_gate: bool) -> Self {
        match status {
            Status::Running if has_gate => Self::Waiting,
            Status::Running => Self::Running,
            Status::Suspended { .. } => Self::Suspended,
            Status::Completed => Self::Completed,
            Status::Failed { .. } => Self::Failed,
            Status::Terminated { .. } => Self::Terminated,
        }
    }
}

/// Start a campaign: a campaign file as JSON with `inputs`, or as TOML.
///
/// Its id is the idempotency key: the same start again gives the same campaign, whatever `Idempotency-Key` says; the
/// same id with anything else is refused. Where its customer file is not there yet, it begins when that arrives.
#[utoipa::path(
    post, path = "/api/campaigns", tag = "campaigns",
    params(
        Files,
        ("Idempotency-Key" = Option<String>, Header, description = "Taken, and not needed: the campaign's id is the key"),
    ),
    request_body(
        description = "The shape of a campaign file, and `inputs`",
        content((Value = "application/json"), (String = "application/toml")),
    ),
    responses(
        (
            status = 202, description = "It is under way, or waits for its files", body = Begun,
            headers(("Location" = String, description = "Answers 202 until the campaign has ended"), ("Retry-After" = u32)),
        ),
        (status = 400, description = "The body is no JSON"),
        (status = 409, description = "The id stands for other inputs"),
        (status = 413, description = "The body is too large"),
        (status = 415, description = "The body is neither JSON nor TOML"),
        (status = 422, description = "The campaign cannot work; each problem is named"),
        Busy,
    )
)]
async fn start(
    State(app): State<App>,
    origin: Origin,
    Query(files): Query<Files>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let body = body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        let detail = "the body was cut off, or is more than 4 MiB and so no campaign file";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    let spec = with_files(spec(&headers, &body)?, files)?;
    let started = intake::start(&app.engine, spec, None).await?;
    let (id, status, waits_for) = match started {
        Started::Begun(instance) => {
            let status = Standing::of(&instance.status, instance.gate.is_some());
            (instance.campaign, status, Vec::new())
        }
        Started::Pending(pending) => {
            let Pending { campaign, waits_for, .. } = *pending;
            (campaign.campaign.id, Standing::Pending, waits_for)
        }
    };
    let (links, management) = (Links::of(&id), origin.management(&id));
    // There a poller is told 202 until the campaign has ended.
    let location = management.status_query_get_uri.clone();
    let about = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER.to_owned())];
    Ok((StatusCode::ACCEPTED, about, axum::Json(Begun { management, status, waits_for, links })).into_response())
}

fn spec(headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/toml" | "text/toml" => {
            let text =
                str::from_utf8(body).map_err(|_| Problem::new("the body is not UTF-8 text", "save it as UTF-8"))?;
            let campaign = Campaign::parse(text, std::path::Path::new("campaign.toml"))?;
            Ok(serde_json::to_value(campaign).map_err(|error| Error::failed("the campaign", error))?)
        }
        kind if kind == "application/json" || kind.ends_with("+json") => {
            serde_json::from_slice(body).map_err(|error| {
                Refusal::new(StatusCode::BAD_REQUEST, "invalid_body", format!("the body is no JSON: {error}"))
            })
        }
        _ => {
            let detail = "send the campaign as application/json or application/toml";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
        }
    }
}

/// The same is not said in two places.
fn with_files(mut spec: Value, Files { customers, suppression }: Files) -> Result<Value, Problem> {
    if customers.is_none() && suppression.is_none() {
        return Ok(spec);
    }
    if let Some(spec) = spec.as_object_mut() {
        if spec.contains_key("inputs") {
            let problem =
                Problem::new("both the body and the address say where the files are", "leave one of them out");
            return Err(problem.at_field("inputs"));
        }
        let Some(customers) = customers else {
            let problem = Problem::new("the address does not say where the customers are", "add `customers=`");
            return Err(problem.at_field("customers"));
        };
        spec.insert("inputs".to_owned(), json!({ "customers": customers, "suppression": suppression }));
    }
    Ok(spec)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many at most: 1 to 100.
    #[param(minimum = 1, maximum = 100)]
    top: Option<usize>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
}

impl Page {
    pub(super) fn top(&self) -> Result<usize, Refusal> {
        match self.top.unwrap_or(PAGE) {
            top @ 1..=MAX_PAGE => Ok(top),
            _ => {
                let problem = Problem::new("a page has 1 to 100 entries", "ask for fewer").at_field("top");
                Err(problem.into())
            }
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Entry {
    #[schema(value_type = String)]
    id: CampaignId,
    #[schema(value_type = String, example = "running")]
    status: Standing,
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
    progress: Progress,
}

/// Items of the stages that have been opened so far.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Progress {
    planned: u64,
    done: u64,
    failed: u64,
}

impl Progress {
    fn of(view: &View) -> Self {
        view.stages.iter().fold(Self::default(), |sum, stage| Self {
            planned: sum.planned + u64::from(stage.planned),
            done: sum.done + u64::from(stage.done),
            failed: sum.failed + u64::from(stage.failed),
        })
    }
}

/// All campaigns, pending ones included, by id. A page may be short and have a successor.
#[utoipa::path(
    get, path = "/api/campaigns", tag = "campaigns", params(Page),
    responses(
        (status = 200, description = "A page of them", body = page::Page<Entry>),
        OfAList,
        Busy,
    )
)]
async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<axum::Json<page::Page<Entry>>, Refusal> {
    let top = page.top()?;
    let from: Option<Place> = page.after.map(|after| after.parse()).transpose().map_err(|error: InvalidPlace| {
        Problem::new(error.to_string(), "give what `next` of the page before says").at_field("after")
    })?;
    let Listed { places, next } = app.engine.list("", from.as_ref(), top).await?;
    let entries = stream::iter(places).map(|place| entry(&app.engine, place.campaign)).buffered(READERS);
    let campaigns = entries.try_filter_map(|entry| ready(Ok(entry))).try_collect().await?;
    Ok(axum::Json(page::Page { items: campaigns, next: next.map(|place| place.to_string()) }))
}

/// `None`: it was removed meanwhile.
async fn entry(engine: &Engine, id: CampaignId) -> Result<Option<Entry>, Refusal> {
    match engine.status(&id).await {
        Ok(view) => Ok(Some(Entry {
            status: Standing::of(&view.status, view.gate.is_some()),
            created: view.created,
            updated: view.updated,
            progress: Progress::of(&view),
            id,
        })),
        Err(ClientError::Unknown(_)) => Ok(intake::pending(engine, &id).await?.map(|pending| Entry {
            id,
            status: Standing::Pending,
            created: pending.since,
            updated: pending.since,
            progress: Progress::default(),
        })),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Detail {
    #[serde(flatten)]
    entry: Entry,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    waits_for: Vec<BlobPath>,
    /// Why it does not begin, or has failed, and what its owner can do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    failure: Option<Failure>,
    /// Why somebody suspended or terminated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[schema(value_type = Vec<Object>)]
    stages: Vec<StageView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    gate: Option<Gate>,
    /// Reserved and spent, in dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    budget: Option<Budget>,
    /// Customers, segments, variants and arms of a completed campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    counts: Option<Counts>,
    /// Where the tracking server has it: `server`, `experiment`, `tag` (of the name `cpo_run`) and `run_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    tracking: Option<Tracking>,
    links: Links,
}

/// How a campaign stands.
#[utoipa::path(
    get, path = "/api/campaigns/{id}", tag = "campaigns",
    params(("id" = String, Path, description = "The campaign's id")),
    responses(
        (status = 200, description = "Its state, stages, counts and cost", body = Detail),
        (status = 404, description = "There is no such campaign"),
        Busy,
    )
)]
async fn get(State(app): State<App>, Path(id): Path<CampaignId>) -> Result<axum::Json<Detail>, Refusal> {
    let engine = app.engine.as_ref();
    let view = match engine.status(&id).await {
        Ok(view) => view,
        Err(ClientError::Unknown(_)) => return pending(engine, id).await.map(axum::Json),
        Err(error) => return Err(error.into()),
    };
    let (failure, reason) = match &view.status {
        Status::Failed { failure } => (Some(failure.clone()), None),
        Status::Suspended { reason } | Status::Terminated { reason } => (None, Some(reason.clone())),
        Status::Running | Status::Completed => (None, None),
    };
    Ok(axum::Json(Detail {
        generation: Some(view.generation),
        waits_for: Vec::new(),
        problems: problems(engine, &id, failure.clone()).await?,
        failure,
        reason,
        counts: counts(engine, &view).await?,
        tracking: tracking::found(
            engine.store.blobs.as_ref(),
            &Run { campaign: id.clone(), generation: view.generation },
        )
        .await?,
        links: Links::of(&id),
        entry: Entry {
            status: Standing::of(&view.status, view.gate.is_some()),
            created: view.created,
            updated: view.updated,
            progress: Progress::of(&view),
            id,
        },
        stages: view.stages,
        gate: view.gate,
        budget: Some(view.budget),
    }))
}

/// What a completed campaign made.
#[derive(Debug, Serialize)]
struct Counts {
    customers: CustomerCounts,
    segments: BTreeMap<String, u64>,
    variants: VariantCounts,
    /// Messages for single customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    personal: Option<messages::Counts>,
    /// Customers to whom a message of the arm, or the control message in its place, goes out.
    arms: BTreeMap<String, u64>,
    warnings: Vec<String>,
}

async fn counts(engine: &Engine, view: &View) -> Result<Option<Counts>, Refusal> {
    if view.status != Status::Completed {
        return Ok(None);
    }
    let instance = engine.held(&view.campaign).await?.instance;
    let summary = summary::of(&engine.store, &instance).await?;
    Ok(Some(Counts {
        customers: summary.customers,
        segments: summary.segments.into_iter().collect(),
        variants: summary.variants,
        personal: summary.personal,
        arms: summary.arms.into_iter().collect(),
        warnings: summary.warnings,
    }))
}

/// What the owner of a failed campaign can mend.
async fn problems(engine: &Engine, id: &CampaignId, failure: Option<Failure>) -> Result<Vec<Problem>, Refusal> {
    let Some(failure) = failure else { return Ok(Vec::new()) };
    let instance = engine.held(id).await?.instance;
    Ok(match why_failed(&engine.store, &instance, failure).await? {
        Error::Input(problems) => problems,
        // `failure` says it.
        Error::Failed { .. } => Vec::new(),
    })
}

async fn pending(engine: &Engine, id: CampaignId) -> Result<Detail, Refusal> {
    let Some(Pending { since, waits_for, problems, .. }) = intake::pending(engine, &id).await? else {
        return Err(ClientError::Unknown(id).into());
    };
    Ok(Detail {
        generation: None,
        waits_for,
        problems,
        failure: None,
        reason: None,
        stages: Vec::new(),
        gate: None,
        budget: None,
        counts: None,
        tracking: None,
        links: Links::of(&id),
        entry: Entry { id, status: Standing::Pending, created: since, updated: since, progress: Progress::default() },
    })
}
