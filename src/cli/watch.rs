//! Progress for whoever watches: a bar per stage on a terminal, a line per finished stage elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::orchestration::{
    progress::Event,
    stage::{Stage, Step},
};

#[derive(Debug)]
pub struct Watch {
    /// `None`: standard error is not a terminal.
    bars: Option<(MultiProgress, Mutex<BTreeMap<Step, ProgressBar>>)>,
}

impl Watch {
    pub fn new() -> Self {
        Self { bars: std::io::stderr().is_terminal().then(|| (MultiProgress::new(), Mutex::default())) }
    }

    /// Clears what is half-done off the terminal.
    pub fn stop(&self) {
        if let Some((all, _)) = &self.bars {
            let _ = all.clear();
        }
    }

    pub fn on(&self, event: Event) {
        let Some((all, bars)) = &self.bars else {
            if let Event::Finished { step, outcome, took } = event
                && is_worth_a_line(step)
            {
                // Progress that cannot be shown is no reason to stop a campaign.
                let _ = writeln!(std::io::stderr(), "{}", line(step, &outcome, took));
            }
            return;
        };
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { step, total, done } => {
                if is_worth_a_line(step) {
                    bars.insert(step, all.add(bar(step, total, done)));
                }
            }
            Event::Advanced { step, done } => {
                if let Some(bar) = bars.get(&step) {
                    bar.set_position(done);
                }
            }
            Event::Finished { step, outcome, took } => {
                if let Some(bar) = bars.remove(&step) {
                    bar.finish_and_clear();
                    let _ = all.println(line(step, &outcome, took));
                }
            }
        }
    }
}

/// Steps between the stages take no time that anybody would notice, and most have nothing to tell.
fn is_worth_a_line(step: Step) -> bool {
    !matches!(step.stage, Stage::Fit | Stage::Design | Stage::Release)
}

fn bar(step: Step, total: u64, done: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_prefix(step.to_string()).with_message(step.stage.unit());
    // How long the rest takes is told from what this run does.
    bar.set_position(done);
    bar.reset_eta();
    match ProgressStyle::with_template("{prefix:11} [{bar:20}] {pos}/{len} {msg} {eta}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn line(step: Step, outcome: &str, took: Option<Duration>) -> String {
    let took = took.map_or_else(|| "done before".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()));
    format!("{:11} {outcome} ({took})", step.to_string())
}
