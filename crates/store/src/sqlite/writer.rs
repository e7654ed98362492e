//! Writing: one thread, which commits what has gathered while it committed before.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::During as _;
use super::mark::{self, Mark};
use super::trouble::Trouble;
use super::wal::{Gate, Wal};
use crate::error::Error;
use crate::tails::Hub;

/// How many writes may wait; more are told that the store is busy.
const QUEUE: usize = 4096;

/// What is committed together at most.
const BATCH_WRITES: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// How long a write waits for another program that holds the database.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nothing must be written until there is time to tidy up.
const IDLE: Duration = Duration::from_secs(5);

/// How often it is tried, while writes fail, whether they still do.
const PROBE: Duration = Duration::from_secs(1);

/// Something to be written.
pub(super) trait Write: Send {
    /// Roughly its bytes.
    fn size(&self) -> usize;
    /// Whether it may refuse after it has written something. Costs a savepoint, which copies every page it touches.
    fn refuses_late(&self) -> bool;
    /// Writes. May be run again after a roll-back.
    fn run(&mut self, db: &Connection) -> Ran;
    /// Answers, after the commit or its failure.
    fn finish(self: Box<Self>, committed: Result<(), Error>, hub: &Hub);
}

/// How a write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// It has written.
    Wrote,
    /// It didn't write; what it wrote before it refused, if it [may](Write::refuses_late), is taken back.
    Refused,
    /// The database failed in the middle of it.
    Broke,
}

/// The thread's handle. Dropping it commits what waits and closes the database.
pub(super) struct Writer {
    queue: Option<SyncSender<Box<dyn Write>>>,
    waiting: Arc<AtomicUsize>,
    trouble: Arc<Trouble>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        db: Connection,
        path: &Path,
        mark: Mark,
        gate: Arc<Gate>,
        hub: Arc<Hub>,
    ) -> Result<Self, Error> {
        let (queue, receiver) = sync_channel(QUEUE);
        let (waiting, trouble) = (Arc::new(AtomicUsize::new(0)), Arc::new(Trouble::default()));
        let (path, counted, noted) = (path.to_owned(), Arc::clone(&waiting), Arc::clone(&trouble));
        let work = move || {
            let wal = Wal::watch(&db, &path, gate);
            Work { db, mark, wal, hub, waiting: counted, trouble: noted }.until_closed(&receiver);
        };
        let thread = std::thread::Builder::new().name("tenure-writer".to_owned()).spawn(work);
        Ok(Self { queue: Some(queue), waiting, trouble, thread: Some(thread.during("starting the writer")?) })
    }

    /// Why writes fail at present.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.reason()
    }

    pub(super) fn submit(&self, write: Box<dyn Write>) -> Result<(), Error> {
        let queue = self.queue.as_ref().expect("the queue is taken by drop alone");
        self.waiting.fetch_add(1, Ordering::Relaxed);
        queue.try_send(write).map_err(|refused| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => Error::Busy,
                TrySendError::Disconnected(_) => Error::internal("writing", "the writer has ended"),
            }
        })
    }

    /// Writes by a function, in one transaction with others; an `Err` takes back what it did.
    pub(super) fn write<T, E>(
        &self,
        run: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.write_then(run, |_, _| {})
    }

    /// Like [`write`](Self::write), and once it is committed, before it is answered, tells followers.
    pub(super) fn write_then<T, E>(
        &self,
        run: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
        tell: impl FnOnce(&T, &Hub) + Send + 'static,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let submitted = self.submit(Box::new(Function { run, tell, result: None, reply }));
        async move {
            submitted?;
            answer.await.during("waiting for a write")?
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// What the thread has.
struct Work {
    db: Connection,
    mark: Mark,
    wal: Wal,
    hub: Arc<Hub>,
    waiting: Arc<AtomicUsize>,
    trouble: Arc<Trouble>,
}

impl Work {
    fn until_closed(mut self, queue: &Receiver<Box<dyn Write>>) {
        let mut batch = Vec::with_capacity(BATCH_WRITES);
        loop {
            let patience = if self.trouble.is_there() { PROBE } else { IDLE };
            match queue.recv_timeout(patience) {
                Ok(first) => {
                    let mut bytes = first.size();
                    batch.push(first);
                    while batch.len() < BATCH_WRITES && bytes < BATCH_BYTES {
                        let Ok(next) = queue.try_recv() else { break };
                        bytes += next.size();
                        batch.push(next);
                    }
                    let waiting = self.waiting.fetch_sub(batch.len(), Ordering::Relaxed) - batch.len();
                    metrics::gauge!("tenure_store_queue").set(waiting as f64);
                    self.commit_or_survive(&mut batch);
                    self.wal.after_commit(&self.db);
                }
                Err(RecvTimeoutError::Timeout) if self.trouble.is_there() => self.probe(),
                Err(RecvTimeoutError::Timeout) => self.wal.when_idle(&self.db),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            metrics::gauge!("tenure_store_wal_bytes").set(Wal::bytes_used());
        }
    }

    /// A panic is a mistake of ours in one write. Those of its batch fail, as their senders find when the answer doesn't
    /// come, and the next batch is as good as any.
    fn commit_or_survive(&mut self, batch: &mut Vec<Box<dyn Write>>) {
        if catch_unwind(AssertUnwindSafe(|| self.commit(batch))).is_err() {
            tracing::error!(writes = batch.len(), "writing panicked; these writes failed");
            batch.clear();
        }
    }

    fn commit(&mut self, batch: &mut Vec<Box<dyn Write>>) {
        let begun = Instant::now();
        let committed = match self.transact(batch, Care::Fast) {
            Ok(Ending::Committed) => Ok(()),
            // A write that broke must not take the others with it: once more, each behind a savepoint.
            Ok(Ending::Broken) => self.transact(batch, Care::Careful).map(|_| ()),
            Err(error) => Err(error),
        };
        metrics::histogram!("tenure_store_commit_seconds").record(begun.elapsed().as_secs_f64());
        metrics::histogram!("tenure_store_batch_writes").record(batch.len() as f64);
        self.trouble.note(&committed);
        for write in batch.drain(..) {
            write.finish(committed.clone(), &self.hub);
        }
    }

    /// Whether writing succeeds again: without it, a store in which nobody writes would never find out.
    fn probe(&mut self) {
        // As much as a small commit: on a full disk the last page may be free again and again.
        let name = "\0probe";
        let probe = self
            .db
            .execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, hex(randomblob(32768)))", [name])
            .and_then(|_| self.db.execute("DELETE FROM settings WHERE name = ?1", [name]));
        self.trouble.note(&probe.map(|_| ()).during("trying to write"));
    }

    fn transact(&mut self, batch: &mut [Box<dyn Write>], care: Care) -> Result<Ending, Error> {
        let ending = self.run_all(batch, care);
        // SQLite has rolled back by itself after some errors.
        if !matches!(ending, Ok(Ending::Committed)) && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK").during("rolling back")?;
        }
        ending
    }

    fn run_all(&mut self, batch: &mut [Box<dyn Write>], care: Care) -> Result<Ending, Error> {
        let operation = "committing";
        let Self { db, mark, .. } = self;
        let run = |sql: &str| db.prepare_cached(sql).and_then(|mut sql| sql.execute([])).during(operation);
        if !db.is_autocommit() {
            // Left by a panic.
            run("ROLLBACK")?;
        }
        run("BEGIN IMMEDIATE")?;
        for write in batch {
            let savepoint = care == Care::Careful || write.refuses_late();
            if savepoint {
                run("SAVEPOINT write")?;
            }
            match write.run(db) {
                Ran::Broke if care == Care::Fast => return Ok(Ending::Broken),
                Ran::Refused | Ran::Broke if savepoint => {
                    run("ROLLBACK TO write")?;
                }
                Ran::Wrote | Ran::Refused | Ran::Broke => {}
            }
            if savepoint {
                run("RELEASE write")?;
            }
        }
        let end = mark::end(db).during(operation)?;
        mark.before_commit(end).during(operation)?;
        run("COMMIT")?;
        mark.after_commit(end);
        Ok(Ending::Committed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    Fast,
    Careful,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Committed,
    /// A write broke, and all are taken back.
    Broken,
}

struct Function<R, A, T, E> {
    run: R,
    tell: A,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<R, A, T, E> Write for Function<R, A, T, E>
where
    R: FnMut(&Connection) -> Result<T, E> + Send,
    A: FnOnce(&T, &Hub) + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn size(&self) -> usize {
        1024
    }

    fn refuses_late(&self) -> bool {
        true
    }

    fn run(&mut self, db: &Connection) -> Ran {
        match self.result.insert((self.run)(db)) {
            Ok(_) => Ran::Wrote,
            Err(_) => Ran::Refused,
        }
    }

    fn finish(self: Box<Self>, committed: Result<(), Error>, hub: &Hub) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::internal("writing", "it was never run").into()),
            (Err(error), _) => Err(error.into()),
        };
        if let Ok(written) = &result {
            (self.tell)(written, hub);
        }
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(result);
    }
}
