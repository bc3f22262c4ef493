//! From the report's data to its page.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use crate::{
    config::campaign::SegmentationMethod,
    report::{
        Error, Report, answer, costs,
        gallery::{Found, Gallery},
        numbers,
        results::ResultsView,
    },
};

/// What the templates see: the report, and what is worked out from it.
#[derive(Serialize)]
struct Page<'a> {
    report: &'a Report,
    version: &'static str,
    style: &'static str,
    simulated: bool,
    answer: Vec<answer::Sentence>,
    power: String,
    up_to_it: Option<bool>,
    contactable: u64,
    suppressed: u64,
    held: u64,
    reached: u64,
    segmentation: &'static str,
    gallery: Gallery<'a>,
    found: Vec<Found<'a>>,
    cited: Vec<usize>,
    assignment: Assignment<'a>,
    results: Option<ResultsView<'a>>,
    costs: Vec<costs::Row<'a>>,
    expected: Option<String>,
    total_cost: String,
    limit: Option<String>,
    per_customer: Option<String>,
}

/// Customers per segment and arm.
#[derive(Serialize)]
struct Assignment<'a> {
    arms: Vec<Column<'a>>,
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Column<'a> {
    arm: &'a str,
    planned: Option<u64>,
    customers: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    segment: &'a str,
    counts: Vec<u64>,
    total: u64,
}

const TEMPLATES: [(&str, &str); 11] = [
    ("report.html", include_str!("templates/report.html")),
    ("macros.html", include_str!("templates/macros.html")),
    ("happened.html", include_str!("templates/happened.html")),
    ("segments.html", include_str!("templates/segments.html")),
    ("messages.html", include_str!("templates/messages.html")),
    ("card.html", include_str!("templates/card.html")),
    ("grounds.html", include_str!("templates/grounds.html")),
    ("experiment.html", include_str!("templates/experiment.html")),
    ("results.html", include_str!("templates/results.html")),
    ("cost.html", include_str!("templates/cost.html")),
    ("data.html", include_str!("templates/data.html")),
];

pub fn render(report: &Report) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_filter("count", numbers::count);
    environment.add_filter("counted", |value: u64, singular: String| numbers::counted(value, &singular));
    environment.add_filter("percent", numbers::percent);
    environment.add_filter("share", numbers::share);
    environment.add_filter("prose", |sentence: String| numbers::prose(&sentence));
    environment.add_filter("decimal", numbers::decimal);
    environment.add_filter("seconds", numbers::seconds);
    environment.add_filter("bytes", numbers::bytes);
    environment.add_filter("short", |digest: String| digest.chars().take(12).collect::<String>());
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    let page = Page::of(report)?;
    Ok(environment.get_template("report.html")?.render(Serde(&page))?)
}

impl<'a> Page<'a> {
    fn of(report: &'a Report) -> Result<Self, Error> {
        let gallery = Gallery::of(report);
        let total = report.cost.total();
        let reached = report.funnel.reached();
        Ok(Self {
            report,
            version: env!("CARGO_PKG_VERSION"),
            style: include_str!("templates/style.css"),
            simulated: report.is_simulated(),
            answer: answer::paragraph(report, gallery.counts),
            power: answer::power(&report.design),
            up_to_it: answer::is_up_to_it(&report.design),
            contactable: report.funnel.contactable(),
            suppressed: report.funnel.suppressed(),
            held: report.funnel.held(),
            reached,
            segmentation: match report.segmentation.method {
                SegmentationMethod::Rules => "by rules of the campaign file; the first that applies decides",
                SegmentationMethod::Rfm => "by quintiles of recency, frequency and monetary value (RFM)",
                SegmentationMethod::Kmeans => "by k-means clustering on scaled attributes",
            },
            gallery,
            found: Found::all(report),
            cited: citations(report),
            assignment: Assignment::of(report),
            results: report.results.as_ref().map(ResultsView::of).transpose()?,
            per_customer: (reached > 0).then(|| numbers::dollars(total.cost_usd.dollars() / reached as f64)),
            costs: costs::rows(&report.cost),
            expected: costs::compared(&report.cost),
            total_cost: total.cost_usd.to_string(),
            limit: report.cost.max_usd.map(|limit| limit.to_string()),
        })
    }
}

/// Per used document, the variants that cite it.
fn citations(report: &Report) -> Vec<usize> {
    let cites = |document: &str| {
        let citing = |variant: &&crate::domain::variant::Variant| {
            variant.claims.iter().any(|claim| claim.citation.passage.document() == document)
        };
        report.variants.iter().filter(citing).count()
    };
    report.sources.used.iter().map(|document| cites(document.id.as_str())).collect()
}

impl<'a> Assignment<'a> {
    fn of(report: &'a Report) -> Self {
        let customers = |segment: Option<&str>, arm: Option<&str>| -> u64 {
            report
                .assigned
                .iter()
                .filter(|count| segment.is_none_or(|name| count.segment.as_str() == name))
                .filter(|count| arm.is_none_or(|name| count.arm.as_str() == name))
                .map(|count| count.customers)
                .sum()
        };
        let mut arms: Vec<Column<'a>> = report
            .design
            .arms
            .iter()
            .map(|arm| Column { arm: arm.name.as_str(), planned: Some(arm.customers), customers: 0 })
            .collect();
        let mut segments: Vec<&str> = report.segmentation.segments.iter().map(|s| s.segment.name.as_str()).collect();
        for count in &report.assigned {
            if !arms.iter().any(|column| column.arm == count.arm.as_str()) {
                arms.push(Column { arm: count.arm.as_str(), planned: None, customers: 0 });
            }
            if !segments.contains(&count.segment.as_str()) {
                segments.push(count.segment.as_str());
            }
        }
        arms.iter_mut().for_each(|column| column.customers = customers(None, Some(column.arm)));
        let rows = segments
            .into_iter()
            .map(|segment| Row {
                segment,
                counts: arms.iter().map(|column| customers(Some(segment), Some(column.arm))).collect(),
                total: customers(Some(segment), None),
            })
            .collect();
        Self { arms, rows }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use roxmltree::{Document, Node, ParsingOptions};

    use crate::{
        domain::id::SegmentName,
        report::{Report, Tracking, sample},
    };

    /// The page is written as XML as well as HTML, so that a strict parser can tell whether every element closes.
    fn parse(html: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(html, options).unwrap_or_else(|error| {
            let lines = html.lines().skip((error.pos().row as usize).saturating_sub(2)).take(3);
            panic!("{error}\n{}", lines.collect::<Vec<_>>().join("\n"))
        })
    }

    fn has_class(node: Node<'_, '_>, class: &str) -> bool {
        node.attribute("class").is_some_and(|classes| classes.split(' ').any(|found| found == class))
    }

    fn samples() -> [Report; 3] {
        [sample::report(), sample::with_results(false), sample::with_results(true)]
    }

    #[test]
    fn the_page_is_well_formed_and_every_link_leads_somewhere() {
        for report in samples() {
            let html = report.html().unwrap();
            let page = parse(&html);
            let ids: Vec<&str> = page.descendants().filter_map(|node| node.attribute("id")).collect();
            let unique: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!(ids.len(), unique.len(), "an id occurs twice");
            let targets = page.descendants().filter_map(|node| node.attribute("href")).chain(
                page.descendants().filter_map(|node| node.attribute("aria-labelledby").filter(|id| !id.is_empty())),
            );
            for target in targets {
                assert!(unique.contains(target.trim_start_matches('#')), "{target} leads nowhere");
            }
        }
    }

    #[test]
    fn the_page_loads_nothing_and_runs_nothing() {
        for report in samples() {
            let html = report.html().unwrap();
            let page = parse(&html);
            for node in page.descendants().filter(Node::is_element) {
                let name = node.tag_name().name();
                assert!(!["script", "link", "img", "iframe", "object", "embed", "base"].contains(&name), "{name}");
                for attribute in node.attributes() {
                    assert!(!["src", "srcset", "action"].contains(&attribute.name()), "{attribute:?}");
                    assert!(!attribute.name().starts_with("on"), "{attribute:?}");
                    assert!(attribute.name() != "href" || attribute.value().starts_with('#'), "{attribute:?}");
                }
            }
            assert!(!html.contains("url(") && !html.contains("@import"));
        }
    }

    #[test]
    fn hostile_text_stays_text() {
        const ATTACK: &str = "\"'><script>alert(1)</script><img src=x onerror=y>{{ 7 * 7 }}&amp;";
        let mut report = sample::with_results(true);
        let campaign = &mut report.campaign;
        for text in [&mut campaign.name, &mut campaign.brand, &mut campaign.purpose, &mut campaign.legal_basis] {
            *text = ATTACK.to_owned();
        }
        let name = SegmentName::new(&ATTACK[..60]).unwrap();
        let segment = &mut report.segmentation.segments[0].segment;
        segment.description = ATTACK.to_owned();
        let old = std::mem::replace(&mut segment.name, name.clone());
        report.assigned.iter_mut().filter(|count| count.segment == old).for_each(|count| count.segment = name.clone());
        report.segmentation.notes.push(ATTACK.to_owned());
        report.slots.get_mut("first_name").unwrap().fallback = ATTACK.to_owned();
        for variant in &mut report.variants {
            variant.message.body += ATTACK;
            variant.message.subject = variant.message.subject.take().map(|subject| subject + ATTACK);
            variant.writer = ATTACK.to_owned();
            for claim in &mut variant.claims {
                claim.citation.quote = ATTACK.to_owned();
            }
            for finding in &mut variant.verdict.findings {
                finding.text = ATTACK.to_owned();
                finding.why = ATTACK.to_owned();
            }
        }
        for document in &mut report.sources.used {
            document.title = ATTACK.to_owned();
            document.source_url = Some(format!("javascript:{ATTACK}"));
        }
        report.funnel.suppressed[0].reason = ATTACK.to_owned();
        report.data_quality.file = ATTACK.to_owned();
        report.data_quality.warnings = vec![ATTACK.to_owned()];
        report.data_quality.columns[0].column = ATTACK.to_owned();
        report.design.primary_metric = ATTACK.to_owned();
        report.design.warnings = vec![ATTACK.to_owned()];
        report.files[0].what = ATTACK.to_owned();
        let results = report.results.as_mut().unwrap();
        results.warnings = vec![ATTACK.to_owned()];
        results.arms.iter_mut().for_each(|arm| arm.arm += ATTACK);
        results.arms.iter_mut().flat_map(|arm| &mut arm.metrics).for_each(|metric| metric.metric += ATTACK);
        for comparison in &mut results.comparisons {
            comparison.arm += ATTACK;
            comparison.metric += ATTACK;
        }

        let html = report.html().unwrap();
        let page = parse(&html);
        assert!(!page.descendants().any(|node| ["script", "img"].contains(&node.tag_name().name())));
        assert!(!html.contains("<script") && !html.contains("<img"));
        assert!(page.descendants().any(|node| node.text() == Some(ATTACK)), "the text itself is shown");
    }

    #[test]
    fn a_run_that_is_tracked_says_where_it_is_or_how_it_will_be_found() {
        let mut report = sample::report();
        assert!(!report.html().unwrap().contains("MLflow"));
        let tracking = Tracking {
            server: "https://tracking.example".to_owned(),
            experiment: "spring".to_owned(),
            tag: "spring/1/2026-11-23T04:00:00Z".to_owned(),
            run_id: None,
        };
        let text = |report: &Report| {
            let html = report.html().unwrap();
            parse(&html).descendants().filter(Node::is_text).filter_map(|node| node.text()).collect::<String>()
        };
        report.tracking = Some(tracking.clone());
        let page = text(&report);
        assert!(page.contains("https://tracking.example, in the experiment spring. It is sent after"), "{page}");
        assert!(page.contains("tags.cpo_run = 'spring/1/2026-11-23T04:00:00Z'"));
        report.tracking = Some(Tracking { run_id: Some("0f3a".to_owned()), ..tracking });
        assert!(text(&report).contains("in the experiment spring, as the run 0f3a."));
    }

    #[test]
    fn every_claim_number_leads_to_its_source_and_back() {
        let report = sample::report();
        let html = report.html().unwrap();
        let page = parse(&html);
        let link = |id: String| page.descendants().find(|node| node.attribute("id") == Some(id.as_str())).unwrap();
        for (index, variant) in report.variants.iter().enumerate() {
            let mut marks = Vec::new();
            for number in 1..=variant.claims.len() {
                let claim = link(format!("v{index}-c{number}"));
                let source = link(format!("v{index}-s{number}"));
                assert_eq!(claim.attribute("href"), Some(format!("#v{index}-s{number}").as_str()));
                assert_eq!(claim.text(), Some(number.to_string().as_str()));
                let back = format!("#v{index}-c{number}");
                assert!(source.descendants().any(|node| node.attribute("href") == Some(&back)));
                let marked = source.descendants().find(|node| node.has_tag_name("mark"));
                marks.extend(marked.and_then(|mark| mark.text()));
            }
            let mut quotes: Vec<&str> = variant.claims.iter().map(|claim| claim.citation.quote.as_str()).collect();
            quotes.sort_unstable();
            marks.sort_unstable();
            assert_eq!(marks, quotes, "each source shows the words that support its claim");
        }
    }

    #[test]
    fn blocked_and_waiting_variants_say_so_in_words() {
        let report = sample::report();
        let html = report.html().unwrap();
        let page = parse(&html);
        for (index, variant) in report.variants.iter().enumerate() {
            let card = page.descendants().find(|node| node.attribute("id") == Some(&format!("v{index}"))).unwrap();
            let words: String = card.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect();
            use crate::domain::verdict::Decision::{Approved, Blocked, NeedsReview};
            let decision = variant.verdict.decision;
            assert_eq!(words.contains("never sent"), decision == Blocked, "{}", variant.id);
            assert_eq!(words.contains("This text waits"), decision == NeedsReview, "{}", variant.id);
            assert_eq!(words.contains("✓ Approved"), decision == Approved);
        }
    }

    #[test]
    fn every_simulated_result_stands_in_an_element_that_says_so() {
        let html = sample::with_results(true).html().unwrap();
        let page = parse(&html);
        let heading = page.descendants().find(|node| node.attribute("id") == Some("results")).unwrap();
        let section = heading.parent().unwrap();
        let marked = |node: Node<'_, '_>| node.ancestors().any(|above| has_class(above, "simulated"));
        let mut numbers = 0;
        for text in section.descendants().filter(Node::is_text) {
            if text.text().unwrap_or_default().chars().any(|c| c.is_ascii_digit()) {
                assert!(marked(text), "not marked: {:?}", text.text());
                numbers += 1;
            }
        }
        assert!(numbers > 60, "{numbers}");
        for element in page.descendants().filter(|node| has_class(*node, "simulated")) {
            assert!(element.descendants().any(|node| has_class(node, "mark")), "a mark that cannot be seen");
        }
        for heading in section.descendants().filter(|node| ["h2", "h3", "caption"].contains(&node.tag_name().name())) {
            assert!(heading.descendants().any(|node| has_class(node, "mark")), "{:?}", heading.text());
        }
        let charts = section.descendants().filter(|node| has_class(*node, "chart"));
        assert!(charts.into_iter().all(|chart| chart.descendants().any(|node| node.text() == Some("SIMULATED"))));
        let answer = page.descendants().find(|node| has_class(*node, "answer")).unwrap();
        assert!(answer.descendants().any(|node| has_class(node, "simulated")));
    }

    #[test]
    fn real_results_carry_no_mark_of_simulation() {
        let html = sample::with_results(false).html().unwrap();
        let page = parse(&html);
        let body = page.descendants().find(|node| node.has_tag_name("body")).unwrap();
        for node in body.descendants() {
            assert!(!has_class(node, "simulated") && !has_class(node, "mark") && !has_class(node, "banner"));
        }
    }

    /// For the eye: `cargo test --lib report:: -- --ignored` writes the sample pages into the temporary folder.
    #[test]
    #[ignore = "writes files to look at"]
    fn write_the_samples() {
        for (name, report) in ["open", "real", "simulated"].into_iter().zip(samples()) {
            let path = std::env::temp_dir().join(format!("report-sample-{name}.html"));
            std::fs::write(&path, report.html().unwrap()).unwrap();
            eprintln!("{}", path.display());
        }
    }
}
