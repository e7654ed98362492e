use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with};
use tenure_core::id::{SessionId, SnapshotId};

use super::disk::Heard;
use super::live::Sandboxes;
use super::reach::Reach;
use super::upkeep::Upkeep;
use super::{Cgroups, Config, Failure, Home, LayerId, abandoned, whereabouts};
use crate::dispatch::Ops;
use crate::guest::signals;
use crate::wire::{Greeting, LONG, SupervisorAsk, SupervisorTell, Versions, decode, encode, receive, send};

/// How often a supervisor without a server looks whether calls are still running, and one with groups that the kernel
/// would not remove tries again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How many connections there may be; each question under way has one. Others wait to be accepted.
const MOST_SERVERS: usize = 4_096;

/// How long the server that started it may take to connect.
const FIRST_SERVER: Duration = Duration::from_secs(10);

/// The state of a running supervisor.
#[derive(Debug)]
pub(crate) struct Supervisor {
    sandboxes: Sandboxes,
    upkeep: Upkeep,
    listener: OwnedFd,
    signals: OwnedFd,
    servers: Vec<Server>,
    linger: Duration,
    /// Since when it has had no server, and for how long it bears that.
    alone_since: Instant,
    bears: Duration,
    closing: bool,
    /// A server of another version waits for the end of all calls.
    draining: bool,
    /// The latest that a server has greeted with.
    epoch: u64,
    /// Held for the life of the process.
    _lock: OwnedFd,
}

/// A connected server.
#[derive(Debug)]
struct Server {
    socket: OwnedFd,
    /// What we speak with it, once it has greeted and if there is such a version.
    version: Option<u16>,
    /// Of one that gives orders.
    epoch: Option<u64>,
    /// What it waits for. Answers are given in the order of the questions, so it gets no other meanwhile.
    awaits: Option<Awaited>,
    /// As above, a layer that is being made.
    building: Option<LayerId>,
    gone: bool,
}

/// What a server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The end of a sandbox.
    End(SessionId),
    /// That files are kept.
    Snapshot { session: SessionId, snapshot: SnapshotId, most_copied: Option<u64> },
    /// That nothing is left to tidy.
    Tidiness,
    /// What a session has on the disk.
    Count(SessionId),
}

/// What can wake the supervisor.
#[derive(Debug, Clone, Copy)]
#[must_use]
enum Wake {
    Signal,
    Connection,
    Server(usize),
    /// Looked after in any case.
    Disk,
    /// As the disk.
    Copy,
}

impl Supervisor {
    pub(crate) fn new(
        config: Config,
        ops: Ops,
        lock: OwnedFd,
        listener: OwnedFd,
        reach: Reach,
    ) -> Result<Self, Failure> {
        let take_cgroups = || {
            let found = Cgroups::found(&crate::native::cgroup_name(&config.dir));
            let all = whereabouts::all(&config.dir);
            let lingering = Cgroups::sweep(&all);
            all.iter().filter(|home| !found.contains(home)).for_each(Home::remove);
            abandoned::sweep(&all);
            // Without it, others look for them at the top of each hierarchy.
            let _ = whereabouts::note(&config.dir, &found);
            match config.cgroups {
                true => (Cgroups::prepare(found, &config.dir), lingering),
                false => (Cgroups::without(found, "cgroups are switched off"), lingering),
            }
        };
        let signals = signals::open()
            .map_err(|error| Failure::Failed { doing: "watching for signals".to_owned(), cause: error.to_string() })?;
        Ok(Self {
            sandboxes: Sandboxes::new(&config.dir, config.disk_floor_bytes, take_cgroups, ops, config.pool, reach)?,
            upkeep: Upkeep::new(&config.dir, config.most_layers, config.archive_layers),
            listener,
            signals,
            servers: Vec::new(),
            linger: config.linger,
            bears: config.linger.max(FIRST_SERVER),
            alone_since: Instant::now(),
            closing: false,
            draining: false,
            epoch: 0,
            _lock: lock,
        })
    }

    /// Serves until it is told to shut down, or has been without server and work for long enough.
    pub(crate) fn serve(&mut self) {
        while !self.is_done() {
            let wakes = self.wait();
            if wakes.is_empty() && !self.servers.is_empty() && !self.closing && !self.draining {
                self.sandboxes.fill_pool();
            }
            for wake in wakes {
                match wake {
                    Wake::Signal => {
                        if signals::drain(&self.signals).ends_us {
                            self.closing = true;
                            self.sandboxes.kill_all();
                        }
                    }
                    Wake::Connection => self.accept(),
                    Wake::Server(at) => self.hear(at),
                    Wake::Disk | Wake::Copy => {}
                }
            }
            self.reap();
            if let Some(heard) = self.sandboxes.look_at_disk() {
                self.tell_usage(heard);
            }
            if self.draining {
                self.sandboxes.end_pool();
                self.sandboxes.kill_idle();
            }
            if !self.closing && !self.draining {
                self.upkeep.step(&self.sandboxes);
            }
            self.tell_who_waits();
            self.let_go();
        }
        self.upkeep.end();
        self.sandboxes.leave();
    }

    fn reap(&mut self) {
        for pid in self.sandboxes.reap() {
            self.upkeep.ended(pid, &self.sandboxes);
        }
    }

    fn is_done(&mut self) -> bool {
        let alone_too_long =
            self.servers.is_empty() && self.alone_since.elapsed() >= self.bears && !self.sandboxes.any_busy();
        let is_drained = self.draining && self.sandboxes.sessions().is_empty() && self.sandboxes.pool_is_empty();
        if (alone_too_long || is_drained) && !self.closing {
            self.closing = true;
            self.sandboxes.kill_all();
        }
        let is_empty = self.sandboxes.sessions().is_empty() && self.sandboxes.pool_is_empty();
        self.closing && is_empty && self.sandboxes.is_tidy()
    }

    fn wait(&self) -> Vec<Wake> {
        let mut sources = vec![(Wake::Signal, self.signals.as_fd())];
        if self.servers.len() < MOST_SERVERS {
            sources.push((Wake::Connection, self.listener.as_fd()));
        }
        sources.extend(self.sandboxes.disk_wakes().map(|wake| (Wake::Disk, wake)));
        sources.extend(self.sandboxes.copies().map(|copy| (Wake::Copy, copy)));
        // One that waits for an answer isn't listened to: if it is gone, that shows when the answer is sent.
        let listened_to = self.servers.iter().enumerate().filter(|(_, server)| !server.is_waiting());
        sources.extend(listened_to.map(|(at, server)| (Wake::Server(at), server.socket.as_fd())));
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let timeout =
            self.timeout().map(|left| Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 }));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(_) => return Vec::new(),
        }
        sources.iter().zip(&polled).filter(|(_, poll)| !poll.revents().is_empty()).map(|((wake, _), _)| *wake).collect()
    }

    fn timeout(&self) -> Option<Duration> {
        let again = (self.draining || !self.sandboxes.is_tidy()).then_some(LOOK_AGAIN);
        let alone =
            self.servers.is_empty().then(|| self.bears.saturating_sub(self.alone_since.elapsed()).max(LOOK_AGAIN));
        let may_fill = !self.servers.is_empty() && !self.closing && !self.draining;
        let pool = self.sandboxes.pool_timeout().filter(|_| may_fill);
        let upkeep = self.upkeep.due_in().filter(|_| !self.closing && !self.draining);
        again.into_iter().chain(alone).chain(self.sandboxes.disk_timeout()).chain(upkeep).chain(pool).min()
    }

    fn accept(&mut self) {
        if let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.servers.push(Server { socket, version: None, epoch: None, awaits: None, building: None, gone: false });
        }
    }

    fn hear(&mut self, at: usize) {
        let server = &mut self.servers[at];
        if server.gone {
            // Superseded a moment ago: what it says is not heard any more.
            return;
        }
        let ask = match receive(&server.socket, LONG, RecvFlags::DONTWAIT) {
            Ok(Some(packet)) => decode::<SupervisorAsk>(&packet.bytes).map(|(ask, _)| ask),
            Ok(None) => {
                server.gone = true;
                return;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => Err(error),
        };
        let Ok(ask) = ask else {
            server.gone = true;
            return;
        };
        match self.answer(at, ask) {
            Answer::Now(tell) => self.servers[at].tell(&tell),
            Answer::LetGo(tell) => {
                self.servers[at].tell(&tell);
                self.servers[at].gone = true;
            }
            Answer::Later(awaited) => self.servers[at].awaits = Some(awaited),
            Answer::WhenBuilt(layer) => self.servers[at].building = Some(layer),
        }
    }

    fn answer(&mut self, at: usize, ask: SupervisorAsk) -> Answer {
        let failed = |cause: &str| {
            let (doing, cause) = ("making a sandbox".to_owned(), cause.to_owned());
            Answer::Now(SupervisorTell::Failed { doing, cause })
        };
        let server = &self.servers[at];
        let may_order = server.version.is_some() && server.epoch.is_some();
        match ask {
            SupervisorAsk::Hello(greeting) => self.greet(at, greeting),
            SupervisorAsk::Drain => {
                self.draining = true;
                Answer::Now(SupervisorTell::Ended)
            }
            SupervisorAsk::Shutdown => {
                self.closing = true;
                self.sandboxes.kill_all();
                Answer::Now(SupervisorTell::Ended)
            }
            SupervisorAsk::Open { .. }
            | SupervisorAsk::End { .. }
            | SupervisorAsk::Snapshot { .. }
            | SupervisorAsk::Fork { .. }
            | SupervisorAsk::Rewind { .. }
            | SupervisorAsk::Forget { .. }
            | SupervisorAsk::Limit { .. }
            | SupervisorAsk::Build { .. }
                if !may_order =>
            {
                failed("a server that has not taken over the directory can't order anything")
            }
            SupervisorAsk::Open { .. } | SupervisorAsk::Build { .. } if self.closing || self.draining => {
                failed("the supervisor is shutting down")
            }
            SupervisorAsk::Build { build } => {
                self.reap();
                let layer = build.layer.clone();
                self.sandboxes.build(build).map_or(Answer::WhenBuilt(layer), done)
            }
            SupervisorAsk::Open { spec, start } => {
                // The keeper of an earlier sandbox may have died unnoticed a moment ago.
                self.reap();
                Answer::Now(match self.sandboxes.open(spec, start, self.epoch) {
                    Ok((fresh, limits)) => SupervisorTell::Opened { fresh, limits },
                    Err(failure) => failure.into(),
                })
            }
            SupervisorAsk::Tidy => {
                self.upkeep.hurry();
                Answer::Later(Awaited::Tidiness)
            }
            SupervisorAsk::End { session } => {
                self.upkeep.changed();
                self.sandboxes.kill(session);
                Answer::Later(Awaited::End(session))
            }
            SupervisorAsk::Alive => {
                self.reap();
                Answer::Now(SupervisorTell::Alive { sessions: self.sandboxes.sessions() })
            }
            SupervisorAsk::Snapshot { session, snapshot, most_copied } => {
                self.upkeep.changed();
                Answer::Later(Awaited::Snapshot { session, snapshot, most_copied })
            }
            SupervisorAsk::Limit { session, limits } => {
                self.reap();
                Answer::Now(match self.sandboxes.change_limits(session, limits) {
                    Ok(limits) => SupervisorTell::Limited { limits },
                    Err(failure) => failure.into(),
                })
            }
            SupervisorAsk::Usage { session } => {
                self.sandboxes.want_count(session);
                Answer::Later(Awaited::Count(session))
            }
            SupervisorAsk::Fork { from, snapshot, earlier, to } => {
                done(self.sandboxes.fork(from, snapshot, &earlier, to))
            }
            SupervisorAsk::Rewind { session, snapshot } => {
                self.upkeep.changed();
                self.reap();
                done(self.sandboxes.rewind(session, snapshot))
            }
            SupervisorAsk::Forget { session, snapshots } => {
                self.upkeep.changed();
                done(self.sandboxes.forget(session, &snapshots))
            }
        }
    }

    /// A server that gives orders replaces all of earlier epochs, and is turned away if a later one has been here.
    fn greet(&mut self, at: usize, greeting: Greeting) -> Answer {
        if let Some(epoch) = greeting.epoch {
            if epoch < self.epoch {
                return Answer::LetGo(SupervisorTell::Superseded { epoch: self.epoch });
            }
            self.epoch = epoch;
            for server in &mut self.servers {
                server.gone |= server.epoch.is_some_and(|theirs| theirs < epoch);
            }
        }
        let (server, versions) = (&mut self.servers[at], Versions::of_this_process());
        (server.version, server.epoch) = (versions.agree(greeting), greeting.epoch);
        Answer::Now(SupervisorTell::Hello(versions.greeting()))
    }

    fn tell_usage(&mut self, Heard { session, count, .. }: Heard) {
        for server in self.servers.iter_mut().filter(|server| server.awaits == Some(Awaited::Count(session))) {
            server.awaits = None;
            server.tell(&SupervisorTell::Usage { usage: self.sandboxes.usage(session, count) });
        }
    }

    fn tell_who_waits(&mut self) {
        for server in self.servers.iter_mut().filter(|server| !server.gone) {
            if let Some(outcome) = server.building.as_ref().and_then(|layer| self.sandboxes.built(layer)) {
                server.building = None;
                server.tell(&outcome.map_or_else(SupervisorTell::from, |()| SupervisorTell::Done));
            }
            let Some(awaited) = server.awaits else { continue };
            let tell = match awaited {
                Awaited::End(session) => (!self.sandboxes.is_alive(session)).then_some(SupervisorTell::Ended),
                Awaited::Snapshot { session, snapshot, most_copied } => {
                    match self.sandboxes.snapshot(session, snapshot, most_copied) {
                        Ok(taken) => taken.map(|taken| SupervisorTell::Taken { taken }),
                        Err(failure) => Some(failure.into()),
                    }
                }
                // Told when it is heard.
                Awaited::Count(_) => None,
                Awaited::Tidiness => {
                    (self.upkeep.is_done() || self.closing || self.draining).then_some(SupervisorTell::Done)
                }
            };
            if let Some(tell) = tell {
                server.awaits = None;
                server.tell(&tell);
            }
        }
        let awaited: Vec<Awaited> = self.servers.iter().filter_map(|server| server.awaits).collect();
        self.sandboxes.release(|session| {
            awaited
                .iter()
                .any(|awaited| matches!(awaited, Awaited::Snapshot { session: wanted, .. } if *wanted == session))
        });
        let asked: Vec<LayerId> = self.servers.iter().filter_map(|server| server.building.clone()).collect();
        self.sandboxes.forget_built(&asked);
    }

    fn let_go(&mut self) {
        let before = self.servers.len();
        self.servers.retain(|server| !server.gone);
        if self.servers.is_empty() && before > 0 {
            self.alone_since = Instant::now();
            self.bears = self.linger;
        }
    }
}

/// When a question can be answered.
#[derive(Debug)]
enum Answer {
    Now(SupervisorTell),
    /// And nothing more.
    LetGo(SupervisorTell),
    Later(Awaited),
    WhenBuilt(LayerId),
}

fn done(outcome: Result<(), Failure>) -> Answer {
    Answer::Now(outcome.map_or_else(SupervisorTell::from, |()| SupervisorTell::Done))
}

impl Server {
    fn is_waiting(&self) -> bool {
        self.awaits.is_some() || self.building.is_some()
    }

    fn tell(&mut self, tell: &SupervisorTell) {
        if send(&self.socket, &encode(tell), &[], SendFlags::DONTWAIT).is_err() {
            self.gone = true;
        }
    }
}
