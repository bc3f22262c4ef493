//! What the state machine promises, whatever it is told.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    config::campaign::Run,
    domain::{digest::Digest, id::CampaignId},
    orchestration::instance::{Allowances, EnvelopeSchema, Plan, Policy},
};

fn begun(cap_usd: Option<Usd>) -> Instance {
    let mut run = Run::default();
    run.tolerated_failures.generate = Share::new(0.4).unwrap();
    run.tolerated_failures.deliver = Share::new(0.4).unwrap();
    let policy = Policy { run, cap_usd };
    start(CampaignId::new("c").unwrap(), Digest::of("start"), policy, Timestamp::UNIX_EPOCH)
}

fn dollars(amount: f64) -> Usd {
    Usd::from_dollars(amount).unwrap()
}

fn ask(id: &str, request: Request) -> Input {
    Input::Request(Envelope { schema: EnvelopeSchema::V1, id: EventId::new(id).unwrap(), request })
}

fn because() -> String {
    "a reason".to_owned()
}

fn yes_to(digest: Digest) -> Request {
    Request::Decide { approval: Approval { digest, decision: Digest::of("yes"), by: "a person".to_owned() } }
}

fn variants() -> Digest {
    Digest::of("variants")
}

/// All groups of an open stage, all done but for `failed` of the first.
fn through(instance: &Instance, step: Step, failed: u32, fact: Option<Fact>) -> Vec<Input> {
    let stage = instance.stage(step).unwrap();
    let group = |group: u32| {
        let failed = if group == 0 { failed.min(stage.group_size(0)) } else { 0 };
        let total = Group { done: stage.group_size(group) - failed, failed, cost: stage.allowance };
        Input::Group { step, group, total, fact: fact.clone() }
    };
    (0..stage.groups()).map(group).collect()
}

/// A campaign of so many items, and what its stages of one item find out.
#[derive(Debug, Clone, Copy)]
struct Shape {
    shards: u32,
    passes: u8,
    queries: u32,
    variants: u32,
    needs_review: u32,
    personal: u32,
    allowance: f64,
}

const SMALL: Shape =
    Shape { shards: 3, passes: 1, queries: 2, variants: 5, needs_review: 1, personal: 0, allowance: 0.1 };

impl Shape {
    fn fact(&self, step: Step) -> Option<Fact> {
        let each = dollars(self.allowance);
        let personalize = if self.personal > 0 { each } else { Usd::ZERO };
        let allowances = Allowances { generate: each, personalize, ..Allowances::default() };
        match step.stage {
            Stage::Ingest => Some(Fact::Ingested { shards: self.shards, profile: self.passes > 0 }),
            Stage::Fit => Some(Fact::Fitted { another_pass: step.pass < self.passes }),
            Stage::Design => {
                let Self { queries, variants, personal, .. } = *self;
                Some(Fact::Designed(Plan { queries, variants, personal, allowances }))
            }
            Stage::Collect => {
                Some(Fact::Collected { digest: variants(), approved: 0, blocked: 0, needs_review: self.needs_review })
            }
            _ => None,
        }
    }

    /// Brings stages through, one decision each, until the campaign rests or `until` opens.
    fn run(&self, mut instance: Instance, until: Option<Stage>) -> Instance {
        loop {
            let open = instance.open_stages().next().map(|stage| stage.step);
            let Some(step) = open.filter(|step| until != Some(step.stage)) else { break };
            if instance.status != Status::Running {
                break;
            }
            let inputs = through(&instance, step, 0, self.fact(step));
            instance = decide(&instance, instance.updated, &inputs).unwrap();
        }
        instance
    }
}

fn after(instance: &Instance, inputs: &[Input]) -> Instance {
    decide(instance, instance.updated, inputs).unwrap()
}

fn failed(instance: &Instance, stage: Stage, failed: u32) -> Instance {
    after(instance, &through(instance, stage.into(), failed, None))
}

fn minutes_after(instance: &Instance, minutes: u32) -> Timestamp {
    later(instance.updated, minutes)
}

#[test]
fn each_request_fits_some_states_and_changes_nothing_in_the_others() {
    let running = SMALL.run(begun(None), Some(Stage::Generate));
    let suspended = after(&running, &[ask("s", Request::Suspend { reason: because() })]);
    let at_gate = SMALL.run(begun(None), None);
    let broken = failed(&running, Stage::Generate, 5);
    let terminated = after(&running, &[ask("t", Request::Terminate { reason: because() })]);
    let released = after(&at_gate, &[ask("y", yes_to(variants()))]);
    let completed = SMALL.run(released.clone(), None);
    let dear = SMALL.run(begun(Some(dollars(0.1))), None);
    let policy = running.policy;
    let requests = [
        Request::Suspend { reason: because() },
        Request::Resume { reason: because() },
        Request::Terminate { reason: because() },
        Request::Rewind { reason: because() },
        Request::Restart { start: Digest::of("other"), policy },
        yes_to(variants()),
    ];
    // Suspend, resume, terminate, rewind, restart, decide.
    let table = [
        ("running", &running, [true, false, true, false, false, true]),
        ("suspended", &suspended, [false, true, true, false, false, true]),
        ("at its gate", &at_gate, [true, false, true, false, false, true]),
        ("released", &released, [true, false, true, false, false, false]),
        ("failed", &broken, [false, false, false, true, true, false]),
        ("terminated", &terminated, [false, false, false, false, true, false]),
        ("completed", &completed, [false, false, false, false, true, false]),
        ("over its budget", &dear, [false, false, false, false, true, false]),
    ];
    for (name, instance, fits) in table {
        for (request, fits) in requests.iter().zip(fits) {
            let next = after(instance, &[ask("new", request.clone())]);
            let is_refused = next.events.iter().any(|event| matches!(event.what, Happened::Refused { .. }));
            assert_eq!(!is_refused, fits, "{name}: {request:?}");
            if is_refused {
                assert_eq!(
                    (&next.status, &next.stages, &next.gate),
                    (&instance.status, &instance.stages, &instance.gate)
                );
                assert_eq!(next.approvals, instance.approvals);
            }
        }
    }
}

#[test]
fn a_stage_without_items_is_through_when_it_opens() {
    let shape = Shape { shards: 0, queries: 0, variants: 0, needs_review: 0, ..SMALL };
    assert_eq!(shape.run(begun(None), None).status, Status::Completed);
}

#[test]
fn time_in_which_a_campaign_is_suspended_counts_for_no_deadline() {
    for instance in [SMALL.run(begun(None), Some(Stage::Label)), SMALL.run(begun(None), None)] {
        let suspended = after(&instance, &[ask("s", Request::Suspend { reason: because() })]);
        let much_later = minutes_after(&suspended, 60 * 24 * 60);
        let resumed = decide(&suspended, much_later, &[ask("r", Request::Resume { reason: because() })]).unwrap();
        assert_eq!(resumed.status, Status::Running);
        let late = minutes_after(&resumed, 8 * 24 * 60);
        assert!(matches!(decide(&resumed, late, &[]).unwrap().status, Status::Failed { .. }));
    }
}

#[test]
fn what_is_done_again_is_reserved_again_and_never_beyond_the_cap() {
    // Five drafts at 0.10 are reserved; the cap has room for twelve.
    let mut instance = SMALL.run(begun(Some(dollars(1.2))), Some(Stage::Generate));
    let mut rewinds = 0;
    loop {
        instance = failed(&instance, Stage::Generate, 3);
        let next = after(&instance, &[ask(&format!("r{rewinds}"), Request::Rewind { reason: because() })]);
        if next.status != Status::Running {
            break;
        }
        rewinds += 1;
        assert_eq!(next.budget.reserved, dollars(0.5 + 0.3 * f64::from(rewinds)));
        instance = next;
    }
    assert_eq!(rewinds, 2);
}

#[test]
fn a_campaign_that_cannot_go_on_is_not_rewound_into_waiting_for_ever() {
    // Ingest is done, and did not say into how many shards.
    let begun = begun(None);
    let stuck = after(&begun, &through(&begun, Stage::Ingest.into(), 0, None));
    assert!(matches!(stuck.status, Status::Failed { .. }));
    let rewound = after(&stuck, &[ask("r", Request::Rewind { reason: because() })]);
    assert!(matches!(rewound.status, Status::Failed { .. }));
    // Passes end.
    let endless = Shape { passes: u8::MAX, ..SMALL }.run(self::begun(None), None);
    assert!(matches!(endless.status, Status::Failed { .. }));
}

#[test]
fn a_failure_and_a_rewind_in_one_turn_leave_the_campaign_on_the_sweepers_list() {
    let running = SMALL.run(begun(None), Some(Stage::Generate));
    let mut inputs = through(&running, Stage::Generate.into(), 5, None);
    inputs.push(ask("r", Request::Rewind { reason: because() }));
    let next = after(&running, &inputs);
    assert_eq!(next.status, Status::Running);
    assert!(!next.outbox.contains(&Command::Retire), "{:?}", next.outbox);
}

#[test]
fn the_largest_instance_is_below_64_kib() {
    let most = Shape {
        shards: MAX_ITEMS,
        passes: PASSES,
        queries: MAX_ITEMS,
        variants: MAX_ITEMS,
        needs_review: MAX_ITEMS,
        personal: MAX_ITEMS,
        allowance: 0.000_123_456,
    };
    // Both stages that are open together have every group but the last through; then every stage is there.
    let mut open = most.run(begun(None), Some(Stage::Generate));
    for step in [Stage::Generate, Stage::Screen].map(Step::from) {
        let mut inputs = through(&open, step, 1_000, None);
        inputs.pop();
        for input in &mut inputs {
            if let Input::Group { total, .. } = input {
                total.cost = dollars(123_456.123_456_789);
            }
        }
        open = after(&open, &inputs);
    }
    let mut all = most.run(begun(None), None);
    all = after(&all, &[ask("yes", yes_to(variants()))]);
    for attempt in 0..ATTEMPTS {
        all = most.run(all, Some(Stage::Deliver));
        all = most.run(failed(&all, Stage::Deliver, 1_000), None);
        assert_eq!(all.status, Status::Completed);
        all = after(&all, &[ask(&format!("r{attempt}"), Request::Rewind { reason: because() })]);
    }
    assert_eq!(all.status, Status::Completed, "it was tried often enough");
    for mut instance in [open, all] {
        // As many requests as a turn takes in, as long as they may be; quotes are written with two bytes.
        for round in 0..5 {
            let by = "\"".repeat(256);
            let request = |n: u32| match n % 2 {
                0 => Request::Decide {
                    approval: Approval { digest: Digest::of([round, n as u8]), decision: variants(), by: by.clone() },
                },
                _ if instance.status.is_final() => Request::Rewind { reason: by.clone() },
                _ if n % 4 == 1 => Request::Suspend { reason: by.clone() },
                _ => Request::Resume { reason: by.clone() },
            };
            let id = |n: u32| format!("{:0>64}", u32::from(round) * 16 + n);
            let inputs: Vec<Input> = (0..16).map(|n| ask(&id(n), request(n))).collect();
            instance = after(&instance, &inputs);
        }
        let bytes = serde_json::to_vec(&instance).unwrap();
        println!("{} stages, {} bytes", instance.stages.len(), bytes.len());
        assert!(bytes.len() < 65_536, "{}", bytes.len());
    }
    let endless = ask("long", Request::Terminate { reason: "x".repeat(257) });
    assert_eq!(after(&begun(None), &[endless]).status, Status::Running);
}

/// Something that may come, in terms of whatever the state is then.
#[derive(Debug, Clone)]
enum Move {
    /// A group of an open stage, with failures, with or without its fact.
    Arrives {
        stage: usize,
        group: u32,
        failed: u32,
        tells: bool,
    },
    /// Something that nobody can have sent.
    Nonsense {
        step: Step,
        group: u32,
        total: Group,
        shards: u32,
    },
    Asks {
        id: u8,
        request: u8,
    },
}

#[derive(Debug, Clone)]
struct TurnOf {
    minutes: i64,
    moves: Vec<Move>,
    flushes: bool,
}

fn moves() -> impl Strategy<Value = Move> {
    let step = (0..Stage::ALL.len(), 0..4_u8).prop_map(|(stage, pass)| Step { stage: Stage::ALL[stage], pass });
    let failed = prop_oneof![4 => Just(0), 1 => 0..4_u32];
    prop_oneof![
        12 => (0..3_usize, 0..2_u32, failed, prop::bool::weighted(0.97))
            .prop_map(|(stage, group, failed, tells)| Move::Arrives { stage, group, failed, tells }),
        1 => (step, any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(step, group, done, failed, shards)| {
                Move::Nonsense { step, group, total: Group { done, failed, cost: Usd::MAX }, shards }
            }
        ),
        3 => (0..40_u8, 0..8_u8).prop_map(|(id, request)| Move::Asks { id, request }),
    ]
}

fn turns() -> impl Strategy<Value = Vec<TurnOf>> {
    let minutes = prop_oneof![20 => -60..60_i64, 1 => 0..20_000_i64];
    let turn = (minutes, prop::collection::vec(moves(), 0..4), any::<bool>());
    prop::collection::vec(turn.prop_map(|(minutes, moves, flushes)| TurnOf { minutes, moves, flushes }), 1..80)
}

fn input(instance: &Instance, shape: &Shape, one: &Move) -> Option<Input> {
    match one {
        Move::Arrives { stage, group, failed, tells } => {
            let stage = instance.open_stages().nth(*stage)?;
            let fact = shape.fact(stage.step).filter(|_| *tells);
            through(instance, stage.step, *failed, fact).into_iter().nth(*group as usize)
        }
        Move::Nonsense { step, group, total, shards } => {
            let fact = Some(Fact::Ingested { shards: *shards, profile: true });
            Some(Input::Group { step: *step, group: *group, total: *total, fact })
        }
        Move::Asks { id, request } => Some(ask(
            &format!("id-{id}"),
            match request {
                0 => Request::Suspend { reason: because() },
                1 | 2 => Request::Resume { reason: because() },
                3 => Request::Terminate { reason: because() },
                4 => Request::Rewind { reason: because() },
                5 => Request::Restart { start: Digest::of([*id]), policy: instance.policy },
                6 => yes_to(variants()),
                _ => yes_to(Digest::of("others")),
            },
        )),
    }
}

/// What must be closed before a step opens, written down apart from the state machine.
fn waits_for(step: Step) -> Vec<Step> {
    match step.stage {
        Stage::Ingest => vec![],
        Stage::Profile if step.pass == 1 => vec![Stage::Ingest.into()],
        Stage::Profile => vec![Step { stage: Stage::Fit, pass: step.pass - 1 }],
        Stage::Fit => vec![Step { stage: Stage::Profile, ..step }],
        Stage::Label => vec![Stage::Ingest.into()],
        Stage::Design => vec![Stage::Label.into()],
        Stage::Retrieve => vec![Stage::Design.into()],
        Stage::Generate | Stage::Screen => vec![Stage::Retrieve.into()],
        Stage::Collect => vec![Stage::Generate.into(), Stage::Screen.into()],
        Stage::Release => vec![Stage::Collect.into()],
        Stage::Personalize => vec![Stage::Release.into()],
        Stage::Deliver => vec![Stage::Release.into()],
        Stage::Close => vec![Stage::Deliver.into()],
    }
}

/// Follows the history, and objects to what may not be in it.
#[derive(Default)]
struct Reader {
    opened: BTreeSet<(u32, Step, u32)>,
    closed: BTreeSet<Step>,
    generation: u32,
    gate: Option<Digest>,
    last: Option<Timestamp>,
}

impl Reader {
    fn read(&mut self, events: &[Event]) {
        for Event { at, what } in events {
            assert!(self.last.is_none_or(|last| last <= *at), "time runs backwards");
            self.last = Some(*at);
            match what {
                Happened::Started { generation, .. } => {
                    *self = Self { generation: *generation, last: self.last, ..Self::default() };
                }
                Happened::Opened { step, attempt, .. } => {
                    assert!(self.opened.insert((self.generation, *step, *attempt)), "{step} opens twice");
                    if *attempt == 1 {
                        let missing = waits_for(*step).into_iter().find(|before| !self.closed.contains(before));
                        assert_eq!(missing, None, "{step} opens too early");
                        assert!(step.stage != Stage::Release || self.gate.is_none(), "the gate is shut");
                        let personal = Step::from(Stage::Personalize);
                        let is_under_way = self.opened.iter().any(|(_, step, _)| *step == personal)
                            && !self.closed.contains(&personal);
                        assert!(step.stage != Stage::Deliver || !is_under_way, "messages are still being written");
                    }
                    self.closed.remove(step);
                }
                Happened::Closed { step, .. } => assert!(self.closed.insert(*step), "{step} closes twice"),
                Happened::GateOpened { digest, .. } => assert!(self.gate.replace(*digest).is_none()),
                Happened::GatePassed { approval } => assert_eq!(self.gate.take(), Some(approval.digest)),
                _ => {}
            }
        }
    }
}

fn assert_sound(instance: &Instance) {
    let is_waiting = |stage: &StageState| (0..stage.groups()).any(|group| stage.is_waiting_for(group));
    if instance.status == Status::Running {
        assert!(instance.gate.is_some() || instance.open_stages().any(is_waiting), "nothing will ever happen");
        let cap = instance.policy.cap_usd.unwrap();
        assert!(instance.budget.reserved <= cap, "more is reserved than may be spent");
    }
    for command in &instance.outbox {
        match command {
            Command::FanOut { step, next, end } => {
                let planned = instance.stage(*step).map(|stage| stage.planned);
                assert_eq!((*next, Some(*end)), (0, planned), "{step}");
                assert!(!instance.status.is_final());
            }
            Command::Acknowledge { events } => assert!(events.iter().all(|id| instance.taken.contains(id))),
            Command::Retire => assert!(instance.status.is_final()),
        }
    }
    let bytes = serde_json::to_vec(instance).unwrap();
    assert!(bytes.len() < 65_536);
    assert_eq!(serde_json::from_slice::<Instance>(&bytes).unwrap(), *instance);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_whatever_order_the_history_is_sound(
        turns in turns(),
        shards in prop_oneof![Just(0), 1..4_u32, Just(GROUP + 2)],
        passes in 0..3_u8,
        variants in 0..4_u32,
        needs_review in 0..2_u32,
        is_personal in any::<bool>(),
    ) {
        let personal = if is_personal { shards } else { 0 };
        let shape = Shape { shards, passes, queries: variants, variants, needs_review, personal, allowance: 0.1 };
        let mut instance = begun(Some(dollars(0.5)));
        let mut reader = Reader::default();
        reader.read(&instance.events);
        let mut now = instance.updated;
        for turn in turns {
            now = now.saturating_add(SignedDuration::from_mins(turn.minutes)).unwrap();
            let inputs: Vec<Input> = turn.moves.iter().filter_map(|one| input(&instance, &shape, one)).collect();
            let only_groups = !inputs.iter().any(|input| matches!(input, Input::Request(_)));
            let next = decide(&instance, now, &inputs);
            prop_assert!(!(instance.status.is_final() && only_groups && next.is_some()), "it was at rest");
            let Some(next) = next else { continue };
            prop_assert_eq!(next.version, instance.version + 1);
            prop_assert!(next.updated >= instance.updated && next.generation >= instance.generation);
            reader.read(&next.events);
            assert_sound(&next);
            prop_assert_eq!(decide(&next, now, &[]), None);
            let mut asked = inputs.clone();
            asked.retain(|input| matches!(input, Input::Request(_)));
            prop_assert_eq!(decide(&next, now, &asked), None, "the same was asked again");
            instance = next;
            if turn.flushes {
                instance.outbox.clear();
            }
        }
    }
}
