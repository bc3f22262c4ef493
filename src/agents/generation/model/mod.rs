//! The writer that asks a language model.
//!
//! It tells the model what a message must be, makes a draft of the answer, and has the gate's text checks look at it. What
//! they would block goes back to the model with the reasons, a few times at most; then the cell falls back. The gate
//! judges the draft afterwards all the same.

mod answer;
#[cfg(test)]
mod fixture;
mod prompt;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use self::{answer::Defect, prompt::Prompt};
use super::{Brief, Source, Writer};
use crate::{
    config::campaign::ModelSpec,
    domain::{
        digest::Digest,
        money::Usd,
        problem::Problem,
        variant::{Draft, Usage},
    },
    providers::{
        ErrorKind, Forecast, Meter, ProviderError,
        openai::{
            OpenAi,
            chat::{Answer, Question, Role, Schema, Turn},
            tokens,
        },
        prices::{Price, Tokens},
    },
};

/// What a first question may count for, by [`Question::most_input_tokens`]; passages that do not fit are left out, the
/// best stay. Twenty-four passages of a few sentences take half of it.
const MOST_PROMPT: u64 = 12_000;

/// What a bad answer and the reasons may add to it: each, and together with the marks of their turns.
const MOST_REPEATED: u64 = 2_000;
const MOST_REPAIR: u64 = 4_096;

/// As a rule, in tokens of the service's count: rules, phrases and twelve passages; what is written, with its sources named;
/// and of how many messages one must be repaired. Effort adds its thinking to each answer.
const USUAL_PROMPT: u64 = 3_000;
const USUAL_ANSWER: u64 = 350;
const REPAIRED_ONE_IN: u64 = 4;

/// For all calls of one message; an item has four minutes, of which one may pass before its turn comes.
const TIME: Duration = Duration::from_secs(170);

pub struct Model {
    client: Arc<OpenAi>,
    model: String,
    spec: ModelSpec,
    price: Price,
    name: String,
}

impl Model {
    /// `price` is asked for the model's.
    pub fn new(
        client: Arc<OpenAi>,
        spec: &ModelSpec,
        price: impl FnOnce(&str) -> Result<Price, Problem>,
    ) -> Result<Self, Problem> {
        let model = spec.name.clone().or_else(|| client.model.clone()).ok_or_else(|| {
            let remedy = "name it there, or set AZURE_OPENAI_DEPLOYMENT (azure_openai) or OPENAI_MODEL (openai)";
            Problem::new("nobody says which model is to write the messages", remedy).at_field("generation.model.name")
        })?;
        let name = format!("{}/{model}/{}", client.name(), prompt::name());
        Ok(Self { price: price(&model)?, client, model, spec: spec.clone(), name })
    }

    /// `is_public`: it is about a segment, and no customer.
    fn question<'a>(&'a self, turns: &'a [Turn], prompt: &'a Prompt, seed: u32, is_public: bool) -> Question<'a> {
        Question {
            model: &self.model,
            turns,
            schema: Some(Schema { name: "message", schema: &prompt.schema }),
            temperature: self.spec.temperature,
            seed: Some(seed),
            max_output_tokens: self.spec.most_output_tokens(),
            reasoning_effort: self.spec.reasoning_effort.map(|effort| effort.as_str()),
            within: TIME / (self.spec.repairs + 1),
            is_public,
        }
    }

    /// The prompt with as many of the best sources as there is room for, and these.
    fn prompt<'a>(&self, brief: &Brief<'a>) -> Result<(Prompt, Vec<Source<'a>>), ProviderError> {
        let usable = brief.sources.iter().filter(|source| source.document.is_usable_on(brief.date));
        let mut room = MOST_PROMPT;
        let fits = |source: &&Source<'_>| {
            let left = room.checked_sub(tokens::most(&source.passage.text));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let mut sources: Vec<Source<'a>> = usable.take_while(fits).copied().collect();
        while !sources.is_empty() {
            let no_tone = || {
                let Brief { tone, cell, .. } = brief;
                self.rejected(format!("there are no phrases in the tone `{tone}` for `{}`", cell.locale))
            };
            let prompt = Prompt::new(brief, &sources).ok_or_else(no_tone)?;
            if self.question(&prompt.turns, &prompt, 0, true).most_input_tokens() <= MOST_PROMPT {
                return Ok((prompt, sources));
            }
            sources.pop();
        }
        Err(self.rejected("there is no approved content to write from, or no room for any of it".to_owned()))
    }

    fn cost_at_most(&self, input: u64, output: u32) -> Usd {
        self.price.cost(Tokens { input, cached: 0, output: output.into() })
    }

    /// One call, paid for.
    async fn ask(&self, question: &Question<'_>, meter: &Meter) -> Result<Answer, ProviderError> {
        let most = self.cost_at_most(question.most_input_tokens(), question.max_output_tokens);
        let reserved = meter.reserve(self.client.name(), most)?;
        match self.client.chat(question).await {
            Ok(completion) => {
                match completion.tokens {
                    Some(tokens) => reserved.settle(Usage {
                        requests: 1,
                        input_tokens: tokens.input,
                        output_tokens: tokens.output,
                        cost_usd: self.price.cost(tokens),
                    }),
                    // Nobody knows: it counts in full. So does a question that the filter stopped: Azure charges for
                    // input and output, as the model may have begun before the filter ended.
                    None => drop(reserved),
                }
                Ok(completion.answer)
            }
            Err(fault) => {
                if !fault.may_have_cost {
                    reserved.settle(Usage::default());
                }
                Err(fault.into())
            }
        }
    }

    /// The draft of an answer, or what the model said and what is wrong with it.
    fn judge(&self, answer: Answer, brief: &Brief<'_>, sources: &[Source<'_>]) -> Result<Draft, (String, Vec<Defect>)> {
        let (said, why) = match answer {
            Answer::Text(text) => {
                let defects = match answer::draft(&text, brief, sources) {
                    Ok(draft) => {
                        let findings = (brief.review)(&draft).into_iter().filter(|finding| finding.blocks);
                        let defects: Vec<Defect> = findings.map(Defect::from).collect();
                        if defects.is_empty() {
                            return Ok(draft);
                        }
                        defects
                    }
                    Err(defects) => defects,
                };
                return Err((text, defects));
            }
            Answer::CutOff(text) => {
                let most = self.spec.most_output_tokens();
                (text, format!("it was cut off after {most} tokens: write a shorter message"))
            }
            Answer::Refused(text) => {
                (text, "it is a refusal; the message is made of approved texts alone, choose others".to_owned())
            }
            Answer::Filtered { categories, .. } => {
                (String::new(), format!("a content filter stopped it{}: choose other texts", named(&categories)))
            }
        };
        Err((said, vec![Defect::new(why)]))
    }

    fn rejected(&self, message: String) -> ProviderError {
        ProviderError { provider: self.client.name(), kind: ErrorKind::Rejected, message }
    }
}

#[async_trait]
impl Writer for Model {
    fn name(&self) -> &str {
        &self.name
    }

    fn most(&self) -> Usd {
        let output = self.spec.most_output_tokens();
        let repair = self.cost_at_most(MOST_PROMPT + MOST_REPAIR, output);
        self.cost_at_most(MOST_PROMPT, output) + repair.times(self.spec.repairs)
    }

    fn forecast(&self) -> Forecast {
        let most = u64::from(self.spec.most_output_tokens());
        let thinking = if self.spec.reasoning_effort.is_some() { most / 4 } else { 0 };
        let output = (USUAL_ANSWER + thinking).min(most);
        // The bad answer comes back, with what is wrong with it.
        let repair = Tokens { input: USUAL_PROMPT + 2 * USUAL_ANSWER, cached: 0, output };
        let repairs = if self.spec.repairs == 0 { 0 } else { 1 };
        let call = self.price.cost(Tokens { input: USUAL_PROMPT, cached: 0, output });
        let expected = call + Usd::priced_per(REPAIRED_ONE_IN, &[(self.price.cost(repair), repairs)]);
        let mut assumes = vec![format!("{USUAL_PROMPT} tokens in and {output} out a call, none of them cached")];
        if repairs > 0 {
            assumes.push(format!(
                "one message in {REPAIRED_ONE_IN} repaired once; at most {} calls of {} tokens in and {most} out each",
                self.spec.repairs + 1,
                MOST_PROMPT + MOST_REPAIR
            ));
        }
        Forecast { expected, once: Usd::ZERO, assumes }
    }

    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
        let (prompt, sources) = self.prompt(brief)?;
        let seed = seed(brief);
        let mut turns = prompt.turns.clone();
        let mut repairs = self.spec.repairs;
        loop {
            let answer = self.ask(&self.question(&turns, &prompt, seed, brief.customer.is_none()), meter).await?;
            if let Answer::Filtered { was_asked: false, categories } = &answer {
                let message = format!("the service's content filter stopped the question{}", named(categories));
                return Err(self.rejected(message));
            }
            let (said, defects) = match self.judge(answer, brief, &sources) {
                Ok(draft) => return Ok(Draft { usage: meter.spent(), ..draft }),
                Err(judged) => judged,
            };
            if repairs == 0 {
                let mut reasons: Vec<String> = defects.into_iter().map(|defect| defect.why).collect();
                reasons.dedup();
                let message = format!("the model gave no usable message, asked {} times: ", self.spec.repairs + 1);
                return Err(self.rejected(message + &reasons.join("; ")));
            }
            repairs -= 1;
            let said = if said.is_empty() { "(nothing)".to_owned() } else { said };
            turns.truncate(prompt.turns.len());
            turns.push(Turn { role: Role::Assistant, content: repeated(&said) });
            turns.push(Turn { role: Role::User, content: repeated(&prompt::correction(&defects)) });
        }
    }
}

/// A filter's categories, where it names them.
fn named(categories: &[String]) -> String {
    if categories.is_empty() { String::new() } else { format!(" ({})", categories.join(", ")) }
}

fn repeated(text: &str) -> String {
    tokens::beginning(text, MOST_REPEATED).to_owned()
}

/// Another one for each candidate of each cell.
fn seed(brief: &Brief<'_>) -> u32 {
    let digest = Digest::of(format!("{}\n{}", brief.seed, brief.cell.variant_id(brief.candidate)));
    let [a, b, c, d, ..] = *digest.as_bytes();
    // Some servers read it as a signed number.
    u32::from_be_bytes([a, b, c, d]) >> 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{fixture::World, *};
    use crate::{domain::channel::Channel, providers::Services};

    fn client(model: &'static str) -> Arc<OpenAi> {
        let settings = move |name: &str| match name {
            "OPENAI_BASE_URL" => Some("http://127.0.0.1:1/v1".to_owned()),
            "OPENAI_MODEL" => Some(model.to_owned()),
            _ => None,
        };
        Services::new(settings).openai().unwrap()
    }

    fn model(spec: &ModelSpec) -> Model {
        let dollar = |dollars| Usd::from_dollars(dollars).unwrap();
        let price = Price { input: dollar(0.15), cached_input: None, output: dollar(0.60) };
        Model::new(client("small"), spec, |_| Ok(price)).unwrap()
    }

    #[test]
    fn the_campaign_names_the_model_or_else_the_operator_and_somebody_must() {
        let named = ModelSpec { name: Some("large".to_owned()), ..ModelSpec::default() };
        for (spec, operator, expected) in
            [(&named, "small", "large"), (&named, "", "large"), (&ModelSpec::default(), "small", "small")]
        {
            let model = Model::new(client(operator), spec, |_| Ok(Price::default())).unwrap();
            assert!(model.name().starts_with(&format!("openai/{expected}/prompt-")), "{}", model.name());
        }
        let problem = Model::new(client(""), &ModelSpec::default(), |_| Ok(Price::default())).err().unwrap();
        assert_eq!(problem.field.as_deref(), Some("generation.model.name"));
    }

    #[test]
    fn no_conversation_costs_more_than_is_said_before_it() {
        let mut world = World::new(Channel::Email);
        // A hundred times what there is room for.
        let mut documents = world.content.documents().to_vec();
        for passage in documents.iter_mut().flat_map(|document| &mut document.passages) {
            passage.text = format!("{} ", passage.text).repeat(40);
        }
        world.content = crate::agents::retrieval::library::Library::new(documents);
        let one = world.sources();
        let sources: Vec<_> = one.iter().cycle().take(100 * one.len()).copied().collect();
        let model = model(&ModelSpec { repairs: 1, ..ModelSpec::default() });
        let brief = world.brief(&sources);
        let (prompt, kept) = model.prompt(&brief).unwrap();
        assert!(!kept.is_empty() && kept.len() < sources.len());
        let mut turns = prompt.turns.clone();
        let ask = |turns: &[Turn]| {
            let question = model.question(turns, &prompt, 0, true);
            model.cost_at_most(question.most_input_tokens(), question.max_output_tokens)
        };
        let first = ask(&turns);
        let words = "\u{1F600}".repeat(100_000);
        turns.push(Turn { role: Role::Assistant, content: repeated(&words) });
        let defects = vec![Defect { why: words.clone(), words }; 100];
        turns.push(Turn { role: Role::User, content: repeated(&prompt::correction(&defects)) });
        assert!(first + ask(&turns) <= model.most());
        assert!(model.most() < Usd::from_dollars(0.01).unwrap(), "{}", model.most());
    }

    #[test]
    fn every_candidate_of_every_cell_has_a_seed_of_its_own() {
        let mut seeds = BTreeSet::new();
        for channel in Channel::ALL {
            let world = World::new(channel);
            for candidate in 0..3 {
                let brief = Brief { candidate, ..world.brief(&[]) };
                seeds.insert(seed(&brief));
                assert_eq!(seed(&brief), seed(&brief));
                seeds.insert(seed(&Brief { seed: 2, ..brief }));
            }
        }
        assert_eq!(seeds.len(), 24);
        assert!(seeds.iter().all(|seed| i32::try_from(*seed).is_ok()));
    }

    #[test]
    fn without_a_usable_source_or_a_tone_nothing_is_asked() {
        let world = World::new(Channel::Email);
        let (model, sources) = (model(&ModelSpec::default()), world.sources());
        let too_early = Brief { date: jiff::civil::date(2020, 1, 1), ..world.brief(&sources) };
        let shouting = Brief { tone: "shouting", ..world.brief(&sources) };
        for brief in [world.brief(&[]), too_early, shouting] {
            assert_eq!(model.prompt(&brief).err().unwrap().kind, ErrorKind::Rejected);
        }
    }
}
