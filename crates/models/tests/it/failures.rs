//! Servers that refuse, break off, hang, or are something else. A failure's kind says what the caller can do, and its
//! message never holds the key.

use std::time::Duration;

use futures_util::StreamExt;
use tenure_core::model::FailureKind;
use tenure_models::{Endpoint, Event, Models, Secret, Settings};

use crate::fake::{Answer, End, Fake, KEY};
use crate::recorded::hello;
use crate::render::{collect, failed, without_port};

const MODELS: [&str; 2] = ["claude-sonnet-5", "openai/qwen3"];

const BEGUN: [&str; 2] = [
    "data: {\"type\":\"message_start\",\"message\":{}}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n",
];

#[tokio::test]
async fn refusals_say_what_a_caller_can_do() {
    let page = "<html><head><title>502</title></head>\n<body>Bad Gateway</body></html>";
    let cases = [
        (
            Answer::error(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
            FailureKind::Overloaded,
            None,
            "Overloaded (HTTP 529)",
        ),
        (
            Answer::error(429, r#"{"error":{"message":"slow down"}}"#).header("retry-after", "7"),
            FailureKind::RateLimited,
            Some(7),
            "slow down (HTTP 429)",
        ),
        (
            Answer::error(429, "").header("retry-after", "Fri, 01 Jan 2010 00:00:00 GMT"),
            FailureKind::RateLimited,
            Some(0),
            "Too Many Requests: an empty answer (HTTP 429)",
        ),
        (
            Answer::error(401, &format!(r#"{{"error":{{"message":"no such key: {KEY}"}}}}"#)),
            FailureKind::Authentication,
            None,
            "no such key: [key] (HTTP 401)",
        ),
        (
            Answer::error(400, r#"{"error":{"type":"invalid_request_error","message":"prompt is too long"}}"#),
            FailureKind::TooLong,
            None,
            "prompt is too long (HTTP 400)",
        ),
        (
            Answer { status: 502, ..Answer::with("text/html", page) },
            FailureKind::Unavailable,
            None,
            "Bad Gateway: `<html><head><title>502</title></head> <body>Bad Gateway</body></html>` (HTTP 502)",
        ),
        (
            Answer::error(500, "{").end(End::Cut),
            FailureKind::Unavailable,
            None,
            "Internal Server Error: an empty answer (HTTP 500)",
        ),
        (
            Answer { status: 302, ..Answer::stream("") }.header("location", "http://127.0.0.1:1/elsewhere"),
            FailureKind::Rejected,
            None,
            "Found: an empty answer (HTTP 302)",
        ),
        (
            Answer::with("text/html", "<html>Log in</html>"),
            FailureKind::Unavailable,
            None,
            "expected an event stream, got a web page: `<html>Log in</html>`",
        ),
        (
            Answer::with("text/plain", "it works!"),
            FailureKind::Unavailable,
            None,
            "expected an event stream, got `it works!`",
        ),
        (Answer::stream(""), FailureKind::Unavailable, None, "expected an event stream, got an empty answer"),
        (
            Answer::stream(b"\xff\xfe\x00\x01\n\n"),
            FailureKind::Unavailable,
            None,
            "expected an event stream, got `\u{fffd}\u{fffd}\0\u{1}`",
        ),
    ];
    for model in MODELS {
        for (answer, kind, retry_after, message) in &cases {
            let fake = Fake::start([answer.clone()]).await;
            let events = collect(fake.models().stream(hello(model))).await;
            let failure = failed(&events);
            assert_eq!(
                (failure.kind, failure.retry_after),
                (*kind, retry_after.map(Duration::from_secs)),
                "{model}: {failure}"
            );
            assert_eq!(without_port(&failure.message), format!("http://server: {message}"), "{model}");
        }
    }
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let endpoint = Endpoint { base_url, key: None };
    let settings = Settings { anthropic: Some(endpoint.clone()), openai: Some(endpoint), ..Settings::default() };
    let models = Models::new(settings).expect("settings");
    for model in MODELS {
        let events = collect(models.stream(hello(model))).await;
        let failure = failed(&events);
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.message.contains("cannot connect") && failure.message.contains("refused"), "{failure}");
    }
}

/// The clock stands until the request has arrived, so that only the stall's own timer is left to move it.
#[tokio::test]
async fn a_server_that_hangs_before_its_answer_is_unavailable() {
    for model in MODELS {
        let mut fake = Fake::start([Answer::stream("").end(End::Silence)]).await;
        let events = tokio::spawn(collect(fake.models().stream(hello(model))));
        fake.request().await;
        tokio::time::pause();
        let events = events.await.expect("no panic");
        tokio::time::resume();
        assert_eq!(failed(&events).kind, FailureKind::Unavailable);
        assert_eq!(without_port(&failed(&events).message), "http://server: hung: nothing came for 120s");
        fake.closed().await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_in_mid_answer_is_unavailable() {
    for (model, begun) in MODELS.into_iter().zip(BEGUN) {
        let mut fake = Fake::start([Answer::stream(begun).end(End::Hang)]).await;
        let mut stream = fake.models().stream(hello(model));
        assert_eq!(stream.next().await, Some(Ok(Event::Started)));
        fake.request().await;
        tokio::time::pause();
        let events = collect(stream).await;
        tokio::time::resume();
        assert_eq!(failed(&events).kind, FailureKind::Unavailable);
        assert!(failed(&events).message.contains("hung"), "{}", failed(&events));
        fake.closed().await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_in_its_refusal_still_refuses() {
    let mut fake = Fake::start([Answer::error(429, "{").end(End::Hang)]).await;
    let events = tokio::spawn(collect(fake.models().stream(hello("claude-sonnet-5"))));
    fake.request().await;
    tokio::time::pause();
    let events = events.await.expect("no panic");
    assert_eq!(failed(&events).kind, FailureKind::RateLimited);
}

#[tokio::test]
async fn an_unstreamed_answer_is_read_whole() {
    let body = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":"Look.","tool_calls":[{"id":"a","type":"function","function":{"name":"ls","arguments":"{}"}}]}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let fake = Fake::start([Answer::json(body)]).await;
    let events = collect(fake.models().stream(hello("openai/qwen3"))).await;
    let reply = crate::render::reply(&events);
    assert_eq!((reply.parts.len(), reply.usage.output), (2, 4));
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_refused_at_once() {
    let endpoint = Endpoint::anthropic(Secret::new("sk\nx"));
    let failure = Models::new(Settings { anthropic: Some(endpoint), ..Settings::default() }).expect_err("a line feed");
    assert_eq!(failure.kind, FailureKind::Authentication);
    assert!(!failure.message.contains("sk"), "{failure}");
}
