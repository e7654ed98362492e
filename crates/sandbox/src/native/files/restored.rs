use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::syncfs;

use crate::Error;
use crate::native::as_owner::note_users;

/// In a sandbox directory: until when calls belong to a life before a restore, in milliseconds since 1970, as text.
const NAME: &str = "restored-at";

/// Notes that the files below a sandbox directory, and the log that goes with them, come from a backup. From now on, a
/// call asked for up to this moment whose journal doesn't show its end is interrupted, and never run: it may have had its
/// effects after the backup was made. All that was restored is synced. Blocks.
///
/// `at` should be the later of now and the newest that the restored log says of time, in case the clock was set back.
pub fn mark_restored(root: &Path, at: SystemTime) -> Result<(), Error> {
    let mark = || -> io::Result<()> {
        std::fs::create_dir_all(root)?;
        note_users(root)?;
        // Rounded up, so that the moment itself is before it.
        let at = at + Duration::from_millis(1);
        let at = at.max(restored_at(root)?.unwrap_or(SystemTime::UNIX_EPOCH));
        let millis = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let new = root.join(format!("{NAME}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(format!("{millis}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, root.join(NAME))?;
        Ok(syncfs(File::open(root)?)?)
    };
    mark().map_err(Error::failed("noting that the sandboxes' files were restored"))
}

/// When the files were last restored, if ever. What can't be understood is an error: taking it for "never" might run a
/// call twice.
pub(crate) fn restored_at(root: &Path) -> io::Result<Option<SystemTime>> {
    let text = match std::fs::read_to_string(root.join(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let millis = text.trim().parse().map_err(|_| {
        let at = root.join(NAME);
        io::Error::new(io::ErrorKind::InvalidData, format!("{} doesn't hold a time in milliseconds", at.display()))
    })?;
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::{NAME, mark_restored, restored_at};
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_latest_restore_counts_and_nonsense_is_an_error() {
        let root = tempfile::tempdir().expect("a directory");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(restored_at(root.path()).expect("readable"), None);
        mark_restored(root.path(), at).expect("marked");
        mark_restored(root.path(), at - Duration::from_secs(500)).expect("marked");
        assert_eq!(restored_at(root.path()).expect("readable"), Some(at + Duration::from_millis(1)));
        std::fs::write(root.path().join(NAME), "yesterday").expect("written");
        restored_at(root.path()).expect_err("it isn't a time");
    }
}
