use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tenure_core::id::ItemId;
use tenure_core::model::ToolSpec;
use tenure_tools::{HostedCtx, HostedTool, ToolError, ToolResult};
use tokio::sync::watch;

/// Stands in for `web_fetch`, and fetches nothing: a call says `fetched: <url>`. One whose URL holds the word `wait` ends
/// only when it is [released](FakeHosted::release) or given up.
#[derive(Debug, Clone, Default)]
pub struct FakeHosted {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
    switched_off: bool,
}

#[derive(Debug, Default)]
struct Inner {
    started: Vec<ItemId>,
    given_up: Vec<ItemId>,
    released: bool,
}

impl FakeHosted {
    /// One that the operator has switched off.
    pub fn switched_off() -> Self {
        Self { switched_off: true, ..Self::default() }
    }

    /// The tools that an engine is given.
    pub(crate) fn tools(&self) -> Vec<Arc<dyn HostedTool>> {
        match self.switched_off {
            true => Vec::new(),
            false => vec![Arc::new(self.clone())],
        }
    }

    /// Every call that was started, in order; a call that was run twice is there twice.
    pub fn started(&self) -> Vec<ItemId> {
        self.lock().started.clone()
    }

    /// Waits until so many calls were started.
    pub async fn wait_started(&self, count: usize) -> Vec<ItemId> {
        self.until(|inner| (inner.started.len() >= count).then(|| inner.started.clone())).await
    }

    /// Waits until this call was given up before it ended.
    pub async fn wait_given_up(&self, call: ItemId) {
        self.until(|inner| inner.given_up.contains(&call).then_some(())).await;
    }

    /// Lets all waiting calls end.
    pub fn release(&self) {
        self.change(|inner| inner.released = true);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            let _ = changes.changed().await;
        }
    }
}

/// Notes that a call was given up, unless it came to its end.
struct Watched<'h> {
    hosted: &'h FakeHosted,
    call: ItemId,
    ended: bool,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.hosted.change(|inner| inner.given_up.push(self.call));
        }
    }
}

impl HostedTool for FakeHosted {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "web_fetch".to_owned(),
            description: "Fetches nothing.".to_owned(),
            input_schema: json!({"type": "object", "properties": {"url": {"type": "string"}}}),
        }
    }

    fn run(&self, ctx: HostedCtx, input: Value) -> futures_util::future::BoxFuture<'_, Result<ToolResult, ToolError>> {
        Box::pin(async move {
            let url = input["url"].as_str().unwrap_or_default().to_owned();
            let mut watched = Watched { hosted: self, call: ctx.call, ended: false };
            self.change(|inner| inner.started.push(ctx.call));
            if url.contains("wait") {
                self.until(|inner| inner.released.then_some(())).await;
            }
            watched.ended = true;
            Ok(ToolResult::text(format!("fetched: {url}")))
        })
    }
}
