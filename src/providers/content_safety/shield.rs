//! `text:shieldPrompt`: whether a text tries to take a model over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Bundle, ContentSafety, Part};
use crate::providers::service::{Answer, Call, Fault};

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    documents: Vec<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfPrompt {
    user_prompt_analysis: Analysis,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfDocuments {
    documents_analysis: Vec<Analysis>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Analysis {
    attack_detected: bool,
}

impl ContentSafety {
    /// Whether what a user says to a model is an attack on it.
    pub async fn shield_prompt(&self, prompt: Part<'_>) -> Result<bool, Fault> {
        let request = Request { user_prompt: Some(prompt.as_str()), ..Request::default() };
        let answer = self.service.send(&call(&request)).await?;
        Ok(answer.json::<OfPrompt>()?.user_prompt_analysis.attack_detected)
    }

    /// The positions of the texts in which somebody has hidden an attack on a model that reads them.
    pub async fn shield_documents(&self, bundle: &Bundle<'_>) -> Result<BTreeSet<usize>, Fault> {
        let request = Request { documents: bundle.texts().collect(), ..Request::default() };
        read(&self.service.send(&call(&request)).await?, bundle)
    }
}

fn call(request: &Request<'_>) -> Call {
    super::call("shield prompt", "text:shieldPrompt").json(request)
}

fn read(answer: &Answer, bundle: &Bundle<'_>) -> Result<BTreeSet<usize>, Fault> {
    let OfDocuments { documents_analysis } = answer.json()?;
    if documents_analysis.len() != bundle.positions().len() {
        return Err(answer.unusable("it does not say the same number of documents that were asked about".to_owned()));
    }
    let analysed = bundle.positions().zip(documents_analysis);
    Ok(analysed.filter(|(_, analysis)| analysis.attack_detected).map(|(position, _)| position).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_of(texts: &[&str], body: &str) -> Option<Vec<usize>> {
        let [bundle] = &Bundle::all(texts)[..] else { panic!("these are the texts of one call") };
        read(&Answer::of_json("shield prompt", body), bundle).ok().map(|attacks| attacks.into_iter().collect())
    }

    #[test]
    fn an_attack_is_told_of_the_text_in_which_it_is() {
        let long = "x".repeat(9_000);
        assert_eq!(read_of(&["a", " ", "b"], &analysis(&[false, true])), Some(vec![2]));
        assert_eq!(read_of(&["a", &long], &analysis(&[false, false])), Some(vec![]));
        let more =
            r#"{"documentsAnalysis": [{"score": 1, "attackDetected": true}], "userPromptAnalysis": null, "x": 1}"#;
        assert_eq!(read_of(&["a"], more), Some(vec![0]));
    }

    #[test]
    fn an_answer_that_leaves_a_document_open_is_none() {
        for body in [
            analysis(&[]),
            analysis(&[false]),
            analysis(&[false, false, false]),
            r#"{"documentsAnalysis": [{"attackDetected": false}, {}]}"#.to_owned(),
            r#"{"documentsAnalysis": [{"attackDetected": false}, {"attackDetected": null}]}"#.to_owned(),
            r#"{"documentsAnalysis": [{"attackDetected": false}, {"attackDetected": "false"}]}"#.to_owned(),
            r#"{"documentsAnalysis": null}"#.to_owned(),
            r#"{"userPromptAnalysis": {"attackDetected": false}}"#.to_owned(),
            "{}".to_owned(),
        ] {
            assert_eq!(read_of(&["a", "b"], &body), None, "{body}");
        }
    }

    fn analysis(attacks: &[bool]) -> String {
        let list: Vec<_> = attacks.iter().map(|attack| json!({ "attackDetected": attack })).collect();
        json!({ "userPromptAnalysis": { "attackDetected": false }, "documentsAnalysis": list }).to_string()
    }
}
