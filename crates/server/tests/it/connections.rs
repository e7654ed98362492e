//! Real connections: how many, how patient, and how they end.

use std::time::Duration;

use tenure_server::{ServerConfig, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{KEY, TestServer};

pub(crate) struct Listening {
    pub(crate) server: TestServer,
    pub(crate) address: std::net::SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Listening {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let server = TestServer::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, engine) = (CancellationToken::new(), server.engine.engine.clone());
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move { serve(listener, engine, config, stop).await.unwrap() });
        Self { server, address, shutdown, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a GET on a connection.
    pub(crate) async fn get(&self, stream: &mut TcpStream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nx-api-key: {KEY}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
    }
}

/// Reads until the text holds this, or to the end.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4_096];
    while !text.contains(wanted) {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&chunk[..count])),
        }
    }
    text
}

#[tokio::test]
async fn a_stream_is_told_live_and_ends_with_the_server() {
    let listening = Listening::start(ServerConfig::default()).await;
    let agent = listening.server.agent("greeter", &["text: hello"]).await;
    let session = listening.server.session(&agent).await;
    let mut stream = listening.connect().await;
    listening.get(&mut stream, &format!("/v1/sessions/{session}/events/stream")).await;
    let head = read_until(&mut stream, ": open").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("request-id: req_"), "{head}");
    listening.server.say(&session, "hi").await;
    read_until(&mut stream, "event: session.status_idle").await;
    listening.shutdown.cancel();
    assert!(read_until(&mut stream, "\r\n0\r\n\r\n").await.ends_with("0\r\n\r\n"), "the answer is whole");
    listening.serving.await.unwrap();
    assert!(TcpStream::connect(listening.address).await.is_err());
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let config = ServerConfig { max_connections: 1, ..ServerConfig::default() };
    let listening = Listening::start(config).await;
    let mut first = listening.connect().await;
    listening.get(&mut first, "/healthz").await;
    read_until(&mut first, "ok\n").await;
    let mut second = listening.connect().await;
    let refused = read_until(&mut second, "}}").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("overloaded_error"), "{refused}");
    assert!(refused.contains("retry-after: 1"));
}

#[tokio::test]
async fn slow_and_endless_headers_are_cut_off() {
    let config = ServerConfig { header_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let listening = Listening::start(config).await;
    let mut slow = listening.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").await.unwrap();
    read_until(&mut slow, "never").await;

    let mut endless = listening.connect().await;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n", "y".repeat(70_000));
    let _ = endless.write_all(head.as_bytes()).await;
    let answer = read_until(&mut endless, "\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn who_sends_too_much_hears_so_and_meets_no_closed_connection() {
    let listening = Listening::start(ServerConfig::default()).await;
    let mut stream = listening.connect().await;
    let length = 3 << 20;
    let address = listening.address;
    let head = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: {address}\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // As most clients do: all of it first, then the answer.
    stream.write_all(&vec![b' '; length]).await.unwrap();
    let answer = read_until(&mut stream, "}").await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("request_too_large"), "{answer}");
}
