//! Who holds a lock, without trying to take it: a client that tried would keep a server from starting.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

/// How often a lock has to be looked for in vain before it counts as free. The kernel gives its list in pieces of a page,
/// counted from the beginning: if one before it goes while the list is read, the next one is passed over.
const LOOKS: usize = 16;

/// The process that holds the `flock` of a file, from `/proc/locks` (proc(5)).
pub(super) fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    (0..LOOKS).find_map(|_| {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| holder_in(line, inode))
    })
}

/// `7: FLOCK  ADVISORY  WRITE 1234 fe:01:262151 0 EOF`; a waiting lock has `->` after its number. The device isn't
/// compared: some file systems show another there than `stat` does.
fn holder_in(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    if words.next() != Some("FLOCK") {
        return None;
    }
    let pid = words.nth(2)?;
    let locked: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
    (locked == inode).then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{FlockOperation, flock};

    use super::{holder, holder_in};

    #[test]
    fn a_lock_that_is_held_is_found_while_others_come_and_go() {
        let dir = tempfile::tempdir().expect("made");
        let made = |name: String| File::create(dir.path().join(name)).expect("made");
        let others: Vec<File> = (0..400).map(|number| made(number.to_string())).collect();
        let lock = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).expect("free");
        let held = made("held".to_owned());
        lock(&held);
        others.iter().for_each(lock);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    others.iter().for_each(|other| flock(other, FlockOperation::Unlock).expect("held"));
                    others.iter().for_each(lock);
                }
            });
            let found = (0..100).all(|_| holder(&held) == Some(std::process::id()));
            over.store(true, Ordering::Relaxed);
            assert!(found);
        });
    }

    #[test]
    fn only_held_locks_of_the_file_count() {
        let held = "7: FLOCK  ADVISORY  WRITE 1234 fe:01:262151 0 EOF";
        assert_eq!(holder_in(held, 262_151), Some(1234));
        assert_eq!(holder_in(held, 1), None);
        assert_eq!(holder_in("7: -> FLOCK  ADVISORY  WRITE 99 fe:01:262151 0 EOF", 262_151), None);
        assert_eq!(holder_in("8: POSIX  ADVISORY  READ 5 fe:01:262151 128 128", 262_151), None);
        assert_eq!(holder_in("", 262_151), None);
    }
}
