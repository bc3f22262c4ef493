//! JSON Lines: one object a line, its values as text.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    io::{BufRead, Read as _},
};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    csv::MAX_RECORD_BYTES,
    defect::Reason,
    mapping::Mapping,
    rows::{Cell, RawRows},
    source::{Emit, Layout, Origin},
};
use crate::Error;

/// Keys of a file that are remembered for messages and the quality report.
const MAX_UNMAPPED_KEYS: usize = 1_000;
const MAX_KEY_BYTES: usize = 200;
/// From here on an `f64` has no room for every whole number: digits may be lost.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

pub fn read(
    mut text: impl BufRead,
    start: &[u8],
    origin: Origin<'_>,
    mapping: &Mapping<'_>,
    emit: &mut Emit<'_>,
) -> Result<Layout, Error> {
    if start.trim_ascii_start().starts_with(b"[") {
        let remedy = "write one object a line; `jq -c '.[]'` does it";
        return Err(origin.problem("this is one JSON array, not JSON Lines", remedy).at_line(1).into());
    }
    let mut keys = Keys::new(mapping);
    let mut rows = RawRows::new(mapping.width());
    let mut cells = Vec::with_capacity(mapping.width());
    let (mut line, mut read) = (Vec::new(), 0u64);
    let mut number = 0;
    loop {
        line.clear();
        let taken = text.by_ref().take(MAX_RECORD_BYTES + 1).read_until(b'\n', &mut line);
        if taken.map_err(|error| origin.broken(error))? == 0 {
            break;
        }
        number += 1;
        if line.len() as u64 > MAX_RECORD_BYTES {
            let message = format!("the line is longer than {} MiB", MAX_RECORD_BYTES >> 20);
            let remedy = "write one row as one object a line; if the file is no JSON Lines, name one";
            return Err(origin.problem(message, remedy).at_line(number).into());
        }
        let object = line.trim_ascii();
        if object.is_empty() {
            continue;
        }
        read += 1;
        cells.clear();
        cells.resize(mapping.width(), None);
        match keys.parse(object, &mut cells, &mut rows) {
            Ok(()) => {
                if mapping.id_is_row_number() {
                    cells[0] = Some(rows.push_text(&read.to_string()));
                }
                rows.push_row(number, cells.iter().map(|cell| cell.unwrap_or(Cell::Missing)));
            }
            Err(reason) => rows.push_malformed(number, reason),
        }
        if rows.is_full() && emit(std::mem::replace(&mut rows, RawRows::new(mapping.width()))).is_break() {
            break;
        }
    }
    // A break here means the same as everywhere: nobody wants more, and there is no more.
    let _ = emit(rows);
    keys.all_found(mapping)?;
    Ok(Layout { delimiter: None, unmapped: keys.unmapped.into_iter().collect() })
}

/// A customer's values as a row, and the names among them that stand for nothing. An attribute may go by its own name
/// where no column has it. The mapping's id is the row number: `id` stands for it.
pub fn read_one(id: &str, object: &str, mapping: &Mapping<'_>) -> Result<(RawRows, BTreeSet<String>), Reason> {
    let mut keys = Keys::new(mapping);
    for (column, attribute) in (1..).zip(mapping.attributes.iter()) {
        keys.wanted.entry(&attribute.name).or_insert_with(|| vec![column]);
    }
    let mut rows = RawRows::of_one(mapping.width());
    let mut cells = vec![None; mapping.width()];
    cells[0] = Some(rows.push_text(id));
    keys.parse(object.as_bytes(), &mut cells, &mut rows)?;
    rows.push_row(1, cells.iter().map(|cell| cell.unwrap_or(Cell::Missing)));
    Ok((rows, keys.unmapped))
}

/// The keys that are wanted, and what was seen of them.
struct Keys<'m> {
    /// Columns of the mapping; one key may feed several.
    wanted: HashMap<&'m str, Vec<usize>>,
    found: Vec<bool>,
    any_object: bool,
    unmapped: BTreeSet<String>,
}

impl<'m> Keys<'m> {
    fn new(mapping: &Mapping<'m>) -> Self {
        let mut wanted: HashMap<_, Vec<_>> = HashMap::new();
        for (column, name) in mapping.columns().enumerate().skip(usize::from(mapping.id_is_row_number())) {
            wanted.entry(name).or_default().push(column);
        }
        let mut found = vec![false; mapping.width()];
        found[0] = mapping.id_is_row_number();
        Self { wanted, found, any_object: false, unmapped: BTreeSet::new() }
    }

    fn parse(&mut self, object: &[u8], cells: &mut [Option<Cell>], rows: &mut RawRows) -> Result<(), Reason> {
        let object = std::str::from_utf8(object).map_err(|_| Reason::NotText)?;
        let mut json = serde_json::Deserializer::from_str(object);
        ObjectSeed { keys: self, cells, rows }.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| {
            // The only type asked for is an object.
            if error.is_data() { Reason::NotAnObject } else { Reason::NotJson }
        })?;
        self.any_object = true;
        Ok(())
    }

    /// A key that no row has is a mapping that leads to nothing.
    fn all_found(&self, mapping: &Mapping<'_>) -> Result<(), Error> {
        if !self.any_object {
            return Ok(());
        }
        let found = mapping.columns().enumerate().filter(|(column, _)| self.found[*column]).map(|(_, name)| name);
        let mut names: Vec<String> = found.map(str::to_owned).chain(self.unmapped.iter().cloned()).collect();
        names.sort();
        names.dedup();
        let is_missing = |column: usize| !self.found[column] && !mapping.may_be_missing(column);
        let missing = mapping.columns().enumerate().filter(|(column, _)| is_missing(*column));
        let problems: Vec<_> = missing.map(|(column, name)| mapping.no_such_column(column, name, &names)).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}

/// Reads an object into the cells of one row.
struct ObjectSeed<'a, 'm> {
    keys: &'a mut Keys<'m>,
    cells: &'a mut [Option<Cell>],
    rows: &'a mut RawRows,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { keys: Keys { wanted, found, unmapped, .. }, cells, rows } = self;
        while let Some(columns) = map.next_key_seed(KeySeed { wanted, unmapped })? {
            let Some(columns) = columns else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let cell = map.next_value_seed(CellSeed(rows))?;
            for column in columns {
                found[*column] = true;
                let cell = if cells[*column].is_some() { Cell::Bad(Reason::NamedTwice) } else { cell };
                cells[*column] = Some(cell);
            }
        }
        Ok(())
    }
}

/// Which columns a key feeds; `None` where it feeds none.
struct KeySeed<'a, 'm> {
    wanted: &'a HashMap<&'m str, Vec<usize>>,
    unmapped: &'a mut BTreeSet<String>,
}

impl<'de, 'a> DeserializeSeed<'de> for KeySeed<'a, '_> {
    type Value = Option<&'a [usize]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for KeySeed<'a, '_> {
    type Value = Option<&'a [usize]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let columns = self.wanted.get(key).map(Vec::as_slice);
        let is_news = columns.is_none() && self.unmapped.len() < MAX_UNMAPPED_KEYS && !self.unmapped.contains(key);
        if is_news && key.len() <= MAX_KEY_BYTES {
            self.unmapped.insert(key.to_owned());
        }
        Ok(columns)
    }
}

/// Reads one value as text, so that it is typed as in every other format.
struct CellSeed<'a>(&'a mut RawRows);

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(self.0.push_text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(self.0.push_text(if value { "true" } else { "false" }))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(self.0.push_text(&value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(self.0.push_text(&value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        if value.abs() >= FIRST_INEXACT {
            return Ok(Cell::Bad(Reason::InexactNumber));
        }
        Ok(self.0.push_text(&value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cell, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Bad(Reason::Nested))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Cell, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Bad(Reason::Nested))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufReader, Read as _},
        ops::ControlFlow,
        path::Path,
    };

    use super::*;
    use crate::domain::attribute::{Attribute, AttributeType, Attributes};

    fn attributes() -> Attributes {
        let attribute = |column: &str| Attribute {
            name: column.to_owned(),
            column: column.to_owned(),
            kind: AttributeType::Text,
            min: None,
            max: None,
            values: Vec::new(),
            required: false,
        };
        Attributes::new(vec![attribute("age"), attribute("tier")])
    }

    type Read = (Layout, Vec<(u64, Vec<Result<Option<String>, Reason>>)>, Vec<(u64, Reason)>);

    fn read_all(text: impl BufRead) -> Result<Read, Error> {
        let attributes = attributes();
        let mapping = Mapping {
            file: Path::new("c.jsonl"),
            id: "id",
            attributes: &attributes,
            of: super::super::mapping::Of::Customers,
        };
        let origin = Origin {
            path: mapping.file,
            compression: super::super::source::Compression::None,
            encoding: encoding_rs::UTF_8,
        };
        let (mut rows, mut malformed) = (Vec::new(), Vec::new());
        let layout = read(text, b"{", origin, &mapping, &mut |batch| {
            let texts = batch.texts();
            for (row, line) in batch.lines().iter().enumerate() {
                let cells = (0..3).map(|column| texts.get(row, column).map(|text| text.map(str::to_owned)));
                rows.push((*line, cells.collect()));
            }
            malformed.extend_from_slice(batch.malformed());
            ControlFlow::Continue(())
        })?;
        Ok((layout, rows, malformed))
    }

    #[test]
    fn every_kind_of_value_becomes_the_text_that_csv_would_have() {
        let text = br#"{"id": 18446744073709551615, "age": 41.5, "tier": "g\u00f6ld", "x": {"y": [1]}}

{"tier": null, "id": "a\"b", "age": true}
{"id": 1, "age": [1, {"a": 2}], "tier": {"a": 1}}
{"id": 12345678901234567890123, "age": -3, "age": 4}
[1, 2]
{"id": 3,
{"id": "4"} trailing
"#;
        let (layout, rows, malformed) = read_all(&text[..]).unwrap();
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            rows,
            [
                (1, vec![some("18446744073709551615"), some("41.5"), some("göld")]),
                (3, vec![some("a\"b"), some("true"), Ok(None)]),
                (4, vec![some("1"), Err(Reason::Nested), Err(Reason::Nested)]),
                (5, vec![Err(Reason::InexactNumber), Err(Reason::NamedTwice), Ok(None)]),
            ]
        );
        assert_eq!(malformed, [(6, Reason::NotAnObject), (7, Reason::NotJson), (8, Reason::NotJson)]);
        assert_eq!(layout.unmapped, ["x"]);
    }

    #[test]
    fn a_key_that_no_row_has_is_a_mapping_that_leads_to_nothing() {
        let Err(Error::Input(problems)) = read_all(&b"{\"id\": 1, \"Tier\": \"x\"}\n{\"id\": 2, \"age\": 3}"[..])
        else {
            panic!("a missing key is accepted")
        };
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field.as_deref(), Some("customers.columns.tier"));
        assert!(problems[0].remedy.contains("`Tier`"), "{}", problems[0]);
    }

    #[test]
    fn an_endless_line_stops_at_the_cap() {
        let start = &b"{\"id\": 1, \"age\": 2, \"tier\": \"\"}\n{\"id\": \""[..];
        let endless = start.chain(std::io::repeat(b'x'));
        let Err(Error::Input(problems)) = read_all(BufReader::new(endless)) else { panic!("an endless line is read") };
        assert_eq!(problems[0].line, Some(2));
    }
}
