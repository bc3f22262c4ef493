//! What customers did, what it says about the arms, and all that a campaign has left in files.

use std::{fs::File, path::Path as FilePath};

use axum::{
    body::Body,
    extract::{FromRequest as _, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::page::{Page, Paging};
use super::refusals::{NoCampaign, NoParameters, OfAList};
use crate::{
    agents::experimentation::analysis::Results,
    domain::{digest::Digest, id::CampaignId, problem::Problem},
    functions::{
        App,
        extract::{Json, NoQuery, Path, Query},
        receive::{self, Received, receive},
        refusal::Refusal,
    },
    orchestration::{
        brought::{Brought, Standing},
        client::ClientError,
        instance::{Instance, Status},
        intake, layout, names,
        turn::run_of,
    },
    store::{self, BlobPath, Precondition},
};

/// What a file may be sent as, and how it is called then. What is in a compressed one is seen when it is read.
const FORMATS: [(&str, &str); 5] = [
    ("text/csv", "csv"),
    ("application/x-ndjson", "jsonl"),
    ("application/vnd.apache.parquet", "parquet"),
    ("application/gzip", "gz"),
    ("application/zstd", "zst"),
];
/// Seconds after which it is worth asking what became of a file.
const RETRY_AFTER: &str = "2";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(bring, brought))
        .routes(routes!(standing))
        .routes(routes!(results))
        .routes(routes!(report))
        .routes(routes!(files))
        .routes(routes!(file))
}

/// A file that is in storage already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OutcomesUpload)]
struct Uploaded {
    /// Below `outcomes/<campaign>/`, as `POST /api/uploads` named it.
    #[schema(example = "outcomes/spring-upgrade/first-week.csv")]
    upload: String,
}

/// A file of outcomes, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutcomesBrought)]
struct Told {
    campaign: CampaignId,
    /// Where the file is kept.
    #[schema(value_type = String)]
    upload: BlobPath,
    standing: Stands,
    /// Since when it stands so.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Why it cannot be analysed, by line and column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Problem>,
    /// Where to ask again.
    status: String,
    /// Where to read what it says.
    results: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OutcomesStanding)]
enum Stands {
    /// It is taken in soon, or when the campaign is complete.
    Waiting,
    /// The results tell of it.
    Taken,
    /// It cannot be analysed; the results are as if it were not there.
    Refused,
}

impl Told {
    fn of(campaign: &CampaignId, Brought { upload, at, standing, .. }: Brought) -> Self {
        let (standing, problems) = match standing {
            Standing::Waiting { .. } => (Stands::Waiting, Vec::new()),
            Standing::Taken => (Stands::Taken, Vec::new()),
            Standing::Refused { problems } => (Stands::Refused, problems),
        };
        let status = format!("/api/campaigns/{campaign}/outcomes/{}", Brought::key(&upload));
        let results = format!("/api/campaigns/{campaign}/results");
        Self { campaign: campaign.clone(), upload, standing, at, problems, status, results }
    }

    /// With when and where to ask again.
    fn later(self) -> Response {
        let about = [(header::LOCATION, self.status.clone()), (header::RETRY_AFTER, RETRY_AFTER.to_owned())];
        (StatusCode::ACCEPTED, about, Json(self)).into_response()
    }
}

/// Bring a file of outcomes
///
/// The file is CSV, JSON Lines or Parquet, plain or compressed. It has a column `customer_id` and one with the name of the campaign's primary metric, which is 1 for customers
/// who did it and 0 for others; customers in no file count as 0. All files of a campaign count together: one may add
/// customers, and of a customer in several files the newest row counts. Send the file itself, or name one that is in
/// storage. It is analysed after the answer, or when the campaign is complete: ask at `Location` what became of it. The
/// same file again changes nothing.
#[utoipa::path(
    post,
    path = "/api/campaigns/{id}/outcomes",
    params(("id" = CampaignId, Path, example = "spring-upgrade")),
    request_body(content(
        (Uploaded = "application/json"),
        (Vec<u8> = "text/csv", example = "customer_id,conversion\nC-00017,1\nC-00018,0\n"),
        (Vec<u8> = "application/x-ndjson"),
        (Vec<u8> = "application/vnd.apache.parquet"),
        (Vec<u8> = "application/gzip"),
        (Vec<u8> = "application/zstd"),
    )),
    responses(
        (
            status = ACCEPTED, description = "it is kept, and taken in", body = Told,
            headers(("Location" = String, description = "tells what became of it"), ("Retry-After" = u32)),
        ),
        (status = BAD_REQUEST, description = "the body is not whole, or no JSON"),
        NoCampaign,
        (status = PAYLOAD_TOO_LARGE, description = "upload it instead"),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "it is neither a file of outcomes nor the name of one"),
        (status = UNPROCESSABLE_ENTITY, description = "there is no such upload, or the file is empty"),
    )
)]
async fn bring(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    NoQuery: NoQuery,
    request: Request,
) -> Result<Response, Refusal> {
    must_be_known(&app, &campaign).await?;
    let upload = match media_type(request.headers()).as_deref() {
        Some("application/json") => {
            let Json(Uploaded { upload }) = Json::from_request(request, &()).await?;
            of_campaign(&campaign, upload)?
        }
        kind => match FORMATS.iter().find(|(known, _)| kind == Some(*known)) {
            Some((_, extension)) => keep(&app, &campaign, request.into_body(), extension).await?,
            None => {
                let known: Vec<_> = FORMATS.iter().map(|(kind, _)| *kind).collect();
                let detail = format!("send {}, or application/json with the name of an upload", known.join(", "));
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
            }
        },
    };
    Ok(Told::of(&campaign, app.engine.bring_outcomes(&campaign, &upload).await?).later())
}

/// One whose start waits for its files is known too.
async fn must_be_known(app: &App, campaign: &CampaignId) -> Result<(), Refusal> {
    if app.engine.load(campaign).await?.is_none() && intake::pending(&app.engine, campaign).await?.is_none() {
        return Err(ClientError::Unknown(campaign.clone()).into());
    }
    Ok(())
}

/// All files of outcomes that were brought, and what became of them
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/outcomes",
    params(("id" = CampaignId, Path, example = "spring-upgrade"), Paging),
    responses(
        (status = OK, body = Page<Told>),
        NoCampaign,
        OfAList,
    )
)]
async fn brought(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<Told>>, Refusal> {
    must_be_known(&app, &campaign).await?;
    let brought = app.engine.all_brought_outcomes(&campaign).await?;
    let told = brought.into_iter().map(|brought| Told::of(&campaign, brought));
    Ok(Json(Page::of(told, &paging, |told| told.upload.as_str())?))
}

/// What became of a file of outcomes
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/outcomes/{file}",
    params(
        ("id" = CampaignId, Path, example = "spring-upgrade"),
        ("file" = String, Path, description = "as the answer to the file says"),
    ),
    responses(
        (status = OK, description = "the results tell of it, or it is refused", body = Told),
        (
            status = ACCEPTED, description = "it waits: ask again", body = Told,
            headers(("Location" = String, description = "of this"), ("Retry-After" = u32)),
        ),
        NoParameters,
        (status = NOT_FOUND, description = "there is no such campaign, or no such file was brought"),
    )
)]
async fn standing(
    State(app): State<App>,
    Path((campaign, file)): Path<(CampaignId, String)>,
    NoQuery: NoQuery,
) -> Result<Response, Refusal> {
    must_be_known(&app, &campaign).await?;
    let unknown = || Refusal::not_found("unknown_outcomes", "no such file of outcomes was brought");
    let key: Digest = file.parse().map_err(|_| unknown())?;
    let brought = app.engine.brought_outcomes(&campaign, key).await?.ok_or_else(unknown)?;
    let told = Told::of(&campaign, brought);
    Ok(if told.standing == Stands::Waiting { told.later() } else { Json(told).into_response() })
}

/// Without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next()?.trim().to_ascii_lowercase())
}

/// The campaign's own uploads, and nothing else of the store.
fn of_campaign(campaign: &CampaignId, upload: String) -> Result<BlobPath, Problem> {
    let folder = format!("{}/", names::outcomes(campaign));
    let path = BlobPath::new(upload).ok().filter(|path| path.as_str().starts_with(&folder));
    path.ok_or_else(|| {
        let problem = Problem::new("this is no file of the campaign's outcomes", format!("name one below {folder}"));
        problem.at_field("upload")
    })
}

/// Keeps a file under the digest of its bytes.
async fn keep(app: &App, campaign: &CampaignId, body: Body, extension: &str) -> Result<BlobPath, Refusal> {
    let Received { file, sha256, bytes } = receive(body, app.scratch()?, receive::MOST).await?;
    if bytes == 0 {
        return Err(Problem::new("the file is empty", "send a file with a header line and a row per customer").into());
    }
    let path = BlobPath::new(format!("{}/{sha256}.{extension}", names::outcomes(campaign)));
    let path = path.expect("digests and ids are segments of paths");
    match app.engine.store.blobs.put_file(&path, &file, Precondition::Absent).await {
        Ok(_) | Err(store::Error::AlreadyExists { .. } | store::Error::Ambiguous { .. }) => Ok(path),
        Err(error) => Err(error.into()),
    }
}

/// What the outcomes say: rates, lifts, intervals, p-values, the decision
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/results",
    params(("id" = CampaignId, Path, example = "spring-upgrade")),
    responses(
        (status = OK, body = Results),
        NoParameters,
        (status = NOT_FOUND, description = "there is no such campaign, or no outcomes have come"),
    )
)]
async fn results(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    NoQuery: NoQuery,
) -> Result<Response, Refusal> {
    document(&app, &campaign, layout::RESULTS, "no_results", "POST the campaign's outcomes first").await
}

/// The report for people: one page, complete in itself
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/report",
    params(("id" = CampaignId, Path, example = "spring-upgrade")),
    responses(
        (status = OK, body = String, content_type = "text/html"),
        NoParameters,
        (status = NOT_FOUND, description = "there is no such campaign, or it has no report yet"),
    )
)]
async fn report(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    NoQuery: NoQuery,
) -> Result<Response, Refusal> {
    document(&app, &campaign, layout::REPORT_HTML, "no_report", "there is one when the campaign is complete").await
}

/// One that is small enough for memory.
async fn document(
    app: &App,
    campaign: &CampaignId,
    name: &'static str,
    code: &'static str,
    missing: &'static str,
) -> Result<Response, Refusal> {
    let instance = app.engine.held(campaign).await?.instance;
    let path = layout::blob(name);
    match app.engine.store.blobs.get(&run_of(&instance).file(&path)).await {
        Ok(blob) => Ok((headers(&path), blob.bytes).into_response()),
        Err(store::Error::NotFound { .. }) => Err(Refusal::not_found(code, missing)),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct OneFile {
    /// Within the campaign's folder.
    #[schema(value_type = String, example = "ingest/quality.json")]
    path: BlobPath,
}

/// All files that the campaign has made
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/files",
    params(("id" = CampaignId, Path, example = "spring-upgrade"), Paging),
    responses(
        (status = OK, body = Page<OneFile>),
        NoCampaign,
        OfAList,
    )
)]
async fn files(
    State(app): State<App>,
    Path(campaign): Path<CampaignId>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<OneFile>>, Refusal> {
    let instance = app.engine.held(&campaign).await?.instance;
    let paths = super::files(&app, &instance).list(None).await?;
    let shown = paths.into_iter().filter(|path| is_shown(&instance, path)).map(|path| OneFile { path });
    Ok(Json(Page::of(shown, &paging, |file| file.path.as_str())?))
}

/// One file of the campaign
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/files/{*path}",
    params(
        ("id" = CampaignId, Path, example = "spring-upgrade"),
        ("path" = String, Path, description = "as the list says", example = "ingest/quality.json"),
    ),
    responses(
        (status = OK, description = "by the file's kind", content(
            (Vec<u8> = "application/octet-stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (String = "text/html"),
        )),
        NoParameters,
        (status = NOT_FOUND, description = "there is no such campaign, or no such file"),
    )
)]
async fn file(
    State(app): State<App>,
    Path((campaign, path)): Path<(CampaignId, String)>,
    NoQuery: NoQuery,
) -> Result<Response, Refusal> {
    let instance = app.engine.held(&campaign).await?.instance;
    let missing =
        || Refusal::not_found("no_such_file", "the campaign has made no such file; see the list of its files");
    let path = BlobPath::new(path).ok().filter(|path| is_shown(&instance, path)).ok_or_else(missing)?;
    let files = super::files(&app, &instance);
    // A store would make a file of what is a folder.
    if !files.list(None).await?.contains(&path) {
        return Err(missing());
    }
    let file = files.open(&path, app.scratch()?).await?;
    Ok((headers(&path), pieces(file)).into_response())
}

/// A worker that died may have left deliveries that count for nothing: until the campaign is complete nobody can tell.
fn is_shown(instance: &Instance, path: &BlobPath) -> bool {
    instance.status == Status::Completed || !path.as_str().starts_with(layout::DELIVERIES)
}

/// A file as a body, a piece at a time.
fn pieces(file: File) -> Body {
    let pieces = stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut piece = Vec::with_capacity(64 << 10);
        let read = file.read_buf(&mut piece).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(piece), file)))
    });
    Body::from_stream(pieces)
}

/// A browser takes a file for what it is, and nothing in it is run.
fn headers(path: &BlobPath) -> [(HeaderName, HeaderValue); 3] {
    let kind = match FilePath::new(path.as_str()).extension().and_then(|extension| extension.to_str()) {
        Some("json") => "application/json",
        Some("html") => "text/html; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    };
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"),
        ),
    ]
}
