use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::supervisor::address_in;
use crate::wire::{LONG, Packet, receive, send};

/// One end of a packet connection.
#[derive(Debug)]
pub(crate) struct Channel(AsyncFd<OwnedFd>);

/// How long to wait between attempts when a listener has too many connections to accept.
const CROWDED: Duration = Duration::from_millis(1);

impl Channel {
    /// Connects to the socket of this name in a directory. `NotFound` and `ConnectionRefused` both mean that nobody
    /// listens.
    pub(crate) async fn connect(dir: &Path, name: &str) -> io::Result<Self> {
        let directory = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let address = address_in(&directory, name)?;
        loop {
            match connect(&socket, &address) {
                // SAFETY: the descriptor is owned by what is registered, and neither replaced nor closed while it is.
                Ok(()) => return Ok(Self(unsafe { AsyncFd::register(socket)? })),
                Err(rustix::io::Errno::AGAIN) => tokio::time::sleep(CROWDED).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, |socket| send(socket.as_fd(), bytes, descriptors, SendFlags::DONTWAIT))
            .await
    }

    /// The next packet; `None` when the other side is gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<Packet>> {
        self.0.async_io(Interest::READABLE, |socket| receive(socket.as_fd(), LONG, RecvFlags::DONTWAIT)).await
    }
}

/// Whether an error of connecting means that nobody listens.
pub(crate) fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
