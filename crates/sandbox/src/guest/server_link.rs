use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with};

use crate::wire::{KeeperAsk, KeeperTell, SHORT, decode, encode, receive, send};

/// How much output goes into one packet.
const PROGRESS_BYTES: usize = 32 * 1024;

/// The keeper's connection to its server. There is one at a time: a newer one replaces an older one, whose orders, if
/// unread, are dropped with it. That is what orders repeated by a restarted server rely on; the order in which
/// connections arrive at one listening socket is their epoch.
#[derive(Debug)]
pub(crate) struct ServerLink {
    listener: OwnedFd,
    socket: Option<OwnedFd>,
    unsent: VecDeque<Vec<u8>>,
}

impl ServerLink {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self { listener, socket: None, unsent: VecDeque::new() }
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The connection, and whether it should be watched for room to write.
    pub(crate) fn socket(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.socket.as_ref().map(|socket| (socket.as_fd(), !self.unsent.is_empty()))
    }

    pub(crate) fn accept(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.socket = Some(socket);
            self.unsent.clear();
        }
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
