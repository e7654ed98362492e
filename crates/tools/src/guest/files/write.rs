//! Making a file hold what comes: it is gathered beside the file, which is then replaced by rename.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::place::{entry, resolve};
use super::{not_made, refused, wrong};
use crate::files::{Name, Outcome, Refused, Told, Why};
use crate::guest::file::{MadeDirectories, follow_links, make_directories, temporary_beside};

/// The mode of a new file, if nobody says.
const MODE: u32 = 0o644;

pub(super) fn write(workspace: &Path, at: &Name, parents: bool, mode: Option<u32>, mut body: impl Read) -> Outcome {
    let written = begin(workspace, at, parents, mode, &mut body);
    if written.is_err() {
        // Whoever sends may read the answer only then.
        let _ = io::copy(&mut body, &mut io::sink());
    }
    written
}

fn begin(workspace: &Path, at: &Name, parents: bool, mode: Option<u32>, body: &mut impl Read) -> Outcome {
    let path = resolve(workspace, at)?;
    let failed = |error: io::Error| refused(&path, &error);
    let target = follow_links(&path).map_err(failed)?;
    if target.file_name().is_none() {
        return Err(wrong(Why::Invalid, format!("{}: it doesn't end in a name", path.display())));
    }
    let before = match fs::symlink_metadata(&target) {
        Ok(before) if before.is_file() => Some(before),
        Ok(before) => return Err(in_the_way(&path, before.is_dir())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let made = match (parents, target.parent()) {
        (true, Some(parent)) => make_directories(parent).map_err(|error| not_made(&target, &error))?,
        (true, None) | (false, _) => MadeDirectories::default(),
    };
    let (temporary, mut file) = temporary_beside(&target).map_err(|error| {
        made.take_back();
        not_made(&target, &error)
    })?;
    let mode = mode.or(before.as_ref().map(|before| before.mode() & 0o7777)).unwrap_or(MODE);
    let done = io::copy(body, &mut file)
        .and_then(|_| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&temporary, &target))
        .and_then(|()| file.metadata());
    match done {
        Ok(metadata) => Ok(Told::Written { created: before.is_none(), entry: entry(&path, &metadata) }),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            made.take_back();
            Err(failed(error))
        }
    }
}

fn in_the_way(path: &Path, is_directory: bool) -> Refused {
    let what = if is_directory { "is a directory" } else { "not a regular file" };
    wrong(Why::Conflict, format!("{}: {what}", path.display()))
}
