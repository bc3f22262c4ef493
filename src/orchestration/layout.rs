//! The names of a campaign's files: the same on disk and in Blob Storage.

use crate::{domain::customer::ShardId, store::BlobPath};

/// In the output folder; holds a folder for each campaign, in which all the other names are.
pub const CAMPAIGNS: &str = "campaigns";
pub const CAMPAIGN: &str = "campaign.json";
/// The approved documents as they were when the campaign was started.
pub const CONTENT: &str = "content.json";
pub const QUALITY: &str = "ingest/quality.json";
pub const QUARANTINE: &str = "ingest/quarantine.csv";
pub const SUPPRESSED: &str = "ingest/suppressed.csv";
pub const SHARDS: &str = "ingest/shards";
pub const MODEL: &str = "segments/model.json";
pub const LABELS: &str = "segments/labels";
pub const PASSAGES: &str = "passages.json";
pub const VARIANTS: &str = "variants.json";
/// Of single customers, where the campaign writes to them one by one.
pub const MESSAGES: &str = "messages";
pub const DELIVERIES: &str = "deliveries";
pub const DESIGN: &str = "experiment/design.json";
pub const RESULTS: &str = "experiment/results.json";
pub const OUTCOMES: &str = "experiment/outcomes.simulated.csv";
/// What single customers were given later.
pub const EXPOSURES: &str = "exposures";
pub const LEDGER: &str = "ledger.json";
pub const REPORT_JSON: &str = "report.json";
pub const REPORT_HTML: &str = "report.html";

/// One of the constants above.
pub fn blob(name: &str) -> BlobPath {
    BlobPath::new(name).expect("the layout's names are valid paths")
}

/// A shard's table in one of the folders above.
pub fn table(folder: &str, shard: ShardId) -> BlobPath {
    blob(&format!("{folder}/{shard}.parquet"))
}

/// A shard's JSON Lines in one of them.
pub fn lines(folder: &str, shard: ShardId) -> BlobPath {
    blob(&format!("{folder}/{shard}.jsonl"))
}
