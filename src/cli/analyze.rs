//! `cpo analyze`: what the outcomes say, and whether they say anything.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    agents::experimentation::{
        accumulate::Metric,
        analysis::{MetricKind, Results},
        arm_column::{self, AnalysisRequest},
        design::Design,
        join::{self, Assigned},
        simulate::Simulation,
    },
    cli::{self, Format, results_table},
    domain::problem::Problem,
    store::{BlobPath, Blobs as _, Files, Precondition},
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
    cpo analyze --outcomes invented.csv --campaign out/campaigns/spring --simulate")]
pub struct Args {
    /// CSV with a header and one row per customer, any usual delimiter, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub outcomes: PathBuf,
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
    /// Invent the campaign's outcomes and write them to the outcomes file, which must not exist, before analysing.
    #[arg(long, requires = "campaign", conflicts_with = "arm")]
    pub simulate: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const DESIGN: &str = "experiment/design.json";
const RESULTS: &str = "experiment/results.json";

/// Takes one assigned customer after the other.
pub type Visit<'a> = &'a mut dyn FnMut(&Assigned<'_>) -> Result<(), Error>;

/// `deliveries` shows every assigned customer of the campaign in the folder to its visitor, once each.
pub fn run(args: Args, deliveries: impl Fn(&Path, Visit<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let format = args.format;
    let results = match args.campaign.clone() {
        Some(folder) => of_campaign(args, &folder, |visit| deliveries(&folder, visit))?,
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
        file: args.outcomes,
        arm: args.arm.ok_or_else(|| missing("--arm"))?,
        control: args.control.ok_or_else(|| missing("--control"))?,
        metrics: args.metrics,
        covariate: args.covariate,
        by: args.by,
        shares,
        alpha: args.alpha.unwrap_or(0.05),
    })
}

/// Writes `experiment/results.json` into the campaign's folder as well.
fn of_campaign(
    args: Args,
    folder: &Path,
    deliveries: impl Fn(Visit<'_>) -> Result<(), Error>,
) -> Result<Results, Error> {
    let design = read_design(&folder.join(DESIGN))?;
    let metrics = if args.metrics.is_empty() {
        vec![Metric { name: design.primary_metric.clone(), kind: MetricKind::Rate }]
    } else {
        args.metrics
    };
    if args.simulate {
        simulate(&args.outcomes, &design, &deliveries)?;
    }
    let results = join::analyze_campaign(&args.outcomes, &metrics, &design, deliveries)?;
    let path = BlobPath::new(RESULTS).expect("the layout's names are valid paths");
    let bytes = json(&results)?.into_bytes();
    cli::block_on(async {
        let stored = Files::new(folder).put(&path, bytes, Precondition::None).await;
        stored.map_err(|error| Error::failed("the results cannot be written", error))
    })?;
    Ok(results)
}

fn read_design(file: &Path) -> Result<Design, Problem> {
    let problem = |message: String| {
        Problem::new(message, "name the folder of a finished campaign, e.g. out/campaigns/spring").in_file(file)
    };
    let text = fs::read(file).map_err(|error| problem(format!("the campaign's design cannot be read: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| problem(format!("this is not a campaign's design: {error}")))
}

/// Stopped half-way it leaves an incomplete file of invented outcomes, which has to be deleted before the next try.
fn simulate(file: &Path, design: &Design, deliveries: impl Fn(Visit<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let to = File::create_new(file).map_err(|error| {
        Problem::new(
            format!("invented outcomes cannot be written here: {error}"),
            "name a file that does not exist yet, in a folder you may write to",
        )
        .in_file(file)
    })?;
    let failed = |error: csv::Error| Error::failed("the invented outcomes cannot be written", error);
    let mut simulation = Simulation::new(design, BufWriter::new(to)).map_err(failed)?;
    deliveries(&mut |assigned| simulation.add(assigned.customer, assigned.arm).map_err(failed))?;
    let written = simulation.finish().map_err(failed)?;
    let flushed = written.into_inner().map_err(std::io::IntoInnerError::into_error);
    flushed.map(drop).map_err(|error| failed(error.into()))
}

fn json(results: &Results) -> Result<String, Error> {
    serde_json::to_string(results).map_err(|error| Error::failed("the results cannot be written as JSON", error))
}

fn share(text: &str) -> Result<(String, f64), String> {
    let (arm, share) = text.rsplit_once('=').ok_or("write ARM=SHARE, e.g. control=0.5")?;
    match share.parse() {
        Ok(share) if f64::is_finite(share) && share > 0.0 => Ok((arm.to_owned(), share)),
        _ => Err("a share is a number above 0".to_owned()),
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    let alpha = text.parse().ok().filter(|alpha| *alpha > 0.0 && *alpha < 1.0);
    alpha.ok_or_else(|| "alpha lies between 0 and 1, e.g. 0.05".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::{
        agents::experimentation::{assign::Assigner, sample_campaign},
        domain::id::SegmentName,
    };

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("analyze"));
        Args::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn what_does_not_belong_together_is_refused_by_the_command_line() {
        assert!(
            parse("analyze --outcomes f.csv --arm a --control c --metric m:rate --share c=0.5 --alpha 0.1").is_ok()
        );
        assert!(parse("analyze --outcomes f.csv --campaign dir --simulate").is_ok());
        for bad in [
            "analyze --outcomes f.csv",
            "analyze --outcomes f.csv --arm a --control c --metric m",
            "analyze --outcomes f.csv --arm a --control c --metric m:rate --share c=-1",
            "analyze --outcomes f.csv --arm a --control c --metric m:rate --alpha 5",
            "analyze --outcomes f.csv --arm a --control c --metric m:rate --simulate",
            "analyze --outcomes f.csv --campaign dir --arm a",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_simulated_campaign_leaves_marked_results_and_does_not_overwrite_outcomes() {
        let folder = tempfile::tempdir().unwrap();
        let campaign = sample_campaign("baseline = 0.2");
        let segment = SegmentName::new("Gold").unwrap();
        let design = Design::plan(&campaign, &[(segment.clone(), 500)]);
        fs::create_dir(folder.path().join("experiment")).unwrap();
        fs::write(folder.path().join(DESIGN), serde_json::to_vec(&design).unwrap()).unwrap();
        let assigner = Assigner::new(&campaign);
        let deliveries = |_: &Path, visit: Visit<'_>| {
            (0..500).map(|index| format!("C-{index}")).try_for_each(|id| {
                let arm = assigner.arms()[assigner.assign(&segment, &id)].name.as_str();
                visit(&Assigned { customer: &id, segment: segment.as_str(), arm })
            })
        };
        let (outcomes, dir) = (folder.path().join("o.csv"), folder.path().display().to_string());
        let line = format!("analyze --outcomes {} --campaign {dir} --format json --simulate", outcomes.display());
        run(parse(&line).unwrap(), deliveries).unwrap();
        let read = || -> Results { serde_json::from_slice(&fs::read(folder.path().join(RESULTS)).unwrap()).unwrap() };
        let first = read();
        assert!(first.simulated && first.customers == 500);

        let again = run(parse(&line).unwrap(), deliveries).unwrap_err();
        assert_eq!(again.exit_code(), 2);
        run(parse(line.trim_end_matches(" --simulate")).unwrap(), deliveries).unwrap();
        assert_eq!(read(), first);
    }
}
