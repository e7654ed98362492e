//! Images in files of the host, in the OCI image layout: a directory, or an archive of one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tenure_core::root::is_digest;
use tenure_sandbox::Error;

use crate::image::{LONGEST_DOCUMENT, digest_of, invalid};

/// The most entries of an archive that are looked at.
const MOST_ENTRIES: usize = 20_000;

/// A layout. What is in it is a stranger's; nothing of it is believed that a digest doesn't prove.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    /// Where the files of an archive are in it; nothing for a directory.
    packed: Option<HashMap<String, (u64, u64)>>,
}

impl Layout {
    /// Opens the one at this path. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let found = std::fs::metadata(path).map_err(|error| invalid(&name, error))?;
        let packed = match found.is_dir() {
            true => None,
            false => Some(contents(path).map_err(|error| invalid(&name, error))?),
        };
        Ok(Self { path: path.to_owned(), packed })
    }

    /// The index that lists its images.
    pub(crate) fn index(&self) -> Result<Vec<u8>, Error> {
        self.document("index.json", LONGEST_DOCUMENT).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.wrong(
                "it has no `index.json`; expected the OCI image layout, as `docker save` has written since version 25 and \
                 `skopeo copy … oci-archive:FILE` writes",
            ),
            _ => self.wrong(error),
        })
    }

    /// A short blob, checked.
    pub(crate) fn blob(&self, digest: &str, bytes: u64) -> Result<Vec<u8>, Error> {
        let whole =
            self.document(&in_layout(digest), bytes).map_err(|error| self.wrong(format_args!("{digest}: {error}")))?;
        let found = digest_of(&whole);
        if found != digest {
            return Err(self.wrong(format_args!("the file of {digest} has the digest {found}")));
        }
        Ok(whole)
    }

    /// A blob, to be read and checked by somebody else.
    pub(crate) fn reader(&self, digest: &str) -> Result<Box<dyn Read + Send>, Error> {
        self.open_file(&in_layout(digest)).map_err(|error| self.wrong(format_args!("{digest}: {error}")))
    }

    fn document(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        self.open_file(name)?.take(most + 1).read_to_end(&mut whole)?;
        match whole.len() as u64 > most {
            true => Err(io::Error::other(format!("`{name}` is longer than {most} bytes"))),
            false => Ok(whole),
        }
    }

    fn open_file(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let Some(packed) = &self.packed else {
            // A pipe would never come to an end.
            let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(self.path.join(name))?;
            let is_file = file.metadata()?.is_file();
            return if is_file { Ok(Box::new(file)) } else { Err(io::Error::other(format!("`{name}` is not a file"))) };
        };
        let (at, length) = packed.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(at))?;
        Ok(Box::new(file.take(length)))
    }

    fn wrong(&self, why: impl std::fmt::Display) -> Error {
        invalid(&self.path.display().to_string(), why)
    }
}

fn in_layout(digest: &str) -> String {
    format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap_or(digest))
}

/// Where an archive has the files that matter. Nothing of it is unpacked.
fn contents(path: &Path) -> io::Result<HashMap<String, (u64, u64)>> {
    let mut archive = tar::Archive::new(File::open(path)?);
    let mut found = HashMap::new();
    for (number, entry) in archive.entries_with_seek()?.enumerate() {
        if number == MOST_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MOST_ENTRIES} entries")));
        }
        let entry = entry.map_err(|error| {
            io::Error::other(format!("it can't be read as an archive, which must not be compressed: {error}"))
        })?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        let is_blob = name.strip_prefix("blobs/sha256/").is_some_and(|hex| is_digest(&format!("sha256:{hex}")));
        if entry.header().entry_type().is_file() && (is_blob || name == "index.json") {
            found.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(found)
}
