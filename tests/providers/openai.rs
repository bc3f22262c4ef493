//! Azure OpenAI and what speaks its protocol: requests against the vendor's documents, answers, and what the writer makes
//! of them.

use std::{path::Path, sync::Arc, time::Duration};

use cpo::{
    agents::{
        generation::{Brief, Source, Writer as _, model::Model},
        retrieval::library::Library,
    },
    config::{Campaign, campaign::ModelSpec},
    domain::{
        channel::Channel,
        id::{ArmName, Locale},
        money::Usd,
        variant::{Cell, Draft, Usage},
        verdict::{Finding, Rule},
    },
    providers::{
        ErrorKind, Meter, ProviderError, Services,
        openai::{
            OpenAi,
            chat::{Answer, Completion, Question, Role, Schema, Turn},
        },
        prices::{Price, Tokens},
    },
};
use serde_json::{Value, json};

use crate::{
    prism,
    scripted::{Reply, Scripted},
};

/// Azure, by the v1 paths or by the dated ones.
fn azure(server: &Scripted, api_version: Option<&'static str>) -> Arc<OpenAi> {
    let url = server.url();
    let settings = move |name: &str| match name {
        "AZURE_OPENAI_ENDPOINT" => Some(url.clone()),
        "AZURE_OPENAI_API_KEY" => Some("the-key".to_owned()),
        "AZURE_OPENAI_API_VERSION" => api_version.map(str::to_owned),
        "AZURE_OPENAI_DEPLOYMENT" => Some("gpt-4o-mini".to_owned()),
        _ => None,
    };
    Services::new(settings).azure_openai().unwrap()
}

fn compatible(server: &Scripted) -> Arc<OpenAi> {
    compatible_at(&server.url())
}

fn compatible_at(url: &str) -> Arc<OpenAi> {
    let base = format!("{url}/v1");
    let settings = move |name: &str| match name {
        "OPENAI_BASE_URL" => Some(base.clone()),
        "OPENAI_MODEL" => Some("small".to_owned()),
        _ => None,
    };
    Services::new(settings).openai().unwrap()
}

pub fn says(text: &str) -> Reply {
    let usage =
        json!({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 600}});
    let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}});
    Reply::json(200, &json!({"choices": [choice], "usage": usage}))
}

fn ends(reason: &str, text: Option<&str>) -> Reply {
    Reply::json(200, &json!({"choices": [{"finish_reason": reason, "message": {"content": text}}]}))
}

pub fn question<'a>(turns: &'a [Turn], schema: &'a Value) -> Question<'a> {
    Question {
        model: "gpt-4o-mini",
        turns,
        schema: Some(Schema { name: "message", schema }),
        temperature: Some(0.2),
        seed: Some(7),
        max_output_tokens: 500,
        reasoning_effort: None,
        within: Duration::from_secs(30),
        is_public: true,
    }
}

pub fn turns() -> Vec<Turn> {
    [(Role::System, "Rules."), (Role::User, "Data.")].map(|(role, text)| Turn { role, content: text.to_owned() }).into()
}

/// The starter campaign's passages, for everybody.
pub struct World {
    campaign: Campaign,
    content: Library,
    cell: Cell,
}

impl World {
    pub fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        Self {
            campaign: Campaign::read(&folder.join("campaign.toml")).unwrap(),
            content: Library::load(&folder.join("content")).unwrap(),
            cell: Cell {
                segment: None,
                arm: ArmName::new("control").unwrap(),
                channel: Channel::Sms,
                locale: Locale::new("en").unwrap(),
            },
        }
    }

    pub async fn write(&self, model: &Model, meter: &Meter) -> Result<Draft, ProviderError> {
        let documents = self.content.documents().iter();
        let sources: Vec<Source<'_>> = documents
            .flat_map(|document| document.passages.iter().map(move |passage| Source { document, passage }))
            .collect();
        let brief = Brief {
            cell: &self.cell,
            segment: None,
            customer: None,
            tone: "neutral",
            campaign_name: &self.campaign.campaign.name,
            date: jiff::civil::date(2026, 11, 22),
            sources: &sources,
            brand: &self.campaign.generation.brand,
            slots: &self.campaign.generation.slots,
            candidate: 0,
            seed: 1,
            // As the gate, of all that it checks.
            review: &|draft| {
                let finding = |blocks| Finding {
                    rule: Rule::BannedPhrase,
                    blocks,
                    span: None,
                    text: "act now".to_owned(),
                    passage: None,
                    why: "the brand bans these words".to_owned(),
                };
                if draft.message.body.contains("Act now") { vec![finding(true)] } else { vec![finding(false)] }
            },
        };
        model.write(&brief, meter).await
    }

    /// The answer that says the delivery policy's first sentence.
    pub fn answer(&self, text: &str) -> String {
        let delivery = self.content.documents().iter().find(|document| document.id.as_str().starts_with("delivery"));
        let passage = &delivery.unwrap().passages[0];
        let claim = json!({"id": passage.id, "text": passage.text});
        json!({"before": {"greeting": text}, "claim": claim}).to_string()
    }
}

fn writer(server: &Scripted, repairs: u32) -> Model {
    writer_at(&server.url(), repairs)
}

pub fn writer_at(url: &str, repairs: u32) -> Model {
    let dollars = |dollars| Usd::from_dollars(dollars).unwrap();
    let price = Price { input: dollars(1.0), cached_input: Some(dollars(0.5)), output: dollars(2.0) };
    let spec = ModelSpec { repairs, ..ModelSpec::default() };
    Model::new(compatible_at(url), &spec, |_| Ok(price)).unwrap()
}

pub fn plenty() -> Meter {
    Meter::new(Usd::from_dollars(1.0).unwrap())
}

#[tokio::test]
async fn every_request_is_one_that_the_vendors_documents_allow() {
    let cases = [
        ("azure-openai-v1", "/openai/v1", None),
        ("azure-openai-2025-03-01-preview", "/openai", Some("2025-03-01-preview")),
    ];
    for (spec, below, api_version) in cases {
        let Some(prism) = prism::prism(spec) else { return };
        let embedding = json!({"data": [{"index": 0, "embedding": [1.0, 2.0]}]});
        let server = Scripted::start(move |request| {
            if request.path().ends_with("/embeddings") { Reply::json(200, &embedding) } else { says("yes") }
        })
        .await;
        let client = azure(&server, api_version);
        let (turns, schema) = (turns(), json!({"type": "object"}));
        let question = question(&turns, &schema);
        client.chat(&question).await.unwrap();
        let effort = Question { temperature: None, reasoning_effort: Some("low"), ..question };
        client.chat(&effort).await.unwrap();
        client.probe("gpt-4o-mini").await.unwrap();
        client.embed("text-embedding-3-small", &["a"], Some(2)).await.unwrap();
        client.probe_embeddings("text-embedding-3-small").await.unwrap();
        // With the schema and the prompt of a message.
        let model = Model::new(client, &ModelSpec { repairs: 1, ..ModelSpec::default() }, |_| Ok(Price::default()));
        World::new().write(&model.unwrap(), &plenty()).await.unwrap_err();
        let requests = server.requests();
        assert_eq!(requests.len(), 7);
        for request in requests {
            assert_eq!(prism.violations(&request, below).await, [""; 0], "{spec} {}", request.target);
            assert_eq!(request.query().get("api-version").map(String::as_str), api_version);
            assert_eq!(request.header("api-key"), Some("the-key"));
        }
    }
}

#[tokio::test]
async fn each_path_is_asked_with_its_credential_and_the_model_where_it_belongs() {
    let embedding = json!({"data": [{"index": 0, "embedding": [1.0, 2.0]}]});
    let server = Scripted::start(move |request| {
        if request.path().ends_with("/embeddings") { Reply::json(200, &embedding) } else { says("yes") }
    })
    .await;
    let base = format!("{}/v1", server.url());
    let compatible = Services::new(move |name| match name {
        "OPENAI_BASE_URL" => Some(base.clone()),
        "OPENAI_API_KEY" => Some("the-key".to_owned()),
        _ => None,
    });
    let clients = [azure(&server, None), azure(&server, Some("2024-10-21")), compatible.openai().unwrap()];
    let (turns, schema) = (turns(), json!({"type": "object"}));
    for client in clients {
        client.chat(&question(&turns, &schema)).await.unwrap();
        client.embed("gpt-4o-mini", &["a", "b"][..1], Some(2)).await.unwrap();
    }
    let paths = [
        "/openai/v1/chat/completions",
        "/openai/v1/embeddings",
        "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21",
        "/openai/deployments/gpt-4o-mini/embeddings?api-version=2024-10-21",
        "/v1/chat/completions",
        "/v1/embeddings",
    ];
    let requests = server.requests();
    assert_eq!(requests.iter().map(|request| request.target.as_str()).collect::<Vec<_>>(), paths);
    for request in requests {
        let is_azure = request.target.starts_with("/openai");
        let (key, bearer) = if is_azure { (Some("the-key"), None) } else { (None, Some("Bearer the-key")) };
        assert_eq!((request.header("api-key"), request.header("authorization")), (key, bearer), "{}", request.target);
        assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
        let body = request.json();
        assert_eq!(body["model"], "gpt-4o-mini");
        if request.path().ends_with("embeddings") {
            let expected = json!({"model": "gpt-4o-mini", "input": ["a"], "dimensions": 2, "encoding_format": "float"});
            assert_eq!(body, expected);
        }
    }
}

#[tokio::test]
async fn embeddings_are_read_as_the_documents_show_them_and_with_more_or_less_in_them() {
    let vector = |index: usize| json!({"object": "embedding", "index": index, "embedding": [0.5, index as f64]});
    let documented = json!({"object": "list", "data": [vector(1), vector(0)], "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    let vectors = vec![vec![0.5, 0.0], vec![0.5, 1.0]];
    for (answer, tokens) in [
        (documented, Some(8)),
        (json!({"data": [vector(0), vector(1)]}), None),
        (json!({"usage": {}, "data": [vector(0), vector(1)]}), None),
    ] {
        let server = Scripted::in_turn([Reply::json(200, &answer)]).await;
        let embedded = compatible(&server).embed("small", &["a", "b"], None).await.unwrap();
        assert_eq!((&embedded.vectors, embedded.tokens), (&vectors, tokens), "{answer}");
    }
    for answer in [
        json!({}),
        json!({"data": null}),
        json!({"data": []}),
        json!({"data": [vector(0)]}),
        json!({"data": [vector(0), {"index": 1}]}),
        json!({"data": [vector(0), {"embedding": [0.5, 1.0]}]}),
        json!({"data": [vector(0), {"index": 1, "embedding": "AAAAPwAAgD8="}]}),
        json!({"data": [vector(0), {"index": 1, "embedding": [0.5, null]}]}),
    ] {
        let server = Scripted::in_turn([Reply::json(200, &answer)]).await;
        let fault = compatible(&server).embed("small", &["a", "b"], None).await.unwrap_err();
        assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Unavailable, true), "{answer}");
    }
}

#[tokio::test]
async fn a_name_stays_one_segment_of_the_path() {
    let server = Scripted::in_turn([says("yes")]).await;
    azure(&server, Some("2024-10-21")).probe("../a b/c?d").await.unwrap();
    assert_eq!(
        server.requests()[0].target,
        "/openai/deployments/..%2Fa%20b%2Fc%3Fd/chat/completions?api-version=2024-10-21"
    );
}

#[tokio::test]
async fn an_answer_is_read_as_the_documents_show_it_and_with_more_or_less_in_it() {
    let documented = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_718_000_000, "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_1", "service_tier": "default",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false}}}],
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "yes", "refusal": null, "annotations": []},
            "content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0}},
    });
    let bare = json!({"choices": [{"message": {"content": "yes"}}]});
    let text = Answer::Text("yes".to_owned());
    let full = Completion { answer: text.clone(), tokens: Some(Tokens { input: 9, cached: 4, output: 2 }) };
    for (answer, expected) in [(documented, full), (bare, Completion { answer: text, tokens: None })] {
        let server = Scripted::in_turn([Reply::json(200, &answer)]).await;
        let (turns, schema) = (turns(), json!({"type": "object"}));
        assert_eq!(compatible(&server).chat(&question(&turns, &schema)).await.unwrap(), expected);
    }
    for answer in [json!({}), json!({"choices": []}), json!({"choices": "yes"}), json!({"choices": [{"message": {}}]})]
    {
        let server = Scripted::in_turn([Reply::json(200, &answer)]).await;
        let (turns, schema) = (turns(), json!({"type": "object"}));
        let fault = compatible(&server).chat(&question(&turns, &schema)).await.unwrap_err();
        assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Unavailable, true), "{answer}");
    }
}

#[tokio::test]
async fn a_bad_answer_goes_back_with_what_is_wrong_until_a_good_one_comes() {
    let world = World::new();
    let bad = [
        (says("Sure!"), "not one JSON object"),
        (ends("length", Some("{\"claim\": [")), "cut off after 1500 tokens"),
        (ends("content_filter", None), "a content filter stopped it"),
        (says(&world.answer("Act now")), "the brand bans these words: \"act now\""),
    ];
    let replies: Vec<Reply> =
        bad.iter().map(|(reply, _)| reply.clone()).chain([says(&world.answer("Hello."))]).collect();
    let server = Scripted::in_turn(replies).await;
    let meter = plenty();
    let draft = world.write(&writer(&server, 4), &meter).await.unwrap();
    assert!(draft.message.body.starts_with("Hello.\n") && draft.message.body.ends_with("Reply STOP to opt out."));
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    for (request, (_, told)) in requests[1..].iter().zip(&bad) {
        let (body, first) = (request.json(), requests[0].json());
        let messages = body["messages"].as_array().unwrap();
        assert_eq!(messages[..2], first["messages"].as_array().unwrap()[..], "the beginning stays, and can be cached");
        let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"], "only the last answer goes back");
        assert!(messages[3]["content"].as_str().unwrap().contains(told), "{}", messages[3]);
        assert_eq!(body["response_format"], first["response_format"]);
    }
    // Three said what they took: 400 fresh, 600 cached, 100 written. Of two nobody knows, so they count in full.
    let spent = meter.spent();
    assert_eq!((spent.requests, spent.input_tokens, spent.output_tokens), (5, 3000, 300));
    assert!(spent.cost_usd > Usd::from_dollars(3.0 * 900e-6 + 2.0 * 3000e-6).unwrap(), "{}", spent.cost_usd);
    assert_eq!(draft.usage, spent);
}

#[tokio::test]
async fn what_the_service_counts_is_what_is_charged() {
    let world = World::new();
    let server = Scripted::in_turn([says(&world.answer("Hello."))]).await;
    let meter = plenty();
    world.write(&writer(&server, 2), &meter).await.unwrap();
    let cost_usd = Usd::from_dollars(900e-6).unwrap();
    assert_eq!(meter.spent(), Usage { requests: 1, input_tokens: 1000, output_tokens: 100, cost_usd });
}

#[tokio::test]
async fn after_the_last_repair_the_question_is_rejected_with_reasons_that_quote_nothing() {
    let server = Scripted::in_turn([says("{\"claim\": \"Ada Lovelace\"}")]).await;
    let error = World::new().write(&writer(&server, 2), &plenty()).await.unwrap_err();
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::Rejected, 3));
    assert!(error.message.contains("asked 3 times") && !error.message.contains("Ada"), "{error}");
}

#[tokio::test]
async fn an_error_ends_the_message_as_it_is_and_costs_what_it_may_have_cost() {
    let filter = json!({"error": {"code": "content_filter", "message": "The prompt triggered …", "innererror":
        {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"jailbreak": {"filtered": true, "detected": true}}}}});
    let quota = json!({"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}});
    let missing = json!({"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}});
    let long = json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "too long"}});
    let bad = json!({"error": {"code": "BadRequest", "message": "json_schema needs api-version 2024-08-01-preview"}});
    let throttled = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(9)) };
    for (reply, kind, said, is_free) in [
        (Reply::json(400, &filter), ErrorKind::Rejected, "content filter stopped the question (jailbreak)", false),
        (Reply::json(400, &long), ErrorKind::Misconfigured, "a larger context", false),
        (Reply::json(400, &bad), ErrorKind::Rejected, "needs api-version", false),
        (Reply::json(401, &json!({})), ErrorKind::Misconfigured, "check the key", true),
        (Reply::json(404, &missing), ErrorKind::Misconfigured, "DeploymentNotFound", true),
        (Reply::json(429, &quota), ErrorKind::Misconfigured, "insufficient_quota", true),
        (Reply::json(429, &json!({})).header("retry-after", "9"), throttled, "429", true),
        (says("{}").half(), ErrorKind::Unavailable, "the connection broke", false),
    ] {
        let server = Scripted::in_turn([reply]).await;
        let meter = plenty();
        let error = World::new().write(&writer(&server, 2), &meter).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(said), "{error}");
        assert_eq!(server.requests().len(), 1, "{error}");
        assert_eq!(meter.spent().cost_usd == Usd::ZERO, is_free, "{error}");
    }
}

#[tokio::test]
async fn without_an_allowance_nothing_is_asked() {
    let server = Scripted::in_turn([says("{}")]).await;
    let error = World::new().write(&writer(&server, 2), &Meter::new(Usd::ZERO)).await.unwrap_err();
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::OverAllowance, 0));
}
