//! Texts that language models will read, searched for attacks on them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::join_all;

use super::content_safety::paid;
use crate::{
    agents::retrieval::library::Library,
    domain::{
        content::{Document, Passage},
        digest::Digest,
        id::PassageId,
        money::Usd,
    },
    providers::{
        Meter, ProviderError,
        content_safety::{Bundle, ContentSafety, text_records},
        prices::Prices,
    },
};

/// Azure AI Content Safety's Prompt Shields, on behalf of one campaign.
#[derive(Debug)]
pub struct PromptShields {
    client: Arc<ContentSafety>,
    prices: Prices,
    /// Whether the words with that digest hold an attack. Of passages only, so no larger than the campaign's content.
    known: Mutex<HashMap<Digest, bool>>,
}

impl PromptShields {
    pub fn new(client: Arc<ContentSafety>, prices: Prices) -> Self {
        Self { client, prices, known: Mutex::default() }
    }

    /// The positions of the texts that hold an attack. They may be a customer's values: nothing of them is kept.
    pub async fn attacks(&self, texts: &[&str], meter: &Meter) -> Result<BTreeSet<usize>, ProviderError> {
        let Judged { attacks, failed, .. } = self.judged(texts, meter).await;
        failed.map_or(Ok(attacks), Err)
    }

    /// Every call is brought to its end, whatever the others say: one that is cut off would count as charged.
    async fn judged(&self, texts: &[&str], meter: &Meter) -> Judged {
        let bundles = Bundle::all(texts);
        let ask = bundles.iter().map(|bundle| {
            let cost = self.prices.text_records(text_records(bundle.texts()));
            paid(meter, cost, self.client.shield_documents(bundle))
        });
        let mut judged = Judged::default();
        for (bundle, answer) in bundles.iter().zip(join_all(ask).await) {
            match answer {
                Ok(attacks) => judged.attacks.extend(attacks),
                Err(error) => {
                    judged.unanswered.extend(bundle.positions());
                    judged.failed.get_or_insert(error);
                }
            }
        }
        judged
    }

    /// The passages that no prompt may hold. Each is asked about once, however many queries find it.
    pub async fn attacked_passages(
        &self,
        passages: &[(&Document, &Passage)],
        meter: &Meter,
    ) -> Result<BTreeSet<PassageId>, ProviderError> {
        let words: Vec<String> = passages.iter().map(|(document, passage)| in_prompt(document, passage)).collect();
        let digests: Vec<Digest> = words.iter().map(Digest::of).collect();
        let new: BTreeSet<usize> = {
            let known = self.known();
            (0..words.len()).filter(|position| !known.contains_key(&digests[*position])).collect()
        };
        let asked: Vec<&str> = new.iter().map(|position| words[*position].as_str()).collect();
        let Judged { attacks, unanswered, failed } = self.judged(&asked, meter).await;
        let mut known = self.known();
        let answered = new.iter().enumerate().filter(|(asked, _)| !unanswered.contains(asked));
        known.extend(answered.map(|(asked, position)| (digests[*position], attacks.contains(&asked))));
        if let Some(error) = failed {
            return Err(error);
        }
        let is_attack = |(_, digest): &(_, &Digest)| known.get(*digest).copied().unwrap_or(true);
        let attacked = passages.iter().zip(&digests).filter(is_attack);
        Ok(attacked.map(|((_, passage), _)| passage.id.clone()).collect())
    }

    /// What a query that finds up to so many passages may cost.
    pub fn most(&self, library: &Library, passages: usize) -> Usd {
        let of_document = |document: &Document| {
            let records = |passage| bundled_records(&in_prompt(document, passage));
            document.passages.iter().map(records).collect::<Vec<_>>()
        };
        let mut records: Vec<u64> = library.documents().iter().flat_map(of_document).collect();
        records.sort_unstable_by(|a, b| b.cmp(a));
        self.prices.text_records(records.into_iter().take(passages).sum())
    }

    /// What it may cost to look at these.
    pub fn most_of(&self, texts: &[&str]) -> Usd {
        let bundles = Bundle::all(texts);
        self.prices.text_records(bundles.iter().map(|bundle| text_records(bundle.texts())).sum())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, bool>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the calls for some texts gave, by the texts' positions.
#[derive(Default)]
struct Judged {
    attacks: BTreeSet<usize>,
    /// At least a part of them.
    unanswered: BTreeSet<usize>,
    failed: Option<ProviderError>,
}

fn bundled_records(text: &str) -> u64 {
    Bundle::all(&[text]).iter().map(|bundle| text_records(bundle.texts())).sum()
}

/// All words of a document that may stand in a prompt with the passage.
fn in_prompt(document: &Document, passage: &Passage) -> String {
    let headlines = document.headlines.iter().map(String::as_str);
    [document.title.as_str()].into_iter().chain(headlines).chain([passage.text.as_str()]).collect::<Vec<_>>().join("\n")
}
