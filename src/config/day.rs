//! Dates as people write them in TOML, YAML and JSON.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de};

/// A text (`2026-11-22`, or a timestamp that starts so) or TOML's own date.
#[derive(Debug, Clone, Copy)]
pub struct Day(pub Date);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Day;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date such as 2026-11-22")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Day, E> {
                let pieces = jiff::fmt::temporal::Pieces::parse(text)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Day(pieces.date()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Day, A::Error> {
                let date = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
                self.visit_str(&date.to_string())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// For a field `Option<Date>`.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    Ok(Option::<Day>::deserialize(deserializer)?.map(|day| day.0))
}
