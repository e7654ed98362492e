//! The files of blobs: those that are named are there, and each holds what its name says.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tenure_core::content::BlobId;
use tenure_core::id::SessionId;

use super::super::During as _;
use super::whole::{Checking, RESTORE};
use crate::blobs::Hashing;
use crate::check::{Finding, Part};
use crate::error::Error;

const OPERATION: &str = "checking the blobs";

/// How many of the sessions that name a damaged blob are told.
const TOLD: usize = 5;

pub(super) fn check(checking: &mut Checking<'_>) -> Result<(), Error> {
    missing(checking)?;
    let folders = match fs::read_dir(checking.blobs.dir()) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::internal(OPERATION, error)),
    };
    for folder in folders {
        let folder = folder.during(OPERATION)?;
        let prefix = folder.file_name().display().to_string();
        if prefix == "new" || !folder.file_type().during(OPERATION)?.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path()).during(OPERATION)? {
            checking.go_on()?;
            let file = file.during(OPERATION)?;
            match BlobId::from_hex(&format!("{prefix}{}", file.file_name().display())) {
                Some(id) => content(checking, &id, &file.path())?,
                None => {
                    let what = format!("{} isn't named as a blob is", file.path().display());
                    let finding = Finding::new(Part::Blob, what, "nothing reads it", "look at it, and remove it");
                    checking.find(Finding { path: Some(file.path()), ..finding });
                }
            }
        }
    }
    Ok(())
}

/// Blobs that are named and not there.
fn missing(checking: &mut Checking<'_>) -> Result<(), Error> {
    let db = checking.db;
    let mut select = db.prepare("SELECT DISTINCT blob FROM named_blobs ORDER BY blob").during(OPERATION)?;
    let mut rows = select.query([]).during(OPERATION)?;
    while let Some(row) = rows.next().during(OPERATION)? {
        checking.go_on()?;
        let name: String = row.get(0).during(OPERATION)?;
        let path = BlobId::from_hex(&name).map(|id| checking.blobs.path(&id));
        if path.as_deref().is_some_and(|path| path.exists()) {
            continue;
        }
        tell(checking, &name, path.as_deref(), format!("blob {name} is missing"))?;
    }
    Ok(())
}

fn content(checking: &mut Checking<'_>, id: &BlobId, path: &Path) -> Result<(), Error> {
    let read = File::open(path).and_then(|mut file| {
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut file, &mut hashing)?;
        Ok(hashing.finish())
    });
    match read {
        Ok((bytes, hash)) => {
            checking.checked.blobs += 1;
            checking.checked.blob_bytes += bytes;
            if hash != id.as_str() {
                tell(checking, id.as_str(), Some(path), format!("blob {id} is damaged: its bytes have another hash"))?;
            }
        }
        // Swept or put this moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tell(checking, id.as_str(), Some(path), format!("blob {id} can't be read: {error}"))?,
    }
    Ok(())
}

fn tell(checking: &mut Checking<'_>, name: &str, path: Option<&Path>, what: String) -> Result<(), Error> {
    let sessions: Vec<SessionId> = checking
        .db
        .prepare_cached(
            "SELECT s.id FROM named_blobs n JOIN sessions s ON s.key = n.session WHERE n.blob = ?1 LIMIT ?2",
        )
        .and_then(|mut select| {
            let read = |row: &rusqlite::Row<'_>| row.get(0).map(|id| SessionId::from_bits(u128::from_be_bytes(id)));
            select.query_map(rusqlite::params![name, TOLD as u64 + 1], read)?.collect()
        })
        .during(OPERATION)?;
    let named: Vec<String> = sessions.iter().take(TOLD).map(ToString::to_string).collect();
    let more = if sessions.len() > TOLD { " and others" } else { "" };
    let (meaning, remedy) = match sessions.is_empty() {
        true => ("nobody names it: the next sweep removes it".to_owned(), "nothing".to_owned()),
        false => (
            format!("content of the sessions {}{more} can't be shown or sent to a model", named.join(", ")),
            match path {
                Some(path) => format!("put the file back from a backup, at {}; or {RESTORE}", path.display()),
                None => RESTORE.to_owned(),
            },
        ),
    };
    let finding = Finding::new(Part::Blob, what, &meaning, &remedy);
    checking.find(Finding { session: sessions.first().copied(), path: path.map(Path::to_owned), ..finding });
    Ok(())
}
