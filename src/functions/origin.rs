//! How the app is reached from outside, and the addresses at which a campaign is told of and steered.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts, uri::Authority},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::domain::id::CampaignId;

/// As the client wrote it. Two proxies may stand before the app: App Service's, which ends TLS and says so in
/// `X-Forwarded-Proto`, and the Functions host, which either passes the client's `Host` on or, when it proxies, puts it
/// into `X-Forwarded-Host` and the app's own loopback address in its place. So the one is believed only beside the
/// other: a client that sends `X-Forwarded-Host` itself changes nothing.
///
/// What a client can still claim changes the links of its own answer and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `https://app.example`
    base: String,
    /// The function key, where the address had it.
    code: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let host = authority(&parts.headers, header::HOST.as_str()).or_else(|| parts.uri.authority().cloned());
        let host = match host {
            Some(host) if !is_loopback(&host) => host,
            host => authority(&parts.headers, "x-forwarded-host")
                .or(host)
                .unwrap_or_else(|| Authority::from_static("localhost")),
        };
        let is_tls =
            first(&parts.headers, "x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let scheme = if is_tls { "https" } else { "http" };
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let code = pairs.into_owned().find(|(name, _)| name.eq_ignore_ascii_case("code")).map(|(_, code)| code);
        Ok(Self { base: format!("{scheme}://{host}"), code: code.filter(|code| !code.is_empty()) })
    }
}

/// Of a header that proxies may have added to, the client's end.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim)
}

fn authority(headers: &HeaderMap, name: &str) -> Option<Authority> {
    let authority: Authority = first(headers, name)?.parse().ok()?;
    (!authority.host().is_empty() && !authority.as_str().contains('@')).then_some(authority)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

impl Origin {
    /// The absolute address of a path with its query.
    pub fn at(&self, path_and_query: impl std::fmt::Display) -> String {
        format!("{}{path_and_query}", self.base)
    }

    /// A key that came in the address is in these addresses too, so that whoever follows them needs no other; one that
    /// came in a header stays out of addresses, which end in logs.
    pub fn management(&self, campaign: &CampaignId) -> Management {
        let key = self.code.as_deref().map(|code| {
            let code: String = form_urlencoded::byte_serialize(code.as_bytes()).collect();
            format!("&code={code}")
        });
        let query = format!("taskHub={HUB}&connection={CONNECTION}{}", key.unwrap_or_default());
        let instance = self.at(format_args!("/api/instances/{campaign}"));
        Management {
            id: campaign.clone(),
            status_query_get_uri: format!("{instance}?{query}"),
            send_event_post_uri: format!("{instance}/raiseEvent/{{eventName}}?{query}"),
            terminate_post_uri: format!("{instance}/terminate?reason={{text}}&{query}"),
            purge_history_delete_uri: format!("{instance}?{query}"),
            restart_post_uri: format!("{instance}/restart?{query}"),
            suspend_post_uri: format!("{instance}/suspend?reason={{text}}&{query}"),
            resume_post_uri: format!("{instance}/resume?reason={{text}}&{query}"),
        }
    }
}

/// There is one of each; clients of Durable Functions expect their names in an address.
const HUB: &str = "cpo";
const CONNECTION: &str = "Storage";

/// Where to ask about a campaign and to steer it: the answer of a start, field for field that of Durable Functions.
/// `{eventName}` and `{text}` are for the client to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Management {
    #[schema(value_type = String)]
    pub id: CampaignId,
    pub status_query_get_uri: String,
    send_event_post_uri: String,
    terminate_post_uri: String,
    purge_history_delete_uri: String,
    restart_post_uri: String,
    suspend_post_uri: String,
    resume_post_uri: String,
}

/// Seconds before the first look is worth it.
const FIRST_LOOK: HeaderValue = HeaderValue::from_static("10");

/// 202, with the address to poll.
impl IntoResponse for Management {
    fn into_response(self) -> Response {
        let location = HeaderValue::try_from(&self.status_query_get_uri)
            .expect("an authority, an id and an encoded key are visible ASCII");
        let headers = [(header::LOCATION, location), (header::RETRY_AFTER, FIRST_LOOK)];
        (headers, json(StatusCode::ACCEPTED, &self)).into_response()
    }
}

/// A body with the content type that Durable Functions gives it.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    let bytes = serde_json::to_vec(body).expect("answers are plain data");
    (status, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn origin(uri: &str, headers: &[(&str, &str)]) -> Origin {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        match Origin::from_request_parts(&mut parts, &()).await {
            Ok(origin) => origin,
        }
    }

    #[tokio::test]
    async fn links_lead_back_to_where_the_client_called_whichever_way_the_host_passed_it_on() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("host", "127.0.0.1:7071")], "http://127.0.0.1:7071"),
            (&[("host", "app.example"), ("x-forwarded-proto", "https")], "https://app.example"),
            // The host forwards: what the client says of itself is not believed.
            (&[("host", "app.example"), ("x-forwarded-host", "evil.example")], "http://app.example"),
            // The host proxies.
            (
                &[("host", "127.0.0.1:41"), ("x-forwarded-host", "app.example"), ("x-forwarded-proto", "https,http")],
                "https://app.example",
            ),
            (&[("host", "[::1]:41"), ("x-forwarded-host", "app.example:8443")], "http://app.example:8443"),
            // What is no authority is none.
            (&[("host", "localhost"), ("x-forwarded-host", "a/b?c")], "http://localhost"),
            (&[("host", "localhost"), ("x-forwarded-host", "user@evil.example")], "http://localhost"),
            (&[("x-forwarded-proto", "javascript")], "http://localhost"),
        ];
        for (headers, expected) in cases {
            assert_eq!(origin("/x", headers).await.base, expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_key_is_in_the_links_only_where_it_was_in_the_address() {
        let id = CampaignId::new("spring").unwrap();
        let with = origin("/x?Code=a%2Fb%3D%3D&y=1", &[("host", "app.example")]).await.management(&id);
        let expected = "http://app.example/api/instances/spring?taskHub=cpo&connection=Storage&code=a%2Fb%3D%3D";
        assert_eq!(with.status_query_get_uri, expected);
        let without = origin("/x", &[("host", "app.example"), ("x-functions-key", "secret")]).await.management(&id);
        let text = serde_json::to_string(&without).unwrap();
        assert!(!text.contains("secret") && !text.contains("code="), "{text}");
    }
}
