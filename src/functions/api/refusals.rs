//! Refusals that many operations share, for their description. All are problem details, see
//! [`describe`](super::describe).

use utoipa::IntoResponses;

#[derive(IntoResponses)]
#[response(status = 503, description = "The storage is busy")]
pub struct Busy;

#[derive(IntoResponses)]
#[response(status = 404, description = "there is no such campaign")]
pub struct NoCampaign;

/// Of an operation that has no parameters.
#[derive(IntoResponses)]
#[response(status = 400, description = "there are no parameters")]
pub struct NoParameters;

/// Of a list in pages.
#[derive(IntoResponses)]
pub enum OfAList {
    #[response(status = 400, description = "a parameter is unknown, or is not what it should be")]
    Parameter,
    #[response(status = 422, description = "there is no such page")]
    Page,
}

/// Of an operation that takes JSON.
#[derive(IntoResponses)]
pub enum OfABody {
    #[response(status = 400, description = "The body is no JSON")]
    NoJson,
    #[response(status = 413, description = "The body is too large")]
    TooLarge,
    #[response(status = 415, description = "The body is not JSON")]
    OtherKind,
}
