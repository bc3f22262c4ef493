//! What the host makes of a handler's answer to an envelope.
//!
//! The order is the host's: judge the answer, bind the outputs, then write the reply to an HTTP client. Nothing takes
//! back what was written before a failure.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    function::{Binding, Function},
    json::Value,
};

/// Bytes of a message when the storage keeps it in Base64.
pub const MESSAGE_MOST: usize = 48 * 1024;

/// What a handler answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    Failed(String),
    /// Nobody is told; the time-out ends it, and the handler.
    Hung,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub ending: Ending,
    /// In the order of the answer.
    pub logs: Vec<String>,
    /// Messages and the binding by which each was sent.
    pub messages: Vec<(String, Vec<u8>)>,
    /// By binding.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// What an HTTP client is told, where one waits.
    pub reply: Reply,
}

/// Of headers only what the handler chose; a failure says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    fn empty(status: u16) -> Self {
        Self { status, headers: BTreeMap::new(), body: Vec::new() }
    }

    fn text(body: String) -> Self {
        let headers = BTreeMap::from([("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())]);
        Self { status: 200, headers, body: body.into_bytes() }
    }
}

impl Outcome {
    pub fn failed(why: impl Into<String>) -> Self {
        Self::without_outputs(Ending::Failed(why.into()))
    }

    fn without_outputs(ending: Ending) -> Self {
        Self { ending, logs: Vec::new(), messages: Vec::new(), blobs: BTreeMap::new(), reply: Reply::empty(500) }
    }

    /// Of an answer to a call of a function.
    pub fn of(function: &Function, answer: &Answer) -> Self {
        let result = match Answered::read(answer) {
            Ok(Some(result)) => result,
            Ok(None) => return Self::without_outputs(Ending::Hung),
            Err(why) => return Self::failed(why),
        };
        let mut outcome = Self::without_outputs(Ending::Succeeded);
        outcome.logs.clone_from(&result.logs);
        let bound = match result.bound_to(function) {
            Ok(bound) => bound,
            Err(why) => return Self { ending: Ending::Failed(why), ..outcome },
        };
        let mut http = None;
        for binding in function.outputs() {
            let Some(value) = bound.get(&binding.name) else { continue };
            let written = match binding.kind.as_str() {
                "http" => {
                    http = Some(decoded(binding, value));
                    Ok(())
                }
                "queue" => send(binding, value, &mut outcome.messages),
                "blob" => write(binding, value, &mut outcome.blobs),
                other => panic!("the double knows no outputs of type {other}"),
            };
            if let Err(why) = written {
                outcome.ending = Ending::Failed(format!("{}: {why}", binding.name));
            }
        }
        if outcome.ending != Ending::Succeeded {
            // They were opened, which emptied them, and are never finished.
            for binding in function.outputs().filter(|binding| binding.kind == "blob") {
                if bound.get(&binding.name).is_some_and(|value| *value != Value::Null) {
                    outcome.blobs.insert(binding.name.clone(), Vec::new());
                }
            }
            return outcome;
        }
        // It cannot fail the invocation any more: that is over.
        outcome.reply = match http {
            Some(Decoded::Bytes(body)) => Reply { body, ..Reply::empty(200) },
            Some(Decoded::Value(value)) => reply_of(&value).unwrap_or_else(|_| Reply::empty(500)),
            None => returned(&result.returned),
        };
        outcome
    }
}

/// A handler's answer, understood.
struct Answered {
    outputs: Option<Vec<(String, Value)>>,
    logs: Vec<String>,
    returned: Value,
}

impl Answered {
    /// `None`: an answer that says nothing, which the host waits out.
    fn read(answer: &Answer) -> Result<Option<Self>, String> {
        if !(200..300).contains(&answer.status) {
            return Err(format!("the status is {}", answer.status));
        }
        if answer.body.is_empty() {
            return Ok(None);
        }
        let kind = answer.header("content-type").unwrap_or_default();
        let (media, parameters) = kind.split_once(';').unwrap_or((kind, ""));
        if !["application/json", "text/json"].iter().any(|json| media.trim().eq_ignore_ascii_case(json)) {
            return Err(format!("the content type is `{kind}`"));
        }
        let text = if parameters.to_ascii_lowercase().contains("iso-8859-1") {
            encoding_rs::mem::decode_latin1(&answer.body)
        } else {
            String::from_utf8_lossy(&answer.body)
        };
        let value = Value::parse(&text).map_err(|error| error.to_string())?;
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Object(_)) => Self::of(&value).map(Some),
            Some(_) => Err("it is no object".to_owned()),
        }
    }

    fn of(value: &Value) -> Result<Self, String> {
        let outputs = match value.get_any_case("Outputs") {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(fields.clone()),
            Some(_) => return Err("`Outputs` is no object".to_owned()),
        };
        let logs = match value.get_any_case("Logs") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(lines)) => lines
                .iter()
                .map(|line| match line {
                    Value::Array(_) | Value::Object(_) => Err("a line of `Logs` is no text".to_owned()),
                    line => Ok(line.to_text()),
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err("`Logs` is no array".to_owned()),
        };
        let returned = value.get_any_case("ReturnValue").cloned().unwrap_or(Value::Null);
        Ok(Self { outputs, logs, returned })
    }

    /// What each output binding gets, by exact name.
    fn bound_to(&self, function: &Function) -> Result<BTreeMap<String, Value>, String> {
        let mut bound = BTreeMap::new();
        if let Some(outputs) = &self.outputs {
            for binding in function.outputs() {
                let given = outputs.iter().find(|(name, _)| *name == binding.name).map(|(_, value)| value);
                let value = match (binding.kind.as_str(), given) {
                    ("http", Some(value)) => response(value)?,
                    ("http", None) => Value::Object(Vec::new()),
                    (_, Some(value)) => value.clone(),
                    (_, None) => continue,
                };
                bound.insert(binding.name.clone(), value);
            }
        }
        if function.outputs().any(|binding| binding.name == RETURN) {
            // Whatever the outputs say of it.
            bound.remove(RETURN);
            if self.returned != Value::Null {
                bound.insert(RETURN.to_owned(), self.returned.clone());
            }
        } else if let Value::Object(fields) = &self.returned {
            bound.extend(fields.iter().cloned());
        }
        Ok(bound)
    }
}

const RETURN: &str = "$return";

/// A value of the output of a function that answers HTTP calls: four fields, in any case, in an object or its text.
fn response(value: &Value) -> Result<Value, String> {
    const WRONG: &str = "the HTTP output is no object";
    let parsed = match value {
        Value::Object(_) => value.clone(),
        Value::Text(text) => match Value::parse(text) {
            Ok(Some(object @ Value::Object(_))) => object,
            _ => return Err(WRONG.to_owned()),
        },
        _ => return Err(WRONG.to_owned()),
    };
    let field = |name: &str| parsed.get_any_case(name).cloned().unwrap_or(Value::Null);
    let (status, headers) = (field("statusCode"), field("headers"));
    if matches!(status, Value::Object(_) | Value::Array(_)) {
        return Err("the status is no text".to_owned());
    }
    if !matches!(headers, Value::Object(_) | Value::Null) {
        return Err("the headers are no object".to_owned());
    }
    let fields = [("statusCode", status), ("headers", headers), ("body", field("body"))];
    Ok(Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).to_vec()))
}

/// An object with a body is a response; everything else is the body.
fn reply_of(value: &Value) -> Result<Reply, &'static str> {
    let Some(body) = value.get_any_case("body") else { return Ok(Reply::text(value.to_text())) };
    let mut reply = Reply::text(body.to_text());
    if let Some(status) = value.get_any_case("statusCode")
        && let Ok(status) = status.to_text().parse()
    {
        reply.status = status;
    }
    if let Some(Value::Object(headers)) = value.get_any_case("headers") {
        for (name, value) in headers {
            if !is_token(name) {
                return Err("no name of a header");
            }
            if matches!(value, Value::Null | Value::Array(_) | Value::Object(_)) {
                return Err("no value of a header");
            }
            let mut value = value.to_text();
            let name = name.to_ascii_lowercase();
            if name == "content-type" && !value.to_ascii_lowercase().contains("charset") {
                value.push_str("; charset=utf-8");
            }
            reply.headers.insert(name, value);
        }
    }
    Ok(reply)
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// What a client is told where no HTTP output is bound: the return value, as a web framework writes it.
fn returned(value: &Value) -> Reply {
    match value {
        Value::Null => Reply::empty(204),
        Value::Text(text) => Reply::text(text.clone()),
        value => {
            let mut reply = Reply::text(value.compact());
            reply.headers.insert("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
            reply
        }
    }
}

enum Decoded {
    Bytes(Vec<u8>),
    Value(Value),
}

/// Text that could be Base64 is taken for it, unless the binding says that it is bytes already.
fn decoded(binding: &Binding, value: &Value) -> Decoded {
    match value {
        Value::Text(text) if !binding.is_binary() => {
            let text: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).collect();
            STANDARD.decode(text).map_or_else(|_| Decoded::Value(value.clone()), Decoded::Bytes)
        }
        value => Decoded::Value(value.clone()),
    }
}

/// An array is a message each; text that is JSON is read first.
fn send(binding: &Binding, value: &Value, messages: &mut Vec<(String, Vec<u8>)>) -> Result<(), &'static str> {
    let bodies = match decoded(binding, value) {
        Decoded::Bytes(bytes) => vec![bytes],
        Decoded::Value(Value::Null) => Vec::new(),
        Decoded::Value(value) => {
            let value = match &value {
                Value::Text(text) => Value::parse_container(text).unwrap_or(value),
                _ => value,
            };
            let items = if let Value::Array(items) = value { items } else { vec![value] };
            items.into_iter().map(|item| item.to_text().into_bytes()).collect()
        }
    };
    for body in bodies {
        if body.len() > MESSAGE_MOST {
            return Err("a message is too large");
        }
        messages.push((binding.name.clone(), body));
    }
    Ok(())
}

fn write(binding: &Binding, value: &Value, blobs: &mut BTreeMap<String, Vec<u8>>) -> Result<(), &'static str> {
    let bytes = match decoded(binding, value) {
        Decoded::Bytes(bytes) => bytes,
        Decoded::Value(value) => match value {
            Value::Null => return Ok(()),
            Value::Text(text) => text.into_bytes(),
            // As they lie in memory.
            Value::Bool(value) => vec![u8::from(value)],
            Value::Integer(number) => {
                i32::try_from(number).map_err(|_| "the number is too large")?.to_le_bytes().to_vec()
            }
            Value::Float(number) => number.to_le_bytes().to_vec(),
            Value::Moment(_) => return Err("a moment has no bytes"),
            Value::Array(_) | Value::Object(_) => value.compact().into_bytes(),
        },
    };
    blobs.insert(binding.name.clone(), bytes);
    Ok(())
}
