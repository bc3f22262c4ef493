//! The harm screen of Azure AI Content Safety.
//!
//! It adds to what is checked in this process and replaces nothing: the lexicon reads every message too, and of each harm
//! the worse of the two counts; our own gate judges what the groundedness detection judges.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::future::join_all;

use super::{AsRead, HarmScreen, Lexicon, PromptShields, Screened};
use crate::{
    config::campaign,
    domain::{
        channel::Channel,
        digest::Digest,
        money::Usd,
        variant::Usage,
        verdict::{Finding, Rule},
    },
    providers::{
        ErrorKind, Forecast, Meter, ProviderError,
        content_safety::{
            Analysis, BlocklistMatch, ContentSafety, Grounding, NAME, Part, TooLong, records_of, text_records,
        },
        prices::Prices,
        service::Fault,
    },
};

/// Characters of an e-mail and of what it rests on, as a rule.
const USUAL_MESSAGE: usize = 1_200;
const USUAL_SOURCE: usize = 3_000;

#[derive(Debug)]
pub struct ContentSafetyScreen {
    client: Arc<ContentSafety>,
    prices: Prices,
    settings: campaign::ContentSafety,
    /// `None`: messages are not searched for attacks.
    shields: Option<Arc<PromptShields>>,
    lexicon: Lexicon,
    /// By text and sources.
    begun: Mutex<HashMap<(Digest, Digest), Begun>>,
}

/// What some calls have said of a message while another one was put off: who asks again neither asks nor pays for that
/// again. A service that bears half of the calls would else use up every message's allowance.
#[derive(Default)]
struct Begun {
    analyses: Option<Vec<Analysis>>,
    is_attack: Option<bool>,
    ungrounded: Option<Vec<String>>,
}

/// Words of messages are in it.
impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl ContentSafetyScreen {
    pub fn new(
        client: Arc<ContentSafety>,
        prices: Prices,
        settings: campaign::ContentSafety,
        shields: Option<Arc<PromptShields>>,
    ) -> Self {
        Self { client, prices, settings, shields, lexicon: Lexicon::default(), begun: Mutex::default() }
    }

    /// Each call is brought to its end, whatever the others say: one that is cut off would count as charged.
    async fn answers(
        &self,
        message: &AsRead<'_>,
        meter: &Meter,
    ) -> Result<(Vec<Analysis>, bool, Vec<String>), ProviderError> {
        let key = (Digest::of(message.text), Digest::of(source_of(message)));
        let begun = self.begun().remove(&key).unwrap_or_default();
        let answers = tokio::join!(
            known_or(begun.analyses, self.analyses(message.text, meter)),
            known_or(begun.is_attack, self.is_attack(message.text, meter)),
            known_or(begun.ungrounded, self.ungrounded(message, meter)),
        );
        match answers {
            (Ok(analyses), Ok(is_attack), Ok(ungrounded)) => Ok((analyses, is_attack, ungrounded)),
            (analyses, is_attack, ungrounded) => {
                let mut failed = None;
                let begun = Begun {
                    analyses: analyses.map_err(|error| failed.get_or_insert(error).kind).ok(),
                    is_attack: is_attack.map_err(|error| failed.get_or_insert(error).kind).ok(),
                    ungrounded: ungrounded.map_err(|error| failed.get_or_insert(error).kind).ok(),
                };
                self.begun().insert(key, begun);
                Err(failed.expect("one of them is an error"))
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<(Digest, Digest), Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn analyses(&self, text: &str, meter: &Meter) -> Result<Vec<Analysis>, ProviderError> {
        let campaign::ContentSafety { severity_levels, blocklists, .. } = &self.settings;
        let ask = Part::all(text).into_iter().map(|part| {
            let cost = self.prices.text_records(text_records([part.as_str()]));
            paid(meter, cost, self.client.analyze(part, *severity_levels, blocklists))
        });
        join_all(ask).await.into_iter().collect()
    }

    async fn is_attack(&self, text: &str, meter: &Meter) -> Result<bool, ProviderError> {
        match &self.shields {
            Some(shields) => Ok(!shields.attacks(&[text], meter).await?.is_empty()),
            None => Ok(false),
        }
    }

    async fn ungrounded(&self, message: &AsRead<'_>, meter: &Meter) -> Result<Vec<String>, ProviderError> {
        if !self.settings.groundedness {
            return Ok(Vec::new());
        }
        let source = source_of(message);
        if source.is_empty() {
            return Ok(vec![message.text.trim().to_owned()]);
        }
        let grounding = Grounding::new(message.text, &source).map_err(rejected)?;
        let cost = self.prices.text_records(text_records(grounding.texts()));
        paid(meter, cost, self.client.ungrounded(grounding)).await
    }
}

#[async_trait]
impl HarmScreen for ContentSafetyScreen {
    fn most(&self) -> Usd {
        let longest = Channel::ALL.map(|channel| {
            let limits = channel.limits();
            limits.subject.unwrap_or(0) + AsRead::BETWEEN.len() + limits.body
        });
        let message = records_of(longest.into_iter().max().unwrap_or(0));
        let shielded = if self.shields.is_some() { message } else { 0 };
        let grounded = if self.settings.groundedness { message + records_of(Grounding::MOST_SOURCE) } else { 0 };
        self.prices.text_records(message + shielded + grounded)
    }

    fn forecast(&self) -> Forecast {
        let message = records_of(USUAL_MESSAGE);
        let mut assumes = vec![format!("messages of up to {USUAL_MESSAGE} characters, {message} text records each")];
        let mut records = message;
        if self.shields.is_some() {
            records += message;
            assumes.push("once more for Prompt Shields".to_owned());
        }
        if self.settings.groundedness {
            records += message + records_of(USUAL_SOURCE);
            assumes.push(format!("once more beside {USUAL_SOURCE} characters of sources for groundedness"));
        }
        Forecast { expected: self.prices.text_records(records), once: Usd::ZERO, assumes }
    }

    async fn screen(&self, message: &AsRead<'_>, meter: &Meter) -> Result<Screened, ProviderError> {
        let (analyses, is_attack, ungrounded) = self.answers(message, meter).await?;
        let severities = analyses
            .iter()
            .fold(self.lexicon.severities(message.text), |worst, analysis| worst.or_worse(analysis.severities));
        let mut findings: Vec<Finding> = Vec::new();
        for listed in analyses.into_iter().flat_map(|analysis| analysis.matches).map(listed) {
            // Words that two parts share are found in both.
            if !findings.contains(&listed) {
                findings.push(listed);
            }
        }
        if is_attack {
            let why = "Prompt Shields takes it for an attack on a language model that reads it";
            findings.push(Finding::blocking(Rule::PromptAttack, "", why));
        }
        let not_said = |words| {
            Finding::blocking(Rule::NotSupported, words, "groundedness detection does not find it in what is cited")
        };
        findings.extend(ungrounded.into_iter().map(not_said));
        Ok(Screened { severities, findings })
    }
}

fn listed(BlocklistMatch { blocklist, item }: BlocklistMatch) -> Finding {
    Finding::blocking(Rule::BannedPhrase, item, format!("the blocklist `{blocklist}` lists it"))
}

async fn known_or<T, E>(known: Option<T>, ask: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match known {
        Some(known) => Ok(known),
        None => ask.await,
    }
}

/// All that the message rests on as one text: most phrases are short, and each text of a call begins a record.
fn source_of(message: &AsRead<'_>) -> String {
    message.sources.join("\n\n")
}

fn rejected(why: TooLong) -> ProviderError {
    let message = format!("groundedness detection cannot be asked: {why}");
    ProviderError { provider: NAME, kind: ErrorKind::Rejected, message }
}

/// Makes a call that costs so much. One that was refused costs nothing; of one that broke off nobody knows.
pub(super) async fn paid<T>(
    meter: &Meter,
    cost: Usd,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, ProviderError> {
    let reserved = meter.reserve(NAME, cost)?;
    let answer = call.await;
    let is_free = answer.as_ref().is_err_and(|fault| !fault.may_have_cost);
    let took = if is_free { Usage::default() } else { Usage { requests: 1, cost_usd: cost, ..Usage::default() } };
    reserved.settle(took);
    Ok(answer?)
}
