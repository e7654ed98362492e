//! Layers that the kernel made, by edits through mounted overlays, show the same merged as they do one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{CWD, Mode, XattrFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::{Marks, merge};

const STACKS: u64 = 48;
const THREADS: u64 = 12;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn merged_layers_show_what_they_showed_one_by_one() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let seen = Mutex::new(Seen::default());
    // Mounts take little work and much waiting.
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let seen = &seen;
            scope.spawn(move || {
                for seed in (thread..STACKS).step_by(THREADS as usize) {
                    try_stack(seed, if seed % 4 == 3 { Marks::User } else { Marks::Trusted }, seen);
                }
            });
        }
    });
    let seen = seen.into_inner().expect("no holder panics");
    // What the edits were to bring about did occur, among what was merged.
    assert!(seen.whiteouts > 50 && seen.opaque > 50 && seen.relative > 5 && seen.absolute > 20, "{seen:?}");
    assert!(seen.nested > 4, "{seen:?}");
}

#[derive(Debug, Default)]
struct Seen {
    whiteouts: u64,
    opaque: u64,
    relative: u64,
    absolute: u64,
    /// Directories that are moved in more than one layer.
    nested: u64,
}

fn try_stack(seed: u64, marks: Marks, seen: &Mutex<Seen>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let at = |name: String| dir.path().join(name);
    let base = at("base".to_owned());
    std::fs::create_dir(&base).expect("made");
    edit(&base, &mut dice, 30, Marks::Trusted);
    let mut layers: Vec<PathBuf> = Vec::new();
    for number in 0..3 + dice.below(6) {
        let layer = at(format!("layer-{number}"));
        let work = at(format!("work-{number}"));
        std::fs::create_dir_all(layer.join("root")).expect("made");
        std::fs::create_dir(&work).expect("made");
        let mount = overlay(&base, &layers, Some((&layer, &work)), marks).expect("mounted");
        let steps = 4 + dice.below(30);
        edit(&path_of(&mount), &mut dice, steps, marks);
        layers.push(layer);
    }
    let before = view(&overlay(&base, &layers, None, marks).expect("mounted"));
    assert!(!before.is_empty());
    // Twice, so that what was merged is merged again with others.
    for round in 0..2 {
        if layers.len() < 2 {
            break;
        }
        let from = dice.below(layers.len() as u64 - 1) as usize;
        let to = from + 2 + dice.below((layers.len() - from - 1) as u64) as usize;
        let range: Vec<&Path> = layers[from..to].iter().rev().map(PathBuf::as_path).collect();
        range.iter().for_each(|layer| count(&layer.join("root"), marks, &mut seen.lock().expect("no holder panics")));
        let merged = at(format!("merged-{round}"));
        merge(&range, marks, &merged).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        layers.splice(from..to, [merged]);
        let after = view(&overlay(&base, &layers, None, marks).expect("mounted"));
        let differs: Vec<_> = before.iter().filter(|(path, shown)| after.get(*path) != Some(shown)).collect();
        let more: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        assert!(differs.is_empty() && more.is_empty(), "seed {seed}, {from}..{to}: lost {differs:#?}, more {more:#?}");
    }
}

/// Mounts layers, bottom first, over a base; nowhere, so that it goes with its descriptor.
fn overlay(base: &Path, layers: &[PathBuf], upper: Option<(&Path, &Path)>, marks: Marks) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    let mut lower: Vec<String> = layers.iter().rev().map(|layer| format!("{}/root", layer.display())).collect();
    lower.push(base.display().to_string());
    // An overlay without an upper layer needs two lower ones.
    if upper.is_none() && lower.len() == 1 {
        lower.push(base.display().to_string());
    }
    fsconfig_set_string(context, "lowerdir", lower.join(":"))?;
    if let Some((layer, work)) = upper {
        fsconfig_set_string(context, "upperdir", layer.join("root"))?;
        fsconfig_set_string(context, "workdir", work)?;
        fsconfig_set_flag(context, "volatile")?;
    }
    match marks {
        Marks::Trusted => fsconfig_set_string(context, "redirect_dir", if upper.is_some() { "on" } else { "follow" })?,
        Marks::User => fsconfig_set_flag(context, "userxattr")?,
    }
    for (key, value) in [("index", "off"), ("xino", "off"), ("metacopy", "off")] {
        fsconfig_set_string(context, key, value)?;
    }
    fsconfig_create(context)?;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

fn path_of(mount: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", mount.as_raw_fd()).into()
}

/// Does something, again and again. What can't be done isn't.
fn edit(root: &Path, dice: &mut Dice, steps: u64, marks: Marks) {
    for step in 0..steps {
        let (at, to) = (dice.path(root), dice.path(root));
        let text = format!("{step} {}", dice.next());
        let _ = match dice.below(16) {
            0..3 => std::fs::create_dir_all(&at),
            // Opening a pipe would wait for somebody at its other end.
            3 | 4 if at.metadata().is_ok_and(|seen| seen.file_type().is_fifo()) => Ok(()),
            3 | 4 => std::fs::write(&at, text),
            5 => std::fs::remove_file(&at),
            6 => std::fs::remove_dir_all(&at),
            // Away and made anew, so that nothing of what was there shows through.
            7 => std::fs::remove_dir_all(&at).and_then(|()| std::fs::create_dir(&at)),
            8..12 => std::fs::rename(&at, &to),
            12 => std::fs::hard_link(&at, &to),
            13 => symlink("../a", &at),
            14 => match dice.below(3) {
                0 => std::os::unix::fs::chown(&at, Some(100_000 + dice.below(3) as u32), None),
                1 => std::fs::set_permissions(&at, PermissionsExt::from_mode(0o700 + dice.below(0o100) as u32)),
                _ => rustix::fs::mknodat(CWD, &at, rustix::fs::FileType::Fifo, Mode::RUSR, 0).map_err(io::Error::from),
            },
            _ => {
                // What means something to the other kind of overlay, or is of our own kind and kept under another name.
                let name = if dice.below(2) == 0 { "user.overlay.opaque" } else { "user.note" };
                let name = if marks == Marks::User && at == root { "user.note" } else { name };
                rustix::fs::lsetxattr(&at, name, b"y", XattrFlags::empty()).map_err(io::Error::from)
            }
        };
    }
}

/// Everything that a mount shows: what its directories list, and that a name which isn't listed isn't there.
fn view(mount: &OwnedFd) -> BTreeMap<PathBuf, String> {
    let root = path_of(mount);
    let mut found = BTreeMap::new();
    let mut files: HashMap<u64, usize> = HashMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let at = root.join(&path);
        let seen = if path.as_os_str().is_empty() { at.metadata() } else { at.symlink_metadata() }.expect("listed");
        let kind = seen.file_type();
        let content = match () {
            () if kind.is_symlink() => format!("{:?}", std::fs::read_link(&at).expect("a link")),
            () if kind.is_file() => std::fs::read_to_string(&at).expect("a file"),
            () => String::new(),
        };
        assert!(!kind.is_char_device(), "{} is a whiteout", path.display());
        if kind.is_dir() {
            let listed: BTreeSet<_> = std::fs::read_dir(&at)
                .expect("a directory")
                .map(|entry| entry.expect("readable").file_name())
                .collect();
            for name in NAMES {
                let is_there = at.join(name).symlink_metadata().is_ok();
                assert_eq!(
                    is_there,
                    listed.contains(name.as_ref() as &std::ffi::OsStr),
                    "{name} in {}",
                    path.display()
                );
            }
            left.extend(listed.into_iter().rev().map(|name| path.join(name)));
        }
        let number = files.len();
        // Which names are of one file.
        let file = if kind.is_dir() { 0 } else { *files.entry(seen.ino()).or_insert(number) };
        let size = if kind.is_dir() { 0 } else { seen.size() };
        let (owner, group) = (seen.uid(), seen.gid());
        let time = (seen.mtime(), seen.mtime_nsec());
        let attributes = attributes(&at, path.as_os_str().is_empty());
        let shown = format!("{:o} {owner}:{group} {size} {time:?} {file} {content:?} {attributes:?}", seen.mode());
        found.insert(path, shown);
    }
    found
}

fn attributes(at: &Path, is_root: bool) -> Vec<(String, Vec<u8>)> {
    let at = if is_root { at.join(".") } else { at.to_owned() };
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(&at, &mut list).expect("a list");
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut attributes: Vec<_> = names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("a name");
            let mut value = vec![0; 65_536];
            let length = rustix::fs::lgetxattr(&at, name.as_str(), &mut value).expect("a value");
            (name, value[..length].to_vec())
        })
        .collect();
    attributes.sort();
    attributes
}

/// Counts what a layer's directories say.
fn count(dir: &Path, marks: Marks, seen: &mut Seen) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let (kind, at) = (entry.file_type().expect("known"), entry.path());
        seen.whiteouts += u64::from(kind.is_char_device());
        if kind.is_dir() {
            let mut value = [0; 4_096];
            let read = |name: String, value: &mut [u8]| rustix::fs::lgetxattr(&at, name.as_str(), value).ok();
            seen.opaque += u64::from(read(marks.opaque(), &mut value).is_some_and(|length| &value[..length] == b"y"));
            if let Some(length) = read(marks.redirect(), &mut value) {
                let path = Path::new(std::ffi::OsStr::from_bytes(&value[..length])).to_owned();
                seen.absolute += u64::from(path.is_absolute());
                seen.relative += u64::from(!path.is_absolute());
                seen.nested += u64::from(path.components().count() > 2);
            }
            count(&at, marks, seen);
        }
    }
}

/// A generator of numbers that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn path(&mut self, root: &Path) -> PathBuf {
        (0..1 + self.below(3)).fold(root.to_owned(), |path, _| path.join(NAMES[self.below(5) as usize]))
    }
}
