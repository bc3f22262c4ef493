//! `cpo demo`: the sample campaign from start to report.

use std::{fs, path::PathBuf};

use include_dir::{Dir, include_dir};

use crate::{
    Error,
    cli::{Format, run},
    domain::problem::Problem,
};

static SAMPLES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/samples");

/// Run the sample campaign (a made-up brand, 1,000 made-up customers, simulated outcomes) and write its report.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cpo demo
  cpo demo --out /tmp/cpo-demo --format json")]
pub struct Args {
    /// Where the samples and the campaign's results go.
    #[arg(long, default_value = "cpo-demo")]
    out: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    let samples = args.out.join("samples");
    fs::create_dir_all(&samples).and_then(|()| SAMPLES.extract(&samples)).map_err(|error| {
        let remedy = "name a folder that you may write to with --out";
        Problem::new(format!("the samples cannot be written: {error}"), remedy).in_file(&samples)
    })?;
    run::run(run::Args {
        campaign: samples.join("campaign.toml"),
        customers: samples.join("customers.csv"),
        content: None,
        out: args.out,
        // The samples may have changed since the last demo.
        replace: true,
        simulate: true,
        storage: None,
        format: args.format,
    })
}
