//! Files of any size, straight into storage.
//!
//! `POST /api/uploads` names a place for a file and says how to send it there: to the storage account itself, by an
//! address that is good for this one blob and an hour, or to this app (`PUT /api/uploads/{path}`), which streams it
//! through a scratch file. What is there can then be looked at before a campaign reads it.

use std::{collections::BTreeMap, path::Path as FilePath};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::refusals::{Busy, OfABody};
use crate::{
    domain::{id::CampaignId, problem::Problem},
    functions::{
        App,
        extract::{Json, Path},
        origin::Origin,
        receive::{Received, receive, too_large},
        refusal::Refusal,
    },
    ingest::{self, Preview},
    orchestration::intake::{CONTENT, CUSTOMERS, OUTCOMES, within},
    store::{self, Azure, BlobPath, Precondition},
};

/// Where a client sends a file's bytes.
#[derive(Debug, Clone)]
pub enum UploadUrls {
    /// To this app, which streams them into its store.
    Here,
    /// Into the storage account, by a short-lived signed address.
    Account(Azure),
}

/// The largest body that this app takes where it is the only way in.
const MAX_BYTES_HERE: u64 = 5 << 30;
/// And where there is another: what a Functions host lets through.
const MAX_BYTES_BESIDE_ACCOUNT: u64 = 100 << 20;
/// How much of a file is looked at.
const PREVIEW_BYTES: usize = 1 << 20;

/// Where files are sent to this app.
pub const FILES: &str = "/api/uploads/{*path}";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(place)).routes(routes!(put, preview))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Customers,
    Suppression,
    Outcomes,
    Content,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUpload {
    kind: Kind,
    /// The file's name; of content, with its folder.
    #[schema(example = "customers.csv.gz")]
    name: String,
    /// Whose outcomes they are.
    #[schema(value_type = Option<String>)]
    campaign: Option<CampaignId>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Place {
    /// What the file is called from now on, for `inputs` of a campaign.
    #[schema(value_type = String)]
    path: BlobPath,
    /// Where to send its bytes: an address of the storage account that needs no key, or one of this app.
    url: String,
    method: &'static str,
    headers: BTreeMap<&'static str, &'static str>,
    /// `null`: whenever you like.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
}

/// Ask for a place to upload a file to
///
/// Where `url` leads into a storage account, one PUT takes up to 5,000 MiB. A larger file goes to the same address in
/// blocks (`Put Block`, then `Put Block List`, as `azcopy copy FILE URL` sends them); the address allows both.
#[utoipa::path(
    post, path = "/api/uploads", tag = "uploads", request_body = NewUpload,
    responses(
        (status = 201, description = "Send the bytes to `url`, with `method` and `headers`", body = Place),
        OfABody,
        (status = 422, description = "The file cannot have that name"),
        Busy,
    )
)]
async fn place(
    State(app): State<App>,
    origin: Origin,
    Json(NewUpload { kind, name, campaign }): Json<NewUpload>,
) -> Result<(StatusCode, Json<Place>), Refusal> {
    let path = path_for(kind, &name, campaign.as_ref())?;
    let signed = match &app.uploads {
        UploadUrls::Account(account) => account.upload(&path, app.engine.now()).await?,
        UploadUrls::Here => None,
    };
    let place = match signed {
        Some(upload) => Place {
            url: upload.url,
            method: "PUT",
            headers: [("x-ms-blob-type", "BlockBlob")].into(),
            expires: Some(upload.expires),
            path,
        },
        None => Place {
            url: origin.at(format_args!("/api/uploads/{}", encoded(&path))),
            method: "PUT",
            headers: BTreeMap::new(),
            expires: None,
            path,
        },
    };
    Ok((StatusCode::CREATED, Json(place)))
}

#[derive(Debug, Serialize, ToSchema)]
struct Uploaded {
    #[schema(value_type = String)]
    path: BlobPath,
    bytes: u64,
    etag: String,
}

/// Send a file to this app. What was uploaded for customers and outcomes is never replaced; content is.
#[utoipa::path(
    put, path = "/api/uploads/{*path}", tag = "uploads",
    params(("path" = String, Path, description = "As `POST /api/uploads` gave it")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The file is there", body = Uploaded),
        (status = 400, description = "The body ended too early, or is empty"),
        (status = 408, description = "Nothing came for 30 seconds"),
        (status = 409, description = "There is a file of that name"),
        (status = 413, description = "The file is too large to be sent to this app"),
        (status = 415, description = "The body is a form, not a file"),
        (status = 422, description = "No file can be put there"),
        Busy,
    )
)]
async fn put(
    State(app): State<App>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let path = uploaded(&path)?;
    refuse_forms(&headers)?;
    let most = match app.uploads {
        UploadUrls::Here => MAX_BYTES_HERE,
        UploadUrls::Account(_) => MAX_BYTES_BESIDE_ACCOUNT,
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let Received { file, bytes, .. } = receive(body, app.scratch()?, most).await?;
    if bytes == 0 {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "empty_body", "the body is empty: send the file's bytes"));
    }
    let when = if path.as_str().starts_with(CONTENT) { Precondition::None } else { Precondition::Absent };
    let etag = match app.engine.store.blobs.put_file(&path, &file, when).await {
        Err(store::Error::AlreadyExists { .. }) => {
            let detail = "there is a file of that name: ask for another place with POST /api/uploads";
            return Err(Refusal::new(StatusCode::CONFLICT, "already_uploaded", detail));
        }
        put => put?,
    };
    app.engine.announce_file(&path).await?;
    let location = format!("/api/uploads/{}", encoded(&path));
    let uploaded = Uploaded { path, bytes, etag: etag.0 };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(uploaded)).into_response())
}

#[derive(Debug, Serialize, ToSchema)]
struct Found {
    #[schema(value_type = String)]
    path: BlobPath,
    bytes: u64,
    etag: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    preview: Preview,
}

/// Look at what was uploaded, as far as its first megabyte tells: format, columns, counts; no customer's values.
#[utoipa::path(
    get, path = "/api/uploads/{*path}", tag = "uploads",
    params(("path" = String, Path, description = "As `POST /api/uploads` gave it")),
    responses(
        (status = 200, description = "What is in it", body = Found),
        (status = 404, description = "There is no such file"),
        (status = 422, description = "No file can be there"),
        Busy,
    )
)]
async fn preview(State(app): State<App>, Path(path): Path<String>) -> Result<Json<Found>, Refusal> {
    let path = uploaded(&path)?;
    let head = match app.engine.store.blobs.head(&path, PREVIEW_BYTES).await {
        Err(store::Error::NotFound { .. }) => {
            return Err(Refusal::not_found("unknown_file", "there is no such file: it was not uploaded (yet)"));
        }
        head => head?,
    };
    let (name, whole) = (path.clone(), head.len == head.bytes.len() as u64);
    let preview =
        tokio::task::spawn_blocking(move || ingest::preview(FilePath::new(name.as_str()), &head.bytes, whole))
            .await
            .map_err(|error| crate::Error::failed("the file cannot be looked at", error))?;
    Ok(Json(Found { path, bytes: head.len, etag: head.etag.0, preview }))
}

const TABLES: &[&str] = &["csv", "tsv", "tab", "psv", "txt", "jsonl", "ndjson", "json", "parquet", "pq"];
const LISTS: &[&str] = &["csv", "txt"];
const DOCUMENTS: &[&str] = &["md", "json", "jsonl"];
const COMPRESSIONS: &[&str] = &["gz", "gzip", "zst", "zstd"];

/// A name of ours with the client's at its end: nobody can name another's file, or this one twice.
fn path_for(kind: Kind, name: &str, campaign: Option<&CampaignId>) -> Result<BlobPath, Problem> {
    let upload = Uuid::now_v7();
    let (container, path) = match (kind, campaign) {
        (Kind::Outcomes, Some(campaign)) => (OUTCOMES, format!("{OUTCOMES}/{campaign}/{upload}/{}", sanitised(name))),
        (Kind::Outcomes, None) => {
            return Err(Problem::new("outcomes belong to a campaign", "name it by its id").at_field("campaign"));
        }
        (_, Some(_)) => {
            let problem = Problem::new("only outcomes belong to one campaign", "leave it out");
            return Err(problem.at_field("campaign"));
        }
        (Kind::Content, None) => (CONTENT, format!("{CONTENT}/{name}")),
        (Kind::Customers | Kind::Suppression, None) => (CUSTOMERS, format!("{CUSTOMERS}/{upload}/{}", sanitised(name))),
    };
    let remedy = "use letters, digits, `-`, `_` and an extension, such as `customers.csv`";
    let path = within(container, &path).map_err(|error| Problem::new(error.to_string(), remedy).at_field("name"))?;
    // Of what is left of the name.
    let known = if kind == Kind::Suppression { LISTS } else { extensions(container) };
    has_extension(path.as_str(), known)
        .and_then(|()| check_place(&path))
        .map_err(|problem| problem.at_field("name"))?;
    Ok(path)
}

/// The last part of a name, without what a path must not have.
fn sanitised(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches(['.', '-']);
    // Its end is what tells the format.
    let mut start = name.len().saturating_sub(150);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    name[start..].trim_start_matches(['.', '-']).to_owned()
}

/// A path that [`path_for`] may have given.
fn uploaded(path: &str) -> Result<BlobPath, Refusal> {
    let problem = |message: String| {
        let remedy = "use the path that POST /api/uploads gave";
        Refusal::from(Problem::new(message, remedy).at_field("path"))
    };
    let container =
        [CUSTOMERS, OUTCOMES, CONTENT].into_iter().find(|container| path.split('/').next() == Some(container));
    let container = container.ok_or_else(|| problem("no uploads are in that container".to_owned()))?;
    let path = within(container, path).map_err(|error| problem(error.to_string()))?;
    has_extension(path.as_str(), extensions(container))?;
    check_place(&path)?;
    Ok(path)
}

fn extensions(container: &str) -> &'static [&'static str] {
    if container == CONTENT { DOCUMENTS } else { TABLES }
}

/// No file can be in the place of a folder, nor the other way round, whatever is uploaded.
fn check_place(path: &BlobPath) -> Result<(), Problem> {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    let is_upload = |part: &str| Uuid::try_parse(part).is_ok_and(|id| id.to_string() == part);
    let is_right = match parts.as_slice() {
        [CUSTOMERS, upload, _] => is_upload(upload),
        [OUTCOMES, campaign, upload, _] => CampaignId::new(*campaign).is_ok() && is_upload(upload),
        [CONTENT, folders @ .., _] => !folders.iter().any(|folder| has_extension(folder, DOCUMENTS).is_ok()),
        _ => false,
    };
    let remedy = "use the path that POST /api/uploads gave; name no folder like a document";
    if is_right { Ok(()) } else { Err(Problem::new("no upload can be there", remedy).at_field("path")) }
}

fn has_extension(name: &str, known: &[&str]) -> Result<(), Problem> {
    let name = name.to_ascii_lowercase();
    // Documents are not compressed.
    let compressed = COMPRESSIONS.iter().find_map(|end| name.strip_suffix(end)?.strip_suffix('.'));
    let plain = compressed.filter(|_| known != DOCUMENTS).unwrap_or(&name);
    let extension = plain.rsplit_once('.').map(|(_, extension)| extension);
    if extension.is_some_and(|extension| known.contains(&extension)) {
        return Ok(());
    }
    let remedy = format!("use one of {}", known.join(", "));
    Err(Problem::new("a file with that extension cannot be worked with", remedy).at_field("name"))
}

/// What `curl -d` and browsers send: it would be stored with its wrapping.
fn refuse_forms(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    if kind.starts_with("multipart/") || kind.starts_with("application/x-www-form-urlencoded") {
        let detail = "send the file's bytes as they are (`curl --upload-file`), not a form";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "form", detail));
    }
    Ok(())
}

/// As a part of an address.
fn encoded(path: &BlobPath) -> String {
    let mut url = azure_core::http::Url::parse("http://app").expect("a constant");
    url.set_path(path.as_str());
    url.path().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_becomes_a_place_of_ours() {
        let path = path_for(Kind::Customers, "C:\\lists\\Kunden März?.csv.gz", None).unwrap();
        let [container, upload, name] = path.as_str().split('/').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((container, name), (CUSTOMERS, "Kunden-März-.csv.gz"));
        assert!(Uuid::try_parse(upload).is_ok());
        assert_eq!(path_for(Kind::Content, "spring/a.md", None).unwrap().as_str(), "content/spring/a.md");
        assert_eq!(encoded(&path_for(Kind::Content, "a b/ü.md", None).unwrap()), "content/a%20b/%C3%BC.md");
    }

    #[test]
    fn what_cannot_be_worked_with_is_refused_at_its_field() {
        let campaign = CampaignId::new("spring").unwrap();
        for (kind, name, campaign, field) in [
            (Kind::Customers, "a.xlsx", None, "name"),
            (Kind::Customers, "a", None, "name"),
            (Kind::Customers, "..", None, "name"),
            (Kind::Suppression, "a.parquet", None, "name"),
            (Kind::Content, "../customers/a.md", None, "name"),
            (Kind::Content, "a.md.gz", None, "name"),
            (Kind::Content, "a.md/b.md", None, "name"),
            (Kind::Content, "/a.md", None, "name"),
            (Kind::Outcomes, "a.csv", None, "campaign"),
            (Kind::Customers, "a.csv", Some(&campaign), "campaign"),
        ] {
            let problem = path_for(kind, name, campaign).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field), "{kind:?} {name}");
        }
    }

    proptest! {
        #[test]
        fn every_place_that_is_given_is_taken_again(name in "[ -~äß/\\\\\u{0}]{0,180}\\.csv(\\.gz)?") {
            if let Ok(path) = path_for(Kind::Customers, &name, None) {
                prop_assert_eq!(uploaded(path.as_str()).unwrap(), path);
            }
        }

        #[test]
        fn nothing_is_taken_that_leads_elsewhere(path in "(customers|content|outcomes|campaigns|)[-/a.m%d\\\\]{0,24}(\\.md|\\.csv)") {
            if let Ok(taken) = uploaded(&path) {
                prop_assert!(taken.as_str() == path && !path.contains("..") && !path.contains('%'));
                prop_assert!(path.starts_with("content/"), "a place without an id: {}", path);
            }
        }
    }
}
