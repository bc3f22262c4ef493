//! Embeddings: a vector for each text.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::OpenAi;
use crate::providers::service::Fault;

#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// In the order of the texts, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// `None`: the service does not say.
    pub tokens: Option<u64>,
}

impl OpenAi {
    /// The services take up to 2,048 texts at once. `dimensions` asks for shorter vectors than the model's own, where
    /// it can give them.
    pub async fn embed(&self, model: &str, texts: &[&str], dimensions: Option<u32>) -> Result<Embedded, Fault> {
        if texts.is_empty() {
            return Ok(Embedded { vectors: Vec::new(), tokens: Some(0) });
        }
        let body = Body { model, input: texts, dimensions, encoding_format: "float" };
        let answer = self.send(&self.call("embeddings", model, "embeddings").json(&body)).await?;
        let Said { data, usage } = answer.json()?;
        let vectors = in_order(data, texts.len(), dimensions).map_err(|why| answer.unusable(why.to_owned()))?;
        Ok(Embedded { vectors, tokens: usage.and_then(|usage| usage.prompt_tokens) })
    }

    /// As [`OpenAi::probe`].
    pub async fn probe_embeddings(&self, model: &str) -> Result<(), Fault> {
        let body = Body { model, input: &["yes"], dimensions: None, encoding_format: "float" };
        let call = self.call("embeddings", model, "embeddings").json(&body);
        let answer = self.send(&call.within(Duration::from_secs(20)).public()).await?;
        let Said { data, .. } = answer.json()?;
        in_order(data, 1, None).map(drop).map_err(|why| answer.unusable(why.to_owned()))
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    encoding_format: &'static str,
}

#[derive(Deserialize)]
struct Said {
    data: Vec<Vector>,
    #[serde(default)]
    usage: Option<UsageSaid>,
}

#[derive(Deserialize)]
struct Vector {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct UsageSaid {
    #[serde(default)]
    prompt_tokens: Option<u64>,
}

/// One vector for each of `count` texts, by their index.
fn in_order(mut data: Vec<Vector>, count: usize, dimensions: Option<u32>) -> Result<Vec<Vec<f32>>, &'static str> {
    data.sort_by_key(|vector| vector.index);
    if !data.iter().map(|vector| vector.index).eq(0..count) {
        return Err("its answer does not hold one vector for each text");
    }
    let length = data.first().map_or(0, |vector| vector.embedding.len());
    let is_asked_for = dimensions.is_none_or(|asked| usize::try_from(asked) == Ok(length));
    if length == 0 || !is_asked_for || data.iter().any(|vector| vector.embedding.len() != length) {
        return Err("its vectors do not have the length that was asked for, or not all the same");
    }
    if data.iter().flat_map(|vector| &vector.embedding).any(|number| !number.is_finite()) {
        return Err("its vectors hold what is no number");
    }
    Ok(data.into_iter().map(|vector| vector.embedding).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(data: serde_json::Value, count: usize, dimensions: Option<u32>) -> Result<Vec<Vec<f32>>, &'static str> {
        in_order(serde_json::from_value(data).unwrap(), count, dimensions)
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let data = json!([{"object": "embedding", "index": 1, "embedding": [2, 0.5]},
                          {"embedding": [1, 0.25], "index": 0}]);
        assert_eq!(read(data.clone(), 2, None).unwrap(), [[1.0, 0.25], [2.0, 0.5]]);
        assert_eq!(read(data, 2, Some(2)).unwrap().len(), 2);
    }

    #[test]
    fn a_missing_doubled_short_empty_or_infinite_vector_is_no_answer() {
        let vector = |index: usize, embedding: &[f64]| json!({"index": index, "embedding": embedding});
        let (first, second) = (vector(0, &[1.0, 2.0]), vector(1, &[1.0, 2.0]));
        for (data, count, dimensions) in [
            (json!([first]), 2, None),
            (json!([first, first]), 2, None),
            (json!([first, second]), 1, None),
            (json!([first, vector(1, &[1.0])]), 2, None),
            (json!([vector(0, &[])]), 1, None),
            (json!([first]), 1, Some(3)),
            (json!([vector(0, &[1e300, 1.0])]), 1, None),
        ] {
            assert!(read(data.clone(), count, dimensions).is_err(), "{data}");
        }
    }

    #[test]
    fn the_request_names_model_and_texts_and_asks_for_numbers() {
        let body = |dimensions| {
            let body = Body { model: "small", input: &["a", "b"], dimensions, encoding_format: "float" };
            serde_json::to_value(body).unwrap()
        };
        assert_eq!(body(None), json!({"model": "small", "input": ["a", "b"], "encoding_format": "float"}));
        assert_eq!(body(Some(256))["dimensions"], 256);
    }
}
