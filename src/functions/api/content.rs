//! Approved documents, and their recall.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::campaigns::Page;
use super::page;
use super::refusals::{Busy, OfABody, OfAList};
use crate::{
    domain::{id::DocumentId, problem::Problem},
    functions::{
        App,
        extract::{Json, Path, Query},
        refusal::Refusal,
    },
    orchestration::{
        content::{self, Check},
        recalls::{self, Citing, Recall},
    },
};

/// Bytes of who recalls and why.
const MAX_NOTE: usize = 256;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(recall))
}

/// A file of the container `content`, as it was when it last changed.
#[derive(Debug, Serialize, ToSchema)]
struct File {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    check: Check,
    /// Documents of it that were recalled.
    #[schema(value_type = Vec<String>)]
    recalled: Vec<DocumentId>,
}

/// What was uploaded as content, file by file, with what is wrong with it.
#[utoipa::path(
    get, path = "/api/content", tag = "content", params(Page),
    responses(
        (status = 200, description = "A page of files", body = page::Page<File>),
        OfAList,
        Busy,
    )
)]
async fn list(State(app): State<App>, Query(page): Query<Page>) -> Result<Json<page::Page<File>>, Refusal> {
    let top = page.top()?;
    let mut checks = content::checks(&app.engine, page.after.as_deref(), top + 1).await?;
    let has_more = checks.len() > top;
    checks.truncate(top);
    let next = checks.last().filter(|_| has_more).map(|last| last.file.clone());
    let recalled = recalls::of(app.engine.store.blobs.as_ref()).await?;
    let file = |check: Check| {
        let ids = check.documents.iter().map(|entry| &entry.id);
        File { recalled: ids.filter(|id| recalled.contains(*id)).cloned().collect(), check }
    };
    let items = checks.into_iter().map(file).collect();
    Ok(Json(page::Page { items, next: next.map(|path| path.to_string()) }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRecall {
    /// Who recalls it.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 256)]
    by: String,
    #[schema(example = "the price was wrong", min_length = 1, max_length = 256)]
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Recalled {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    recall: Recall,
    /// Campaigns with messages that cite it. One whose messages are not released yet is not here: they will be blocked.
    #[schema(value_type = Vec<Object>)]
    campaigns: Vec<Citing>,
}

/// Withdraw a document: from now on nothing that cites it goes out. It cannot be undone: a mended document gets a new id.
#[utoipa::path(
    post, path = "/api/content/{document}/recall", tag = "content", request_body = NewRecall,
    params(("document" = String, Path, description = "The document's id; a `/` in it is written `%2F`")),
    responses(
        (status = 200, description = "It is recalled, now or before: who did so first, and what cites it", body = Recalled),
        (status = 404, description = "There is no such document"),
        OfABody,
        (status = 422, description = "It is not said who recalls it, or why"),
        Busy,
    )
)]
async fn recall(
    State(app): State<App>,
    Path(document): Path<String>,
    Json(NewRecall { by, reason }): Json<NewRecall>,
) -> Result<Json<Recalled>, Refusal> {
    let unknown = || Refusal::not_found("unknown_document", "no document of that id was uploaded or is cited");
    // Newer hosts encode the percent sign of `%2F` once more; no id has one.
    let document = DocumentId::new(document.replace("%2F", "/").replace("%2f", "/")).map_err(|_| unknown())?;
    for (field, text) in [("by", &by), ("reason", &reason)] {
        if text.trim().is_empty() || text.len() > MAX_NOTE || text.chars().any(char::is_control) {
            let remedy = "write 1 to 256 bytes of plain text";
            return Err(Problem::new("this is empty, too long or no plain text", remedy).at_field(field).into());
        }
    }
    let engine = app.engine.as_ref();
    let is_known = content::is_known(engine, &document).await?;
    if !is_known && !recalls::is_cited(engine, &document).await? {
        return Err(unknown());
    }
    let recall = Recall { document: document.clone(), by, reason, at: engine.now() };
    let recall = recalls::recall(engine.store.blobs.as_ref(), recall).await?;
    // After it was written: what is released later is blocked.
    let campaigns = recalls::citing(engine, &document).await?;
    Ok(Json(Recalled { recall, campaigns }))
}
