//! What stands in a finished campaign's folder, so that nobody can change it unseen.
//!
//! Files are grouped into segments (one per part of the pipeline). A segment lists its files in order, each entry
//! chained to the one before it; the segments' heads are the leaves of an RFC 6962 Merkle tree whose root stands in
//! `audit/root.json`. Whoever keeps the root elsewhere can prove any later change.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{
    domain::{digest::Digest, id::CampaignId},
    store::{BlobPath, Files},
};

/// The file that stands for all others: written last, and the one to keep a copy of elsewhere.
pub const ROOT: &str = "audit/root.json";

/// One file of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: String,
    pub bytes: u64,
    pub sha256: Digest,
    /// SHA-256 over the previous entry's `chain` (raw 32 bytes; for the first the SHA-256 of
    /// `campaign id` + `|` + `segment name`), `path`, a zero byte, and `sha256` (raw 32 bytes).
    pub chain: Digest,
}

/// `audit/segments/<name>.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub schema: SegmentSchema,
    pub name: String,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentSchema {
    #[serde(rename = "audit-segment/1")]
    V1,
}

/// `audit/root.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub schema: RootSchema,
    pub campaign: CampaignId,
    /// The root of an RFC 6962 tree (SHA-256, leaf prefix 0x00, node prefix 0x01) over the segments' leaves.
    pub root: Digest,
    /// In the order of the tree's leaves; a leaf is `name`, a zero byte, `head` (raw 32 bytes), `entries` (8 bytes,
    /// big-endian).
    pub segments: Vec<SegmentHead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSchema {
    #[serde(rename = "audit-root/1")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHead {
    pub name: String,
    pub head: Digest,
    pub entries: u64,
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    pub path: BlobPath,
    pub bytes: u64,
    pub sha256: Digest,
}

/// Builds segments as files are finished.
#[derive(Debug)]
pub struct Recorder {
    campaign: CampaignId,
    segments: Vec<Segment>,
}

impl Recorder {
    pub fn new(campaign: CampaignId) -> Self {
        Self { campaign, segments: Vec::new() }
    }

    pub fn record(&mut self, segment: &str, file: Written) {
        let Written { path, bytes, sha256 } = file;
        let position = self.segments.iter().position(|known| known.name == segment).unwrap_or_else(|| {
            let name = segment.to_owned();
            self.segments.push(Segment { schema: SegmentSchema::V1, name, entries: Vec::new() });
            self.segments.len() - 1
        });
        let segment = &mut self.segments[position];
        let previous =
            segment.entries.last().map_or_else(|| start_of_chain(&self.campaign, &segment.name), |entry| entry.chain);
        segment.entries.push(Entry {
            chain: chained(previous, path.as_str(), sha256),
            path: path.to_string(),
            bytes,
            sha256,
        });
    }

    pub fn root(&self) -> Root {
        let segments: Vec<_> = self
            .segments
            .iter()
            .map(|segment| SegmentHead {
                name: segment.name.clone(),
                head: segment
                    .entries
                    .last()
                    .map_or_else(|| start_of_chain(&self.campaign, &segment.name), |entry| entry.chain),
                entries: segment.entries.len() as u64,
            })
            .collect();
        Root { schema: RootSchema::V1, campaign: self.campaign.clone(), root: tree_root(&segments), segments }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// Something does not match what the audit says.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    #[error("{0}: the audit's own file is missing, or cannot be read by this version")]
    Unreadable(String),
    #[error("{0}: was changed after the campaign was closed")]
    Changed(String),
    #[error("{0}: is missing")]
    Missing(String),
    #[error("{0}: stands in the folder, and the audit does not know it")]
    Unknown(String),
    #[error("segment {0}: its chain is broken")]
    Chain(String),
    #[error("the root does not follow from the segments")]
    Root,
}

/// Checks a campaign's folder against its audit; empty: everything is as it was when the campaign was closed.
/// `known` tells which files may be there without being covered (results that came later, the audit itself).
pub fn verify(store: &Files, folder: &[BlobPath], known: impl Fn(&str) -> bool) -> Result<Root, Vec<Mismatch>> {
    let root_path = path(ROOT);
    let unreadable = |path: &BlobPath| vec![Mismatch::Unreadable(path.to_string())];
    let bytes = store.get(&root_path).map_err(|_| unreadable(&root_path))?;
    let root: Root = serde_json::from_slice(&bytes).map_err(|_| unreadable(&root_path))?;
    let mut problems = Vec::new();
    let mut covered = std::collections::BTreeSet::new();
    for head in &root.segments {
        let segment_path = segment_path(&head.name);
        let segment: Segment = match store.get(&segment_path).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(segment)) => segment,
            _ => {
                problems.push(Mismatch::Unreadable(segment_path.to_string()));
                continue;
            }
        };
        let mut chain = start_of_chain(&root.campaign, &head.name);
        for entry in &segment.entries {
            chain = chained(chain, &entry.path, entry.sha256);
            if chain != entry.chain {
                problems.push(Mismatch::Chain(head.name.clone()));
                break;
            }
            covered.insert(entry.path.clone());
            match BlobPath::new(entry.path.as_str()) {
                Ok(path) => match store.get(&path) {
                    Ok(bytes) if Digest::of(&bytes) == entry.sha256 => {
                        // The chain does not cover the size.
                        if bytes.len() as u64 != entry.bytes {
                            problems.push(Mismatch::Changed(segment_path.to_string()));
                        }
                    }
                    Ok(_) => problems.push(Mismatch::Changed(entry.path.clone())),
                    Err(_) => problems.push(Mismatch::Missing(entry.path.clone())),
                },
                Err(_) => problems.push(Mismatch::Missing(entry.path.clone())),
            }
        }
        if chain != head.head || segment.entries.len() as u64 != head.entries {
            problems.push(Mismatch::Chain(head.name.clone()));
        }
    }
    if tree_root(&root.segments) != root.root {
        problems.push(Mismatch::Root);
    }
    for file in folder {
        if !covered.contains(file.as_str()) && !known(file.as_str()) {
            problems.push(Mismatch::Unknown(file.to_string()));
        }
    }
    if problems.is_empty() { Ok(root) } else { Err(problems) }
}

/// The root, and the audit's own files in the order in which they are to be written: the root's comes last.
pub fn documents(recorder: &Recorder) -> (Root, Vec<(BlobPath, Vec<u8>)>) {
    let root = recorder.root();
    let segments = recorder.segments().iter().map(|segment| (segment_path(&segment.name), to_json(segment)));
    let files = segments.chain([(path(ROOT), to_json(&root))]).collect();
    (root, files)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("audit records are plain data")
}

/// Of a segment in the campaign's folder.
pub fn segment_path(name: &str) -> BlobPath {
    path(&format!("audit/segments/{name}.json"))
}

fn path(name: &str) -> BlobPath {
    BlobPath::new(name).expect("segment names are path segments")
}

fn start_of_chain(campaign: &CampaignId, segment: &str) -> Digest {
    Digest::of(format!("{campaign}|{segment}"))
}

fn chained(previous: Digest, path: &str, sha256: Digest) -> Digest {
    let mut bytes = previous.as_bytes().to_vec();
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(sha256.as_bytes());
    Digest::of(bytes)
}

fn tree_root(segments: &[SegmentHead]) -> Digest {
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for segment in segments {
        let mut leaf = segment.name.clone().into_bytes();
        leaf.push(0);
        leaf.extend_from_slice(segment.head.as_bytes());
        leaf.extend_from_slice(&segment.entries.to_be_bytes());
        tree.push(leaf);
    }
    let mut root = [0; 32];
    root.copy_from_slice(tree.root().as_bytes().as_slice());
    Digest::from(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, bytes: &str) -> Written {
        Written { path: path(name), bytes: bytes.len() as u64, sha256: Digest::of(bytes) }
    }

    /// The temporary folder goes with the first of them.
    fn closed() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let store = Files::new(folder.path());
        let mut recorder = Recorder::new(CampaignId::new("spring").unwrap());
        for (segment, name, bytes) in [("plan", "campaign.json", "{}"), ("run", "a/1", "x"), ("run", "a/2", "y")] {
            store.put(&path(name), bytes.as_bytes()).unwrap();
            recorder.record(segment, written(name, bytes));
        }
        for (path, bytes) in documents(&recorder).1 {
            store.put(&path, &bytes).unwrap();
        }
        (folder, store)
    }

    fn complaints(store: &Files) -> Vec<String> {
        let files = store.list(None).unwrap();
        match verify(store, &files, |path| path.starts_with("audit/")) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn an_untouched_folder_verifies_and_every_change_is_seen() {
        let (_folder, store) = closed();
        assert_eq!(complaints(&store), Vec::<String>::new());

        let (_folder, store) = closed();
        store.put(&path("a/2"), b"z").unwrap();
        assert_eq!(complaints(&store), ["a/2: was changed after the campaign was closed"]);

        let (_folder, store) = closed();
        store.put(&path("a/3"), b"z").unwrap();
        assert_eq!(complaints(&store), ["a/3: stands in the folder, and the audit does not know it"]);

        // The size is in no digest.
        let (_folder, store) = closed();
        let segment = path("audit/segments/run.json");
        let json = String::from_utf8(store.get(&segment).unwrap()).unwrap().replacen("\"bytes\": 1", "\"bytes\": 7", 1);
        store.put(&segment, json.as_bytes()).unwrap();
        assert_eq!(complaints(&store), ["audit/segments/run.json: was changed after the campaign was closed"]);

        // A forger who rewrites file and segment is caught by the head, one who rewrites that too by the root.
        let (_folder, store) = closed();
        store.put(&path("a/2"), b"z").unwrap();
        let mut forged = Recorder::new(CampaignId::new("spring").unwrap());
        forged.record("run", written("a/1", "x"));
        forged.record("run", written("a/2", "z"));
        let segment = to_json(&forged.segments()[0]);
        store.put(&path("audit/segments/run.json"), &segment).unwrap();
        assert_eq!(complaints(&store), ["segment run: its chain is broken"]);

        let mut root: Root = serde_json::from_slice(&store.get(&path(ROOT)).unwrap()).unwrap();
        root.segments[1] = forged.root().segments[0].clone();
        store.put(&path(ROOT), &to_json(&root)).unwrap();
        assert_eq!(complaints(&store), ["the root does not follow from the segments"]);
    }

    #[test]
    fn the_tree_is_rfc_6962s() {
        // Two leaves: SHA-256(0x01 || SHA-256(0x00 || leaf 1) || SHA-256(0x00 || leaf 2)), spelled out.
        let heads = ["a", "b"].map(|name| SegmentHead { name: name.into(), head: Digest::of(name), entries: 1 });
        let leaf = |head: &SegmentHead| {
            let mut bytes = vec![0];
            bytes.extend_from_slice(head.name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(head.head.as_bytes());
            bytes.extend_from_slice(&1_u64.to_be_bytes());
            Digest::of(bytes)
        };
        let mut node = vec![1];
        node.extend_from_slice(leaf(&heads[0]).as_bytes());
        node.extend_from_slice(leaf(&heads[1]).as_bytes());
        assert_eq!(tree_root(&heads), Digest::of(node));
    }
}
