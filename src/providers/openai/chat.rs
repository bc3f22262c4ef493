//! Chat completions: a conversation in, one answer out, its shape given by a JSON schema.
//!
//! What a server leaves out of its answer, adds to it or puts in another order is no error, as long as it says what
//! came of the question: the text, that it was cut off, that the model refused, or that a filter took it away.

use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Dialect, OpenAi, tokens};
use crate::providers::{ErrorKind, prices::Tokens, service::Fault};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    pub role: Role,
    pub content: String,
}

/// The schema that the answer must have: every property required, none but these (the services' strict form).
#[derive(Debug, Clone, Copy)]
pub struct Schema<'a> {
    /// Letters, digits, `_` and `-`.
    pub name: &'a str,
    pub schema: &'a Value,
}

#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The deployment, on Azure.
    pub model: &'a str,
    /// The system's turn first, then the user's and the assistant's in turn.
    pub turns: &'a [Turn],
    pub schema: Option<Schema<'a>>,
    /// `None`: the model's own. Reasoning models take no other.
    pub temperature: Option<f64>,
    /// As good as the service keeps to it.
    pub seed: Option<u32>,
    /// Those of its reasoning are among them.
    pub max_output_tokens: u32,
    /// Reasoning models only.
    pub reasoning_effort: Option<&'a str>,
    pub within: Duration,
    /// It holds nothing of a customer's, so that what the service says of it may be told.
    pub is_public: bool,
}

impl Question<'_> {
    /// How many tokens it counts for, schema and the marks of its turns included; see [`tokens`].
    pub fn most_input_tokens(&self) -> u64 {
        const PER_TURN: u64 = 16;
        let schema = self.schema.map_or(0, |schema| tokens::most(&schema.schema.to_string()));
        self.turns.iter().map(|turn| tokens::most(&turn.content) + PER_TURN).sum::<u64>() + schema
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub answer: Answer,
    /// `None`: the service does not say.
    pub tokens: Option<Tokens>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    /// There was no room for all of it.
    CutOff(String),
    /// The model will not do it, and says why.
    Refused(String),
    /// A content filter took it away, or did not let the question pass.
    Filtered {
        was_asked: bool,
        /// The filter's categories at fault, e.g. `violence`, as far as it names them.
        categories: Vec<String>,
    },
}

impl OpenAi {
    pub async fn chat(&self, question: &Question<'_>) -> Result<Completion, Fault> {
        let body = Body::new(question, self.dialect);
        let call = self.call("chat", question.model, "chat/completions").json(&body).within(question.within);
        let call = if question.is_public { call.public() } else { call };
        let answer = match self.send(&call).await {
            Ok(answer) => answer,
            Err(fault) => return filtered_question(fault).map_err(of_set_up),
        };
        let said: Said = answer.json()?;
        let tokens = said.usage.and_then(UsageSaid::tokens);
        match said.choices.into_iter().next().and_then(Choice::answer) {
            Some(answer) => Ok(Completion { answer, tokens }),
            None => Err(answer.unusable("its answer holds neither a text nor why there is none".to_owned())),
        }
    }

    /// The smallest question there is: whether address, credential, role and name are right.
    pub async fn probe(&self, model: &str) -> Result<(), Fault> {
        let turns = [Turn { role: Role::User, content: "Say yes.".to_owned() }];
        let question = Question {
            model,
            turns: &turns,
            schema: None,
            temperature: None,
            seed: None,
            max_output_tokens: 16,
            reasoning_effort: None,
            within: Duration::from_secs(20),
            is_public: true,
        };
        self.chat(&question).await.map(drop)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Turn],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
}

impl<'a> Body<'a> {
    fn new(question: &Question<'a>, dialect: Dialect) -> Self {
        let most = question.max_output_tokens;
        let (max_completion_tokens, max_tokens) = match dialect {
            Dialect::OpenAi => (Some(most), None),
            Dialect::Compatible => (None, Some(most)),
        };
        let format = |Schema { name, schema }: Schema<'_>| {
            let schema = json!({ "name": name, "strict": true, "schema": schema });
            json!({ "type": "json_schema", "json_schema": schema })
        };
        Self {
            model: question.model,
            messages: question.turns,
            response_format: question.schema.map(format),
            temperature: question.temperature,
            seed: question.seed,
            max_completion_tokens,
            max_tokens,
            reasoning_effort: question.reasoning_effort,
        }
    }
}

#[derive(Deserialize)]
struct Said {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<UsageSaid>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: MessageSaid,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    content_filter_results: Value,
}

#[derive(Default, Deserialize)]
struct MessageSaid {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

impl Choice {
    fn answer(self) -> Option<Answer> {
        let MessageSaid { content, refusal } = self.message;
        let text = content.unwrap_or_default();
        if let Some(refusal) = refusal.filter(|refusal| !refusal.is_empty()) {
            return Some(Answer::Refused(refusal));
        }
        match self.finish_reason.as_deref() {
            Some("content_filter") => {
                Some(Answer::Filtered { was_asked: true, categories: categories(&self.content_filter_results) })
            }
            // Without a word: all of it went into reasoning.
            Some("length") => Some(Answer::CutOff(text)),
            _ if text.trim().is_empty() => None,
            _ => Some(Answer::Text(text)),
        }
    }
}

#[derive(Deserialize)]
struct UsageSaid {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl UsageSaid {
    fn tokens(self) -> Option<Tokens> {
        let (input, output) = (self.prompt_tokens?, self.completion_tokens?);
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Some(Tokens { input, cached: cached.min(input), output })
    }
}

/// Those that a filter's results call filtered, by name.
fn categories(results: &Value) -> Vec<String> {
    let is_filtered = |result: &Value| result.get("filtered").and_then(Value::as_bool) == Some(true);
    let of_object = results.as_object().into_iter().flatten();
    of_object.filter(|(_, result)| is_filtered(result)).map(|(name, _)| name.clone()).collect()
}

/// A question that a filter did not let pass is one with an answer.
fn filtered_question(fault: Fault) -> Result<Completion, Fault> {
    let is_filter = matches!(fault.code.as_deref(), Some("content_filter" | "content_policy_violation"));
    if fault.status != Some(StatusCode::BAD_REQUEST) || !is_filter {
        return Err(fault);
    }
    let at = |name: &str| fault.body.pointer("/error/innererror")?.get(name);
    let results = at("content_filter_result").or_else(|| at("content_filter_results"));
    let categories = results.map(categories).unwrap_or_default();
    Ok(Completion { answer: Answer::Filtered { was_asked: false, categories }, tokens: None })
}

/// What the service will not take of any question, as long as the settings are what they are.
fn of_set_up(fault: Fault) -> Fault {
    const CODES: [&str; 4] =
        ["unsupported_parameter", "unsupported_value", "unknown_parameter", "OperationNotSupported"];
    const TOO_LONG: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
    const PARAMETERS: [&str; 6] =
        ["response_format", "temperature", "seed", "max_tokens", "max_completion_tokens", "reasoning_effort"];
    if fault.kind != ErrorKind::Rejected {
        return fault;
    }
    let error = |name: &str| fault.body.get("error")?.get(name)?.as_str();
    let names = || ["code", "type"].into_iter().filter_map(error);
    let remedy = if names().any(|name| TOO_LONG.contains(&name)) {
        "it has too little room: give it a larger context, or lower content.passages and generation.model.max_output_tokens"
    } else if names().any(|name| CODES.contains(&name))
        || error("param").is_some_and(|param| PARAMETERS.iter().any(|name| param.starts_with(name)))
    {
        "see [generation.model] of the campaign file, and whether the model takes JSON schemas"
    } else {
        return fault;
    };
    // It is about the parameters, and says nothing of the messages.
    let said: String = error("message").unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
    let has_said = fault.message.contains(&said);
    let message = if has_said { fault.message } else { format!("{}: {said}", fault.message) };
    Fault { kind: ErrorKind::Misconfigured, message: format!("{message}; {remedy}"), ..fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Vec<Turn> {
        let turn = |role, content: &str| Turn { role, content: content.to_owned() };
        vec![turn(Role::System, "Rules."), turn(Role::User, "Data.")]
    }

    fn question(turns: &[Turn]) -> Question<'_> {
        Question {
            model: "gpt-4o-mini",
            turns,
            schema: None,
            temperature: None,
            seed: None,
            max_output_tokens: 900,
            reasoning_effort: None,
            within: Duration::from_secs(1),
            is_public: false,
        }
    }

    fn sent(question: &Question<'_>, dialect: Dialect) -> Value {
        serde_json::to_value(Body::new(question, dialect)).unwrap()
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent_and_each_dialect_has_its_word_for_the_limit() {
        let turns = turns();
        let question = question(&turns);
        let messages = json!([{"role": "system", "content": "Rules."}, {"role": "user", "content": "Data."}]);
        assert_eq!(
            sent(&question, Dialect::OpenAi),
            json!({"model": "gpt-4o-mini", "messages": messages, "max_completion_tokens": 900})
        );
        assert_eq!(
            sent(&question, Dialect::Compatible),
            json!({"model": "gpt-4o-mini", "messages": messages, "max_tokens": 900})
        );
    }

    #[test]
    fn schema_seed_temperature_and_effort_are_sent_as_the_services_name_them() {
        let (turns, schema) = (turns(), json!({"type": "object"}));
        let question = Question {
            schema: Some(Schema { name: "message", schema: &schema }),
            temperature: Some(0.5),
            seed: Some(u32::MAX),
            reasoning_effort: Some("low"),
            ..question(&turns)
        };
        let sent = sent(&question, Dialect::OpenAi);
        let format = json!({"type": "json_schema",
            "json_schema": {"name": "message", "strict": true, "schema": {"type": "object"}}});
        assert_eq!(sent["response_format"], format);
        assert_eq!((&sent["temperature"], &sent["seed"]), (&json!(0.5), &json!(4_294_967_295_u32)));
        assert_eq!(sent["reasoning_effort"], "low");
    }

    fn answer(choice: Value) -> Option<Answer> {
        serde_json::from_value::<Choice>(choice).unwrap().answer()
    }

    #[test]
    fn an_answer_says_how_it_ended_whatever_else_is_in_it_or_is_not() {
        let text = |text: &str| text.to_owned();
        let filtered = |categories: &[&str]| Answer::Filtered {
            was_asked: true,
            categories: categories.iter().map(|name| text(name)).collect(),
        };
        for (choice, expected) in [
            (json!({"message": {"content": "a"}}), Some(Answer::Text(text("a")))),
            (
                json!({"logprobs": null, "finish_reason": "stop", "index": 0, "message": {"refusal": null,
                       "annotations": [], "content": "a", "role": "assistant"}}),
                Some(Answer::Text(text("a"))),
            ),
            (json!({"finish_reason": "length", "message": {"content": "a"}}), Some(Answer::CutOff(text("a")))),
            (json!({"finish_reason": "length", "message": {"content": null}}), Some(Answer::CutOff(text("")))),
            (
                json!({"finish_reason": "stop", "message": {"content": null, "refusal": "No."}}),
                Some(Answer::Refused(text("No."))),
            ),
            (
                json!({"finish_reason": "content_filter", "message": {"content": "a"}, "content_filter_results":
                    {"hate": {"filtered": true, "severity": "high"}, "violence": {"filtered": false}, "error": {}}}),
                Some(filtered(&["hate"])),
            ),
            (json!({"finish_reason": "content_filter"}), Some(filtered(&[]))),
            (json!({"finish_reason": "stop", "message": {"content": " "}}), None),
            (json!({}), None),
        ] {
            assert_eq!(answer(choice.clone()), expected, "{choice}");
        }
    }

    #[test]
    fn tokens_are_counted_with_and_without_details_and_never_guessed() {
        let tokens = |usage: Value| serde_json::from_value::<UsageSaid>(usage).unwrap().tokens();
        assert_eq!(
            tokens(json!({"total_tokens": 9, "completion_tokens": 2, "prompt_tokens": 7})),
            Some(Tokens { input: 7, cached: 0, output: 2 })
        );
        let details = json!({"prompt_tokens": 7, "completion_tokens": 2, "completion_tokens_details": {},
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 5}});
        assert_eq!(tokens(details), Some(Tokens { input: 7, cached: 5, output: 2 }));
        assert_eq!(tokens(json!({"total_tokens": 9})), None);
    }

    fn refused(body: Value) -> Fault {
        Fault {
            service: "openai",
            kind: ErrorKind::Rejected,
            status: Some(StatusCode::BAD_REQUEST),
            code: body.pointer("/error/code").and_then(Value::as_str).map(str::to_owned),
            message: "chat: 400 Bad Request".to_owned(),
            body,
            may_have_cost: false,
            no_answer: None,
        }
    }

    #[test]
    fn a_question_that_a_filter_stops_is_answered_and_another_bad_request_is_not() {
        let inner = json!({"code": "ResponsibleAIPolicyViolation", "content_filter_result":
            {"jailbreak": {"detected": true, "filtered": true}, "hate": {"filtered": false, "severity": "safe"}}});
        let body = json!({"error": {"code": "content_filter", "message": "…", "status": 400, "innererror": inner}});
        let answer = filtered_question(refused(body)).unwrap().answer;
        assert_eq!(answer, Answer::Filtered { was_asked: false, categories: vec!["jailbreak".to_owned()] });
        assert!(filtered_question(refused(json!({"error": {"code": "bad_request"}}))).is_err());
    }

    #[test]
    fn what_the_settings_are_at_fault_for_is_the_operators_to_mend() {
        for (error, said) in [
            (json!({"code": "unsupported_value", "param": "temperature", "message": "Only 1."}), "Only 1."),
            (json!({"code": null, "param": "response_format", "message": "No schemas."}), "No schemas."),
            (json!({"code": 400, "type": "exceed_context_size_error", "message": "n_ctx"}), "larger context"),
            (json!({"code": "context_length_exceeded", "param": "messages"}), "larger context"),
        ] {
            let fault = of_set_up(refused(json!({ "error": error })));
            assert_eq!(fault.kind, ErrorKind::Misconfigured, "{error}");
            assert!(fault.message.contains(said), "{}", fault.message);
        }
        let other = refused(json!({"error": {"code": "bad_request", "param": "messages", "message": "A. Person"}}));
        assert_eq!(of_set_up(other.clone()), other);
    }

    #[test]
    fn the_bound_grows_with_every_turn_and_the_schema() {
        let turns = turns();
        let schema = json!({"type": "object"});
        assert_eq!(question(&turns).most_input_tokens(), 39);
        let with = Question { schema: Some(Schema { name: "x", schema: &schema }), ..question(&turns) };
        assert_eq!(with.most_input_tokens(), 51);
    }
}
