//! Places of a log that a session can be forked at or rewound to: turns' ends, and where a named snapshot was asked for.

use tenure_core::fact::{Fact, StoredFact};
use tenure_core::files::{FilesWork, MOST_COPIED, Snapshot, SnapshotEnding};
use tenure_core::id::{ItemId, SnapshotId};
use tenure_core::past::skipped;
use tenure_core::session::StopReason;
use tenure_core::state::State;
use tenure_store::{FactQuery, Order, Store};

use crate::error::Error;
use crate::owner::load::as_of;

/// Idle statuses read at once.
const PAGE: usize = 1_000;

/// A place in a session's log, as somebody names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// The last one there is.
    Last,
    /// By its number.
    Place(u64),
    /// By the event that says that the session is idle.
    Event(ItemId),
    /// By a snapshot.
    Snapshot(SnapshotId),
    /// By the name of a snapshot.
    Name(String),
}

/// What was found at a point.
#[derive(Debug)]
pub(super) struct Found {
    /// The session as it was there.
    pub(super) then: State,
    /// Its files there; `None`: what a session starts with.
    pub(super) snapshot: Option<Snapshot>,
}

/// What looking for a point came to.
pub(super) enum Look {
    Found(Box<Found>),
    /// The snapshot that it needs is being taken.
    Wait,
}

/// Looks for a point. `files` says whether what the files were there is needed; `field` is where the request names it.
pub(super) async fn find(
    store: &dyn Store,
    now: &State,
    point: &Point,
    files: bool,
    field: &'static str,
) -> Result<Look, Error> {
    let search = Search { store, now, files, field };
    match point {
        Point::Last => search.last().await,
        Point::Place(place) => search.place(*place).await,
        Point::Event(item) => search.event(*item).await,
        Point::Snapshot(id) => match now.files.snapshot(*id) {
            Some(snapshot) => search.snapshot(snapshot).await,
            None => search.unknown_snapshot(&id.prefixed()),
        },
        Point::Name(name) => match now.files.named(name) {
            Some(snapshot) => search.snapshot(snapshot).await,
            None => search.unknown_snapshot(name),
        },
    }
}

struct Search<'s> {
    store: &'s dyn Store,
    now: &'s State,
    files: bool,
    field: &'static str,
}

impl Search<'_> {
    async fn last(&self) -> Result<Look, Error> {
        if self.files && matches!(self.now.files.work, Some(FilesWork::Snapshot { .. })) {
            return Ok(Look::Wait);
        }
        let live = skipped(&self.now.rewinds, self.now.seq);
        let is_live = |seq: u64| !live.iter().any(|skipped| skipped.contains(seq));
        let newest_end = self.turn_end_before(None, &is_live).await?;
        let newest_snapshot = self.now.files.snapshots.iter().rev().find(|kept| is_live(kept.point));
        let (end, snapshot) = (newest_end.unwrap_or(0), newest_snapshot.map_or(0, |kept| kept.point));
        if end == 0 && snapshot == 0 {
            return Err(self.refuse("the session has no turn's end yet, and no named snapshot"));
        }
        if end >= snapshot {
            match self.turn_end(end).await {
                Err(Error::Invalid { .. }) if self.files && newest_snapshot.is_some() => {}
                looked => return looked,
            }
        }
        match newest_snapshot {
            Some(kept) => self.snapshot(kept).await,
            None => self.turn_end(end).await,
        }
    }

    async fn place(&self, place: u64) -> Result<Look, Error> {
        if place == 0 || place > self.now.seq {
            let beyond = if place == 0 { "begins at 1".to_owned() } else { format!("ends at {}", self.now.seq) };
            return Err(self.refuse(&format!("the log {beyond}, got {place}")));
        }
        let at = self.store.read_facts_at(self.now.session, vec![place]).await?;
        if at.iter().any(is_turn_end) {
            return self.turn_end(place).await;
        }
        let named = self.now.files.snapshots.iter().find(|kept| kept.point == place);
        match named {
            Some(named) => self.snapshot(named).await,
            None => {
                let nearest = self.nearest(place).await?;
                Err(self.refuse(&format!(
                    "expected the end of a turn (the place or the id of a `session.status_idle` event whose stop reason \
                     isn't `requires_action`) or a named snapshot; {place} is neither{nearest}"
                )))
            }
        }
    }

    async fn event(&self, item: ItemId) -> Result<Look, Error> {
        let mut before = None;
        loop {
            let idle = self.idle_before(before).await?;
            let Some(oldest) = idle.last().map(|stored| stored.seq) else {
                let message = format!(
                    "no event `{}` that says that the session is idle; take the id of a `session.status_idle` event",
                    item.prefixed()
                );
                return Err(self.refuse(&message));
            };
            if let Some(found) = idle.iter().find(|stored| stored.fact.item() == Some(item)) {
                return self.place(found.seq).await;
            }
            before = Some(oldest);
        }
    }

    async fn snapshot(&self, snapshot: &Snapshot) -> Result<Look, Error> {
        let then = self.then(snapshot.point).await?;
        let snapshot = self.files.then(|| snapshot.clone());
        Ok(Look::Found(Box::new(Found { then, snapshot })))
    }

    /// The files at a turn's end are what the snapshot holds that was taken for it; if nothing was written since the
    /// snapshot before, they are what that holds.
    async fn turn_end(&self, end: u64) -> Result<Look, Error> {
        let then = self.then(end).await?;
        if !self.files {
            return Ok(Look::Found(Box::new(Found { then, snapshot: None })));
        }
        let files = &self.now.files;
        let wanted = match (&then.files.work, then.files.changed) {
            // They were just being put back, which the end of a turn without calls doesn't wait for.
            (Some(FilesWork::Rewind { place, snapshot }), _) => match self.is_put_back(*place).await? {
                None => return Ok(Look::Wait),
                Some(true) => *snapshot,
                Some(false) => {
                    let nearest = self.nearest(end).await?;
                    return Err(self.refuse(&format!(
                        "there is no snapshot of the files at {end}: they couldn't be put back when the session was \
                         rewound{nearest}"
                    )));
                }
            },
            (Some(FilesWork::Snapshot { .. }) | None, true) => {
                let own = files.snapshots.iter().find(|kept| kept.point == end && kept.name.is_none());
                let being_taken = matches!(&files.work, Some(FilesWork::Snapshot { point, .. }) if *point == end);
                match own {
                    Some(kept) => Some(kept.id),
                    None if being_taken || files.due == Some(end) => return Ok(Look::Wait),
                    None => return self.without_files(end, None).await,
                }
            }
            // Neither does it wait for the snapshot of the turn before.
            (Some(FilesWork::Snapshot { snapshot, .. }), false) => Some(*snapshot),
            (None, false) => then.files.current,
        };
        let Some(wanted) = wanted else {
            return Ok(Look::Found(Box::new(Found { then, snapshot: None })));
        };
        let is_taken = |work: &FilesWork| matches!(work, FilesWork::Snapshot { snapshot, .. } if *snapshot == wanted);
        match files.snapshot(wanted) {
            Some(kept) => Ok(Look::Found(Box::new(Found { then, snapshot: Some(kept.clone()) }))),
            None if files.work.as_ref().is_some_and(is_taken) => Ok(Look::Wait),
            None => self.without_files(end, Some(wanted)).await,
        }
    }

    /// Whether the files were put back that the fact at a place asked for; `None` as long as they are being put back.
    async fn is_put_back(&self, place: u64) -> Result<Option<bool>, Error> {
        let only = Some(vec!["files_rewound", "session_forked"]);
        let query = FactQuery { after: place, only, ..FactQuery::all(self.now.session, 1) };
        let facts = self.store.query_facts(query).await?;
        // A fork begins with the files that were put back, and nothing in its log says when.
        let failed = |stored: &StoredFact| matches!(&*stored.fact, Fact::FilesRewound { failed: Some(_) });
        Ok(facts.first().map(|stored| !failed(stored)))
    }

    async fn without_files(&self, end: u64, snapshot: Option<SnapshotId>) -> Result<Look, Error> {
        let why = self.why_without_files(end, snapshot).await?;
        let nearest = self.nearest(end).await?;
        Err(self.refuse(&format!("there is no snapshot of the files at {end}: {why}{nearest}")))
    }

    async fn then(&self, place: u64) -> Result<State, Error> {
        let then = as_of(self.store, self.now.session, place).await?;
        then.ok_or_else(|| Error::not_found("session", self.now.session.prefixed()))
    }

    async fn why_without_files(&self, end: u64, current: Option<SnapshotId>) -> Result<String, Error> {
        let only = Some(vec!["snapshot_started", "snapshot_ended", "snapshot_removed"]);
        let after = current.map_or(end, |_| 0);
        let query = FactQuery { after, only, ..FactQuery::all(self.now.session, usize::MAX) };
        let mut wanted = current;
        for stored in self.store.query_facts(query).await? {
            match &*stored.fact {
                Fact::SnapshotStarted { snapshot, turn_end, .. } if *turn_end == Some(end) => wanted = Some(*snapshot),
                Fact::SnapshotEnded { snapshot, ending } if wanted == Some(*snapshot) => match ending {
                    SnapshotEnding::Skipped { .. } => {
                        return Ok(format!(
                            "processes went on living, and more than {} MiB would have had to be copied (a snapshot with a \
                             name is taken whatever its size)",
                            MOST_COPIED >> 20
                        ));
                    }
                    SnapshotEnding::Failed { reason } => return Ok(format!("it failed: {reason}")),
                    SnapshotEnding::Sealed | SnapshotEnding::Copied { .. } | SnapshotEnding::Reused => {}
                },
                Fact::SnapshotRemoved { snapshot } if wanted == Some(*snapshot) => {
                    return Ok("it isn't kept any longer".to_owned());
                }
                _ => {}
            }
        }
        Ok("calls went on, or the files were removed, before it could be taken".to_owned())
    }

    /// The nearest place that would do, as the end of a sentence.
    async fn nearest(&self, place: u64) -> Result<String, Error> {
        let snapshots = self.now.files.snapshots.iter().map(|kept| kept.point);
        let mut points: Vec<u64> = snapshots.collect();
        if !self.files || self.now.files.are_untouched() {
            let after = FactQuery { after: place, only: Some(vec![IDLE]), ..FactQuery::all(self.now.session, PAGE) };
            points.extend(
                self.store.query_facts(after).await?.iter().find(|stored| is_turn_end(stored)).map(|end| end.seq),
            );
            points.extend(self.turn_end_before(Some(place), &|_| true).await?);
        }
        Ok(match points.into_iter().min_by_key(|point| point.abs_diff(place)) {
            Some(nearest) => format!("; the nearest that would do is {nearest}"),
            None if self.files => "; the session has none that would do with its files yet".to_owned(),
            None => "; the session has none that would do yet".to_owned(),
        })
    }

    async fn turn_end_before(
        &self,
        place: Option<u64>,
        wanted: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<Option<u64>, Error> {
        let mut before = place;
        loop {
            let idle = self.idle_before(before).await?;
            let Some(oldest) = idle.last().map(|stored| stored.seq) else { return Ok(None) };
            if let Some(end) = idle.iter().find(|stored| is_turn_end(stored) && wanted(stored.seq)) {
                return Ok(Some(end.seq));
            }
            before = Some(oldest);
        }
    }

    /// Idle statuses before a place, the newest first.
    async fn idle_before(&self, before: Option<u64>) -> Result<Vec<StoredFact>, Error> {
        let (only, order) = (Some(vec![IDLE]), Order::NewestFirst);
        let query = FactQuery { before, only, order, ..FactQuery::all(self.now.session, PAGE) };
        Ok(self.store.query_facts(query).await?)
    }

    fn unknown_snapshot(&self, given: &str) -> Result<Look, Error> {
        let names: Vec<&str> = self.now.files.snapshots.iter().filter_map(|kept| kept.name.as_deref()).collect();
        let known = match names.is_empty() {
            true => "it has no named snapshots".to_owned(),
            false => format!("its named snapshots are {}", names.join(", ")),
        };
        Err(self.refuse(&format!("the session has no snapshot `{given}`; {known}")))
    }

    fn refuse(&self, message: &str) -> Error {
        Error::invalid(self.field, message)
    }
}

const IDLE: &str = "session_idle";

fn is_turn_end(stored: &StoredFact) -> bool {
    match &*stored.fact {
        Fact::SessionIdle { stop, .. } => !matches!(stop, StopReason::RequiresAction { .. }),
        _ => false,
    }
}
