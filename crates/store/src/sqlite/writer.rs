//! Writing: one thread, which commits what has gathered while it committed before.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::During as _;
use crate::error::Error;
use crate::failpoint;
use crate::tails::Hub;

/// How many writes may wait; more are told that the store is busy.
const QUEUE: usize = 4096;

/// What is committed together at most.
const BATCH_WRITES: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// A checkpoint is tried when the write-ahead log has this many pages of 4 KiB.
const CHECKPOINT_PAGES: i32 = 2000;

/// Beyond this, the writer waits for readers until the log can begin anew, so that it doesn't grow without bound.
const RESTART_PAGES: i32 = 16_000;

thread_local! {
    /// The pages in the write-ahead log after this thread's last commit.
    static WAL_PAGES: Cell<i32> = const { Cell::new(0) };
}

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
    queue: Option<mpsc::Sender<Box<dyn Write>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(db: Connection, hub: Arc<Hub>) -> Result<Self, Error> {
        db.wal_hook(Some(|_, pages| {
            WAL_PAGES.set(pages);
            Ok(())
        }));
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("tenure-writer".to_owned())
            .spawn(move || work(db, waiting, &hub))
            .during("starting the writer")?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn submit(&self, write: Box<dyn Write>) -> Result<(), Error> {
        let queue = self.queue.as_ref().expect("the queue is taken by drop alone");
        queue.try_send(write).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::internal("writing", "the writer has ended"),
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

fn work(mut db: Connection, mut waiting: mpsc::Receiver<Box<dyn Write>>, hub: &Hub) {
    let mut batch = Vec::with_capacity(BATCH_WRITES);
    while let Some(first) = waiting.blocking_recv() {
        let mut bytes = first.size();
        batch.push(first);
        while batch.len() < BATCH_WRITES && bytes < BATCH_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.size();
            batch.push(next);
        }
        commit(&mut db, &mut batch, hub);
        checkpoint(&db);
    }
}

fn commit(db: &mut Connection, batch: &mut Vec<Box<dyn Write>>, hub: &Hub) {
    let committed = match transact(db, batch, Care::Fast) {
        Ok(Ending::Committed) => Ok(()),
        // A write that broke must not take the others with it: once more, each behind a savepoint.
        Ok(Ending::Broken) => transact(db, batch, Care::Careful).map(|_| ()),
        Err(error) => Err(error),
    };
    let committed = committed.map_err(|error| {
        tracing::error!(%error, writes = batch.len(), "a commit failed");
        Error::internal("committing", error)
    });
    for write in batch.drain(..) {
        write.finish(committed.clone(), hub);
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

fn transact(db: &Connection, batch: &mut [Box<dyn Write>], care: Care) -> rusqlite::Result<Ending> {
    let ending = run_all(db, batch, care);
    // SQLite has rolled back by itself after some errors.
    if ending != Ok(Ending::Committed) && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    ending
}

fn run_all(db: &Connection, batch: &mut [Box<dyn Write>], care: Care) -> rusqlite::Result<Ending> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    for write in batch {
        let savepoint = care == Care::Careful || write.refuses_late();
        if savepoint {
            db.prepare_cached("SAVEPOINT write")?.execute([])?;
        }
        match write.run(db) {
            Ran::Broke if care == Care::Fast => return Ok(Ending::Broken),
            Ran::Refused | Ran::Broke if savepoint => {
                db.prepare_cached("ROLLBACK TO write")?.execute([])?;
            }
            Ran::Wrote | Ran::Refused | Ran::Broke => {}
        }
        if savepoint {
            db.prepare_cached("RELEASE write")?.execute([])?;
        }
    }
    db.prepare_cached("COMMIT")?.execute([])?;
    Ok(Ending::Committed)
}

/// Moves the write-ahead log into the database when it has grown, while nobody waits for a commit.
fn checkpoint(db: &Connection) {
    let pages = WAL_PAGES.get();
    if pages < CHECKPOINT_PAGES {
        return;
    }
    failpoint::reach("checkpoint");
    let how = if pages < RESTART_PAGES { "PASSIVE" } else { "RESTART" };
    let outcome = db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    match outcome {
        Ok((_, pages, moved)) if moved >= pages => WAL_PAGES.set(0),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "a checkpoint failed"),
    }
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
