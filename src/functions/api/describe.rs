//! What `/api/openapi.json` says of the API as a whole.

use axum::Router;
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, ContentBuilder, OpenApi, PathItem, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
        tag::TagBuilder,
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::functions::{App, refusal::Refusal};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Customer Personalization Orchestrator",
        description = "Marketing messages whose every claim is checked against an approved source.\n\nWhat is not \
                       answered is refused with problem details (RFC 9457). Fields and parameters that are not known \
                       are refused. Lists come in pages: `next` of one is `after` of the next.\n\nBehind a Functions \
                       host every call needs a function key, which the host checks; `cpo dev` needs none.",
    ),
    components(schemas(Refusal))
)]
struct Whole;

/// The routes of all groups, and their description.
pub fn described<const N: usize>(groups: [(&str, &str, OpenApiRouter<App>); N]) -> (Router<App>, OpenApi) {
    let mut whole = OpenApiRouter::with_openapi(Whole::openapi());
    let mut tags = Vec::with_capacity(N);
    for (tag, what, mut routes) in groups {
        tags.push(TagBuilder::new().name(tag).description(Some(what)).build());
        operations(routes.get_openapi_mut()).for_each(|operation| complete(operation, tag));
        whole = whole.merge(routes);
    }
    let (routes, mut description) = whole.split_for_parts();
    description.tags = Some(tags);
    description.security = Some(["header", "query"].map(|name| SecurityRequirement::new(name, NO_SCOPES)).into());
    if let Some(components) = &mut description.components {
        let header = ApiKey::Header(ApiKeyValue::with_description("x-functions-key", "a function key"));
        let query = ApiKey::Query(ApiKeyValue::with_description("code", "a function key"));
        components.add_security_scheme("header", SecurityScheme::ApiKey(header));
        components.add_security_scheme("query", SecurityScheme::ApiKey(query));
    }
    // OpenAPI has no word for a parameter that spans segments of a path.
    let paths = std::mem::take(&mut description.paths.paths);
    description.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    (routes, description)
}

const NO_SCOPES: [&str; 0] = [];

/// What is so of every operation: its group, and how it refuses.
fn complete(operation: &mut Operation, tag: &str) {
    operation.tags = Some(vec![tag.to_owned()]);
    // Handlers are named within their file.
    let name = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{tag}_{name}"));
    let answers = &mut operation.responses.responses;
    // Clients of Durable Functions know refusals of other kinds, some of them without a word.
    if tag != DURABLE {
        for (status, answer) in answers.iter_mut() {
            if let RefOr::T(answer) = answer
                && status.starts_with(['4', '5'])
            {
                answer.content.insert(PROBLEM.to_owned(), details().into());
            }
        }
    }
    let refused = ResponseBuilder::new().description("refused, and why").content(PROBLEM, details()).build();
    answers.entry("default".to_owned()).or_insert(RefOr::T(refused));
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.iter_mut().for_each(as_it_is);
    }
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer {
            answer.content.iter_mut().for_each(as_it_is);
        }
    }
}

/// What is not JSON is bytes as they are: a schema could only say what they are not.
fn as_it_is((kind, content): (&String, &mut RefOr<Content>)) {
    if let RefOr::T(content) = content
        && kind != "application/json"
        && !kind.ends_with("+json")
    {
        content.schema = None;
    }
}

const PROBLEM: &str = "application/problem+json";
/// The group whose answers are another's.
pub const DURABLE: &str = "instances";

fn details() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Refusal"))).build()
}

fn operations(description: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    description.paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
        [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::functions::api::groups;

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_an_answer() {
        let (_, mut description) = described(groups());
        let mut names = BTreeSet::new();
        let mut any = false;
        for operation in operations(&mut description) {
            any = true;
            let name = operation.operation_id.clone().expect("a name");
            assert!(operation.summary.as_ref().is_some_and(|summary| !summary.is_empty()), "{name}");
            let is_answer = |status: &String| status.starts_with('2');
            assert!(operation.responses.responses.keys().any(is_answer), "{name} is never answered");
            assert!(names.insert(name.clone()), "two operations are called {name}");
        }
        assert!(any);
    }

    #[test]
    fn no_two_types_share_a_name() {
        let mut known: BTreeMap<String, (String, &str)> = BTreeMap::new();
        for (tag, _, routes) in groups() {
            let description = routes.into_openapi();
            for (name, schema) in description.components.map(|components| components.schemas).unwrap_or_default() {
                let schema = serde_json::to_string(&schema).unwrap();
                let (before, elsewhere) = known.entry(name.clone()).or_insert_with(|| (schema.clone(), tag));
                assert_eq!(*before, schema, "{name} is one thing in {elsewhere} and another in {tag}");
            }
        }
        assert!(known.len() > 10);
    }
}
