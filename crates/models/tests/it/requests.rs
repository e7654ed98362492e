//! What is sent to a model server, body and headers, as golden JSON in `fixtures/requests`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tenure_core::content::{BlobId, Block, Source};
use tenure_core::id::ItemId;
use tenure_core::model::{Effort, Message, ModelConfig, Part, Request, Role, Speed, ToolSpec};

use crate::fake::{Fake, KEY};
use crate::recorded::hello;
use crate::render::collect;
use crate::snapshot::assert_snapshot;

fn text(text: &str) -> Part {
    Part::Content { block: Block::text(text) }
}

fn message(role: Role, parts: Vec<Part>) -> Arc<Message> {
    Arc::new(Message { role, parts })
}

fn thinking(text: &str, signature: Option<&str>) -> Part {
    Part::Thinking { text: text.to_owned(), signature: signature.map(str::to_owned) }
}

fn call(number: u128, name: &str, input: Value) -> Part {
    Part::ToolUse { call: ItemId::from_bits(number), name: name.to_owned(), input }
}

fn result(number: u128, content: Vec<Block>, is_error: bool) -> Part {
    Part::ToolResult { call: ItemId::from_bits(number), content, is_error }
}

fn blob(byte: char) -> BlobId {
    BlobId::from_hex(&byte.to_string().repeat(64)).expect("64 hex digits")
}

fn stored(media_type: &str, byte: char) -> Source {
    Source::Blob { media_type: media_type.to_owned(), blob: blob(byte) }
}

fn at(url: &str) -> Source {
    Source::Url { url: url.to_owned() }
}

/// One case for each thing a request can hold.
fn cases() -> Vec<(&'static str, Request)> {
    use Role::{Assistant, User};
    let plain = |messages| Request { messages, ..(*hello("")).clone() };
    let tool = |name: &str| ToolSpec {
        name: name.to_owned(),
        description: format!("Runs {name}."),
        input_schema: json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}),
    };
    let image = |source| Block::Image { source };
    let document = |source, title: Option<&str>, context: Option<&str>| Part::Content {
        block: Block::Document { source, title: title.map(str::to_owned), context: context.map(str::to_owned) },
    };
    let found = |number: u32| Block::SearchResult {
        source: format!("https://example.com/{number}"),
        title: format!("Page {number}"),
        content: vec!["First passage.".to_owned(), " ".to_owned(), "Second.".to_owned()],
        citations: true,
    };
    let attachments = BTreeMap::from([
        (blob('a'), Arc::from(&b"\x89PNG"[..])),
        (blob('b'), Arc::from(&b"%PDF-1.7"[..])),
        (blob('c'), Arc::from("col\n1\n".as_bytes())),
    ]);
    let text_turn = vec![
        message(User, vec![text("Hello"), text("there")]),
        message(Assistant, vec![text("Hi."), text("  ")]),
        message(User, vec![text("How are you?")]),
    ];
    let tools = vec![
        message(User, vec![text("List both.")]),
        message(
            Assistant,
            vec![text("I look."), call(1, "bash", json!({"command": "ls"})), call(2, "bash", json!({}))],
        ),
        message(
            User,
            vec![
                text("And hurry."),
                result(1, vec![Block::text("a.txt"), Block::text("b.txt")], false),
                result(2, vec![Block::text("no command")], true),
            ],
        ),
        message(Assistant, vec![call(3, "bash", json!({"command": "true"}))]),
        message(User, vec![result(3, vec![], false)]),
    ];
    let thought = vec![
        message(User, vec![text("Earlier.")]),
        message(Assistant, vec![thinking("Old thoughts.", Some("sig-0")), text("Done.")]),
        message(User, vec![text("Now.")]),
        message(
            Assistant,
            vec![
                thinking("Let me see.", Some("sig-1")),
                thinking("Another provider's.", None),
                Part::RedactedThinking { data: "opaque".to_owned() },
                call(1, "bash", json!({"command": "ls"})),
            ],
        ),
        message(User, vec![result(1, vec![Block::text("a.txt")], false)]),
    ];
    let pictures = vec![
        message(
            User,
            vec![
                text("What is this?"),
                Part::Content { block: image(stored("image/png", 'a')) },
                Part::Content { block: image(at("https://example.com/a.png")) },
            ],
        ),
        message(Assistant, vec![call(1, "read", json!({"file_path": "a.png"}))]),
        message(User, vec![result(1, vec![Block::text("Here:"), image(stored("image/png", 'a'))], false)]),
    ];
    let documents = vec![message(
        User,
        vec![
            document(stored("application/pdf", 'b'), Some("report.pdf"), Some("From 2025.")),
            document(stored("text/csv", 'c'), Some("table.csv"), None),
            document(Source::Text { data: "In place.".to_owned() }, None, None),
            document(at("https://example.com/a.pdf"), None, None),
            document(stored("application/zip", 'c'), None, None),
            text("Compare them."),
        ],
    )];
    let searches = vec![
        message(User, vec![Part::Content { block: found(1) }, text("Is it so?")]),
        message(Assistant, vec![call(1, "search", json!({"query": "x"}))]),
        message(User, vec![result(1, vec![found(2), found(3)], false)]),
    ];
    let instructions = |text: &str| Part::System { text: text.to_owned() };
    let instructed = vec![
        message(User, vec![instructions("Be brief."), text("Look."), instructions("Speak Latin.")]),
        message(Assistant, vec![call(1, "bash", json!({"command": "ls"}))]),
        message(
            User,
            vec![instructions(" "), instructions("Don't guess."), result(1, vec![Block::text("a.txt")], false)],
        ),
    ];
    vec![
        ("system_messages", plain(instructed)),
        ("text", Request { system: Some("Be kind.".to_owned()), ..plain(text_turn) }),
        ("tools", Request { tools: vec![tool("bash"), tool("read")], ..plain(tools) }),
        ("thinking", Request { system: Some(" ".to_owned()), tools: vec![tool("bash")], ..plain(thought) }),
        ("images", Request { attachments: attachments.clone(), ..plain(pictures) }),
        ("documents", Request { attachments, ..plain(documents) }),
        ("search_results", plain(searches)),
    ]
}

/// The one request that a model's provider sends for `request`.
async fn sent(request: Request) -> crate::fake::Request {
    let mut fake = Fake::start([]).await;
    collect(fake.models().stream(Arc::new(request))).await;
    fake.request().await
}

#[tokio::test]
async fn conversations_are_written_as_each_server_wants_them() {
    for (provider, model) in [("anthropic", "claude-sonnet-5"), ("openai", "openai/qwen3:8b")] {
        for (name, request) in cases() {
            let sent = sent(Request { model: ModelConfig::named(model), ..request }).await;
            let body = serde_json::to_string_pretty(&sent.body).expect("JSON");
            assert_snapshot(&format!("requests/{provider}_{name}.json"), &(body + "\n"));
        }
    }
}

#[tokio::test]
async fn keys_go_into_the_header_of_each_protocol() {
    let bearer = format!("Bearer {KEY}");
    let anthropic = sent((*hello("claude-sonnet-5")).clone()).await;
    assert_eq!(anthropic.line, "POST /v1/messages HTTP/1.1");
    assert_eq!((anthropic.header("x-api-key"), anthropic.header("authorization")), (Some(KEY), None));
    assert_eq!(anthropic.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(anthropic.header("anthropic-beta"), None);
    assert_eq!(anthropic.header("content-type"), Some("application/json"));
    let openai = sent((*hello("openai/qwen3")).clone()).await;
    assert_eq!(openai.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!((openai.header("x-api-key"), openai.header("authorization")), (None, Some(bearer.as_str())));
}

/// Each setting reaches the server, in the words of the model's generation.
#[tokio::test]
async fn settings_reach_the_server() {
    let settings = async |id: &str, change: fn(&mut ModelConfig)| {
        let mut model = ModelConfig::named(id);
        change(&mut model);
        let sent = sent(Request { model, ..(*hello("")).clone() }).await;
        let beta = sent.header("anthropic-beta").map(str::to_owned);
        let mut body = sent.body;
        let fields = body.as_object_mut().expect("an object");
        fields.retain(|field, _| !["messages", "model", "stream", "stream_options"].contains(&field.as_str()));
        (body, beta)
    };
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let (body, _) = settings("claude-sonnet-5", |_| {}).await;
    assert_eq!(body, json!({"max_tokens": 64_000, "thinking": adaptive}));
    let (body, _) = settings("claude-sonnet-5", |model| model.effort = Some(Effort::Xhigh)).await;
    assert_eq!(body, json!({"max_tokens": 64_000, "thinking": adaptive, "output_config": {"effort": "xhigh"}}));
    let (body, beta) = settings("claude-opus-5-5", |model| {
        model.speed = Speed::Fast;
        model.inference_geo = Some("eu".to_owned());
        model.max_tokens = Some(1_000);
    })
    .await;
    assert_eq!(body, json!({"max_tokens": 1_000, "thinking": adaptive, "speed": "fast", "inference_geo": "eu"}));
    assert_eq!(beta.as_deref(), Some("fast-mode-2026-02-01"));
    let (body, _) = settings("claude-sonnet-4-6", |model| model.temperature = Some(0.5)).await;
    assert_eq!(body, json!({"max_tokens": 64_000, "temperature": 0.5}));
    let (body, _) = settings("claude-haiku-4-5", |model| model.effort = Some(Effort::High)).await;
    assert_eq!(body, json!({"max_tokens": 32_000, "thinking": {"type": "enabled", "budget_tokens": 16_000}}));
    let (body, _) = settings("claude-haiku-4-5", |_| {}).await;
    assert_eq!(body, json!({"max_tokens": 32_000}));
    let (body, _) = settings("openai/qwen3", |model| {
        model.effort = Some(Effort::Max);
        model.temperature = Some(0.2);
        model.max_tokens = Some(500);
    })
    .await;
    assert_eq!(body, json!({"max_tokens": 500, "temperature": 0.2, "reasoning_effort": "high"}));
}

/// Where the marks for the cache are: the text of what comes before each, the mark included.
fn cached(body: &Value) -> Vec<String> {
    let mut read = String::new();
    let mut marked = Vec::new();
    let blocks = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let in_messages = blocks(&body["messages"]).into_iter().flat_map(|message| blocks(&message["content"]));
    for mut block in blocks(&body["tools"]).into_iter().chain(blocks(&body["system"])).chain(in_messages) {
        let mark = block.as_object_mut().and_then(|block| block.remove("cache_control"));
        read += &block.to_string();
        if mark.is_some() {
            marked.push(read.clone());
        }
    }
    marked
}

/// However many calls a reply makes, what the request before had cached is found by the next: a provider looks for it at
/// marks and within twenty blocks before them.
#[tokio::test]
async fn what_was_cached_is_found_again_by_the_next_request() {
    use Role::{Assistant, User};
    let mut messages = vec![message(User, vec![text("Do it.")])];
    let tools = vec![ToolSpec { name: "bash".to_owned(), description: String::new(), input_schema: json!({}) }];
    for system in [None, Some("Be kind.".to_owned())] {
        let mut before: Option<String> = None;
        for turn in 0..4 {
            let model = ModelConfig::named("claude-sonnet-5");
            let (tools, messages_now) = (tools.clone(), messages.clone());
            let request =
                Request { model, system: system.clone(), tools, messages: messages_now, ..(*hello("")).clone() };
            let marks = cached(&sent(request).await.body);
            assert!((2..=4).contains(&marks.len()), "{} marks", marks.len());
            if let Some(before) = before {
                assert!(marks.contains(&before), "turn {turn}: the last request's end isn't marked any more");
            }
            before = marks.last().cloned();
            let numbers = (turn * 30 + 1..turn * 30 + 31).map(|number| number as u128);
            let calls = numbers.clone().map(|number| call(number, "bash", json!({"command": "ls"})));
            messages.push(message(Assistant, calls.collect()));
            let results = numbers.map(|number| result(number, vec![Block::text("a.txt")], false));
            messages.push(message(User, results.collect()));
        }
        messages.truncate(1);
    }
}
