//! What comes after a campaign: outcomes, their analysis, and the report again with them.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use crate::{
    Error,
    agents::experimentation::{
        accumulate::Metric,
        analysis::{MetricKind, Results},
        design::Design,
        join::{self, Assigned},
        simulate::Simulation,
    },
    orchestration::{close, deliveries, finished, layout},
    report::Report,
    store::Files,
};

/// Joins an outcomes file with a finished campaign's assignment and analyses it.
pub fn analyze(campaign: &Path, outcomes: &Path, metrics: &[Metric], design: &Design) -> Result<Results, Error> {
    join::analyze_campaign(outcomes, metrics, design, |visit| {
        deliveries::for_each(campaign, |_, table| {
            table
                .rows()
                .try_for_each(|row| visit(&Assigned { customer: row.customer, segment: row.segment, arm: row.arm }))
        })
    })
}

/// Invents outcomes for everybody assigned in the campaign's folder, keeps them in it and analyses them.
pub fn simulate(campaign: &Path, design: &Design) -> Result<Results, Error> {
    let failed = |error: csv::Error| Error::failed("simulated outcomes cannot be written", error);
    let file = campaign.join(layout::OUTCOMES);
    let out = BufWriter::new(File::create(&file).map_err(|error| failed(error.into()))?);
    let mut simulation = Simulation::new(design, out).map_err(failed)?;
    deliveries::for_each(campaign, |_, table| {
        table.rows().try_for_each(|row| simulation.add(row.customer, row.arm)).map_err(failed)
    })?;
    simulation.finish().map_err(failed)?.flush().map_err(|error| failed(error.into()))?;
    let metric = Metric { name: design.primary_metric.clone(), kind: MetricKind::Rate };
    analyze(campaign, &file, &[metric], design)
}

/// `experiment/results.json`
pub fn write(campaign: &Path, results: &Results) -> Result<(), Error> {
    let json =
        serde_json::to_vec_pretty(results).map_err(|error| Error::failed("the results cannot be written", error))?;
    let written = Files::new(campaign).put(&layout::blob(layout::RESULTS), &json);
    written.map_err(|error| Error::failed("the results cannot be written", error))
}

/// Adds results to a finished campaign: the file first, then the report again with them.
pub fn add(campaign: &Path, results: Results) -> Result<(), Error> {
    let mut report: Report = finished::read(campaign, layout::REPORT_JSON)?;
    write(campaign, &results)?;
    report.results = Some(results);
    close::write_report(&report, &Files::new(campaign))
}
