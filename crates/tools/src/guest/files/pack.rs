//! A directory as an archive, as it comes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use tar::{Builder, EntryType, Header};

use super::change::open_directory;
use super::place::resolve;
use super::{refused, say, wrong};
use crate::files::{Format, Name, Told, Why};

/// How deep an archive goes.
const DEEPEST: usize = 128;

pub(super) fn pack(workspace: &Path, at: &Name, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let path = match resolve(workspace, at) {
        Ok(path) => path,
        Err(refused) => return say(out, Err(refused)),
    };
    let directory = match std::fs::canonicalize(&path).and_then(|real| open_directory(CWD, real.as_os_str())) {
        Ok(directory) => directory,
        Err(error) => return say(out, Err(refused(&path, &error))),
    };
    if !path.is_dir() {
        return say(out, Err(wrong(Why::Conflict, format!("{}: not a directory", path.display()))));
    }
    say(out, Ok(Told::Done))?;
    match format {
        Format::Tar => write(&directory, out).map(drop),
        Format::Gzip => {
            let encoder = GzEncoder::new(out, Compression::fast());
            write(&directory, encoder)?.finish()?.flush()
        }
        Format::Zstd => {
            let encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            write(&directory, encoder)?.finish()?.flush()
        }
    }
}

fn write<W: Write>(directory: &OwnedFd, out: W) -> io::Result<W> {
    let mut builder = Builder::new(out);
    add(&mut builder, directory, &PathBuf::new(), 0)?;
    builder.into_inner()
}

fn add<W: Write>(builder: &mut Builder<W>, directory: &OwnedFd, at: &Path, depth: usize) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    for name in names {
        let name = OsStr::from_bytes(name.as_bytes());
        // What is gone meanwhile, or isn't to be read, isn't in it.
        let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let path = at.join(name);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let Ok(below) = open_directory(directory, name) else { continue };
                builder.append_data(&mut header(&stat, EntryType::Directory, 0), &path, io::empty())?;
                if depth < DEEPEST {
                    add(builder, &below, &path, depth + 1)?;
                }
            }
            FileType::RegularFile => {
                let Some((file, stat)) = open_file(directory, name) else { continue };
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                // It was this long when it was looked at; what is missing by now is zeros, as other programs do it.
                let content = file.take(size).chain(io::repeat(0)).take(size);
                builder.append_data(&mut header(&stat, EntryType::Regular, size), &path, content)?;
            }
            FileType::Symlink => {
                let Ok(target) = readlinkat(directory, name, Vec::new()) else { continue };
                let target = OsStr::from_bytes(target.as_bytes());
                builder.append_link(&mut header(&stat, EntryType::Symlink, 0), &path, target)?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }
    Ok(())
}

fn open_file(directory: impl AsFd, name: &OsStr) -> Option<(File, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| (file.into(), stat))
}

/// Owners are left out: whoever unpacks it owns it.
fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header
}
