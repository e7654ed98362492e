//! Many listeners, in this process, to one server in another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, mpsc};

pub(crate) const LISTENERS: usize = 10_000;
const ROUNDS: usize = 10;
/// What every frame that is timed has.
pub(crate) const MARK: &[u8] = b"event: session.updated";

/// Open connections, all of which are sent the same.
pub(crate) struct Listeners {
    arrivals: mpsc::UnboundedReceiver<Instant>,
}

impl Listeners {
    /// Connects all of them, and waits until each has the head of its answer.
    pub(crate) async fn connect(address: &str, request: &str) -> Self {
        let connected = Arc::new(Barrier::new(LISTENERS + 1));
        let (heard, arrivals) = mpsc::unbounded_channel();
        for number in 0..LISTENERS {
            let (connected, heard) = (connected.clone(), heard.clone());
            let (address, request) = (address.to_owned(), request.to_owned());
            tokio::spawn(async move { listen(&address, &request, &connected, &heard).await });
            if number % 200 == 199 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        connected.wait().await;
        Self { arrivals }
    }

    /// Has a frame sent to all, some times; gives for each and each time how long it took.
    pub(crate) async fn time(&mut self, mut send: impl AsyncFnMut(usize)) -> Vec<Duration> {
        let mut times = Vec::with_capacity(ROUNDS * LISTENERS);
        for round in 0..ROUNDS {
            let began = Instant::now();
            send(round).await;
            for _ in 0..LISTENERS {
                let arrived = self.arrivals.recv().await.expect("listeners stay");
                times.push(arrived.saturating_duration_since(began));
            }
        }
        times
    }
}

async fn listen(address: &str, request: &str, connected: &Barrier, heard: &mpsc::UnboundedSender<Instant>) {
    let mut stream = TcpStream::connect(address).await.expect("the server takes connections");
    stream.write_all(request.as_bytes()).await.expect("it reads the request");
    let mut buffer = Vec::with_capacity(2048);
    let mut began = false;
    while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let arrived = Instant::now();
        if !began && find(&buffer, b"\r\n\r\n").is_some() {
            began = true;
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
            connected.wait().await;
        }
        while let Some(at) = find(&buffer, MARK) {
            let Some(end) = find(&buffer[at..], b"\n\n") else { break };
            let _ = heard.send(arrived);
            buffer.drain(..at + end + 2);
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
