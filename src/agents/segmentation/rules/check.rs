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
                    Some(earlier) => format!("the earlier rule `{}`", self.rules[earlier].name),
                    None => "the earlier rules".to_owned(),
                };
                Problem::new(
                    format!("rule `{name}` is unreachable: {by} already matches every customer that it would match"),
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
