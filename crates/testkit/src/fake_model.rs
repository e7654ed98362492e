use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server on loopback that speaks Anthropic's Messages API as badly as it is told to. Answers are given in order; the
/// last one is given for ever.
#[derive(Debug)]
pub struct FakeModel {
    /// Its base URL.
    pub url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    count: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

/// How to answer a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A text, properly streamed.
    Text(&'static str),
    /// A call of a tool with this input, properly streamed.
    Call(&'static str, Value),
    /// A text, properly streamed, for a request of so many tokens, with its reason to stop.
    Counted {
        /// The text.
        text: String,
        /// The tokens of the request.
        input_tokens: u64,
        /// Why it stops: `end_turn`, `max_tokens` and so on.
        stop: &'static str,
    },
    /// Calls of several tools in one reply.
    Calls(Vec<(&'static str, Value)>),
    /// A status with headers and a body.
    Status(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// The beginning of a text, and then the connection is cut.
    Cut,
    /// What is no event stream.
    Garbage,
    /// Nothing, ever.
    Hang,
}

/// What is answered to a request's body.
type Answering = dyn Fn(&Value) -> Option<Answer> + Send + Sync;

impl FakeModel {
    /// Starts it.
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Mutex<VecDeque<Answer>> = Mutex::new(answers.into_iter().collect());
        Self::answering(move |_| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        })
        .await
    }

    /// Starts one whose answers depend on what it is asked.
    pub async fn answering(answers: impl Fn(&Value) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let answers: Arc<Answering> = Arc::new(answers);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let (counter, count) = watch::channel(0);
        let task = tokio::spawn({
            let (requests, arrivals) = (requests.clone(), arrivals.clone());
            async move {
                let counter = Arc::new(counter);
                while let Ok((stream, _)) = listener.accept().await {
                    let (answers, requests, counter) = (answers.clone(), requests.clone(), counter.clone());
                    let arrivals = arrivals.clone();
                    tokio::spawn(async move {
                        let mut first = [0];
                        if stream.peek(&mut first).await.is_ok() {
                            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                            serve(stream, &*answers, &requests, &counter).await;
                        }
                    });
                }
            }
        });
        Self { url, requests, arrivals, count, task }
    }

    /// The bodies of the requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the first byte of each connection's request came. Each request has a connection of its own.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was asked so often.
    pub async fn wait_asked(&self, times: usize) {
        let _ = self.count.clone().wait_for(|count| *count >= times).await;
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: &Answering,
    requests: &Mutex<Vec<Value>>,
    counter: &watch::Sender<usize>,
) {
    let Some(body) = read_request(&mut stream).await else { return };
    let answer = answers(&body);
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    counter.send_modify(|count| *count += 1);
    let text = match answer {
        None => "HTTP/1.1 500 no answer left\r\ncontent-length: 0\r\n\r\n".to_owned(),
        Some(Answer::Hang) => return std::future::pending().await,
        Some(Answer::Garbage) => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>hello</html>".to_owned(),
        Some(Answer::Status(status, headers, body)) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
        }
        Some(Answer::Cut) => {
            let whole = streamed(&text_events("half a"));
            whole[..whole.rfind("event: content_block_stop").unwrap_or(whole.len())].to_owned()
        }
        Some(Answer::Text(text)) => streamed(&text_events(text)),
        Some(Answer::Call(name, input)) => streamed(&call_events(&[(name, input)])),
        Some(Answer::Calls(calls)) => streamed(&call_events(&calls)),
        Some(Answer::Counted { text, input_tokens, stop }) => {
            let block = serde_json::json!({"type": "text", "text": ""});
            let delta = serde_json::json!({"type": "text_delta", "text": text});
            streamed(&reply_events(&[(block, delta)], stop, input_tokens))
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read_request(stream: &mut TcpStream) -> Option<Value> {
    let mut read = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text[..end].lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let body = &read[end + 4..];
        if body.len() >= length.unwrap_or(0) {
            return Some(serde_json::from_slice(body).unwrap_or(Value::Null));
        }
    }
}

fn streamed(events: &[Value]) -> String {
    let frames =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("")));
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{}",
        frames.collect::<String>()
    )
}

fn text_events(text: &str) -> Vec<Value> {
    let block = serde_json::json!({"type": "text", "text": ""});
    let delta = serde_json::json!({"type": "text_delta", "text": text});
    reply_events(&[(block, delta)], "end_turn", 10)
}

fn call_events(calls: &[(&str, Value)]) -> Vec<Value> {
    let block = |at: usize, name: &str| serde_json::json!({"type": "tool_use", "id": format!("toolu_{at}"), "name": name, "input": {}});
    let delta = |input: &Value| serde_json::json!({"type": "input_json_delta", "partial_json": input.to_string()});
    let calls = calls.iter().enumerate().map(|(at, (name, input))| (block(at, name), delta(input)));
    reply_events(&calls.collect::<Vec<_>>(), "tool_use", 10)
}

fn reply_events(blocks: &[(Value, Value)], stop: &str, input_tokens: u64) -> Vec<Value> {
    let message = serde_json::json!({
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-test",
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": input_tokens, "output_tokens": 1}
    });
    let mut events = vec![serde_json::json!({"type": "message_start", "message": message})];
    for (at, (block, delta)) in blocks.iter().enumerate() {
        events.extend([
            serde_json::json!({"type": "content_block_start", "index": at, "content_block": block}),
            serde_json::json!({"type": "content_block_delta", "index": at, "delta": delta}),
            serde_json::json!({"type": "content_block_stop", "index": at}),
        ]);
    }
    let delta = serde_json::json!({"stop_reason": stop, "stop_sequence": null});
    events.extend([
        serde_json::json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}),
        serde_json::json!({"type": "message_stop"}),
    ]);
    events
}
