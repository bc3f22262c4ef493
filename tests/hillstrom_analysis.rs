//! The analysis of a real e-mail test against reference numbers made with several other libraries.
//!
//! The data stays outside the repository; without it these tests say that they skip.

use std::path::PathBuf;

use cpo::{
    agents::experimentation::{
        analysis::{Comparison, Decision, Interval, Results, SampleRatio},
        arm_column::{AnalysisRequest, analyze_file},
        design::Design,
    },
    config::Campaign,
    domain::id::SegmentName,
};
use serde_json::Value;

const CONTROL: &str = "No E-Mail";
/// Relative. The reference is double precision itself.
const TOLERANCE: f64 = 1e-9;

fn data(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")).join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn reference() -> Option<Value> {
    Some(serde_json::from_slice(&std::fs::read(data("hillstrom_reference.json")?).unwrap()).unwrap())
}

fn results(control: &str, covariate: Option<&str>, by: Option<&str>) -> Option<Results> {
    let request = AnalysisRequest {
        file: data("hillstrom.csv")?,
        arm: "segment".to_owned(),
        control: control.to_owned(),
        metrics: ["visit:rate", "conversion:rate", "spend:mean"].map(|metric| metric.parse().unwrap()).to_vec(),
        covariate: covariate.map(str::to_owned),
        by: by.map(str::to_owned),
        shares: Default::default(),
        alpha: 0.05,
    };
    Some(analyze_file(&request).unwrap())
}

fn close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{what}: {expected}"));
    assert!((found - expected).abs() <= TOLERANCE * expected.abs(), "{what}: {found:e} instead of {expected:e}");
}

fn close_interval(found: Option<Interval>, expected: &Value, what: &str) {
    let found = found.unwrap_or_else(|| panic!("{what}: no interval"));
    close(found.low, &expected[0], what);
    close(found.high, &expected[1], what);
}

fn check_ratio(found: &SampleRatio, expected: &Value, what: &str) {
    close(found.statistic, &expected["statistic"], what);
    close(found.p_value, &expected["p_value"], what);
    close(found.ln_p_value, &expected["ln_p_value"], what);
    assert_eq!(Some(u64::from(found.degrees_of_freedom)), expected["dof"].as_u64());
    assert!(!found.mismatch);
}

fn check_comparison(found: &Comparison, expected: &Value) {
    let what = format!("{} of {} against {}", found.metric, found.arm, found.control);
    assert_eq!(Some(found.arm_customers), expected["nb"].as_u64(), "{what}");
    assert_eq!(Some(found.control_customers), expected["na"].as_u64(), "{what}");
    close(found.difference, &expected["diff"], &what);
    close(found.lift.unwrap(), &expected["lift"], &what);
    let p_value = found.p_value.unwrap();
    if found.metric == "spend" {
        close(found.statistic.unwrap(), &expected["t"], &what);
        close(found.degrees_of_freedom.unwrap(), &expected["df"], &what);
        close(p_value, &expected["p_welch"], &what);
        close_interval(found.difference_interval, &expected["ci"], &what);
        close_interval(found.lift_interval, &expected["lift_ci_log_t"], &what);
    } else {
        close(found.control_mean, &expected["rate_a"], &what);
        close(found.arm_mean, &expected["rate_b"], &what);
        close(found.statistic.unwrap(), &expected["z_pooled"], &what);
        close(p_value, &expected["p_pooled"], &what);
        close(found.ln_p_value.unwrap(), &expected["ln_p_pooled"], &what);
        close_interval(found.difference_interval, &expected["newcombe_ci"], &what);
        close_interval(found.lift_interval, &expected["lift_ci_log"], &what);
    }
}

fn check_adjusted(found: &Comparison, expected: &Value) {
    let (what, found) = (format!("adjusted {} of {}", found.metric, found.arm), found.adjusted.as_ref().unwrap());
    close(found.theta, &expected["theta"], &what);
    close(found.difference, &expected["diff"], &what);
    close(found.standard_error, &expected["se"], &what);
    close(found.statistic, &expected["t"], &what);
    close(found.p_value, &expected["p"], &what);
    close_interval(Some(found.difference_interval), &expected["ci"], &what);
    // One minus a number close to one: three digits are lost on either side.
    let expected = expected["variance_reduction"].as_f64().unwrap();
    assert!((found.variance_reduction - expected).abs() < 1e-12, "{what}");
}

#[test]
fn arms_comparisons_corrections_and_the_split_are_those_of_the_reference() {
    let Some((reference, results)) = reference().zip(results(CONTROL, Some("history"), None)) else { return };
    assert_eq!(results.arms.len(), 3);
    for arm in &results.arms {
        let expected = &reference["arms"][&arm.arm];
        let [visit, conversion, spend] = &arm.metrics[..] else { panic!("three metrics") };
        assert_eq!(Some(arm.customers), expected["n"].as_u64());
        assert_eq!(
            (visit.total, conversion.total),
            (expected["visit"].as_f64().unwrap(), expected["conversion"].as_f64().unwrap())
        );
        close(visit.mean, &expected["visit_rate"], "visit rate");
        close(spend.total, &expected["spend_sum"], "spend sum");
        close(spend.mean, &expected["spend_mean"], "spend mean");
        close(spend.variance.unwrap(), &expected["spend_var"], "spend variance");
    }
    check_ratio(&results.sample_ratio, &reference["srm"], "sample ratio");

    let family: Vec<String> = serde_json::from_value(reference["multiple_testing"]["family"].clone()).unwrap();
    assert_eq!(results.comparisons.len(), family.len());
    for comparison in &results.comparisons {
        let pair = &reference["comparisons"][format!("{} vs {CONTROL}", comparison.arm)];
        check_comparison(comparison, &pair[&comparison.metric]);
        if comparison.metric != "conversion" {
            check_adjusted(comparison, &pair[format!("{}_cuped_history", comparison.metric)]);
        }
        let index =
            family.iter().position(|name| *name == format!("{}|{}", comparison.arm, comparison.metric)).unwrap();
        close(comparison.p_holm.unwrap(), &reference["multiple_testing"]["holm"][index], "holm");
    }
    assert!(matches!(&results.decision, Decision::Winner { arm, .. } if arm == "Mens E-Mail"));
}

#[test]
fn another_control_gives_the_third_pair() {
    let Some((reference, results)) = reference().zip(results("Womens E-Mail", Some("history"), None)) else { return };
    let pair = &reference["comparisons"]["Mens E-Mail vs Womens E-Mail"];
    for comparison in results.comparisons.iter().filter(|comparison| comparison.arm == "Mens E-Mail") {
        check_comparison(comparison, &pair[&comparison.metric]);
    }
}

#[test]
fn every_group_of_every_column_is_that_of_the_reference() {
    let Some(reference) = reference() else { return };
    for (column, groups) in reference["segments"].as_object().unwrap() {
        let Some(results) = results(CONTROL, None, Some(column)) else { return };
        let expected: Vec<_> = groups.as_object().unwrap().keys().filter(|name| !name.starts_with('_')).collect();
        assert_eq!(results.groups.iter().map(|group| &group.value).collect::<Vec<_>>(), expected, "{column}");
        for group in &results.groups {
            check_ratio(&group.sample_ratio, &groups[&group.value]["srm"], &group.value);
            assert_eq!(group.comparisons.len(), 6);
            for comparison in &group.comparisons {
                check_comparison(comparison, &groups[&group.value][&comparison.arm][&comparison.metric]);
            }
        }
    }
}

/// With the segments' sizes that the sample's README states.
#[test]
fn the_sample_campaign_can_find_the_lift_it_asks_for() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/hillstrom/campaign.toml"));
    let campaign = Campaign::read(&path).unwrap_or_else(|problems| panic!("{problems:?}"));
    let segments = campaign.segmentation.rules.iter().map(|rule| rule.name.clone());
    let segments: Vec<(SegmentName, u64)> = segments.zip([8_078, 3_722, 6_933, 22_616, 22_651]).collect();
    let design = Design::plan(&campaign, &segments);
    assert_eq!(design.customers, 64_000);
    assert!(design.warnings.is_empty(), "{:?}", design.warnings);
}
