//! A sandbox in which nothing runs.

use std::time::Duration;

use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{BoxFuture, CallEnd, Error, Exit, Launch, LostReason, Order, Process, Sandbox, Work};
use tokio::sync::{mpsc, watch};

use super::FakeBackend;
use super::process::{play, work_on_files};

#[derive(Debug)]
pub(super) struct FakeSandbox {
    pub(super) session: SessionId,
    pub(super) backend: FakeBackend,
    pub(super) gone: watch::Receiver<bool>,
}

impl FakeSandbox {
    async fn perform(&self, order: Order) -> Result<CallEnd, Error> {
        let call = order.call;
        if *self.gone.borrow() {
            return Err(Error::Lost);
        }
        let known = self.backend.change(|inner| {
            if let Some(end) = inner.ended.get(&call) {
                return Some(Some(end.clone()));
            }
            if inner.started.contains(&call) {
                return Some(None);
            }
            if inner.cancelled.contains(&call) {
                return Some(Some(CallEnd::Exited(Exit { cancelled: true, signal: Some(9), ..Exit::default() })));
            }
            inner.started.push(call);
            None
        });
        if let Some(Some(end)) = known {
            return Ok(end);
        }
        let waits = match &order.work {
            Work::Shell { command, .. } => command.contains("wait"),
            Work::Op { input, .. } => input.windows(4).any(|word| word == b"wait"),
            Work::Exec { .. } => false,
        };
        let mut gone = self.gone.clone();
        let end = tokio::select! {
            biased;
            _ = gone.wait_for(|gone| *gone) => CallEnd::Interrupted { reason: "the sandbox died".to_owned() },
            () = self.backend.until(|inner| inner.cancelled.contains(&call).then_some(())) => {
                CallEnd::Exited(Exit { cancelled: true, signal: Some(9), ..Exit::default() })
            }
            () = self.backend.until(|inner| (!waits || inner.released.contains(&call)).then_some(())) => exited(&order.work),
        };
        self.backend.change(|inner| inner.ended.insert(call, end.clone()));
        match &end {
            CallEnd::Interrupted { .. } => Err(Error::Lost),
            CallEnd::Exited(_) => Ok(end),
        }
    }
}

fn exited(work: &Work) -> CallEnd {
    let stdout = match work {
        Work::Shell { command, .. } => format!("ran: {command}\n").into_bytes(),
        Work::Op { .. } => b"text/plain\nok".to_vec(),
        Work::Exec { .. } => b"ok".to_vec(),
    };
    CallEnd::Exited(Exit { code: Some(0), stdout, ..Exit::default() })
}

impl Sandbox for FakeSandbox {
    fn session(&self) -> SessionId {
        self.session
    }

    fn run(&self, order: Order, _progress: Option<mpsc::Sender<Vec<u8>>>) -> BoxFuture<'_, Result<CallEnd, Error>> {
        Box::pin(self.perform(order))
    }

    /// The op that works on files works on a directory of the test's. A program prints `ran: <argv>` and what it is given; it ends with its input, or when it is let go of or sent a signal.
    fn launch(&self, launch: Launch) -> BoxFuture<'_, Result<Process, Error>> {
        Box::pin(async move {
            if *self.gone.borrow() {
                return Err(Error::Lost);
            }
            let (process, side) = Process::pair();
            match launch.work {
                Work::Exec { argv, .. } => drop(tokio::spawn(play(argv, side, self.gone.clone()))),
                Work::Op { input, .. } => {
                    let directory = self.backend.workspace(self.session);
                    tokio::task::spawn_blocking(move || work_on_files(&directory, &input, side));
                }
                Work::Shell { .. } => return Err(Error::Invalid("that can't be launched".to_owned())),
            }
            Ok(process)
        })
    }

    fn cancel(&self, call: ItemId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.backend.change(|inner| inner.cancelled.insert(call));
            Ok(())
        })
    }

    fn acknowledge(&self, call: ItemId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.backend.change(|inner| inner.acknowledged.push(call));
            Ok(())
        })
    }

    fn settle(&self, open: &[ItemId]) -> BoxFuture<'_, Result<(), Error>> {
        let open = open.to_vec();
        Box::pin(async move {
            self.backend.change(|inner| {
                let over: Vec<ItemId> = inner.started.iter().filter(|call| !open.contains(call)).copied().collect();
                inner.acknowledged.extend(&over);
                inner.cancelled.extend(over.iter().filter(|call| !inner.ended.contains_key(call)));
            });
            Ok(())
        })
    }

    fn stop(&self, _grace: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.backend.kill(self.session);
            Ok(())
        })
    }

    fn lost(&self) -> BoxFuture<'_, LostReason> {
        let mut gone = self.gone.clone();
        Box::pin(async move {
            let _ = gone.wait_for(|gone| *gone).await;
            LostReason::Died
        })
    }
}
