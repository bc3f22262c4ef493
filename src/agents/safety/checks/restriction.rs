//! English words that take back, narrow down or depend on what stands beside them.
//!
//! Made to err on the safe side: a word that may restrict does. Typographic quotes and dashes must be plain.

use std::sync::LazyLock;

use regex::Regex;

use crate::agents::safety::fact::{self, Notation};

/// Whether the text, being the other half of a sentence, may narrow down the first: every fact may.
pub fn narrows(text: &str) -> bool {
    restricts(text) || MAY_NARROW.is_match(text) || !fact::find(text, Notation::English).is_empty()
}

/// Whether the text takes something back wherever it stands.
pub fn restricts(text: &str) -> bool {
    RESTRICTING.is_match(text)
}

/// `Members only.`, `Not in stores.`: no statement of its own, so it bears on its neighbours.
pub fn is_fragment(text: &str) -> bool {
    text.split_whitespace().count() <= 4 && narrows(text)
}

/// Whether the text, a sentence of its own or the rest of one, takes back what was said before it.
pub fn takes_back(text: &str) -> bool {
    let is_rest = text.chars().next().is_some_and(char::is_lowercase);
    is_rest || is_fragment(text) || excludes(text)
}

/// Whether a whole sentence says what something said elsewhere does not hold for.
pub fn excludes(text: &str) -> bool {
    RESTRICTING_OPENING.is_match(text) || EXCLUDING.is_match(text)
}

/// Whether what follows the text in its sentence may hold under some condition only.
pub fn conditions(text: &str) -> bool {
    restricts(text) || MAY_NARROW.is_match(text)
}

/// Whether the text, being a heading, says for whom or when what stands below it holds.
pub fn is_heading(text: &str) -> bool {
    RESTRICTING_HEADING.is_match(text)
}

/// Whether a mark such as `*` or `[1]` points to a note.
pub fn has_note_mark(text: &str) -> bool {
    NOTE_MARK.is_match(text)
}

/// Whether the text is about something that was named before it.
pub fn refers_back(text: &str) -> bool {
    REFERS_BACK.is_match(text)
}

fn words_pattern(words: &str) -> Regex {
    Regex::new(&format!(r"(?i)\b(?:{words})\b")).expect("the pattern is made of constants")
}

/// Words that take something back wherever they stand.
static RESTRICTING: LazyLock<Regex> = LazyLock::new(|| {
    words_pattern(
        "only|unless|except\\w*|exclu\\w+|not|cannot|\\w+n't|no|never|neither|nor|without|until|till|over|under|above|below|\
         minimum|maximum|limit\\w*|subject|must|valid|invalid|eligible|members?|appl(?:y|ies)|requir\\w+|selected|\
         participating|up to|at (?:least|most)|ends?|expires?|if|however|but|provided|providing|terms|conditions",
    )
});

/// Words that can narrow down the other half of a sentence but mean little in a sentence of their own.
static MAY_NARROW: LazyLock<Regex> = LazyLock::new(|| {
    words_pattern(
        "for|from|when|where|while|once|after|before|between|than|may|might|can|could|some|certain|per|new|existing|\
         first|within|during|although|though|needs?|more|most|less|least|instead|otherwise|depending|according",
    )
});

static REFERS_BACK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)^\W*(?: it | its | this | that | these | those | they | their | them | both | he | she | his | her | such | so | also | then
        | which | others | another | either | neither | the\ (?:latter|former|same|others?) | (?:all|each|none|one|some)\ of\ (?:it|them|this|these|those)
        | and | or | but | yet | however | otherwise | instead | therefore | thus | hence
        | (?:in|for|with|from|on|by|at|to|of|after|before|during|without|until)\ (?:it|them|which|(?:this|that|these|those)(?:,|\ (?:is|are|we|you|the)))
        )\b",
    )
    .expect("the pattern is a constant")
});

/// Wherever they stand in a sentence, it is about what was said before.
static EXCLUDING: LazyLock<Regex> = LazyLock::new(|| {
    words_pattern(
        "exclu\\w+|except\\w*|not (?:apply|applicable|included?|covered|valid|available|eligible)|applies only|\
         valid (?:only|until|till|for|from|in|on)|terms(?: and conditions)? apply|conditions apply",
    )
});

static RESTRICTING_HEADING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:^|\n)\W*(?:for|if|when|during|not|no|unless|until)\b|\b(?:only|exclu\w+|except\w*|not (?:included|covered|available|valid)|former|expired|old)\b",
    )
    .expect("the pattern is a constant")
});

/// Superscripts count after words and stops, not after units: `m²`.
static NOTE_MARK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[*†‡]|\[\^|\[[0-9]+\]|(?:\p{L}{3}|[.,!?%])[¹²³⁰⁴-⁹]").expect("the pattern is a constant")
});

static RESTRICTING_OPENING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)^\W*(?:only|except\w*|exclu\w+|not|never|unless|however|but|if|provided|valid|limit\w*|subject\ to|minimum|
        maximum|while|until|terms|conditions|applies|available\ (?:only|to|in|until|from)|for\ \w+\ only|offer\ (?:valid|ends))\b",
    )
    .expect("the pattern is a constant")
});
