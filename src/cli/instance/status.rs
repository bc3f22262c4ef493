//! `cpo instance list` and `status`.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::place::{self, Place};
use crate::{
    Error,
    agents::experimentation::words::count,
    cli::{self, Format},
    domain::id::CampaignId,
    orchestration::{
        client::{StageView, View},
        engine::Held,
        instance::{Happened, Status},
    },
};

/// Refused requests of which `status` tells.
const REFUSALS: usize = 3;

#[derive(Debug, Serialize)]
struct Listed {
    campaign: CampaignId,
    #[serde(flatten)]
    status: Status,
    /// For a person's decision.
    waits: bool,
    updated: Timestamp,
}

#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    view: View,
    /// Requests that did not fit the campaign's state; the newest last.
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    at: Timestamp,
    why: String,
}

pub async fn list(place: &Place, format: Format) -> Result<(), Error> {
    let mut listed = Vec::new();
    for campaign in place.campaigns().await? {
        match place.held(&campaign).await {
            Ok((_, Held { instance, .. })) => {
                listed.push(Listed {
                    campaign,
                    waits: instance.gate.is_some(),
                    status: instance.status,
                    updated: instance.updated,
                });
            }
            // It was purged meanwhile, or its run died before it began.
            Err(Error::Input(_)) => {}
            Err(error) => return Err(error),
        }
    }
    match format {
        Format::Json => listed.iter().try_for_each(cli::print_json),
        Format::Text if listed.is_empty() => cli::print("There is no campaign here.\n"),
        Format::Text => {
            let mut table = table(["campaign", "status", "since"]);
            for Listed { campaign, status, waits, updated } in &listed {
                let waits = if *waits && !status.is_final() { ", waits for a decision" } else { "" };
                table.add_row([campaign.to_string(), status.to_string() + waits, format!("{updated:.0}")]);
            }
            cli::print(&format!("{table}\n"))
        }
    }
}

pub async fn status(place: &Place, campaign: &CampaignId, format: Format) -> Result<(), Error> {
    let (engine, _) = place.held(campaign).await?;
    let view = engine.status(campaign).await.map_err(place::failed)?;
    let events = engine.events(campaign, 0).await.map_err(place::failed)?;
    let refused = events.into_iter().filter_map(|event| match event.what {
        Happened::Refused { why, .. } => Some(Refused { at: event.at, why }),
        _ => None,
    });
    let mut refused: Vec<_> = refused.collect();
    refused.drain(..refused.len().saturating_sub(REFUSALS));
    let told = Told { view, refused };
    match format {
        Format::Json => cli::print_json(&told),
        Format::Text => cli::print(&told.in_words(place, Timestamp::now())),
    }
}

impl Told {
    fn in_words(&self, place: &Place, now: Timestamp) -> String {
        let Self { view, refused } = self;
        let campaign = &view.campaign;
        let mut text = format!("Campaign {campaign}: {}", view.status);
        if view.generation > 1 {
            text.push_str(&format!(" (run {} under this id)", view.generation));
        }
        text.push_str(&format!("\nstarted {:.0}, last change {:.0}\n", view.created, view.updated));
        let mut table = table(["stage", "done", "failed", "time"]);
        for stage in &view.stages {
            table.add_row(row(stage, now));
        }
        text.push_str(&format!("{table}\n"));
        if view.budget.reserved.dollars() > 0.0 {
            let (settled, reserved) = (view.budget.settled, view.budget.reserved);
            text.push_str(&format!("cost so far {settled}, {reserved} at most\n"));
        }
        if let Some(gate) = &view.gate {
            text.push_str(&format!(
                "{} messages wait for a person until {:.0}: see `cpo instance review {campaign}{}`\n",
                gate.needs_review,
                gate.expires,
                place.option()
            ));
        } else if view.status == Status::Running {
            text.push_str(&format!("{}\n", place.who_goes_on(campaign)));
        }
        for Refused { at, why } in refused {
            text.push_str(&format!("refused {at:.0}: {why}\n"));
        }
        text
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

fn row(stage: &StageView, now: Timestamp) -> [Cell; 4] {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let number = |number: u32| count(u64::from(number));
    let again = if stage.attempt > 1 { format!(" (attempt {})", stage.attempt) } else { String::new() };
    [
        Cell::new(format!("{}{again}", stage.step)),
        right(format!("{} of {} {}", number(stage.done), number(stage.planned), stage.step.stage.unit())),
        right(number(stage.failed)),
        right(match stage.closed {
            Some(closed) => duration(closed.duration_since(stage.opened)),
            None => format!("{} so far", duration(now.duration_since(stage.opened))),
        }),
    ]
}

fn duration(time: SignedDuration) -> String {
    match time.as_secs() {
        0..100 => format!("{:.2} s", time.as_secs_f64()),
        seconds @ 100..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
