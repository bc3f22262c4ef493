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
/// Seconds: a store that does not take an exposure is busy or away, and mostly not for long.
const RETRY_AFTER: u64 = 1;

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
/// `Idempotency-Key` with the request, and the same one when you send it again, so that the two count as one. A recall, a
/// termination or a restart shows in the answers after 5 seconds at the latest.
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
            RealtimeError::NotRecorded(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_recorded", detail).after(RETRY_AFTER)
            }
            RealtimeError::Unusable(trouble) => {
                tracing::error!(%trouble, "a campaign's records");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "campaign_unusable", "the log says what is wrong with it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        body::{Body, to_bytes},
        http::Request,
        response::IntoResponse as _,
    };
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        functions::{access::Access, api::uploads::UploadUrls, router},
        orchestration::realtime::{exposures::NotRecorded, tests::Town},
    };

    fn app(town: &Town) -> App {
        App {
            engine: Arc::clone(&town.engine),
            scratch: town.scratch.path().into(),
            uploads: UploadUrls::Here,
            access: Access::Local,
            realtime: Arc::default(),
        }
    }

    async fn post(app: &App, key: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::post("/api/personalize").header("content-type", "application/json").header(KEY, key);
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = router(app.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    fn question(attributes: Value) -> Value {
        json!({"campaign": "first-campaign", "customer": {"id": "N-1", "attributes": attributes}})
    }

    #[tokio::test]
    async fn the_same_request_has_the_same_answer_and_under_the_same_key_it_is_one_exposure() {
        let town = Town::grown().await;
        let app = app(&town);
        let asked =
            question(json!({"first_name": "Olga", "marketing_opt_in": "yes", "frequency": 9, "recency_days": 3}));
        let (status, answer) = post(&app, "k1", asked.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!((&answer["segment"]["name"], &answer["generation"]), (&json!("Regulars"), &json!(1)));
        assert_eq!(post(&app, "k1", asked).await, (status, answer));
        let keys: Vec<_> = town.exposures().await.into_iter().map(|exposure| exposure.key).collect();
        assert_eq!(keys, ["k1", "k1"]);

        let (status, answer) = post(&app, "k2", question(json!({"frequency": 9}))).await;
        assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("suppressed")));
        assert_eq!((&answer["reason"], answer.get("message")), (&json!("consent not recorded"), None));
        assert_eq!(town.exposures().await.len(), 2, "who may not be contacted is not recorded");
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_refused_with_a_code_and_the_field_at_fault() {
        let town = Town::founded(&[], "customer_id,first_name,tier,days_since_order,orders_12m,avg_order_value,marketing_opt_in,sms_opt_in\nC-1,Ada,Plus,1,1,1,yes,yes\n").await;
        let app = app(&town);
        let asked = question(json!({"consent": "yes", "tier": "Gold", "recency_days": "soon"}));
        let (status, refusal) = post(&app, "k", asked.clone()).await;
        assert_eq!((status, &refusal["code"]), (StatusCode::CONFLICT, &json!("not_released")));
        town.grow(|_| true).await;
        let (status, refusal) = post(&app, "k", asked).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refusal}");
        let fields: Vec<_> = refusal["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
        assert_eq!(fields, ["customer.attributes.recency_days", "customer.attributes.tier"]);
        assert!(!refusal.to_string().contains("soon"), "{refusal}");

        let mut unknown = question(json!({}));
        unknown["campaign"] = json!("nobody");
        assert_eq!(post(&app, "k", unknown).await.0, StatusCode::NOT_FOUND);
        let (status, refusal) = post(&app, &"k".repeat(129), question(json!({}))).await;
        assert_eq!(
            (status, &refusal["errors"][0]["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("Idempotency-Key"))
        );
        let refused = Refusal::from(RealtimeError::from(NotRecorded));
        let refused = refused.into_response();
        assert_eq!((refused.status(), &refused.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &1.into()));
    }
}
