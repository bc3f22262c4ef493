//! From a CEL expression to a typed [`Condition`].
//!
//! The `cel` crate reads the text; its interpreter is not used, as it looks at one customer at a time. Two things
//! differ from CEL on purpose: whole and decimal literals are both numbers (`7 / 2` is 3.5), and a missing value
//! makes a comparison unknown instead of failing it.

use std::collections::{BTreeMap, BTreeSet};

use cel::{
    Env, IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, SourceInfo, operators},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::expression::{Comparison, Condition, Day, Number, Operator, Place, Test};
use crate::domain::attribute::AttributeType;

/// The attributes a condition may ask for.
pub type Types = BTreeMap<String, AttributeType>;

/// Keeps the recursion of the parser and of everything after it within a thread's stack.
const LONGEST: usize = 4_000;
const DEEPEST: usize = 100;

const SYNTAX: &str =
    "write comparisons such as `age >= 30`, joined by && and ||, with ! for not, == for equals and text in quotes";

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// 1-based, in characters.
    pub line: usize,
    pub column: usize,
    /// The offending piece of the expression; empty at its end.
    pub token: String,
    pub message: String,
    pub remedy: String,
}

pub fn parse(source: &str, types: &Types) -> Result<Condition, Fault> {
    if source.chars().count() > LONGEST {
        let message = format!("the condition has more than {LONGEST} characters");
        return Err(Fault::at_offset(source, 0, 0, message, "split it into several rules"));
    }
    // Without macros `has(x)` stays the call it is written as.
    let parser = Env::default().with_optional_support(false).parser();
    let (expression, positions) = parser.parse_with_source_info(source).map_err(|errors| {
        let (line, column) = errors.errors.first().map_or((1, 1), |error| error.pos);
        syntax_fault(source, usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1))
    })?;
    let reader = Reader { source, positions: &positions, types };
    reader.condition(&expression, 0)
}

impl Fault {
    /// `start` and `end` are inclusive offsets in bytes.
    fn at_offset(
        source: &str,
        start: usize,
        end: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (mut line, mut column) = (1, 1);
        let mut token = String::new();
        for (offset, c) in source.char_indices().take_while(|(offset, _)| *offset <= end) {
            if offset >= start {
                token.push(c);
            } else if c == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
        }
        Self { line, column, token, message: message.into(), remedy: remedy.into() }
    }
}

fn syntax_fault(source: &str, line: usize, column: usize) -> Fault {
    let rest: String = source.lines().nth(line.saturating_sub(1)).unwrap_or("").chars().skip(column - 1).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let token: String = match rest.chars().next() {
        Some(first) if is_word(first) => rest.chars().take_while(|c| is_word(*c)).collect(),
        Some(_) => rest.chars().take_while(|c| !is_word(*c) && !c.is_whitespace()).collect(),
        None => String::new(),
    };
    let message = if token.is_empty() { "the expression ends too early" } else { "the expression cannot be read" };
    let remedy = match token.as_str() {
        "and" | "AND" => "write && for and".to_owned(),
        "or" | "OR" => "write || for or".to_owned(),
        "not" | "NOT" => "write ! for not".to_owned(),
        "=" => "write == for equals".to_owned(),
        _ => SYNTAX.to_owned(),
    };
    Fault { line, column, token, message: message.to_owned(), remedy }
}

/// A part of an expression with its type. Dates and texts are only ever compared.
enum Typed {
    Condition(Condition),
    Number(Number),
    Date(Day),
    Text(Text),
    Null,
}

enum Text {
    Literal(String),
    Attribute(String),
}

impl Typed {
    fn kind(&self) -> &'static str {
        match self {
            Self::Condition(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Date(_) => "a date",
            Self::Text(_) => "text",
            Self::Null => "null",
        }
    }

    /// With the attribute's name where it is one: ``text (`tier`)``.
    fn described(&self) -> String {
        match self {
            Self::Number(Number::Attribute(name))
            | Self::Date(Day::Attribute(name))
            | Self::Text(Text::Attribute(name)) => format!("{} (`{name}`)", self.kind()),
            _ => self.kind().to_owned(),
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    positions: &'a SourceInfo,
    types: &'a Types,
}

impl Reader<'_> {
    fn fault(&self, at: &IdedExpr, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        // A call's position is its operator's or its opening parenthesis.
        let (mut start, end) = self.positions.offset_for(at.id).unwrap_or_default();
        if let Expr::Call(CallExpr { func_name, target, .. }) = &at.expr
            && (target.is_some() || !func_name.starts_with(['_', '!', '-', '@']))
        {
            start = start.saturating_sub(u32::try_from(func_name.len()).unwrap_or(0));
        }
        Fault::at_offset(self.source, start as usize, end as usize, message, remedy)
    }

    fn condition(&self, expression: &IdedExpr, depth: usize) -> Result<Condition, Fault> {
        match self.typed(expression, depth)? {
            Typed::Condition(condition) => Ok(condition),
            other => Err(self.fault(
                expression,
                format!("a condition must be true or false, and this is {}", other.kind()),
                "compare it with something, for example `age >= 30`, `tier == \"gold\"` or `tier != null`",
            )),
        }
    }

    fn number(&self, expression: &IdedExpr, depth: usize) -> Result<Number, Fault> {
        match self.typed(expression, depth)? {
            Typed::Number(number) => Ok(number),
            other => Err(self.fault(
                expression,
                format!("a number is needed here, and this is {}", other.kind()),
                "arithmetic is for attributes of type number or integer and for literals such as 12 or 0.5",
            )),
        }
    }

    fn typed(&self, expression: &IdedExpr, depth: usize) -> Result<Typed, Fault> {
        if depth > DEEPEST {
            return Err(self.fault(
                expression,
                "the condition is nested too deeply",
                "simplify it or split it into several rules",
            ));
        }
        match &expression.expr {
            Expr::Ident(name) => self.attribute(expression, name),
            Expr::Literal(literal) => self.literal(expression, literal),
            Expr::Call(call) => self.call(expression, call, depth + 1),
            _ => Err(self.unsupported(expression)),
        }
    }

    fn unsupported(&self, at: &IdedExpr) -> Fault {
        self.fault(
            at,
            "this is not supported in a condition",
            "supported are comparisons, && || !, + - * / %, `in [..]`, `a ? b : c`, `has(x)` or `x != null`, \
             x.startsWith(\"..\"), x.endsWith(\"..\"), x.contains(\"..\"), size(x) and timestamp(\"2026-01-31\")",
        )
    }

    fn attribute(&self, at: &IdedExpr, name: &str) -> Result<Typed, Fault> {
        let Some(kind) = self.types.get(name) else {
            let attributes = self.types.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let nearest = self
                .types
                .keys()
                .map(|known| (strsim::normalized_damerau_levenshtein(known, name), known))
                .filter(|(likeness, _)| *likeness > 0.6)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let remedy = match nearest {
                Some((_, known)) => format!("did you mean `{known}`? The attributes are: {attributes}"),
                None if attributes.is_empty() => "map it to a column under [customers.columns]".to_owned(),
                None => {
                    format!("map it to a column under [customers.columns], or use one of the attributes: {attributes}")
                }
            };
            return Err(self.fault(at, format!("there is no attribute `{name}`"), remedy));
        };
        let name = name.to_owned();
        Ok(match kind {
            AttributeType::Number | AttributeType::Integer => Typed::Number(Number::Attribute(name)),
            AttributeType::Boolean => Typed::Condition(Condition::Test(Test::Flag { attribute: name, is: true })),
            AttributeType::Text => Typed::Text(Text::Attribute(name)),
            AttributeType::Date => Typed::Date(Day::Attribute(name)),
        })
    }

    fn literal(&self, at: &IdedExpr, literal: &LiteralValue) -> Result<Typed, Fault> {
        Ok(match literal {
            LiteralValue::Boolean(value) => Typed::Condition(Condition::Constant(*value.inner())),
            LiteralValue::Int(value) => Typed::Number(Number::Literal(*value.inner() as f64)),
            LiteralValue::UInt(value) => Typed::Number(Number::Literal(*value.inner() as f64)),
            LiteralValue::Double(value) => Typed::Number(Number::Literal(*value.inner())),
            LiteralValue::String(value) => Typed::Text(Text::Literal(value.inner().to_owned())),
            LiteralValue::Null => Typed::Null,
            LiteralValue::Bytes(_) => return Err(self.unsupported(at)),
        })
    }

    fn call(&self, at: &IdedExpr, call: &CallExpr, depth: usize) -> Result<Typed, Fault> {
        let condition = |expression| self.condition(expression, depth);
        let arithmetic = |operator, left, right| -> Result<Typed, Fault> {
            Ok(Typed::Number(fold(operator, self.number(left, depth)?, self.number(right, depth)?)))
        };
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_AND, None, [left, right]) => {
                Ok(Typed::Condition(Condition::all([condition(left)?, condition(right)?])))
            }
            (operators::LOGICAL_OR, None, [left, right]) => {
                Ok(Typed::Condition(Condition::any([condition(left)?, condition(right)?])))
            }
            (operators::LOGICAL_NOT, None, [inner]) => Ok(Typed::Condition(condition(inner)?.not())),
            (operators::CONDITIONAL, None, [test, then, otherwise]) => self.conditional(at, test, then, otherwise, depth),
            (operators::IN, None, [value, list]) => Ok(Typed::Condition(self.membership(at, value, list, depth)?)),
            (operators::ADD, None, [left, right]) => arithmetic(Operator::Add, left, right),
            (operators::SUBSTRACT, None, [left, right]) => arithmetic(Operator::Subtract, left, right),
            (operators::MULTIPLY, None, [left, right]) => arithmetic(Operator::Multiply, left, right),
            (operators::DIVIDE, None, [left, right]) => arithmetic(Operator::Divide, left, right),
            (operators::MODULO, None, [left, right]) => arithmetic(Operator::Remainder, left, right),
            (operators::NEGATE, None, [inner]) => Ok(Typed::Number(match self.number(inner, depth)? {
                Number::Literal(value) => Number::Literal(-value),
                other => Number::Negative(Box::new(other)),
            })),
            ("has", None, [IdedExpr { expr: Expr::Ident(name), .. }]) => {
                self.attribute(&call.args[0], name)?;
                Ok(Typed::Condition(known(name, true)))
            }
            ("size", None, [text]) | ("size", Some(text), []) => match self.typed(text, depth)? {
                Typed::Text(Text::Attribute(name)) => Ok(Typed::Number(Number::Length(name))),
                _ => Err(self.fault(text, "size() is for text attributes", "for example `size(city) > 3`")),
            },
            ("timestamp", None, [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }]) => match day(text.inner()) {
                Some(date) => Ok(Typed::Date(Day::Literal(date))),
                None => Err(self.fault(
                    &call.args[0],
                    "this is not a day",
                    "dates have no time of day here: write timestamp(\"2026-01-31\") or timestamp(\"2026-01-31T00:00:00Z\")",
                )),
            },
            ("startsWith", Some(text), [part]) => self.part(text, part, Place::Start, depth),
            ("endsWith", Some(text), [part]) => self.part(text, part, Place::End, depth),
            ("contains", Some(text), [part]) => self.part(text, part, Place::Anywhere, depth),
            (name, None, [left, right]) => match comparison(name) {
                Some(comparison) => Ok(Typed::Condition(self.comparison(at, comparison, left, right, depth)?)),
                None => Err(self.unsupported(at)),
            },
            _ => Err(self.unsupported(at)),
        }
    }

    fn part(&self, text: &IdedExpr, part: &IdedExpr, place: Place, depth: usize) -> Result<Typed, Fault> {
        match (self.typed(text, depth)?, self.typed(part, depth)?) {
            (Typed::Text(Text::Attribute(attribute)), Typed::Text(Text::Literal(text))) => {
                Ok(Typed::Condition(Condition::Test(Test::Part { attribute, does: true, place, text })))
            }
            (Typed::Text(Text::Attribute(_)), _) => {
                Err(self.fault(part, "a text in quotes is needed here", "for example `city.startsWith(\"New\")`"))
            }
            _ => Err(self.fault(text, "this is for text attributes", "for example `city.startsWith(\"New\")`")),
        }
    }

    fn conditional(
        &self,
        at: &IdedExpr,
        test: &IdedExpr,
        then: &IdedExpr,
        otherwise: &IdedExpr,
        depth: usize,
    ) -> Result<Typed, Fault> {
        let test = self.condition(test, depth)?;
        match (self.typed(then, depth)?, self.typed(otherwise, depth)?) {
            (Typed::Condition(then), Typed::Condition(otherwise)) => Ok(Typed::Condition(Condition::any([
                Condition::all([test.clone(), then]),
                Condition::all([test.not(), otherwise]),
            ]))),
            (Typed::Number(then), Typed::Number(otherwise)) => {
                Ok(Typed::Number(Number::If(Box::new(test), Box::new(then), Box::new(otherwise))))
            }
            (then, otherwise) => Err(self.fault(
                at,
                format!(
                    "`? :` chooses between two numbers or two conditions, not {} and {}",
                    then.kind(),
                    otherwise.kind()
                ),
                "for text and dates, compare inside both branches",
            )),
        }
    }

    fn membership(&self, at: &IdedExpr, value: &IdedExpr, list: &IdedExpr, depth: usize) -> Result<Condition, Fault> {
        let Expr::List(elements) = &list.expr else {
            return Err(self.fault(
                list,
                "`in` needs a list of values",
                "for example `tier in [\"gold\", \"silver\"]`",
            ));
        };
        if let Typed::Text(Text::Attribute(attribute)) = self.typed(value, depth)? {
            let text = |element| match self.typed(element, depth)? {
                Typed::Text(Text::Literal(text)) => Ok(text),
                other => Err(self.fault(
                    element,
                    format!("`{attribute}` is text, and this is {}", other.kind()),
                    "list texts in quotes",
                )),
            };
            let one_of = elements.elements.iter().map(text).collect::<Result<BTreeSet<_>, _>>()?;
            return Ok(if one_of.is_empty() {
                Condition::Constant(false)
            } else {
                Condition::Test(Test::Text { attribute, is: true, one_of })
            });
        }
        let equals = |element| self.comparison(at, Comparison::Equal, value, element, depth);
        Ok(Condition::any(elements.elements.iter().map(equals).collect::<Result<Vec<_>, _>>()?))
    }

    fn comparison(
        &self,
        at: &IdedExpr,
        is: Comparison,
        left: &IdedExpr,
        right: &IdedExpr,
        depth: usize,
    ) -> Result<Condition, Fault> {
        let is_equality = matches!(is, Comparison::Equal | Comparison::NotEqual);
        // `x == null` is asked of attributes of any type, a flag's included.
        if let (Expr::Ident(name), Expr::Literal(LiteralValue::Null))
        | (Expr::Literal(LiteralValue::Null), Expr::Ident(name)) = (&left.expr, &right.expr)
            && is_equality
        {
            self.attribute(if matches!(left.expr, Expr::Ident(_)) { left } else { right }, name)?;
            return Ok(known(name, is == Comparison::NotEqual));
        }
        match (self.typed(left, depth)?, self.typed(right, depth)?) {
            (Typed::Number(Number::Literal(left)), Typed::Number(Number::Literal(right))) => {
                Ok(Condition::Constant(is.holds(left, right)))
            }
            (Typed::Number(left @ Number::Literal(_)), Typed::Number(right)) => {
                Ok(Condition::Test(Test::Number { left: right, is: is.mirrored(), right: left }))
            }
            (Typed::Number(left), Typed::Number(right)) => Ok(Condition::Test(Test::Number { left, is, right })),
            (Typed::Date(Day::Literal(left)), Typed::Date(right)) => {
                Ok(Condition::Test(Test::Date { left: right, is: is.mirrored(), right: Day::Literal(left) }))
            }
            (Typed::Date(left), Typed::Date(right)) => Ok(Condition::Test(Test::Date { left, is, right })),
            (Typed::Condition(left), Typed::Condition(right)) if is_equality => {
                let same = match (left, right) {
                    (Condition::Constant(value), other) | (other, Condition::Constant(value)) => {
                        if value {
                            other
                        } else {
                            other.not()
                        }
                    }
                    (left, right) => Condition::any([
                        Condition::all([left.clone(), right.clone()]),
                        Condition::all([left.not(), right.not()]),
                    ]),
                };
                Ok(if is == Comparison::Equal { same } else { same.not() })
            }
            (Typed::Text(left), Typed::Text(right)) if is_equality => {
                let equal = is == Comparison::Equal;
                Ok(match (left, right) {
                    (Text::Attribute(attribute), Text::Literal(text))
                    | (Text::Literal(text), Text::Attribute(attribute)) => {
                        Condition::Test(Test::Text { attribute, is: equal, one_of: BTreeSet::from([text]) })
                    }
                    (Text::Attribute(left), Text::Attribute(right)) => {
                        Condition::Test(Test::SameText { left, right, same: equal })
                    }
                    (Text::Literal(left), Text::Literal(right)) => Condition::Constant((left == right) == equal),
                })
            }
            (left, right) => Err(self.incomparable(at, &left, &right, is_equality)),
        }
    }

    fn incomparable(&self, at: &IdedExpr, left: &Typed, right: &Typed, is_equality: bool) -> Fault {
        let remedy = match (left, right) {
            (Typed::Date(_), Typed::Text(_)) | (Typed::Text(_), Typed::Date(_)) => {
                "write the day as timestamp(\"2026-01-31\")"
            }
            (Typed::Text(_), Typed::Text(_)) => "text is compared with ==, != and `in`",
            (Typed::Condition(_), Typed::Condition(_)) => "true and false are compared with == and !=",
            (Typed::Null, _) | (_, Typed::Null) if is_equality => "only an attribute itself can be compared with null",
            (Typed::Null, _) | (_, Typed::Null) => "write `x == null` or `x != null`",
            (Typed::Number(_), Typed::Text(_)) | (Typed::Text(_), Typed::Number(_)) => {
                "write numbers without quotes and text with quotes, or declare the attribute's type under [customers.columns]"
            }
            _ => "compare values of one type, or declare the attribute's type under [customers.columns]",
        };
        self.fault(at, format!("{} cannot be compared this way with {}", left.described(), right.described()), remedy)
    }
}

fn known(attribute: &str, known: bool) -> Condition {
    Condition::Test(Test::Known { attribute: attribute.to_owned(), known })
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::AtMost,
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::GREATER_EQUALS => Comparison::AtLeast,
        operators::GREATER => Comparison::Greater,
        _ => return None,
    })
}

/// Two literals become one, unless the result is not finite: that is unknown, and no literal.
fn fold(operator: Operator, left: Number, right: Number) -> Number {
    if let (Number::Literal(left), Number::Literal(right)) = (&left, &right) {
        let value = operator.apply(*left, *right);
        if value.is_finite() {
            return Number::Literal(value);
        }
    }
    Number::Arithmetic(operator, Box::new(left), Box::new(right))
}

/// A date, or an instant that is a midnight of UTC.
fn day(text: &str) -> Option<Date> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        let utc = instant.to_zoned(TimeZone::UTC).datetime();
        return (utc == utc.date().to_datetime(jiff::civil::Time::midnight())).then(|| utc.date());
    }
    // jiff's own parser of dates takes `2026-01-31T12:00` too, and would drop the time.
    if text.contains(['T', 't', ' ']) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Types {
        use AttributeType::{Boolean, Date, Integer, Number, Text};
        let types = [
            ("age", Number),
            ("visits", Integer),
            ("city", Text),
            ("tier", Text),
            ("newbie", Boolean),
            ("since", Date),
        ];
        types.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect()
    }

    #[test]
    fn conditions_read_as_sentences() {
        for (source, words) in [
            ("age > 30 && visits <= 2", "age is above 30 and visits is at most 2"),
            ("30 < age || -5.5 >= visits", "age is above 30 or visits is at most -5.5"),
            ("!(age >= 18 && newbie)", "age is below 18 or newbie is false"),
            ("newbie == false", "newbie is false"),
            (
                "city in ['Rome', 'Bari'] && tier != \"gold\"",
                "city is one of \"Bari\", \"Rome\" and tier is not \"gold\"",
            ),
            ("visits in [1, 2]", "visits is 1 or visits is 2"),
            ("has(age) && tier == null", "age is known and tier is missing"),
            (
                "!city.startsWith('New') && size(city) > 3",
                "city does not start with \"New\" and the length of city is above 3",
            ),
            ("since >= timestamp('2026-02-28')", "since is on or after 2026-02-28"),
            ("timestamp('2026-02-28T01:00:00+01:00') > since", "since is before 2026-02-28"),
            ("age * (visits + 1) / 2 > 7.5 * 2", "(age * (visits + 1)) / 2 is above 15"),
            ("(newbie ? 1 : age % 10) == 1", "(1 if newbie is true, otherwise age % 10) is 1"),
            (
                "newbie ? age > 3 : visits > 3",
                "(newbie is true and age is above 3) or (newbie is false and visits is above 3)",
            ),
            ("newbie == (age > 3)", "(newbie is true and age is above 3) or (newbie is false and age is at most 3)"),
            ("city == tier || true", "city equals tier or always"),
        ] {
            assert_eq!(
                parse(source, &types()).map(|condition| condition.to_string()),
                Ok(words.to_owned()),
                "{source}"
            );
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_where_it_stands() {
        for (source, column, token, hint) in [
            ("tier == 'é' && aeg > 1", 16, "aeg", "did you mean `age`?"),
            ("age > 1 && \n  hight > 2", 3, "hight", "the attributes: age, city"),
            ("age > '30'", 5, ">", "without quotes"),
            ("since > '2026-01-01'", 7, ">", "timestamp("),
            ("since > timestamp('2026-02-30')", 19, "'2026-02-30'", "no time of day"),
            ("since > timestamp('2026-01-01T10:00:00Z')", 19, "'2026-01-01T10:00:00Z'", "no time of day"),
            ("tier < 'gold'", 6, "<", "==, != and `in`"),
            ("age", 1, "age", "compare it"),
            ("age + 1", 5, "+", "compare it"),
            ("age + newbie > 1", 7, "newbie", "arithmetic"),
            ("newbie && age", 11, "age", "compare it"),
            ("city.startsWith(tier)", 17, "tier", "startsWith(\"New\")"),
            ("city.lower() == 'x'", 6, "lower(", "supported are"),
            ("age in visits", 8, "visits", "needs a list"),
            ("tier in [1]", 10, "1", "in quotes"),
            ("age + 1 == null", 9, "==", "only an attribute"),
            ("age = 1", 5, "=", "write =="),
            ("age > 1 and newbie", 9, "and", "write &&"),
            ("age > 1 &&", 11, "", "comparisons such as"),
            ("age > 1 ? 'a' : 'b'", 9, "?", "inside both branches"),
            ("tier == b'x'", 9, "b'x'", "supported are"),
            ("", 1, "", "comparisons such as"),
        ] {
            let fault = parse(source, &types()).expect_err(source);
            assert_eq!((fault.column, fault.token.as_str()), (column, token), "{source}: {fault:?}");
            assert!(format!("{} {}", fault.message, fault.remedy).contains(hint), "{source}: {fault:?}");
        }
    }

    #[test]
    fn no_expression_exhausts_the_stack() {
        for (piece, end) in
            [("- ", "1"), ("!", "newbie"), ("(", "age"), ("1 - ", "1"), ("age.", "b"), ("newbie ? age : ", "1")]
        {
            let source = piece.repeat((LONGEST - end.len()) / piece.len()) + end;
            assert!(parse(&source, &types()).is_err() || piece == "!", "{piece}");
        }
        assert!(parse(&("newbie || ".repeat(390) + "newbie"), &types()).is_ok());
        assert!(parse(&" ".repeat(LONGEST + 1), &types()).is_err());
    }
}
