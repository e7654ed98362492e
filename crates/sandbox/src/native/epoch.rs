use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// In a sandbox directory: the number of the server that took it over last, as text.
const NAME: &str = "epoch";

/// Takes a sandbox directory over: raises its number and gives the new one. Whoever has an earlier one is not listened to
/// any more by supervisor and keepers, once they have heard of this one.
///
/// It need not outlive a crash of the machine, since nobody who compares it does. Blocks.
pub(crate) fn raise(root: &Path) -> io::Result<u64> {
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(root.join(NAME))?;
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // It is empty when it is new. What isn't a number must not be taken for a small one.
    let last: u64 = match text.trim() {
        "" => 0,
        text => text.parse().map_err(|_| {
            let at = root.join(NAME);
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} doesn't hold a number: remove it when nothing runs", at.display()),
            )
        })?,
    };
    let next = last + 1;
    file.rewind()?;
    // It only grows, so that no rest of an earlier number can follow it.
    file.write_all(format!("{next:020}\n").as_bytes())?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::{NAME, raise};

    #[test]
    fn every_raise_gives_a_larger_number() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!([0; 3].map(|_| raise(root.path()).expect("raised")), [1, 2, 3]);
        std::fs::write(root.path().join(NAME), "41").expect("written");
        assert_eq!(raise(root.path()).expect("raised"), 42);
        let at = root.path().to_owned();
        let raising: Vec<_> = (0..8)
            .map(|_| {
                let at = at.clone();
                std::thread::spawn(move || (0..50).map(|_| raise(&at).expect("raised")).collect::<Vec<_>>())
            })
            .collect();
        let mut all: Vec<u64> = raising.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(43..443));
    }
}
