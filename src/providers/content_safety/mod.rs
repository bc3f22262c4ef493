//! Azure AI Content Safety: what harm a text does, whether it attacks a model that reads it, whether its sources say it.
//!
//! A safety answer that is not wholly understood is no answer: a category that is missing, unknown or named twice, a
//! severity that its scale does not have, a document without an analysis. Nobody may approve anything on a [`Fault`].
//!
//! | operation | path below `ENDPOINT/contentsafety` | version |
//! |---|---|---|
//! | [`ContentSafety::analyze`] | `text:analyze` | 2024-09-01 |
//! | [`ContentSafety::shield_documents`], [`ContentSafety::shield_prompt`] | `text:shieldPrompt` | 2024-09-01 |
//! | [`ContentSafety::ungrounded`] | `text:detectGroundedness` | 2024-09-15-preview |
//! | [`ContentSafety::has_blocklist`] | `text/blocklists/NAME` | 2024-09-01 |

mod analyze;
mod groundedness;
mod parts;
mod shield;

use std::time::Duration;

use reqwest::StatusCode;

pub use self::{
    analyze::{Analysis, BlocklistMatch},
    groundedness::{Grounding, TooLong},
    parts::{Bundle, Part},
};
use super::{
    Credential,
    service::{Call, Fault, Service},
    services::{Settings, wrong_address, wrong_key},
};
use crate::domain::{id::BlocklistName, problem::Problem, verdict::SeverityLevels};

/// As campaigns and messages call it.
pub const NAME: &str = "azure_content_safety";

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

const VERSION: &str = "2024-09-01";
/// Groundedness detection is in no version but previews.
const PREVIEW: &str = "2024-09-15-preview";

/// The service answers within a second. Whoever asks for a verdict gives up after 30.
const WITHIN: Duration = Duration::from_secs(25);

/// Code points of a text record, by which the service is paid.
const RECORD: usize = 1_000;

#[derive(Debug)]
pub struct ContentSafety {
    service: Service,
}

impl ContentSafety {
    /// * `AZURE_CONTENT_SAFETY_ENDPOINT`, e.g. `https://NAME.cognitiveservices.azure.com`
    /// * `AZURE_CONTENT_SAFETY_KEY`; without it the process's Entra identity is used (role Cognitive Services User)
    pub fn new(settings: &Settings) -> Result<Self, Problem> {
        const ENDPOINT: &str = "AZURE_CONTENT_SAFETY_ENDPOINT";
        const KEY: &str = "AZURE_CONTENT_SAFETY_KEY";
        let endpoint = settings.required(ENDPOINT, NAME, "https://NAME.cognitiveservices.azure.com")?;
        let credential = match settings.get(KEY) {
            Some(key) => Credential::key("ocp-apim-subscription-key", &key).map_err(|why| wrong_key(KEY, why))?,
            None => Credential::entra(SCOPE)?,
        };
        let base = format!("{}/contentsafety", endpoint.trim_end_matches('/'));
        let service = Service::new(NAME, &base, credential).map_err(|why| wrong_address(ENDPOINT, &why))?;
        Ok(Self { service })
    }

    /// The smallest call that shows that a campaign's calls would be answered. Costs one text record.
    pub async fn probe(&self) -> Result<(), Fault> {
        let call = analyze::call(Part::word("Hello"), SeverityLevels::Four, &[]).public();
        let answer = self.service.send(&call).await?;
        analyze::read(&answer, SeverityLevels::Four, &[]).map(drop)
    }

    /// Whether the resource has the list, with whatever words.
    pub async fn has_blocklist(&self, name: &BlocklistName) -> Result<bool, Fault> {
        let call = Call::get("get blocklist", format!("text/blocklists/{name}"));
        match self.service.send(&call.query("api-version", VERSION).within(WITHIN).public()).await {
            Ok(_) => Ok(true),
            Err(Fault { status: Some(StatusCode::NOT_FOUND), .. }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

fn call(operation: &'static str, path: &str) -> Call {
    Call::post(operation, path).query("api-version", VERSION).within(WITHIN)
}

/// How many text records a call with these texts is paid as: each begins one of its own, whether or not the service is
/// that strict.
pub fn text_records<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    texts.into_iter().map(|text| records_of(text.chars().count())).sum()
}

/// Of one text with so many code points.
pub fn records_of(code_points: usize) -> u64 {
    code_points.div_ceil(RECORD).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Settings;

    fn settings(list: &'static [(&str, &str)]) -> Settings {
        Settings::new(|name| list.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn every_text_begins_a_record_and_so_does_every_thousand_of_its_code_points() {
        for (code_points, records) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (7_500, 8)] {
            assert_eq!(records_of(code_points), records, "{code_points}");
        }
        assert_eq!(text_records(["ä".repeat(1_000).as_str(), "b", ""]), 3);
    }

    #[test]
    fn without_an_endpoint_and_with_one_that_others_could_listen_to_the_setting_is_named() {
        for list in
            [&[] as &[_], &[("AZURE_CONTENT_SAFETY_ENDPOINT", "http://example.org"), ("AZURE_CONTENT_SAFETY_KEY", "k")]]
        {
            let problem = ContentSafety::new(&settings(list)).unwrap_err();
            assert!(problem.message.contains("AZURE_CONTENT_SAFETY_ENDPOINT"), "{problem}");
        }
        let wrong_key =
            &[("AZURE_CONTENT_SAFETY_ENDPOINT", "https://example.org"), ("AZURE_CONTENT_SAFETY_KEY", "a\nsecret")];
        let problem = ContentSafety::new(&settings(wrong_key)).unwrap_err().to_string();
        assert!(problem.contains("AZURE_CONTENT_SAFETY_KEY") && !problem.contains("secret"), "{problem}");
    }
}
