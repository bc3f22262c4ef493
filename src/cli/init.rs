//! `cpo init`: a new campaign folder.

use std::{fs, path::PathBuf};

use include_dir::{Dir, include_dir};

use crate::{Error, cli, domain::problem::Problem};

static STARTER: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/cli/starter");

/// Make a new campaign folder: a campaign file in which every key is explained, a few documents and a few customers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cpo init spring
  cpo run spring/campaign.toml --customers spring/customers.csv")]
pub struct Args {
    /// The folder to make; it must not exist, or be empty.
    folder: PathBuf,
}

pub fn run(args: Args) -> Result<(), Error> {
    let folder = &args.folder;
    let refuse = |message: String, remedy: &str| Error::from(Problem::new(message, remedy).in_file(folder));
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(refuse("the folder is not empty".into(), "name a new folder: nothing is overwritten"));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs::create_dir_all(folder)
            .map_err(|error| refuse(format!("the folder cannot be made: {error}"), "name one that you may write to"))?,
        Err(error) => return Err(refuse(format!("not a folder that can be used: {error}"), "name a new folder")),
    }
    STARTER
        .extract(folder)
        .map_err(|error| refuse(format!("the files cannot be written: {error}"), "name a folder you may write to"))?;
    let folder = folder.display();
    cli::print(&format!(
        "Made {folder}.\n\
         Next:  cpo run {folder}/campaign.toml --customers {folder}/customers.csv\n\
         Then edit {folder}/campaign.toml: every key is explained there.\n"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{
        Campaign,
        campaign::{RetrieverName, TrackerName, WriterName},
    };

    /// Every table that is commented out, with its keys; but not two that exclude each other.
    fn uncommented(file: &str) -> String {
        let mut in_table = false;
        let line = |line: &str| {
            let code = line.strip_prefix("# ").filter(|code| code.starts_with('[') || in_table && code.contains(" = "));
            in_table = code.is_some();
            let code = code.unwrap_or(line);
            (!code.starts_with("reasoning_effort")).then(|| format!("{code}\n"))
        };
        file.lines().filter_map(line).collect()
    }

    #[test]
    fn the_commented_tables_of_the_starter_and_the_samples_are_a_campaign_with_services() {
        for file in [include_str!("starter/campaign.toml"), include_str!("../../samples/campaign.toml")] {
            let before = Campaign::parse(file, Path::new("campaign.toml")).unwrap();
            assert_eq!(before.providers.generation, WriterName::Embedded);
            let campaign = Campaign::parse(&uncommented(file), Path::new("campaign.toml")).unwrap();
            let names = campaign.providers;
            assert_eq!(names.generation, WriterName::AzureOpenai);
            assert_eq!((names.retrieval, names.tracking), (RetrieverName::AzureSearch, TrackerName::Mlflow));
        }
    }
}
