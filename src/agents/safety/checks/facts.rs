//! Facts must be the source's: equal values, the same names.

use std::collections::BTreeSet;

use crate::{
    agents::safety::{
        canonical::plain,
        fact::{self, Fact, Notation},
        folded::is_whole,
    },
    config::campaign::Brand,
    domain::{
        channel::Channel,
        variant::{Draft, Span},
        verdict::{Finding, Rule},
    },
};

use super::{byte_range, one_blank};

/// Every fact and product of a claim must be in its quote; phrases must hold none at all.
///
/// `phrases` are the parts of the message that are approved phrases. A required text and the brand's own name are
/// the brand's responsibility, so facts in them need no source.
pub fn check(
    draft: &Draft,
    phrases: &[Span],
    products: &BTreeSet<&str>,
    brand: &Brand,
    channel: Channel,
    notation: Notation,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for claim in &draft.claims {
        let known = facts(&claim.citation.quote, notation);
        for fact in facts(&claim.text, notation) {
            if !known.contains(&fact) {
                let why = format!("the cited words do not say {fact}");
                findings.push(Finding::on_claim(Rule::FactMismatch, claim, why));
            }
        }
        let known = named(&claim.citation.quote, products);
        for name in named(&claim.text, products) {
            if !products.contains(name.as_str()) {
                let why = format!("\"{name}\" is not how the product is written");
                findings.push(Finding::on_claim(Rule::ProductMismatch, claim, why));
            } else if !known.contains(&name) {
                let why = format!("the cited words do not name \"{name}\"");
                findings.push(Finding::on_claim(Rule::ProductMismatch, claim, why));
            }
        }
    }
    let required = brand.required.get(&channel).map(|text| one_blank(text)).unwrap_or_default();
    for place in phrases {
        let text = draft.message.field(place.field);
        let Some(phrase) = byte_range(text, place.start, place.end).map(|range| one_blank(&text[range])) else {
            continue;
        };
        if required.contains(&phrase) {
            continue;
        }
        let anonymous = plain(&if brand.name.is_empty() { phrase.clone() } else { phrase.replace(&brand.name, " ") });
        // Number words count as words here: "one of our favourites" states no number.
        let stated = fact::find(&anonymous, notation)
            .into_iter()
            .filter(|(range, fact)| !is_word(&anonymous, range.clone(), fact))
            .map(|(_, fact)| fact.to_string());
        for what in stated.chain(named(&anonymous, products)) {
            let why = format!("a phrase may not say {what}: facts need a source");
            findings.push(Finding::blocking(Rule::Uncited, &phrase, why).at(*place));
        }
    }
    findings
}

fn is_word(text: &str, range: std::ops::Range<usize>, fact: &Fact) -> bool {
    match fact {
        Fact::Number(_) => !text.get(range).is_some_and(|number| number.contains(char::is_numeric)),
        Fact::Factor(_) => true,
        _ => false,
    }
}

fn facts(text: &str, notation: Notation) -> Vec<Fact> {
    fact::find(&plain(text), notation).into_iter().map(|(_, fact)| fact).collect()
}

/// The products that a text names in whatever case, as it writes them; of names within names the longest.
fn named(text: &str, products: &BTreeSet<&str>) -> BTreeSet<String> {
    let text = one_blank(text);
    let matcher = aho_corasick::AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(aho_corasick::MatchKind::LeftmostLongest)
        .build(products);
    let Ok(matcher) = matcher else {
        // Too many names for an automaton (some 2^31 states): every word might be one.
        return BTreeSet::from([text]);
    };
    let whole = matcher.find_iter(&text).filter(|hit| is_whole(&text, hit.start(), hit.end()));
    whole.map(|hit| text[hit.range()].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_found_in_any_case_and_the_longest_name_wins() {
        let products = BTreeSet::from(["Morrow Kettle", "Morrow Kettle Pro"]);
        let names = |text| named(text, &products).into_iter().collect::<Vec<_>>();
        assert_eq!(names("The Morrow  Kettle Pro boils."), ["Morrow Kettle Pro"]);
        assert_eq!(names("The morrow kettle boils."), ["morrow kettle"]);
        assert!(names("Morrow Kettles and a tomorrow kettle").is_empty());
    }
}
