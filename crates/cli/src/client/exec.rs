//! Talking with a command over a WebSocket.

use anyhow::{Context as _, Result};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode, Upgraded};
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::api::Client;
use super::error::ApiError;

/// The most bytes of input in a frame.
const INPUT_BYTES: usize = 32 * 1024;

/// What a command says.
#[derive(Debug)]
pub(crate) enum Said {
    /// On its standard output, or its terminal.
    Out(Vec<u8>),
    /// On its standard error.
    Err(Vec<u8>),
    /// How it ended.
    Exit(Value),
}

/// What is said to a command.
#[derive(Debug)]
pub(crate) struct ExecInput(SplitSink<WebSocketStream<Upgraded>, Message>);

/// What a command says, as it comes.
#[derive(Debug)]
pub(crate) struct ExecOutput(SplitStream<WebSocketStream<Upgraded>>);

impl Client {
    /// Starts a command in a session's sandbox: `start` says which.
    pub(crate) async fn exec(&self, session: &str, start: &Value) -> Result<(ExecInput, ExecOutput)> {
        let key = generate_key();
        let request = self
            .http1()?
            .request(Method::GET, &format!("/v1/sessions/{session}/exec"), &[])
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "tenure.exec.v1")
            .header("sec-websocket-key", &key);
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (status, body) = (response.status().as_u16(), response.bytes().await.unwrap_or_default());
            return Err(ApiError::of_answer(status, None, &body).into());
        }
        let accepted = response.headers().get("sec-websocket-accept").map(|accept| accept.as_bytes().to_vec());
        if accepted.as_deref() != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(ApiError::Odd("it isn't a WebSocket".to_owned()).into());
        }
        let upgraded = response.upgrade().await.map_err(|source| self.unreachable(source))?;
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        let (sink, stream) = socket.split();
        let mut input = ExecInput(sink);
        input.tell(start).await?;
        Ok((input, ExecOutput(stream)))
    }
}

impl ExecInput {
    /// Sends bytes of its input.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(INPUT_BYTES) {
            self.0.send(Message::Binary([&[0], part].concat().into())).await.context("the connection broke")?;
        }
        Ok(())
    }

    /// There is no more input.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.tell(&json!({"type": "stdin_close"})).await
    }

    /// Its terminal has another size.
    pub(crate) async fn resize(&mut self, size: &Value) -> Result<()> {
        let mut told = size.clone();
        told["type"] = "resize".into();
        self.tell(&told).await
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&mut self, signal: &str) -> Result<()> {
        self.tell(&json!({"type": "signal", "signal": signal})).await
    }

    async fn tell(&mut self, value: &Value) -> Result<()> {
        self.0.send(Message::Text(value.to_string().into())).await.context("the connection broke")
    }
}

impl ExecOutput {
    /// The next thing it says.
    pub(crate) async fn next(&mut self) -> Result<Said> {
        loop {
            let message = self.0.next().await.context("the connection broke; the command has ended with it")?;
            match message.context("the connection broke; the command has ended with it")? {
                Message::Binary(bytes) => match bytes.split_first() {
                    Some((1, bytes)) => return Ok(Said::Out(bytes.to_vec())),
                    Some((2, bytes)) => return Ok(Said::Err(bytes.to_vec())),
                    Some(_) | None => {}
                },
                Message::Text(text) => {
                    let value: Value = serde_json::from_str(&text).unwrap_or_default();
                    match value["type"].as_str() {
                        Some("exit") => return Ok(Said::Exit(value)),
                        Some("error") => return Err(ApiError::of_answer(400, None, text.as_bytes()).into()),
                        Some(_) | None => {}
                    }
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {}
            }
        }
    }
}
