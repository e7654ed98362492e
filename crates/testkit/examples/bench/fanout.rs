//! Many listeners on one session's stream, in a process of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, mpsc};

use crate::server::{KEY, Server};
use crate::{quantile_ms, resident_kib, row};

const LISTENERS: usize = 10_000;
const ROUNDS: usize = 10;
/// An update of the title is one event, and so one frame for each listener.
const MARK: &[u8] = b"event: session.updated";

pub(crate) async fn run() {
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    let server = Server::start(dir.path(), &[]).await;
    let session = server.session("script/demo").await;
    let before = resident_kib(server.pid());
    let connected = Arc::new(Barrier::new(LISTENERS + 1));
    let (heard, mut arrivals) = mpsc::unbounded_channel::<Instant>();
    let address = server.url.trim_start_matches("http://").to_owned();
    for number in 0..LISTENERS {
        let (connected, heard) = (connected.clone(), heard.clone());
        let request = format!(
            "GET /v1/sessions/{session}/events/stream HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\n\r\n"
        );
        let address = address.clone();
        tokio::spawn(async move { listen(&address, &request, &connected, &heard).await });
        if number % 200 == 199 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    connected.wait().await;
    let each = (resident_kib(server.pid()) - before) as f64 / LISTENERS as f64;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let began = Instant::now();
        let update = serde_json::json!({"title": format!("round {round}")});
        server.post(&format!("/v1/sessions/{session}"), update).await;
        for _ in 0..LISTENERS {
            let arrived = arrivals.recv().await.expect("listeners stay");
            times.push(arrived.saturating_duration_since(began));
        }
    }
    let (p50, p99) = (quantile_ms(&mut times, 0.5), quantile_ms(&mut times, 0.99));
    let beside = "from the POST to the frame at each listener; the listeners read on the same two cores";
    row("stream fan-out, 10,000 listeners", &format!("p50 {p50:.0}, p99 {p99:.0}"), "ms", "p99 ≤ 50", beside);
    row("memory of a listener in the server", &format!("{each:.1}"), "KiB", "≤ 24", "10,000 listeners on one session");
}

async fn listen(address: &str, request: &str, connected: &Barrier, heard: &mpsc::UnboundedSender<Instant>) {
    let mut stream = TcpStream::connect(address).await.expect("the server takes connections");
    stream.write_all(request.as_bytes()).await.expect("it reads the request");
    let mut buffer = Vec::with_capacity(4096);
    let mut began = false;
    while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        if !began && buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            began = true;
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
            connected.wait().await;
        }
        while let Some(at) = find(&buffer, MARK) {
            let _ = heard.send(Instant::now());
            let end = find(&buffer[at..], b"\n\n").map_or(buffer.len(), |end| at + end + 2);
            buffer.drain(..end);
        }
        let keep = buffer.len().saturating_sub(MARK.len());
        if began && keep > 8192 {
            buffer.drain(..keep);
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
