use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure_core::id::{ItemId, SessionId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::channel::Channel;
use super::journal_file::{JournalFile, age, begin, boot_id, write_order};
use super::supervisor_link::SupervisorLink;
use crate::journal::{Record, Verdict, judge};
use crate::wire::{Greeting, KeeperAsk, KeeperTell, SupervisorAsk, decode, encode};
use crate::{BoxFuture, CallEnd, Error, Launch, LostReason, Order, Process, Sandbox, Work};

/// How long a keeper may take to end beyond the grace it was asked to give.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// A sandbox as the server holds it: a connection to its keeper.
#[derive(Debug)]
pub(crate) struct NativeSandbox {
    shared: Arc<Shared>,
    supervisor: Arc<SupervisorLink>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Shared {
    session: SessionId,
    /// The directory of all sandboxes.
    root: PathBuf,
    session_dir: PathBuf,
    /// The calls that had a journal when this handle was made.
    found: Vec<ItemId>,
    pub(super) channel: Channel,
    waiting: Mutex<HashMap<ItemId, Waiting>>,
    /// Who waits for the ends of processes that were launched.
    pub(super) launched: Mutex<HashMap<ItemId, oneshot::Sender<()>>>,
    /// The newest version that the keeper and we speak.
    pub(super) version: u16,
    pub(super) lost: watch::Sender<Option<LostReason>>,
}

/// Somebody waits for a call.
#[derive(Debug)]
struct Waiting {
    ended: watch::Sender<bool>,
    attached: Option<oneshot::Sender<bool>>,
    progress: Option<mpsc::Sender<Vec<u8>>>,
    /// How much output it has been given.
    shown: u64,
    journal: JournalFile,
}

impl NativeSandbox {
    /// Greets the keeper on this connection; `None` if it is gone.
    pub(crate) async fn attach(
        session: SessionId,
        root: PathBuf,
        session_dir: PathBuf,
        channel: Channel,
        supervisor: Arc<SupervisorLink>,
    ) -> Result<Option<Self>, Error> {
        let failed = |error| Error::failed("connecting to a sandbox")(error);
        let epoch = supervisor.epoch();
        let versions = supervisor.versions();
        let hello = KeeperAsk::Hello(Greeting { epoch, ..versions.greeting() });
        // If it doesn't hear this, it is gone.
        let Ok(()) = channel.send(&encode(&hello), &[]).await else { return Ok(None) };
        let Some(packet) = channel.receive().await.map_err(failed)? else { return Ok(None) };
        let version = match decode(&packet.bytes).map_err(failed)?.0 {
            KeeperTell::Hello(greeting) if let Some(version) = versions.agree(greeting) => version,
            KeeperTell::Hello(greeting) => {
                let spoken = format!("the keeper speaks versions {} to {}", greeting.min, greeting.max);
                return Err(failed(io::Error::other(spoken)));
            }
            KeeperTell::Superseded { epoch: by } => {
                return Err(Error::Superseded { by, ours: epoch.unwrap_or(0) });
            }
            KeeperTell::Attached { .. } | KeeperTell::Ended { .. } | KeeperTell::Progress { .. } => {
                return Err(failed(io::Error::other("the keeper did not greet")));
            }
        };
        let (found, lost) = (JournalFile::all(&session_dir).map_err(failed)?, watch::channel(None).0);
        let (waiting, launched) = (Mutex::default(), Mutex::default());
        let shared = Shared { session, root, session_dir, found, channel, waiting, launched, version, lost };
        let shared = Arc::new(shared);
        let reader = tokio::spawn(Arc::clone(&shared).read());
        Ok(Some(Self { shared, supervisor, reader }))
    }

    /// Whether it still is what it was, as far as is known.
    pub(crate) fn is_live(&self) -> bool {
        self.shared.lost.borrow().is_none()
    }

    /// Notes that its end, which is near, is wanted.
    pub(crate) fn expect_end(&self) {
        self.shared.set_lost(LostReason::Stopped);
    }

    async fn stop(&self, grace: Duration) -> Result<(), Error> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let mut lost = self.shared.lost.subscribe();
        if self.shared.channel.send(&encode(&KeeperAsk::Terminate { grace_ms }), &[]).await.is_ok() {
            // The reader sees the end; a keeper that doesn't come to it is killed below.
            let _ = tokio::time::timeout(grace + STOP_SLACK, lost.wait_for(Option::is_some)).await;
        }
        self.supervisor.ask_if_running(&SupervisorAsk::End { session: self.shared.session }).await?;
        self.shared.lost.send_replace(Some(LostReason::Stopped));
        Ok(())
    }
}

impl Drop for NativeSandbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Sandbox for NativeSandbox {
    fn session(&self) -> SessionId {
        self.shared.session
    }

    fn run(&self, order: Order, progress: Option<mpsc::Sender<Vec<u8>>>) -> BoxFuture<'_, Result<CallEnd, Error>> {
        Box::pin(async move {
            check(&order.work)?;
            self.shared.run(order, progress).await
        })
    }

    fn launch(&self, launch: Launch) -> BoxFuture<'_, Result<Process, Error>> {
        Box::pin(async move {
            check(&launch.work)?;
            self.shared.clone().launch(launch).await
        })
    }

    fn cancel(&self, call: ItemId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let ask = encode(&KeeperAsk::Cancel { call });
            // One that is gone runs nothing.
            self.shared.channel.send(&ask, &[]).await.map_err(|_| Error::Lost)
        })
    }

    fn acknowledge(&self, call: ItemId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let removed = JournalFile::new(&self.shared.session_dir, call, 0).remove();
            crate::failpoint::pass("acknowledged");
            removed.map_err(Error::failed("removing a call's journal"))
        })
    }

    fn settle(&self, open: &[ItemId]) -> BoxFuture<'_, Result<(), Error>> {
        let over = self.shared.found.iter().copied().filter(|call| !open.contains(call)).collect();
        Box::pin(self.shared.settle(over))
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.stop(grace))
    }

    fn lost(&self) -> BoxFuture<'_, LostReason> {
        let mut lost = self.shared.lost.subscribe();
        Box::pin(
            async move { lost.wait_for(Option::is_some).await.ok().and_then(|lost| *lost).unwrap_or(LostReason::Died) },
        )
    }
}

/// Refuses what could not be carried to the process as it is.
fn check(work: &Work) -> Result<(), Error> {
    let zero = |what: &str| Err(Error::Invalid(format!("{what} has a zero byte in it")));
    match work {
        Work::Shell { command, .. } if command.contains('\0') => zero("the command"),
        Work::Exec { argv, .. } if argv.is_empty() => Err(Error::Invalid("no program is named".to_owned())),
        Work::Exec { argv, .. } if argv.iter().any(|argument| argument.contains('\0')) => zero("an argument"),
        Work::Exec { env, .. }
            if env.iter().any(|(key, value)| key.contains(['\0', '=']) || key.is_empty() || value.contains('\0')) =>
        {
            Err(Error::Invalid("a variable's name is empty or has `=` in it, or it has a zero byte in it".to_owned()))
        }
        Work::Shell { .. } | Work::Exec { .. } | Work::Op { .. } => Ok(()),
    }
}

impl Shared {
    /// The life of the reader: hands on what the keeper tells, until it is gone.
    async fn read(self: Arc<Self>) {
        while let Ok(Some(packet)) = self.channel.receive().await {
            let Ok((tell, rest)) = decode::<KeeperTell>(&packet.bytes) else { break };
            self.hear(tell, rest);
        }
        self.set_lost(LostReason::Died);
    }

    fn set_lost(&self, reason: LostReason) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(reason);
            first
        });
    }

    fn hear(&self, tell: KeeperTell, rest: &[u8]) {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        match tell {
            KeeperTell::Hello(_) | KeeperTell::Superseded { .. } => {}
            KeeperTell::Attached { call, known } => {
                if let Some(attached) = waiting.get_mut(&call).and_then(|waiting| waiting.attached.take()) {
                    let _ = attached.send(known);
                }
            }
            KeeperTell::Ended { call } => {
                if let Some(waiting) = waiting.get(&call) {
                    waiting.ended.send_replace(true);
                }
                if let Some(launched) = self.launched.lock().expect("no holder panics").remove(&call) {
                    let _ = launched.send(());
                }
            }
            KeeperTell::Progress { call, from } => {
                if let Some(waiting) = waiting.get_mut(&call) {
                    waiting.show(from, rest);
                }
            }
        }
    }

    /// Runs a call, or joins whoever waits for it already.
    async fn run(&self, order: Order, progress: Option<mpsc::Sender<Vec<u8>>>) -> Result<CallEnd, Error> {
        let journal = JournalFile::new(&self.session_dir, order.call, order.output_cap_bytes);
        while let Some(ended) = self.join(order.call) {
            self.wait(ended).await;
            if let Some(exit) = journal.read().map_err(Error::failed("reading a call's journal"))?.into_exit() {
                return Ok(CallEnd::Exited(exit));
            }
            // Whoever waited has given up, or come to another end, which can be judged again.
            tokio::task::yield_now().await;
        }
        let (ended, _) = watch::channel(false);
        let waiting = Waiting { ended, attached: None, progress, shown: 0, journal: journal.clone() };
        self.waiting.lock().expect("no holder panics").insert(order.call, waiting);
        let _leaving = Leaving { shared: self, call: order.call };
        self.run_alone(order, &journal).await
    }

    /// Ends and forgets calls of earlier servers. One that somebody waits for here is left alone.
    async fn settle(&self, over: Vec<ItemId>) -> Result<(), Error> {
        let failed = |error| Error::failed("removing the journals of calls that are over")(error);
        for call in over.into_iter().filter(|call| self.join(*call).is_none()) {
            let journal = JournalFile::new(&self.session_dir, call, 0);
            // Whoever sent an order that is still unread was dropped with it when this connection was made; so if anyone
            // can write it, the keeper has the call.
            if journal.is_there() && journal.try_lock().map_err(failed)?.is_none() {
                self.channel.send(&encode(&KeeperAsk::Cancel { call }), &[]).await.map_err(|_| Error::Lost)?;
            }
            journal.remove().map_err(failed)?;
        }
        Ok(())
    }

    /// The end of a call that someone waits for already.
    fn join(&self, call: ItemId) -> Option<watch::Receiver<bool>> {
        self.waiting.lock().expect("no holder panics").get(&call).map(|waiting| waiting.ended.subscribe())
    }

    async fn run_alone(&self, order: Order, journal: &JournalFile) -> Result<CallEnd, Error> {
        let failed = |error| Error::failed("reading a call's journal")(error);
        let call = order.call;
        let age = age(&self.root, order.asked_at).map_err(failed)?;
        let mut order = Some(order);
        loop {
            let Some(mut file) = journal.try_lock().map_err(failed)? else {
                // Someone may still write it: the keeper that has it, or one that is just dying.
                // If it isn't known there, it came to its end a moment ago, or was an unread order that was dropped.
                if self.attach(call).await == Some(true) {
                    self.wait_end(call).await;
                    if let Some(exit) = journal.read().map_err(failed)?.into_exit() {
                        return Ok(CallEnd::Exited(exit));
                    }
                }
                journal.wait_unlocked().await.map_err(failed)?;
                continue;
            };
            match judge(journal.read_locked(&mut file).map_err(failed)?, boot_id(), age) {
                Verdict::Ended(end) => return Ok(end),
                Verdict::Run if self.lost.borrow().is_some() => return Err(Error::Lost),
                Verdict::Run => {}
            }
            let Some(Order { work, timeout, output_cap_bytes, .. }) = order.take() else {
                // It was ordered, and the keeper died before it read the order.
                return Err(Error::Lost);
            };
            begin(&mut file).map_err(Error::failed("writing a call's journal"))?;
            let sheet = write_order(work).map_err(Error::failed("writing an order"))?;
            let ask = KeeperAsk::Run {
                call,
                timeout_ms: timeout.map(millis),
                cap_bytes: output_cap_bytes,
                watch: self.is_watched(call),
            };
            crate::failpoint::pass("order_written");
            let sent = self.channel.send(&encode(&ask), &[file.as_fd(), sheet.as_fd()]).await;
            crate::failpoint::pass("order_sent");
            drop((file, sheet));
            if sent.is_err() {
                return Err(Error::Lost);
            }
            self.wait_end(call).await;
            if let Some(exit) = journal.read().map_err(failed)?.into_exit() {
                return Ok(CallEnd::Exited(exit));
            }
            if self.lost.borrow().is_none() {
                return unrecorded(&journal.read().map_err(failed)?);
            }
            journal.wait_unlocked().await.map_err(failed)?;
        }
    }

    /// Asks the keeper whether it has this call, and to show its output; `None` if the keeper is gone.
    async fn attach(&self, call: ItemId) -> Option<bool> {
        let (attached, answer) = oneshot::channel();
        let watch = {
            let mut waiting = self.waiting.lock().expect("no holder panics");
            let waiting = waiting.get_mut(&call)?;
            waiting.attached = Some(attached);
            waiting.progress.is_some()
        };
        self.channel.send(&encode(&KeeperAsk::Attach { call, watch }), &[]).await.ok()?;
        let mut lost = self.lost.subscribe();
        let known = tokio::select! {
            known = answer => known.ok(),
            _ = lost.wait_for(Option::is_some) => None,
        };
        if let Some(waiting) = self.waiting.lock().expect("no holder panics").get_mut(&call) {
            waiting.catch_up(u64::MAX);
        }
        known
    }

    /// Waits until the call has ended or the sandbox is gone.
    async fn wait_end(&self, call: ItemId) {
        if let Some(ended) = self.join(call) {
            self.wait(ended).await;
        }
    }

    async fn wait(&self, mut ended: watch::Receiver<bool>) {
        let mut lost = self.lost.subscribe();
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            _ = lost.wait_for(Option::is_some) => {}
        }
    }

    fn is_watched(&self, call: ItemId) -> bool {
        self.waiting.lock().expect("no holder panics").get(&call).is_some_and(|waiting| waiting.progress.is_some())
    }
}

impl Waiting {
    /// Hands on output of which `from` bytes came before, after what is missing until there.
    fn show(&mut self, from: u64, bytes: &[u8]) {
        if from > self.shown {
            self.catch_up(from);
        }
        let known = usize::try_from(self.shown.saturating_sub(from)).unwrap_or(usize::MAX);
        if let Some(fresh) = bytes.get(known..) {
            // A keeper that was taken over says what it likes.
            self.shown = from.saturating_add(bytes.len() as u64);
            self.give(fresh.to_vec());
        }
    }

    /// Hands on what the journal has, up to so many bytes in all. It has only the head of a long output.
    fn catch_up(&mut self, to: u64) {
        if self.progress.is_none() {
            return;
        }
        let mut printed = self.journal.printed();
        printed.truncate(usize::try_from(to).unwrap_or(usize::MAX));
        let known = usize::try_from(self.shown).unwrap_or(usize::MAX).min(printed.len());
        self.shown = self.shown.max(printed.len() as u64);
        self.give(printed.split_off(known));
    }

    fn give(&self, fresh: Vec<u8>) {
        if let Some(progress) = self.progress.as_ref().filter(|_| !fresh.is_empty()) {
            // A receiver that is slow or gone misses it; the result has it all the same.
            let _ = progress.try_send(fresh);
        }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The end of a call that the keeper says has ended, and whose record doesn't say how.
fn unrecorded(record: &Record) -> Result<CallEnd, Error> {
    match record.started {
        true => Ok(CallEnd::Interrupted { reason: "its result could not be written to the disk".to_owned() }),
        false => Err(Error::failed("recording a call")(io::Error::other(
            "its journal can't be written, so it was not run: is the disk full?",
        ))),
    }
}

/// Takes the name off the list of those waited for, however the wait ends.
struct Leaving<'s> {
    shared: &'s Shared,
    call: ItemId,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().expect("no holder panics").remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::{ItemId, JournalFile, Waiting};

    #[test]
    fn a_keeper_may_say_what_it_likes_of_how_much_there_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let (sender, mut progress) = mpsc::channel(16);
        let (ended, _) = watch::channel(false);
        let journal = JournalFile::new(dir.path(), ItemId::from_bits(1), 0);
        let mut waiting = Waiting { ended, attached: None, progress: Some(sender), shown: 0, journal };
        for from in [u64::MAX, 0, u64::MAX - 1] {
            waiting.show(from, b"late");
        }
        assert_eq!((progress.try_recv().expect("it is shown"), waiting.shown), (b"late".to_vec(), u64::MAX));
    }
}
