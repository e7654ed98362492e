//! What every provider does, whoever is behind it.

use std::sync::Arc;

use futures_util::StreamExt;
use tempfile::TempDir;
use tenure_core::model::{FailureKind, ModelStop, Reply, ReplyPart, Request};
use tenure_models::{Event, ModelProvider, Models, Settings};

use crate::fake::{Answer, End, Fake};
use crate::recorded::hello;
use crate::render::{Events, collect, failed, reply};

/// A provider that answers in a known way.
struct Subject {
    models: Models,
    model: &'static str,
    fake: Option<Fake>,
    _dir: Option<TempDir>,
}

/// What the provider is made to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Thinking `Hm, well.`, text `Hello there, world.`, then a call of `ls` with `{"path":"/"}`.
    Everything,
    /// Text `Hello`, and then nothing more.
    Hang,
    /// The request is wrong.
    Rejects,
}

const ANTHROPIC: &str = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":1}}}

data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm, "}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"well."}}

data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":"Hello"}}

data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" there, world."}}

data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","name":"ls","input":{}}}

data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"path\":\"/\"}"}}

data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}

data: {"type":"message_stop"}

"#;

const OPENAI: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm, "}}]}

data: {"choices":[{"index":0,"delta":{"reasoning_content":"well."}}]}

data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}

data: {"choices":[{"index":0,"delta":{"content":" there, world."}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"ls","arguments":"{\"path\":\"/\"}"}}]},"finish_reason":"tool_calls"}]}

data: [DONE]

"#;

const SCRIPT: &str = r#"
- steps:
    - thinking: Hm, well.
      text: Hello there, world.
      tools: [{name: ls, input: {path: /}}]
"#;

async fn subjects(told: Told) -> Vec<Subject> {
    let over_http = async |model, body: &str| {
        let answer = match told {
            Told::Everything => Answer::stream(body),
            Told::Hang => Answer::stream(body.split_inclusive("\n\n").take(5).collect::<String>()).end(End::Hang),
            Told::Rejects => Answer::error(400, r#"{"error":{"message":"no such model"}}"#),
        };
        let fake = Fake::start([answer]).await;
        Subject { models: fake.models(), model, fake: Some(fake), _dir: None }
    };
    let dir = tempfile::tempdir().expect("a folder");
    let script = match told {
        Told::Everything => SCRIPT,
        Told::Hang => "- steps: [{text: Hello, delay_ms: 86400000}]",
        Told::Rejects => "- steps: [{txt: wrong}]",
    };
    std::fs::write(dir.path().join("s.yaml"), script).expect("write");
    let settings = Settings { scripts_dir: Some(dir.path().to_owned()), ..Settings::default() };
    let models = Models::new(settings).expect("settings");
    vec![
        over_http("claude-sonnet-5", ANTHROPIC).await,
        over_http("openai/qwen3", OPENAI).await,
        Subject { models, model: "script/s", fake: None, _dir: Some(dir) },
    ]
}

impl Subject {
    fn provider(&self) -> Arc<dyn ModelProvider> {
        self.models.route(self.model).expect("a route").0
    }

    fn request(&self) -> Arc<Request> {
        hello(self.model)
    }
}

#[tokio::test]
async fn a_reply_is_the_sum_of_its_deltas() {
    for subject in subjects(Told::Everything).await {
        let events = collect(subject.provider().stream(subject.request())).await;
        assert_eq!(events.first(), Some(&Ok(Event::Started)), "{}", subject.model);
        assert_eq!(events.iter().filter(|event| matches!(event, Ok(Event::Started))).count(), 1);
        let reply = reply(&events);
        assert_eq!(sums(&events, reply), ["Hm, well.", "Hello there, world.", ""], "{}", subject.model);
        assert_eq!(reply.stop, ModelStop::ToolUse);
        let input = serde_json::json!({"path": "/"});
        let expected = [
            ReplyPart::Thinking { text: "Hm, well.".to_owned(), signature: None },
            ReplyPart::Text("Hello there, world.".to_owned()),
            ReplyPart::ToolUse { name: "ls".to_owned(), input: Ok(input) },
        ];
        assert_eq!(reply.parts, expected, "{}", subject.model);
        assert!(events.len() > 4, "{} streams in one piece", subject.model);
    }
}

/// The deltas of each part, put together.
fn sums(events: &Events, reply: &Reply) -> Vec<String> {
    let mut sums = vec![String::new(); reply.parts.len()];
    for event in events {
        if let Ok(Event::TextDelta { index, text } | Event::ThinkingDelta { index, text }) = event {
            assert!(!text.is_empty(), "an empty delta");
            sums[*index as usize].push_str(text);
        }
    }
    sums
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_poll() {
    for mut subject in subjects(Told::Everything).await {
        drop(subject.provider().stream(subject.request()));
        let whole = collect(subject.provider().stream(subject.request())).await;
        assert!(whole.last().is_some_and(Result::is_ok));
        if let Some(fake) = &mut subject.fake {
            assert_eq!(fake.requests_waiting(), 1, "{}", subject.model);
        }
    }
}

#[tokio::test]
async fn dropping_a_stream_aborts_its_request() {
    for mut subject in subjects(Told::Hang).await {
        let mut stream = subject.provider().stream(subject.request());
        assert_eq!(stream.next().await, Some(Ok(Event::Started)), "{}", subject.model);
        drop(stream);
        if let Some(fake) = &mut subject.fake {
            fake.request().await;
            fake.closed().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_request_is_rejected() {
    for subject in subjects(Told::Rejects).await {
        let events = collect(subject.provider().stream(subject.request())).await;
        assert_eq!(failed(&events).kind, FailureKind::Rejected, "{}", subject.model);
        assert_eq!(events.len(), 1);
    }
}

#[tokio::test]
async fn models_on_offer_lead_back_to_their_provider() {
    for subject in subjects(Told::Everything).await {
        if let Some(fake) = &subject.fake {
            // The answer that was meant for a stream is used up first.
            collect(subject.provider().stream(subject.request())).await;
            fake.answer(Answer::json(
                r#"{"data":[{"id":"claude-a","display_name":"A"},{"id":"claude-b"}],"has_more":false}"#,
            ));
        }
        let provider = subject.provider();
        let offered = provider.models().await.expect("a list");
        assert!(!offered.is_empty());
        for model in offered {
            let (routed, _) = subject.models.route(&model.id).expect("a route");
            assert_eq!(routed.name(), provider.name(), "{}", model.id);
        }
    }
}

#[tokio::test]
async fn a_finished_stream_leaves_its_connection_to_the_next() {
    for model in ["claude-sonnet-5", "openai/qwen3"] {
        let body = if model.starts_with("claude") { ANTHROPIC } else { OPENAI };
        let fake = Fake::start([Answer::stream(body), Answer::stream(body), Answer::stream(body)]).await;
        let models = fake.models();
        for _ in 0..3 {
            reply(&collect(models.stream(hello(model))).await);
            // The rest of the answer, already here, is read by a task of its own, which needs its turns.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(fake.connections.load(std::sync::atomic::Ordering::SeqCst), 1, "{model}");
    }
}
