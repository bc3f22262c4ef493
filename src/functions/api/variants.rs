//! The review queue: what was written, what the gates say of it, and what a person decides.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::page::{Page, Paging, Top};
use super::refusals::{NoCampaign, OfAList};
use crate::{
    domain::{
        decision::{self as domain, Approved},
        digest::Digest,
        id::{CampaignId, VariantId},
        problem::Problem,
        variant::Variant,
        verdict::Decision,
    },
    functions::{
        App,
        extract::{Event, Json, NoQuery, Path, Query},
        refusal::Refusal,
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(variants)).routes(routes!(approve))
}

/// Which variants, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only those of this verdict: `needs_review` is the queue.
    decision: Option<Decision>,
    #[serde(default)]
    #[param(inline)]
    top: Top,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReviewQueue)]
struct Variants {
    /// While the campaign waits for a person.
    gate: Option<Open>,
    #[serde(flatten)]
    page: Page<Variant>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenGate)]
struct Open {
    /// Of all variants as they were judged: a decision is on these and no others.
    digest: Digest,
    needs_review: u32,
    #[schema(value_type = String, format = DateTime)]
    expires: Timestamp,
}

/// What was written, with its claims, sources, verdict and cost
///
/// The list is empty until all variants are judged. Every claim cites the words of an approved passage that it rests on;
/// a verdict's findings say what a reviewer should look at.
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/variants",
    params(("id" = CampaignId, Path, example = "spring-upgrade"), Wanted),
    responses(
        (status = OK, body = Variants),
        NoCampaign,
        OfAList,
    )
)]
async fn variants(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    Query(Wanted { decision, top, after }): Query<Wanted>,
) -> Result<Json<Variants>, Refusal> {
    let instance = app.engine.held(&campaign).await?.instance;
    let review = app.engine.review(&instance).await?;
    let gate =
        review.gate.map(|gate| Open { digest: gate.digest, needs_review: gate.needs_review, expires: gate.expires });
    let wanted = review.variants.into_iter().filter(|variant| decision.is_none_or(|it| it == variant.verdict.decision));
    let page = Page::of(wanted, &Paging { top, after }, |variant| variant.id.as_str())?;
    Ok(Json(Variants { gate, page }))
}

/// One decision on all variants that wait.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReviewDecision, example = json!({
    "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "approve": ["Regulars / friendly / email / en / 1"],
    "by": "Ada Lovelace",
    "note": "the second one is too long",
}))]
pub(super) struct Approval {
    /// Of the gate, as it was when the variants were looked at.
    digest: Digest,
    approve: Approve,
    /// Who decides. It is kept with the campaign.
    #[schema(min_length = 1, max_length = 256)]
    by: String,
    #[schema(max_length = 2000)]
    note: Option<String>,
}

impl Approval {
    /// Refused where somebody's words are none that can be shown on pages and kept for good.
    pub(super) fn decision(self) -> Result<domain::Decision, Problem> {
        let Self { digest, approve, by, note } = self;
        check("by", &by, 256)?;
        if let Some(note) = &note {
            check("note", note, 2_000)?;
        }
        let approved = match approve {
            Approve::Every(Every::All) => Approved::All,
            Approve::Every(Every::None) => Approved::Only(Vec::new()),
            Approve::These(ids) => Approved::Only(ids),
        };
        Ok(domain::Decision { schema: domain::Schema::V1, digest, approved, by, note })
    }
}

/// What is not approved is blocked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`approve` is \"all\", \"none\" or a list of variants' ids")]
enum Approve {
    Every(Every),
    These(Vec<VariantId>),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Every {
    All,
    None,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReviewDecided)]
struct Decided {
    campaign: CampaignId,
    approved: usize,
    /// Those that waited and were not approved.
    blocked: usize,
}

/// Decide on all variants that wait, once
///
/// Those that are not approved are blocked. The decision is on the variants that `digest` names, and on no others. The
/// same call again (by `Idempotency-Key`), or the same decision once it is taken, is answered as the first time.
#[utoipa::path(
    post,
    path = "/api/campaigns/{id}/approvals",
    params(
        ("id" = CampaignId, Path, example = "spring-upgrade"),
        ("Idempotency-Key" = Option<String>, Header, description = "names this decision"),
    ),
    request_body = Approval,
    responses(
        (status = OK, description = "decided", body = Decided),
        (status = ACCEPTED, description = "asked, and decided soon", body = Decided),
        (status = BAD_REQUEST, description = "the body is not JSON"),
        NoCampaign,
        (status = CONFLICT, description = "nothing waits, or other variants than these"),
        (status = UNPROCESSABLE_ENTITY, description = "a field is at fault"),
    )
)]
async fn approve(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    NoQuery: NoQuery,
    Event(event): Event,
    Json(approval): Json<Approval>,
) -> Result<Response, Refusal> {
    let domain::Decision { digest, approved, by, note, .. } = approval.decision()?;
    let decided = app.engine.decide(&campaign, digest, approved, by, note, event).await?;
    let status = if decided.taken { StatusCode::OK } else { StatusCode::ACCEPTED };
    let decided = Decided { campaign, approved: decided.approved, blocked: decided.blocked };
    Ok((status, Json(decided)).into_response())
}

fn check(field: &str, text: &str, bytes: usize) -> Result<(), Problem> {
    let is_printable = |c: char| !c.is_control() || (c == '\n' && field == "note");
    if !text.trim().is_empty() && text.len() <= bytes && text.chars().all(is_printable) {
        return Ok(());
    }
    let problem = Problem::new("this is not a line of text", format!("write 1 to {bytes} bytes of printable text"));
    Err(problem.at_field(field))
}
