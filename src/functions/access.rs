//! Who may do what.
//!
//! Calls of `/api` come through a host that has checked a function key. Pages are for people: App Service has
//! authenticated them and says who they are in a header, which can be believed only where that is switched on.

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::refusal::Refusal;

/// How people are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches this machine's loopback address may do everything: `cpo dev`.
    Local,
    /// By the principal that App Service authentication puts into a header.
    Platform,
    /// Nobody is known, so that nobody gets in: App Service authentication is off.
    Nobody,
}

/// What a person may do; each is given by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Look at campaigns, messages and results.
    Viewer,
    /// Suspend, resume, end and rewind campaigns.
    Operator,
    /// Decide on messages that wait.
    Approver,
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Approver];

    /// As it is called in the app registration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    roles: Vec<Role>,
}

impl Person {
    /// Whoever may do something may also look.
    pub fn may(&self, role: Role) -> bool {
        self.roles.contains(&role) || (role == Role::Viewer && !self.roles.is_empty())
    }

    pub fn must(&self, role: Role) -> Result<(), Refusal> {
        if self.may(role) {
            return Ok(());
        }
        let detail = format!("this needs the role `{}`: whoever owns the app can give it to you", role.as_str());
        Err(Refusal::new(StatusCode::FORBIDDEN, "role_missing", detail))
    }
}

impl Access {
    /// What App Service says of itself in its settings.
    pub fn of_platform(enabled: Option<&str>) -> Self {
        match enabled {
            Some(enabled) if enabled.eq_ignore_ascii_case("true") => Self::Platform,
            _ => Self::Nobody,
        }
    }

    /// Who sends these headers.
    pub fn person(self, headers: &HeaderMap) -> Result<Person, Refusal> {
        let person = match self {
            Self::Local => Some(Person { name: "somebody on this machine".to_owned(), roles: Role::ALL.to_vec() }),
            Self::Platform => person(headers),
            Self::Nobody => None,
        };
        let detail = "nobody is signed in: App Service authentication must be on, and you signed in";
        person.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "not_signed_in", detail))
    }
}

/// The header `X-MS-CLIENT-PRINCIPAL`: base64 of this as JSON.
#[derive(Deserialize)]
struct Principal {
    #[serde(default)]
    name_typ: String,
    #[serde(default)]
    role_typ: String,
    #[serde(default)]
    claims: Vec<Claim>,
}

#[derive(Deserialize)]
struct Claim {
    typ: String,
    val: String,
}

fn person(headers: &HeaderMap) -> Option<Person> {
    let mut given = headers.get_all("x-ms-client-principal").iter();
    let (Some(header), None) = (given.next(), given.next()) else { return None };
    let principal: Principal = serde_json::from_slice(&STANDARD.decode(header).ok()?).ok()?;
    let claims = |types: [&str; 2]| {
        let is_one = move |claim: &&Claim| !claim.typ.is_empty() && types.contains(&claim.typ.as_str());
        principal.claims.iter().filter(is_one).map(|claim| claim.val.as_str()).collect::<Vec<_>>()
    };
    let name = *claims([principal.name_typ.as_str(), "preferred_username"]).first()?;
    let given = claims([principal.role_typ.as_str(), "roles"]);
    let roles = Role::ALL.into_iter().filter(|role| given.contains(&role.as_str())).collect();
    Some(Person { name: name.to_owned(), roles })
}

/// Lets in only what comes from this machine's own programs and pages, not what a page of somebody else's has a browser
/// here send: neither under a name that was made to point here, nor from another origin.
pub async fn only_from_here(request: Request, next: Next) -> Response {
    let refused = |detail| Refusal::new(StatusCode::FORBIDDEN, "not_from_here", detail).into_response();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| is_loopback(host)) else {
        return refused("cpo dev answers only to 127.0.0.1 and localhost");
    };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !is_read
        && origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host)
    {
        return refused("another site's page asked for this");
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let name = format!("http://{host}").parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    name.is_some_and(|name| matches!(name.as_str(), "127.0.0.1" | "localhost" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn headers(principal: &serde_json::Value) -> HeaderMap {
        let encoded = STANDARD.encode(principal.to_string());
        [("x-ms-client-principal".parse().unwrap(), HeaderValue::try_from(encoded).unwrap())].into_iter().collect()
    }

    fn ada(roles: &[&str]) -> serde_json::Value {
        let roles = roles.iter().map(|role| json!({"typ": "roles", "val": role}));
        let claims: Vec<_> =
            [json!({"typ": "preferred_username", "val": "ada@example.com"})].into_iter().chain(roles).collect();
        json!({"auth_typ": "aad", "name_typ": "name", "role_typ": "roles", "claims": claims})
    }

    #[test]
    fn a_role_gives_what_it_says_and_looking() {
        let person = |roles| Access::Platform.person(&headers(&ada(roles))).unwrap();
        let approver = person(&["approver"]);
        assert_eq!(approver.name, "ada@example.com");
        assert!(approver.may(Role::Approver) && approver.may(Role::Viewer) && !approver.may(Role::Operator));
        assert!(!person(&[]).may(Role::Viewer));
        assert!(!person(&["Approver", "admin"]).may(Role::Viewer));
    }

    #[test]
    fn without_a_believable_principal_there_is_nobody() {
        let good = headers(&ada(&["viewer"]));
        assert!(Access::Platform.person(&good).is_ok());
        assert!(Access::Nobody.person(&good).is_err());
        assert!(Access::Platform.person(&HeaderMap::new()).is_err());
        for bad in ["", "not base64", "e30", "e30=", "bnVsbA=="] {
            let headers =
                [("x-ms-client-principal".parse().unwrap(), HeaderValue::from_static(bad))].into_iter().collect();
            assert!(Access::Platform.person(&headers).is_err(), "{bad}");
        }
        let mut twice = good.clone();
        twice.append("x-ms-client-principal", good["x-ms-client-principal"].clone());
        assert!(Access::Platform.person(&twice).is_err());
    }

    #[test]
    fn authentication_must_be_said_to_be_on() {
        assert_eq!(Access::of_platform(Some("True")), Access::Platform);
        for off in [None, Some(""), Some("False"), Some("1")] {
            assert_eq!(Access::of_platform(off), Access::Nobody);
        }
    }

    #[test]
    fn only_loopback_names_are_this_machine() {
        for here in ["127.0.0.1:7071", "localhost", "localhost:80", "[::1]:7071"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["example.com", "127.0.0.1.example.com:7071", "localhost.evil", "", "127.0.0.1@example.com"] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
