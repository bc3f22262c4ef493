//! How one campaign stands.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{Declined, FUNCTION, Known, RuntimeStatus, history::HistoryEvent, parameters::Parameters};
use crate::{
    config::Campaign,
    domain::{id::CampaignId, money::Usd, problem::Problem},
    functions::{
        App,
        extract::Path,
        origin::{Origin, json},
    },
    orchestration::{
        client::StageView,
        engine::Engine,
        instance::{Failure, Gate, Happened, Instance, Request, Status},
        intake::{self, Pending},
        names::{self, Run},
        record::{self, Outcome},
        start::{Source, Start},
        summary,
    },
    store::{self, BlobPath},
};

/// Seconds between two looks.
const NEXT_LOOK: HeaderValue = HeaderValue::from_static("5");

/// Items of a failed stage that are asked why.
const ASKED: u32 = 16;

/// How a campaign stands: its input, progress and output.
#[utoipa::path(
    get, path = "/api/instances/{instanceId}", tag = "durable", operation_id = "instanceStatus",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("showHistory" = Option<bool>, Query, description = "With `historyEvents`; false where absent."),
        ("showHistoryOutput" = Option<bool>, Query, description = "With results in `historyEvents`; false where absent."),
        ("showInput" = Option<bool>, Query, description = "With `input`; true where absent."),
        ("returnInternalServerErrorOnFailure" = Option<bool>, Query, description = "500 for a campaign that failed."),
    ),
    responses(
        (status = 200, description = "It has ended.", body = InstanceStatus),
        (status = 202, description = "It has not ended: ask again at `Location` after `Retry-After` seconds.", body = InstanceStatus),
        (status = 404, description = "There is no such campaign."),
        (status = 500, description = "It has failed, and the call asked for this code.", body = InstanceStatus),
    )
)]
pub async fn status(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Parameters,
    origin: Origin,
    uri: Uri,
) -> Result<Response, Declined> {
    let known = Known::find(&app.engine, &id).await?;
    let status = InstanceStatus::of(&app.engine, &known, Show::of(&parameters)).await?;
    let fails = parameters.flag("returninternalservererroronfailure", false);
    Ok(match status.runtime_status {
        RuntimeStatus::Failed if fails => json(StatusCode::INTERNAL_SERVER_ERROR, &status),
        ended if ended.is_final() => json(StatusCode::OK, &status),
        _ => {
            let location = origin.at(uri.path_and_query().map_or("/", |path| path.as_str()));
            // An address that no header can hold is left out: the client has it.
            let location = HeaderValue::try_from(location).ok().map(|location| [(header::LOCATION, location)]);
            (location, [(header::RETRY_AFTER, NEXT_LOOK)], json(StatusCode::ACCEPTED, &status)).into_response()
        }
    })
}

/// What of a campaign is told.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    pub input: bool,
    pub history: bool,
    pub history_output: bool,
}

impl Show {
    pub fn of(parameters: &Parameters) -> Self {
        Self {
            input: parameters.flag("showinput", true),
            history: parameters.flag("showhistory", false),
            history_output: parameters.flag("showhistoryoutput", false),
        }
    }
}

/// Field for field what the real one tells of an instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    name: &'static str,
    #[schema(value_type = String)]
    instance_id: CampaignId,
    pub runtime_status: RuntimeStatus,
    /// What it was started with: the campaign, and `inputs`.
    #[schema(value_type = Option<Object>)]
    input: Option<Box<RawValue>>,
    custom_status: Option<Standing>,
    /// What it came to, why it failed, or what was said when it was stopped or resumed.
    #[schema(value_type = Value)]
    pub output: Value,
    /// Whole seconds, UTC.
    #[schema(value_type = String)]
    created_time: String,
    #[schema(value_type = String)]
    last_updated_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    history_events: Option<Vec<HistoryEvent>>,
}

/// How far it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Standing {
    /// In the order in which they were opened.
    #[schema(value_type = Vec<Object>)]
    stages: Vec<StageView>,
    #[schema(value_type = f64)]
    cost_usd: Usd,
    /// What all of it may cost at most.
    #[schema(value_type = f64)]
    reserved_usd: Usd,
    /// What a person must decide before it goes on.
    #[schema(value_type = Option<Object>)]
    gate: Option<Gate>,
    /// Files that are not there yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    waits_for: Vec<BlobPath>,
    /// Why it did not begin although all is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    problems: Vec<Problem>,
}

/// A start, in the shape in which one is asked for.
#[derive(Serialize)]
pub struct Input<'a> {
    #[serde(flatten)]
    campaign: &'a Campaign,
    inputs: Inputs<'a>,
}

#[derive(Serialize)]
struct Inputs<'a> {
    customers: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppression: Option<&'a str>,
}

impl<'a> Input<'a> {
    pub fn of_pending(campaign: &'a Campaign, inputs: &'a intake::Inputs) -> Self {
        let suppression = inputs.suppression.as_ref().map(BlobPath::as_str);
        Self { campaign, inputs: Inputs { customers: inputs.customers.as_str(), suppression } }
    }

    fn of_start(start: &'a Start) -> Self {
        let suppression = start.suppression.as_ref().map(|suppression| whereabouts(&suppression.source));
        Self { campaign: &start.campaign, inputs: Inputs { customers: whereabouts(&start.customers), suppression } }
    }
}

impl InstanceStatus {
    pub async fn of(engine: &Engine, known: &Known, show: Show) -> Result<Self, Declined> {
        match known {
            Known::Begun(instance) => Self::of_instance(engine, instance, show).await,
            Known::Pending(pending) => Ok(Self::of_pending(pending, show)),
        }
    }

    fn of_pending(pending: &Pending, show: Show) -> Self {
        let since = whole_seconds(pending.since);
        let standing = Standing {
            stages: Vec::new(),
            cost_usd: Usd::ZERO,
            reserved_usd: Usd::ZERO,
            gate: None,
            waits_for: pending.waits_for.clone(),
            problems: pending.problems.clone(),
        };
        Self {
            name: FUNCTION,
            instance_id: pending.campaign.campaign.id.clone(),
            runtime_status: RuntimeStatus::Pending,
            input: show.input.then(|| raw(&Input::of_pending(&pending.campaign, &pending.inputs))),
            custom_status: Some(standing),
            output: Value::Null,
            created_time: since.clone(),
            last_updated_time: since,
            history_events: None,
        }
    }

    async fn of_instance(engine: &Engine, instance: &Instance, show: Show) -> Result<Self, Declined> {
        let input = if show.input { Some(input(engine, instance).await?) } else { None };
        let output = output(engine, instance).await?;
        let history_events = if show.history {
            let events = engine.events(&instance.campaign, 0).await?;
            let result = show.history_output.then_some(&output);
            Some(HistoryEvent::of(&events, input.as_deref(), show.input, result))
        } else {
            None
        };
        let view = engine.view_of(instance.clone()).await?;
        let standing = Standing {
            stages: view.stages,
            cost_usd: view.budget.settled,
            reserved_usd: view.budget.reserved,
            gate: view.gate,
            waits_for: Vec::new(),
            problems: Vec::new(),
        };
        Ok(Self {
            name: FUNCTION,
            instance_id: instance.campaign.clone(),
            runtime_status: (&instance.status).into(),
            input,
            custom_status: Some(standing),
            output,
            created_time: whole_seconds(begun(instance)),
            last_updated_time: whole_seconds(instance.updated),
            history_events,
        })
    }
}

/// When this run under the id began: with its first stage.
pub fn begun(instance: &Instance) -> Timestamp {
    instance.stages.first().map_or(instance.created, |stage| stage.opened)
}

fn whole_seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("it was read from JSON")
}

/// What a campaign was started with.
pub async fn start_of(engine: &Engine, instance: &Instance) -> Result<Start, store::Error> {
    let path = names::input(&instance.campaign, instance.start);
    let blob = engine.store.blobs.get(&path).await?;
    serde_json::from_slice(&blob.bytes)
        .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })
}

async fn input(engine: &Engine, instance: &Instance) -> Result<Box<RawValue>, store::Error> {
    Ok(raw(&Input::of_start(&start_of(engine, instance).await?)))
}

fn whereabouts(source: &Source) -> &str {
    match source {
        Source::Blob { path, .. } => path.as_str(),
        // Of a machine's files only what its user called them.
        Source::File { name, .. } => name.to_str().unwrap_or_default(),
    }
}

async fn output(engine: &Engine, instance: &Instance) -> Result<Value, Declined> {
    Ok(match &instance.status {
        Status::Completed => {
            let summary = summary::of(&engine.store, instance).await?;
            serde_json::to_value(&summary).expect("a summary is plain data")
        }
        Status::Failed { failure } => why_failed(engine, instance, failure).await?.into(),
        Status::Terminated { reason } | Status::Suspended { reason } => said(reason),
        Status::Running => last_said(engine, instance).await?,
    })
}

/// A reason is optional: where none was given, nothing was said.
pub fn said(reason: &str) -> Value {
    if reason.is_empty() { Value::Null } else { reason.into() }
}

/// With what can be mended, where that is known.
async fn why_failed(engine: &Engine, instance: &Instance, failure: &Failure) -> Result<String, store::Error> {
    let mut text = format!("The campaign failed: {failure}");
    let Failure::ItemsFailed { step, planned, .. } = failure else { return Ok(text) };
    let run = Run { campaign: instance.campaign.clone(), generation: instance.generation };
    let attempts = instance.stage(*step).map_or(0, |stage| stage.attempt);
    let mut reasons = Vec::new();
    for index in 0..(*planned).min(ASKED) {
        let record = record::read(engine.store.blobs.as_ref(), &run, *step, index, attempts).await?;
        let Some(Outcome::Failed(tombstone)) = record.map(|record| record.result) else { continue };
        let problems = tombstone.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let reason = if problems.is_empty() { tombstone.reason } else { problems };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if !reasons.is_empty() {
        text.push_str(&format!(": {}", reasons.join("; ")));
    }
    Ok(text)
}

/// What was said when it was resumed, if that was the last that was asked of its run.
///
/// An instance keeps no reasons of what is over. Only where something was asked at all is its history read, backwards.
async fn last_said(engine: &Engine, instance: &Instance) -> Result<Value, store::Error> {
    if instance.taken.is_empty() {
        return Ok(Value::Null);
    }
    let mut events = instance.events.clone();
    for version in (1..=instance.version).rev() {
        if version < instance.version {
            events = engine.archived_events(&instance.campaign, version).await?;
        }
        for event in events.iter().rev() {
            match &event.what {
                Happened::Took { request: Request::Resume { reason }, .. } => return Ok(said(reason)),
                Happened::Took { request: Request::Rewind { .. }, .. } | Happened::Started { .. } => {
                    return Ok(Value::Null);
                }
                _ => {}
            }
        }
    }
    Ok(Value::Null)
}
