//! The method `rules`: conditions in the customers' own terms, the first that is true decides.

mod check;
mod evaluate;
mod expression;
mod formula;
mod parse;
mod values;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::{
    expression::Condition,
    parse::{Fault, Types},
};
use super::keywords;
use crate::{
    config::campaign::{Overlap, RuleSpec},
    domain::{
        attribute::Attributes,
        customer::Shard,
        id::SegmentName,
        problem::Problem,
        segment::{Labels, Segment},
    },
};

/// Segments are counted in `u16`; long before that nobody can oversee them.
const MOST_RULES: usize = 1_000;

/// Checked rules; written as their text and the attributes' types, and parsed again when read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub struct Rules {
    types: Types,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    name: SegmentName,
    description: Option<String>,
    source: Option<String>,
    /// `None`: takes everybody who is left.
    condition: Option<Condition>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    attributes: Types,
    rules: Vec<RuleSpec>,
}

impl Rules {
    pub fn new(specs: &[RuleSpec], overlap: Overlap, attributes: &Attributes) -> Result<Self, Vec<Problem>> {
        let types: Types = attributes.iter().map(|attribute| (attribute.name.clone(), attribute.kind)).collect();
        let mut problems = Vec::new();
        let mut rules = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let field = format!("segmentation.rules[{index}]");
            if let Some(earlier) = specs[..index].iter().position(|earlier| earlier.name == spec.name) {
                problems.push(
                    Problem::new(
                        format!("rules {} and {} are both called `{}`", earlier + 1, index + 1, spec.name),
                        "give every rule its own name; conditions for one segment can be joined with ||",
                    )
                    .at_field(format!("{field}.name")),
                );
            }
            if spec.when.is_none() && index + 1 < specs.len() {
                problems.push(
                    Problem::new(
                        format!("rule `{}` has no condition, so the rules after it are never asked", spec.name),
                        "give it a `when`, or move it to the end",
                    )
                    .at_field(&field),
                );
            }
            match Rule::new(spec, &types) {
                Ok(rule) => rules.push(rule),
                Err(fault) => problems.push(describe(&spec.name, fault).at_field(format!("{field}.when"))),
            }
        }
        if specs.is_empty() || specs.len() > MOST_RULES {
            problems.push(
                Problem::new(
                    format!("there are {} rules", specs.len()),
                    format!("write 1 to {MOST_RULES} [[segmentation.rules]]"),
                )
                .at_field("segmentation"),
            );
        }
        if problems.is_empty() {
            problems = check::check(&rules, overlap, attributes);
        }
        if problems.is_empty() { Ok(Self { types, rules }) } else { Err(problems) }
    }

    pub fn segments(&self) -> Vec<Segment> {
        self.rules.iter().map(Rule::segment).collect()
    }

    /// A customer outside of what the campaign file declared (a required value missing, say) can match no rule
    /// even where the rules cover everybody; the last rule takes them.
    pub fn label(&self, shard: &Shard) -> Labels {
        let last = self.rules.len() - 1;
        let no_rule = self.rules.len();
        let mut matched = vec![no_rule; shard.len()];
        for (index, rule) in self.rules.iter().enumerate().rev() {
            match &rule.condition {
                Some(condition) => {
                    for (first, truth) in matched.iter_mut().zip(condition.evaluate(shard)) {
                        if truth.is_true() {
                            *first = index;
                        }
                    }
                }
                None => matched.fill(index),
            }
        }
        let reasons = self.rules.iter().map(|rule| rule.reason()).chain(["no rule matched".to_owned()]).collect();
        let index = |rule: &usize| u16::try_from(*rule).expect("there are at most 1,000 rules");
        Labels {
            segments: matched.iter().map(|rule| index(rule.min(&last))).collect(),
            reason_of: matched.iter().map(|rule| u32::from(index(rule))).collect(),
            reasons,
        }
    }

    /// Adds, for every two rules with a condition (by index, the one that wins first), how many of the shard's
    /// customers match both.
    pub fn count_overlaps(&self, shard: &Shard, counts: &mut BTreeMap<(u16, u16), u64>) {
        let mut matching: Vec<Vec<u16>> = vec![Vec::new(); shard.len()];
        for (index, condition) in (0..).zip(self.rules.iter().filter_map(|rule| rule.condition.as_ref())) {
            for (rules, truth) in matching.iter_mut().zip(condition.evaluate(shard)) {
                if truth.is_true() {
                    rules.push(index);
                }
            }
        }
        for rules in matching {
            for (position, second) in rules.iter().enumerate() {
                for first in &rules[..position] {
                    *counts.entry((*first, *second)).or_default() += 1;
                }
            }
        }
    }
}

impl Rule {
    fn new(spec: &RuleSpec, types: &Types) -> Result<Self, Fault> {
        Ok(Self {
            name: spec.name.clone(),
            description: spec.description.clone(),
            source: spec.when.clone(),
            condition: spec.when.as_ref().map(|source| parse::parse(source, types)).transpose()?,
        })
    }

    fn reason(&self) -> String {
        self.condition.as_ref().map_or_else(|| "no earlier rule matched".to_owned(), Condition::to_string)
    }

    fn segment(&self) -> Segment {
        let description = match (&self.description, &self.condition) {
            (Some(description), _) => description.clone(),
            (None, Some(condition)) => format!("Customers for whom {condition}."),
            (None, None) => "Customers whom no earlier rule takes.".to_owned(),
        };
        let keywords = keywords::of([self.name.as_str(), self.description.as_deref().unwrap_or("")]);
        Segment { name: self.name.clone(), description, keywords }
    }
}

fn describe(rule: &SegmentName, fault: Fault) -> Problem {
    let line = if fault.line > 1 { format!("line {}, ", fault.line) } else { String::new() };
    let token = if fault.token.is_empty() { String::new() } else { format!(" at `{}`", fault.token) };
    Problem::new(format!("rule `{rule}`, {line}column {}{token}: {}", fault.column, fault.message), fault.remedy)
}

impl From<Rules> for Saved {
    fn from(rules: Rules) -> Self {
        let spec = |rule: Rule| RuleSpec { name: rule.name, when: rule.source, description: rule.description };
        Self { attributes: rules.types, rules: rules.rules.into_iter().map(spec).collect() }
    }
}

impl TryFrom<Saved> for Rules {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, String> {
        if saved.rules.is_empty() || saved.rules.len() > MOST_RULES {
            return Err(format!("a model has 1 to {MOST_RULES} rules"));
        }
        let rules = saved
            .rules
            .iter()
            .map(|spec| Rule::new(spec, &saved.attributes).map_err(|fault| describe(&spec.name, fault).message));
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, types: saved.attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::segmentation::testing::{attributes, ids, numbers, shard};

    fn spec(name: &str, when: Option<&str>) -> RuleSpec {
        RuleSpec { name: name.parse().unwrap(), when: when.map(str::to_owned), description: None }
    }

    fn rules(specs: &[RuleSpec]) -> Result<Rules, Vec<Problem>> {
        Rules::new(specs, Overlap::FirstWins, &attributes("monetary: number, recency_days: number"))
    }

    #[test]
    fn the_first_true_condition_decides_and_its_words_are_the_reason() {
        let rules = rules(&[
            spec("High-Value Recent", Some("monetary > 200 && recency_days < 30")),
            spec("Recent", Some("recency_days < 60")),
            spec("Standard", None),
        ])
        .unwrap();
        let shard = shard(
            &ids(4),
            [
                ("monetary", numbers([Some(300.0), None, Some(300.0), None])),
                ("recency_days", numbers([Some(10.0), Some(10.0), Some(90.0), None])),
            ],
        );
        let labels = rules.label(&shard);
        assert_eq!(labels.segments, [0, 1, 2, 2]);
        let reasons: Vec<_> = labels.reason_of.iter().map(|reason| labels.reasons[*reason as usize].as_str()).collect();
        assert_eq!(
            reasons,
            [
                "monetary is above 200 and recency_days is below 30",
                "recency_days is below 60",
                "no earlier rule matched",
                "no earlier rule matched",
            ]
        );
        let mut overlaps = BTreeMap::new();
        rules.count_overlaps(&shard, &mut overlaps);
        assert_eq!(overlaps, BTreeMap::from([((0, 1), 1)]));
        assert_eq!(rules.segments()[0].keywords, ["value", "recent"]);
    }

    #[test]
    fn every_faulty_rule_is_reported_with_its_field() {
        let problems = rules(&[
            spec("A", Some("monetray > 200")),
            spec("B", None),
            spec("A", Some("monetary > 'x'")),
            spec("C", Some("monetary > 1")),
        ])
        .unwrap_err();
        let found: Vec<_> = problems.iter().map(|p| (p.field.as_deref().unwrap(), p.message.as_str())).collect();
        assert_eq!(
            found,
            [
                ("segmentation.rules[0].when", "rule `A`, column 1 at `monetray`: there is no attribute `monetray`"),
                ("segmentation.rules[1]", "rule `B` has no condition, so the rules after it are never asked"),
                ("segmentation.rules[2].name", "rules 1 and 3 are both called `A`"),
                (
                    "segmentation.rules[2].when",
                    "rule `A`, column 10 at `>`: a number (`monetary`) cannot be compared this way with text"
                ),
            ]
        );
        assert_eq!(problems[0].remedy, "did you mean `monetary`? The attributes are: monetary, recency_days");
    }

    #[test]
    fn a_customer_whom_no_rule_takes_despite_the_declarations_is_still_labelled() {
        let declared = attributes("age: number")
            .iter()
            .map(|a| crate::domain::attribute::Attribute { required: true, ..a.clone() })
            .collect();
        let specs = [spec("Old", Some("age >= 50")), spec("Young", Some("age < 50"))];
        let rules = Rules::new(&specs, Overlap::Refuse, &Attributes::new(declared)).unwrap();
        let labels = rules.label(&shard(&ids(1), [("age", numbers([None]))]));
        assert_eq!(labels.segments, [1]);
        assert_eq!(labels.reasons[labels.reason_of[0] as usize], "no rule matched");
    }
}
