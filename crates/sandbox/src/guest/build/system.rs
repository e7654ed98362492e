//! What tools and the sandbox itself need of a root file system, whoever made it.

use std::io;
use std::path::Path;

use rustix::fs::FileType;

use super::tree::{Looks, Tree};
use crate::supervisor::{AGENT, HOSTNAME, HOSTS, RESOLV_CONF};

/// Directories that must be directories, since something is mounted on them or belongs to the sandbox's user: links and
/// whatever else has their names goes. With mode and owner.
const OURS: &[(&str, u32, u32)] = &[
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("home", 0o755, 0),
    ("home/agent", 0o755, AGENT),
    ("proc", 0o555, 0),
    ("run", 0o755, 0),
    ("sys", 0o555, 0),
    ("tmp", 0o1777, 0),
    ("workspace", 0o755, AGENT),
];

/// Directories that programs expect, if nothing of the kind is there.
const EXPECTED: &[(&str, u32)] = &[("root", 0o700), ("var", 0o755), ("var/tmp", 0o1777)];

/// The longest list of users that is looked at.
const LONGEST_LIST: u64 = 1 << 20;

/// Adds them.
pub(crate) fn add(tree: &Tree, root: &rustix::fd::OwnedFd) -> io::Result<()> {
    // Whoever may write to the root could put a link where something is mounted.
    Looks::root(0o755).give(root)?;
    for (name, mode, owner) in OURS {
        let looks = Looks { uid: *owner, gid: *owner, ..Looks::root(*mode) };
        tree.place(Path::new(name))?.make_directory(looks)?;
    }
    for (name, mode) in EXPECTED {
        if !tree.has(Path::new(name)) {
            tree.place(Path::new(name))?.make_directory(Looks::root(*mode))?;
        }
    }
    let shell = if tree.has(Path::new("bin/bash")) { "/bin/bash" } else { "/bin/sh" };
    add_entry(tree, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", &|name| {
        format!("{name}:x:{AGENT}:{AGENT}:agent:/home/agent:{shell}\n")
    })?;
    add_entry(tree, "etc/group", "root:x:0:\n", &|name| format!("{name}:x:{AGENT}:\n"))?;
    for (name, text) in [("hosts", HOSTS), ("resolv.conf", RESOLV_CONF)] {
        make_file(tree, &format!("etc/{name}"), text.as_bytes())?;
    }
    make_file(tree, "etc/hostname", format!("{HOSTNAME}\n").as_bytes())?;
    let mtab = tree.place(Path::new("etc/mtab"))?;
    match mtab.found()? {
        None => mtab.make_symlink(b"/proc/self/mounts", Looks::root(0o777)),
        Some(_) => Ok(()),
    }
}

/// Adds the sandbox's user to a list that hasn't got it, under a name that it hasn't got either.
fn add_entry(tree: &Tree, path: &str, otherwise: &str, line: &dyn Fn(&str) -> String) -> io::Result<()> {
    let is_file = tree.place(Path::new(path))?.found()? == Some(FileType::RegularFile);
    let mut list = match tree.text(Path::new(path), LONGEST_LIST) {
        Some(list) => list,
        None => otherwise.as_bytes().to_vec(),
    };
    let field = |line: &[u8], number: usize| line.split(|byte| *byte == b':').nth(number).map(<[u8]>::to_vec);
    let lines: Vec<Vec<u8>> = list.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let id = AGENT.to_string().into_bytes();
    if is_file && lines.iter().any(|line| field(line, 2).as_ref() == Some(&id)) {
        return Ok(());
    }
    let is_free = |name: &&str| !lines.iter().any(|line| field(line, 0).as_deref() == Some(name.as_bytes()));
    if let Some(name) = ["agent", "tenure", "tenure-agent"].iter().copied().find(is_free) {
        if list.last().is_some_and(|last| *last != b'\n') {
            list.push(b'\n');
        }
        list.extend_from_slice(line(name).as_bytes());
    }
    make_file(tree, path, &list)
}

/// What is as it should be stays where it is: in a layer below, or the host's own.
fn make_file(tree: &Tree, path: &str, text: &[u8]) -> io::Result<()> {
    let place = tree.place(Path::new(path))?;
    let is_file = place.found()? == Some(FileType::RegularFile);
    match is_file && tree.text(Path::new(path), LONGEST_LIST).is_some_and(|found| found == text) {
        true => Ok(()),
        false => place.make_file(&mut &*text, Looks::root(0o644)),
    }
}
