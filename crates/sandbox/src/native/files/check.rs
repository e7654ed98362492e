use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, openat};
use tenure_core::id::{ItemId, SessionId, SnapshotId};

use super::owner;
use super::save::{Found, LONGEST_PATH, MOST_LEVELS};
use crate::Error;
use crate::journal::{Flaw, Record};
use crate::supervisor::head::{Head, LayerId, Noted};
use crate::supervisor::snapshots::{HEAD, LAYERS, SNAPSHOTS, UNFINISHED};
use crate::supervisor::subordinate::USERS;
use crate::supervisor::{KEEPER_SOCKET, SHELL_MARK};

/// Something that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
    /// What that means for sessions and calls.
    pub meaning: String,
    /// What the operator can do.
    pub remedy: &'static str,
}

/// How many damages of one session are named: who runs there could make any number.
const MOST_NAMED: usize = 100;

/// Checks a session's files and journals below a sandbox directory: whether all of it can be read, is of this session's
/// users, and parses. Contents of files aren't compared with anything. Changes nothing; the sandbox may be alive. Blocks.
pub fn check_files(root: &Path, session: SessionId) -> Result<Vec<Damage>, Error> {
    let at = root.join("sessions").join(session.to_string());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(CWD, &at, flags, Mode::empty()) {
        Ok(dir) => dir,
        // A session that never had a sandbox.
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Ok(vec![unreadable(at, &error.into())]),
    };
    crate::supervisor::allow_many_files();
    let mut check = Check { at, found: Vec::new() };
    let names = check.list(&dir, Path::new(""));
    for name in &names {
        match name.to_str() {
            Some("layer") => check.layer(&dir, Path::new("layer")),
            Some(HEAD) => check.stack(root, Path::new(HEAD), Head::read, names.iter().any(|name| name == "layer")),
            Some(SNAPSHOTS) => check.snapshots(root, &dir),
            Some(name) if name.ends_with(".new") => {}
            Some("calls") => check.journals(&dir),
            Some("work" | KEEPER_SOCKET | SHELL_MARK) => {}
            Some(_) | None => check.add(Path::new(name), "a foreign file", "nothing reads it".to_owned(), REMOVE),
        }
    }
    let has_files = |name: &OsString| name == "layer" || name == HEAD;
    if !names.is_empty() && !names.iter().any(has_files) {
        let meaning = "the session's files are gone; it starts with an empty workspace".to_owned();
        check.add(Path::new("layer"), "a missing layer", meaning, RESTORE);
    }
    Ok(check.found)
}

/// Checks the sealed layers of all sessions: whether all of them can be read and is of sandboxes' users. Changes nothing;
/// sandboxes may be alive. Blocks.
pub fn check_layers(root: &Path) -> Result<Vec<Damage>, Error> {
    let at = root.join(LAYERS);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(CWD, &at, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Ok(vec![unreadable(at, &error.into())]),
    };
    crate::supervisor::allow_many_files();
    let mut check = Check { at, found: Vec::new() };
    for name in check.list(&dir, Path::new("")) {
        match name.to_str() {
            Some(name) if name.starts_with(UNFINISHED) => {}
            Some(layer) if LayerId::parse(layer).is_some() => check.layer(&dir, Path::new(layer)),
            Some(_) | None => check.add(Path::new(&name), "a foreign file", "nothing reads it".to_owned(), REMOVE),
        }
    }
    Ok(check.found)
}

/// What lies in a sandbox directory and belongs to no session. Changes nothing. Blocks.
pub fn strays(root: &Path, known: &dyn Fn(SessionId) -> bool) -> Result<Vec<Damage>, Error> {
    let mut found = Vec::new();
    for (path, name) in entries(root).map_err(Error::failed(format!("reading {}", root.display())))? {
        match name.as_str() {
            "sessions" | "layers" | "copies" | "builds" | "pool" | "roots" | "archives" | "skeleton"
            | "collect.lock" | "supervisor.lock" | "supervisor.sock" | "supervisor.log" | "epoch" | "mounts"
            | "cgroups" | USERS => {}
            "restored-at" => {
                if let Err(error) = super::restored_at(root) {
                    found.push(unreadable(path, &error));
                }
            }
            // Emptied when there is nothing better to do, now or after the next start, which also removes trials of this directory.
            "trash" => {}
            name if name.starts_with("trial-") => {}
            name if name.starts_with("loading-") => {
                let meaning = "files of a restore that was cut short".to_owned();
                found.push(Damage { path, what: "a restore that was cut short", meaning, remedy: REMOVE });
            }
            _ => found.push(Damage {
                path,
                what: "a foreign file",
                meaning: "nothing reads it".to_owned(),
                remedy: REMOVE,
            }),
        }
    }
    let sessions = root.join("sessions");
    for (path, name) in entries(&sessions).map_err(Error::failed(format!("reading {}", sessions.display())))? {
        match name.parse::<SessionId>() {
            Ok(session) if known(session) => {}
            Ok(_) => {
                let meaning = "files and journals that no session will ask for".to_owned();
                found.push(Damage { path, what: "the layer of no session", meaning, remedy: REMOVE });
            }
            Err(_) => {
                let meaning = "nothing reads it".to_owned();
                found.push(Damage { path, what: "a foreign file", meaning, remedy: REMOVE });
            }
        }
    }
    Ok(found)
}

const REMOVE: &str = "remove it, if nobody misses it";
const RESTORE: &str = "restore a backup, if what it held is missed";

struct Check {
    at: PathBuf,
    found: Vec<Damage>,
}

impl Check {
    /// Whether a file names layers that are there.
    fn stack(&mut self, root: &Path, file: &Path, read: fn(&Path) -> io::Result<Option<Head>>, may_be_top: bool) {
        let head = match read(&self.at.join(file)) {
            Ok(Some(head)) => head,
            // It went meanwhile.
            Ok(None) => return,
            Err(error) => return self.unread(file, &error),
        };
        for (from_below, layer) in head.layers.iter().enumerate() {
            let is_there = root.join(LAYERS).join(layer.to_string()).is_dir();
            // One that is about to be sealed lies where it was written.
            let is_to_come = may_be_top && from_below + 1 == head.layers.len();
            // What is replaced meanwhile doesn't need it any more.
            if !is_there && !is_to_come && read(&self.at.join(file)).is_ok_and(|now| now.as_ref() == Some(&head)) {
                let meaning = format!("{layer} isn't there, and what was in it is lost");
                self.add(file, "a stack that lacks a layer", meaning, RESTORE);
            }
        }
    }

    fn snapshots(&mut self, root: &Path, session_dir: &OwnedFd) {
        let Some((snapshots, at)) = self.open(session_dir, OsStr::new(SNAPSHOTS), Path::new(SNAPSHOTS)) else { return };
        for name in self.list(&snapshots.handle, &at) {
            let path = at.join(&name);
            match name.to_str() {
                Some(name) if name.ends_with(".new") => {}
                Some(name) if name.parse::<SnapshotId>().is_ok() => {
                    self.stack(root, &path, |at| Ok(Noted::read(at)?.map(|noted| noted.head)), false);
                }
                Some(_) | None => self.add(&path, "a foreign file", "nothing reads it".to_owned(), REMOVE),
            }
        }
    }

    fn layer(&mut self, parent: &OwnedFd, at: &Path) {
        // By number, since a file with several names would be named as often.
        let mut strangers = HashSet::new();
        let mut levels: Vec<(OwnedFd, PathBuf, Vec<OsString>)> = Vec::new();
        let mut next = self.open(parent, at.file_name().unwrap_or_default(), at);
        loop {
            match next.take() {
                Some((found, path)) => {
                    let owners = owner::of_layers();
                    let is_ours = owners.contains(&found.stat.st_uid) && owners.contains(&found.stat.st_gid);
                    if !is_ours && strangers.insert(found.stat.st_ino) {
                        let owner = format!("{}:{}", found.stat.st_uid, found.stat.st_gid);
                        let meaning = format!("it belongs to {owner} of the host, so tools see it as nobody's");
                        let remedy = "restore the session's files with their owners";
                        self.add(&path, "a file of another owner", meaning, remedy);
                    }
                    if FileType::from_raw_mode(found.stat.st_mode) == FileType::Directory && levels.len() < MOST_LEVELS
                    {
                        match found.list() {
                            Ok((dir, names)) => levels.push((dir, path, names)),
                            Err(error) => self.unread(&path, &error),
                        }
                    }
                }
                None => {
                    let Some((dir, path, names)) = levels.last_mut() else { return };
                    match names.pop() {
                        // As archives, which leave it out.
                        Some(name) if path.as_os_str().len() + name.len() >= LONGEST_PATH => {}
                        Some(name) => {
                            let path = path.join(&name);
                            next = self.open(dir, &name, &path);
                        }
                        None => drop(levels.pop()),
                    }
                }
            }
        }
    }

    fn journals(&mut self, session_dir: &OwnedFd) {
        let Some((calls, at)) = self.open(session_dir, OsStr::new("calls"), Path::new("calls")) else { return };
        for name in self.list(&calls.handle, &at) {
            let path = at.join(&name);
            if name.to_str().is_none_or(|name| name.parse::<ItemId>().is_err()) {
                self.add(&path, "a foreign file", "nothing reads it".to_owned(), REMOVE);
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match openat(&calls.handle, &*name, flags, Mode::empty()) {
                Ok(file) => file,
                // Its result was stored a moment ago.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => {
                    self.unread(&path, &error.into());
                    continue;
                }
            };
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                // It is being written.
                Err(rustix::io::Errno::WOULDBLOCK) => continue,
                Err(error) => {
                    self.unread(&path, &error.into());
                    continue;
                }
                Ok(()) => {}
            }
            let mut bytes = Vec::new();
            match io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes) {
                Ok(_) => self.judge(&path, &Record::read(&bytes)),
                Err(error) => self.unread(&path, &error),
            }
        }
    }

    fn judge(&mut self, path: &Path, record: &Record) {
        let what = match record.flaw {
            None => return,
            Some(Flaw::Foreign) => "a journal that doesn't begin as one",
            Some(Flaw::Later) => "a journal of a later version",
            Some(Flaw::Torn) => "a journal that is cut short or garbled",
        };
        let meaning = match record.ending {
            Some(_) => "the call's result is in it all the same",
            None => "the call, if it is still open, is reported as interrupted and not run again",
        };
        self.add(path, what, meaning.to_owned(), "nothing need be done; it goes with the session");
    }

    fn open(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Option<(Found, PathBuf)> {
        match Found::open(std::os::fd::AsFd::as_fd(parent), name) {
            Ok(found) => Some((found, path.to_owned())),
            Err(error) => {
                self.unread(path, &error);
                None
            }
        }
    }

    fn list(&mut self, dir: &OwnedFd, path: &Path) -> Vec<OsString> {
        match Found::list_of(dir) {
            Ok((_, names)) => names,
            Err(error) => {
                self.unread(path, &error);
                Vec::new()
            }
        }
    }

    /// What has gone meanwhile is no damage.
    fn unread(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound && self.found.len() < MOST_NAMED {
            self.found.push(unreadable(self.at.join(path), error));
        }
    }

    fn add(&mut self, path: &Path, what: &'static str, meaning: String, remedy: &'static str) {
        if self.found.len() < MOST_NAMED {
            self.found.push(Damage { path: self.at.join(path), what, meaning, remedy });
        }
    }
}

fn unreadable(path: PathBuf, error: &io::Error) -> Damage {
    let remedy = "check the disk and its file system; then restore a backup, if what it held is missed";
    Damage { path, what: "something that can't be read", meaning: format!("it is lost as it is: {error}"), remedy }
}

/// What is in a directory; nothing if it isn't there.
fn entries(dir: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned())))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
