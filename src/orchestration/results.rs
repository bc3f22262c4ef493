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
        analysis::Results,
        design::Design,
        join::{Assigned, CustomerOutcomes, Join},
        simulate::Simulation,
    },
    orchestration::{close, deliveries, finished, layout},
    report::Report,
    store::{Blobs as _, Files, Precondition},
};

/// Joins an outcomes file with a finished campaign's assignment and analyses it.
pub fn analyze(campaign: &Path, outcomes: &Path, metrics: &[Metric]) -> Result<Results, Error> {
    let design: Design = finished::read(campaign, layout::DESIGN)?;
    let outcomes = CustomerOutcomes::read(outcomes, metrics)?;
    let mut join = Join::new(&outcomes);
    deliveries::for_each(campaign, |table| {
        for row in table.rows() {
            join.add(&Assigned { customer: row.customer, segment: row.segment, arm: row.arm })?;
        }
        Ok(())
    })?;
    Ok(join.results(&design, metrics)?)
}

/// Invents outcomes for everybody assigned in the campaign's folder, keeps them in it and analyses them.
pub async fn simulate(campaign: &Path, design: &Design) -> Result<Results, Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::failed("simulated outcomes cannot be written", error)
    };
    let file = campaign.join(layout::OUTCOMES);
    let out = BufWriter::new(File::create(&file).map_err(|error| failed(error.into()))?);
    let mut simulation = Simulation::new(design, out).map_err(|error| failed(error.into()))?;
    deliveries::for_each(campaign, |table| {
        for row in table.rows() {
            simulation.add(row.customer, row.arm).map_err(|error| failed(error.into()))?;
        }
        Ok(())
    })?;
    let mut out = simulation.finish().map_err(|error| failed(error.into()))?;
    out.flush().map_err(|error| failed(error.into()))?;
    let results = analyze(campaign, &file, &[Metric::rate(&design.primary_metric)])?;
    write(campaign, &results).await?;
    Ok(results)
}

/// `experiment/results.json`
pub async fn write(campaign: &Path, results: &Results) -> Result<(), Error> {
    let json =
        serde_json::to_vec_pretty(results).map_err(|error| Error::failed("the results cannot be written", error))?;
    let written = Files::new(campaign).put(&layout::blob(layout::RESULTS), json, Precondition::None).await;
    written.map_err(|error| Error::failed("the results cannot be written", error))
}

/// Adds results to a finished campaign: the file, and the report again with them.
pub async fn add(campaign: &Path, results: Results) -> Result<(), Error> {
    let mut report: Report = finished::read(campaign, layout::REPORT_JSON)?;
    write(campaign, &results).await?;
    report.results = Some(results);
    close::write_report(&report, &Files::new(campaign)).await
}
