//! Reading the deliveries of a finished campaign.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    agents::experimentation::deliveries::Table,
    domain::{customer::ShardId, problem::Problem},
    orchestration::layout,
    store::table,
};

fn shard(campaign: &Path, id: u32) -> PathBuf {
    campaign.join(layout::table(layout::DELIVERIES, ShardId(id)).as_str())
}

/// Calls `work` with the deliveries of each shard of a finished campaign's folder, in order, one in memory at a time.
pub fn for_each(campaign: &Path, mut work: impl FnMut(&Table) -> Result<(), Error>) -> Result<(), Error> {
    let folder = campaign.join(layout::DELIVERIES);
    let not_a_campaign = |error: std::io::Error| {
        Problem::new(
            format!("the campaign's deliveries cannot be read: {error}"),
            "name the folder of a finished campaign, e.g. out/campaigns/spring",
        )
        .in_file(&folder)
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(not_a_campaign)? {
        let file = entry.map_err(not_a_campaign)?.path();
        if file.extension().is_some_and(|extension| extension == "parquet") {
            files.push(file);
        }
    }
    files.sort();
    let incomplete = files.is_empty() || (0..).zip(&files).any(|(id, file)| *file != shard(campaign, id));
    if incomplete {
        let problem = Problem::new(
            "some of the campaign's deliveries are missing",
            "run the campaign again, or restore the folder; `cpo audit verify` lists what is missing",
        );
        return Err(problem.in_file(folder).into());
    }
    for file in files {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::failed(format!("{} cannot be read", file.display()), error)
        };
        let bytes = fs::read(&file).map_err(|error| failed(error.into()))?;
        let rows = table::decode(bytes).map_err(|error| failed(error.into()))?;
        work(&Table::new(&rows).map_err(|error| failed(error.into()))?)?;
    }
    Ok(())
}
