//! Opening the database file, and the key that seals what is secret in it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tenure_core::fact::Fact;

use super::During as _;
use super::writer::BUSY_TIMEOUT;
use crate::error::Error;
use crate::formats::{self, Stored};
use crate::seal::MasterKey;

const STATEMENTS: usize = 96;

/// What the sealed word that proves the master key says, and the name it is sealed under.
const PROOF: &[u8] = b"tenure";
const PROOF_NAME: &str = "\0master key";

/// The writer's connection. A commit is on the disk when it returns (`synchronous=FULL`), the write-ahead log keeps
/// its file, and nothing but the writer checkpoints it.
pub(super) fn open_writable(path: &Path) -> Result<Connection, Error> {
    let operation = "opening the database";
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .during(operation)?;
    db.busy_timeout(BUSY_TIMEOUT).during(operation)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = -1;
         PRAGMA cache_size = -65536;
         PRAGMA temp_store = MEMORY;",
    )
    .during(operation)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// A connection that can't write.
pub(super) fn open_readable(path: &Path) -> Result<Connection, Error> {
    let operation = "opening the database for reading";
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .during(operation)?;
    db.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")
        .during(operation)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// A connection that can't write, also where nobody can: on a read-only file system SQLite can't make the side files it
/// reads with, and doesn't need them once the write-ahead log was emptied, as a server does when it ends.
pub(super) fn open_readable_anywhere(path: &Path) -> Result<Connection, Error> {
    let opened = open_readable(path).and_then(|db| match db.query_row("PRAGMA schema_version", [], |_| Ok(())) {
        Ok(()) => Ok(db),
        Err(error) => Err(Error::internal("opening the database for reading", error)),
    });
    let wal = path.with_extension("db-wal");
    let emptied = fs::metadata(wal).map_or(true, |wal| wal.len() == 0);
    opened.or_else(|error| if emptied && path.exists() { open_unchanging(path) } else { Err(error) })
}

/// A connection to a database that nobody changes, which may lie on a read-only medium: without locks or side files.
pub(super) fn open_unchanging(path: &Path) -> Result<Connection, Error> {
    let escape = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let path: String = path.as_os_str().as_bytes().iter().map(escape).collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags).during("opening the database")?;
    db.execute_batch("PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;").during("opening the database")?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// The generation of the data.
pub(super) fn generation(db: &Connection) -> Result<u64, Error> {
    db.query_row("SELECT generation FROM installation", [], |row| row.get(0)).during("reading the generation")
}

/// The key given, or the one in the folder, or, the first time, a new one, kept in the folder. One that doesn't open
/// what is sealed already is refused.
pub(super) fn master_key(db: &Connection, dir: &Path, given: Option<MasterKey>) -> Result<MasterKey, Error> {
    let operation = "checking the master key";
    let sealed = sealed_proof(db)?;
    let path = dir.join("master.key");
    let key = match given {
        Some(key) => key,
        None => match read_key(&path)? {
            Some(key) => key,
            None if sealed.is_none() => create_key(dir, &path)?,
            None => {
                let why = "it is missing, and secrets are sealed with it; put it back or set TENURE_MASTER_KEY";
                return Err(Error::unreadable(path.display(), why));
            }
        },
    };
    match sealed {
        Some(sealed) if opens_proof(&key, &sealed) => {}
        Some(_) => {
            let why = "its secrets were sealed with another master key than the one given";
            return Err(Error::unreadable(dir.display(), why));
        }
        None => {
            let sealed = key.seal(PROOF_NAME, PROOF)?;
            db.execute("INSERT INTO master_key (only, sealed) VALUES (1, ?1)", [sealed]).during(operation)?;
        }
    }
    Ok(key)
}

/// The sealed word that proves a master key, if one was ever used.
pub(super) fn sealed_proof(db: &Connection) -> Result<Option<Vec<u8>>, Error> {
    let proof = db.query_row("SELECT sealed FROM master_key", [], |row| row.get(0)).optional();
    proof.during("reading what proves the master key")
}

/// Whether it is the key that the word was sealed with.
pub(super) fn opens_proof(key: &MasterKey, proof: &[u8]) -> bool {
    key.open(PROOF_NAME, proof).is_ok()
}

/// The key in a file, if there is one.
pub(super) fn read_key(path: &Path) -> Result<Option<MasterKey>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => MasterKey::from_hex(&text).map(Some).map_err(|why| Error::unreadable(path.display(), why)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::internal(format!("reading {}", path.display()), error)),
    }
}

/// Written beside and renamed, so that a crash leaves no half key.
fn create_key(dir: &Path, path: &Path) -> Result<MasterKey, Error> {
    let key = MasterKey::generate()?;
    let beside = dir.join("master.key.new");
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{}\n", key.to_hex()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().during("making the master key")?;
    Ok(key)
}

/// Makes a folder and those above it, for its owner alone.
pub(super) fn create_folder(dir: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.during(&format!("making {}", dir.display()))
}

/// Reads a stored value.
pub(super) fn decode<T: Stored>(format: u32, bytes: &[u8]) -> Result<T, Error> {
    formats::decode(format, bytes).map_err(|why| Error::unreadable(format_args!("a stored {}", T::NAME), why))
}

/// Reads a stored fact; a message about one says which.
pub(super) fn decode_fact(format: u32, kind: &str, seq: u64, bytes: &[u8]) -> Result<Fact, Error> {
    formats::decode(format, bytes).map_err(|why| Error::unreadable(format_args!("fact {seq} (`{kind}`)"), why))
}
