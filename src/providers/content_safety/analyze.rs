//! `text:analyze`: the four harms and what blocklists list.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{ContentSafety, Part};
use crate::{
    domain::{
        id::BlocklistName,
        verdict::{Harm, Severities, Severity, SeverityLevels},
    },
    providers::service::{Answer, Call, Fault},
};

/// What the service says of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    pub severities: Severities,
    pub matches: Vec<BlocklistMatch>,
}

/// Words that an item of a blocklist lists.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BlocklistMatch {
    #[serde(rename = "blocklistName")]
    pub blocklist: String,
    #[serde(rename = "blocklistItemText")]
    pub item: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    text: &'a str,
    categories: [Category; 4],
    output_type: OutputType,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    blocklist_names: &'a [BlocklistName],
    halt_on_blocklist_hit: bool,
}

#[derive(Serialize)]
enum OutputType {
    FourSeverityLevels,
    EightSeverityLevels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Category {
    Hate,
    SelfHarm,
    Sexual,
    Violence,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    categories_analysis: Vec<OfCategory>,
    /// There is none only where no blocklist was asked for.
    blocklists_match: Option<Vec<BlocklistMatch>>,
}

#[derive(Deserialize)]
struct OfCategory {
    category: Category,
    severity: u8,
}

impl Category {
    const ALL: [Self; 4] = [Self::Hate, Self::SelfHarm, Self::Sexual, Self::Violence];

    fn harm(self) -> Harm {
        match self {
            Self::Hate => Harm::Hate,
            Self::SelfHarm => Harm::SelfHarm,
            Self::Sexual => Harm::Sexual,
            Self::Violence => Harm::Violence,
        }
    }
}

impl ContentSafety {
    /// All harms, on the scale asked for, whatever the blocklists hit.
    pub async fn analyze(
        &self,
        text: Part<'_>,
        levels: SeverityLevels,
        blocklists: &[BlocklistName],
    ) -> Result<Analysis, Fault> {
        let answer = self.service.send(&call(text, levels, blocklists)).await?;
        read(&answer, levels, blocklists)
    }
}

pub fn call(text: Part<'_>, levels: SeverityLevels, blocklists: &[BlocklistName]) -> Call {
    super::call("analyze", "text:analyze").json(&Request {
        text: text.as_str(),
        categories: Category::ALL,
        output_type: match levels {
            SeverityLevels::Four => OutputType::FourSeverityLevels,
            SeverityLevels::Eight => OutputType::EightSeverityLevels,
        },
        blocklist_names: blocklists,
        // A list's hit says nothing of the harms, and both are told.
        halt_on_blocklist_hit: false,
    })
}

pub fn read(answer: &Answer, levels: SeverityLevels, blocklists: &[BlocklistName]) -> Result<Analysis, Fault> {
    let given: Given = answer.json()?;
    let matches = match given.blocklists_match {
        None if !blocklists.is_empty() => return Err(answer.unusable("it does not say what blocklists hit".to_owned())),
        matches => matches.unwrap_or_default(),
    };
    let severities = severities(&given.categories_analysis, levels).map_err(|why| answer.unusable(why.to_owned()))?;
    Ok(Analysis { severities, matches })
}

/// Each category once, on its scale.
fn severities(analysis: &[OfCategory], levels: SeverityLevels) -> Result<Severities, &'static str> {
    let mut found = HashMap::new();
    for OfCategory { category, severity } in analysis {
        let severity = Severity::new(*severity).filter(|severity| levels.has(*severity));
        let severity = severity.ok_or("it gives a severity that is not on the scale that was asked for")?;
        if found.insert(category.harm(), severity).is_some() {
            return Err("it gives a category twice");
        }
    }
    let of = |harm| found.get(&harm).copied().ok_or("it leaves a category out");
    Ok(Severities {
        hate: of(Harm::Hate)?,
        sexual: of(Harm::Sexual)?,
        violence: of(Harm::Violence)?,
        self_harm: of(Harm::SelfHarm)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::ErrorKind;

    fn answer(body: &str) -> Answer {
        Answer::of_json("analyze", body)
    }

    fn lists() -> [BlocklistName; 1] {
        [BlocklistName::new("brand").unwrap()]
    }

    fn all_four() -> Value {
        json!([
            { "category": "Hate", "severity": 0 },
            { "category": "SelfHarm", "severity": 2 },
            { "category": "Sexual", "severity": 4 },
            { "category": "Violence", "severity": 6 },
        ])
    }

    #[test]
    fn an_answer_is_read_in_any_order_and_with_more_fields_than_are_known() {
        let expected = Severities {
            hate: Severity::new(0).unwrap(),
            self_harm: Severity::new(2).unwrap(),
            sexual: Severity::new(4).unwrap(),
            violence: Severity::new(6).unwrap(),
        };
        let body = json!({
            "modelVersion": "2", "categoriesAnalysis": [
                { "severity": 6, "category": "Violence", "confidence": 0.9 },
                { "category": "SelfHarm", "severity": 2 },
                { "category": "Hate", "severity": 0 },
                { "category": "Sexual", "severity": 4 },
            ],
            "blocklistsMatch": [{ "offset": 3, "blocklistItemText": "w", "blocklistItemId": "1", "blocklistName": "brand" }],
        });
        let analysis = read(&answer(&body.to_string()), SeverityLevels::Four, &lists()).unwrap();
        assert_eq!(analysis.severities, expected);
        assert_eq!(analysis.matches, [BlocklistMatch { blocklist: "brand".to_owned(), item: "w".to_owned() }]);
        let bare = json!({ "categoriesAnalysis": all_four() }).to_string();
        assert_eq!(read(&answer(&bare), SeverityLevels::Four, &[]).unwrap().severities, expected);
    }

    #[test]
    fn an_answer_that_is_not_wholly_understood_is_none() {
        let category = |name: &str, severity: Value| json!({ "category": name, "severity": severity });
        let with = |change: &dyn Fn(&mut Vec<Value>)| {
            let mut all = all_four();
            change(all.as_array_mut().unwrap());
            json!({ "categoriesAnalysis": all, "blocklistsMatch": [] })
        };
        let spoilt = [
            ("no category", with(&Vec::clear)),
            ("one left out", with(&|all| drop(all.pop()))),
            ("one twice", with(&|all| all.push(category("Hate", json!(0))))),
            ("one twice in place of another", with(&|all| all[1] = category("Hate", json!(0)))),
            ("a fifth", with(&|all| all.push(category("Spam", json!(0))))),
            ("another in place of one", with(&|all| all[0] = category("hate", json!(0)))),
            ("a severity between two", with(&|all| all[0] = category("Hate", json!(1)))),
            ("a severity above all", with(&|all| all[0] = category("Hate", json!(8)))),
            ("a severity below all", with(&|all| all[0] = category("Hate", json!(-2)))),
            ("a severity beyond a byte", with(&|all| all[0] = category("Hate", json!(256)))),
            ("a fraction", with(&|all| all[0] = category("Hate", json!(2.0)))),
            ("a severity in words", with(&|all| all[0] = category("Hate", json!("2")))),
            ("no severity", with(&|all| all[0] = category("Hate", Value::Null))),
            ("a severity left out", with(&|all| all[0] = json!({ "category": "Hate" }))),
            ("categories by name", json!({ "categoriesAnalysis": { "Hate": 0 }, "blocklistsMatch": [] })),
            ("null", json!({ "categoriesAnalysis": null, "blocklistsMatch": [] })),
            ("other names of fields", json!({ "categories_analysis": all_four(), "blocklistsMatch": [] })),
            ("matches left out", json!({ "categoriesAnalysis": all_four() })),
            ("matches that are null", json!({ "categoriesAnalysis": all_four(), "blocklistsMatch": null })),
            ("matches that are no list", json!({ "categoriesAnalysis": all_four(), "blocklistsMatch": {} })),
            ("a match without a name", json!({ "categoriesAnalysis": all_four(), "blocklistsMatch": [{}] })),
            ("a list", json!([])),
            ("nothing", Value::Null),
        ];
        for (what, body) in spoilt {
            let fault = read(&answer(&body.to_string()), SeverityLevels::Four, &lists()).expect_err(what);
            assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Unavailable, true), "{what}");
        }
        let doubled = r#"{"categoriesAnalysis": [], "categoriesAnalysis": [], "blocklistsMatch": []}"#;
        for body in ["", "{", "<html>", doubled, &format!("{} x", json!({ "categoriesAnalysis": all_four() }))] {
            assert!(read(&answer(body), SeverityLevels::Four, &[]).is_err(), "{body}");
        }
    }

    fn analysis() -> impl Strategy<Value = Vec<(&'static str, i64)>> {
        let category = prop_oneof![
            9 => prop::sample::select(vec!["Hate", "SelfHarm", "Sexual", "Violence"]),
            1 => prop::sample::select(vec!["hate", "Spam", ""]),
        ];
        let any = prop::collection::vec((category, -1..10_i64), 0..7);
        let four = prop::collection::vec(0..8_i64, 4)
            .prop_map(|severities| ["Hate", "SelfHarm", "Sexual", "Violence"].into_iter().zip(severities).collect());
        prop_oneof![any, four.prop_shuffle()]
    }

    proptest! {
        #[test]
        fn exactly_the_four_categories_once_each_on_their_scale_are_an_answer(analysis in analysis(), is_four in any::<bool>()) {
            let (levels, step) = if is_four { (SeverityLevels::Four, 2) } else { (SeverityLevels::Eight, 1) };
            let list: Vec<Value> =
                analysis.iter().map(|(category, severity)| json!({ "category": category, "severity": severity })).collect();
            let read = read(&answer(&json!({ "categoriesAnalysis": list }).to_string()), levels, &[]);
            let mut names: Vec<&str> = analysis.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            let is_whole = names == ["Hate", "SelfHarm", "Sexual", "Violence"]
                && analysis.iter().all(|(_, severity)| (0..8).contains(severity) && severity % step == 0);
            prop_assert_eq!(read.is_ok(), is_whole);
            if let Ok(read) = read {
                for (name, severity) in analysis {
                    let harm = Category::ALL.into_iter().find(|category| format!("{category:?}") == name).unwrap().harm();
                    prop_assert_eq!(i64::from(read.severities.of(harm).level()), severity);
                }
            }
        }
    }
}
