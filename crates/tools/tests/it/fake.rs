//! A sandbox that is a directory: ops run in this process, the shell plays a script.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{BoxFuture, CallEnd, Error, Exit, Launch, LostReason, Order, Process, Sandbox, Work};
use tenure_tools::{Tool, ToolContent, ToolCtx, ToolError, ToolLimits, ToolResult, guest, registry};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// A directory that stands for a sandbox, and what its shell is to answer.
#[derive(Debug)]
pub(crate) struct Fake {
    directory: TempDir,
    played: Mutex<VecDeque<Played>>,
    orders: Mutex<Vec<Order>>,
    cancelled: Notify,
}

/// How one order ends.
#[derive(Debug)]
pub(crate) enum Played {
    /// At once.
    End(Result<CallEnd, Error>),
    /// When it is cancelled, and not before; the token is cancelled once it runs.
    WhenCancelled(CancellationToken, Exit),
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        Arc::new(Self { directory, played: Mutex::default(), orders: Mutex::default(), cancelled: Notify::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, content).expect("a file");
        path
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).expect("a text")
    }

    /// What the next order ends with.
    pub(crate) fn play(&self, played: Played) {
        self.played.lock().expect("unpoisoned").push_back(played);
    }

    pub(crate) fn plays_exit(&self, exit: Exit) {
        self.play(Played::End(Ok(CallEnd::Exited(exit))));
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn ctx(self: &Arc<Self>) -> ToolCtx {
        ToolCtx {
            workspace: Arc::clone(self) as Arc<dyn Sandbox>,
            call: ItemId::from_bits(7),
            asked_at: None,
            cancel: CancellationToken::new(),
            progress: None,
            limits: ToolLimits::default(),
        }
    }

    /// Runs a tool and gives what it says, or what the model hears instead.
    pub(crate) async fn call(self: &Arc<Self>, name: &str, input: Value) -> Result<String, String> {
        match tool(name).run(self.ctx(), input).await {
            Ok(ToolResult { content, is_error }) => match <[ToolContent; 1]>::try_from(content) {
                Ok([ToolContent::Text(text)]) if is_error => Err(text),
                Ok([ToolContent::Text(text)]) => Ok(text),
                Ok(other) => panic!("expected a text, got {other:?}"),
                Err(content) => panic!("expected one piece, got {content:?}"),
            },
            Err(ToolError::Model(message)) => Err(message),
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
}

pub(crate) fn tool(name: &str) -> &'static dyn Tool {
    *registry().iter().find(|tool| tool.spec().name == name).expect("a tool of that name")
}

impl Sandbox for Fake {
    fn session(&self) -> SessionId {
        SessionId::from_bits(1)
    }

    fn run(&self, order: Order, progress: Option<mpsc::Sender<Vec<u8>>>) -> BoxFuture<'_, Result<CallEnd, Error>> {
        self.orders.lock().expect("unpoisoned").push(order.clone());
        let played = self.played.lock().expect("unpoisoned").pop_front();
        Box::pin(async move {
            match played {
                Some(Played::End(end)) => {
                    if let (Some(progress), Ok(CallEnd::Exited(exit))) = (progress, &end) {
                        progress.send(exit.stdout.clone()).await.expect("a receiver");
                    }
                    end
                }
                Some(Played::WhenCancelled(cancel, exit)) => {
                    cancel.cancel();
                    self.cancelled.notified().await;
                    Ok(CallEnd::Exited(exit))
                }
                None => Ok(CallEnd::Exited(self.perform(order))),
            }
        })
    }

    fn launch(&self, _launch: Launch) -> BoxFuture<'_, Result<Process, Error>> {
        Box::pin(async { Err(Error::Invalid("nothing is launched here".to_owned())) })
    }

    fn cancel(&self, _call: ItemId) -> BoxFuture<'_, Result<(), Error>> {
        self.cancelled.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn acknowledge(&self, _call: ItemId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn settle(&self, _open: &[ItemId]) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&self, _grace: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn lost(&self) -> BoxFuture<'_, LostReason> {
        Box::pin(std::future::pending())
    }
}

impl Fake {
    fn perform(&self, order: Order) -> Exit {
        let Work::Op { name, input } = order.work else { panic!("the shell has no script for this") };
        let mut stdout = Vec::new();
        let code = guest::perform(&name, self.path(), &input, &mut stdout);
        assert!(stdout.len() <= order.output_cap_bytes, "{name} wrote {} bytes", stdout.len());
        Exit { code: Some(code), stdout, ..Exit::default() }
    }
}
