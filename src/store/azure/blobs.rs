//! Blobs, logs and leases in Blob Storage.
//!
//! The first segment of a path is the container, made when something is first written into it. A blob is a block blob, a
//! log an append blob. The lease of `x/y` is that of an empty blob `x/y//lease`: no [`BlobPath`] has an empty segment,
//! so it is in nobody's way, and lists leave it out like any other name that is not ours. A holder that dies leaves that
//! blob behind, for the next one to lease.

use std::{fmt, future::Future, io, num::NonZero, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    error::ErrorKind,
    http::{
        Context, Etag, Request, Url,
        headers::HeaderName,
        pager::PagerOptions,
        policies::{Policy, PolicyResult},
    },
    time::OffsetDateTime,
    xml,
};
use azure_storage_blob::{
    BlobClient, BlobContainerClient, BlobServiceClient,
    models::{
        AppendBlobClientAppendBlockResultHeaders as _, AppendBlobClientCreateOptions, BlobClientAcquireLeaseOptions,
        BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientDownloadResult,
        BlobClientGetPropertiesResultHeaders as _, BlobClientUploadOptions, BlobContainerClientListBlobsOptions,
        BlobServiceClientListContainersOptions, BlockBlobClientCommitBlockListOptions,
        BlockBlobClientCommitBlockListResultHeaders as _, BlockLookupList, DeleteSnapshotsOptionType, HttpRange,
        KeyInfo,
    },
};
use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
};
use uuid::Uuid;

use super::{
    call::{Effect, Failure, LONG, SHORT, call, time_for},
    upload::Delegation,
};
use crate::store::{Blob, BlobPath, Blobs, ETag, Error, Folders, Head, Lease, Precondition, limits};

pub struct AzureBlobs {
    service: BlobServiceClient,
}

/// A path in Azure's terms.
struct Target {
    container: BlobContainerClient,
    blob: BlobClient,
}

/// A larger file goes up in blocks of that size, of which one is in memory at a time.
const BLOCK: usize = 16 << 20;
/// Larger than any blob: it comes down as one answer, which is one state of it, even if others write meanwhile.
const WHOLE: NonZero<usize> = NonZero::new(1 << 50).expect("it is not zero");
/// What the name of a lease ends with.
const LEASE: &str = "//lease";
static SERVER: HeaderName = HeaderName::from_static("server");

impl fmt::Debug for AzureBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AzureBlobs").field(&self.service.url().as_str()).finish()
    }
}

impl AzureBlobs {
    pub fn new(service: BlobServiceClient) -> Self {
        Self { service }
    }

    fn target(&self, path: &BlobPath) -> Result<Target, Error> {
        self.target_with(path, "")
    }

    fn target_with(&self, path: &BlobPath, suffix: &str) -> Result<Target, Error> {
        let Some((container, blob)) = path.as_str().split_once('/') else {
            return limits::refused(path, "in Azure the first segment of a path is only its container".to_owned());
        };
        let container = self.service.blob_container_client(container);
        Ok(Target { blob: container.blob_client(&format!("{blob}{suffix}")), container })
    }

    /// The address of a blob, whose container is there then.
    pub async fn address(&self, path: &BlobPath) -> Result<Url, Error> {
        let target = self.target(path)?;
        match call(Effect::Write, SHORT, || target.container.create(None)).await {
            Err(failure) if failure.code() != "ContainerAlreadyExists" => Err(failure.about(path)),
            _ => Ok(target.blob.url().clone()),
        }
    }

    /// A key that signs for whoever this process is; only an Entra identity can have one.
    pub async fn delegation(&self, start: OffsetDateTime, expiry: OffsetDateTime) -> Result<Delegation, Error> {
        let key = call(Effect::Read, SHORT, || async {
            let info = KeyInfo { start: Some(start), expiry: Some(expiry), ..Default::default() };
            let key = self.service.get_user_delegation_key(info.try_into()?, None).await?.into_model()?;
            let time = |time: Option<OffsetDateTime>| {
                required("a time", time.and_then(|time| Timestamp::from_second(time.unix_timestamp()).ok()))
            };
            Ok(Delegation {
                object: required("an object id", key.signed_oid)?,
                tenant: required("a tenant id", key.signed_tid)?,
                start: time(key.signed_start)?,
                expiry: time(key.signed_expiry)?,
                service: required("a service", key.signed_service)?,
                version: required("a version", key.signed_version)?,
                key: required("a key", key.value)?,
            })
        });
        key.await.map_err(|failure| failure.about(&"a user delegation key"))
    }

    async fn containers(&self) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let page = call(Effect::Read, SHORT, || async {
                let options = BlobServiceClientListContainersOptions { marker: marker.clone(), ..Default::default() };
                let mut pages = self.service.list_containers(Some(options))?.into_pages();
                required("a page", pages.try_next().await?)?.into_model()
            })
            .await?;
            found.extend(page.container_items.into_iter().filter_map(|container| container.name));
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(found);
            }
        }
    }

    /// All names in a container that begin with `prefix`, as paths of the store.
    async fn names(&self, container: &str, prefix: Option<String>) -> Result<Vec<BlobPath>, Failure> {
        let client = self.service.blob_container_client(container);
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let page = call(Effect::Read, SHORT, || async {
                let options = BlobContainerClientListBlobsOptions {
                    prefix: prefix.clone(),
                    marker: marker.clone(),
                    ..Default::default()
                };
                let mut pages = client.list_blobs(Some(options))?.into_pages();
                required("a page", pages.try_next().await?)?.into_model()
            })
            .await;
            let page = match page {
                Err(failure) if failure.code() == "ContainerNotFound" => return Ok(found),
                page => page?,
            };
            let names = page.blob_items.into_iter().filter_map(|blob| blob.name);
            found.extend(names.filter_map(|name| BlobPath::new(format!("{container}/{name}")).ok()));
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(found);
            }
        }
    }
}

/// On the context of a list that is to stop at the `/` after its prefix. The SDK has no such list.
#[derive(Debug, Clone, Copy)]
struct OfFolders;

/// Asks for what [`OfFolders`] says.
#[derive(Debug)]
pub struct Delimited;

#[async_trait]
impl Policy for Delimited {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if context.value::<OfFolders>().is_some() {
            request.url_mut().query_pairs_mut().append_pair("delimiter", "/");
        }
        next[0].send(context, request, &next[1..]).await
    }
}

/// The answer to such a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FolderPage {
    #[serde(default)]
    blobs: Entries,
    #[serde(default)]
    next_marker: String,
}

#[derive(Debug, Default, Deserialize)]
struct Entries {
    #[serde(rename = "$value", default)]
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
enum Entry {
    BlobPrefix {
        #[serde(rename = "Name")]
        name: String,
    },
    #[serde(other)]
    Blob,
}

impl Target {
    /// Makes the container where it is missing.
    async fn write<T, F>(&self, time: Duration, attempt: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = azure_core::Result<T>>,
    {
        match call(Effect::Write, time, &attempt).await {
            Err(failure) if failure.code() == "ContainerNotFound" => {}
            done => return done,
        }
        match call(Effect::Write, SHORT, || self.container.create(None)).await {
            Err(failure) if failure.code() != "ContainerAlreadyExists" => Err(failure),
            _ => call(Effect::Write, time, &attempt).await,
        }
    }

    async fn put(&self, bytes: Bytes, when: &Precondition) -> Result<ETag, Failure> {
        let (if_match, if_none_match) = conditions(when);
        // At least what is sent: one request.
        let partition_size = NonZero::new(bytes.len() as u64).unwrap_or(NonZero::<u64>::MIN);
        self.write(time_for(bytes.len()), || async {
            let options = BlobClientUploadOptions {
                if_match: if_match.clone(),
                if_none_match: if_none_match.clone(),
                partition_size: Some(partition_size),
                ..Default::default()
            };
            etag(self.blob.upload(bytes.clone().into(), Some(options)).await?.etag)
        })
        .await
    }

    /// Makes a block that nobody sees before it is committed, and that is dropped after a week. Staging it twice is
    /// staging it once, so it may be tried again.
    async fn stage(&self, id: &[u8], block: Bytes) -> Result<(), Failure> {
        let client = self.blob.block_blob_client();
        let stage = || async {
            client.stage_block(id, block.len() as u64, block.clone().into(), None).await?;
            Ok(())
        };
        match call(Effect::Read, time_for(block.len()), stage).await {
            Err(failure) if failure.code() == "ContainerNotFound" => self.write(time_for(block.len()), stage).await,
            done => done,
        }
    }

    async fn commit(&self, blocks: Vec<Vec<u8>>, when: &Precondition) -> Result<ETag, Failure> {
        let client = self.blob.block_blob_client();
        let (if_match, if_none_match) = conditions(when);
        self.write(SHORT, || async {
            let list = BlockLookupList { uncommitted: Some(blocks.clone()), ..Default::default() };
            let options = BlockBlobClientCommitBlockListOptions {
                if_match: if_match.clone(),
                if_none_match: if_none_match.clone(),
                ..Default::default()
            };
            etag(client.commit_block_list(list.try_into()?, Some(options)).await?.etag()?)
        })
        .await
    }

    async fn download(&self) -> azure_core::Result<(BlobClientDownloadResult, ETag)> {
        let options = BlobClientDownloadOptions { partition_size: Some(WHOLE), ..Default::default() };
        let mut download = self.blob.download(Some(options)).await?;
        let etag = etag(download.properties.etag.take())?;
        Ok((download, etag))
    }
}

#[async_trait]
impl Blobs for AzureBlobs {
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        let target = self.target(path)?;
        let blob = call(Effect::Read, LONG, || async {
            let (download, etag) = target.download().await?;
            Ok(Blob { bytes: download.body.collect().await?.into(), etag })
        });
        blob.await.map_err(|failure| failure.about(path))
    }

    async fn head(&self, path: &BlobPath, most: usize) -> Result<Head, Error> {
        let target = self.target(path)?;
        let head = call(Effect::Read, time_for(most), || async {
            let blob = target.blob.get_properties(None).await?;
            let etag = etag(blob.etag()?)?;
            let len = required("a length", blob.content_length()?)?;
            // No range of an empty blob can be asked for.
            let wanted = len.min(most as u64);
            if wanted == 0 {
                return Ok(Head { etag, len, bytes: Vec::new() });
            }
            let options = BlobClientDownloadOptions {
                range: Some(HttpRange::new(0, wanted)),
                if_match: Some(etag.0.clone().into()),
                partition_size: Some(WHOLE),
                ..Default::default()
            };
            let bytes = target.blob.download(Some(options)).await?.body.collect().await?.into();
            Ok(Head { etag, len, bytes })
        });
        match head.await.map_err(|failure| failure.about(path)) {
            // It was replaced between the two questions.
            Err(Error::PreconditionFailed { what }) => {
                Err(Error::Transient { what, source: "it is being replaced".into() })
            }
            head => head,
        }
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        let target = self.target(path)?;
        target.put(bytes.into(), &when).await.map_err(|failure| not_put(failure, path, &when))
    }

    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error> {
        let target = self.target(path)?;
        // The inner error is the disk's: there is no use in asking Azure again.
        let fetched = call(Effect::Read, LONG, || async {
            let (mut download, etag) = target.download().await?;
            let mut written = match File::create(file).await {
                Ok(written) => written,
                Err(error) => return Ok(Err(error)),
            };
            while let Some(chunk) = download.body.try_next().await? {
                if let Err(error) = written.write_all(&chunk).await {
                    return Ok(Err(error));
                }
            }
            Ok(written.flush().await.map(|()| etag))
        });
        fetched.await.map_err(|failure| failure.about(path))?.map_err(|error| on_disk(error, path))
    }

    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error> {
        let target = self.target(path)?;
        let mut file = File::open(file).await.map_err(|error| on_disk(error, path))?;
        let mut block = next_block(&mut file).await.map_err(|error| on_disk(error, path))?;
        if block.len() < BLOCK {
            return target.put(block, &when).await.map_err(|failure| not_put(failure, path, &when));
        }
        // All uploads of a blob share its blocks: ids of our own keep two of them from mixing.
        let upload = Uuid::new_v4();
        let mut blocks = Vec::new();
        while !block.is_empty() {
            let id = format!("{}{:05}", upload.simple(), blocks.len()).into_bytes();
            target.stage(&id, block).await.map_err(|failure| failure.about(path))?;
            blocks.push(id);
            block = next_block(&mut file).await.map_err(|error| on_disk(error, path))?;
        }
        target.commit(blocks, &when).await.map_err(|failure| not_put(failure, path, &when))
    }

    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error> {
        limits::record(path, &record)?;
        let target = self.target(path)?;
        let client = target.blob.append_blob_client();
        let record = Bytes::from(record);
        let append = || async {
            let answer = client.append_block(record.clone().into(), record.len() as u64, None).await?;
            let count = required("a number of records", answer.blob_committed_block_count()?)?;
            let by_emulator =
                answer.headers().get_optional_str(&SERVER).is_some_and(|name| name.starts_with("Azurite"));
            Ok((count, by_emulator))
        };
        let create = || async {
            let options = AppendBlobClientCreateOptions { if_none_match: Some(any()), ..Default::default() };
            client.create(Some(options)).await
        };
        let mut appended = call(Effect::Write, time_for(record.len()), append).await;
        if let Err(failure) = &appended
            && matches!(failure.code(), "BlobNotFound" | "ContainerNotFound")
        {
            match target.write(SHORT, create).await {
                Err(failure) if failure.code() != "BlobAlreadyExists" => return Err(failure.about(path)),
                _ => appended = call(Effect::Write, time_for(record.len()), append).await,
            }
        }
        let (mut count, by_emulator) = appended.map_err(|failure| failure.about(path))?;
        // It counts before it appends: of two who append at the same moment, both are told the lower number, and
        // nobody would see the last one.
        if by_emulator
            && let Ok(log) = call(Effect::Read, SHORT, || target.blob.get_properties(None)).await
            && let Ok(Some(counted)) = log.blob_committed_block_count()
        {
            count = counted;
        }
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        let mut found = match folder {
            Some(folder) => {
                let (container, prefix) = match folder.as_str().split_once('/') {
                    Some((container, prefix)) => (container, Some(format!("{prefix}/"))),
                    None => (folder.as_str(), None),
                };
                self.names(container, prefix).await.map_err(|failure| failure.about(folder))?
            }
            None => {
                let everything = &"the storage account";
                let mut found = Vec::new();
                for container in self.containers().await.map_err(|failure| failure.about(everything))? {
                    found.extend(self.names(&container, None).await.map_err(|failure| failure.about(everything))?);
                }
                found
            }
        };
        found.sort_unstable();
        Ok(found)
    }

    async fn folders(
        &self,
        folder: &BlobPath,
        prefix: &str,
        from: Option<&str>,
        most: usize,
    ) -> Result<Folders, Error> {
        let (container, above) = match folder.as_str().split_once('/') {
            Some((container, above)) => (container, format!("{above}/")),
            None => (folder.as_str(), String::new()),
        };
        let client = self.service.blob_container_client(container);
        let page = call(Effect::Read, SHORT, || async {
            let options = BlobContainerClientListBlobsOptions {
                prefix: Some(format!("{above}{prefix}")),
                marker: from.map(str::to_owned),
                maxresults: Some(most.clamp(1, 5_000) as i32),
                method_options: PagerOptions { context: Context::new().with_value(OfFolders), ..Default::default() },
                ..Default::default()
            };
            let mut pages = client.list_blobs(Some(options))?.into_pages();
            xml::from_xml::<_, FolderPage>(required("a page", pages.try_next().await?)?.into_body())
        });
        let page = match page.await {
            Err(failure) if failure.code() == "ContainerNotFound" => {
                return Ok(Folders { names: Vec::new(), next: None });
            }
            // Of all that is asked, only the marker is another's.
            Err(failure) if from.is_some() && failure.status() == Some(400) => {
                return Err(Error::NotFound { what: format!("the page of {folder}") });
            }
            page => page.map_err(|failure| failure.about(folder))?,
        };
        let name = |entry: &Entry| match entry {
            Entry::BlobPrefix { name } => Some(name.strip_prefix(&above)?.strip_suffix('/')?.to_owned()),
            Entry::Blob => None,
        };
        let names = page.blobs.entries.iter().filter_map(name).collect();
        Ok(Folders { names, next: Some(page.next_marker).filter(|marker| !marker.is_empty()) })
    }

    async fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        let target = self.target(path)?;
        let delete = call(Effect::Write, SHORT, || async {
            let options = BlobClientDeleteOptions {
                // Made by the account's owner, who did not mean them to be in the way.
                delete_snapshots: Some(DeleteSnapshotsOptionType::Include),
                ..Default::default()
            };
            target.blob.delete(Some(options)).await
        });
        match delete.await.map_err(|failure| failure.about(path)) {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The blob that is leased is made first: most leases are of work that nobody has begun yet, and
    /// [`AzureBlobs::release`] deletes it.
    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error> {
        let target = self.target_with(path, LEASE)?;
        let seconds = i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        // Whoever has let go of it between the two steps has deleted it.
        for _ in 0..3 {
            match target.put(Bytes::new(), &Precondition::Absent).await.map_err(|failure| failure.about(path)) {
                Ok(_) | Err(Error::AlreadyExists { .. } | Error::LeaseHeld { .. }) => {}
                Err(error) => return Err(error),
            }
            let id = Uuid::new_v4().to_string();
            let acquire = call(Effect::Write, SHORT, || async {
                let options =
                    BlobClientAcquireLeaseOptions { proposed_lease_id: Some(id.clone()), ..Default::default() };
                target.blob.acquire_lease(seconds, Some(options)).await
            });
            match acquire.await.map_err(|failure| failure.about(path)) {
                Ok(_) => return Ok(Lease { path: path.clone(), id }),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::LeaseHeld { what: path.to_string() })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), Error> {
        let target = self.target_with(&lease.path, LEASE)?;
        let renew = call(Effect::Write, SHORT, || target.blob.renew_lease(lease.id.clone(), None));
        match renew.await.map_err(|failure| failure.about(&lease.path)) {
            Ok(_) => Ok(()),
            Err(Error::NotFound { what }) => Err(Error::LeaseHeld { what }),
            Err(error) => Err(error),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        let target = self.target_with(&lease.path, LEASE)?;
        let release = call(Effect::Write, SHORT, || async {
            let options = BlobClientDeleteOptions { lease_id: Some(lease.id.clone()), ..Default::default() };
            target.blob.delete(Some(options)).await
        });
        match release.await.map_err(|failure| failure.about(&lease.path)) {
            Ok(_) | Err(Error::NotFound { .. } | Error::LeaseHeld { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// `If-Match` and `If-None-Match`.
fn conditions(when: &Precondition) -> (Option<Etag>, Option<Etag>) {
    match when {
        Precondition::None => (None, None),
        Precondition::Absent => (None, Some(any())),
        Precondition::Match(etag) => (Some(etag.0.clone().into()), None),
    }
}

fn any() -> Etag {
    "*".into()
}

fn etag(etag: Option<Etag>) -> azure_core::Result<ETag> {
    required("an ETag", etag).map(|etag| ETag(etag.into()))
}

/// Why nothing was put. Azure has more than one answer for either condition.
fn not_put(failure: Failure, path: &BlobPath, when: &Precondition) -> Error {
    match (failure.about(path), when) {
        (Error::PreconditionFailed { what }, Precondition::Absent) => Error::AlreadyExists { what },
        (Error::NotFound { what }, Precondition::Match(_)) => Error::PreconditionFailed { what },
        (error, _) => error,
    }
}

fn required<T>(what: &str, value: Option<T>) -> azure_core::Result<T> {
    value.ok_or_else(|| {
        azure_core::Error::with_message(ErrorKind::DataConversion, format!("the answer is without {what}"))
    })
}

fn on_disk(error: io::Error, path: &BlobPath) -> Error {
    Error::Permanent { what: path.to_string(), source: error.into() }
}

/// Up to [`BLOCK`] bytes; none at the end.
async fn next_block(file: &mut File) -> io::Result<Bytes> {
    let mut block = Vec::new();
    file.take(BLOCK as u64).read_to_end(&mut block).await?;
    Ok(block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_from_the_blobs_among_them() {
        let page = br#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://a/" ContainerName="c">
            <Prefix>x/</Prefix><MaxResults>4</MaxResults><Delimiter>/</Delimiter><Blobs>
            <BlobPrefix><Name>x/a/</Name></BlobPrefix>
            <Blob><Name>x/b</Name><Properties><Etag>0x8</Etag><Content-Length>1</Content-Length></Properties></Blob>
            <BlobPrefix><Name>x/c/</Name></BlobPrefix></Blobs><NextMarker>2!8!m</NextMarker></EnumerationResults>"#;
        let page: FolderPage = xml::from_xml(page).unwrap();
        let names: Vec<_> = page
            .blobs
            .entries
            .iter()
            .map(|entry| match entry {
                Entry::BlobPrefix { name } => name.as_str(),
                Entry::Blob => "",
            })
            .collect();
        assert_eq!((names, page.next_marker.as_str()), (vec!["x/a/", "", "x/c/"], "2!8!m"));
        let nothing = b"<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        let nothing: FolderPage = xml::from_xml(nothing).unwrap();
        assert!(nothing.blobs.entries.is_empty() && nothing.next_marker.is_empty());
    }
}
