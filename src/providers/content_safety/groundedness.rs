//! `text:detectGroundedness`: whether a text's sources say what it says. A preview.

use serde::{Deserialize, Serialize};

use super::{ContentSafety, PREVIEW, WITHIN};
use crate::providers::service::{Answer, Call, Fault};

/// A text and what it rests on, as one call takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grounding<'a> {
    text: &'a str,
    source: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    #[error("the text has more than {} characters", Grounding::MOST_TEXT)]
    Text,
    #[error("what the text cites has more than {} characters together", Grounding::MOST_SOURCE)]
    Source,
}

impl<'a> Grounding<'a> {
    /// Code points.
    pub const MOST_TEXT: usize = 7_500;
    pub const MOST_SOURCE: usize = 55_000;

    pub fn new(text: &'a str, source: &'a str) -> Result<Self, TooLong> {
        let has_more = |text: &str, most: usize| text.chars().nth(most).is_some();
        if has_more(text, Self::MOST_TEXT) {
            return Err(TooLong::Text);
        }
        if has_more(source, Self::MOST_SOURCE) {
            return Err(TooLong::Source);
        }
        Ok(Self { text, source })
    }

    pub fn texts(&self) -> [&'a str; 2] {
        [self.text, self.source]
    }
}

/// Neither a correction nor reasons are asked for: they need a language model of the caller's, and the former is text that
/// nobody has screened.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    domain: &'static str,
    task: &'static str,
    text: &'a str,
    grounding_sources: [&'a str; 1],
}

/// What else there may be, such as the corrected text, is called one thing in the service's description
/// (`mitigatedText`) and another in its documentation (`correctionText`); neither is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    ungrounded_detected: bool,
    ungrounded_percentage: f64,
    ungrounded_details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    text: String,
    offset: Place,
    length: Place,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    code_point: usize,
}

impl ContentSafety {
    /// The words that the source does not say; none if it says all of them.
    pub async fn ungrounded(&self, grounding: Grounding<'_>) -> Result<Vec<String>, Fault> {
        read(&self.service.send(&call(grounding)).await?, grounding.text)
    }
}

fn call(Grounding { text, source }: Grounding<'_>) -> Call {
    let request = Request { domain: "Generic", task: "Summarization", text, grounding_sources: [source] };
    let call = Call::post("detect groundedness", "text:detectGroundedness").query("api-version", PREVIEW);
    call.within(WITHIN).json(&request)
}

/// Whichever of its fields says that something is not grounded is believed.
fn read(answer: &Answer, text: &str) -> Result<Vec<String>, Fault> {
    let Given { ungrounded_detected, ungrounded_percentage, ungrounded_details } = answer.json()?;
    if ungrounded_details.is_empty() && (ungrounded_detected || ungrounded_percentage > 0.0) {
        return Ok(vec![text.trim().to_owned()]);
    }
    Ok(ungrounded_details.into_iter().map(|detail| detail.words(text)).collect())
}

impl Detail {
    /// Our own words at that place; the service's, where it points beyond the text or at nothing.
    fn words(self, text: &str) -> String {
        let words: String = text.chars().skip(self.offset.code_point).take(self.length.code_point).collect();
        let is_there = !words.trim().is_empty() && words.chars().count() == self.length.code_point;
        if is_there { words } else { self.text }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = "Grüße 🙂. The Sun rises in the west.";

    fn read_of(body: &Value) -> Option<Vec<String>> {
        read(&Answer::of_json("detect groundedness", &body.to_string()), TEXT).ok()
    }

    fn at(offset: usize, length: usize) -> Value {
        json!({ "text": "said by the service", "offset": { "utf8": 14, "utf16": 10, "codePoint": offset },
                "length": { "utf8": 26, "utf16": 26, "codePoint": length }, "reason": "none" })
    }

    #[test]
    fn the_words_are_found_by_code_points_whatever_else_the_answer_holds() {
        let west = Some(vec!["The Sun rises in the west.".to_owned()]);
        for extra in ["mitigatedText", "correctionText", "mitigating", "correction", "new"] {
            let mut body =
                json!({ "ungroundedDetails": [at(9, 26)], "ungroundedPercentage": 1, "ungroundedDetected": true });
            body[extra] = json!("The Sun rises in the east.");
            assert_eq!(read_of(&body), west, "{extra}");
        }
        let grounded = json!({ "ungroundedDetected": false, "ungroundedPercentage": 0, "ungroundedDetails": [] });
        assert_eq!(read_of(&grounded), Some(vec![]));
    }

    #[test]
    fn a_contradiction_counts_as_not_grounded() {
        let whole = Some(vec![TEXT.to_owned()]);
        let said = Some(vec!["said by the service".to_owned()]);
        for (detected, percentage, details, expected) in [
            (true, 0.0, vec![], &whole),
            (false, 0.25, vec![], &whole),
            (false, 0.0, vec![at(9, 26)], &Some(vec!["The Sun rises in the west.".to_owned()])),
            (true, 1.0, vec![at(9, 27)], &said),
            (true, 1.0, vec![at(5_000_000_000, 1)], &said),
            (true, 1.0, vec![at(0, 0)], &said),
        ] {
            let body = json!({ "ungroundedDetected": detected, "ungroundedPercentage": percentage, "ungroundedDetails": details });
            assert_eq!(&read_of(&body), expected, "{body}");
        }
    }

    #[test]
    fn an_answer_that_is_not_wholly_understood_is_none() {
        let whole = json!({ "ungroundedDetected": false, "ungroundedPercentage": 0, "ungroundedDetails": [] });
        for name in ["ungroundedDetected", "ungroundedPercentage", "ungroundedDetails"] {
            for value in [None, Some(Value::Null), Some(json!("false")), Some(json!({}))] {
                let mut body = whole.clone();
                match value {
                    Some(value) => body[name] = value,
                    None => drop(body.as_object_mut().unwrap().remove(name)),
                }
                assert_eq!(read_of(&body), None, "{body}");
            }
        }
        for place in [json!({}), json!({ "utf8": 1 }), json!({ "codePoint": -1 }), json!(1)] {
            let detail = json!({ "text": "x", "offset": place, "length": { "codePoint": 1 } });
            let body = json!({ "ungroundedDetected": true, "ungroundedPercentage": 1, "ungroundedDetails": [detail] });
            assert_eq!(read_of(&body), None, "{body}");
        }
    }

    #[test]
    fn what_one_call_does_not_take_is_not_sent() {
        let (text, source) = ("ä".repeat(7_500), "ä".repeat(55_000));
        assert!(Grounding::new(&text, &source).is_ok());
        assert_eq!(Grounding::new(&format!("{text}a"), "x"), Err(TooLong::Text));
        assert_eq!(Grounding::new("x", &format!("{source}a")), Err(TooLong::Source));
    }
}
