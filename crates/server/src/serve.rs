//! Connections: how many, how patient, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tenure_engine::Engine;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, build};
use crate::config::ServerConfig;
use crate::patience::Patient;

/// The most bytes of a request's line and headers together; more is a 431.
const HEADER_BYTES: usize = 64 * 1_024;

/// The most headers of a request; more is a 431.
const HEADERS: usize = 100;

/// How long to wait when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why serving ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub struct ServeError {
    address: SocketAddr,
    source: io::Error,
}

/// Serves until `shutdown` is cancelled; then streams end, requests under way finish within the configured grace, and
/// this returns. The engine goes on: whoever started it shuts it down afterwards.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let grace = config.shutdown_grace;
    let room = Arc::new(Semaphore::new(config.max_connections));
    let server = Server {
        header_timeout: config.header_timeout,
        reader_timeout: config.reader_timeout,
        router: build(App::new(engine, config, shutdown.clone())),
        shutdown: shutdown.clone(),
    };
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => drop(connections.spawn(server.clone().connection(stream, permit))),
                Err(_) => refuse(&stream),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if is_of_the_listener(&error) => return Err(ServeError { address, source: error }),
            Err(error) => {
                tracing::warn!(%error, "a connection wasn't accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections cut off after the grace");
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    header_timeout: Duration,
    reader_timeout: Duration,
    router: axum::Router,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(self, stream: TcpStream, _permit: OwnedSemaphorePermit) {
        let _open = OpenConnection::count();
        // Answers are small and whole; waiting to join them only costs time.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEADER_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(Patient::new(stream, self.reader_timeout)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Counts a connection for as long as it lives.
struct OpenConnection;

impl OpenConnection {
    fn count() -> Self {
        metrics::gauge!("tenure_connections").increment(1);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("tenure_connections").decrement(1);
    }
}

/// Tells a client that there is no room, without waiting for anything. A fresh connection takes this much at once.
fn refuse(stream: &TcpStream) {
    const BODY: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"too many connections; close some or try again"},"request_id":null}"#;
    metrics::counter!("tenure_connections_refused_total").increment(1);
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        tracing::debug!(%error, "a refused connection wasn't told so");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn is_of_the_listener(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::Unsupported)
}
