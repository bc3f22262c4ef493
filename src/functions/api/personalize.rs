//! One customer now.

use axum::{
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    agents::experimentation::deliver::Wish,
    domain::{
        channel::Channel,
        id::{CampaignId, Locale},
        problem::Problem,
    },
    functions::{App, extract::Json, invocation::Invocation, refusal::Refusal},
    orchestration::realtime::{Answer, Ask, RealtimeError},
};

/// Of a question: some hundred attributes with long values.
const MAX_BODY: usize = 256 << 10;

/// Names a request: the same one again is the same exposure.
const KEY: &str = "idempotency-key";
const MAX_KEY: usize = 128;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(personalize)).layer(DefaultBodyLimit::max(MAX_BODY))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Personalize)]
struct Body {
    #[schema(value_type = String, example = "first-campaign")]
    campaign: CampaignId,
    customer: Customer,
    /// This channel or none; where absent it is the customer's.
    #[schema(value_type = Option<String>, example = "email")]
    channel: Option<Channel>,
    /// In the place of the customer's.
    #[schema(value_type = Option<String>, example = "en")]
    locale: Option<Locale>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PersonalizeCustomer)]
struct Customer {
    /// As in the customer file.
    #[schema(example = "C-005")]
    id: String,
    /// Column of the customer file, or attribute of the campaign, to value. The consent that the campaign asks of its
    /// file must be here, too.
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    attributes: Box<RawValue>,
}

/// What the campaign does with one customer, and their message
///
/// The answer is the one that the campaign's deliveries have for a customer with these attributes. It is recorded as an
/// exposure before it is given: when that cannot be done there is no message, and the answer is 503. Send an
/// `Idempotency-Key` with the request, and the same one when you send it again, so that the two count as one.
#[utoipa::path(
    post,
    path = "/api/personalize",
    tag = "customers",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 printable ASCII characters")),
    request_body = Body,
    responses(
        (status = 200, description = "What becomes of the customer; a message where one may be sent", body = Answer),
        (status = 404, description = "There is no such campaign"),
        (status = 409, description = "Its messages are not released yet, or it does not run any more"),
        (status = 422, description = "The request or the customer's attributes cannot be used: `errors` says why"),
        (status = 503, description = "The exposure could not be recorded: send the same request again"),
    )
)]
async fn personalize(
    State(app): State<App>,
    invocation: Invocation,
    headers: HeaderMap,
    Json(body): Json<Body>,
) -> Result<Json<Answer>, Refusal> {
    let ask = Ask {
        customer: body.customer.id,
        attributes: body.customer.attributes,
        wish: Wish { channel: body.channel, locale: body.locale },
        key: key(&headers, invocation)?,
    };
    Ok(Json(app.realtime.personalize(&app.engine, &body.campaign, &ask).await?))
}

fn key(headers: &HeaderMap, invocation: Invocation) -> Result<String, Refusal> {
    let Some(key) = headers.get(KEY) else { return Ok(invocation.id) };
    let key = key.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let problem = || Problem::new("it cannot be the key of a request", "give 1 to 128 printable ASCII characters");
    Ok(key.ok_or_else(|| problem().at_field("Idempotency-Key"))?.to_owned())
}

impl From<RealtimeError> for Refusal {
    fn from(error: RealtimeError) -> Self {
        let detail = error.to_string();
        match error {
            RealtimeError::Campaign(error) => error.into(),
            RealtimeError::Closed { .. } => Self::new(StatusCode::CONFLICT, "not_released", detail),
            RealtimeError::Invalid(problems) => problems.into(),
            RealtimeError::NotRecorded(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_recorded", detail),
            RealtimeError::Unusable(trouble) => {
                tracing::error!(%trouble, "a campaign's records");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "campaign_unusable", "the log says what is wrong with it")
            }
        }
    }
}
