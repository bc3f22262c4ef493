//! Experimentation: designs the test, assigns customers, analyses outcomes.
//!
//! [`design`] says before anything is written what the test can find out; [`assign`] puts every customer into an arm;
//! afterwards [`arm_column`] or [`join`] read what customers did into an [`accumulate::Accumulator`], from which
//! [`infer`] draws the [`analysis::Results`] and their decision.

pub mod accumulate;
pub mod analysis;
pub mod arm_column;
pub mod assign;
mod decide;
pub mod deliver;
pub mod deliveries;
pub mod design;
pub mod infer;
pub mod join;
pub mod mlflow;
pub mod outcomes;
mod point;
pub mod simulate;
pub mod tracking;
pub mod words;

#[cfg(test)]
pub(crate) fn sample_campaign(experiment: &str) -> crate::config::Campaign {
    let source = format!(
        r#"
[campaign]
id = "spring"
name = "Spring"
locales = ["en"]
channels = ["email"]
[customers]
id = "customer_id"
[segmentation]
method = "rules"
rules = [{{ name = "Everyone" }}]
[generation]
[experiment]
primary_metric = "conversion"
holdout = 0.1
control = 0.3
{experiment}
[[experiment.arms]]
name = "friendly"
tone = "friendly"
weight = 2.0
[[experiment.arms]]
name = "urgent"
tone = "urgent"
"#
    );
    crate::config::Campaign::parse(&source, std::path::Path::new("campaign.toml")).expect("the sample is valid")
}
