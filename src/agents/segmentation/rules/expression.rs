//! A rule's condition, typed: what could not be evaluated cannot be built.

use std::collections::BTreeSet;

use jiff::civil::Date;

/// What a rule asks of a customer: true, false or, where a value is missing, unknown (Kleene's three-valued logic).
///
/// There is no negation: it is pushed into the tests when the expression is read, which De Morgan's laws allow in
/// this logic too.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Constant(bool),
    Test(Test),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

/// The indivisible part of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Flag {
        attribute: String,
        is: bool,
    },
    /// The only test that is never unknown.
    Known {
        attribute: String,
        known: bool,
    },
    Number {
        left: Number,
        is: Comparison,
        right: Number,
    },
    Date {
        left: Day,
        is: Comparison,
        right: Day,
    },
    Text {
        attribute: String,
        is: bool,
        one_of: BTreeSet<String>,
    },
    SameText {
        left: String,
        right: String,
        same: bool,
    },
    Part {
        attribute: String,
        does: bool,
        place: Place,
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    Literal(f64),
    Attribute(String),
    /// In Unicode scalar values, of a text attribute.
    Length(String),
    Negative(Box<Number>),
    Arithmetic(Operator, Box<Number>, Box<Number>),
    /// Unknown where the condition is.
    If(Box<Condition>, Box<Number>, Box<Number>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Day {
    Literal(Date),
    Attribute(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    AtMost,
    Equal,
    NotEqual,
    AtLeast,
    Greater,
}

/// Where in a text another one is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Start,
    End,
    Anywhere,
}

impl Condition {
    pub fn not(self) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(!value),
            Self::Test(test) => Self::Test(test.not()),
            Self::All(parts) => Self::Any(parts.into_iter().map(Self::not).collect()),
            Self::Any(parts) => Self::All(parts.into_iter().map(Self::not).collect()),
        }
    }

    /// Nested conjunctions become one.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.is_empty() { Self::Constant(true) } else { Self::All(flat) }
    }

    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Any(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.is_empty() { Self::Constant(false) } else { Self::Any(flat) }
    }
}

impl Test {
    /// True where this test is false; both are unknown for the same customers.
    pub fn not(self) -> Self {
        match self {
            Self::Flag { attribute, is } => Self::Flag { attribute, is: !is },
            Self::Known { attribute, known } => Self::Known { attribute, known: !known },
            Self::Number { left, is, right } => Self::Number { left, is: is.not(), right },
            Self::Date { left, is, right } => Self::Date { left, is: is.not(), right },
            Self::Text { attribute, is, one_of } => Self::Text { attribute, is: !is, one_of },
            Self::SameText { left, right, same } => Self::SameText { left, right, same: !same },
            Self::Part { attribute, does, place, text } => Self::Part { attribute, does: !does, place, text },
        }
    }
}

impl Comparison {
    pub fn not(self) -> Self {
        match self {
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::Greater,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::AtLeast => Self::Less,
            Self::Greater => Self::AtMost,
        }
    }

    /// The comparison that says the same with its sides exchanged.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::AtLeast => Self::AtMost,
            Self::Greater => Self::Less,
            Self::Equal | Self::NotEqual => self,
        }
    }

    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::AtLeast => left >= right,
            Self::Greater => left > right,
        }
    }
}

impl Operator {
    pub fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
        }
    }

    pub fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Remainder => '%',
        }
    }
}

impl Place {
    pub fn finds(self, part: &str, text: &str) -> bool {
        match self {
            Self::Start => text.starts_with(part),
            Self::End => text.ends_with(part),
            Self::Anywhere => text.contains(part),
        }
    }
}

/// Days since 1970-01-01, as Arrow's Date32 counts them.
pub fn days_since_epoch(date: Date) -> i32 {
    let days = date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
    i32::try_from(days).expect("jiff's years end at 9999")
}
