//! What follows from what: a campaign's state machine as one pure function.
//!
//! ```text
//! ingest -> (profile -> fit)* -> label -> design -> retrieve -> generate + screen -> collect -> [gate]
//!        -> release -> [personalize] -> deliver -> close
//! ```
//!
//! Every arrow is a barrier: the next stage opens when all items of the one before are through. Generate and screen
//! are open together, and a draft goes from one to the other by itself.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    instance::{
        Approval, Budget, Command, ENGINE, Envelope, Event, EventId, Fact, Failure, GROUP, Gate, Group, Happened,
        Instance, MAX_ITEMS, Plan, Policy, Progress, Request, Schema, StageState, Status,
    },
    stage::{Stage, Step},
};
use crate::domain::{digest::Digest, id::CampaignId, money::Usd, share::Share};

/// Requests that an instance remembers to have taken.
const REMEMBERED: usize = 64;
/// Decisions on variants that it keeps; a campaign needs one per gate.
const APPROVALS: usize = 16;
/// Passes of a fit, and attempts at a stage: each may leave a stage in the instance, whose size is bounded.
const PASSES: u8 = 16;
const ATTEMPTS: u32 = 16;

/// Something an instance may learn.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// All items of a group are through.
    Group {
        step: Step,
        group: u32,
        total: Group,
        fact: Option<Fact>,
    },
    Request(Envelope),
}

/// The state after what was learned, `None` where nothing changes. `commit` and `previous` are the caller's to set.
///
/// A function of its arguments: no clock but `now`, no chance, no I/O. It never fails: what does not fit the state
/// changes nothing, or is refused in the history.
pub fn decide(instance: &Instance, now: Timestamp, inputs: &[Input]) -> Option<Instance> {
    // No clock runs backwards in the history, whatever the machines' clocks do.
    let now = now.max(instance.updated);
    let mut turn = Turn { next: Instance { events: Vec::new(), ..instance.clone() }, now };
    for input in inputs {
        match input {
            Input::Group { step, group, total, fact } => turn.arrive(*step, *group, *total, fact.as_ref()),
            Input::Request(envelope) => turn.take(envelope),
        }
    }
    turn.expire();
    let Turn { mut next, .. } = turn;
    // Groups that came in change the state without an event.
    if next.events.is_empty() {
        next.events.clone_from(&instance.events);
        if next == *instance {
            return None;
        }
        next.events.clear();
    }
    next.version += 1;
    next.updated = now;
    Some(next)
}

/// A new instance, with its first stage open.
pub fn start(campaign: CampaignId, start: Digest, policy: Policy, now: Timestamp) -> Instance {
    let next = Instance {
        schema: Schema::V1,
        engine: ENGINE,
        campaign,
        version: 1,
        generation: 1,
        start,
        policy,
        status: Status::Running,
        created: now,
        updated: now,
        stages: Vec::new(),
        plan: None,
        gate: None,
        approvals: Vec::new(),
        budget: Budget::default(),
        outbox: Vec::new(),
        events: Vec::new(),
        taken: Vec::new(),
        previous: None,
        commit: Uuid::nil(),
    };
    let mut turn = Turn { next, now };
    turn.begin();
    turn.next
}

struct Turn {
    next: Instance,
    now: Timestamp,
}

impl Turn {
    fn begin(&mut self) {
        let (generation, start) = (self.next.generation, self.next.start);
        self.tell(Happened::Started { generation, start });
        self.open(Stage::Ingest.into(), 1, Usd::ZERO);
    }

    fn tell(&mut self, what: Happened) {
        self.next.events.push(Event { at: self.now, what });
    }

    fn fail(&mut self, failure: Failure) {
        self.tell(Happened::Failed { failure: failure.clone() });
        self.next.status = Status::Failed { failure };
        self.retire();
    }

    /// Fan-outs that were not finished are forgotten with it: whatever wakes the instance again fans out what is missing.
    fn retire(&mut self) {
        self.next.outbox.retain(|command| matches!(command, Command::Acknowledge { .. }));
        self.next.outbox.push(Command::Retire);
    }

    fn open(&mut self, step: Step, planned: u32, allowance: Usd) {
        if self.next.status != Status::Running {
            return;
        }
        if planned > MAX_ITEMS {
            return self.fail(Failure::TooLarge { step, items: planned });
        }
        self.tell(Happened::Opened { step, planned, attempt: 1 });
        self.next.stages.push(StageState {
            step,
            planned,
            attempt: 1,
            allowance,
            opened: self.now,
            deadline: later(self.now, self.next.policy.run.stage_deadline_minutes),
            state: Progress::Open { groups: vec![None; planned.div_ceil(GROUP) as usize] },
        });
        if planned == 0 {
            self.close_if_through(step, None);
        } else if step.stage != Stage::Screen {
            // Drafts go on to the screen by themselves.
            self.fan_out(step);
        }
    }

    fn fan_out(&mut self, step: Step) {
        if let Some(end) = self.next.stage(step).map(|stage| stage.planned) {
            self.next
                .outbox
                .retain(|command| !matches!(command, Command::FanOut { step: other, .. } if *other == step));
            self.next.outbox.push(Command::FanOut { step, next: 0, end });
        }
    }

    /// What arrives while the campaign does not run stays in its log until it runs again.
    fn arrive(&mut self, step: Step, group: u32, total: Group, fact: Option<&Fact>) {
        if self.next.status != Status::Running {
            return;
        }
        let Some(stage) = self.next.stages.iter_mut().find(|stage| stage.step == step) else { return };
        if !stage.is_waiting_for(group) || total.done.checked_add(total.failed) != Some(stage.group_size(group)) {
            return;
        }
        let Progress::Open { groups } = &mut stage.state else { return };
        groups[group as usize] = Some(total);
        self.next.budget.settled = self.next.stages.iter().map(|stage| stage.total().cost).sum();
        self.close_if_through(step, fact);
    }

    fn close_if_through(&mut self, step: Step, fact: Option<&Fact>) {
        let Some(stage) = self.next.stages.iter_mut().find(|stage| stage.step == step) else { return };
        let Progress::Open { groups } = &stage.state else { return };
        if groups.iter().any(Option::is_none) {
            return;
        }
        let (total, planned) = (stage.total(), stage.planned);
        if f64::from(total.failed) > tolerated(&self.next, step.stage).get() * f64::from(planned) {
            return self.fail(Failure::ItemsFailed { step, failed: total.failed, planned });
        }
        if let Some(stage) = self.next.stages.iter_mut().find(|stage| stage.step == step) {
            stage.state = Progress::Closed { at: self.now, total };
        }
        self.tell(Happened::Closed { step, total });
        self.after(step, total, fact);
    }

    fn after(&mut self, step: Step, total: Group, fact: Option<&Fact>) {
        let shards = self.next.stage(Stage::Label.into()).or(self.next.stage(first_pass())).map(|stage| stage.planned);
        match (step.stage, fact) {
            (Stage::Ingest, Some(Fact::Ingested { shards, profile })) => {
                let next = if *profile { first_pass() } else { Stage::Label.into() };
                self.open(next, *shards, Usd::ZERO);
            }
            (Stage::Profile, _) => self.open(Step { stage: Stage::Fit, pass: step.pass }, 1, Usd::ZERO),
            (Stage::Fit, Some(Fact::Fitted { another_pass })) if !another_pass || step.pass < PASSES => {
                let again = Step { stage: Stage::Profile, pass: step.pass.saturating_add(1) };
                let next = if *another_pass { again } else { Stage::Label.into() };
                self.open(next, shards.unwrap_or_default(), Usd::ZERO);
            }
            (Stage::Label, _) => self.open(Stage::Design.into(), 1, Usd::ZERO),
            (Stage::Design, Some(Fact::Designed(plan))) => {
                let reserve = plan.reserve();
                self.tell(Happened::Reserved { reserve });
                self.next.budget.reserved = reserve;
                match self.next.policy.cap_usd {
                    Some(cap) if reserve > cap => return self.fail(Failure::OverBudget { reserve, cap }),
                    _ => {}
                }
                self.next.plan = Some(*plan);
                self.open(Stage::Retrieve.into(), plan.queries, plan.allowances.retrieve);
            }
            (Stage::Retrieve, _) => {
                let plan = self.next.plan.unwrap_or_default();
                self.open(Stage::Generate.into(), plan.variants, plan.allowances.generate);
                self.open(Stage::Screen.into(), plan.variants, plan.allowances.screen);
            }
            (Stage::Generate | Stage::Screen, _) => {
                // Drafts that could not be written do not go on by themselves.
                if step.stage == Stage::Generate && total.failed > 0 {
                    self.fan_out(Stage::Screen.into());
                }
                let is_through = |stage: Stage| self.next.stage(stage.into()).is_some_and(|stage| !stage.is_open());
                if is_through(Stage::Generate) && is_through(Stage::Screen) {
                    self.open(Stage::Collect.into(), 1, Usd::ZERO);
                }
            }
            (Stage::Collect, Some(Fact::Collected { digest, needs_review, .. })) => {
                if *needs_review == 0 {
                    return self.open(Stage::Release.into(), 1, Usd::ZERO);
                }
                self.tell(Happened::GateOpened { digest: *digest, needs_review: *needs_review });
                self.next.gate = Some(Gate {
                    digest: *digest,
                    needs_review: *needs_review,
                    opened: self.now,
                    expires: later(self.now, self.next.policy.run.approval_deadline_minutes),
                });
                self.pass_gate();
            }
            (Stage::Release, _) => match self.next.plan.unwrap_or_default() {
                Plan { personal: 0, .. } => self.open(Stage::Deliver.into(), shards.unwrap_or_default(), Usd::ZERO),
                plan => self.open(Stage::Personalize.into(), plan.personal, plan.allowances.personalize),
            },
            (Stage::Personalize, _) => self.open(Stage::Deliver.into(), shards.unwrap_or_default(), Usd::ZERO),
            (Stage::Deliver, _) => {
                let closed_before = self.next.stages.iter().filter(|stage| stage.step.stage == Stage::Close).count();
                let pass = u8::try_from(closed_before).unwrap_or(u8::MAX);
                self.open(Step { stage: Stage::Close, pass }, 1, Usd::ZERO);
            }
            (Stage::Close, _) => {
                self.next.status = Status::Completed;
                self.tell(Happened::Completed);
                self.retire();
            }
            // A stage of one item tells what it found in its arrival; without that, or with passes that never end,
            // there is no way on.
            (Stage::Ingest | Stage::Fit | Stage::Design | Stage::Collect, _) => {
                self.fail(Failure::ItemsFailed { step, failed: 1, planned: 1 });
            }
        }
    }

    /// Opens the way where the newest decision on what waits at the gate is there already.
    fn pass_gate(&mut self) {
        let Some(gate) = &self.next.gate else { return };
        let Some(approval) = self.approval_of(gate).cloned() else { return };
        if self.next.status == Status::Running {
            self.next.gate = None;
            self.tell(Happened::GatePassed { approval });
            self.open(Stage::Release.into(), 1, Usd::ZERO);
        }
    }

    fn approval_of(&self, gate: &Gate) -> Option<&Approval> {
        self.next.approvals.iter().rev().find(|approval| approval.digest == gate.digest)
    }

    fn take(&mut self, Envelope { id, request, .. }: &Envelope) {
        self.acknowledge(id);
        if self.next.taken.contains(id) {
            return;
        }
        if self.next.taken.len() == REMEMBERED {
            self.next.taken.remove(0);
        }
        self.next.taken.push(id.clone());
        match self.refusal(request) {
            Some(why) => self.tell(Happened::Refused { id: id.clone(), why }),
            None => {
                self.tell(Happened::Took { id: id.clone(), request: request.clone() });
                self.carry_out(request);
            }
        }
    }

    fn acknowledge(&mut self, id: &EventId) {
        let pending = self.next.outbox.iter_mut().find_map(|command| match command {
            Command::Acknowledge { events } => Some(events),
            _ => None,
        });
        match pending {
            Some(events) if events.contains(id) => {}
            Some(events) => events.push(id.clone()),
            None => self.next.outbox.push(Command::Acknowledge { events: vec![id.clone()] }),
        }
    }

    /// Why the request does not fit the state.
    fn refusal(&self, request: &Request) -> Option<String> {
        let refuse = |why: &str| Some(why.to_owned());
        if request.is_too_long() {
            return refuse("its reason or its person's name is too long, or has control characters");
        }
        match (request, &self.next.status) {
            (Request::Suspend { .. }, Status::Running) | (Request::Resume { .. }, Status::Suspended { .. }) => None,
            (Request::Suspend { .. }, _) => refuse("only a running campaign can be suspended"),
            (Request::Resume { .. }, _) => refuse("only a suspended campaign can be resumed"),
            (Request::Terminate { .. }, status) if status.is_final() => refuse("the campaign has ended already"),
            (Request::Terminate { .. }, _) => None,
            (
                Request::Rewind { .. },
                Status::Failed { failure: Failure::OverBudget { .. } | Failure::TooLarge { .. } },
            ) => refuse("doing the same again ends the same: change the campaign and restart it"),
            (Request::Rewind { .. }, Status::Failed { .. } | Status::Completed) if !self.can_go_on() => {
                refuse("nothing failed that could be done again")
            }
            (Request::Rewind { .. }, Status::Failed { .. } | Status::Completed) if self.is_tried_enough() => {
                refuse("the failed items were tried often enough: change the campaign and restart it")
            }
            (Request::Rewind { .. }, Status::Failed { .. } | Status::Completed) => self.rewinding_is_too_dear(),
            (Request::Rewind { .. }, _) => refuse("only a campaign that failed, or whose items failed, can be rewound"),
            (Request::Restart { .. }, status) if status.is_final() => None,
            (Request::Restart { .. }, _) => refuse("terminate the campaign before it is restarted"),
            (Request::Decide { .. }, status) if status.is_final() => refuse("the campaign has ended already"),
            // What goes out is made from the newest decision, which must be the one that the gate was passed with.
            (Request::Decide { .. }, _) if self.next.stage(Stage::Release.into()).is_some() => {
                refuse("the variants were released already")
            }
            (Request::Decide { .. }, _) => None,
        }
    }

    /// Whether there would be anything to wait for.
    fn can_go_on(&self) -> bool {
        self.to_rewind().next().is_some() || self.next.open_stages().next().is_some() || self.next.gate.is_some()
    }

    fn is_tried_enough(&self) -> bool {
        self.to_rewind().any(|stage| stage.attempt >= ATTEMPTS)
    }

    /// What the failed items may cost when they are done again.
    fn cost_of_rewinding(&self) -> Usd {
        self.to_rewind().map(|stage| stage.allowance.times(stage.total().failed)).sum()
    }

    fn rewinding_is_too_dear(&self) -> Option<String> {
        let again = self.cost_of_rewinding();
        let cap = self.next.policy.cap_usd?;
        let reserve = self.next.budget.reserved + again;
        (reserve > cap)
            .then(|| format!("the failed items could cost {again} more, and the budget of {cap} has no room"))
    }

    /// The stages whose failed items a rewind does again.
    ///
    /// Where the campaign went on without some variants, their cells have fallen back, and it is too late for them. It
    /// never is for a shard that was not delivered.
    fn to_rewind(&self) -> impl Iterator<Item = &StageState> {
        let again = |stage: &&StageState| stage.is_open() || stage.step.stage == Stage::Deliver;
        self.next.stages.iter().filter(again).filter(|stage| stage.total().failed > 0)
    }

    fn carry_out(&mut self, request: &Request) {
        match request {
            Request::Suspend { reason } => self.next.status = Status::Suspended { reason: reason.clone() },
            Request::Resume { .. } => self.run_again(),
            Request::Terminate { reason } => {
                self.next.status = Status::Terminated { reason: reason.clone() };
                self.retire();
            }
            Request::Rewind { .. } => self.rewind(),
            Request::Restart { start, policy } => {
                self.next.generation += 1;
                self.next.start = *start;
                self.next.policy = *policy;
                self.next.status = Status::Running;
                self.next.stages.clear();
                self.next.approvals.clear();
                self.next.gate = None;
                self.next.plan = None;
                self.next.budget = Budget::default();
                self.next.outbox.retain(|command| matches!(command, Command::Acknowledge { .. }));
                self.begin();
            }
            Request::Decide { approval } => {
                if self.next.approvals.len() == APPROVALS {
                    self.next.approvals.remove(0);
                }
                self.next.approvals.push(approval.clone());
                self.pass_gate();
            }
        }
    }

    fn rewind(&mut self) {
        let steps: Vec<Step> = self.to_rewind().map(|stage| stage.step).collect();
        let again = self.cost_of_rewinding();
        if again > Usd::ZERO {
            self.next.budget.reserved = self.next.budget.reserved + again;
            self.tell(Happened::Reserved { reserve: self.next.budget.reserved });
        }
        let mut opened = Vec::new();
        for stage in &mut self.next.stages {
            if steps.contains(&stage.step) {
                let groups = match &stage.state {
                    Progress::Open { groups } => groups.clone(),
                    // Its groups were added up; which of them had failures, their logs still know.
                    Progress::Closed { .. } => vec![None; stage.groups() as usize],
                };
                let groups = groups.into_iter().map(|group| group.filter(|group| group.failed == 0)).collect();
                stage.state = Progress::Open { groups };
                stage.attempt += 1;
                opened.push(Happened::Opened { step: stage.step, planned: stage.planned, attempt: stage.attempt });
            }
        }
        opened.into_iter().for_each(|event| self.tell(event));
        self.run_again();
    }

    /// Sends for everything that is not through yet, and goes on with what came in meanwhile. All time begins anew:
    /// what passed while the campaign stood still counts for no deadline.
    fn run_again(&mut self) {
        self.next.status = Status::Running;
        self.next.outbox.retain(|command| *command != Command::Retire);
        let run = self.next.policy.run;
        for stage in self.next.stages.iter_mut().filter(|stage| stage.is_open()) {
            stage.deadline = later(self.now, run.stage_deadline_minutes);
        }
        if let Some(gate) = &mut self.next.gate {
            gate.expires = later(self.now, run.approval_deadline_minutes);
        }
        let open: Vec<Step> = self.next.open_stages().map(|stage| stage.step).collect();
        open.into_iter().for_each(|step| self.fan_out(step));
        self.pass_gate();
    }

    fn expire(&mut self) {
        if self.next.status != Status::Running {
            return;
        }
        let overdue = self.next.open_stages().find(|stage| stage.deadline <= self.now).map(|stage| stage.step);
        if let Some(step) = overdue {
            return self.fail(Failure::StageDeadline { step });
        }
        if self.next.gate.as_ref().is_some_and(|gate| gate.expires <= self.now) {
            self.fail(Failure::ApprovalDeadline);
        }
    }
}

fn first_pass() -> Step {
    Step { stage: Stage::Profile, pass: 1 }
}

/// Cells and customers fall back to another message, or are held; without all its shards a campaign is not done.
fn tolerated(instance: &Instance, stage: Stage) -> Share {
    let tolerated = &instance.policy.run.tolerated_failures;
    match stage {
        Stage::Generate => tolerated.generate,
        Stage::Screen => tolerated.screen,
        Stage::Personalize => tolerated.personalize,
        Stage::Deliver => tolerated.deliver,
        _ => Share::ZERO,
    }
}

fn later(now: Timestamp, minutes: u32) -> Timestamp {
    now.saturating_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
