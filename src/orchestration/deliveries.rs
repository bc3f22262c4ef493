//! Reading the deliveries of a finished campaign.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    agents::experimentation::deliveries::Table,
    audit,
    domain::{customer::ShardId, problem::Problem},
    orchestration::{finished, layout},
    store::table,
};

/// Calls `work` with the deliveries of each shard of a finished campaign's folder, in order, one in memory at a time.
///
/// Those are the tables that the audit knows: a shard whose delivery was given up has none.
pub fn for_each(campaign: &Path, mut work: impl FnMut(ShardId, &Table) -> Result<(), Error>) -> Result<(), Error> {
    for (id, file) in recorded(campaign)? {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::failed(format!("{} cannot be read", file.display()), error)
        };
        let bytes = fs::read(&file).map_err(|error| failed(error.into()))?;
        let rows = table::decode(bytes).map_err(|error| failed(error.into()))?;
        work(id, &Table::new(&rows).map_err(|error| failed(error.into()))?)?;
    }
    Ok(())
}

fn recorded(campaign: &Path) -> Result<Vec<(ShardId, PathBuf)>, Error> {
    let segment: audit::Segment = finished::read(campaign, audit::segment_path("deliveries").as_str())?;
    let shard = |path: &str| {
        let name = path.strip_prefix(layout::DELIVERIES)?.strip_prefix('/')?.strip_suffix(".parquet")?;
        let file = campaign.join(path);
        file.is_file().then_some((ShardId(name.parse().ok()?), file))
    };
    let shards: Option<Vec<_>> = segment.entries.iter().map(|entry| shard(&entry.path)).collect();
    Ok(shards.ok_or_else(|| missing(campaign))?)
}

fn missing(campaign: &Path) -> Problem {
    let problem = Problem::new(
        "some of the campaign's deliveries are missing",
        "run the campaign again, or restore the folder; `cpo audit verify` lists what is missing",
    );
    problem.in_file(campaign.join(layout::DELIVERIES))
}
