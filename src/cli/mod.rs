//! The command line: one file per command.

pub mod analyze;
pub mod results_table;

use std::io::Write as _;

use clap::ValueEnum;

use crate::Error;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON object (or one a line for lists) on standard output.
    Json,
}

/// Runs an async command to its end on all cores.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed("the async runtime cannot start", error))?
        .block_on(work)
}

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed("standard output cannot be written", error))
        }
        _ => Ok(()),
    }
}
