//! JSON as the host's library (Newtonsoft's) reads and writes it: sloppy text is taken, and a string that looks like a
//! moment becomes one.

use std::fmt::Write as _;

use jiff::{Timestamp, civil, tz};

/// Deeper texts are refused.
const MAX_DEPTH: usize = 256;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Moment(Moment),
    Array(Vec<Value>),
    /// Each name once, in the order of their first appearance.
    Object(Vec<(String, Value)>),
}

/// What became of a string such as `2026-01-02T03:04:05Z`. The host's own zone is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    at: civil::DateTime,
    zone: Zone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// None was given.
    Unknown,
    Utc,
    /// An offset was given; the moment was converted to the host's zone.
    Host,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no JSON at character {at}: {why}")]
pub struct NoJson {
    at: usize,
    why: &'static str,
}

impl Value {
    /// The first value of a text, whatever comes behind it; `None` where there is nothing but white space.
    pub fn parse(text: &str) -> Result<Option<Self>, NoJson> {
        let mut reader = Reader { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0 };
        reader.skip()?;
        if reader.rest().is_empty() { Ok(None) } else { reader.value(0).map(Some) }
    }

    /// A whole text that is an object or an array.
    pub fn parse_container(text: &str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        reader.skip().ok()?;
        let value = reader.rest().starts_with(['{', '[']).then(|| reader.value(0).ok())??;
        reader.skip().ok()?;
        reader.rest().is_empty().then_some(value)
    }

    /// The last of the names that are the same but for case.
    pub fn get_any_case(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn compact(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, None);
        text
    }

    pub fn indented(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, Some(0));
        text
    }

    /// As .NET turns a value into text: what is a message or a header afterwards.
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => float(*number),
            Self::Text(text) => text.clone(),
            Self::Moment(moment) => moment.at.strftime("%m/%d/%Y %H:%M:%S").to_string(),
            Self::Array(_) | Self::Object(_) => self.indented(),
        }
    }

    fn write(&self, text: &mut String, indent: Option<usize>) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Integer(_) => text.push_str(&self.to_text()),
            Self::Float(number) => text.push_str(&json_float(*number)),
            Self::Text(value) => quote(text, value),
            Self::Moment(moment) => quote(text, &moment.to_json()),
            Self::Array(items) => {
                let write = |text: &mut String, item: &Self, inner| item.write(text, inner);
                container(text, indent, ['[', ']'], items, write);
            }
            Self::Object(fields) => {
                let write = |text: &mut String, (name, value): &(String, Self), inner: Option<usize>| {
                    quote(text, name);
                    text.push_str(if inner.is_some() { ": " } else { ":" });
                    value.write(text, inner);
                };
                container(text, indent, ['{', '}'], fields, write);
            }
        }
    }
}

/// `indent`: that of the line it begins on; `None`: all on one line.
fn container<T>(
    text: &mut String,
    indent: Option<usize>,
    [open, close]: [char; 2],
    items: &[T],
    write: impl Fn(&mut String, &T, Option<usize>),
) {
    let inner = indent.map(|indent| indent + 2);
    let new_line = |text: &mut String, indent: Option<usize>| {
        if let Some(indent) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
        }
    };
    text.push(open);
    for (item, is_first) in items.iter().zip(std::iter::once(true).chain(std::iter::repeat(false))) {
        if !is_first {
            text.push(',');
        }
        new_line(text, inner);
        write(text, item, inner);
    }
    if !items.is_empty() {
        new_line(text, indent);
    }
    text.push(close);
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// The shortest text that gives the number again; with an exponent where .NET has one.
fn float(number: f64) -> String {
    if !number.is_finite() {
        let names = if number.is_nan() { "NaN" } else { "Infinity" };
        return if number < 0.0 { format!("-{names}") } else { names.to_owned() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("`{:e}` writes one");
    let exponent: i32 = exponent.parse().expect("it is a number");
    if (-4..15).contains(&exponent) {
        number.to_string()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}E{sign}{:02}", exponent.abs())
    }
}

/// In JSON it can be told from an integer, and what is no number is a string.
fn json_float(number: f64) -> String {
    let text = float(number);
    match number.is_finite() {
        true if text.contains(['.', 'E']) => text,
        true => format!("{text}.0"),
        false => format!("\"{text}\""),
    }
}

impl Moment {
    /// Date, `T`, time to the second at the least, up to seven digits of a fraction, `Z` or an offset or nothing.
    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !(19..=40).contains(&text.len()) || bytes[10] != b'T' || !text.is_ascii() {
            return None;
        }
        let zone_at = text[19..].find(['Z', 'z', '+', '-']).map_or(text.len(), |at| 19 + at);
        let (local, zone) = text.split_at(zone_at);
        match local.as_bytes()[19..] {
            [] => {}
            [b'.', ref digits @ ..] if (1..=7).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {}
            _ => return None,
        }
        let shape = b"0000-00-00T00:00:00";
        let fits = |(given, shape): (&u8, &u8)| if *shape == b'0' { given.is_ascii_digit() } else { given == shape };
        if !bytes.iter().zip(shape).all(fits) {
            return None;
        }
        let at: civil::DateTime = local.parse().ok()?;
        let zone = match zone {
            "" => return Some(Self { at, zone: Zone::Unknown }),
            "Z" | "z" => return Some(Self { at, zone: Zone::Utc }),
            offset => offset.replace(':', ""),
        };
        let (hours, minutes): (i32, i32) = match zone.len() {
            3 => (zone[1..].parse().ok()?, 0),
            5 => (zone[1..3].parse().ok()?, zone[3..].parse().ok()?),
            _ => return None,
        };
        let seconds = (hours * 60 + minutes) * 60 * if zone.starts_with('-') { -1 } else { 1 };
        let there = tz::Offset::from_seconds(seconds).ok()?;
        let at: Timestamp = there.to_timestamp(at).ok()?;
        Some(Self { at: tz::Offset::UTC.to_datetime(at), zone: Zone::Host })
    }

    fn to_json(self) -> String {
        let zone = match self.zone {
            Zone::Unknown => "",
            Zone::Utc => "Z",
            Zone::Host => "+00:00",
        };
        // `%.f` leaves out trailing zeros, and the point where nothing is behind it.
        format!("{}{zone}", self.at.strftime("%Y-%m-%dT%H:%M:%S%.f"))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, why: &'static str) -> NoJson {
        NoJson { at: self.at, why }
    }

    fn eat(&mut self, word: &str) -> bool {
        let is_next = self.rest().starts_with(word);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    fn skip_to(&mut self, end: &str) -> Result<(), NoJson> {
        let length = self.rest().find(end).ok_or_else(|| self.error("a comment does not end"))?;
        self.at += length + end.len();
        Ok(())
    }

    /// White space and comments.
    fn skip(&mut self) -> Result<(), NoJson> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if self.eat("/*") {
                self.skip_to("*/")?;
            } else if self.eat("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, NoJson> {
        if depth > MAX_DEPTH {
            return Err(self.error("it is too deep"));
        }
        self.skip()?;
        if self.eat("{") {
            return self.object(depth);
        }
        if self.eat("[") {
            return self.array(depth);
        }
        if self.rest().starts_with(['"', '\'']) {
            let text = self.string()?;
            return Ok(Moment::parse(&text).map_or(Value::Text(text), Value::Moment));
        }
        let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | ':' | '/' | '{' | '[' | '"' | '\'');
        let length = self.rest().find(is_end).unwrap_or(self.rest().len());
        let word = &self.rest()[..length];
        let value = match word {
            "null" | "undefined" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "NaN" => Value::Float(f64::NAN),
            "Infinity" => Value::Float(f64::INFINITY),
            "-Infinity" => Value::Float(f64::NEG_INFINITY),
            _ if !word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') => {
                return Err(self.error("there is no value"));
            }
            number => match (number.parse(), number.parse()) {
                (Ok(integer), _) => Value::Integer(integer),
                (_, Ok(float)) => Value::Float(float),
                _ => return Err(self.error("it is no number")),
            },
        };
        self.at += length;
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Value, NoJson> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        loop {
            self.skip()?;
            if self.eat("}") {
                return Ok(Value::Object(fields));
            }
            let name = if self.rest().starts_with(['"', '\'']) { self.string()? } else { self.bare_name()? };
            self.skip()?;
            if !self.eat(":") {
                return Err(self.error("a name without a colon"));
            }
            let value = self.value(depth + 1)?;
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, last)) => *last = value,
                None => fields.push((name, value)),
            }
            self.skip()?;
            if !self.eat(",") && !self.rest().starts_with('}') {
                return Err(self.error("an object does not end"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, NoJson> {
        let mut items = Vec::new();
        loop {
            self.skip()?;
            if self.eat("]") {
                return Ok(Value::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip()?;
            if !self.eat(",") && !self.rest().starts_with(']') {
                return Err(self.error("an array does not end"));
            }
        }
    }

    fn bare_name(&mut self) -> Result<String, NoJson> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let length = self.rest().find(|c| !is_part(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error("there is no name"));
        }
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    /// Between double or single quotes; line breaks may stand in it.
    fn string(&mut self) -> Result<String, NoJson> {
        let quote = self.rest().chars().next().expect("whoever calls saw a quote");
        self.at += quote.len_utf8();
        // UTF-16, for a pair of surrogates is two escapes.
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = self.rest().chars().next().ok_or_else(|| self.error("a string does not end"))?;
            self.at += c.len_utf8();
            if c == quote {
                return Ok(String::from_utf16_lossy(&units));
            }
            if c != '\\' {
                units.extend(c.encode_utf16(&mut [0; 2]).iter());
                continue;
            }
            let escape = self.rest().chars().next().ok_or_else(|| self.error("a string does not end"))?;
            self.at += escape.len_utf8();
            units.push(match escape {
                'b' => 8,
                'f' => 12,
                'n' => 10,
                'r' => 13,
                't' => 9,
                '"' | '\'' | '\\' | '/' => escape as u16,
                'u' => {
                    let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                    let digits = digits.ok_or_else(|| self.error("`\\u` wants four digits"))?;
                    self.at += 4;
                    u16::from_str_radix(digits, 16).map_err(|_| self.error("`\\u` wants four digits"))?
                }
                _ => return Err(self.error("there is no such escape")),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Value {
        Value::parse(text).unwrap().unwrap()
    }

    #[test]
    fn only_whole_moments_are_taken_for_one() {
        let cases = [
            ("2026-01-02T03:04:05Z", Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05", Some("2026-01-02T03:04:05")),
            ("2026-01-02T03:04:05.1200Z", Some("2026-01-02T03:04:05.12Z")),
            ("2026-01-02T03:04:05-02:30", Some("2026-01-02T05:34:05+00:00")),
            ("2026-01-02T03:04:05+0200", Some("2026-01-02T01:04:05+00:00")),
            ("2026-01-02", None),
            ("2026-01-02T03:04Z", None),
            ("2026-01-02 03:04:05Z", None),
            ("2026-13-02T03:04:05Z", None),
            ("2026-01-02T03:04:05.12345678Z", None),
            ("2026-01-02T03:04:05Z and more", None),
        ];
        for (text, json) in cases {
            assert_eq!(Moment::parse(text).map(Moment::to_json).as_deref(), json, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_dot_net_does() {
        let cases = [
            ("1.0", "1.0", "1"),
            ("1.50", "1.5", "1.5"),
            ("-7", "-7", "-7"),
            ("1e20", "1E+20", "1E+20"),
            ("0.00001", "1E-05", "1E-05"),
            ("NaN", "\"NaN\"", "NaN"),
        ];
        for (text, json, plain) in cases {
            assert_eq!((parsed(text).compact().as_str(), parsed(text).to_text().as_str()), (json, plain));
        }
    }

    #[test]
    fn the_last_of_two_equal_names_counts_and_a_pair_of_surrogates_is_one_character() {
        assert_eq!(parsed("{a:1,'b':2,\"a\":'\\ud83d\\ude00',}").compact(), "{\"a\":\"😀\",\"b\":2}");
    }
}
