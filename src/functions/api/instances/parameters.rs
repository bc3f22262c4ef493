//! What follows the question mark.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{extract::FromRequestParts, http::request::Parts};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// As the real one reads them: names ignore case, a parameter that is given several times has all its values with commas
/// between them, and a value that cannot be read is as good as absent.
#[derive(Debug, Default)]
pub struct Parameters(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Parameters {
    pub fn of(query: &str) -> Self {
        let mut parameters: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            parameters
                .entry(name.to_lowercase())
                .and_modify(|values| values.extend([",", &value]))
                .or_insert_with(|| value.into_owned());
        }
        Self(parameters)
    }

    /// `name` in lower case, here and below.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn flag(&self, name: &str, otherwise: bool) -> bool {
        let value = self.text(name).unwrap_or_default().trim();
        if value.eq_ignore_ascii_case("true") {
            true
        } else if value.eq_ignore_ascii_case("false") {
            false
        } else {
            otherwise
        }
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.text(name)?.trim().parse().ok()
    }

    /// In seconds; less than none is none.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        let seconds: f64 = self.text(name)?.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds.max(0.0)).ok()
    }

    /// With an offset or in UTC; a date alone is its midnight.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?.trim();
        let without_offset = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
        text.parse().ok().or_else(|| without_offset().map(|zoned| zoned.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_as_good_as_absent() {
        let given =
            Parameters::of("SHOWINPUT=False&showhistory=1&a=true&A=false&top=1.5&Reason=a+b&reason=c%2Bd&t=-1&u=x");
        assert!(!given.flag("showinput", true));
        assert!(given.flag("showhistory", true) && given.flag("a", true) && !given.flag("a", false));
        assert_eq!(given.number("top"), None);
        assert_eq!(given.text("reason"), Some("a b,c+d"));
        assert_eq!((given.seconds("t"), given.seconds("u")), (Some(Duration::ZERO), None));
    }

    #[test]
    fn times_are_read_with_an_offset_and_without() {
        for (text, expected) in [
            ("2026-11-22T19%3A58%3A18%2B02%3A00", Some("2026-11-22T17:58:18Z")),
            ("2026-11-22T17:58:18.5Z", Some("2026-11-22T17:58:18.5Z")),
            ("2026-11-22T17:58:18", Some("2026-11-22T17:58:18Z")),
            ("2026-11-22%2017:58:18Z", Some("2026-11-22T17:58:18Z")),
            ("2026-11-22", Some("2026-11-22T00:00:00Z")),
            // A plus that is not encoded is a blank.
            ("2026-11-22T19:58:18+02:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(Parameters::of(&format!("createdTimeFrom={text}")).time("createdtimefrom"), expected, "{text}");
        }
    }
}
