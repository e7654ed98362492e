//! The port: what a tool is, what it is given, and what it gives back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_core::future::BoxFuture;
use serde_json::Value;
use tenure_core::agent::WebFetchSettings;
use tenure_core::id::ItemId;
use tenure_core::model::ToolSpec;
use tenure_sandbox::Sandbox;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Something a model can call.
pub trait Tool: Send + Sync + fmt::Debug {
    /// The tool as the model is told of it.
    fn spec(&self) -> ToolSpec;

    /// Runs one call.
    ///
    /// The same call may be run again after a crash of the server: the sandbox knows by its name whether it has run, and
    /// then gives the result it had. The call runs on in the sandbox if the future is dropped; to end it, cancel it.
    fn run<'a>(&'a self, ctx: ToolCtx, input: Value) -> BoxFuture<'a, Result<ToolResult, ToolError>>;
}

/// Something a model can call that the server itself runs, outside of any sandbox.
pub trait HostedTool: Send + Sync + fmt::Debug {
    /// The tool as the model is told of it.
    fn spec(&self) -> ToolSpec;

    /// Runs one call. It ends when the future is dropped.
    fn run(&self, ctx: HostedCtx, input: Value) -> BoxFuture<'_, Result<ToolResult, ToolError>>;
}

/// All that a call run by the server may see of the world.
#[derive(Debug, Clone)]
pub struct HostedCtx {
    /// The call's name, the same each time it is run.
    pub call: ItemId,
    /// What the agent says of `web_fetch`.
    pub web_fetch: WebFetchSettings,
    /// If the agent may fetch only addresses that the conversation has shown: those, as they stand there, each up to the
    /// next white space.
    pub shown_urls: Option<Vec<String>>,
}

/// All that a call may see of the world.
#[derive(Debug, Clone)]
pub struct ToolCtx {
    /// Where the call runs.
    pub workspace: Arc<dyn Sandbox>,
    /// The call's name, the same each time it is run.
    pub call: ItemId,
    /// When the call was first asked for, if that may have been by an earlier process than this one; else `None`. See
    /// [`tenure_sandbox::Order::asked_at`].
    pub asked_at: Option<SystemTime>,
    /// Cancelled when the call is to end; what it started is then killed.
    pub cancel: CancellationToken,
    /// Gets output as it comes, as it comes; chunks are dropped when the receiver is slow.
    pub progress: Option<mpsc::Sender<Vec<u8>>>,
    /// The call's limits.
    pub limits: ToolLimits,
}

/// Limits of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolLimits {
    /// How much text a search gives; more is cut. Default: 100,000 bytes.
    pub output_cap_bytes: usize,
    /// How much of what a command prints is kept; of more, the beginning and a little of the end. Default: 10 MiB. What is too
    /// long for a model, more than 100,000 characters, is kept in a file of the sandbox.
    pub kept_output_bytes: usize,
    /// How long a call may take if it doesn't say. Default: 2 min, as the peer's tools.
    pub default_timeout: Duration,
    /// The longest a call may ask for. Default: 1 h.
    pub max_timeout: Duration,
}

impl Default for ToolLimits {
    fn default() -> Self {
        Self {
            output_cap_bytes: 100_000,
            kept_output_bytes: 10 << 20,
            default_timeout: Duration::from_secs(120),
            max_timeout: Duration::from_secs(3600),
        }
    }
}

/// What a call gave, for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// What it gave, in order. No text in it is empty.
    pub content: Vec<ToolContent>,
    /// Whether the model should take it as a failure.
    pub is_error: bool,
}

/// One piece of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolContent {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// One of `image/png`, `image/jpeg`, `image/gif`, `image/webp`.
        media_type: String,
        /// The file's bytes.
        bytes: Vec<u8>,
    },
    /// A document.
    Document {
        /// `application/pdf`.
        media_type: String,
        /// The file's bytes.
        bytes: Vec<u8>,
    },
}

impl ToolResult {
    /// A success that says `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![ToolContent::Text(text.into())], is_error: false }
    }

    /// A failure that says `text`.
    pub fn error(text: impl Into<String>) -> Self {
        Self { content: vec![ToolContent::Text(text.into())], is_error: true }
    }
}

/// A call that gave nothing. The variants say who must hear it, and what can be done.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The model must hear it, as the call's result: it asked for something that can't be.
    #[error("{0}")]
    Model(String),
    /// The operator must hear it; the model only that the tool failed.
    #[error("{doing}")]
    Operator {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sandbox ended. Open it again and run the same call again: it is known whether it ran.
    #[error("the sandbox has ended")]
    SandboxLost,
    /// The call had started and was cut short; nobody can know how far it got, and it won't run again. The model must
    /// hear so.
    #[error("interrupted: {reason}")]
    Interrupted {
        /// What cut it short, for people.
        reason: String,
    },
    /// It was cancelled and has nothing to show.
    #[error("cancelled")]
    Cancelled,
}
