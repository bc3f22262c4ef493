//! What one process leaves for another is read as it was written, also by later versions of the program.

use std::{fs, io::Write as _, path::PathBuf};

use arrow_array::Array as _;
use cpo::{
    agents::{
        experimentation::{
            deliveries::{Counts, Tally as DeliveryTally},
            design::Design,
        },
        generation::{Brief, Source, Writer as _, composer::Composer, messages::PersonalMessage, phrases},
        retrieval::{Hit, Query, Retrieved, Retriever as _, full_text::FullText, library::Library},
        safety::{Gate, Lexicon},
        segmentation::{Fitter, Model, Next, Plan, Profile, Tally},
    },
    audit,
    config::{Campaign, campaign::Segmentation},
    domain::{
        channel::Channel,
        customer::Shard,
        decision,
        digest::Digest,
        id::{ArmName, Locale, PassageId, SegmentName},
        money::Usd,
        segment::Segment,
        variant::{Cell, Citation, Claim, Draft, Field, Message, Span, Usage, Variant},
        verdict::{Decision, Finding, Rule, Severities, Severity, Verdict},
    },
    ingest::{Ingest, Ingested, Outputs, Refusal, Summary, Suppression},
    orchestration::{
        arrivals,
        brought::{self, Brought},
        finished::{Frozen, Variants},
        instance::{Envelope, Fact, Group, Instance, Request, Status},
        intake::Pending,
        item::{Item, Wake},
        ledger::Ledger,
        names::Run,
        record::{Outcome, Record},
        stage::Stage,
        start::Start,
        turn::History,
    },
    providers::Meter,
    report::Report,
    store::Memory,
};
use jiff::civil::date;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats").join(format!("{name}.json"))
}

/// An example as an earlier version left it. What this version makes of it must read back the same.
fn read<T: Serialize + DeserializeOwned>(name: &str) -> T {
    let json = fs::read_to_string(example(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let value: T = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
    let written = serde_json::to_value(&value).unwrap();
    assert_eq!(serde_json::to_value(reread(&value)).unwrap(), written, "{name}");
    value
}

fn reread<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn model(next: Next) -> Model {
    match next {
        Next::Model(model) => model,
        Next::Pass(_) => panic!("the example is a last pass"),
    }
}

#[test]
fn every_format_of_every_version_is_still_read() {
    let fitter: Fitter = read("segment-fitter-rfm-1");
    let profile: Profile = read("segment-profile-rfm-1");
    let rfm = serde_json::to_value(model(fitter.advance(profile))).unwrap();
    assert_eq!(rfm["method"]["rfm"]["cuts"]["frequency"], serde_json::json!([1.0, 2.2, 4.6, 6.4]));
    let second_cut = rfm["method"]["rfm"]["cuts"]["monetary"][1].as_f64().unwrap();
    assert!((second_cut - 19.996).abs() < 1e-9, "{second_cut}");

    let fitter: Fitter = read("segment-fitter-kmeans-1");
    let profile: Profile = read("segment-profile-kmeans-1");
    let kmeans = serde_json::to_value(model(fitter.advance(profile))).unwrap();
    assert_eq!(kmeans["method"]["kmeans"]["sizes"], serde_json::json!([6, 4]));

    let rules: Model = read("segments-1");
    let tally: Tally = read("segment-tally-1");
    let loyal = &tally.profiles(&rules)[0];
    assert_eq!((loyal.name.as_str(), loyal.customers), ("Loyal", 4));
    assert_eq!(tally.overlaps(&rules)[0].customers, 1);

    let tally: DeliveryTally = read("delivery-tally-1");
    assert_eq!(tally.cells[&(1, 2)], Counts { assigned: 7, fallback: 1, held: 0, holdout: 0 });
    assert_eq!(tally.held["no approved variant"], 3);

    let ingested: Ingested = read("ingested-1");
    assert_eq!((ingested.read, ingested.contactable, ingested.shards), (12, 10, 1));
    assert_eq!(ingested.suppressed_by_reason[&Refusal::NoConsent], 1);
    let monetary = ingested.quality.columns.iter().find(|column| column.attribute == "monetary").unwrap();
    assert!(matches!(monetary.summary, Some(Summary::Number { min: 0.5, max: 900.0, .. })));

    let content: Library = read("content-1");
    let passage = PassageId::new("delivery#p2").unwrap();
    let (document, passage) = content.passage(&passage).unwrap();
    assert_eq!(document.title, "Delivery and returns");
    assert_eq!(passage.text, "An unopened bag from Harbour Coffee can be returned within 30 days.");

    let design: Design = read("design-1");
    assert_eq!((design.customers, design.arms[0].name.as_str(), design.baseline), (10, "holdout", Some(0.05)));

    let retrieved: Retrieved = read("retrieved-1");
    assert_eq!(retrieved.hits[0].passage.as_str(), "regulars-refill#p1");

    let draft: Draft = read("draft-1");
    assert!(draft.message.body.contains("Harbour Coffee"));
    let variant: Variant = read("variant-1");
    assert_eq!((variant.verdict.decision, variant.writer.as_str()), (Decision::Approved, "composer/1"));
    assert_eq!((&variant.message, &variant.claims), (&draft.message, &draft.claims));
}

/// What a campaign that is under way leaves in its store; a later version must go on with it.
#[tokio::test]
async fn every_format_of_a_campaign_under_way_is_still_read() {
    let variants = Digest::of("variants");
    let instance: Instance = read("instance-1");
    assert_eq!((instance.engine, instance.generation, instance.stages.len()), (1, 1, 9));
    assert_eq!(instance.status, Status::Suspended { reason: "lunch".to_owned() });
    assert_eq!(instance.gate.as_ref().map(|gate| (gate.digest, gate.needs_review)), Some((variants, 1)));
    assert_eq!(instance.approvals[0].digest, Digest::of("other variants"));
    assert_eq!(instance.plan.map(|plan| (plan.queries, plan.variants)), Some((2, 5)));
    assert_eq!(instance.budget.reserved, Usd::from_dollars(0.15).unwrap());
    let generate = instance.stage(Stage::Generate.into()).unwrap();
    // Four drafts at 0.009, and three tries of what could not be written.
    let cost = Usd::from_dollars(0.063).unwrap();
    assert_eq!(generate.total(), Group { done: 4, failed: 1, cost });

    let history: History = read("history-1");
    assert_eq!(history.version, instance.version - 1);
    let json = fs::read(example("history-1")).unwrap();
    assert_eq!(instance.previous, Some(Digest::of(json)), "the chain of versions is over the bytes");

    let start: Start = read("start-1");
    assert_eq!(start.campaign.campaign.id, instance.campaign);
    assert_eq!(Digest::of(fs::read(example("start-1")).unwrap()), instance.start);

    let wake: Wake = read("wake-1");
    assert_eq!((wake.campaign, wake.group), (instance.campaign.clone(), None));
    let item: Item = read("item-1");
    assert_eq!((item.step, item.index, item.attempt, item.expected), (Stage::Ingest.into(), 0, 1, 1));
    let request: Envelope = read("request-1");
    assert!(matches!(request.request, Request::Decide { approval } if approval.by == "a person"));
    let decision: decision::Decision = read("decision-1");
    assert_eq!((decision.digest, decision.approved), (variants, decision::Approved::All));

    let record: Record = read("record-1");
    assert!(matches!(record.result, Outcome::Done { fact: Some(Fact::Designed(_)), .. }));
    let record: Record = read("record-failed-1");
    assert!(matches!(record.result, Outcome::Failed(tombstone) if tombstone.reason.contains("given up after 5 tries")));

    let store = Memory::default().store();
    let run = Run { campaign: instance.campaign.clone(), generation: 1 };
    let lines = fs::read(example("arrivals-1").with_extension("jsonl")).unwrap();
    store.blobs.append(&run.arrivals(generate.step, 0), lines).await.unwrap();
    let log = arrivals::read(store.blobs.as_ref(), &run, generate.step, 0).await.unwrap();
    assert_eq!(log.total(generate, 0), Some((Group { done: 4, failed: 1, cost }, None)));
}

/// What waits for its campaign, or its campaign for it.
#[test]
fn a_pending_start_of_every_version_is_still_read_and_one_of_a_later_version_is_named() {
    let brought: Brought = read("outcomes-file-1");
    assert!(matches!(brought.standing, brought::Standing::Waiting { tries: 1, begun: Some(_) }));
    let pending: Pending = read("pending-1");
    assert_eq!(pending.campaign.campaign.id.as_str(), "first-campaign");
    assert_eq!((pending.waits_for.len(), pending.problems.len()), (1, 1));
    let later = fs::read_to_string(example("pending-1")).unwrap().replace("pending/1", "pending/2");
    let error = serde_json::from_str::<Pending>(&later).unwrap_err().to_string();
    assert!(error.contains("`pending/2`, expected `pending/1`"), "{error}");
}

/// What a campaign that has ended leaves, and later versions explain, verify and analyse.
#[test]
fn every_format_of_a_finished_campaign_is_still_read() {
    let frozen: Frozen = read("campaign-1");
    assert_eq!(Digest::of_json(&frozen.campaign).unwrap(), frozen.digest);
    let message: PersonalMessage = read("message-1");
    assert_eq!((message.customer_id.as_str(), message.variant.claims.len()), ("C-004", 3));

    let variants: Variants = read("variants-1");
    assert!(variants.variants.iter().any(|variant| variant.verdict.decision == Decision::Approved));
    let ledger: Ledger = read("ledger-1");
    assert_eq!(ledger.total_usd, ledger.entries.iter().map(|entry| entry.usage.cost_usd).sum());
    let report: Report = read("report-1");
    assert_eq!(report.campaign.digest, frozen.digest);
    let root: audit::Root = read("audit-root-1");
    let segment: audit::Segment = read("audit-segment-1");
    let head = root.segments.iter().find(|head| head.name == segment.name).unwrap();
    assert_eq!((Some(head.head), head.entries), (segment.entries.last().map(|entry| entry.chain), 1));
}

/// A model's examples are of the fitters that lead to it.
const NAMED_OTHERWISE: [(&str, &str); 2] =
    [("segment-fitter-1", "segment-fitter-rfm-1"), ("segment-profile-1", "segment-profile-rfm-1")];

#[test]
fn every_schema_in_the_source_has_an_example() {
    let schema = regex::Regex::new(r#"(?:rename = |tag = |schema: )"([a-z][a-z-]*)/([0-9]+)""#).unwrap();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut known = std::collections::BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(path).unwrap();
                known.extend(schema.captures_iter(&source).map(|found| format!("{}-{}", &found[1], &found[2])));
            }
        }
    }
    assert!(known.contains("instance-1") && known.len() > 15, "{known:?}");
    for name in &known {
        let name = NAMED_OTHERWISE.iter().find(|(schema, _)| schema == name).map_or(name.as_str(), |(_, name)| *name);
        assert!(example(name).exists(), "tests/data/formats/{name}.json is missing");
    }
}

/// Made the examples of version 1. They are never made again: a later version gets examples of its own, beside these.
#[tokio::test]
#[ignore = "writes into the source"]
async fn write_the_examples() {
    let starter = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
    let mut campaign = Campaign::read(&starter.join("campaign.toml")).unwrap();
    campaign.customers.max_bad_share = cpo::domain::share::Share::ONE;
    let (ingested, shard) = customers(&campaign);
    write("ingested-1", &ingested);

    let attributes = campaign.attributes();
    let plan = |toml: &str| {
        let segmentation: Segmentation = toml::from_str(toml).unwrap();
        Plan::new(&segmentation, &attributes).unwrap()
    };
    let last_pass = |plan: Plan| {
        let mut next = plan.start();
        loop {
            let Next::Pass(fitter) = next else { panic!("the method needs a pass") };
            let profile = fitter.profile(&shard);
            match fitter.clone().advance(profile.clone()) {
                Next::Model(_) => return (fitter, profile),
                pass @ Next::Pass(_) => next = pass,
            }
        }
    };
    let (fitter, profile) = last_pass(plan("method = 'rfm'"));
    write("segment-fitter-rfm-1", &fitter);
    write("segment-profile-rfm-1", &profile);
    let (fitter, profile) = last_pass(plan("method = 'kmeans'\nmax_clusters = 2"));
    write("segment-fitter-kmeans-1", &fitter);
    write("segment-profile-kmeans-1", &profile);
    let rules = "method = 'rules'\n[[rules]]\nname = 'Loyal'\nwhen = 'frequency > 3.5'\n\
                 [[rules]]\nname = 'Big'\nwhen = 'monetary > 500.0'\n[[rules]]\nname = 'Rest'";
    let model = model(plan(rules).start());
    let mut tally = Tally::default();
    tally.add(&model, &shard, &model.label(&shard));
    write("segments-1", &model);
    write("segment-tally-1", &tally);

    let mut deliveries = DeliveryTally::default();
    deliveries.cells.insert((0, 0), Counts { assigned: 0, fallback: 0, held: 0, holdout: 2 });
    deliveries.cells.insert((1, 2), Counts { assigned: 7, fallback: 1, held: 0, holdout: 0 });
    deliveries.cells.insert((2, 1), Counts { assigned: 0, fallback: 0, held: 3, holdout: 0 });
    deliveries.held.insert("no approved variant".to_owned(), 3);
    write("delivery-tally-1", &deliveries);

    let segments = tally.profiles(&model).into_iter().map(|profile| (profile.name, profile.customers));
    write("design-1", &Design::plan(&campaign, &segments.collect::<Vec<_>>()));

    let content = Library::load(&starter.join("content")).unwrap();
    write("content-1", &content);

    let today = date(2026, 11, 22);
    let free = Meter::new(Usd::ZERO);
    let segment = Segment {
        name: SegmentName::new("Regulars").unwrap(),
        description: "order often".to_owned(),
        keywords: vec!["regulars".to_owned()],
    };
    let cell = Cell {
        segment: Some(segment.name.clone()),
        arm: ArmName::new("friendly").unwrap(),
        channel: Channel::Email,
        locale: Locale::new("en").unwrap(),
    };
    let query = Query {
        text: "regulars Autumn coffee".to_owned(),
        audience: cell.segment.clone(),
        channel: cell.channel,
        locale: cell.locale.clone(),
        limit: 4,
    };
    let hits = FullText::new(&content, today).unwrap().retrieve(&query, &free).await.unwrap();
    let retrieved = Retrieved {
        segment: cell.segment.clone(),
        channel: cell.channel,
        locale: cell.locale.clone(),
        query: query.text,
        hits,
        withheld: Vec::new(),
    };
    write("retrieved-1", &retrieved);

    let source = |hit: &Hit| {
        let (document, passage) = content.passage(&hit.passage).unwrap();
        Source { document, passage }
    };
    let brief = Brief {
        cell: &cell,
        segment: Some(&segment),
        customer: None,
        tone: "friendly",
        campaign_name: "Autumn coffee",
        date: today,
        sources: &retrieved.hits.iter().map(source).collect::<Vec<_>>(),
        brand: &campaign.generation.brand,
        slots: &campaign.generation.slots,
        candidate: 0,
        seed: 1,
        review: &|_| Vec::new(),
    };
    let draft = Composer.write(&brief, &free).await.unwrap();
    write("draft-1", &draft);
    let gate = Gate {
        content: &content,
        date: today,
        allowed: &retrieved.hits,
        phrases: &phrases::phrase_book(&campaign),
        brand: &campaign.generation.brand,
        slots: &campaign.generation.slots,
        safety: &campaign.safety,
        screen: &Lexicon::default(),
    };
    let verdict = gate.judge(&cell, &draft, &free).await.unwrap();
    let Draft { message, claims, usage } = draft;
    let writer = Composer.name().to_owned();
    write("variant-1", &Variant { id: cell.variant_id(0), cell, message, claims, verdict, writer, usage });
}

fn write<T: Serialize>(name: &str, value: &T) {
    let path = example(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::create_new(path).expect("an example is written once");
    serde_json::to_writer_pretty(&mut file, value).unwrap();
    file.write_all(b"\n").unwrap();
}

/// Twelve rows: one bad, one without consent. Amounts that differ by cents need a second pass of RFM.
fn customers(campaign: &Campaign) -> (Ingested, Shard) {
    let mut rows =
        "customer_id,first_name,marketing_opt_in,sms_opt_in,days_since_order,orders_12m,avg_order_value,tier,extra\n"
            .to_owned();
    for (id, days, orders, value, yes) in [
        ("C01", "3", "9", "19.99", "yes"),
        ("C02", "10", "7", "20.00", "yes"),
        ("C03", "40", "6", "20.01", "yes"),
        ("C04", "41", "5", "900.00", "yes"),
        ("C05", "90", "3", "19.995", "yes"),
        ("C06", "120", "2", "", "yes"),
        ("C07", "150", "2", "0.5", "yes"),
        ("C08", "200", "1", "25.10", "yes"),
        ("C09", "300", "1", "640.00", "yes"),
        ("C10", "365", "1", "19.98", "yes"),
        ("C11", "never", "1", "5.00", "yes"),
        ("C12", "5", "4", "50.00", "no"),
    ] {
        rows.push_str(&format!("{id},Ada,{yes},yes,{days},{orders},{value},Plus,x\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("customers.csv");
    fs::write(&file, rows).unwrap();
    let mut shards = Vec::new();
    let ingested = Ingest {
        file: &file,
        customers: &campaign.customers,
        attributes: &campaign.attributes(),
        channels: &campaign.campaign.channels,
        suppression: &Suppression::default(),
        scratch: folder.path(),
        shard_rows: cpo::ingest::SHARD_ROWS,
    }
    .run(Outputs {
        quarantine: &mut Vec::new(),
        suppressed: &mut Vec::new(),
        shards: &mut |shard| {
            shards.push(shard);
            Ok(())
        },
        progress: &mut |_, _| {},
    });
    let ingested = ingested.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shards[0].customer_ids().len(), 10);
    (ingested, shards.remove(0))
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}|[\\x00-\\x7f]{0,8}"
}

fn finite() -> impl Strategy<Value = f64> {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

fn cell() -> impl Strategy<Value = Cell> {
    let segment = prop::option::of("[A-Za-zäß][ -~]{0,30}[a-z]");
    (segment, prop::sample::select(Channel::ALL.to_vec())).prop_map(|(segment, channel)| Cell {
        segment: segment.map(|name| SegmentName::new(name).unwrap()),
        arm: ArmName::new("friendly").unwrap(),
        channel,
        locale: Locale::new("de-AT").unwrap(),
    })
}

fn span() -> impl Strategy<Value = Span> {
    let field = prop::sample::select(vec![Field::Subject, Field::Body]);
    (field, any::<usize>(), any::<usize>()).prop_map(|(field, start, end)| Span { field, start, end })
}

fn draft() -> impl Strategy<Value = Draft> {
    let message = (prop::option::of(text()), text()).prop_map(|(subject, body)| Message { subject, body });
    let claim = (span(), text(), text(), any::<usize>()).prop_map(|(span, text, quote, start)| {
        let citation = Citation {
            passage: PassageId::new("guide#p1").unwrap(),
            version: Digest::of(&quote),
            start,
            end: start,
            quote,
        };
        Claim { span, text, citation }
    });
    let usage = (any::<u64>(), any::<u64>(), any::<u64>(), 0.0..1e6).prop_map(|(requests, input, output, dollars)| {
        Usage { requests, input_tokens: input, output_tokens: output, cost_usd: Usd::from_dollars(dollars).unwrap() }
    });
    (message, prop::collection::vec(claim, 0..3), usage).prop_map(|(message, claims, usage)| Draft {
        message,
        claims,
        usage,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let rule = prop::sample::select(vec![Rule::Uncited, Rule::Harm, Rule::CheckFailed]);
    let passage = prop::option::of(Just(PassageId::new("guide#p1").unwrap()));
    let finding = (rule, any::<bool>(), prop::option::of(span()), text(), passage, text())
        .prop_map(|(rule, blocks, span, text, passage, why)| Finding { rule, blocks, span, text, passage, why });
    let severity = || (0..=7_u8).prop_map(|level| Severity::new(level).unwrap());
    let severities = (severity(), severity(), severity(), severity())
        .prop_map(|(hate, sexual, violence, self_harm)| Severities { hate, sexual, violence, self_harm });
    let decision = prop::sample::select(vec![Decision::Approved, Decision::Blocked, Decision::NeedsReview]);
    (decision, prop::collection::vec(finding, 0..3), prop::option::of(severities))
        .prop_map(|(decision, findings, severities)| Verdict { decision, findings, severities })
}

proptest! {
    #[test]
    fn what_agents_make_of_a_cell_reads_back_as_it_was(
        cell in cell(), draft in draft(), verdict in verdict(), scores in prop::collection::vec(finite(), 0..5),
    ) {
        let hit = |score| Hit { passage: PassageId::new("guide#p1").unwrap(), score };
        let Cell { segment, channel, locale, .. } = cell.clone();
        let hits: Vec<_> = scores.into_iter().map(hit).collect();
        let withheld = hits.iter().skip(2).map(|hit| hit.passage.clone()).collect();
        let retrieved = Retrieved { segment, channel, locale, query: draft.message.body.clone(), hits, withheld };
        prop_assert_eq!(reread(&retrieved), retrieved);
        prop_assert_eq!(reread(&verdict), verdict.clone());
        prop_assert_eq!(reread(&draft), draft.clone());
        let Draft { message, claims, usage } = draft;
        let variant =
            Variant { id: cell.variant_id(0), cell, message, claims, verdict, writer: "composer/1".to_owned(), usage };
        prop_assert_eq!(reread(&variant), variant);
    }
}
