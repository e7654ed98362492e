//! Disks that fill, that can't be written, and files that were cut.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use rusqlite::Connection;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_store::sqlite::{SqliteOptions, SqliteStore};
use tenure_store::{AppendError, Blobs as _, Error, FactStore as _, SessionRows as _, Tail};

use crate::fixture::Log;
use crate::sqlite::{open, refusal};

const DIR: &str = "TENURE_STORE_DISK_DIR";
const BALLAST: &str = "TENURE_STORE_DISK_BALLAST";

/// Runs the other half of a test behind a shell's lines, which prepare its disk.
fn behind(shell: &[&str], lines: &str, half: &str, dir: &Path) -> String {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", &format!("{lines} exec \"$0\" \"$@\"")]).arg(own);
    command.args(["--exact", half, "--nocapture", "--include-ignored"]);
    let output = command.env(DIR, dir).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether file systems can be mounted here, where nobody else sees them. In CI they must.
fn can_mount() -> bool {
    let can = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    assert!(can || std::env::var_os("CI").is_none(), "mount namespaces are needed");
    can
}

#[test]
fn a_limit_on_files_is_met_and_lifted() {
    let dir = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes; only the soft limit, which the other half lifts itself.
    let said = behind(&["sh"], "trap '' XFSZ; ulimit -S -f 4000;", "disk::fills_its_disk", dir.path());
    assert!(said.contains("the disk was full and is not"), "{said}");
}

#[test]
fn a_disk_that_fills_loses_nothing_and_needs_no_restart() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=4m none '{}' && {BALLAST}=1", dir.path().display());
    let said = behind(&["unshare", "-m", "sh"], &mount, "disk::fills_its_disk", dir.path());
    assert!(said.contains("the disk was full and is not"), "{said}");
}

#[tokio::test]
async fn a_read_only_folder_is_refused_and_can_be_checked() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"));
    store.append(Log::new(1).create()).await.unwrap();
    drop(store);
    let at = dir.path().display();
    let mount = format!("mount --bind '{at}' '{at}' && mount -o remount,bind,ro '{at}' &&");
    let said = behind(&["unshare", "-m", "sh"], &mount, "disk::opens_a_read_only_folder", dir.path());
    assert!(said.contains("it is read-only"), "{said}");
}

/// Writes until the disk is full, looks at what that means, makes room, and goes on.
#[tokio::test]
#[ignore = "the other half of the tests above, which prepare its disk"]
async fn fills_its_disk() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir).join("data");
    let ballast = dir.with_file_name("ballast");
    let on_small_disk = std::env::var_os(BALLAST).is_some();
    if on_small_disk {
        fs::write(&ballast, vec![0; 1024 * 1024]).unwrap();
    }
    fs::create_dir(&dir).unwrap();
    let store = open(&dir);
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut tail = store.tail(log.id(), 0);
    assert_eq!(store.trouble(), None);
    let refused = loop {
        let before = log.clone();
        let fact = log.message(&"x".repeat(20_000));
        match store.append(log.append([fact])).await {
            Ok(()) => {}
            Err(error) => {
                log = before;
                break error;
            }
        }
    };
    assert!(matches!(refused, AppendError::Internal(Error::Unavailable { .. })), "{refused:?}");
    let trouble = store.trouble().expect("writes fail");
    assert!(trouble.contains("disk"), "{trouble}");
    if on_small_disk {
        assert!(trouble.contains("full"), "{trouble}");
        let blob = store.put_blob(vec![1; 2_000_000]).await.unwrap_err();
        assert!(matches!(&blob, Error::Unavailable { reason } if reason.contains("full")), "{blob:?}");
    }
    // Reads go on; what wasn't acknowledged was told to nobody.
    let acknowledged = log.row.seq;
    assert!(acknowledged > 10, "{acknowledged}");
    assert_eq!(store.head(log.id()).await.unwrap(), Some(acknowledged));
    assert_eq!(store.session(None, log.id()).await.unwrap().unwrap().summary, log.row);
    let mut told = 0;
    while told < acknowledged {
        told += facts(tail.next().await).len() as u64;
    }
    assert_eq!(told, acknowledged);

    // Room again: nobody restarts anything, and the store finds out by itself.
    match on_small_disk {
        true => fs::remove_file(&ballast).unwrap(),
        false => lift_limit(),
    }
    // It asks the disk once a second, and no event tells of that.
    while store.trouble().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fact = log.message("there is room again");
    store.append(log.append([fact])).await.unwrap();
    let heard = facts(tail.next().await);
    assert_eq!(heard.iter().map(|fact| fact.seq).collect::<Vec<_>>(), [acknowledged + 1]);
    drop(tail);
    drop(store);
    let store = open(&dir);
    let all = store.read_facts(log.id(), 0, usize::MAX).await.unwrap();
    assert!(all.iter().map(|fact| fact.seq).eq(1..=log.row.seq));
    writeln!(std::io::stdout(), "the disk was full and is not").unwrap();
}

fn facts(told: Option<Result<Tail, Error>>) -> Vec<StoredFact> {
    match told {
        Some(Ok(Tail::Facts(facts))) => facts.to_vec(),
        unexpected => panic!("{unexpected:?}"),
    }
}

fn lift_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
}

#[tokio::test]
#[ignore = "the other half of the test above, which makes its disk read-only"]
async fn opens_a_read_only_folder() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir).join("data");
    let refused = SqliteStore::open(SqliteOptions { dir: dir.clone(), master_key: None }).unwrap_err();
    let Error::Unavailable { reason } = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("read-only") && reason.contains("data"), "{reason}");
    let (checked, found) = crate::check::findings(&dir);
    assert_eq!((checked.sessions, found), (1, Vec::new()));
    writeln!(std::io::stdout(), "it is read-only").unwrap();
}

#[tokio::test]
async fn a_database_that_another_program_holds_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let other = Connection::open(dir.path().join("tenure.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = log.clone();
    let refused = store.append(log.say(1)).await.unwrap_err();
    assert!(
        matches!(&refused, AppendError::Internal(Error::Unavailable { reason }) if reason.contains("another program")),
        "{refused:?}"
    );
    assert!(store.trouble().is_some());
    assert_eq!(store.read_facts(log.id(), 0, 10).await.unwrap().len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    log = before;
    store.append(log.say(1)).await.unwrap();
    assert_eq!(store.trouble(), None);
}

/// What a process that was killed leaves: a database and a log that isn't in it yet.
async fn crashed(dir: &Path) -> Log {
    let living = tempfile::tempdir().unwrap();
    let store = open(living.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    for _ in 0..50 {
        store.append(log.say(2)).await.unwrap();
    }
    for file in ["tenure.db", "tenure.db-wal", "tenure.db-mark", "master.key"] {
        fs::copy(living.path().join(file), dir.join(file)).unwrap();
    }
    log
}

#[tokio::test]
async fn a_log_that_a_crash_left_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = crashed(dir.path()).await;
    let store = open(dir.path());
    assert_eq!(store.head(log.id()).await.unwrap(), Some(log.row.seq));
}

#[tokio::test]
async fn a_log_that_was_cut_damaged_or_removed_is_noticed() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("removed", |wal| fs::remove_file(wal).unwrap()),
        ("cut by half", |wal| {
            let length = fs::metadata(wal).unwrap().len();
            fs::File::options().write(true).open(wal).unwrap().set_len(length / 2).unwrap();
        }),
        ("cut by a byte", |wal| {
            let length = fs::metadata(wal).unwrap().len();
            fs::File::options().write(true).open(wal).unwrap().set_len(length - 1).unwrap();
        }),
        ("damaged in the middle", |wal| {
            let mut bytes = fs::read(wal).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(wal, bytes).unwrap();
        }),
    ];
    for (how, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let log = crashed(dir.path()).await;
        harm(&dir.path().join("tenure.db-wal"));
        let (database, left) = (dir.path().join("tenure.db"), fs::read(dir.path().join("tenure.db")).unwrap());
        let wal = fs::read(dir.path().join("tenure.db-wal")).ok();
        let (_, found) = crate::check::findings(dir.path());
        assert!(found.iter().any(|finding| finding.what.contains("acknowledged are missing")), "{how}: {found:#?}");
        for attempt in 1..=2 {
            let refused = refusal(dir.path(), None);
            assert!(
                refused.contains("tenure.db-wal") && refused.contains("tenure restore"),
                "{how} {attempt}: {refused}"
            );
        }
        // What shows what happened, or is put back, is as it was.
        assert_eq!(fs::read(database).unwrap(), left, "{how}");
        assert_eq!(
            fs::read(dir.path().join("tenure.db-wal")).ok().unwrap_or_default(),
            wal.unwrap_or_default(),
            "{how}"
        );
        // Whoever accepts the loss goes on with what is left.
        fs::remove_file(dir.path().join("tenure.db-mark")).unwrap();
        let store = open(dir.path());
        assert!(store.head(log.id()).await.unwrap().unwrap_or(0) < log.row.seq, "{how}");
    }
}

#[tokio::test]
async fn no_mark_is_ahead_of_what_is_left_after_a_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for session in 1..=2 {
        let mut log = Log::new(session);
        store.append(log.create()).await.unwrap();
        store.append(log.say(20)).await.unwrap();
    }
    assert!(store.delete_session(SessionId::from_bits(2)).await.unwrap());
    drop(store);
    drop(open(dir.path()));
    // A mark that was torn says nothing.
    fs::write(dir.path().join("tenure.db-mark"), [9; 12]).unwrap();
    drop(open(dir.path()));
}
