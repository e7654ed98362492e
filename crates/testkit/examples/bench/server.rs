//! The real server, started for a measurement and ended after it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

pub(crate) const KEY: &str = "tnr_bench_key";

/// A running server; it is ended by its id when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
}

impl Server {
    /// Starts it on a data directory and waits until it says where it listens.
    pub(crate) async fn start(dir: &Path, env: &[(&str, &str)]) -> Self {
        let binary = std::env::var("TENURE_BIN").expect("TENURE_BIN names the server's binary");
        let mut command = Command::new(binary);
        command.args(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir);
        command.env("TENURE_API_KEY", KEY).env_remove("ANTHROPIC_API_KEY").env_remove("OPENAI_API_KEY");
        command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
        let http = reqwest::Client::builder().build().expect("a client can be made");
        let mut child = command.spawn().expect("the server starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let url = output.by_ref().map_while(Result::ok).find_map(|line| {
            let start = line.find("http://")?;
            Some(line[start..].split_whitespace().next()?.trim_end_matches(['/', '.', ',']).to_owned())
        });
        std::thread::spawn(move || output.for_each(drop));
        Self { child, url: url.expect("the server says where it listens"), http }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(KEY).json(&body);
        let answer = request.send().await.expect("the server answers");
        let status = answer.status();
        let body: Value = answer.json().await.expect("it answers with JSON");
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    /// A session with an agent of this model.
    pub(crate) async fn session(&self, model: &str) -> String {
        let tools = json!([{"type": "agent_toolset_20260401"}]);
        let agent = self.post("/v1/agents", json!({"name": "bench", "model": model, "tools": tools})).await;
        let name = format!("bench {}", agent["id"]);
        let environment = self.post("/v1/environments", json!({"name": name})).await;
        let body = json!({"agent": agent["id"], "environment_id": environment["id"]});
        self.post("/v1/sessions", body).await["id"].as_str().expect("a session has an id").to_owned()
    }

    pub(crate) async fn say(&self, session: &str, text: &str) {
        let message = json!({"type": "user.message", "content": [{"type": "text", "text": text}]});
        self.post(&format!("/v1/sessions/{session}/events"), json!({"events": [message]})).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
