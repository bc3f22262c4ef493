//! Progress for whoever watches: a bar per stage on a terminal, a line per finished stage elsewhere.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Mutex,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::orchestration::{progress::Event, stage::Stage};

#[derive(Debug)]
pub struct Watch {
    /// `None`: standard error is not a terminal.
    bar: Option<Mutex<ProgressBar>>,
}

impl Watch {
    pub fn new() -> Self {
        Self { bar: std::io::stderr().is_terminal().then(|| Mutex::new(ProgressBar::hidden())) }
    }

    pub fn on(&self, event: Event) {
        match (&self.bar, event) {
            (Some(bar), event) => {
                let mut bar = bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match event {
                    Event::Started { stage, total } => *bar = start_bar(stage, total),
                    Event::Advanced { done, .. } => bar.set_position(done),
                    Event::Finished { stage, outcome, took } => {
                        bar.finish_and_clear();
                        print_line(stage, &outcome, took);
                    }
                }
            }
            (None, Event::Finished { stage, outcome, took }) => print_line(stage, &outcome, took),
            (None, _) => {}
        }
    }
}

fn start_bar(stage: Stage, total: u64) -> ProgressBar {
    let counts = if stage == Stage::Ingest { "{bytes}/{total_bytes}" } else { "{pos}/{len} {msg}" };
    let style = ProgressStyle::with_template(&format!("{{prefix:10}} [{{bar:20}}] {counts} {{eta}}"))
        .map(|style| style.progress_chars("=> "));
    let bar = ProgressBar::new(total).with_prefix(stage.as_str()).with_message(stage.unit());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print_line(stage: Stage, outcome: &str, took: std::time::Duration) {
    // Progress that cannot be shown is no reason to stop a campaign.
    let _ = writeln!(
        std::io::stderr(),
        "{stage:10} {outcome} ({took:.2} s)",
        stage = stage.as_str(),
        took = took.as_secs_f64()
    );
}
