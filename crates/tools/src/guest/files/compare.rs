//! What differs between a tree here and one that another op offers.
//!
//! Both come in the same order, so each is gone through once, whatever their sizes. A file is read only where it isn't the very
//! same on both sides: by its number, which no other has, and by the time of its last change, which nobody in a sandbox can set.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::offer::{part, write_line};
use super::place::{path_of, resolve};
use super::tree::{Tree, is_never_kept};
use super::{patch, refused, say, wrong};
use crate::files::{
    ASKS, Ask, Change, Content, Detail, Difference, Entry, Found, Kind, MOST_DIFFERENCE_BYTES, MOST_LINE_BYTES,
    MOST_TEXT_BYTES, Name, OfferEnd, Offered, Part, Told, Why,
};
use crate::guest::open_regular;

/// How much of a file is compared at once.
const PART_BYTES: u64 = 256 * 1024;
/// The most bytes of a page, unless a single difference is more.
const MOST_PAGE_BYTES: usize = 4 << 20;

pub(super) fn compare(
    workspace: &Path,
    at: &Name,
    after: Option<&Name>,
    limit: usize,
    detail: Detail,
    answers: &mut dyn Read,
    out: &mut dyn Write,
) -> io::Result<()> {
    let root = match resolve(workspace, at) {
        Ok(root) => root,
        Err(refused) => return say(out, Err(refused)),
    };
    if is_never_kept(workspace, &root) {
        let message = format!("{}: isn't part of snapshots", root.display());
        return say(out, Err(wrong(Why::Invalid, message)));
    }
    let before = Before { answers: BufReader::new(answers), come: VecDeque::new(), more: true };
    let here = Tree::new(workspace, root.clone());
    let mut comparison =
        Comparison { here, before, out, detail, left: limit, bytes_left: MOST_PAGE_BYTES, unknown: None };
    if let Some(after) = after {
        let after = path_of(after);
        comparison.go_on_after(after.strip_prefix(&root).unwrap_or(&after))?;
    }
    let (old, new) = (comparison.next_before()?, comparison.here.next());
    if after.is_none() && old.is_none() && new.is_none() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return say(comparison.out, Err(refused(&root, &missing)));
    }
    say(comparison.out, Ok(Told::Entries))?;
    let more = comparison.go_through(old, new)?;
    write_line(comparison.out, &Found::End { more })
}

/// Two trees that are gone through together.
struct Comparison<'c> {
    here: Tree<'c>,
    before: Before<'c>,
    out: &'c mut dyn Write,
    detail: Detail,
    left: usize,
    bytes_left: usize,
    /// A directory that one side can't read: nothing is known of what is in it.
    unknown: Option<Vec<u8>>,
}

/// What the other op says.
struct Before<'c> {
    answers: BufReader<&'c mut dyn Read>,
    /// What came and wasn't looked at yet.
    come: VecDeque<Offered>,
    /// Whether there is more to ask for.
    more: bool,
}

impl Comparison<'_> {
    /// Says what differs, as far as the page goes; says whether there is more.
    fn go_through(&mut self, mut old: Option<Offered>, mut new: Option<Offered>) -> io::Result<bool> {
        loop {
            let order = match (&old, &new) {
                (None, None) => return Ok(false),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => key(old).cmp(&key(new)),
            };
            let was = if order == Ordering::Greater { None } else { old.take() };
            let is = if order == Ordering::Less { None } else { new.take() };
            let (was_any, is_any) = (was.is_some(), is.is_some());
            if let Some(change) = self.judge(was.as_ref(), is.as_ref())?
                && !self.show(change, was, is)?
            {
                return Ok(true);
            }
            if was_any {
                old = self.next_before()?;
            }
            if is_any {
                new = self.here.next();
            }
        }
    }

    /// In what way the two differ, if they do.
    fn judge(&mut self, was: Option<&Offered>, is: Option<&Offered>) -> io::Result<Option<Change>> {
        let either = was.or(is).map(key).unwrap_or_default();
        let below =
            |unknown: &Vec<u8>| either.strip_prefix(unknown.as_slice()).is_some_and(|rest| rest.first() == Some(&0));
        if self.unknown.as_ref().is_some_and(below) {
            return Ok(None);
        }
        let (was, is) = match (was, is) {
            (Some(was), Some(is)) => (was, is),
            (None, Some(_)) => return Ok(Some(Change::Added)),
            (Some(_), None) => return Ok(Some(Change::Removed)),
            (None, None) => return Ok(None),
        };
        if was.entry.kind != is.entry.kind || was.special != is.special {
            return Ok(Some(Change::TypeChanged));
        }
        match (was.unreadable, is.unreadable) {
            (None, None) => {}
            // Nobody here can have changed what they can't enter, unless they changed that first.
            (Some(false), Some(false)) if was.tag == is.tag => return Ok(None),
            (Some(_), _) | (_, Some(_)) => {
                self.unknown = Some(either);
                return Ok(Some(Change::Unreadable));
            }
        }
        if was.fixed != is.fixed {
            // On one side something was put over what the host has.
            match was.fixed {
                true => self.ask(&Ask::Enter)?,
                false => self.here.enter(),
            }
        }
        let content = match is.entry.kind {
            Kind::Symlink => (was.entry.target != is.entry.target).then_some(Change::Modified),
            Kind::File if was.tag == is.tag => None,
            Kind::File if was.entry.size != is.entry.size => Some(Change::Modified),
            Kind::File => match self.same_content(is)? {
                Some(true) => None,
                Some(false) => Some(Change::Modified),
                None => Some(Change::Unreadable),
            },
            Kind::Directory | Kind::Other => None,
        };
        let mode = (was.entry.mode != is.entry.mode && is.entry.kind != Kind::Symlink).then_some(Change::ModeChanged);
        Ok(content.or(mode))
    }

    /// Whether a file of the same size is the same; nothing if that can't be told.
    fn same_content(&mut self, is: &Offered) -> io::Result<Option<bool>> {
        let path = path_of(&is.entry.name);
        let Ok((mut ours, _)) = open_regular(&self.here.at(&path)) else { return Ok(None) };
        let mut from = 0;
        while from < is.entry.size {
            let Some(theirs) = self.part_before(&is.entry.name, from, PART_BYTES)? else { return Ok(None) };
            let Ok(part) = part(&mut ours, from, PART_BYTES) else { return Ok(None) };
            if part != theirs {
                return Ok(Some(false));
            }
            if part.is_empty() {
                // It became shorter meanwhile, on both sides alike.
                break;
            }
            from += part.len() as u64;
        }
        Ok(Some(true))
    }

    /// Shows a difference; says whether there was room for it.
    fn show(&mut self, change: Change, was: Option<Offered>, is: Option<Offered>) -> io::Result<bool> {
        if self.left == 0 || self.bytes_left == 0 {
            return Ok(false);
        }
        let content = self.content(change, was.as_ref(), is.as_ref())?;
        let whole = |offered: Offered| {
            let at = self.here.at(&path_of(&offered.entry.name));
            Entry { name: Name::of(at.as_os_str().as_bytes()), ..offered.entry }
        };
        let mut difference = Difference { change, before: was.map(whole), after: is.map(whole), content };
        let mut line = serde_json::to_vec(&difference)?;
        if line.len() >= MOST_DIFFERENCE_BYTES
            && let Some(Content::Text { patch, .. }) = &mut difference.content
        {
            // Text that has to be escaped nearly everywhere.
            *patch = None;
            line = serde_json::to_vec(&difference)?;
        }
        line.push(b'\n');
        self.left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(line.len());
        self.out.write_all(&line)?;
        Ok(true)
    }

    /// What there is to say of the contents of a file.
    fn content(&mut self, change: Change, was: Option<&Offered>, is: Option<&Offered>) -> io::Result<Option<Content>> {
        match change {
            _ if self.detail == Detail::None => return Ok(None),
            Change::ModeChanged | Change::Unreadable => return Ok(None),
            Change::Added | Change::Removed | Change::Modified | Change::TypeChanged => {}
        }
        let file = |offered: Option<&Offered>| offered.filter(|offered| offered.entry.kind == Kind::File).cloned();
        let (was, is) = (file(was), file(is));
        if was.is_none() && is.is_none() {
            return Ok(None);
        }
        if [&was, &is].into_iter().flatten().any(|offered| offered.entry.size > MOST_TEXT_BYTES) {
            return Ok(Some(Content::TooLarge));
        }
        let old = match &was {
            Some(was) => self.part_before(&was.entry.name, 0, MOST_TEXT_BYTES)?,
            None => Some(Vec::new()),
        };
        let new = match &is {
            Some(is) => {
                let opened = open_regular(&self.here.at(&path_of(&is.entry.name)));
                opened.ok().and_then(|(mut file, _)| part(&mut file, 0, MOST_TEXT_BYTES).ok())
            }
            None => Some(Vec::new()),
        };
        Ok(Some(match (old, new) {
            (Some(old), Some(new)) => patch::describe(&old, &new, self.detail),
            (None, _) | (_, None) => Content::Unreadable,
        }))
    }

    fn go_on_after(&mut self, path: &Path) -> io::Result<()> {
        self.here.go_on_after(path);
        self.ask(&Ask::After { path: Name::of(path.as_os_str().as_bytes()) })
    }

    /// The next one that the other side has.
    fn next_before(&mut self) -> io::Result<Option<Offered>> {
        while self.before.come.is_empty() && self.before.more {
            self.ask(&Ask::Next)?;
            loop {
                let line = self.before.line()?;
                if let Ok(OfferEnd { more }) = serde_json::from_slice(&line) {
                    self.before.more = more;
                    break;
                }
                self.before.come.push_back(serde_json::from_slice(&line)?);
            }
        }
        Ok(self.before.come.pop_front())
    }

    /// A part of a file as it was; nothing if it can't be read.
    fn part_before(&mut self, at: &Name, from: u64, most: u64) -> io::Result<Option<Vec<u8>>> {
        self.ask(&Ask::Part { at: at.clone(), from, most })?;
        let line = self.before.line()?;
        let Part { bytes } = serde_json::from_slice(&line)?;
        let Some(length) = bytes else { return Ok(None) };
        if length > most {
            return Err(io::Error::other("more came than was asked for"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.before.answers.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn ask(&mut self, ask: &Ask) -> io::Result<()> {
        self.out.write_all(&[ASKS])?;
        write_line(self.out, ask)?;
        self.out.flush()
    }
}

impl Before<'_> {
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.answers).take(MOST_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
        match line.last() {
            Some(b'\n') => Ok(line),
            Some(_) | None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// What puts a directory before what is in it, and that before whatever comes after the directory.
fn key(offered: &Offered) -> Vec<u8> {
    let mut path = offered.entry.name.bytes().unwrap_or_default();
    path.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = 0);
    path
}
