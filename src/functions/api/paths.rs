//! Paths as clients of Azure write them: letters of any case, and a slash at the end or none.

use axum::{
    Router,
    extract::Request,
    http::uri::{PathAndQuery, Uri},
};
use tower::util::MapRequestLayer;

/// The routes, found by what a path means. Works on requests before they are routed.
pub fn in_any_case(routes: Router) -> Router {
    let routes = tower::Layer::layer(&MapRequestLayer::new(plain), routes);
    Router::new().fallback_service(routes)
}

fn plain(mut request: Request) -> Request {
    if let Some(uri) = plain_uri(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// `None`: it is plain already, or none of the API's.
fn plain_uri(uri: &Uri) -> Option<Uri> {
    let path = plain_path(uri.path())?;
    let with_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(with_query).ok()?);
    Uri::from_parts(parts).ok()
}

/// Lower-case words where the API has words: names of campaigns, customers and files are as they are.
fn plain_path(path: &str) -> Option<String> {
    let trimmed = path.trim_end_matches('/');
    let mut segments: Vec<String> = trimmed.split('/').map(str::to_owned).collect();
    // The first is what stands before the first slash: nothing.
    if !segments.get(1).is_some_and(|first| first.eq_ignore_ascii_case("api")) {
        return None;
    }
    segments[1].make_ascii_lowercase();
    if let Some(resource) = segments.get_mut(2) {
        resource.make_ascii_lowercase();
    }
    if matches!(segments.get(2).map(String::as_str), Some("instances" | "campaigns" | "content"))
        && let Some(operation) = segments.get_mut(4)
    {
        operation.make_ascii_lowercase();
        if operation == "raiseevent" {
            // The one word that its API writes with a capital.
            "raiseEvent".clone_into(operation);
        }
    }
    Some(segments.join("/")).filter(|plain| plain != path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_ignore_case_and_names_do_not() {
        for (written, meant) in [
            ("/API/Instances/UP/RAISEEVENT/Go", Some("/api/instances/UP/raiseEvent/Go")),
            ("/api/instances/UP/", Some("/api/instances/UP")),
            ("/api/instances//", Some("/api/instances")),
            ("/api/Orchestrators/Campaign/UP", Some("/api/orchestrators/Campaign/UP")),
            ("/api/uploads/content/Folder/A.md", None),
            ("/api/instances/up/raiseEvent/Go", None),
            ("/console/Pages/", None),
            ("/api//instances/x", None),
            ("/", None),
        ] {
            assert_eq!(plain_path(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn the_query_stays_as_it_is() {
        let uri = plain_uri(&"/API/Instances?Code=a%2Fb&x={text}".parse().unwrap()).unwrap();
        assert_eq!(uri, "/api/instances?Code=a%2Fb&x={text}");
    }
}
