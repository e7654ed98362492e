//! Readers that don't read: they hold up nobody, cost a bounded amount, and lose nothing.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::{TcpSocket, TcpStream};

use crate::connections::Listening;
use crate::support::{Frame, message, parse};

/// So many messages of so many bytes: 10 MB.
const MESSAGES: usize = 350;
const BYTES: usize = 30_000;
const LAST: &str = "the last one";

struct Flooded {
    listening: Listening,
    session: String,
}

impl Flooded {
    /// A server with a session whose call never ends, so that messages wait, and are told, without end.
    async fn start(reader_timeout: Duration) -> Self {
        let config = ServerConfig { reader_timeout, ..ServerConfig::default() };
        let listening = Listening::start(config).await;
        let server = &listening.server;
        let agent = server.agent("a", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
        let session = server.session(&agent).await;
        Self { listening, session }
    }

    /// A stream on a connection whose reader takes little at a time.
    async fn reader(&self) -> TcpStream {
        let (address, session) = (self.listening.address, &self.session);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(128 << 10).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        self.listening.get(&mut stream, &format!("/v1/sessions/{session}/events/stream?after=0")).await;
        stream
    }

    async fn flood(&self) {
        let (server, path) = (&self.listening.server, format!("/v1/sessions/{}/events", self.session));
        server.say(&self.session, "go").await;
        server.engine.backend.wait_started(1).await;
        for _ in 0..MESSAGES / 25 {
            let events: Vec<Value> = (0..25).map(|_| message(&"x".repeat(BYTES))).collect();
            server.post(&path, json!({"events": events})).await.ok();
        }
        server.say(&self.session, LAST).await;
    }

    async fn list(&self) -> Vec<String> {
        let page = self.listening.server.get(&format!("/v1/sessions/{}/events", self.session)).await.ok();
        assert_eq!(page["next_page"], Value::Null);
        page["data"].as_array().unwrap().iter().map(brief).collect()
    }
}

/// Everything until the last message, or to the end of the connection: whole frames alone.
async fn read(stream: &mut TcpStream) -> Vec<Frame> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return frames(&bytes),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
        let newest = bytes.len().saturating_sub(1 << 10);
        if bytes.ends_with(b"\n\n\r\n") && find(&bytes[newest..], LAST.as_bytes()).is_some() {
            return frames(&bytes);
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The frames in what came, without the chunks it came in.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let head = find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let (mut rest, mut body) = (&bytes[head..], Vec::new());
    while let Some(line) = find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let (from, to) = (line + 2, line + 2 + size);
        body.extend_from_slice(&rest[from..to.min(rest.len())]);
        rest = rest.get(to + 2..).unwrap_or(&[]);
    }
    let text = String::from_utf8_lossy(&body);
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole.split("\n\n").filter(|frame| !frame.is_empty()).map(parse).filter(|frame| frame.id.is_some()).collect()
}

/// The last frame of each event, in the order in which these came.
fn deduplicated(frames: &[Frame]) -> Vec<String> {
    let last: HashMap<&str, u64> =
        frames.iter().map(|frame| (frame.data["id"].as_str().unwrap(), frame.id.unwrap())).collect();
    let is_last = |frame: &&Frame| last[frame.data["id"].as_str().unwrap()] == frame.id.unwrap();
    frames.iter().filter(is_last).map(|frame| brief(&frame.data)).collect()
}

/// An event in a line that can be compared, and read when it differs.
fn brief(event: &Value) -> String {
    let digest = event.to_string().bytes().fold(0u64, |digest, byte| digest.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{} {} {digest:x}", event["type"], event["id"])
}

#[tokio::test]
async fn a_reader_that_pauses_holds_up_nobody_and_misses_nothing() {
    let flooded = Flooded::start(Duration::from_secs(3600)).await;
    let mut slow = flooded.reader().await;
    slow.readable().await.unwrap();
    let mut fast = flooded.reader().await;
    let (told, ()) = tokio::join!(read(&mut fast), flooded.flood());
    let list = flooded.list().await;
    assert_eq!(deduplicated(&told), list);
    assert_eq!(deduplicated(&read(&mut slow).await), list, "it goes on where it stopped");
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_and_resumes_from_its_cursor() {
    let flooded = Flooded::start(Duration::from_millis(100)).await;
    let mut slow = flooded.reader().await;
    slow.readable().await.unwrap();
    flooded.flood().await;
    slow.ready(Interest::ERROR).await.unwrap();
    let mut told = read(&mut slow).await;
    let cursor = told.last().expect("it has read something").id.unwrap();
    let before = told.len();
    let path = format!("/v1/sessions/{}/events/stream", flooded.session);
    let mut resumed = flooded.listening.server.stream(&path, &[("last-event-id", &cursor.to_string())]).await;
    while told.last().is_none_or(|frame| frame.data["content"][0]["text"] != LAST) {
        told.push(resumed.next().await.expect("it goes on"));
    }
    assert!(before < told.len() / 2, "it was cut long before the end");
    assert_eq!(deduplicated(&told), flooded.list().await);
    let metrics = flooded.listening.server.get("/metrics").await.body;
    assert!(find(&metrics, b"tenure_stream_cuts_total ").is_some(), "it was counted");
}
