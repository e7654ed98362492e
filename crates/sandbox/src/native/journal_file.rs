use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, MemfdFlags, SealFlags, fcntl_add_seals, flock, memfd_create};
use tenure_core::id::ItemId;

use super::files::restored_at;
use crate::journal::{Age, Entry, FRAME_OVERHEAD, MAGIC, Record};
use crate::order::{Sheet, Work};

/// The journal of a call as the server sees it: a path, opened afresh for each look.
#[derive(Debug, Clone)]
pub(crate) struct JournalFile {
    at: PathBuf,
    /// No journal of this call is longer.
    most: u64,
}

/// How long a journal may be if so much is kept of each stream of output. Each byte may have come by itself, and then takes an entry.
pub(crate) fn longest(output_cap_bytes: usize) -> u64 {
    (output_cap_bytes as u64).saturating_mul(2 * (1 + FRAME_OVERHEAD as u64)).saturating_add(1 << 20)
}

impl JournalFile {
    /// Of a call of which so much is kept of each stream. Whoever writes it may have been taken over: more is not read.
    pub(crate) fn new(session_dir: &Path, call: ItemId, output_cap_bytes: usize) -> Self {
        Self { at: session_dir.join("calls").join(call.to_string()), most: longest(output_cap_bytes) }
    }

    /// The calls of a session that have one.
    pub(crate) fn all(session_dir: &Path) -> io::Result<Vec<ItemId>> {
        let entries = match std::fs::read_dir(session_dir.join("calls")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        // What has another name isn't ours.
        Ok(names.collect::<io::Result<Vec<_>>>()?.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    pub(crate) fn is_there(&self) -> bool {
        self.at.exists()
    }

    /// Takes the lock if nobody can write it any more.
    pub(crate) fn try_lock(&self) -> io::Result<Option<File>> {
        let file = self.open()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until nobody can write it any more.
    pub(crate) async fn wait_unlocked(&self) -> io::Result<()> {
        let file = self.open()?;
        let locked = tokio::task::spawn_blocking(move || flock(&file, FlockOperation::LockExclusive));
        Ok(locked.await.map_err(io::Error::other)??)
    }

    pub(crate) fn read(&self) -> io::Result<Record> {
        match self.bytes() {
            Ok(bytes) => Ok(Record::read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error),
        }
    }

    /// What it has of the output, as it came.
    pub(crate) fn printed(&self) -> Vec<u8> {
        self.bytes().map(|bytes| Record::printed(&bytes)).unwrap_or_default()
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        read_at_most(&mut File::open(&self.at)?, self.most)
    }

    /// What it tells, once it is locked.
    pub(crate) fn read_locked(&self, file: &mut File) -> io::Result<Record> {
        read_locked(file, self.most)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn open(&self) -> io::Result<File> {
        File::options().read(true).append(true).create(true).open(&self.at)
    }
}

/// What a locked journal tells, of which no more than so much is read.
pub(crate) fn read_locked(file: &mut File, most: u64) -> io::Result<Record> {
    file.seek(SeekFrom::Start(0))?;
    Ok(Record::read(&read_at_most(file, most)?))
}

fn read_at_most(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(most)).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Begins a locked journal anew.
pub(crate) fn begin(file: &mut File) -> io::Result<()> {
    // The journal of a new call is empty, and finding that out is cheaper than changing it.
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(Entry::Ordered { boot: boot_id().to_owned() }.encode());
    file.write_all(&bytes)
}

/// The order as a file that can't be changed any more, to be passed to the keeper.
pub(crate) fn write_order(work: Work) -> io::Result<OwnedFd> {
    let (sheet, payload) = work.into_sheet();
    write_sheet(&sheet, &payload)
}

/// The same for an order in its travelling form.
pub(crate) fn write_sheet(sheet: &Sheet, payload: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("order", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut writer = File::from(file);
    let mut line = serde_json::to_vec(sheet)?;
    line.push(b'\n');
    writer.write_all(&line)?;
    writer.write_all(payload)?;
    let file = OwnedFd::from(writer);
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    })
}

/// From when a call is that was asked for at this time, below this sandbox directory; none is known of a new one.
pub(crate) fn age(root: &Path, asked_at: Option<SystemTime>) -> io::Result<Age> {
    let Some(asked_at) = asked_at else { return Ok(Age::Present) };
    Ok(match restored_at(root)? {
        Some(restored) if asked_at < restored => Age::BeforeRestore,
        Some(_) | None if asked_at < booted_at() => Age::BeforeBoot,
        Some(_) | None => Age::Present,
    })
}

/// When this boot of the machine began.
fn booted_at() -> SystemTime {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{Entry, ItemId, JournalFile, begin};
    use crate::journal::Flaw;

    #[test]
    fn of_a_journal_no_more_is_read_than_there_can_be() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("calls")).expect("made");
        let journal = JournalFile::new(dir.path(), ItemId::from_bits(1), 100);
        let mut file = journal.try_lock().expect("opened").expect("nobody writes it");
        begin(&mut file).expect("begun");
        std::io::Write::write_all(&mut file, &Entry::Started.encode()).expect("written");
        // What a keeper that was taken over can do at once.
        File::set_len(&file, 1 << 40).expect("lengthened");
        for record in [journal.read(), journal.read_locked(&mut file)] {
            let record = record.expect("read");
            assert_eq!((record.started, record.flaw), (true, Some(Flaw::Torn)));
        }
        assert_eq!(journal.printed(), b"");
    }
}
