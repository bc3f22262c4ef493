//! What can be said against rules before any customer is seen: rules that never apply, rules that overlap where that
//! is refused, customers whom no rule takes.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Date32Array, Float64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::{
    Rule,
    expression::Condition,
    formula::{Formula, Goal, Region, Translator},
    values::{Value, ValueSet},
};
use crate::{
    config::campaign::Overlap,
    domain::{
        attribute::{Attribute, AttributeType, Attributes},
        customer::{Shard, ShardId},
        problem::Problem,
    },
};

/// Every problem is a fact: where the analysis cannot decide, nothing is said, except that rules must be shown to
/// take every customer.
///
/// A last rule without condition is never called unreachable: it is a safety net even where it catches nobody.
pub fn check(rules: &[Rule], overlap: Overlap, attributes: &Attributes) -> Vec<Problem> {
    let mut translator = Translator::new(attributes);
    let formulas: Vec<(&Condition, Formula)> = rules
        .iter()
        .filter_map(|rule| rule.condition.as_ref())
        .map(|condition| (condition, translator.formula(condition)))
        .collect();
    let checked = Checked { rules, formulas, translator, attributes };
    let mut problems = checked.unreachable();
    if overlap == Overlap::Refuse {
        problems.extend(checked.overlapping());
    }
    if rules.last().is_some_and(|rule| rule.condition.is_some()) {
        problems.extend(checked.uncovered());
    }
    problems
}

struct Checked<'a> {
    rules: &'a [Rule],
    /// Of the rules with a condition, which stand before the one without.
    formulas: Vec<(&'a Condition, Formula)>,
    translator: Translator<'a>,
    attributes: &'a Attributes,
}

impl Checked<'_> {
    fn goal(&self, rule: usize, holds: bool) -> Goal<'_> {
        Goal { formula: &self.formulas[rule].1, holds }
    }

    fn unreachable(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for index in 0..self.formulas.len() {
            let name = &self.rules[index].name;
            let problem = if self.translator.search(&[self.goal(index, true)]) == Ok(None) {
                Problem::new(
                    format!("rule `{name}` can never match: no customer fulfils its condition"),
                    "correct the condition or remove the rule",
                )
            } else {
                let mut goals = vec![self.goal(index, true)];
                goals.extend((0..index).map(|earlier| self.goal(earlier, false)));
                if self.translator.search(&goals) != Ok(None) {
                    continue;
                }
                let alone = (0..index).find(|earlier| {
                    self.translator.search(&[self.goal(index, true), self.goal(*earlier, false)]) == Ok(None)
                });
                let by = match alone {
                    Some(earlier) => format!("the earlier rule `{}` takes", self.rules[earlier].name),
                    None => "the earlier rules together take".to_owned(),
                };
                Problem::new(
                    format!("rule `{name}` is unreachable: {by} every customer that it would match"),
                    "move it before the more general rule, narrow that one, or remove it",
                )
            };
            problems.push(problem.at_field(format!("segmentation.rules[{index}].when")));
        }
        problems
    }

    fn overlapping(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for second in 0..self.formulas.len() {
            for first in 0..second {
                let goals = [self.goal(first, true), self.goal(second, true)];
                let Ok(Some(region)) = self.translator.search(&goals) else { continue };
                let customer = self.example(&region);
                if ![first, second].iter().all(|rule| customer.is_matched_by(self.formulas[*rule].0)) {
                    continue;
                }
                problems.push(
                    Problem::new(
                        format!(
                            "rules `{}` and `{}` overlap: a customer with {} matches both",
                            self.rules[first].name, self.rules[second].name, customer.words
                        ),
                        "change one of them so that no customer matches both, or set overlap = \"first_wins\"",
                    )
                    .at_field(format!("segmentation.rules[{second}].when")),
                );
            }
        }
        problems
    }

    fn uncovered(&self) -> Option<Problem> {
        let goals: Vec<_> = (0..self.formulas.len()).map(|rule| self.goal(rule, false)).collect();
        let message = match self.translator.search(&goals) {
            Ok(None) => return None,
            Ok(Some(region)) => {
                let customer = self.example(&region);
                let is_proven = self.formulas.iter().all(|(condition, _)| !customer.is_matched_by(condition));
                is_proven.then(|| format!("a customer with {} matches no rule", customer.words))
            }
            Err(_) => None,
        };
        Some(
            Problem::new(
                message.unwrap_or_else(|| "it cannot be shown that every customer matches a rule".to_owned()),
                "end the list with a rule that has a name and no `when`: it takes everybody else",
            )
            .at_field(format!("segmentation.rules[{}]", self.rules.len() - 1)),
        )
    }

    /// One customer of the region; attributes that it does not speak of get any value that they can have.
    fn example(&self, region: &Region) -> Example {
        let mut phrases = Vec::new();
        let mut columns = Vec::new();
        for attribute in self.attributes.iter() {
            let domain = ValueSet::domain(attribute);
            let constraint = region.values.get(&attribute.name);
            let value = constraint.unwrap_or(&domain).example(attribute.kind);
            if constraint.is_some_and(|set| *set != domain || !region.outcomes.is_empty()) {
                phrases.push(match &value {
                    Value::Missing => format!("no {}", attribute.name),
                    known => format!("{} {known}", attribute.name),
                });
            }
            columns.push((Field::new(&attribute.name, data_type(attribute), true), array(attribute, &value)));
        }
        if phrases.is_empty() {
            phrases.push("any values".to_owned());
        }
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let rows = RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )
        .expect("every column has one row and its field's type");
        Example { words: phrases.join(" and "), customer: Shard { id: ShardId(0), rows } }
    }
}

struct Example {
    /// E.g. `age = 45 and no tier`.
    words: String,
    customer: Shard,
}

impl Example {
    fn is_matched_by(&self, condition: &Condition) -> bool {
        condition.evaluate(&self.customer)[0].is_true()
    }
}

fn data_type(attribute: &Attribute) -> DataType {
    match attribute.kind {
        AttributeType::Number | AttributeType::Integer => DataType::Float64,
        AttributeType::Boolean => DataType::Boolean,
        AttributeType::Text => DataType::Utf8,
        AttributeType::Date => DataType::Date32,
    }
}

fn array(attribute: &Attribute, value: &Value) -> ArrayRef {
    match attribute.kind {
        AttributeType::Number | AttributeType::Integer => Arc::new(Float64Array::from_iter([match value {
            Value::Number(number) => Some(*number),
            _ => None,
        }])),
        AttributeType::Boolean => Arc::new(BooleanArray::from_iter([match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }])),
        AttributeType::Text => Arc::new(StringArray::from_iter([match value {
            Value::Text(text) => Some(text),
            _ => None,
        }])),
        AttributeType::Date => Arc::new(Date32Array::from_iter([match value {
            Value::Day(day) => Some(*day as i32),
            _ => None,
        }])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        agents::segmentation::{
            rules::{Rules, formula::TooComplex},
            testing::{attribute, flags, ids, numbers, shard, texts},
        },
        config::campaign::RuleSpec,
    };

    fn campaign_attributes() -> Attributes {
        let ranged = Attribute { min: Some(0.0), max: Some(4.0), ..attribute("age", AttributeType::Number) };
        let declared = Attribute {
            values: vec!["gold".into(), "silver".into()],
            required: true,
            ..attribute("tier", AttributeType::Text)
        };
        Attributes::new(vec![
            ranged,
            declared,
            attribute("city", AttributeType::Text),
            attribute("newbie", AttributeType::Boolean),
            attribute("visits", AttributeType::Integer),
            attribute("since", AttributeType::Date),
        ])
    }

    fn specs(conditions: &[&str]) -> Vec<RuleSpec> {
        let spec = |(index, when): (usize, &&str)| RuleSpec {
            name: format!("{}", char::from(b'A' + index as u8)).parse().unwrap(),
            when: (!when.is_empty()).then(|| (*when).to_owned()),
            description: None,
        };
        conditions.iter().enumerate().map(spec).collect()
    }

    /// An empty condition stands for none.
    fn problems(conditions: &[&str], overlap: Overlap) -> Vec<String> {
        match Rules::new(&specs(conditions), overlap, &campaign_attributes()) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                problems.into_iter().map(|p| format!("{}: {}", p.field.unwrap_or_default(), p.message)).collect()
            }
        }
    }

    #[test]
    fn rules_that_contradict_themselves_or_each_other_are_named() {
        let first_wins = |conditions: &[&str]| problems(conditions, Overlap::FirstWins);
        assert_eq!(
            first_wins(&["age > 3 && age < 4", "visits > 1 && visits < 2", ""]),
            ["segmentation.rules[1].when: rule `B` can never match: no customer fulfils its condition"]
        );
        assert_eq!(
            first_wins(&["age > 1", "newbie", "age > 2 && visits > 3", ""]),
            [
                "segmentation.rules[2].when: rule `C` is unreachable: the earlier rule `A` takes every customer that it would match"
            ]
        );
        assert_eq!(
            first_wins(&["age > 2", "age < 3", "age == 1.5 || age == 3.5", ""]),
            [
                "segmentation.rules[2].when: rule `C` is unreachable: the earlier rules together take every customer that it would match"
            ]
        );
        assert!(
            first_wins(&["since < timestamp('2026-01-01') && since > timestamp('2025-12-31')", ""])[0]
                .contains("never")
        );
        assert!(first_wins(&["tier == 'bronze'", ""])[0].contains("never"));
        assert!(first_wins(&["tier.endsWith('er') && tier != 'silver'", ""])[0].contains("never"));
        assert!(first_wins(&["age > 5", ""])[0].contains("never"));
        assert!(first_wins(&["age > visits", "visits < age && newbie", ""])[0].contains("unreachable"));
        assert_eq!(first_wins(&["city.startsWith('A') && city == 'Bari'", "age * 2 > 100", ""]), [] as [String; 0]);
    }

    #[test]
    fn a_last_rule_may_have_a_condition_only_if_nobody_is_left() {
        let first_wins = |conditions: &[&str]| problems(conditions, Overlap::FirstWins);
        assert_eq!(first_wins(&["tier == 'gold'", "tier == 'silver'"]), [] as [String; 0]);
        assert_eq!(first_wins(&["age > 2", "age <= 2", "age == null"]), [] as [String; 0]);
        assert_eq!(first_wins(&["city.contains('x')", "!city.contains('x')", "!has(city)"]), [] as [String; 0]);
        assert_eq!(first_wins(&["age > visits", "age <= visits", "age == null || visits == null"]), [] as [String; 0]);
        assert_eq!(
            first_wins(&["age > 2", "age <= 2"]),
            ["segmentation.rules[1]: a customer with no age matches no rule"]
        );
        assert_eq!(
            first_wins(&["age > 2 || age == null", "age < 2"]),
            ["segmentation.rules[1]: a customer with age = 2 matches no rule"]
        );
        assert_eq!(
            first_wins(&["age * 2 > 1", "age * 2 <= 1", "age == null"]),
            ["segmentation.rules[2]: it cannot be shown that every customer matches a rule"]
        );
    }

    #[test]
    fn overlaps_are_refused_with_a_customer_who_shows_them() {
        let refuse = |conditions: &[&str]| problems(conditions, Overlap::Refuse);
        assert_eq!(
            refuse(&["age > 2", "age < 3 && newbie", ""]),
            [
                "segmentation.rules[1].when: rules `A` and `B` overlap: a customer with age = 2.5 and newbie = true matches both"
            ]
        );
        assert_eq!(refuse(&["age >= 2", "age < 2", ""]), [] as [String; 0]);
        assert_eq!(
            refuse(&["city.startsWith('Ba')", "city == 'Bari'", ""]),
            ["segmentation.rules[1].when: rules `A` and `B` overlap: a customer with city = \"Bari\" matches both"]
        );
        assert_eq!(refuse(&["age * 2 > 100", "age < 1", ""]), [] as [String; 0]);
    }

    /// Every combination of values that can matter for conditions whose literals are 1, 2, 3, gold and Rome.
    fn grid() -> Shard {
        let ages: Vec<_> = (0..=8).map(|half| Some(f64::from(half) / 2.0)).chain([None]).collect();
        let visits: Vec<_> = (0..=4).map(|whole| Some(f64::from(whole))).chain([None]).collect();
        let cities = [Some("Rome"), Some("Bari"), None];
        let tiers = [Some("gold"), Some("silver")];
        let newbies = [Some(true), Some(false), None];
        let mut rows = Vec::new();
        for age in &ages {
            for visit in &visits {
                for city in cities {
                    for tier in tiers {
                        rows.extend(newbies.map(|newbie| (*age, *visit, city, tier, newbie)));
                    }
                }
            }
        }
        shard(
            &ids(rows.len()),
            [
                ("age", numbers(rows.iter().map(|row| row.0))),
                ("visits", numbers(rows.iter().map(|row| row.1))),
                ("city", texts(rows.iter().map(|row| row.2))),
                ("tier", texts(rows.iter().map(|row| row.3))),
                ("newbie", flags(rows.iter().map(|row| row.4))),
            ],
        )
    }

    fn expression() -> impl Strategy<Value = String> {
        let order = prop::sample::select(vec!["<", "<=", "==", "!=", ">=", ">"]);
        let number = (prop::sample::select(vec!["age", "visits"]), order, 1..4)
            .prop_map(|(attribute, order, literal)| format!("{attribute} {order} {literal}"));
        let other = prop::sample::select(vec![
            "newbie",
            "tier == 'gold'",
            "city == 'Rome'",
            "city in ['Rome', 'Bari']",
            "has(age)",
            "newbie == null",
            "city != null",
            "tier.startsWith('g')",
            "visits in [1, 3]",
        ]);
        prop_oneof![3 => number, 2 => other.prop_map(str::to_owned)].prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" && "))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
                inner.prop_map(|part| format!("!({part})")),
            ]
        })
    }

    proptest! {
        /// Both ways: what is said to be impossible does not occur, and what is said to be possible is shown.
        #[test]
        fn the_analysis_agrees_with_trying_every_customer(sources in prop::collection::vec(expression(), 1..5)) {
            let attributes = campaign_attributes();
            let types = attributes.iter().map(|attribute| (attribute.name.clone(), attribute.kind)).collect();
            let rules: Vec<Rule> = specs(&sources.iter().map(String::as_str).collect::<Vec<_>>())
                .iter()
                .map(|spec| Rule::new(spec, &types).unwrap())
                .collect();
            let grid = grid();
            let matches: Vec<Vec<bool>> = rules
                .iter()
                .map(|rule| rule.condition.as_ref().unwrap().evaluate(&grid).iter().map(|t| t.is_true()).collect())
                .collect();
            let mut translator = Translator::new(&attributes);
            let formulas: Vec<_> = rules
                .iter()
                .map(|rule| (rule.condition.as_ref().unwrap(), translator.formula(rule.condition.as_ref().unwrap())))
                .collect();
            let checked = Checked { rules: &rules, formulas, translator, attributes: &attributes };
            let last = rules.len() - 1;
            // The last rule without the others; two rules at once; nobody at all.
            let mut wanted: Vec<Vec<(usize, bool)>> =
                vec![(0..=last).map(|rule| (rule, rule == last)).collect(), (0..=last).map(|rule| (rule, false)).collect()];
            wanted.push(vec![(0, true), (last, true)]);
            for wanted in wanted {
                let goals: Vec<_> = wanted.iter().map(|(rule, holds)| checked.goal(*rule, *holds)).collect();
                let on_grid = (0..grid.len()).any(|row| wanted.iter().all(|(rule, holds)| matches[*rule][row] == *holds));
                match checked.translator.search(&goals) {
                    Ok(None) => prop_assert!(!on_grid, "{:?} {:?}", sources, wanted),
                    Ok(Some(region)) => {
                        let customer = checked.example(&region);
                        for (rule, holds) in &wanted {
                            let condition = checked.formulas[*rule].0;
                            prop_assert_eq!(customer.is_matched_by(condition), *holds, "{:?} {}", sources, customer.words);
                        }
                    }
                    Err(TooComplex) => prop_assert!(false, "too complex: {:?}", sources),
                }
            }
        }
    }
}
