//! All that a start freezes, read from the store.

use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Zoned;

use super::{
    Inputs, IntakeError,
    files::{CONTENT, within},
};
use crate::{
    agents::retrieval::library::{self, Library},
    config::Campaign,
    domain::{digest::Digest, problem::Problem},
    ingest::Suppression,
    orchestration::{
        engine::Engine,
        plan, recalls,
        start::{self, Source, Start},
    },
    providers::prices,
    store::{self, BlobPath, Blobs},
};

/// Documents read at once.
const READS: usize = 8;

pub enum Prepared {
    /// With the library's JSON, which it names by its digest.
    Ready(Box<(Start, Vec<u8>)>),
    /// Files that are not there yet; all else is as it should be.
    Missing(Vec<BlobPath>),
}

/// Checks everything that can be known to be wrong before a campaign starts, and freezes what it reads.
pub async fn prepare(engine: &Engine, campaign: &Campaign, inputs: &Inputs) -> Result<Prepared, IntakeError> {
    let blobs = engine.store.blobs.as_ref();
    let mut problems = plan::check(campaign, &campaign.attributes()).err().unwrap_or_default();
    let content = match content_folder(&campaign.content.path) {
        Ok(folder) => documents(blobs, &folder).await?.map_err(|found| problems.extend(found)).ok(),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let mut missing = Vec::new();
    let customers = source(blobs, &inputs.customers, &mut missing).await?;
    let suppression = match &inputs.suppression {
        Some(path) => match suppression(blobs, path, &mut missing).await? {
            Ok(list) => list,
            Err(problem) => {
                problems.push(problem);
                None
            }
        },
        None => None,
    };
    let (Some(library), true) = (content, problems.is_empty()) else { return Err(problems.into()) };
    let (Some(customers), true) = (customers, missing.is_empty()) else { return Ok(Prepared::Missing(missing)) };
    let digest = library.digest();
    let library = library.without(&recalls::of(blobs).await?);
    let library = serde_json::to_vec(&library)
        .map_err(|error| store::Error::Permanent { what: "the content".to_owned(), source: error.into() })?;
    let mut campaign = campaign.clone();
    campaign.campaign.date.get_or_insert_with(|| engine.now().to_zoned(Zoned::now().time_zone().clone()).date());
    let start = Start {
        schema: start::Schema::V1,
        documents: Digest::of(&library),
        content: digest,
        content_folder: PathBuf::from(&campaign.content.path),
        shard_rows: Start::rows_of_shards(&campaign),
        campaign,
        customers,
        suppression,
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        prices: Some(prices::List::shipped()),
    };
    Ok(Prepared::Ready((start, library).into()))
}

/// `content.path` of a campaign is a folder in the container `content`; `content/` and nothing are the container itself.
fn content_folder(path: &str) -> Result<BlobPath, Problem> {
    let folder = path.trim_end_matches('/');
    let folder = match folder.strip_prefix("content/") {
        _ if folder.is_empty() || folder == CONTENT => return Ok(BlobPath::new(CONTENT).expect("it is a path")),
        Some(_) => folder.to_owned(),
        None => format!("{CONTENT}/{folder}"),
    };
    within(CONTENT, &folder).map_err(|error| {
        let remedy = "name a folder of the container `content`, such as `spring`";
        Problem::new(error.to_string(), remedy).at_field("content.path")
    })
}

async fn documents(blobs: &dyn Blobs, folder: &BlobPath) -> Result<Result<Library, Vec<Problem>>, store::Error> {
    let is_hidden = |path: &BlobPath| path.as_str().split('/').any(|name| name.starts_with('.'));
    let paths = blobs.list(Some(folder)).await?;
    let wanted = paths.into_iter().filter(|path| !is_hidden(path) && library::is_document(Path::new(path.as_str())));
    let reads = wanted.map(|path| async move {
        let file = PathBuf::from(path.as_str());
        match blobs.head(&path, library::MAX_FILE_BYTES as usize).await {
            Ok(head) if head.len > library::MAX_FILE_BYTES => Ok(Some((file.clone(), Err(library::too_large(&file))))),
            Ok(head) => Ok(Some((file, Ok(head.bytes)))),
            // Deleted since it was listed.
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let files: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
    Ok(Library::of_files(Path::new(folder.as_str()), files.into_iter().flatten()))
}

async fn source(
    blobs: &dyn Blobs,
    path: &BlobPath,
    missing: &mut Vec<BlobPath>,
) -> Result<Option<Source>, store::Error> {
    match blobs.head(path, 0).await {
        Ok(head) => Ok(Some(frozen(path, head.etag.0))),
        Err(store::Error::NotFound { .. }) => {
            missing.push(path.clone());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn frozen(path: &BlobPath, etag: String) -> Source {
    Source::Blob { path: path.clone(), etag: Some(etag), name: PathBuf::from(path.as_str()) }
}

/// Read as a whole, for its digest.
async fn suppression(
    blobs: &dyn Blobs,
    path: &BlobPath,
    missing: &mut Vec<BlobPath>,
) -> Result<Result<Option<start::Suppression>, Problem>, store::Error> {
    let on_disk =
        |source: Box<dyn std::error::Error + Send + Sync>| store::Error::Permanent { what: path.to_string(), source };
    let copy = tempfile::NamedTempFile::new().map_err(|error| on_disk(error.into()))?.into_temp_path();
    let etag = match blobs.get_file(path, &copy).await {
        Ok(etag) => etag,
        Err(store::Error::NotFound { .. }) => {
            missing.push(path.clone());
            return Ok(Ok(None));
        }
        Err(error) => return Err(error),
    };
    let read = tokio::task::spawn_blocking(move || Suppression::read(&copy)).await;
    let read = read.map_err(|error| on_disk(error.into()))?;
    let list = |sha256| start::Suppression { source: frozen(path, etag.0), sha256 };
    Ok(match read {
        Ok(read) => Ok(read.sha256().map(list)),
        Err(problem) => Err(Problem { file: Some(PathBuf::from(path.as_str())), ..problem }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_path_names_a_folder_of_the_container_and_nothing_else() {
        for (path, folder) in [
            ("", "content"),
            ("content/", "content"),
            ("spring", "content/spring"),
            ("spring/offers/", "content/spring/offers"),
            ("content/spring", "content/spring"),
        ] {
            assert_eq!(content_folder(path).unwrap().as_str(), folder, "{path:?}");
        }
        for bad in ["../customers", "content/../customers", "/etc", "./content", "a//b", "a%2f..", "C:\\content"] {
            assert_eq!(content_folder(bad).unwrap_err().field.as_deref(), Some("content.path"), "{bad:?}");
        }
    }
}
