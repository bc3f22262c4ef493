//! The command line: one file per command.
//!
//! Exit codes: 0 success, 2 bad input (nothing was written), 1 failure. Results go to standard output, progress and
//! errors to standard error.

mod analyze;
mod audit;
mod demo;
mod dev;
mod doctor;
mod estimate;
mod explain;
mod export;
mod init;
mod instance;
mod package;
mod results_table;
mod run;
mod serve;
mod watch;

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    Error,
    domain::problem::Problem,
    store::Azure,
    telemetry::{self, Lines},
};

/// Personalizes marketing messages in which every claim is checked against an approved source.
#[derive(Debug, Parser)]
#[command(name = "cpo", version, about, max_term_width = 110)]
#[command(after_help = "Start here:  cpo demo        a whole campaign on made-up data, with a report
             cpo init DIR    a new campaign folder, every key explained

CPO_LOG=info writes a log line per thing done to standard error (error, warn, info, debug or trace).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Estimate(estimate::Args),
    Run(run::Args),
    #[command(subcommand)]
    Instance(instance::Command),
    Dev(dev::Args),
    Serve(serve::Args),
    Package(package::Args),
    Doctor(doctor::Args),
    Analyze(analyze::Args),
    Explain(explain::Args),
    Export(export::Args),
    #[command(subcommand)]
    Audit(audit::Command),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// One JSON object (or one a line for lists) on standard output.
    Json,
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (lines, by_default) = match cli.command {
        Command::Serve(_) => (Lines::Host, "warn,cpo=info"),
        Command::Dev(_) => (Lines::People, "warn,cpo=info"),
        _ => (Lines::People, "warn"),
    };
    let _telemetry = match telemetry::start(lines, by_default) {
        Ok(telemetry) => telemetry,
        Err(error) => return failed(&error),
    };
    let result = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Init(args) => init::run(args),
        Command::Estimate(args) => estimate::run(args),
        Command::Run(args) => run::run(args),
        Command::Instance(command) => instance::run(command),
        Command::Dev(args) => dev::run(args),
        // It has exit codes of its own.
        Command::Serve(args) => return serve::run(args),
        Command::Package(args) => package::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Export(args) => export::run(args),
        Command::Audit(command) => audit::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    // The last thing this process does: there is nobody left to tell if standard error is closed too.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(error.exit_code())
}

/// What `--storage` names.
fn account(location: &str) -> Result<Azure, Error> {
    Azure::open(location).map_err(|error| {
        let remedy = "give --storage a connection string, a blob endpoint's URL or UseDevelopmentStorage=true";
        Problem::new(error.to_string(), remedy).into()
    })
}

/// Runs an async command to its end on all cores.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    runtime()?.block_on(work)
}

/// As [`block_on`], until Ctrl-C or a polite request to end: then `None`, and all that the command held is let go.
fn block_on_until_stopped<T>(work: impl Future<Output = Result<T, Error>>) -> Result<Option<T>, Error> {
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            // Signals are heard before the work begins.
            biased;
            stopped = stop() => stopped.map(|()| None).map_err(|error| Error::failed("signals cannot be heard", error)),
            done = work => done.map(Some),
        }
    });
    if let Ok(None) = ended {
        // What still computes ends with the process.
        runtime.shutdown_timeout(Duration::from_millis(500));
    }
    ended
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed("the async runtime cannot start", error))
}

#[cfg(unix)]
async fn stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed,
    }
}

#[cfg(not(unix))]
async fn stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Writes a result to standard output as a line of JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let json =
        serde_json::to_string(value).map_err(|error| Error::failed("the result cannot be written as JSON", error))?;
    print(&format!("{json}\n"))
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_shows_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("cpo "), "{} has no example:\n{help}", command.get_name());
        }
    }
}
