//! A made-up run for tests: three segments, three arms, two channels, and every kind of verdict.

use jiff::civil::date;

use super::*;
use crate::{
    agents::{
        experimentation::{
            analysis::{
                Adjusted, ArmResult, Comparison, Decision as Outcome, GroupResult, Interval, MetricKind, MetricSummary,
                SampleRatio,
            },
            design::{Detectable, PlannedArm, PlannedSegment},
        },
        retrieval::{Hit, Retrieved},
    },
    domain::{
        content::{Approval, Category, Document, Passage, Validity},
        estimate::StageEstimate,
        id::{DocumentId, PassageId},
        segment::Trait,
        variant::{Cell, Citation, Claim, Field, Message, Slot, Span},
        verdict::{Decision, Finding, Rule, Severities, Severity, Verdict},
    },
};

const SEGMENTS: [(&str, &str, u64, [f64; 3]); 3] = [
    (
        "High-value recent",
        "Spent more than $200 on average and bought within the last 30 days.",
        212,
        [268.4, 11.2, 6.1],
    ),
    ("Lapsed", "Has not bought for 120 days or longer.", 298, [88.1, 207.5, 1.4]),
    ("Everyone else", "No other rule applies.", 403, [104.9, 61.3, 2.9]),
];
const ARMS: [(&str, f64, &str); 2] = [("friendly", 0.35, "warm and personal"), ("expert", 0.35, "calm and factual")];

const PAN: &str = "The Marlow 28 pan has a forged steel base that heats evenly on gas, electric and induction hobs.";
const CARE: &str = "Every Marlow pan comes with a 10-year warranty, and we re-season it free of charge once a year.";
const OFFER: &str = "From 1 to 31 March 2026, code SPRING15 takes 15% off all pans of the Marlow range.";
const STORY: &str = "Each pan is finished by hand in our workshop in Leith, by one of eleven people.";

pub fn documents() -> Vec<Document> {
    let approved = Some(date(2026, 2, 2));
    let document = |id: &str, title: &str, category, approval, text: &str| Document {
        id: DocumentId::new(id).unwrap(),
        title: title.to_owned(),
        category,
        approval,
        approved_on: approved,
        validity: Validity { from: Some(date(2026, 1, 1)), until: Some(date(2026, 12, 31)) },
        audience: Vec::new(),
        locales: Vec::new(),
        channels: Vec::new(),
        keywords: Vec::new(),
        products: Vec::new(),
        headlines: Vec::new(),
        offer: None,
        source_url: Some("intranet.marlow.example/approved".to_owned()),
        text: text.to_owned(),
        digest: Digest::of(text),
        passages: vec![Passage {
            id: PassageId::new(format!("{id}#p1")).unwrap(),
            start: 0,
            end: text.chars().count(),
            text: text.to_owned(),
            version: Digest::of(text),
        }],
    };
    use Approval::{Approved, Draft, Withdrawn};
    vec![
        document("care-and-warranty", "Care and warranty", Category::Policy, Approved, CARE),
        document("marlow-28", "Marlow 28 frying pan", Category::Product, Approved, PAN),
        document("spring-offer-2026", "Spring offer 2026", Category::Offer, Approved, OFFER),
        document("workshop", "Our workshop", Category::Story, Approved, STORY),
        document("recipe-draft", "Three recipes for spring", Category::Guide, Draft, "To be written."),
        document("autumn-offer-2025", "Autumn offer 2025", Category::Offer, Withdrawn, "Ten percent off."),
        document("gift-cards", "Gift cards", Category::Product, Approved, "Gift cards never expire."),
    ]
}

/// The part of `message` that says `words`, resting on the same words (`quote`) of a document.
fn claim(message: &Message, words: &str, document: &str, quote: &str) -> Claim {
    let documents = documents();
    let passage = &documents.iter().find(|found| found.id.as_str() == document).unwrap().passages[0];
    let at = |text: &str, part: &str| text[..text.find(part).unwrap()].chars().count();
    let field = if message.body.contains(words) { Field::Body } else { Field::Subject };
    let (start, from) = (at(message.field(field), words), at(&passage.text, quote));
    Claim {
        span: Span { field, start, end: start + words.chars().count() },
        text: words.to_owned(),
        citation: Citation {
            passage: passage.id.clone(),
            version: passage.version,
            start: from,
            end: from + quote.chars().count(),
            quote: quote.to_owned(),
        },
    }
}

fn written(channel: Channel, opening: &str, candidate: usize) -> (Message, Vec<Claim>) {
    let offer = "code SPRING15 takes 15% off all pans";
    let (fact, document) = match candidate {
        0 => ("a 10-year warranty", "care-and-warranty"),
        _ => ("heats evenly on gas, electric and induction hobs", "marlow-28"),
    };
    let message = match channel {
        Channel::Email => Message {
            subject: Some("This month, 15% off all pans".to_owned()),
            body: format!(
                "Hello {{{{first_name}}}},\n\n{opening} Until the end of the month, {offer} of the Marlow range.\n\n\
                 {} Each one is finished by hand in our workshop in Leith.\n\nSee the range\n\nMarlow Kitchenware\n\
                 You can unsubscribe at any time.",
                match candidate {
                    0 => "Every pan comes with a 10-year warranty.",
                    _ => "The forged steel base heats evenly on gas, electric and induction hobs.",
                }
            ),
        },
        _ => Message {
            subject: None,
            body: format!(
                "{{{{first_name}}}}, {offer} in March.{} Reply STOP to opt out.",
                match candidate {
                    0 => " Each with a 10-year warranty.",
                    _ => " The steel base heats evenly on gas, electric and induction hobs.",
                }
            ),
        },
    };
    let mut claims = vec![claim(&message, offer, "spring-offer-2026", offer), claim(&message, fact, document, fact)];
    if message.subject.is_some() {
        claims.push(claim(&message, "15% off all pans", "spring-offer-2026", "15% off all pans"));
        claims.push(claim(
            &message,
            "finished by hand in our workshop in Leith",
            "workshop",
            "finished by hand in our workshop in Leith",
        ));
        // The subject's claim comes first for a reader, the offer's words stand in both.
        claims[2].span = Span { field: Field::Subject, start: 12, end: 28 };
        claims.swap(0, 2);
    }
    (message, claims)
}

fn variants() -> Vec<Variant> {
    let cells = SEGMENTS.iter().flat_map(|segment| ARMS.iter().map(move |arm| (Some(segment.0), arm.0)));
    let mut variants = Vec::new();
    for (segment, arm) in cells.chain([(None, "control")]) {
        for channel in [Channel::Email, Channel::Sms] {
            let cell = Cell {
                segment: segment.map(|name| SegmentName::new(name).unwrap()),
                arm: ArmName::new(arm).unwrap(),
                channel,
                locale: Locale::new("en").unwrap(),
            };
            for candidate in 0..2 {
                let opening = match arm {
                    "friendly" => "We thought of you when the new season's pans came off the bench.",
                    "expert" => "A good pan is a tool for decades.",
                    _ => "Our spring offer is here.",
                };
                let (message, claims) = written(channel, opening, candidate);
                variants.push(Variant {
                    id: cell.variant_id(candidate),
                    cell: cell.clone(),
                    message,
                    claims,
                    verdict: Verdict {
                        decision: Decision::Approved,
                        findings: Vec::new(),
                        severities: Some(Severities::default()),
                    },
                    writer: "composer/1".to_owned(),
                    usage: Usage::default(),
                });
            }
        }
    }
    block(&mut variants[1]);
    flag(&mut variants[6]);
    fail(&mut variants[11]);
    variants
}

/// Blocked: the discount differs from its source, and a phrase is banned.
fn block(variant: &mut Variant) {
    let body = &variant.message.body;
    let start = body[..body.find("15%").unwrap()].chars().count();
    variant.message.body = body.replace("15% off", "25% off").replace("See the range", "Guaranteed: see the range");
    let guaranteed = variant.message.body[..variant.message.body.find("Guaranteed").unwrap()].chars().count();
    let span = |start, length| Some(Span { field: Field::Body, start, end: start + length });
    variant.verdict.decision = Decision::Blocked;
    variant.verdict.findings = vec![
        Finding {
            rule: Rule::FactMismatch,
            blocks: true,
            span: span(start, 3),
            text: "25%".to_owned(),
            passage: Some(PassageId::new("spring-offer-2026#p1").unwrap()),
            why: "the source says 15%".to_owned(),
        },
        Finding {
            rule: Rule::BannedPhrase,
            blocks: true,
            span: span(guaranteed, 10),
            text: "Guaranteed".to_owned(),
            passage: None,
            why: "the campaign bans \u{201c}guaranteed\u{201d}".to_owned(),
        },
    ];
}

fn flag(variant: &mut Variant) {
    variant.verdict.decision = Decision::NeedsReview;
    variant.verdict.severities = Some(Severities { violence: Severity::new(1).unwrap(), ..Severities::default() });
    variant.verdict.findings = vec![Finding {
        rule: Rule::Harm,
        blocks: false,
        span: None,
        text: String::new(),
        passage: None,
        why: "violence has severity 1, below the threshold of 2".to_owned(),
    }];
}

fn fail(variant: &mut Variant) {
    variant.verdict = Verdict {
        decision: Decision::Blocked,
        findings: vec![Finding {
            rule: Rule::CheckFailed,
            blocks: true,
            span: None,
            text: String::new(),
            passage: None,
            why: "the harm screen gave no severity for hate".to_owned(),
        }],
        severities: None,
    };
}

fn design() -> Design {
    let planned = |name: &str, share: f64, tone: Option<&str>| PlannedArm {
        name: ArmName::new(name).unwrap(),
        tone: tone.map(ToOwned::to_owned),
        share,
        customers: (913.0 * share).round() as u64,
    };
    let mut arms = vec![planned("holdout", 0.05, None), planned("control", 0.25, None)];
    arms.extend(ARMS.map(|(name, share, tone)| planned(name, share, Some(tone))));
    Design {
        schema: Default::default(),
        primary_metric: "conversion".to_owned(),
        salt: "spring-pans".to_owned(),
        alpha: 0.05,
        power: 0.8,
        mde_relative: 0.1,
        baseline: Some(0.04),
        comparisons: 2,
        customers: 913,
        arms,
        segments: SEGMENTS
            .iter()
            .map(|(name, _, customers, _)| PlannedSegment {
                name: SegmentName::new(*name).unwrap(),
                customers: *customers,
            })
            .collect(),
        detectable: ARMS
            .iter()
            .map(|(name, _, _)| Detectable {
                arm: ArmName::new(*name).unwrap(),
                baseline: 0.04,
                mde_relative: Some(1.46),
                power_at_mde: 0.031,
                customers_needed_per_arm: 46_218,
                control_customers_needed: 33_013,
            })
            .collect(),
        warnings: vec![
            "To detect a lift of 10% the test needs 46,218 customers per arm; control has 228.".to_owned(),
            "The segment High-value recent is small: expect about 53 customers of it in control.".to_owned(),
        ],
    }
}

fn assigned() -> Vec<AssignedCount> {
    let counts = [[11, 52, 75, 74], [15, 75, 104, 104], [20, 101, 140, 142]];
    let arms = ["holdout", "control", "friendly", "expert"];
    let each = SEGMENTS.iter().zip(counts).flat_map(|(segment, counts)| {
        arms.iter().zip(counts).map(|(arm, customers)| AssignedCount {
            segment: SegmentName::new(segment.0).unwrap(),
            arm: ArmName::new(*arm).unwrap(),
            customers,
        })
    });
    each.collect()
}

pub fn report() -> Report {
    let reason = |reason: &str, customers| ReasonCount { reason: reason.to_owned(), customers };
    let hits = |scores: &[(&str, f64)]| {
        let hit =
            |(id, score): &(&str, f64)| Hit { passage: PassageId::new(format!("{id}#p1")).unwrap(), score: *score };
        scores.iter().map(hit).collect::<Vec<_>>()
    };
    let variants = variants();
    let mut retrieved = Vec::new();
    for segment in SEGMENTS.iter().map(|segment| Some(segment.0)).chain([None]) {
        for channel in [Channel::Email, Channel::Sms] {
            let mut found = hits(&[("spring-offer-2026", 9.31), ("marlow-28", 7.02), ("care-and-warranty", 4.4)]);
            if channel == Channel::Email {
                found.extend(hits(&[("workshop", 2.18)]));
            }
            let segment = segment.map(|name| SegmentName::new(name).unwrap());
            let query = "spring upgrade".to_owned();
            let (locale, withheld) = (Locale::new("en").unwrap(), Vec::new());
            retrieved.push(Retrieved { segment, channel, locale, query, hits: found, withheld });
        }
    }
    let column = |attribute: &str, column: &str, kind, values, missing, bad| ColumnQuality {
        attribute: attribute.to_owned(),
        column: column.to_owned(),
        kind,
        values,
        missing,
        bad,
    };
    let file = |path: &str, what: &str, bytes| FileEntry {
        path: path.to_owned(),
        what: what.to_owned(),
        bytes,
        digest: Digest::of(path),
    };
    let cost = |stage: &str, provider: &str, usage| StageCost {
        stage: stage.to_owned(),
        provider: provider.to_owned(),
        usage,
    };
    Report {
        tracking: None,
        schema: Schema::V1,
        campaign: CampaignFacts {
            id: CampaignId::new("spring-pans").unwrap(),
            name: "Spring pans".to_owned(),
            brand: "Marlow Kitchenware".to_owned(),
            date: date(2026, 3, 10),
            digest: Digest::of("campaign"),
            purpose: "marketing".to_owned(),
            legal_basis: "Consent, recorded per customer in the column marketing_opt_in of the customer file; \
                          whoever has not given it was dropped at ingest."
                .to_owned(),
            channels: vec![Channel::Email, Channel::Sms],
            locales: vec![Locale::new("en").unwrap()],
        },
        funnel: Funnel {
            read: 1_000,
            quarantined: 12,
            duplicates: 5,
            suppressed: vec![reason("no consent to marketing", 58), reason("on the suppression list", 12)],
            holdout: 46,
            held: vec![reason("permits none of the campaign's channels", 10)],
            fallback: 22,
            assigned: 835,
            undelivered: 0,
        },
        data_quality: DataQuality {
            file: "customers.csv".to_owned(),
            warnings: vec![
                "8 rows hold an age above 130; they are in quarantine.".to_owned(),
                "A quarter of the customers have no first name: their messages show the fallback.".to_owned(),
            ],
            columns: vec![
                column("age", "age", AttributeType::Number, 971, 21, 8),
                column("consent", "marketing_opt_in", AttributeType::Boolean, 1_000, 0, 0),
                column("first_name", "given_name", AttributeType::Text, 748, 252, 0),
                column("monetary", "avg_order_value", AttributeType::Number, 996, 0, 4),
                column("recency_days", "last_engagement_days", AttributeType::Number, 1_000, 0, 0),
            ],
        },
        segmentation: Segmentation {
            method: SegmentationMethod::Rules,
            segments: SEGMENTS
                .iter()
                .map(|(name, description, customers, means)| {
                    let name = SegmentName::new(*name).unwrap();
                    let traits = [("monetary", 137.2), ("recency_days", 97.4), ("frequency", 3.15)];
                    let each = traits.iter().zip(means).map(|((attribute, overall_mean), mean)| Trait {
                        attribute: (*attribute).to_owned(),
                        mean: *mean,
                        overall_mean: *overall_mean,
                    });
                    SegmentFacts {
                        segment: Segment {
                            name: name.clone(),
                            description: (*description).to_owned(),
                            keywords: Vec::new(),
                        },
                        profile: SegmentProfile { name, customers: *customers, traits: each.collect() },
                    }
                })
                .collect(),
            notes: vec![
                "14 customers match both High-value recent and Lapsed; the first rule, High-value recent, has them."
                    .to_owned(),
            ],
        },
        sources: Sources::of(&documents(), retrieved, &variants, date(2026, 3, 10)),
        variants,
        slots: Slots::from([(
            "first_name".to_owned(),
            Slot { attribute: "first_name".to_owned(), fallback: "there".to_owned() },
        )]),
        personal: None,
        design: design(),
        assigned: assigned(),
        results: None,
        cost: Cost {
            stages: vec![
                cost("retrieval", "full-text/1", Usage { requests: 8, ..Usage::default() }),
                cost(
                    "generation",
                    "gpt-4o-mini",
                    Usage {
                        requests: 28,
                        input_tokens: 41_320,
                        output_tokens: 6_104,
                        cost_usd: Usd::from_dollars(0.009_860_4).unwrap(),
                    },
                ),
                cost("safety", "word-screen/1", Usage { requests: 28, ..Usage::default() }),
            ],
            max_usd: Usd::from_dollars(25.0),
            estimate: vec![StageEstimate {
                stage: "generation".to_owned(),
                provider: "gpt-4o-mini".to_owned(),
                questions: 28,
                expected_usd: Usd::from_dollars(0.021).unwrap(),
                most_usd: Usd::from_dollars(0.26).unwrap(),
                assumes: vec!["3000 tokens in and 350 out a call".to_owned()],
            }],
        },
        timings: [
            ("ingest", 0.021),
            ("segmentation", 0.008),
            ("generation", 11.42),
            ("safety", 0.31),
            ("assignment", 0.012),
        ]
        .map(|(stage, seconds)| StageTime { stage: stage.to_owned(), seconds })
        .to_vec(),
        failures: Vec::new(),
        files: vec![
            file("campaign.json", "The campaign file as it was run", 3_120),
            file("ingest/quarantine.csv", "Rows that were not used, and why", 912),
            file("ingest/suppressed.csv", "Customers who may not be contacted, and why", 2_214),
            file("variants.json", "Every message variant with claims, sources and verdict", 88_214),
            file("deliveries/00000.parquet", "Who gets which message", 41_020),
        ],
    }
}

pub fn with_results(simulated: bool) -> Report {
    let mut report = report();
    let metric = |metric: &str, kind, mean: f64, variance: f64, customers: u64| MetricSummary {
        metric: metric.to_owned(),
        kind,
        total: mean * customers as f64,
        mean,
        interval: Some(Interval {
            low: mean - 1.96 * (variance / customers as f64).sqrt(),
            high: mean + 1.96 * (variance / customers as f64).sqrt(),
        }),
        variance: Some(variance),
    };
    let arm = |name: &str, customers: u64, conversions: f64, spend: f64| {
        let rate = conversions / customers as f64;
        ArmResult {
            arm: name.to_owned(),
            share: customers as f64 / 867.0,
            customers,
            metrics: vec![
                metric("conversion", MetricKind::Rate, rate, rate * (1.0 - rate), customers),
                metric("spend", MetricKind::Mean, spend, 412.0, customers),
            ],
        }
    };
    let arms = vec![arm("control", 228, 9.0, 3.71), arm("friendly", 319, 31.0, 7.92), arm("expert", 320, 15.0, 3.28)];
    let compare = |metric: usize, arm: usize, difference: (f64, f64), lift: (f64, f64), p: f64, p_holm: f64| {
        let (summary, control) = (&arms[arm].metrics[metric], &arms[0].metrics[metric]);
        Comparison {
            metric: summary.metric.clone(),
            kind: summary.kind,
            arm: arms[arm].arm.clone(),
            control: "control".to_owned(),
            arm_mean: summary.mean,
            control_mean: control.mean,
            arm_customers: arms[arm].customers,
            control_customers: arms[0].customers,
            difference: summary.mean - control.mean,
            difference_interval: Some(Interval { low: difference.0, high: difference.1 }),
            lift: Some(summary.mean / control.mean - 1.0),
            lift_interval: Some(Interval { low: lift.0, high: lift.1 }),
            statistic: Some(2.5),
            degrees_of_freedom: None,
            p_value: Some(p),
            ln_p_value: Some(p.ln()),
            p_holm: Some(p_holm),
            undefined: None,
            adjusted: (metric == 1).then(|| Adjusted {
                covariate: "monetary".to_owned(),
                theta: 0.02,
                difference: summary.mean - control.mean - 0.11,
                standard_error: 1.5,
                difference_interval: Interval { low: difference.0 + 0.2, high: difference.1 - 0.4 },
                statistic: 2.1,
                degrees_of_freedom: 400.0,
                p_value: p * 0.9,
                ln_p_value: (p * 0.9).ln(),
                variance_reduction: 0.124,
            }),
        }
    };
    let comparisons = vec![
        compare(0, 1, (0.0143, 0.0987), (0.197, 3.91), 0.0094, if simulated { 0.0376 } else { 0.0564 }),
        compare(0, 2, (-0.0304, 0.0421), (-0.47, 1.66), 0.674, 1.0),
        compare(1, 1, (0.75, 7.67), (0.08, 3.21), 0.0171, 0.0513),
        compare(1, 2, (-3.87, 3.01), (-0.62, 1.11), 0.806, 1.0),
    ];
    let sample_ratio =
        SampleRatio { statistic: 0.004, degrees_of_freedom: 2, p_value: 0.998, ln_p_value: -0.002, mismatch: false };
    report.results = Some(Results {
        simulated,
        alpha: 0.05,
        primary_metric: "conversion".to_owned(),
        control: "control".to_owned(),
        customers: 867,
        groups: vec![GroupResult {
            column: "segment".to_owned(),
            value: "Lapsed".to_owned(),
            sample_ratio: sample_ratio.clone(),
            arms: arms.clone(),
            comparisons: comparisons[..2].to_vec(),
        }],
        arms,
        sample_ratio,
        comparisons,
        decision: if simulated {
            Outcome::Winner {
                arm: "friendly".to_owned(),
                why: "`friendly` is above `control` on conversion after correction for 4 comparisons (p = 0.038)."
                    .to_owned(),
            }
        } else {
            Outcome::NoDecision {
                why: "no arm differs from control in conversion after correction for 6 comparisons.".to_owned(),
            }
        },
        warnings: vec!["Spend is dominated by 3 large orders; read its interval, not its mean.".to_owned()],
    });
    report
}
