//! Campaigns by the page.

use std::pin::pin;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future::ready, stream};
use jiff::Timestamp;

use super::{
    Declined, Known, RuntimeStatus,
    parameters::Parameters,
    status::{InstanceStatus, Show, begun},
};
use crate::{
    functions::{App, origin::json},
    orchestration::{
        engine::Engine,
        listing::{Listed, Place},
    },
    store,
};

const TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");
const PAGE: usize = 100;
/// Campaigns that one call looks at, so that it ends in time: a page may be short, and have a successor all the same.
const LOOKS: usize = 1_000;
/// Campaigns read at once.
const READERS: usize = 16;

/// Lists campaigns by id, a page at a time.
#[utoipa::path(
    get, path = "/api/instances", tag = "durable", operation_id = "listInstances",
    params(
        ("runtimeStatus" = Option<String>, Query, description = "Those with one of these, with commas between."),
        ("createdTimeFrom" = Option<String>, Query, description = "Those that began then or later."),
        ("createdTimeTo" = Option<String>, Query, description = "Those that began then or earlier."),
        ("instanceIdPrefix" = Option<String>, Query, description = "Those whose id begins so."),
        ("showInput" = Option<bool>, Query, description = "With `input`; true where absent."),
        ("top" = Option<u32>, Query, description = "Of a page, at most; 100 where absent, 1,000 at most."),
        ("x-ms-continuation-token" = Option<String>, Header, description = "As the page before gave it."),
    ),
    responses(
        (status = 200, description = "By id. While there is more: with `x-ms-continuation-token`.", body = [InstanceStatus]),
    )
)]
pub async fn list(State(app): State<App>, parameters: Parameters, headers: HeaderMap) -> Result<Response, Declined> {
    let top = parameters.number("top").unwrap_or(PAGE).min(LOOKS);
    let mut from: Option<Place> = match headers.get(&TOKEN).filter(|token| !token.is_empty()) {
        None => None,
        Some(token) => match first_of_page(token) {
            Some(first) => Some(first),
            None => return Ok(json_page(&[], None)),
        },
    };
    let filter = Filter::of(&parameters);
    let prefix = parameters.text("instanceidprefix").unwrap_or_default();
    let mut looked = 0;
    let mut page = Vec::new();
    // What is looked at beyond the page tells whether it has a successor.
    let next = 'page: loop {
        let Listed { places, next } = app.engine.list(prefix, from.as_ref(), READERS.max(top + 1 - page.len())).await?;
        looked += places.len();
        let mut known = pin!(known(&app.engine, places));
        while let Some((place, known)) = known.try_next().await? {
            if !filter.matches(&known) {
                continue;
            }
            if page.len() == top {
                break 'page Some(place);
            }
            page.push(known);
        }
        if next.is_none() || looked >= LOOKS {
            break next;
        }
        from = next;
    };
    let show = Show { history: false, history_output: false, ..Show::of(&parameters) };
    let engine = &app.engine;
    let statuses = stream::iter(page).map(|known| async move { InstanceStatus::of(engine, &known, show).await });
    // One that was purged meanwhile is left out.
    let statuses = statuses.buffered(READERS).filter(|status| ready(!matches!(status, Err(Declined::Unknown))));
    let statuses: Vec<InstanceStatus> = statuses.try_collect().await?;
    Ok(json_page(&statuses, next.as_ref()))
}

fn json_page(page: &[InstanceStatus], next: Option<&Place>) -> Response {
    let page = json(StatusCode::OK, &page);
    match next {
        None => page,
        Some(next) => {
            let token = BASE64_STANDARD.encode(next.to_string());
            let token = HeaderValue::try_from(token).expect("base64 is visible ASCII");
            ([(TOKEN, token)], page).into_response()
        }
    }
}

/// What a page begins with.
fn first_of_page(token: &HeaderValue) -> Option<Place> {
    let place = BASE64_STANDARD.decode(token.to_str().ok()?.trim()).ok()?;
    String::from_utf8(place).ok()?.parse().ok()
}

/// What is known of them, in their order; those that are gone meanwhile are left out.
pub fn known(engine: &Engine, places: Vec<Place>) -> impl Stream<Item = Result<(Place, Known), store::Error>> + '_ {
    let look_up = async |place: Place| {
        let known = Known::look_up(engine, &place.campaign).await?;
        Ok(known.map(|known| (place, known)))
    };
    stream::iter(places).map(look_up).buffered(READERS).try_filter_map(|known| ready(Ok(known)))
}

/// Which campaigns are meant.
#[derive(Debug)]
pub struct Filter {
    /// `None`: any.
    statuses: Option<Vec<RuntimeStatus>>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Filter {
    pub fn of(parameters: &Parameters) -> Self {
        Self {
            statuses: parameters.text("runtimestatus").and_then(statuses),
            from: parameters.time("createdtimefrom"),
            to: parameters.time("createdtimeto"),
        }
    }

    pub fn matches(&self, known: &Known) -> bool {
        let began = match known {
            Known::Begun(instance) => begun(instance),
            Known::Pending(pending) => pending.since,
        };
        self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&known.runtime_status()))
            && self.from.is_none_or(|from| from <= began)
            && self.to.is_none_or(|to| began <= to)
    }
}

/// Words that are none count for nothing; where no word is one, any status is meant. A word of a status that no campaign
/// ever has is a word.
fn statuses(words: &str) -> Option<Vec<RuntimeStatus>> {
    let (mut statuses, mut is_any) = (Vec::new(), true);
    for word in words.split(',').map(str::trim) {
        let status = match word {
            "Pending" => Some(RuntimeStatus::Pending),
            "Running" => Some(RuntimeStatus::Running),
            "Suspended" => Some(RuntimeStatus::Suspended),
            "Completed" => Some(RuntimeStatus::Completed),
            "Failed" => Some(RuntimeStatus::Failed),
            "Terminated" => Some(RuntimeStatus::Terminated),
            "Canceled" | "ContinuedAsNew" => None,
            _ => continue,
        };
        is_any = false;
        statuses.extend(status);
    }
    (!is_any).then_some(statuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_are_none_are_no_filter() {
        use RuntimeStatus::{Failed, Running};
        assert_eq!(statuses("Failed, Running"), Some(vec![Failed, Running]));
        assert_eq!(statuses("FAILED,Running"), Some(vec![Running]));
        assert_eq!(statuses("Canceled"), Some(Vec::new()));
        assert_eq!(statuses("nonsense,"), None);
    }
}
