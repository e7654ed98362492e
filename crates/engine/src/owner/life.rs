//! The life of an owner: it wakes, serves, and sleeps. A mistake of ours in between ends that life alone: the session is
//! read anew and taken up as after a crash, and nothing else notices.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tenure_core::command::Command;
use tenure_core::effect::{Effect, effects};
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_core::state::State;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Span;

use super::{Origin, Owner, is_about_room, load};
use crate::backoff::Backoff;
use crate::directory::Mail;
use crate::engine::Shared;
use crate::error::Error;

type Mailbox = mpsc::Receiver<Box<Mail>>;

/// How a life begins.
enum Begin {
    /// With what the store has.
    Asleep,
    /// With a session that was just created, what its first facts ask for, and what it came of.
    Created(Box<(State, Vec<Effect>, Span)>),
    /// With what the store has, after the life before broke off.
    BrokenOff,
}

/// How a life ended.
enum End {
    Asleep,
    BrokenOff,
}

/// Wakes a session from the store and serves its mail. Mail for a session that doesn't exist is refused.
pub(crate) async fn wake(shared: Arc<Shared>, session: SessionId, mailbox: Mailbox) {
    live_on(shared, session, mailbox, Begin::Asleep).await;
}

/// Serves a session that was just created, whose first facts are stored.
pub(crate) fn adopt(shared: Arc<Shared>, state: State, facts: &[StoredFact], mailbox: Mailbox) {
    let wanted: Vec<Effect> = facts.iter().flat_map(|stored| effects(&state, &stored.fact)).collect();
    let (runtime, session) = (shared.runtime.clone(), state.session);
    runtime.spawn(live_on(shared, session, mailbox, Begin::Created(Box::new((state, wanted, Span::current())))));
}

async fn live_on(shared: Arc<Shared>, session: SessionId, mut mailbox: Mailbox, mut begin: Begin) {
    let mut backoff = Backoff::default();
    let mut broken_off = 0_u32;
    loop {
        let life = Box::pin(live(&shared, session, &mut mailbox, begin));
        match AssertUnwindSafe(life).catch_unwind().await {
            Ok(End::Asleep) => return,
            Ok(End::BrokenOff) => {}
            Err(_panic) => {
                broken_off += 1;
                if broken_off == 1 {
                    tracing::error!(%session, "an owner broke off by a mistake of ours; the session is taken up again");
                }
            }
        }
        if mailbox.is_closed() {
            return;
        }
        Box::pin(turn_away_for(&shared, session, &mut mailbox, backoff.next())).await;
        begin = Begin::BrokenOff;
    }
}

async fn live(shared: &Arc<Shared>, session: SessionId, mailbox: &mut Mailbox, begin: Begin) -> End {
    // Boxed, so that an owner with nothing to do holds no room for how it began.
    match Box::pin(start(shared, session, mailbox, begin)).await {
        Ok(mut owner) => {
            owner.run().await;
            End::Asleep
        }
        Err(end) => end,
    }
}

async fn start<'m>(
    shared: &Arc<Shared>,
    session: SessionId,
    mailbox: &'m mut Mailbox,
    begin: Begin,
) -> Result<Owner<'m>, End> {
    let (mut wanted, mut from) = (Vec::new(), Span::none());
    let broke_off = matches!(begin, Begin::BrokenOff);
    let loaded = match begin {
        Begin::Created(created) => {
            let (state, asked, span) = *created;
            (wanted, from) = (asked, span);
            Ok(Some((state, 0)))
        }
        Begin::Asleep | Begin::BrokenOff => load::load(&*shared.store, session).await,
    };
    let (state, saved_seq) = match loaded {
        Ok(Some(loaded)) => loaded,
        Ok(None) => {
            let refuse = || Error::not_found("session", session.prefixed());
            load::refuse(shared, session, mailbox, refuse);
            return Err(End::Asleep);
        }
        Err(error) => {
            tracing::error!(%session, error = &error as &dyn std::error::Error, "session not loaded");
            let refuse = || Error::Internal(Box::new(error.clone()));
            let mut lost = broke_off;
            while let Ok(mail) = mailbox.try_recv() {
                lost |= turn_away(shared, session, *mail, refuse());
            }
            if lost {
                return Err(End::BrokenOff);
            }
            load::refuse(shared, session, mailbox, refuse);
            return Err(End::Asleep);
        }
    };
    let mut owner = Owner::new(shared.clone(), state, saved_seq, mailbox);
    from.in_scope(|| owner.carry_out(wanted, Origin::Now));
    drop(from);
    if broke_off {
        let alive = is_alive(shared, session).await;
        let _ = owner.recover(alive, false).await;
    }
    Ok(owner)
}

async fn is_alive(shared: &Shared, session: SessionId) -> bool {
    shared.sandboxes.backend().alive().await.unwrap_or_default().contains(&session)
}

/// Refuses mail for a while. Outcomes needn't be kept: what they are of is taken up afterwards.
async fn turn_away_for(shared: &Arc<Shared>, session: SessionId, mailbox: &mut Mailbox, span: Duration) {
    let until = Instant::now() + span;
    while let Ok(Some(mail)) = tokio::time::timeout_at(until, mailbox.recv()).await {
        turn_away(shared, session, *mail, Error::broken_off(session));
    }
}

/// Answers mail with an error. Whether that loses an outcome that nobody will bring again.
pub(super) fn turn_away(shared: &Arc<Shared>, session: SessionId, mail: Mail, error: Error) -> bool {
    match mail {
        Mail::Request { reply, .. } => drop(reply.send(Err(error))),
        Mail::Look { reply, .. } => drop(reply.send(Err(error))),
        Mail::Delete { reply, .. } => drop(reply.send(Err(error))),
        Mail::Outcome(command, _) if is_about_room(&command) => shared.sandboxes.give_up(&shared.directory, session),
        Mail::Outcome(Command::Tick(_), _) => {}
        Mail::Outcome(..) | Mail::Recover { .. } => return true,
    }
    false
}
