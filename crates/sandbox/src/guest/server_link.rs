use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with};

use crate::wire::{Greeting, KeeperAsk, KeeperTell, SHORT, Versions, decode, encode, receive, send};

/// How much output goes into one packet.
const PROGRESS_BYTES: usize = 32 * 1024;

/// How many connections may wait to greet; the oldest goes when there are more.
const MOST_STRANGERS: usize = 8;

/// How many messages a server may leave unread. One that leaves more is let go; it finds the ends of its calls in their
/// journals.
const MOST_UNSENT: usize = 1024;

/// The keeper's connection to its server. There is one at a time: one that greets with the same epoch or a later one
/// replaces it, and its orders, if unread, are dropped with it. That is what orders repeated by a restarted server rely on.
/// One of an earlier epoch is turned away: it was thought dead, and others have judged its calls since.
#[derive(Debug)]
pub(crate) struct ServerLink {
    listener: OwnedFd,
    /// Those that have not greeted yet, oldest first.
    strangers: VecDeque<OwnedFd>,
    socket: Option<OwnedFd>,
    /// How many servers have been welcomed.
    welcomed: u64,
    /// The latest that anyone has greeted with, here or at the supervisor.
    epoch: u64,
    unsent: VecDeque<Vec<u8>>,
    versions: Versions,
}

/// What came of listening to one that has not greeted yet.
enum Stranger {
    Silent,
    Welcome(Greeting),
    TurnedAway,
}

impl ServerLink {
    /// One to servers of all epochs.
    pub(crate) fn new(listener: OwnedFd) -> Self {
        let (strangers, unsent, versions) = (VecDeque::new(), VecDeque::new(), Versions::of_this_process());
        Self { listener, strangers, socket: None, welcomed: 0, epoch: 0, unsent, versions }
    }

    /// Listens here from now on, if that is another place, to servers of this epoch and later ones.
    pub(crate) fn begin_anew(&mut self, listener: Option<OwnedFd>, epoch: u64) {
        if let Some(listener) = listener {
            self.listener = listener;
        }
        self.epoch = epoch;
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The number of the present connection, if there is one.
    pub(crate) fn connection(&self) -> Option<u64> {
        self.socket.as_ref().map(|_| self.welcomed)
    }

    /// Connections that have not greeted yet.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.strangers.iter().map(AsFd::as_fd)
    }

    /// The connection, and whether it should be watched for room to write.
    pub(crate) fn socket(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.socket.as_ref().map(|socket| (socket.as_fd(), !self.unsent.is_empty()))
    }

    pub(crate) fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.strangers.push_back(socket);
            if self.strangers.len() > MOST_STRANGERS {
                self.strangers.pop_front();
            }
        }
        self.greet();
    }

    /// Hears those that have not greeted yet.
    pub(crate) fn greet(&mut self) {
        for _ in 0..self.strangers.len() {
            let Some(stranger) = self.strangers.pop_front() else { return };
            match self.listen_to(&stranger) {
                Stranger::Silent => self.strangers.push_back(stranger),
                Stranger::TurnedAway => {}
                Stranger::Welcome(greeting) => {
                    self.epoch = greeting.epoch.unwrap_or(self.epoch);
                    self.socket = Some(stranger);
                    self.welcomed += 1;
                    self.unsent.clear();
                    self.tell(&KeeperTell::Hello(self.versions.greeting()));
                }
            }
        }
    }

    fn listen_to(&self, stranger: &OwnedFd) -> Stranger {
        let packet = match receive(stranger, SHORT, RecvFlags::DONTWAIT) {
            Ok(Some(packet)) => packet,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Stranger::Silent,
            Ok(None) | Err(_) => return Stranger::TurnedAway,
        };
        let Ok((KeeperAsk::Hello(greeting), _)) = decode(&packet.bytes) else { return Stranger::TurnedAway };
        let answer = match (self.versions.agree(greeting), greeting.epoch) {
            (Some(_), Some(epoch)) if epoch >= self.epoch => return Stranger::Welcome(greeting),
            (Some(_), Some(_)) => KeeperTell::Superseded { epoch: self.epoch },
            // It finds out why.
            (Some(_), None) | (None, _) => KeeperTell::Hello(self.versions.greeting()),
        };
        let _ = send(stranger, &encode(&answer), &[], SendFlags::DONTWAIT);
        Stranger::TurnedAway
    }

    /// The next message and its descriptors. A server that says what isn't understood is let go.
    pub(crate) fn hear(&mut self) -> Option<(KeeperAsk, Vec<OwnedFd>)> {
        match receive(self.socket.as_ref()?, SHORT, RecvFlags::DONTWAIT) {
            Ok(Some(packet)) => match decode(&packet.bytes) {
                Ok((ask, _)) => Some((ask, packet.descriptors)),
                Err(_) => {
                    self.socket = None;
                    None
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Ok(None) | Err(_) => {
                self.socket = None;
                None
            }
        }
    }

    /// Says something that must arrive.
    pub(crate) fn tell(&mut self, tell: &KeeperTell) {
        if self.socket.is_some() {
            self.unsent.push_back(encode(tell));
            self.flush();
        }
        if self.unsent.len() > MOST_UNSENT {
            self.socket = None;
        }
    }

    /// Says something that may be dropped when the server is slow.
    pub(crate) fn show(&mut self, call: tenure_core::id::ItemId, from: u64, bytes: &[u8]) {
        let Some(socket) = &self.socket else { return };
        if !self.unsent.is_empty() {
            return;
        }
        let mut at = from;
        for part in bytes.chunks(PROGRESS_BYTES) {
            let mut packet = encode(&KeeperTell::Progress { call, from: at });
            packet.extend_from_slice(part);
            if send(socket, &packet, &[], SendFlags::DONTWAIT).is_err() {
                return;
            }
            at += part.len() as u64;
        }
    }

    pub(crate) fn flush(&mut self) {
        while let (Some(socket), Some(packet)) = (&self.socket, self.unsent.front()) {
            match send(socket, packet, &[], SendFlags::DONTWAIT) {
                Ok(()) => drop(self.unsent.pop_front()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.socket = None,
            }
        }
    }
}
