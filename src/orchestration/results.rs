//! What comes after a campaign: outcomes, their analysis, and the report again with them.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use super::{deliveries, finished::RunFiles, layout, tracking};
use crate::{
    Error,
    agents::experimentation::{
        accumulate::Metric,
        analysis::{MetricKind, Results},
        design::Design,
        join::{Assigned, Join},
        simulate::Simulation,
    },
    report::Report,
    store::{BlobPath, Files},
};

/// What a campaign's test decides on.
pub fn primary_metric(design: &Design) -> Metric {
    Metric { name: design.primary_metric.clone(), kind: MetricKind::Rate }
}

/// Joins files of outcomes, the newest last, with a finished campaign's assignment and analyses them.
pub async fn analyze(
    files: &RunFiles,
    outcomes: Vec<PathBuf>,
    metrics: &[Metric],
    design: &Design,
) -> Result<Results, Error> {
    let read = {
        let metrics = metrics.to_vec();
        tokio::task::spawn_blocking(move || Join::read(&outcomes, &metrics))
    };
    let mut join = read.await.map_err(|error| Error::failed("the outcomes cannot be read", error))??;
    deliveries::for_each(files, |_, table| {
        let mut rows = table.rows();
        rows.try_for_each(|row| join.add(&Assigned { customer: row.customer, segment: row.segment, arm: row.arm }))?;
        Ok(())
    })
    .await?;
    Ok(join.results(design, metrics)?)
}

/// Invents outcomes for everybody assigned in the campaign's folder, keeps them in it and analyses them.
pub async fn simulate(folder: &Path, design: &Design) -> Result<Results, Error> {
    let failed = |error: csv::Error| Error::failed("simulated outcomes cannot be written", error);
    let files = RunFiles::in_folder(folder);
    let file = folder.join(layout::OUTCOMES);
    let out = BufWriter::new(File::create(&file).map_err(|error| failed(error.into()))?);
    let mut simulation = Simulation::new(design, out).map_err(failed)?;
    deliveries::for_each(&files, |_, table| {
        table.rows().try_for_each(|row| simulation.add(row.customer, row.arm)).map_err(failed)
    })
    .await?;
    simulation.finish().map_err(failed)?.flush().map_err(|error| failed(error.into()))?;
    analyze(&files, vec![file], &[primary_metric(design)], design).await
}

/// The files that tell of results, in the order in which they are to be written: `experiment/results.json`, and the
/// report again with them.
pub fn documents(mut report: Report, results: Results) -> Result<[(BlobPath, Vec<u8>); 3], Error> {
    let unwritable = |error| Error::failed("the results cannot be written as JSON", error);
    let json = serde_json::to_vec_pretty(&results).map_err(unwritable)?;
    report.results = Some(results);
    let html = report.html().map_err(|error| Error::failed("the report cannot be rendered", error))?;
    let report = serde_json::to_vec_pretty(&report).map_err(unwritable)?;
    let named = [(layout::RESULTS, json), (layout::REPORT_JSON, report), (layout::REPORT_HTML, html.into_bytes())];
    Ok(named.map(|(name, bytes)| (layout::blob(name), bytes)))
}

/// Adds results to a finished campaign's folder.
pub async fn add(folder: &Path, results: Results) -> Result<(), Error> {
    let mut report: Report = RunFiles::in_folder(folder).json(layout::REPORT_JSON).await?;
    report.tracking = tracking::found_in(folder, &report.campaign.id).await?.or(report.tracking);
    let files = Files::new(folder);
    for (path, bytes) in documents(report, results)? {
        files.put(&path, &bytes).map_err(|error| Error::failed("the results cannot be written", error))?;
    }
    Ok(())
}
