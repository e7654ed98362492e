//! What an operator may set about the server.

use std::time::Duration;

/// How a server listens and to whom.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Names under which clients may reach it besides loopback names and IP addresses, without ports. A page of another
    /// site that rebinds its name to this server's address is refused by this.
    pub hosts: Vec<String>,
    /// Origins, such as `https://console.example`, whose pages may call it besides its own.
    pub origins: Vec<String>,
    /// The most connections at a time; further ones get a 503 and are closed. Default 16,384.
    pub max_connections: usize,
    /// How long a client may take to send a request's headers. Default 10 s.
    pub header_timeout: Duration,
    /// How long requests may take to finish when the server is told to stop. Default 10 s.
    pub shutdown_grace: Duration,
    /// How long a client may leave what it is sent unread until its connection is cut. Default 30 s.
    pub reader_timeout: Duration,
    /// Takes a request's span and what its client sent as `traceparent` (W3C Trace Context), where requests are traced.
    pub adopt_trace: Option<AdoptTrace>,
    /// After how much silence an event stream says that it is alive. Default 15 s.
    pub keep_alive: Duration,
}

/// Makes a client's trace the parent of a request's span.
pub type AdoptTrace = fn(&tracing::Span, &str);

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            origins: Vec::new(),
            max_connections: 16_384,
            header_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(10),
            reader_timeout: Duration::from_secs(30),
            adopt_trace: None,
            keep_alive: Duration::from_secs(15),
        }
    }
}
