//! The gate that every draft must pass.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::{
    agents::{
        retrieval::{Hit, library::Library},
        safety::{
            AsRead, HarmScreen,
            checks::{banned, coverage, facts, grounding, harm, lengths, required, slots, structure},
            fact::Notation,
        },
    },
    config::campaign::{ApprovalPolicy, Brand, Safety},
    domain::{
        id::PassageId,
        phrases::PhraseBook,
        variant::{Cell, Draft, Field, Slots, Span, with_fallbacks},
        verdict::{Decision, Finding, Severities, Verdict},
    },
    providers::{Meter, ProviderError},
};

/// All that is needed to judge the drafts of one cell.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    pub content: &'a Library,
    /// The campaign's date.
    pub date: Date,
    /// What retrieval gave for the cell: nothing else may be cited.
    pub allowed: &'a [Hit],
    pub phrases: &'a PhraseBook,
    pub brand: &'a Brand,
    pub slots: &'a Slots,
    pub safety: &'a Safety,
    pub screen: &'a dyn HarmScreen,
}

impl Gate<'_> {
    /// Makes every check. One that can never be made is a finding that blocks. An error of the harm screen that may
    /// pass leaves the draft without a verdict: nothing is approved, and it must be judged again.
    pub async fn judge(&self, cell: &Cell, draft: &Draft, meter: &Meter) -> Result<Verdict, ProviderError> {
        let mut findings = self.check_text(cell, draft);
        let message = AsRead { text: &self.as_read(draft), sources: &self.sources(draft) };
        let (severities, found) = harm::check(self.screen, &message, &self.safety.block_at, meter).await?;
        findings.extend(found.into_iter().map(|finding| located(finding, draft)));
        Ok(Verdict { decision: decide(&findings, severities.as_ref(), self.safety.approval), findings, severities })
    }

    /// All checks but the harm screen: a function of its arguments.
    pub fn check_text(&self, cell: &Cell, draft: &Draft) -> Vec<Finding> {
        let notation = match cell.locale.language() {
            "en" => Notation::English,
            _ => Notation::AsWritten,
        };
        let sources =
            grounding::Sources { content: self.content, allowed: self.allowed, date: self.date, cell, notation };
        let coverage = coverage::check(draft, self.phrases);
        let documents = self.content.documents().iter();
        let products: BTreeSet<&str> = documents
            .flat_map(|document| document.products.iter().map(String::as_str))
            .filter(|product| !product.is_empty())
            .collect();

        let mut findings = structure::check(draft);
        findings.extend(grounding::check(draft, &sources));
        findings.extend(facts::check(draft, &coverage.phrases, &products, self.brand, cell.channel, notation));
        findings.extend(coverage.findings);
        findings.extend(slots::check(draft, self.slots));
        findings.extend(lengths::check(draft, cell.channel, self.slots));
        findings.extend(banned::check(draft, &self.brand.banned, self.slots));
        findings.extend(required::check(draft, cell.channel, &self.brand.required));
        findings
    }

    /// The message as a customer without any value would read it.
    fn as_read(&self, draft: &Draft) -> String {
        let subject = draft.message.subject.as_deref().unwrap_or_default();
        with_fallbacks(&format!("{subject}{}{}", AsRead::BETWEEN, draft.message.body), self.slots)
    }

    /// The passages that are cited and the phrases that are used, each once.
    fn sources(&self, draft: &Draft) -> Vec<String> {
        let cited: BTreeSet<&PassageId> = draft.claims.iter().map(|claim| &claim.citation.passage).collect();
        let passages = cited.into_iter().filter_map(|id| self.content.passage(id));
        let said = |Span { field, start, end }| {
            let words: String = draft.message.field(field).chars().skip(start).take(end - start).collect();
            with_fallbacks(&words, self.slots)
        };
        let phrases: BTreeSet<String> = coverage::check(draft, self.phrases).phrases.into_iter().map(said).collect();
        passages.map(|(_, passage)| passage.text.clone()).chain(phrases).collect()
    }
}

/// With the place of the words that it is about, where they stand in the draft as they were read.
fn located(finding: Finding, draft: &Draft) -> Finding {
    let words = finding.text.trim();
    let span = [Field::Subject, Field::Body].into_iter().find_map(|field| {
        let text = draft.message.field(field);
        let start = text[..text.find(words)?].chars().count();
        Some(Span { field, start, end: start + words.chars().count() })
    });
    Finding { span: finding.span.or(span.filter(|_| !words.is_empty())), ..finding }
}

fn decide(findings: &[Finding], severities: Option<&Severities>, policy: ApprovalPolicy) -> Decision {
    let is_blocked = severities.is_none() || findings.iter().any(|finding| finding.blocks);
    match policy {
        _ if is_blocked => Decision::Blocked,
        ApprovalPolicy::Always => Decision::NeedsReview,
        ApprovalPolicy::WhenFlagged if !findings.is_empty() => Decision::NeedsReview,
        ApprovalPolicy::WhenFlagged | ApprovalPolicy::Never => Decision::Approved,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        agents::safety::{Lexicon, Screened, fixture},
        config::campaign::Thresholds,
        domain::{
            channel::Channel,
            content::{Approval, Document, Offer},
            id::{ArmName, Locale, PassageId, SegmentName},
            money::Usd,
            variant::{Citation, Claim, Field, Message, Slot, Span, Usage},
            verdict::{Rule, Severity},
        },
        providers::ErrorKind,
    };

    const KETTLE: &str = "The Morrow Kettle costs $79.00.";
    const BOIL: &str = "The Morrow Kettle holds 1.7 litres and boils in 5 minutes.";
    const OFFER: &str = "Members get 15% off with the code MORROW15 until 31 October 2026.";
    const POLICY: &str = "Delivery is free over $50.";

    /// A world in which [`World::draft`] is approved; each test spoils one thing.
    struct World {
        documents: Vec<Document>,
        allowed: Vec<Hit>,
        phrases: PhraseBook,
        brand: Brand,
        slots: Slots,
        safety: Safety,
        screen: Box<dyn HarmScreen>,
        cell: Cell,
    }

    impl World {
        fn new() -> Self {
            let mut kettle = fixture::document("kettle", &[KETTLE, BOIL, "The lid is never hot."]);
            kettle.products = vec!["Morrow Kettle".to_owned(), "Morrow Toaster".to_owned()];
            let mut offer = fixture::document("offer", &[OFFER]);
            offer.offer = Some(Offer {
                code: Some("MORROW15".to_owned()),
                amount: "15%".to_owned(),
                start: fixture::DATE,
                end: fixture::DATE,
                eligible: vec!["Members".to_owned()],
            });
            let policy = fixture::document("policy", &[POLICY]);
            let documents = vec![kettle, offer, policy];
            let hit = |passage: &crate::domain::content::Passage| Hit { passage: passage.id.clone(), score: 1.0 };
            let required = "You can unsubscribe at any time: write STOP to 12345.";
            Self {
                allowed: documents.iter().flat_map(|document| document.passages.iter().map(hit)).collect(),
                documents,
                phrases: PhraseBook::new(
                    ["Hi {{first_name}},", "Have a look when it suits you.", "Save 20% today.", required]
                        .map(str::to_owned),
                ),
                brand: Brand {
                    name: "Brewhaus 7".to_owned(),
                    banned: vec!["risk-free".to_owned()],
                    required: BTreeMap::from([(Channel::Email, required.to_owned())]),
                    ..Brand::default()
                },
                slots: BTreeMap::from([(
                    "first_name".to_owned(),
                    Slot { attribute: "first_name".to_owned(), fallback: "there".to_owned() },
                )]),
                safety: Safety::default(),
                screen: Box::new(Lexicon::default()),
                cell: Cell {
                    segment: Some(SegmentName::new("Members").unwrap()),
                    arm: ArmName::new("friendly").unwrap(),
                    channel: Channel::Email,
                    locale: Locale::new("en").unwrap(),
                },
            }
        }

        /// Subject and body of quoted sentences and phrases.
        fn draft(&self) -> Draft {
            let mut draft = Draft {
                message: Message { subject: Some("The Morrow Kettle costs $79".to_owned()), body: String::new() },
                claims: Vec::new(),
                usage: Usage::default(),
            };
            let subject = Span { field: Field::Subject, start: 0, end: 27 };
            draft.claims.push(self.claim(subject, "The Morrow Kettle costs $79", "kettle#p1", KETTLE));
            draft.message.body.push_str("Hi {{first_name}},\n\n");
            self.say(&mut draft, BOIL, "kettle#p2");
            self.say(&mut draft, OFFER, "offer#p1");
            draft.message.body.push_str("\n\nHave a look when it suits you.\n\n");
            self.say(&mut draft, POLICY, "policy#p1");
            draft.message.body.push_str("\n\nYou can unsubscribe at any time: write STOP to 12345.");
            draft
        }

        fn say(&self, draft: &mut Draft, words: &str, passage: &str) {
            let start = draft.message.body.chars().count();
            draft.message.body.push_str(words);
            draft.message.body.push(' ');
            let span = Span { field: Field::Body, start, end: start + words.chars().count() };
            draft.claims.push(self.claim(span, words, passage, words));
        }

        fn claim(&self, span: Span, text: &str, passage: &str, quote: &str) -> Claim {
            let passage = PassageId::new(passage).unwrap();
            let source = self.documents.iter().flat_map(|document| &document.passages).find(|p| p.id == passage);
            let citation = Citation {
                version: source.unwrap().version,
                passage,
                start: 0,
                end: quote.chars().count(),
                quote: quote.to_owned(),
            };
            Claim { span, text: text.to_owned(), citation }
        }

        async fn judge(&self, draft: &Draft) -> Result<Verdict, ProviderError> {
            let library = Library::new(self.documents.clone());
            let gate = Gate {
                content: &library,
                date: fixture::DATE,
                allowed: &self.allowed,
                phrases: &self.phrases,
                brand: &self.brand,
                slots: &self.slots,
                safety: &self.safety,
                screen: self.screen.as_ref(),
            };
            gate.judge(&self.cell, draft, &Meter::new(Usd::ZERO)).await
        }

        fn judge_now(&self, draft: &Draft) -> Verdict {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(self.judge(draft)).unwrap()
        }
    }

    /// The draft with `to` in place of `from` in the body, spans and claim texts kept consistent: what a writer who
    /// lies well would hand in.
    fn reworded(draft: &Draft, from: &str, to: &str) -> Draft {
        let mut draft = draft.clone();
        let at = draft.message.body.find(from).unwrap_or_else(|| panic!("{from} is in the body"));
        let at = draft.message.body[..at].chars().count();
        let (old, new) = (from.chars().count(), to.chars().count());
        draft.message.body = draft.message.body.replacen(from, to, 1);
        for claim in draft.claims.iter_mut().filter(|claim| claim.span.field == Field::Body) {
            if claim.span.start > at {
                claim.span.start = claim.span.start + new - old;
            }
            if claim.span.end > at {
                claim.span.end = claim.span.end + new - old;
            }
            let (start, end) = (claim.span.start, claim.span.end);
            claim.text = draft.message.body.chars().skip(start).take(end - start).collect();
        }
        draft
    }

    fn rules(verdict: &Verdict) -> Vec<Rule> {
        verdict.findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_draft_that_says_what_its_sources_say_is_approved_without_a_finding() {
        let world = World::new();
        let verdict = world.judge_now(&world.draft());
        assert_eq!(verdict.findings, []);
        assert_eq!(verdict.decision, Decision::Approved);
        assert_eq!(verdict.severities, Some(Severities::default()));
    }

    #[test]
    fn a_rewording_that_changes_the_meaning_is_blocked_for_its_reason() {
        let world = World::new();
        for (from, to, rule) in [
            ("1.7 litres", "2.7 litres", Rule::FactMismatch),
            ("1.7 litres", "1.7 millilitres", Rule::FactMismatch),
            ("5 minutes", "50 minutes", Rule::FactMismatch),
            ("5 minutes", "one minute", Rule::FactMismatch),
            ("15%", "25%", Rule::FactMismatch),
            ("15%", "$15", Rule::FactMismatch),
            ("15%", "15 points", Rule::FactMismatch),
            ("15% off", "half off", Rule::FactMismatch),
            ("31 October 2026", "1 November 2026", Rule::FactMismatch),
            ("31 October 2026", "2027-10-31", Rule::FactMismatch),
            ("31 October 2026", "31 October", Rule::FactMismatch),
            ("MORROW15", "MORROW51", Rule::FactMismatch),
            ("MORROW15", "morrow15", Rule::FactMismatch),
            ("$50", "$5", Rule::FactMismatch),
            ("$50", "€50", Rule::FactMismatch),
            ("Morrow Kettle", "Morrow Toaster", Rule::ProductMismatch),
            ("Morrow Kettle", "morrow kettle", Rule::ProductMismatch),
            ("boils", "does not boil", Rule::NotSupported),
            ("Members get", "Everybody gets", Rule::NotSupported),
            ("free over $50", "free", Rule::NotSupported),
            ("free over $50", "free under $50", Rule::NotSupported),
            (" until 31 October 2026", "", Rule::NotSupported),
            ("boils", "boils water better than any other", Rule::NotSupported),
            ("boils", "b\u{43e}ils", Rule::BannedPhrase),
            ("boils", "bo\u{200b}ils", Rule::NotSupported),
            ("free over", "risk\u{ad}-free over", Rule::BannedPhrase),
            ("free over", "free {{first_name}} over", Rule::NotSupported),
            ("minutes.", "minutes. It is the best in the world.", Rule::NotSupported),
            ("minutes.", "minutes?", Rule::NotSupported),
            ("Hi {{first_name}},", "Hi {{name}},", Rule::UnresolvedSlot),
            ("Hi {{first_name}},", "Hi [Name],", Rule::UnresolvedSlot),
            ("Have a look when it suits you.", "Have a look at the best kettle ever.", Rule::Uncited),
            ("Have a look when it suits you.", "Have a look when it suits you. Trust us.", Rule::Uncited),
            ("Have a look when it suits you.", "Never Have a look when it suits you.", Rule::Uncited),
            ("Have a look when it suits you.", "Save 20% today.", Rule::Uncited),
            ("Have a look when it suits you.", "You are an idiot.", Rule::Harm),
            ("write STOP to 12345.", "", Rule::MissingRequiredText),
        ] {
            let verdict = world.judge_now(&reworded(&world.draft(), from, to));
            assert_eq!(verdict.decision, Decision::Blocked, "{from} -> {to}");
            assert!(rules(&verdict).contains(&rule), "{from} -> {to}: {:?}", rules(&verdict));
        }
    }

    #[test]
    fn another_notation_of_the_same_is_approved() {
        let world = World::new();
        for (from, to) in [
            ("1.7 litres", "1.70 litre"),
            ("$50", "$50.00"),
            ("15%", "15 percent"),
            ("31 October 2026", "October 31, 2026"),
            ("The Morrow Kettle holds", "the Morrow  Kettle\nholds"),
        ] {
            let verdict = world.judge_now(&reworded(&world.draft(), from, to));
            // A line break ends a sentence for coverage, but not for the claim that spans it.
            assert_eq!(verdict.findings, [], "{from} -> {to}");
        }
    }

    #[test]
    fn a_spoiled_citation_is_blocked_for_its_reason() {
        type Spoil = fn(&mut Draft);
        let spoils: [(&str, Spoil, Rule); 9] = [
            (
                "another passage",
                |d| d.claims[1].citation.passage = PassageId::new("kettle#p1").unwrap(),
                Rule::SourceNotUsable,
            ),
            (
                "no passage",
                |d| d.claims[1].citation.passage = PassageId::new("kettle#p9").unwrap(),
                Rule::SourceNotUsable,
            ),
            ("another claim's citation", |d| d.claims[1].citation = d.claims[3].citation.clone(), Rule::NotSupported),
            (
                "another version",
                |d| d.claims[1].citation.version = crate::domain::digest::Digest::of("x"),
                Rule::SourceNotUsable,
            ),
            ("a shifted quote", |d| d.claims[1].citation.start += 1, Rule::QuoteMismatch),
            ("a quote beyond the end", |d| d.claims[1].citation.end += 1, Rule::QuoteMismatch),
            ("a false quote", |d| d.claims[1].citation.quote.push('x'), Rule::QuoteMismatch),
            ("a shifted span", |d| d.claims[1].span.start += 1, Rule::CheckFailed),
            ("a span in another field", |d| d.claims[1].span.field = Field::Subject, Rule::CheckFailed),
        ];
        let world = World::new();
        for (what, spoil, rule) in spoils {
            let mut draft = world.draft();
            spoil(&mut draft);
            let verdict = world.judge_now(&draft);
            assert_eq!(verdict.decision, Decision::Blocked, "{what}");
            assert!(rules(&verdict).contains(&rule), "{what}: {:?}", rules(&verdict));
        }
    }

    #[test]
    fn two_claims_on_the_same_words_are_blocked() {
        let world = World::new();
        let mut draft = world.draft();
        draft.claims.push(draft.claims[1].clone());
        assert_eq!(rules(&world.judge_now(&draft)), [Rule::CheckFailed]);
    }

    #[test]
    fn a_source_that_may_not_be_used_blocks() {
        type Spoil = fn(&mut World);
        let yesterday = fixture::DATE.yesterday().unwrap();
        assert!(yesterday < fixture::DATE);
        let spoils: [(&str, Spoil); 15] = [
            ("for others", |w| w.documents[0].audience = vec!["Gold".to_owned()]),
            ("for another channel", |w| w.documents[0].channels = vec![Channel::Sms]),
            ("in another language", |w| w.documents[0].locales = vec![Locale::new("de").unwrap()]),
            ("draft", |w| w.documents[0].approval = Approval::Draft),
            ("withdrawn", |w| w.documents[0].approval = Approval::Withdrawn),
            ("approved tomorrow", |w| w.documents[0].approved_on = fixture::DATE.tomorrow().ok()),
            ("never approved", |w| w.documents[0].approved_on = None),
            ("expired yesterday", |w| w.documents[0].validity.until = fixture::DATE.yesterday().ok()),
            ("valid from tomorrow", |w| w.documents[0].validity.from = fixture::DATE.tomorrow().ok()),
            ("not retrieved", |w| w.allowed.retain(|hit| hit.passage.document() != "kettle")),
            ("changed words", |w| w.documents[0].passages[1].text.push('!')),
            ("offer over", |w| w.documents[1].offer.as_mut().unwrap().end = fixture::DATE.yesterday().unwrap()),
            ("offer not begun", |w| w.documents[1].offer.as_mut().unwrap().start = fixture::DATE.tomorrow().unwrap()),
            ("offer for others", |w| w.documents[1].offer.as_mut().unwrap().eligible = vec!["Gold".to_owned()]),
            ("offer to everybody in control", |w| w.cell.segment = None),
        ];
        for (what, spoil) in spoils {
            let mut world = World::new();
            let draft = world.draft();
            spoil(&mut world);
            let verdict = world.judge_now(&draft);
            assert_eq!(verdict.decision, Decision::Blocked, "{what}");
            assert!(rules(&verdict).contains(&Rule::SourceNotUsable), "{what}: {:?}", rules(&verdict));
        }
    }

    #[test]
    fn an_unknown_phrase_book_or_too_little_room_blocks() {
        let mut world = World::new();
        let draft = world.draft();
        world.phrases = PhraseBook::default();
        assert_eq!(rules(&world.judge_now(&draft)), [Rule::Uncited; 4]);
        let mut world = World::new();
        world.cell.channel = Channel::Sms;
        assert!(rules(&world.judge_now(&draft)).contains(&Rule::TooLong));
    }

    /// Answers as it is told to.
    enum Screen {
        Answers(Severities),
        Finds(Finding),
        Fails(ErrorKind),
        Hangs,
        Panics,
    }

    #[async_trait]
    impl HarmScreen for Screen {
        async fn screen(&self, _: &AsRead<'_>, _: &Meter) -> Result<Screened, ProviderError> {
            match self {
                Self::Answers(severities) => Ok((*severities).into()),
                Self::Finds(finding) => {
                    Ok(Screened { severities: Severities::default(), findings: vec![finding.clone()] })
                }
                Self::Fails(kind) => {
                    Err(ProviderError { provider: "test", kind: *kind, message: "no answer".to_owned() })
                }
                Self::Hangs => std::future::pending().await,
                Self::Panics => panic!("the screen panics in this test"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_screen_that_will_never_answer_blocks_under_every_policy() {
        for policy in [ApprovalPolicy::Never, ApprovalPolicy::WhenFlagged, ApprovalPolicy::Always] {
            for screen in [Screen::Fails(ErrorKind::Rejected), Screen::Fails(ErrorKind::OverAllowance), Screen::Panics]
            {
                let mut world = World::new();
                world.screen = Box::new(screen);
                world.safety.approval = policy;
                let verdict = world.judge(&world.draft()).await.unwrap();
                assert_eq!(verdict.decision, Decision::Blocked);
                assert_eq!(rules(&verdict), [Rule::CheckFailed]);
                assert_eq!(verdict.severities, None);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_screen_that_may_answer_later_leaves_the_draft_without_a_verdict() {
        let throttled = ErrorKind::Throttled { retry_after: None };
        for (screen, kind) in [
            (Screen::Fails(throttled), throttled),
            (Screen::Fails(ErrorKind::Unavailable), ErrorKind::Unavailable),
            (Screen::Hangs, ErrorKind::Unavailable),
        ] {
            let mut world = World::new();
            world.screen = Box::new(screen);
            assert_eq!(world.judge(&world.draft()).await.unwrap_err().kind, kind);
        }
    }

    #[test]
    fn what_a_screen_finds_besides_harms_blocks_with_its_reason_and_place() {
        for (text, start) in [(POLICY, Some(134)), ("the subject's or nobody's words", None), ("", None)] {
            let mut world = World::new();
            world.safety.approval = ApprovalPolicy::Never;
            let finding = Finding::blocking(Rule::BannedPhrase, text, "the blocklist `brand` lists it");
            world.screen = Box::new(Screen::Finds(finding.clone()));
            let verdict = world.judge_now(&world.draft());
            let end = |start| start + text.chars().count();
            let span = start.map(|start| Span { field: Field::Body, start, end: end(start) });
            assert_eq!(verdict.decision, Decision::Blocked);
            assert_eq!(verdict.findings, [Finding { span, ..finding }]);
        }
    }

    #[test]
    fn a_screen_is_told_what_the_message_cites_and_which_phrases_it_uses() {
        struct Asked(std::sync::Mutex<Vec<String>>);

        #[async_trait]
        impl HarmScreen for &'static Asked {
            async fn screen(&self, message: &AsRead<'_>, _: &Meter) -> Result<Screened, ProviderError> {
                *self.0.lock().unwrap() = message.sources.to_vec();
                Ok(Severities::default().into())
            }
        }

        let asked: &'static Asked = Box::leak(Box::new(Asked(std::sync::Mutex::default())));
        let mut world = World::new();
        world.screen = Box::new(asked);
        world.judge_now(&world.draft());
        let phrases =
            ["Have a look when it suits you.", "Hi there,", "You can unsubscribe at any time: write STOP to 12345."];
        assert_eq!(*asked.0.lock().unwrap(), [&[KETTLE, BOIL, OFFER, POLICY] as &[_], &phrases].concat());
    }

    #[test]
    fn the_policy_decides_what_severities_leave_open() {
        use ApprovalPolicy::{Always, Never, WhenFlagged};
        let level = |n| Severity::new(n).unwrap();
        for (severity, threshold, policy, decision) in [
            (0, 2, Never, Decision::Approved),
            (0, 2, WhenFlagged, Decision::Approved),
            (0, 2, Always, Decision::NeedsReview),
            (1, 2, Never, Decision::Approved),
            (1, 2, WhenFlagged, Decision::NeedsReview),
            (1, 2, Always, Decision::NeedsReview),
            (2, 2, Never, Decision::Blocked),
            (2, 2, WhenFlagged, Decision::Blocked),
            (7, 2, Always, Decision::Blocked),
            (0, 0, Never, Decision::Blocked),
        ] {
            let mut world = World::new();
            world.screen = Box::new(Screen::Answers(Severities { hate: level(severity), ..Severities::default() }));
            world.safety = Safety {
                block_at: Thresholds { hate: level(threshold), ..Thresholds::default() },
                approval: policy,
                ..Safety::default()
            };
            assert_eq!(world.judge_now(&world.draft()).decision, decision, "{severity} {threshold} {policy:?}");
        }
    }

    /// An oracle of its own for what may differ: the notation of the two quantities, the case of a letter that leaves
    /// its word with one capital at most, one kind of white space for another, and the final stop.
    fn is_allowed(original: &str, changed: &str) -> bool {
        let litres = regex::Regex::new(r"\b0*1\.70*[\s-]?[Ll]itres?\b").unwrap();
        let minutes = regex::Regex::new(r"\b0*5(?:\.0+)?[\s-]?[Mm]inutes?\b").unwrap();
        let plain = |text: &str| {
            let text = minutes.replace(text, " 5M ").into_owned();
            let text = litres.replace(&text, " 1.7L ").into_owned();
            text.trim_end()
                .trim_end_matches(['.', ',', ';', ':'])
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (original, changed) = (plain(original), plain(changed));
        let same_word = |(a, b): (&String, &String)| {
            let capitals = |word: &String| word.chars().filter(|c| c.is_uppercase()).count();
            a == b || (a.to_lowercase() == b.to_lowercase() && capitals(a) < 2 && capitals(b) < 2)
        };
        original.len() == changed.len() && original.iter().zip(&changed).all(same_word)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn no_single_character_of_a_claim_can_be_changed(at in 0..BOIL.len(), kind in 0..3, c in "[a-zA-Z0-9 .,!?%$\\-\u{200b}\u{430}é\u{301}\n;:]") {
            let mut words: Vec<char> = BOIL.chars().collect();
            let c = c.chars().next().unwrap();
            match kind {
                0 => words[at] = c,
                1 => words.insert(at, c),
                _ => drop(words.remove(at)),
            }
            let changed: String = words.into_iter().collect();
            let world = World::new();
            let verdict = world.judge_now(&reworded(&world.draft(), BOIL, &changed));
            if !is_allowed(BOIL, &changed) {
                prop_assert_ne!(verdict.decision, Decision::Approved, "{}", changed);
            }
        }

        #[test]
        fn whatever_a_writer_hands_in_gets_a_verdict(
            subject in prop::option::of("\\PC{0,30}"),
            body in "[\\PC\n]{0,80}",
            spans in prop::collection::vec((0usize..90, 0usize..90, 0usize..40, 0usize..70), 0..4),
        ) {
            let world = World::new();
            let claim = |&(start, end, from, to): &(usize, usize, usize, usize)| {
                let mut claim = world.claim(Span { field: Field::Body, start, end }, "x", "kettle#p1", KETTLE);
                claim.text = body.chars().skip(start).take(end.saturating_sub(start)).collect();
                (claim.citation.start, claim.citation.end) = (from, to);
                claim
            };
            let claims = spans.iter().map(claim).collect();
            let draft = Draft { message: Message { subject, body: body.clone() }, claims, usage: Usage::default() };
            prop_assert_eq!(world.judge_now(&draft).decision, Decision::Blocked);
        }
    }
}
