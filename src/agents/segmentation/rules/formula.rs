//! What conditions say about each other, for every customer there could be.
//!
//! "The condition is true" is an ordinary two-valued formula over sets of attribute values, once "missing" counts as
//! a value. What cannot be expressed so (arithmetic, comparisons of two attributes, parts of free text) becomes a
//! variable of its own, independent of all others: that can only make more seem possible than is. So "no customer"
//! is a proof, and a customer that was found is one only if no such variable took part or evaluation confirms it.

use std::collections::BTreeMap;

use super::{
    expression::{Comparison, Condition, Day, Number, Test, days_since_epoch},
    values::{Intervals, Known, Texts, ValueSet},
};
use crate::domain::attribute::{Attribute, AttributeType, Attributes};

#[derive(Debug, Clone, PartialEq)]
pub enum Formula {
    Constant(bool),
    /// The attribute's value is in the set.
    Within {
        attribute: String,
        set: ValueSet,
    },
    /// The variable's outcome is among `outcomes`, a bit each.
    Opaque {
        variable: usize,
        outcomes: u8,
    },
    All(Vec<Formula>),
    Any(Vec<Formula>),
}

/// The three outcomes of comparing two values, and a fourth: not comparable, as a part is unknown.
const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;
const INCOMPARABLE: u8 = 8;

#[derive(Debug, PartialEq)]
enum Question {
    Order(Number, Number),
    Days(Day, Day),
    Same(String, String),
    Part(Test),
}

/// Translates conditions over one set of attributes, giving equal questions the same variable.
pub struct Translator<'a> {
    attributes: &'a Attributes,
    variables: Vec<(Question, u8)>,
}

impl<'a> Translator<'a> {
    pub fn new(attributes: &'a Attributes) -> Self {
        Self { attributes, variables: Vec::new() }
    }

    /// The formula that holds exactly for the customers for whom the condition is true.
    pub fn formula(&mut self, condition: &Condition) -> Formula {
        match condition {
            Condition::Constant(value) => Formula::Constant(*value),
            Condition::All(parts) => Formula::All(parts.iter().map(|part| self.formula(part)).collect()),
            Condition::Any(parts) => Formula::Any(parts.iter().map(|part| self.formula(part)).collect()),
            Condition::Test(test) => self.test(test),
        }
    }

    fn test(&mut self, test: &Test) -> Formula {
        match test {
            Test::Flag { attribute, is } => within(attribute, Known::Flags { yes: *is, no: !is }),
            Test::Known { attribute, known } => {
                let present = self.known_values(attribute);
                let set = if *known { present } else { present.complement() };
                Formula::Within { attribute: attribute.clone(), set }
            }
            Test::Number { left: Number::Attribute(attribute), is, right: Number::Literal(value) } => {
                within(attribute, Known::Numbers(numbers(*is, *value)))
            }
            Test::Date { left: Day::Attribute(attribute), is, right: Day::Literal(date) } => {
                within(attribute, Known::Numbers(numbers(*is, f64::from(days_since_epoch(*date)))))
            }
            Test::Text { attribute, is, one_of } => {
                let texts = if *is { Texts::Only(one_of.clone()) } else { Texts::Except(one_of.clone()) };
                within(attribute, Known::Texts(texts))
            }
            Test::Number { left, is, right } => {
                let outcomes = if left.is_total() && right.is_total() {
                    LESS | EQUAL | GREATER
                } else {
                    LESS | EQUAL | GREATER | INCOMPARABLE
                };
                let mut needed = Vec::new();
                left.collect_needed(&mut needed);
                right.collect_needed(&mut needed);
                let variable = match self.find(&Question::Order(right.clone(), left.clone())) {
                    Some(variable) => Formula::Opaque { variable, outcomes: outcomes_of(is.mirrored()) },
                    None => Formula::Opaque {
                        variable: self.variable(Question::Order(left.clone(), right.clone()), outcomes),
                        outcomes: outcomes_of(*is),
                    },
                };
                self.given(&needed, variable)
            }
            Test::Date { left, is, right } => {
                let variable = self.variable(Question::Days(left.clone(), right.clone()), LESS | EQUAL | GREATER);
                let needed: Vec<&str> = [left, right]
                    .into_iter()
                    .filter_map(|day| match day {
                        Day::Attribute(attribute) => Some(attribute.as_str()),
                        Day::Literal(_) => None,
                    })
                    .collect();
                self.given(&needed, Formula::Opaque { variable, outcomes: outcomes_of(*is) })
            }
            Test::SameText { left, right, same } => {
                let variable = self.variable(Question::Same(left.clone(), right.clone()), EQUAL | LESS);
                let outcomes = if *same { EQUAL } else { LESS };
                self.given(&[left, right], Formula::Opaque { variable, outcomes })
            }
            Test::Part { attribute, does, place, text } => {
                let declared = self.attributes.get(attribute).map(|attribute| attribute.values.as_slice());
                if let Some(values @ [_, ..]) = declared {
                    let only = values.iter().filter(|value| place.finds(text, value) == *does).cloned().collect();
                    return within(attribute, Known::Texts(Texts::Only(only)));
                }
                let positive =
                    Test::Part { attribute: attribute.clone(), does: true, place: *place, text: text.clone() };
                let variable = self.variable(Question::Part(positive), EQUAL | LESS);
                let outcomes = if *does { EQUAL } else { LESS };
                self.given(&[attribute], Formula::Opaque { variable, outcomes })
            }
        }
    }

    /// `formula` for customers who have these attributes.
    fn given(&self, attributes: &[&str], formula: Formula) -> Formula {
        let is_known = |attribute: &&str| Formula::Within {
            attribute: (*attribute).to_owned(),
            set: self.known_values(attribute),
        };
        Formula::All(attributes.iter().map(is_known).chain([formula]).collect())
    }

    fn known_values(&self, attribute: &str) -> ValueSet {
        let known = match self.attribute(attribute).kind {
            AttributeType::Number | AttributeType::Integer | AttributeType::Date => Known::Numbers(Intervals::all()),
            AttributeType::Text => Known::Texts(Texts::Except(Default::default())),
            AttributeType::Boolean => Known::Flags { yes: true, no: true },
        };
        ValueSet { missing: false, known }
    }

    fn attribute(&self, name: &str) -> &'a Attribute {
        self.attributes.get(name).expect("a condition is only parsed with attributes that exist")
    }

    fn find(&self, question: &Question) -> Option<usize> {
        self.variables.iter().position(|(known, _)| known == question)
    }

    fn variable(&mut self, question: Question, outcomes: u8) -> usize {
        self.find(&question).unwrap_or_else(|| {
            self.variables.push((question, outcomes));
            self.variables.len() - 1
        })
    }
}

fn within(attribute: &str, known: Known) -> Formula {
    Formula::Within { attribute: attribute.to_owned(), set: ValueSet { missing: false, known } }
}

fn numbers(is: Comparison, value: f64) -> Intervals {
    match is {
        Comparison::Less => Intervals::new(f64::MIN, value.next_down()),
        Comparison::AtMost => Intervals::new(f64::MIN, value),
        Comparison::Equal => Intervals::new(value, value),
        Comparison::NotEqual => Intervals::new(value, value).complement(),
        Comparison::AtLeast => Intervals::new(value, f64::MAX),
        Comparison::Greater => Intervals::new(value.next_up(), f64::MAX),
    }
}

fn outcomes_of(is: Comparison) -> u8 {
    match is {
        Comparison::Less => LESS,
        Comparison::AtMost => LESS | EQUAL,
        Comparison::Equal => EQUAL,
        Comparison::NotEqual => LESS | GREATER,
        Comparison::AtLeast => EQUAL | GREATER,
        Comparison::Greater => GREATER,
    }
}

impl Number {
    /// Known whenever its attributes are.
    fn is_total(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Attribute(_) | Self::Length(_) => true,
            Self::Negative(number) => number.is_total(),
            Self::Arithmetic(..) | Self::If(..) => false,
        }
    }

    /// The attributes without which it is unknown.
    fn collect_needed<'n>(&'n self, needed: &mut Vec<&'n str>) {
        match self {
            Self::Attribute(attribute) | Self::Length(attribute) => needed.push(attribute),
            Self::Negative(number) => number.collect_needed(needed),
            Self::Arithmetic(_, left, right) => {
                left.collect_needed(needed);
                right.collect_needed(needed);
            }
            Self::Literal(_) | Self::If(..) => {}
        }
    }
}

/// A formula that must hold, or must not.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'f> {
    pub formula: &'f Formula,
    pub holds: bool,
}

/// Customers as a box: for each attribute named, the values it can have; for each variable, its outcomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Region {
    pub values: BTreeMap<String, ValueSet>,
    pub outcomes: BTreeMap<usize, u8>,
}

/// The search was given up: nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooComplex;

/// How many formulas a search may look at before it is given up.
const STEPS: u32 = 100_000;

impl Translator<'_> {
    /// Customers for whom all goals are met; `None` proves that there cannot be one.
    pub fn search(&self, goals: &[Goal<'_>]) -> Result<Option<Region>, TooComplex> {
        self.branch(goals.to_vec(), Region::default(), &mut { STEPS })
    }

    /// Depth first, as in DPLL: what leaves no choice is settled first, then the choice with the fewest ways.
    fn branch(
        &self,
        mut goals: Vec<Goal<'_>>,
        mut region: Region,
        steps: &mut u32,
    ) -> Result<Option<Region>, TooComplex> {
        let mut choices = Vec::new();
        while let Some(goal) = goals.pop() {
            *steps = steps.checked_sub(1).ok_or(TooComplex)?;
            match (goal.formula, goal.holds) {
                (Formula::All(parts), true) | (Formula::Any(parts), false) => {
                    goals.extend(parts.iter().map(|formula| Goal { formula, ..goal }));
                }
                (Formula::All(_), false) | (Formula::Any(_), true) => choices.push(goal),
                (leaf, holds) => match self.restricted(&region, leaf, holds) {
                    Some(smaller) => region = smaller,
                    None => return Ok(None),
                },
            }
        }

        // For every choice, what is still possible. One that holds throughout the region already asks for nothing.
        let mut open: Vec<(Goal<'_>, Vec<Goal<'_>>)> = Vec::new();
        for choice in choices {
            let (Formula::All(parts) | Formula::Any(parts)) = choice.formula else { continue };
            let mut ways = Vec::new();
            let mut is_met = false;
            for formula in parts {
                *steps = steps.checked_sub(1).ok_or(TooComplex)?;
                if matches!(formula, Formula::All(_) | Formula::Any(_)) {
                    ways.push(Goal { formula, ..choice });
                } else if let Some(smaller) = self.restricted(&region, formula, choice.holds) {
                    is_met |= smaller == region;
                    ways.push(Goal { formula, ..choice });
                }
            }
            if !is_met {
                open.push((choice, ways));
            }
        }
        let Some(fewest) = (0..open.len()).min_by_key(|index| open[*index].1.len()) else { return Ok(Some(region)) };
        let (_, ways) = open.swap_remove(fewest);
        for way in ways {
            let goals = open.iter().map(|(choice, _)| *choice).chain([way]).collect();
            if let Some(found) = self.branch(goals, region.clone(), steps)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The part of the region where the leaf holds (or does not); `None` where that is empty.
    fn restricted(&self, region: &Region, leaf: &Formula, holds: bool) -> Option<Region> {
        let mut region = region.clone();
        match leaf {
            Formula::Constant(value) if *value == holds => {}
            Formula::Within { attribute, set } => {
                let declared = self.attribute(attribute);
                let set = if holds { set.clone() } else { set.complement() };
                let values = region.values.entry(attribute.clone()).or_insert_with(|| ValueSet::domain(declared));
                *values = values.intersection(&set, declared.kind);
                if values.is_empty() {
                    return None;
                }
            }
            Formula::Opaque { variable, outcomes } => {
                let possible = self.variables[*variable].1;
                let left = region.outcomes.entry(*variable).or_insert(possible);
                *left &= if holds { *outcomes } else { !*outcomes };
                if *left == 0 {
                    return None;
                }
            }
            Formula::Constant(_) | Formula::All(_) | Formula::Any(_) => return None,
        }
        Some(region)
    }
}
