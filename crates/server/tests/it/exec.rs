//! Commands in a session's sandbox. The sandbox is a fake one: a command prints `ran: <argv>` and what it is given.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tenure_server::{ServerConfig, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_util::sync::CancellationToken;

use crate::support::{KEY, TestServer};

#[tokio::test]
async fn a_command_runs_to_its_end() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/exec");
    let ran = server.post(&path, json!({"argv": ["cat", "-"], "stdin": "given\n", "timeout": 5})).await.ok();
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(0), &json!("ran: cat -\ngiven\n")), "{ran}");
    assert_eq!((&ran["truncated"], &ran["stderr"]), (&json!(false), &json!("")));
    let ran = server.post(&path, json!({"command": "ls | wc", "env": {"A": "b"}, "cwd": "/tmp"})).await.ok();
    assert_eq!(ran["stdout"], "ran: /bin/sh -c ls | wc\n");
    for (wrong, said) in [
        (json!({}), "command: expected this, or `argv`"),
        (json!({"command": "x", "argv": ["x"]}), "argv: expected either this or `command`"),
        (json!({"argv": []}), "argv: expected 1 to "),
        (json!({"argv": [1]}), "argv.0: expected a string, got 1"),
        (json!({"argv": [""]}), "argv.0: expected a program's name"),
        (json!({"argv": ["x", "a\0b"]}), "argv.1: expected a text without a NUL"),
        (json!({"argv": ["x", "a".repeat(131_073)]}), "argv.1: expected at most 131072 bytes, got 131073"),
        (json!({"command": "a\0b"}), "command: expected a text without a NUL"),
        (json!({"command": "x", "cwd": "a\0b"}), "cwd: expected a text without a NUL"),
        (json!({"command": "x", "env": {"A=": "b"}}), "env: expected names that aren't empty"),
        (json!({"command": "x", "env": {"": "b"}}), "env: expected names that aren't empty"),
        (json!({"command": "x", "env": {"A": "\0"}}), "env.A: expected a text without a NUL"),
        (json!({"command": "x", "env": {"A": 1}}), "env.A: expected a string, got 1"),
        (json!({"command": "x", "env": [1]}), "env: expected an object"),
        (json!({"command": "x", "timeout": 0}), "timeout: expected a whole number from 1 to"),
        (json!({"command": "x", "stdin": 1}), "stdin: expected a string, got 1"),
    ] {
        let message = server.post(&path, wrong).await.problem(400);
        assert!(message.starts_with(said), "{message} begins with {said}");
    }
    server.post_with(&path, json!({"command": "x"}), &[("idempotency-key", "k")]).await.problem(400);
    server.post(&format!("/v1/sessions/{session}/archive"), json!({})).await.ok();
    server.until(&session, 0, "session.status_terminated").await;
    server.post(&path, json!({"command": "x"})).await.problem(409);
    // No word of it is in the log.
    let events = server.get(&format!("/v1/sessions/{session}/events?tenure_events=1")).await.ok();
    assert!(!events.to_string().contains("ran:"), "{events}");
}

#[tokio::test]
async fn output_comes_as_a_stream() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/exec");
    let told = server.post(&path, json!({"argv": ["cat"], "stdin": "grün", "stream": true})).await;
    assert_eq!(told.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = String::from_utf8(told.body.to_vec()).unwrap();
    let data = |frame: &str| -> Value { serde_json::from_str(frame.split_once("data: ").unwrap().1).unwrap() };
    let frames: Vec<Value> = text.split_terminator("\n\n").map(data).collect();
    let printed: String = frames.iter().filter_map(|frame| frame["text"].as_str()).collect();
    assert_eq!(printed, "ran: cat\ngrün");
    assert!(text.contains("event: output\n") && text.contains("event: exit\n"));
    assert_eq!(frames.last().unwrap()["exit_code"], 0);
}

struct Served {
    socket: WebSocketStream<TcpStream>,
    stop: CancellationToken,
}

impl Served {
    /// Serves for real, and shakes hands with it.
    async fn connect(server: &TestServer, session: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, server.engine.engine.clone(), ServerConfig::default(), stop.clone()));
        let mut request = format!("ws://{address}/v1/sessions/{session}/exec").into_client_request().unwrap();
        request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "tenure.exec.v1".parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "tenure.exec.v1");
        Self { socket, stop }
    }

    async fn say(&mut self, value: Value) {
        self.socket.send(Message::Text(value.to_string().into())).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    async fn told(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    async fn printed(&mut self) -> String {
        match self.next().await {
            Message::Binary(bytes) if bytes[0] == 1 => String::from_utf8(bytes[1..].to_vec()).unwrap(),
            other => panic!("expected output, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_command_is_talked_with_over_a_websocket() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["text: done"]).await;
    let session = server.session(&agent).await;
    let mut served = Served::connect(&server, &session).await;
    served.say(json!({"type": "start", "argv": ["cat"], "terminal": {"columns": 100, "rows": 30}})).await;
    assert_eq!(served.told().await["type"], "started");
    assert_eq!(served.printed().await, "ran: cat\n");
    served.socket.send(Message::Binary(b"\0typed".to_vec().into())).await.unwrap();
    assert_eq!(served.printed().await, "typed");
    served.say(json!({"type": "resize", "columns": 7, "rows": 3})).await;
    assert_eq!(served.printed().await, "7x3\n");
    served.say(json!({"type": "stdin_close"})).await;
    let exit = served.told().await;
    assert_eq!((&exit["type"], &exit["exit_code"]), (&json!("exit"), &json!(0)));
    assert!(matches!(served.next().await, Message::Close(Some(frame)) if u16::from(frame.code) == 1000));

    let mut served = Served::connect(&server, &session).await;
    served.say(json!({"type": "start", "command": "cat"})).await;
    assert_eq!(served.told().await["type"], "started");
    served.printed().await;
    served.say(json!({"type": "signal", "signal": "SIGTERM"})).await;
    let exit = served.told().await;
    assert_eq!((&exit["exit_code"], &exit["signal"]), (&Value::Null, &json!("SIGTERM")));

    for wrong in [json!({"type": "start"}), json!({"type": "begin", "command": "x"}), json!([])] {
        let mut served = Served::connect(&server, &session).await;
        served.say(wrong).await;
        let told = served.told().await;
        assert_eq!(
            (&told["type"], &told["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error")),
            "{told}"
        );
        assert!(matches!(served.next().await, Message::Close(Some(frame)) if u16::from(frame.code) == 1008));
        served.stop.cancel();
    }
    let plain = server.get(&format!("/v1/sessions/{session}/exec")).await.problem(400);
    assert!(plain.contains("WebSocket"), "{plain}");
}
