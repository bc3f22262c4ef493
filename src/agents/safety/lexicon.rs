//! A harm screen without a service: weighted words and patterns, read from `lexicon.toml` at build time.
//!
//! It knows what it lists and no more: it catches plain abuse and its common disguises, not veiled or novel harm.

use std::{collections::BTreeMap, sync::LazyLock};

use async_trait::async_trait;
use regex::{Regex, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use crate::{
    agents::safety::{AsRead, HarmScreen, Screened, folded::Folded},
    domain::verdict::{Harm, Severities, Severity},
    providers::{Meter, ProviderError},
};

/// Built once; cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Lexicon(&'static Compiled);

#[derive(Debug)]
struct Compiled {
    patterns: RegexSet,
    /// What each pattern means.
    weights: Vec<(Harm, Severity)>,
    harmless: Regex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    words: BTreeMap<String, String>,
    harmless: Harmless,
    pattern: Vec<Patterns>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Harmless {
    patterns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patterns {
    harm: Harm,
    severity: Severity,
    patterns: Vec<String>,
}

static EMBEDDED: LazyLock<Compiled> =
    LazyLock::new(|| compile(include_str!("lexicon.toml")).expect("the embedded lexicon is read in a test"));

impl Default for Lexicon {
    fn default() -> Self {
        Self(&EMBEDDED)
    }
}

impl Lexicon {
    /// The worst that any reading of the text holds, per category.
    pub fn severities(&self, text: &str) -> Severities {
        let mut severities = Severities::default();
        for reading in readings(text) {
            let reading = self.0.harmless.replace_all(&reading, "|");
            for index in self.0.patterns.matches(&reading) {
                let (harm, severity) = self.0.weights[index];
                let worst = match harm {
                    Harm::Hate => &mut severities.hate,
                    Harm::Sexual => &mut severities.sexual,
                    Harm::Violence => &mut severities.violence,
                    Harm::SelfHarm => &mut severities.self_harm,
                };
                *worst = severity.max(*worst);
            }
        }
        severities
    }
}

#[async_trait]
impl HarmScreen for Lexicon {
    async fn screen(&self, message: &AsRead<'_>, _: &Meter) -> Result<Screened, ProviderError> {
        Ok(self.severities(message.text).into())
    }
}

fn compile(source: &str) -> Result<Compiled, Box<dyn std::error::Error>> {
    let file: File = toml::from_str(source)?;
    let expand = |pattern: &str| {
        let mut pattern = pattern.to_owned();
        for (name, alternatives) in &file.words {
            pattern = pattern.replace(&format!("<{name}>"), &format!("(?:{alternatives})"));
        }
        format!(r"\b(?:{})\b", pattern.replace(' ', r#"(?:[ ,"'*_]{1,3})"#))
    };
    let mut weights = Vec::new();
    let mut patterns = Vec::new();
    for group in &file.pattern {
        weights.extend(std::iter::repeat_n((group.harm, group.severity), group.patterns.len()));
        patterns.extend(group.patterns.iter().map(|pattern| expand(pattern)));
    }
    let harmless = file.harmless.patterns.iter().map(|pattern| expand(pattern)).collect::<Vec<_>>().join("|");
    Ok(Compiled {
        patterns: RegexSetBuilder::new(patterns).unicode(false).size_limit(1 << 27).build()?,
        weights,
        harmless: Regex::new(&harmless)?,
    })
}

/// The text as it stands, and as it reads once common disguises are undone.
fn readings(text: &str) -> Vec<String> {
    let plain = Folded::new(text).as_str().to_owned();
    let undisguised = join_spaced_letters(&undo_digits(&plain));
    if undisguised == plain { vec![plain] } else { vec![plain, undisguised] }
}

/// `k1ll` is read as `kill`: digits and signs that look like letters, in words that have letters too.
fn undo_digits(text: &str) -> String {
    let read = |word: &str| {
        let is_mixed = word.contains(|c: char| c.is_ascii_alphabetic()) && word.contains(|c| letter_for(c).is_some());
        if is_mixed { word.chars().map(|c| letter_for(c).unwrap_or(c)).collect() } else { word.to_owned() }
    };
    text.split(' ').map(read).collect::<Vec<_>>().join(" ")
}

fn letter_for(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        _ => return None,
    })
}

/// `k i l l` and `k.i.l.l` are read as `kill`: three and more single letters in a row.
fn join_spaced_letters(text: &str) -> String {
    static SPACED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b[a-z](?:[ ._*/][a-z]){2,}\b").expect("the pattern is a constant"));
    let join = |letters: &regex::Captures<'_>| letters[0].replace([' ', '.', '_', '*', '/'], "");
    SPACED.replace_all(text, join).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(text: &str, harm: Harm) -> u8 {
        Lexicon::default().severities(text).of(harm).level()
    }

    #[test]
    fn plain_harm_is_caught_in_its_category() {
        for (harm, at_least, text) in [
            (Harm::Hate, 2, "Only an idiot would pay more. You are an idiot."),
            (Harm::Hate, 2, "You're so pathetic, nobody likes you."),
            (Harm::Hate, 2, "You stupid fucking loser"),
            (Harm::Hate, 5, "We hate immigrants and so should you."),
            (Harm::Hate, 5, "Muslims are all vermin."),
            (Harm::Hate, 2, "Go fuck yourself"),
            (Harm::Sexual, 4, "Hot teens! Free porn tonight."),
            (Harm::Sexual, 4, "Send me your nudes"),
            (Harm::Sexual, 7, "sexual photos of children"),
            (Harm::Violence, 5, "We will kill you."),
            (Harm::Violence, 5, "I'm going to stab you in your sleep"),
            (Harm::Violence, 5, "We know where you live."),
            (Harm::Violence, 6, "How to build a pipe bomb at home"),
            (Harm::Violence, 6, "Easy recipe for making ricin"),
            (Harm::SelfHarm, 6, "Just kill yourself."),
            (Harm::SelfHarm, 6, "The world would be a better place without you."),
            (Harm::SelfHarm, 4, "I want to die"),
        ] {
            assert!(severity(text, harm) >= at_least, "{text} {harm}: {}", severity(text, harm));
        }
    }

    #[test]
    fn disguises_are_undone() {
        for text in [
            "k1ll y0urself",
            "K I L L yourself",
            "k.i.l.l yourself",
            "ki\u{200b}ll your\u{ad}self",
            "kíll yoursélf",
            "k\u{456}ll yourself",
            "ｋｉｌｌ ｙｏｕｒｓｅｌｆ",
            "kill-yourself",
            "KILL  \n YOURSELF",
        ] {
            assert!(severity(text, Harm::SelfHarm) >= 6, "{text:?}");
        }
    }

    #[test]
    fn everyday_commerce_is_left_alone() {
        for text in [
            "A killer deal on knives, to die for.",
            "Start the day with a shot of espresso.",
            "The bomber jacket is in the blow-out sale.",
            "Our chef's knife stays sharp for years; the pan heats in 2 minutes.",
            "Free delivery for women and men. Black leather, white soles, 5 colours.",
            "A B C D E: five vitamins in one tablet.",
            "Dick and Gay from Scunthorpe love the Essex cocktail bar.",
        ] {
            assert_eq!(Lexicon::default().severities(text), Severities::default(), "{text}");
        }
    }

    #[test]
    fn few_harmless_marketing_lines_are_blocked() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/safety/eval/hard_benign_marketing.txt");
        let Ok(lines) = std::fs::read_to_string(path) else {
            eprintln!("skipped: the evaluation data is not here");
            return;
        };
        let blocked: Vec<_> =
            lines.lines().filter(|line| Harm::ALL.iter().any(|harm| severity(line, *harm) >= 2)).collect();
        assert!(blocked.len() <= 2, "{blocked:#?}");
    }
}
