//! Places for requests to models: at most so many at once, so that neither this server nor a model's is overrun. A session
//! has one request at a time, and so at most one place or one wait for it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tenure_core::id::TenantId;
use tenure_core::time::Timestamp;
use tokio::sync::oneshot;

use crate::engine::Room;
use crate::line::Line;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: usize,
    line: Line<Waiter>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    grant: oneshot::Sender<Place>,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, inner: Mutex::default() }
    }

    /// Asks for a place. Whoever asks is in the line when this returns; dropping what it returns leaves the line.
    pub(crate) fn ask(self: &Arc<Self>, tenant: TenantId, now: Timestamp) -> Wait {
        let (grant, granted) = oneshot::channel();
        let mut inner = self.lock();
        inner.tickets += 1;
        let ticket = inner.tickets;
        if inner.taken < self.most {
            inner.taken += 1;
            drop(inner);
            // The receiver is right here.
            let _ = grant.send(Place(self.clone()));
        } else {
            inner.line.join(tenant, Waiter { ticket, grant }, now);
        }
        Wait { places: self.clone(), ticket, granted }
    }

    /// How it stands.
    pub(crate) fn room(&self, now: Timestamp) -> Room {
        let inner = self.lock();
        Room::new(inner.taken, self.most, &inner.line, now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; it is given on when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut inner = self.0.lock();
            let next = inner.line.next();
            if next.is_none() {
                inner.taken -= 1;
            }
            next
        };
        if let Some(waiter) = next {
            // One that has just left gives it on in its turn.
            drop(waiter.grant.send(Place(self.0.clone())));
        }
    }
}

/// The wait for a place.
#[derive(Debug)]
pub(crate) struct Wait {
    places: Arc<Places>,
    ticket: u64,
    granted: oneshot::Receiver<Place>,
}

impl Future for Wait {
    /// `None` only if all places are gone, which they never are.
    type Output = Option<Place>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Place>> {
        Pin::new(&mut self.granted).poll(context).map(Result::ok)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let ticket = self.ticket;
        self.places.lock().line.leave(|waiter| waiter.ticket == ticket);
    }
}
