//! Reading the deliveries of a finished campaign.

use std::collections::BTreeSet;

use super::{finished::RunFiles, layout};
use crate::{
    Error,
    agents::experimentation::deliveries::Table,
    audit,
    domain::{
        customer::{IdPrefix, ShardId},
        problem::Problem,
    },
    store::table,
};

/// Calls `work` with the deliveries of each shard of a finished campaign, in order, one in memory at a time.
pub async fn for_each(
    files: &RunFiles,
    mut work: impl FnMut(ShardId, &Table) -> Result<(), Error>,
) -> Result<(), Error> {
    for shard in shards(files).await? {
        work(shard, &of_shard(files, shard).await?)?;
    }
    Ok(())
}

/// Where a customer is among the deliveries: the shard, its table, the row.
pub async fn find(files: &RunFiles, customer: &str) -> Result<Option<(ShardId, Table, usize)>, Error> {
    let shards = shards(files).await?;
    let wanted = IdPrefix::of(customer);
    // Shards are cut from all customers in the order of their ids' digests; within a shard they are in another.
    let (mut low, mut high) = (0, shards.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let table = of_shard(files, shards[middle]).await?;
        let found = table.rows().position(|row| row.customer == customer);
        if let Some(row) = found {
            return Ok(Some((shards[middle], table, row)));
        }
        match table.rows().next().map(|row| IdPrefix::of(row.customer)) {
            // Whoever is not in this shard is before all of it or after all of it.
            Some(any) if wanted < any => high = middle,
            _ => low = middle + 1,
        }
    }
    Ok(None)
}

/// What is delivered to a shard's customers.
pub async fn of_shard(files: &RunFiles, shard: ShardId) -> Result<Table, Error> {
    let path = layout::table(layout::DELIVERIES, shard);
    let bytes = files.bytes(&path).await?;
    let read = || Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Table::new(&table::decode(bytes)?)?);
    read().map_err(|error| Error::failed(format!("{} cannot be read", files.shown(&path).display()), error))
}

/// Those with deliveries, as the audit knows them: a shard whose delivery was given up has none.
pub async fn shards(files: &RunFiles) -> Result<Vec<ShardId>, Error> {
    let segment: audit::Segment = files.json(audit::segment_path("deliveries").as_str()).await?;
    let there = files.list(Some(&layout::blob(layout::DELIVERIES))).await?;
    let there: BTreeSet<&str> = there.iter().map(|path| path.as_str()).collect();
    let shard = |path: &str| {
        let name = path.strip_prefix(layout::DELIVERIES)?.strip_prefix('/')?.strip_suffix(".parquet")?;
        there.contains(path).then_some(ShardId(name.parse().ok()?))
    };
    let shards: Option<Vec<_>> = segment.entries.iter().map(|entry| shard(&entry.path)).collect();
    Ok(shards.ok_or_else(|| missing(files))?)
}

fn missing(files: &RunFiles) -> Problem {
    let problem = Problem::new(
        "some of the campaign's deliveries are missing",
        "run the campaign again, or restore its files; `cpo audit verify` lists what is missing",
    );
    problem.in_file(files.shown(&layout::blob(layout::DELIVERIES)))
}
