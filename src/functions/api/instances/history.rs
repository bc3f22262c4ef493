//! What happened to a campaign, in the words of Durable Functions: its stages are the tasks.
//!
//! What Durable Functions has no word for (a gate, a refused request, a failure that was rewound) is a `GenericEvent`
//! whose `Data` says it.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::Offset};
use serde::{Serialize, Serializer};
use serde_json::{Value, json, value::RawValue};

use super::{FUNCTION, RuntimeStatus, events::APPROVAL, status::said};
use crate::orchestration::{
    instance::{Event, Failure, Happened, Request},
    stage::Step,
};

/// Its fields in the order in which they are written.
#[derive(Debug)]
pub struct HistoryEvent(Vec<(&'static str, Value)>);

impl Serialize for HistoryEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl HistoryEvent {
    /// Of the newest run under the id. `result`: what it came to, where outputs are shown.
    pub fn of(events: &[Event], input: Option<&RawValue>, shows_input: bool, result: Option<&Value>) -> Vec<Self> {
        let began = events.iter().rposition(|event| matches!(event.what, Happened::Started { .. }));
        let events = &events[began.unwrap_or_default()..];
        let mut teller = Teller { shows_input, result, opened: BTreeMap::new(), told: Vec::new() };
        for (position, event) in events.iter().enumerate() {
            teller.tell(event, &events[position + 1..], input);
        }
        teller.told
    }
}

struct Teller<'a> {
    shows_input: bool,
    result: Option<&'a Value>,
    /// When each stage was opened last.
    opened: BTreeMap<Step, Timestamp>,
    told: Vec<HistoryEvent>,
}

impl Teller<'_> {
    fn tell(&mut self, event: &Event, later: &[Event], input: Option<&RawValue>) {
        let at = event.at;
        match &event.what {
            Happened::Started { .. } => self.push(
                "ExecutionStarted",
                [
                    ("Input", self.input(input.map_or(Value::Null, |input| input.get().into()))),
                    ("Correlation", Some(Value::Null)),
                    ("ParentTraceContext", Some(Value::Null)),
                    ("ScheduledStartTime", Some(Value::Null)),
                    ("Generation", Some(0.into())),
                    ("GenerateNewTrace", Some(false.into())),
                    ("Timestamp", Some(ticks(at).into())),
                    ("FunctionName", Some(FUNCTION.into())),
                ],
            ),
            Happened::Opened { step, .. } => {
                self.opened.insert(*step, at);
                if !ends(*step, later) {
                    self.push(
                        "TaskScheduled",
                        [
                            ("Name", Some(step.to_string().into())),
                            ("Input", self.input(Value::Null)),
                            ("ParentTraceContext", Some(Value::Null)),
                            ("Tags", Some(Value::Null)),
                            ("Timestamp", Some(ticks(at).into())),
                        ],
                    );
                }
            }
            Happened::Closed { step, total } => {
                let result = json!({ "done": total.done, "failed": total.failed, "costUsd": total.cost });
                let [scheduled, name, input] = self.task(*step, at);
                let result = self.result.map(|_| result);
                self.push(
                    "TaskCompleted",
                    [("Result", result), ("Timestamp", Some(ticks(at).into())), scheduled, name, input],
                );
            }
            Happened::Failed { failure } if is_rewound(later) => self.note(at, failure.to_string()),
            Happened::Failed { failure } => {
                if let Failure::ItemsFailed { step, .. } | Failure::StageDeadline { step } = failure {
                    let [scheduled, name, input] = self.task(*step, at);
                    let (reason, details) = (Some(failure.to_string().into()), Some(failure.to_string().into()));
                    let failure = ("FailureDetails", Some(Value::Null));
                    let at = ("Timestamp", Some(ticks(at).into()));
                    self.push(
                        "TaskFailed",
                        [("Reason", reason), ("Details", details), failure, at, scheduled, name, input],
                    );
                }
                self.complete(RuntimeStatus::Failed, at);
            }
            Happened::Completed if is_rewound(later) => self.note(at, "completed".to_owned()),
            Happened::Completed => self.complete(RuntimeStatus::Completed, at),
            Happened::GateOpened { needs_review, .. } => {
                self.note(at, format!("{needs_review} messages wait for a person's decision"));
            }
            Happened::Refused { why, .. } => self.note(at, format!("refused: {why}")),
            Happened::Took { request, .. } => self.take(request, at),
            // What it is about is told already: by the design's stage, and by the event that was raised.
            Happened::Reserved { .. } | Happened::GatePassed { .. } => {}
        }
    }

    fn take(&mut self, request: &Request, at: Timestamp) {
        let timestamp = ("Timestamp", Some(ticks(at).into()));
        match request {
            Request::Suspend { reason } => {
                self.push("ExecutionSuspended", [("Reason", Some(said(reason))), timestamp]);
            }
            Request::Resume { reason } => self.push("ExecutionResumed", [("Reason", Some(said(reason))), timestamp]),
            Request::Terminate { reason } => {
                self.push("ExecutionTerminated", [("Input", self.input(said(reason))), timestamp]);
                self.complete(RuntimeStatus::Terminated, at);
            }
            Request::Rewind { reason } => self.note(at, reason.clone()),
            Request::Decide { approval } => {
                let input = serde_json::to_string(approval).expect("an approval is plain data");
                let name = ("Name", Some(APPROVAL.into()));
                let input = ("Input", self.input(input.into()));
                self.push("EventRaised", [name, input, ("ParentTraceContext", Some(Value::Null)), timestamp]);
            }
            // What follows is another run, which begins anew.
            Request::Restart { .. } => {}
        }
    }

    fn complete(&mut self, status: RuntimeStatus, at: Timestamp) {
        let status = serde_json::to_value(status).expect("a word is plain data");
        self.push(
            "ExecutionCompleted",
            [
                ("OrchestrationStatus", Some(status)),
                ("Result", self.result.cloned()),
                ("FailureDetails", Some(Value::Null)),
                ("Timestamp", Some(ticks(at).into())),
            ],
        );
    }

    fn note(&mut self, at: Timestamp, data: String) {
        let fields = vec![("Data", said(&data)), ("EventType", "GenericEvent".into()), ("Timestamp", ticks(at).into())];
        self.told.push(HistoryEvent(fields));
    }

    /// What is told of a stage that has ended, beside how.
    fn task(&self, step: Step, at: Timestamp) -> [(&'static str, Option<Value>); 3] {
        let scheduled = self.opened.get(&step).copied().unwrap_or(at);
        let scheduled = whole_ticks(scheduled).display_with_offset(Offset::UTC).to_string();
        [
            ("ScheduledTime", Some(scheduled.into())),
            ("FunctionName", Some(step.to_string().into())),
            ("Input", self.input(Value::Null)),
        ]
    }

    fn input(&self, input: Value) -> Option<Value> {
        self.shows_input.then_some(input)
    }

    fn push<const N: usize>(&mut self, kind: &'static str, fields: [(&'static str, Option<Value>); N]) {
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        self.told.push(HistoryEvent(std::iter::once(("EventType", kind.into())).chain(fields).collect()));
    }
}

/// Whether a stage that was opened is through, or the campaign failed with it.
fn ends(step: Step, later: &[Event]) -> bool {
    for event in later {
        match &event.what {
            Happened::Closed { step: other, .. } if *other == step => return true,
            Happened::Opened { step: other, .. } if *other == step => return true,
            Happened::Failed {
                failure: Failure::ItemsFailed { step: other, .. } | Failure::StageDeadline { step: other },
            } if *other == step => {
                return true;
            }
            _ => {}
        }
    }
    false
}

fn is_rewound(later: &[Event]) -> bool {
    later.iter().any(|event| matches!(event.what, Happened::Took { request: Request::Rewind { .. }, .. }))
}

/// Up to seven digits, as .NET writes them.
fn whole_ticks(at: Timestamp) -> Timestamp {
    let nanos = at.as_nanosecond();
    Timestamp::from_nanosecond(nanos - nanos.rem_euclid(100)).unwrap_or(at)
}

fn ticks(at: Timestamp) -> String {
    whole_ticks(at).to_string()
}
