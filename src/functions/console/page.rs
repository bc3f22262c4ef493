//! From what a page shows to the page.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use crate::functions::refusal::Refusal;

/// What every page has.
#[derive(Debug, Serialize)]
pub struct Page<'a, T> {
    pub title: &'a str,
    /// Who looks at it.
    pub person: Option<&'a str>,
    /// Seconds after which it is shown anew.
    pub refresh: Option<u32>,
    #[serde(flatten)]
    pub content: T,
}

const TEMPLATES: [(&str, &str); 5] = [
    ("page.html", include_str!("templates/page.html")),
    ("campaigns.html", include_str!("templates/campaigns.html")),
    ("campaign.html", include_str!("templates/campaign.html")),
    ("review.html", include_str!("templates/review.html")),
    ("refused.html", include_str!("templates/refused.html")),
];

/// Of the report, and of what only the console has.
pub const STYLE: &str =
    concat!(include_str!("../../report/templates/style.css"), include_str!("templates/console.css"));

/// Nothing but the console's own style is loaded, nothing is run, forms go nowhere else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// A report is complete in itself: its style and charts stand in it.
pub const REPORT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox",
);

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are good"));
    for (name, source) in TEMPLATES {
        environment.add_template(name, source).expect("a test renders every template");
    }
    environment
});

impl<T: Serialize> Page<'_, T> {
    pub fn render(&self, template: &str) -> Response {
        let rendered = ENVIRONMENT.get_template(template).and_then(|template| template.render(Serde(self)));
        match rendered {
            Ok(html) => html_response(StatusCode::OK, html, POLICY),
            Err(error) => {
                tracing::error!(%error, template, "a page cannot be made");
                let detail = "the page cannot be made: the log says why";
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "page", detail).into_response()
            }
        }
    }
}

pub fn html_response(status: StatusCode, html: impl Into<axum::body::Body>, policy: HeaderValue) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    (status, headers, html.into()).into_response()
}

/// A refusal, for people.
pub struct Refused(pub Refusal);

#[derive(Serialize)]
struct Details<'a> {
    detail: &'a str,
    errors: Vec<String>,
}

impl<T: Into<Refusal>> From<T> for Refused {
    fn from(refusal: T) -> Self {
        Self(refusal.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let title = status.canonical_reason().unwrap_or("It did not work");
        let errors = self.0.errors().iter().map(ToString::to_string).collect();
        let content = Details { detail: self.0.detail(), errors };
        let mut response = Page { title, person: None, refresh: None, content }.render("refused.html");
        if response.status().is_success() {
            *response.status_mut() = status;
        }
        response
    }
}
