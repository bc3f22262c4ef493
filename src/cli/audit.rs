//! `cpo audit`: is a campaign's folder as it was when the campaign was closed?

use std::path::PathBuf;

use crate::{
    Error,
    audit::{self, Mismatch},
    cli,
    domain::problem::Problem,
    orchestration::layout,
    store::Files,
};

/// What `sha256sum --check` reads.
const CHECKSUMS: &str = "SHA256SUMS";

/// Check a campaign's folder against its audit.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Example:
  cpo audit verify out/campaigns/spring")]
pub enum Command {
    /// Recompute every digest, chain and the root; needs no network. Exit code 1 where anything was changed.
    #[command(after_help = "Example:
  cpo audit verify out/campaigns/spring")]
    Verify {
        /// The folder of a finished campaign.
        folder: PathBuf,
    },
}

pub fn run(command: Command) -> Result<(), Error> {
    let Command::Verify { folder } = command;
    let store = Files::new(&folder);
    if !store.file(&layout::blob(audit::ROOT)).exists() {
        let problem = Problem::new(format!("no {} in it", audit::ROOT), "name the folder of a finished campaign");
        return Err(problem.in_file(folder).into());
    }
    let files = store.list(None).map_err(|error| Error::failed("the folder cannot be read", error))?;
    match audit::verify(&store, &files, written_after_close) {
        Ok(root) => cli::print(&format!(
            "{}: everything is as it was when the campaign was closed\nroot {}\n",
            folder.display(),
            root.root
        )),
        Err(mismatches) => Err(Error::failed(format!("{} was changed", folder.display()), listed(&mismatches))),
    }
}

/// Results and exposures come after the close; the report is rendered again with them. It tells its reader to save [`CHECKSUMS`].
fn written_after_close(path: &str) -> bool {
    let is_in = |folder: &str| path.strip_prefix(folder).is_some_and(|name| name.starts_with('/'));
    is_in("audit")
        || is_in(layout::EXPOSURES)
        || [layout::RESULTS, layout::OUTCOMES, layout::REPORT_HTML, layout::REPORT_JSON, CHECKSUMS].contains(&path)
}

fn listed(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(|mismatch| format!("\n  {mismatch}")).collect()
}
