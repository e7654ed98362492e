//! A model server that answers each request with the next answer it was given.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tenure_models::{Endpoint, Models, Secret, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub(crate) const KEY: &str = "sk-test-0123456789";

pub(crate) struct Fake {
    pub(crate) base_url: String,
    pub(crate) connections: Arc<AtomicUsize>,
    seen: mpsc::UnboundedReceiver<Seen>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

/// What the server saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Request(Request),
    /// The client closed the connection while the server still had it open.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent as one HTTP chunk each.
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The answer ends as it should.
    Whole,
    /// The connection is closed without the answer's end.
    Cut,
    /// Nothing more comes, and the connection stays.
    Hang,
    /// Not even a status comes.
    Silence,
}

impl Answer {
    pub(crate) fn stream(body: impl AsRef<[u8]>) -> Self {
        Self::with("text/event-stream", body)
    }

    pub(crate) fn json(body: impl AsRef<[u8]>) -> Self {
        Self::with("application/json", body)
    }

    pub(crate) fn with(media_type: &str, body: impl AsRef<[u8]>) -> Self {
        let headers = vec![("content-type", media_type.to_owned())];
        Self { status: 200, headers, pieces: vec![body.as_ref().to_vec()], end: End::Whole }
    }

    pub(crate) fn error(status: u16, body: &str) -> Self {
        Self { status, ..Self::json(body) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// The same body in pieces of `bytes`.
    pub(crate) fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.pieces = self.pieces.concat().chunks(bytes).map(<[u8]>::to_vec).collect();
        self
    }
}

impl Fake {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let answers: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, seen) = mpsc::unbounded_channel();
        let fake = Self { base_url, connections: Arc::clone(&connections), seen, answers: Arc::clone(&answers) };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let _ = socket.set_nodelay(true);
                tokio::spawn(serve(socket, Arc::clone(&answers), tell.clone()));
            }
        });
        fake
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.answers.lock().expect("no panic").push_back(answer);
    }

    pub(crate) async fn request(&mut self) -> Request {
        match self.seen.recv().await {
            Some(Seen::Request(request)) => request,
            other => panic!("expected a request, got {other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) {
        assert!(matches!(self.seen.recv().await, Some(Seen::Closed)), "expected the connection to be closed");
    }

    /// The requests that came and were not asked for yet.
    pub(crate) fn requests_waiting(&mut self) -> usize {
        self.seen.len()
    }

    /// Both protocols at this server.
    pub(crate) fn models(&self) -> Models {
        let endpoint = Endpoint { base_url: self.base_url.clone(), key: Some(Secret::new(KEY)) };
        let settings = Settings { anthropic: Some(endpoint.clone()), openai: Some(endpoint), ..Settings::default() };
        Models::new(settings).expect("settings")
    }
}

async fn serve(mut socket: TcpStream, answers: Arc<Mutex<VecDeque<Answer>>>, tell: mpsc::UnboundedSender<Seen>) {
    while let Some(request) = read(&mut socket).await {
        let _ = tell.send(Seen::Request(request));
        let answer = answers.lock().expect("no panic").pop_front();
        let answer = answer.unwrap_or_else(|| Answer::error(500, r#"{"error":{"message":"no answer left"}}"#));
        let sent = send(&mut socket, &answer).await;
        match answer.end {
            End::Whole if sent => {}
            End::Whole | End::Cut => return,
            End::Hang | End::Silence => {
                let mut rest = [0; 64];
                while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                let _ = tell.send(Seen::Closed);
                return;
            }
        }
    }
}

/// Writes an answer; false if the client went away.
async fn send(socket: &mut TcpStream, answer: &Answer) -> bool {
    if answer.end == End::Silence {
        return true;
    }
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {} X\r\n{headers}transfer-encoding: chunked\r\n\r\n", answer.status);
    let mut wire = vec![head.into_bytes()];
    for piece in answer.pieces.iter().filter(|piece| !piece.is_empty()) {
        wire.push([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    if answer.end == End::Whole {
        wire.push(b"0\r\n\r\n".to_vec());
    }
    if answer.pieces.len() == 1 {
        // In one packet, so that whoever has read the last event has the answer's end too.
        wire = vec![wire.concat()];
    }
    for bytes in wire {
        if socket.write_all(&bytes).await.is_err() {
            return false;
        }
    }
    true
}

async fn read(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("an ASCII head");
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("a JSON body") };
    Some(Request { line, headers, body })
}
