//! Filters in OData, as Azure AI Search understands them.

use std::fmt;

use jiff::civil::Date;

/// What a document must be to be looked at. Only code makes one: values are quoted here, names of fields are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Is(&'static str),
    Eq(&'static str, String),
    /// In the order of code points.
    After(&'static str, String),
    /// Days are kept as their first moment in UTC.
    NotAfter(&'static str, Date),
    NotBefore(&'static str, Date),
    /// A list that is empty, or has one of these.
    EmptyOrHas(&'static str, Vec<String>),
    All(Vec<Filter>),
    /// Of none, nothing is let through.
    Any(Vec<Filter>),
    Not(Box<Filter>),
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(field) => write!(f, "{field} eq true"),
            Self::Eq(field, value) => write!(f, "{field} eq {}", Quoted(value)),
            Self::After(field, value) => write!(f, "{field} gt {}", Quoted(value)),
            Self::NotAfter(field, day) => write!(f, "{field} le {}", moment(*day)),
            Self::NotBefore(field, day) => write!(f, "{field} ge {}", moment(*day)),
            Self::EmptyOrHas(field, values) => {
                write!(f, "(not {field}/any()")?;
                values.iter().try_for_each(|value| write!(f, " or {field}/any(x: x eq {})", Quoted(value)))?;
                f.write_str(")")
            }
            Self::All(filters) => joined(f, filters, " and ", "true"),
            Self::Any(filters) => joined(f, filters, " or ", "false"),
            Self::Not(filter) => write!(f, "not ({filter})"),
        }
    }
}

/// A day as documents and filters hold it.
pub fn moment(day: Date) -> String {
    format!("{day}T00:00:00Z")
}

fn joined(f: &mut fmt::Formatter<'_>, filters: &[Filter], by: &str, of_none: &str) -> fmt::Result {
    if filters.is_empty() {
        return f.write_str(of_none);
    }
    f.write_str("(")?;
    for (position, filter) in filters.iter().enumerate() {
        f.write_str(if position == 0 { "" } else { by })?;
        write!(f, "{filter}")?;
    }
    f.write_str(")")
}

/// A text between single quotes, in which a quote is written twice. OData knows no other escape.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_is_written_as_the_service_reads_it() {
        let day = date(2026, 11, 23);
        let filter = Filter::All(vec![
            Filter::Is("approved"),
            Filter::NotAfter("valid_from", day),
            Filter::NotBefore("valid_until", day),
            Filter::EmptyOrHas("audience", vec!["o'hara".into(), "gold".into()]),
            Filter::EmptyOrHas("eligible", vec![]),
            Filter::Any(vec![Filter::Eq("document", "a".into()), Filter::After("key", "b".into())]),
            Filter::Not(Box::new(Filter::Eq("document", "c".into()))),
        ]);
        assert_eq!(
            filter.to_string(),
            "(approved eq true and valid_from le 2026-11-23T00:00:00Z and valid_until ge 2026-11-23T00:00:00Z and \
             (not audience/any() or audience/any(x: x eq 'o''hara') or audience/any(x: x eq 'gold')) and \
             (not eligible/any()) and (document eq 'a' or key gt 'b') and not (document eq 'c'))"
        );
        assert_eq!(Filter::Any(Vec::new()).to_string(), "false");
    }

    proptest! {
        /// Read as OData reads a text: up to the first quote that is not followed by another.
        #[test]
        fn no_value_gets_out_of_its_quotes(value in "[a-z' ()=/\\\\]{0,12}") {
            let written = Filter::Eq("field", value.clone()).to_string();
            let mut rest = written.strip_prefix("field eq '").unwrap().chars().peekable();
            let mut read = String::new();
            while let Some(c) = rest.next() {
                if c == '\'' && rest.next_if_eq(&'\'').is_none() {
                    break;
                }
                read.push(c);
            }
            prop_assert_eq!(read, value);
            prop_assert_eq!(rest.next(), None);
        }
    }
}
