use std::io;
use std::os::fd::OwnedFd;

use crate::journal::Entry;

/// Writes a call's journal: each entry whole or not at all, so that a full disk leaves a record that can be read. The lock
/// of the journal goes with it.
#[derive(Debug)]
pub(crate) struct Recorder {
    journal: OwnedFd,
    /// How long it is without a cut entry.
    whole: u64,
    /// How long it was before any output.
    bare: u64,
}

impl Recorder {
    pub(crate) fn new(journal: OwnedFd) -> Self {
        let length = rustix::fs::fstat(&journal).map_or(0, |found| found.st_size as u64);
        Self { journal, whole: length, bare: length }
    }

    /// Notes that the call may have effects from here on. If it can't be noted, the call must not run.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.append(&Entry::Started.encode())?;
        self.bare = self.whole;
        Ok(())
    }

    /// Appends an entry.
    pub(crate) fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        let mut left = entry;
        while !left.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.journal, left)) {
                Ok(length) => left = &left[length..],
                Err(error) => {
                    // What can't be cut off again ends the record: what comes later won't be read, and needn't be right.
                    let _ = rustix::fs::ftruncate(&self.journal, self.whole);
                    return Err(error.into());
                }
            }
        }
        self.whole += entry.len() as u64;
        Ok(())
    }

    /// Gives up all output, to make room for how the call ended.
    pub(crate) fn drop_output(&mut self) {
        if rustix::fs::ftruncate(&self.journal, self.bare).is_ok() {
            self.whole = self.bare;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::Recorder;
    use crate::journal::{Ending, Entry, MAGIC, Record, Stream, output_frame};

    /// Acts on a full disk, as a limit on the length of files makes it, in a process of its own, since the limit is of the
    /// whole process; gives a small number back.
    fn with_room_for(bytes: u64, act: impl FnOnce() -> u8) -> u8 {
        use rustix::process::{Resource, getrlimit, setrlimit};
        // SAFETY: the copy writes to one file and ends without returning; the signal that comes with the limit is ignored
        // in it, as it is in the first process of a namespace.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let limit = rustix::process::Rlimit { current: Some(bytes), ..getrlimit(Resource::Fsize) };
                let lowered = setrlimit(Resource::Fsize, limit).is_ok();
                libc::_exit(if lowered { act().into() } else { 99 });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            libc::WEXITSTATUS(status) as u8
        }
    }

    #[test]
    fn whatever_the_disk_has_room_for_the_record_is_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let head = [MAGIC.to_vec(), Entry::Ordered { boot: "b".to_owned() }.encode()].concat();
        let most = head.len() as u64 + 200;
        for room in head.len() as u64..most {
            let path = dir.path().join(room.to_string());
            let mut file = File::options().append(true).create(true).open(&path).expect("a file");
            file.write_all(&head).expect("written");
            let mut recorder = Recorder::new(file.into());
            let outcome = with_room_for(room, || {
                let started = recorder.start().is_ok();
                for _ in 0..10 {
                    let _ = recorder.append(&output_frame(Stream::Out, b"some output"));
                }
                let exited = Entry::Exited(Ending::default()).encode();
                let ended = recorder.append(&exited).or_else(|_| {
                    recorder.drop_output();
                    recorder.append(&exited)
                });
                u8::from(started) | u8::from(ended.is_ok()) << 1
            });
            let (started, ended) = (outcome & 1 != 0, outcome & 2 != 0);
            let record = Record::read(&std::fs::read(&path).expect("readable"));
            assert_eq!((record.flaw, record.started, record.ending.is_some()), (None, started, ended), "room {room}");
            assert!(outcome < 4, "room {room}: {outcome}");
            assert!(record.stdout.len().is_multiple_of(11), "room {room}: {}", record.stdout.len());
        }
    }
}
