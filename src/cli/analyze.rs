//! `cpo analyze`: what the outcomes say, and whether they say anything.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    agents::experimentation::{
        accumulate::Metric,
        analysis::Results,
        arm_column::{self, AnalysisRequest},
        design::Design,
    },
    cli::{self, Format, results_table},
    domain::problem::Problem,
    orchestration::{finished::RunFiles, layout, results, tracking},
    providers::Services,
};

/// Analyse outcomes: rates, lifts, intervals, p-values, a check of the split, and a decision with its reasons.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  A file that carries each customer's arm in a column:
    cpo analyze --outcomes test.csv --arm variant --control none --metric visit:rate --metric spend:mean
    cpo analyze --outcomes test.csv.gz --arm variant --control A --metric bought:rate --share A=0.8 --share B=0.2
  The outcomes of a finished campaign, with the columns customer_id and conversion:
    cpo analyze --outcomes outcomes.csv --campaign out/campaigns/spring
  Invented outcomes for a demo, marked as simulated wherever they show:
    cpo analyze --campaign out/campaigns/spring --simulate")]
pub struct Args {
    /// CSV with a header and one row per customer, any usual delimiter, plain or gzip.
    #[arg(long, value_name = "FILE", required_unless_present = "simulate")]
    pub outcomes: Option<PathBuf>,
    /// The folder of a finished campaign. Customers without a row in the outcomes count as 0.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["arm", "control", "covariate", "by", "shares", "alpha"])]
    pub campaign: Option<PathBuf>,
    /// The column with each customer's arm.
    #[arg(long, value_name = "COLUMN", required_unless_present = "campaign")]
    pub arm: Option<String>,
    /// The value of that column that the others are compared with.
    #[arg(long, value_name = "VALUE", required_unless_present = "campaign")]
    pub control: Option<String>,
    /// NAME:rate for a 0/1 column, NAME:mean for numbers. The first one decides. A campaign has its primary metric.
    #[arg(long = "metric", value_name = "NAME:KIND", required_unless_present = "campaign")]
    pub metrics: Vec<Metric>,
    /// A number known before the test; what it explains is taken out of the variance (CUPED).
    #[arg(long, value_name = "COLUMN")]
    pub covariate: Option<String>,
    /// Exploratory results for each value of this column too.
    #[arg(long, value_name = "COLUMN")]
    pub by: Option<String>,
    /// The share of customers an arm should have, relative to the others; by default all are equal.
    #[arg(long = "share", value_name = "ARM=SHARE", value_parser = share)]
    pub shares: Vec<(String, f64)>,
    /// The chance of a false alarm that is accepted, over all comparisons together [default: 0.05].
    #[arg(long, value_name = "A", value_parser = alpha)]
    pub alpha: Option<f64>,
    /// Invent the campaign's outcomes; they are kept in its folder.
    #[arg(long, requires = "campaign", conflicts_with_all = ["outcomes", "metrics"])]
    pub simulate: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    let format = args.format;
    let results = match args.campaign.clone() {
        Some(folder) => cli::block_on(of_campaign(args, &folder))?,
        None => arm_column::analyze_file(&request(args)?)?,
    };
    match format {
        Format::Text => cli::print(&results_table::render(&results)),
        Format::Json => cli::print(&format!("{}\n", json(&results)?)),
    }
}

fn request(args: Args) -> Result<AnalysisRequest, Problem> {
    let missing = |option: &str| {
        Problem::new(format!("{option} is missing"), "see the examples of `cpo analyze --help`").at_field(option)
    };
    let mut shares = BTreeMap::new();
    for (arm, share) in args.shares {
        if shares.insert(arm.clone(), share).is_some() {
            let problem = Problem::new(format!("two shares are given for `{arm}`"), "give one share per arm");
            return Err(problem.at_field("--share"));
        }
    }
    Ok(AnalysisRequest {
        file: args.outcomes.ok_or_else(|| missing("--outcomes"))?,
        arm: args.arm.ok_or_else(|| missing("--arm"))?,
        control: args.control.ok_or_else(|| missing("--control"))?,
        metrics: args.metrics,
        covariate: args.covariate,
        by: args.by,
        shares,
        alpha: args.alpha.unwrap_or(0.05),
    })
}

/// The results stand in the campaign's folder and report afterwards.
async fn of_campaign(args: Args, folder: &Path) -> Result<Results, Error> {
    let files = RunFiles::in_folder(folder);
    let design: Design = files.json(layout::DESIGN).await?;
    let results = match args.outcomes {
        Some(outcomes) => {
            let metrics = if args.metrics.is_empty() { vec![results::primary_metric(&design)] } else { args.metrics };
            results::analyze(&files, vec![outcomes], &metrics, &design).await?
        }
        None => results::simulate(folder, &design).await?,
    };
    results::add(folder, results.clone()).await?;
    tracking::tell_results(folder, &Services::from_environment()).await?;
    Ok(results)
}

fn json(results: &Results) -> Result<String, Error> {
    serde_json::to_string(results).map_err(|error| Error::failed("the results cannot be written as JSON", error))
}

fn share(text: &str) -> Result<(String, f64), String> {
    let (arm, share) = text.rsplit_once('=').ok_or("write ARM=SHARE, e.g. control=0.5")?;
    match share.parse() {
        Ok(share) if (1e-6..=1e6).contains(&share) => Ok((arm.to_owned(), share)),
        _ => Err("a share is a number from 0.000001 to 1000000".to_owned()),
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    let alpha = text.parse().ok().filter(|alpha| (1e-9..1.0).contains(alpha));
    alpha.ok_or_else(|| "alpha lies between 0 and 1 (not below 1e-9), e.g. 0.05".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("analyze"));
        Args::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn what_does_not_belong_together_is_refused_by_the_command_line() {
        assert!(
            parse("analyze --outcomes f.csv --arm a --control c --metric m:rate --share c=0.5 --alpha 0.1").is_ok()
        );
        assert!(parse("analyze --campaign dir --simulate").is_ok());
        for bad in [
            "analyze --outcomes f.csv",
            "analyze --outcomes f.csv --arm a --control c --metric m",
            "analyze --outcomes f.csv --arm a --control c --metric m:rate --share c=-1",
            "analyze --outcomes f.csv --arm a --control c --metric m:rate --alpha 5",
            "analyze --outcomes f.csv --arm a --control c --metric m:rate --simulate",
            "analyze --outcomes f.csv --campaign dir --arm a",
            "analyze --outcomes f.csv --campaign dir --simulate",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
