//! One customer, given as an object instead of a row of a file: read, typed and asked for consent by the same code, so
//! that the answer is the one that a file with this row would have got.

use std::{path::Path, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_row::RowConverter;
use arrow_schema::SchemaRef;
use serde_json::value::RawValue;

use super::{
    Refusal, Suppression,
    consent::Consent,
    defect::{Defect, Reason},
    jsonl,
    mapping::{self, Mapping, Of, ROW_NUMBER},
    shards,
    typing::{self, Typer},
};
use crate::domain::{
    attribute::Attributes,
    channel::Channel,
    customer::{Shard, ShardId},
    problem::Problem,
};

/// Lets customers in one at a time.
#[derive(Debug)]
pub struct Admission {
    attributes: Attributes,
    consent: Consent,
    suppression: Suppression,
    converter: RowConverter,
    schema: SchemaRef,
}

impl Admission {
    /// As [`Ingest`](super::Ingest), of a campaign's attributes and channels.
    pub fn new(attributes: Attributes, channels: &[Channel], suppression: Suppression) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            consent: Consent::new(&attributes, channels)?,
            suppression,
            converter: typing::row_converter(&attributes),
            schema: shards::schema(&attributes),
            attributes,
        })
    }

    /// A shard of this one customer, or why they may not be contacted. A value is found by its column's name in the
    /// customer file or by its attribute's; where one name is both, it is the column's.
    ///
    /// What would put a row of a file into quarantine is refused, each fault with its field below `attributes`.
    pub fn admit(&self, id: &str, attributes: &RawValue) -> Result<Result<Shard, Refusal>, Vec<Problem>> {
        // The id is not one of the object's values.
        let mapping = Mapping { file: Path::new(""), id: ROW_NUMBER, attributes: &self.attributes, of: Of::Customers };
        let (row, strangers) = jsonl::read_one(id, attributes.get(), &mapping).map_err(|reason| {
            vec![Problem::new(reason.to_string(), "give one object of names and values").at_field("attributes")]
        })?;
        let typer =
            Typer { mapping, consent: &self.consent, suppression: &self.suppression, converter: &self.converter };
        let typed = typer.type_rows(&row);
        let strangers = strangers.iter().map(|name| self.stranger(name));
        let problems: Vec<_> = typed.defects.iter().map(|defect| self.problem(defect)).chain(strangers).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Some(refusal) = typed.heads.first().and_then(|head| head.refusal) {
            return Ok(Err(refusal));
        }
        let mut columns = self.converter.convert_rows(&typed.rows).expect("the rows are those the converter made");
        let lines: ArrayRef = Arc::new(UInt64Array::from_iter_values(row.lines().iter().copied()));
        columns.insert(1, lines);
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("the columns follow the schema");
        Ok(Ok(Shard { id: ShardId(0), rows }))
    }

    /// In the words of the quarantine.
    fn problem(&self, defect: &Defect) -> Problem {
        let attribute = defect.column.and_then(|column| self.attributes.iter().nth(column.checked_sub(1)?));
        let remedy = match (defect.reason, attribute) {
            (Reason::NoId | Reason::InvalidId, _) => "give the id that the customer file has".to_owned(),
            (Reason::Required, _) => "give it: the campaign asks it of every customer".to_owned(),
            (Reason::NamedTwice, Some(attribute)) => {
                format!("give it once, as `{}` or as `{}`", attribute.name, attribute.column)
            }
            (Reason::NotListed, Some(attribute)) => format!("give one of: {}", attribute.values.join(", ")),
            (_, Some(attribute)) => format!("give a {} as the customer file has it", attribute.kind.as_str()),
            (_, None) => "give what the customer file has".to_owned(),
        };
        let field = attribute.map_or_else(|| "id".to_owned(), |attribute| format!("attributes.{}", attribute.name));
        Problem::new(defect.reason.to_string(), remedy).at_field(field)
    }

    /// A misspelt attribute would be missing, and its customer in another segment.
    fn stranger(&self, name: &str) -> Problem {
        let known: Vec<String> = self.attributes.iter().map(|attribute| attribute.name.clone()).collect();
        let remedy = match mapping::nearest(name, &known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("leave it out; the campaign has {}", known.join(", ")),
        };
        Problem::new("the campaign has no such attribute or column", remedy).at_field(format!("attributes.{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::{Attribute, AttributeType, CONSENT};

    /// `history` is the column of one attribute and the name of another.
    fn admission() -> Admission {
        let attribute = |name: &str, column: &str, kind: AttributeType| Attribute {
            name: name.to_owned(),
            column: column.to_owned(),
            kind,
            min: None,
            max: None,
            values: if name == "tier" { vec!["Basic".to_owned(), "Plus".to_owned()] } else { Vec::new() },
            required: name == "tier",
        };
        let attributes = Attributes::new(vec![
            attribute(CONSENT, "opt_in", AttributeType::Boolean),
            attribute("history", "spent", AttributeType::Number),
            attribute("monetary", "history", AttributeType::Number),
            attribute("tier", "tier", AttributeType::Text),
        ]);
        Admission::new(attributes, &[Channel::Email], ["C-9"].into_iter().collect()).unwrap()
    }

    fn admit(id: &str, attributes: &str) -> Result<Result<Shard, Refusal>, Vec<Problem>> {
        admission().admit(id, &RawValue::from_string(attributes.to_owned()).unwrap())
    }

    #[test]
    fn a_value_goes_by_its_column_or_its_attribute_and_a_column_comes_first() {
        for given in [
            r#"{"opt_in": "yes", "history": 3, "spent": 4, "tier": "Plus"}"#,
            r#"{"consent": true, "monetary": "3.0", "spent": " 4 ", "tier": "Plus"}"#,
        ] {
            let shard = admit(" C-1 ", given).unwrap().unwrap();
            let number = |name| match shard.column(name) {
                Some(crate::domain::customer::Column::Number(column)) => column.value(0),
                other => panic!("{other:?}"),
            };
            assert_eq!((number("monetary"), number("history")), (3.0, 4.0));
            assert_eq!(shard.customer_ids().value(0), "C-1");
        }
    }

    #[test]
    fn who_has_not_said_yes_or_is_on_the_list_is_not_let_in() {
        let refusal = |id, attributes| admit(id, attributes).unwrap().unwrap_err();
        assert_eq!(refusal("C-1", r#"{"tier": "Plus"}"#), Refusal::ConsentNotRecorded);
        assert_eq!(refusal("C-1", r#"{"tier": "Plus", "consent": "n"}"#), Refusal::NoConsent);
        assert_eq!(refusal("C-9", r#"{"tier": "Plus", "consent": "y"}"#), Refusal::OnSuppressionList);
    }

    #[test]
    fn every_fault_is_named_with_its_field_and_no_value_is_quoted() {
        let faults = |id: &str, attributes: &str| -> Vec<(String, String)> {
            let problems = admit(id, attributes).unwrap_err();
            assert!(problems.iter().all(|problem| !problem.to_string().contains("Ada")), "{problems:?}");
            problems.into_iter().map(|problem| (problem.field.unwrap(), problem.remedy)).collect()
        };
        let fields = |faults: Vec<(String, String)>| faults.into_iter().map(|(field, _)| field).collect::<Vec<_>>();
        let all = r#"{"consent": "Ada", "spent": "Ada", "history": 1, "monetary": 2, "tear": "Ada"}"#;
        let expected = [
            "id",
            "attributes.consent",
            "attributes.history",
            "attributes.monetary",
            "attributes.tier",
            "attributes.tear",
        ];
        assert_eq!(fields(faults(" ", all)), expected);
        assert_eq!(
            faults("C-1", r#"{"tier": "Ada"}"#),
            [("attributes.tier".into(), "give one of: Basic, Plus".into())]
        );
        assert_eq!(faults("C-1", r#"{"tear": 1, "tier": "Plus"}"#)[0].1, "did you mean `tier`?");
        assert_eq!(fields(faults("C-1", "[]")), ["attributes"]);
    }
}
