//! Which columns of the file become what.

use std::{collections::BTreeSet, path::Path};

use crate::domain::{
    attribute::{Attribute, Attributes},
    problem::Problem,
};

/// Stands for the id column of a file that has none: the customer's id is the number of its row, counted from 1.
pub const ROW_NUMBER: &str = "#row";

/// Names shown in a message before the rest is only counted.
const SHOWN_NAMES: usize = 30;

/// The columns of every row in their order: the customer's id, then the attributes.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'a> {
    pub file: &'a Path,
    pub id: &'a str,
    pub attributes: &'a Attributes,
    pub of: Of,
}

/// What a file is about, and so what can be done about its faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A campaign file says what it looks like. Every column of the mapping must be there.
    Customers,
    /// Nothing says more of it than the file itself. A column that is not required may be missing.
    Outcomes,
}

impl Of {
    /// A remedy, and where there is a setting that can be at fault, that too.
    pub fn or_setting(self, remedy: &str, setting: &str) -> String {
        match self {
            Self::Customers => format!("{remedy}; {setting}"),
            Self::Outcomes => remedy.to_owned(),
        }
    }
}

impl<'a> Mapping<'a> {
    pub fn width(&self) -> usize {
        1 + self.attributes.len()
    }

    pub fn id_is_row_number(&self) -> bool {
        self.id == ROW_NUMBER
    }

    /// Their names in the file.
    pub fn columns(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::once(self.id).chain(self.attributes.iter().map(|attribute| attribute.column.as_str()))
    }

    /// `None` for the id.
    pub fn attribute(&self, column: usize) -> Option<&'a Attribute> {
        self.attributes.iter().nth(column.checked_sub(1)?)
    }

    /// Where each column is in the file; `None` for an id that is the row number.
    ///
    /// A mapped name must occur in the file exactly once; all that do not are reported.
    pub fn locate(&self, names: &[String]) -> Result<Vec<Option<usize>>, Vec<Problem>> {
        let has_header = self.columns().any(|wanted| names.iter().any(|name| name == wanted));
        if self.of == Of::Customers && !has_header && self.columns().any(|column| column != ROW_NUMBER) {
            return Err(vec![self.no_header()]);
        }
        let mut problems = Vec::new();
        let mut positions = Vec::with_capacity(self.width());
        for (column, wanted) in self.columns().enumerate() {
            if column == 0 && self.id_is_row_number() {
                positions.push(None);
                continue;
            }
            let mut found = (0..names.len()).filter(|index| names[*index] == wanted);
            match (found.next(), found.next()) {
                (None, _) if self.may_be_missing(column) => positions.push(None),
                (None, _) => problems.push(self.no_such_column(column, wanted, names)),
                (Some(first), Some(second)) => problems.push(
                    Problem::new(
                        format!("two columns are called `{wanted}`: the {} and the {}", nth(first), nth(second)),
                        "give each mapped column a name of its own",
                    )
                    .in_file(self.file)
                    .at_field(self.key(column)),
                ),
                (first, None) => positions.push(first),
            }
        }
        if problems.is_empty() { Ok(positions) } else { Err(problems) }
    }

    pub fn may_be_missing(&self, column: usize) -> bool {
        self.of == Of::Outcomes && self.attribute(column).is_some_and(|attribute| !attribute.required)
    }

    pub fn no_rows(&self) -> Problem {
        let (message, remedy) = match self.of {
            Of::Customers => ("the file has columns and no customers", "name a file with at least one customer"),
            Of::Outcomes => ("there is a header and no row", "give at least one row"),
        };
        Problem::new(message, remedy).in_file(self.file)
    }

    pub fn unmapped(&self, names: &[String]) -> Vec<String> {
        let mapped: BTreeSet<&str> = self.columns().collect();
        names.iter().filter(|name| !name.is_empty() && !mapped.contains(name.as_str())).cloned().collect()
    }

    /// Nothing is quoted from what may be the first customer instead of a header.
    fn no_header(&self) -> Problem {
        let wanted: Vec<_> = self.columns().filter(|column| *column != ROW_NUMBER).map(str::to_owned).collect();
        Problem::new(
            format!("none of the mapped columns is here: {}", listed(&wanted)),
            "if the first line names other columns, map those under [customers.columns]; if it is a customer, put a \
             header before it; if it should be divided otherwise, set `customers.delimiter`",
        )
        .in_file(self.file)
        .at_field("customers")
    }

    /// The mapping leads to nothing.
    pub fn no_such_column(&self, column: usize, wanted: &str, names: &[String]) -> Problem {
        if self.of == Of::Outcomes {
            // Numbers name no columns: this is somebody's row, and not to be quoted.
            let problem = if names.iter().any(|name| name.parse::<f64>().is_ok()) {
                let message = "there is no such column: the first line looks like a row, not a header";
                Problem::new(message, "put a line with the columns' names before the first row")
            } else {
                Problem::new("there is no such column", format!("choose one of {}", listed(names)))
            };
            return problem.in_file(self.file).at_field(wanted);
        }
        let mut remedy = match nearest(wanted, names) {
            Some(name) => format!("did you mean `{}`? Correct the name in the campaign file", name.escape_debug()),
            None => "correct the name in the campaign file".to_owned(),
        };
        if column == 0 {
            remedy.push_str(&format!("; a file without ids can use `id = \"{ROW_NUMBER}\"`"));
        }
        if let [only] = names
            && only.contains(|c: char| !c.is_alphanumeric() && !"_- ".contains(c))
        {
            remedy.push_str("; if the header should have several columns, set `customers.delimiter`");
        }
        Problem::new(format!("the file has no column `{wanted}`; it has {}", listed(names)), remedy)
            .in_file(self.file)
            .at_field(self.key(column))
    }

    /// The campaign file's key that names this column.
    fn key(&self, column: usize) -> String {
        if self.of == Of::Outcomes {
            return self.columns().nth(column).unwrap_or_default().to_owned();
        }
        self.attribute(column)
            .map_or_else(|| "customers.id".to_owned(), |attribute| format!("customers.columns.{}", attribute.name))
    }
}

fn nth(index: usize) -> String {
    format!(
        "{}{}",
        index + 1,
        match (index + 1) % 100 {
            11..=13 => "th",
            n if n % 10 == 1 => "st",
            n if n % 10 == 2 => "nd",
            n if n % 10 == 3 => "rd",
            _ => "th",
        }
    )
}

fn listed(names: &[String]) -> String {
    let quote = |name: &String| format!("`{}`", name.chars().take(100).collect::<String>().escape_debug());
    let shown: Vec<_> = names.iter().take(SHOWN_NAMES).map(quote).collect();
    match names.len().saturating_sub(SHOWN_NAMES) {
        _ if names.is_empty() => "no columns at all".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The name most like `wanted`, where one is like it at all.
pub fn nearest<'n>(wanted: &str, names: &'n [String]) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace([' ', '-', '.'], "_");
    let wanted = plain(wanted);
    let likeness = |name: &str| strsim::jaro_winkler(&wanted, &plain(name));
    let (best, score) = names
        .iter()
        .filter(|name| name.chars().count() <= 100)
        .map(|name| (name.as_str(), likeness(name)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    (score > 0.8).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::AttributeType;

    fn attributes(columns: &[&str]) -> Attributes {
        let attribute = |column: &&str| Attribute {
            name: column.to_lowercase(),
            column: (*column).to_owned(),
            kind: AttributeType::Text,
            min: None,
            max: None,
            values: Vec::new(),
            required: false,
        };
        Attributes::new(columns.iter().map(attribute).collect())
    }

    #[test]
    fn a_first_customer_in_the_place_of_the_header_is_not_quoted() {
        let attributes = attributes(&["Tier", "Age"]);
        let mapping =
            Mapping { file: Path::new("c.csv"), id: "customer_id", attributes: &attributes, of: Of::Customers };
        let problems = mapping.locate(&["C-1", "Gold", "age@example.com"].map(str::to_owned)).unwrap_err();
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.message.contains("`customer_id`, `Age`, `Tier`"), "{problem}");
        assert!(!["C-1", "Gold", "example"].iter().any(|value| problem.to_string().contains(value)), "{problem}");
    }

    #[test]
    fn every_column_that_is_not_there_once_is_reported_with_the_nearest_name() {
        let attributes = attributes(&["Tier", "Age"]);
        let mapping =
            Mapping { file: Path::new("c.csv"), id: "customer_id", attributes: &attributes, of: Of::Customers };
        let names = ["Customer ID", "Tier", "Tier"].map(str::to_owned);
        let problems = mapping.locate(&names).unwrap_err();
        assert_eq!(problems.len(), 3);
        assert_eq!(problems[0].field.as_deref(), Some("customers.id"));
        assert!(problems[0].remedy.contains("`Customer ID`"), "{}", problems[0].remedy);
        assert!(problems[1].message.contains("no column `Age`"));
        assert!(!problems[1].remedy.contains("did you mean"), "{}", problems[1].remedy);
        assert!(problems[2].message.contains("the 2nd and the 3rd"));
    }
}
