//! While the store is in trouble: what must be stored waits, and whoever asks for something is answered all the same.

use tokio::time::Instant;

use super::{Next, Owner};
use crate::backoff::Backoff;
use crate::directory::Mail;

impl Owner<'_> {
    /// Waits before something is stored again; `None` when it is time for that. Requests are carried out meanwhile, or
    /// get the store's trouble for an answer. Other outcomes are put aside.
    pub(super) async fn wait_for_the_store(&mut self, backoff: &mut Backoff) -> Option<Next> {
        let until = Instant::now() + backoff.next();
        loop {
            let mail = tokio::select! {
                biased;
                // What an engine that ends can't store is found out anew by the next one.
                () = self.shared.draining.cancelled() => return Some(Next::GoOn),
                () = tokio::time::sleep_until(until) => return None,
                Some(mail) = self.mailbox.recv() => mail,
            };
            match &*mail {
                Mail::Outcome(..) | Mail::Recover { .. } => self.aside.push_back(mail),
                Mail::Request { .. } | Mail::Look { .. } | Mail::Delete { .. } => match self.answer(*mail).await {
                    Next::GoOn => {}
                    Next::LetGo => return Some(Next::LetGo),
                },
            }
        }
    }
}
