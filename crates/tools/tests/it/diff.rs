//! What differs between the files of a real sandbox and what they were, after any edits, layers and ways of keeping them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;

use tenure_core::id::{SessionId, SnapshotId};
use tenure_sandbox::{Backend, Sandbox, Spec, Taken};
use tenure_tools::files::{Change, Comparing, Content, Detail, Difference, FilesClient, Format, Name};

use crate::real::{Real, SESSION};

const VIEW: SessionId = SessionId::from_bits(2);
const FORK: SessionId = SessionId::from_bits(3);
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A path's permissions and what it is.
type Tree = BTreeMap<Vec<u8>, (u32, Node)>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(Vec<u8>),
}

/// The tree of a sandbox, by another way than that which is tried here.
async fn tree(sandbox: &Arc<dyn Sandbox>) -> Tree {
    let mut body = FilesClient::new(sandbox.clone()).pack(Name::plain(""), Format::Tar).await.expect("packed");
    let mut packed = Vec::new();
    while let Some(piece) = body.next().await {
        packed.extend(piece.expect("whole"));
    }
    let mut tree = Tree::new();
    for entry in tar::Archive::new(packed.as_slice()).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path_bytes().strip_suffix(b"/").map_or_else(|| entry.path_bytes().to_vec(), <[u8]>::to_vec);
        let mode = entry.header().mode().expect("a mode");
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Node::Directory,
            tar::EntryType::Symlink => Node::Link(entry.link_name_bytes().expect("a target").to_vec()),
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("whole");
                Node::File(content)
            }
        };
        tree.insert(path, (mode, node));
    }
    tree
}

fn expected(before: &Tree, after: &Tree) -> BTreeMap<Vec<u8>, Change> {
    let paths: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let judge = |path: &&Vec<u8>| match (before.get(*path), after.get(*path)) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(before), Some(after)) if std::mem::discriminant(&before.1) != std::mem::discriminant(&after.1) => {
            Some(Change::TypeChanged)
        }
        (Some(before), Some(after)) if before.1 != after.1 => Some(Change::Modified),
        (Some(before), Some(after)) => (before.0 != after.0).then_some(Change::ModeChanged),
    };
    paths.into_iter().filter_map(|path| Some((path.clone(), judge(&path)?))).collect()
}

fn path_of(difference: &Difference) -> Vec<u8> {
    let entry = difference.after.as_ref().or(difference.before.as_ref()).expect("a side");
    let path = entry.name.bytes().expect("a path");
    path.strip_prefix(b"/workspace/").expect("below it").to_vec()
}

/// A file as it was, with the hunks applied.
fn applied(before: &str, patch: &str) -> String {
    let lines: Vec<&str> = before.split_inclusive('\n').collect();
    let (mut result, mut at) = (String::new(), 0);
    for line in patch.split_inclusive('\n') {
        match line.as_bytes().first() {
            Some(b'@') => {
                let old = line.split([' ', ',']).nth(1).expect("a range").trim_start_matches('-');
                let (start, none): (usize, bool) = (old.parse().expect("a number"), line.contains(",0 +"));
                let start = if none { start } else { start - 1 };
                lines[at..start].iter().for_each(|line| result.push_str(line));
                at = start;
            }
            Some(b' ') => {
                assert_eq!(lines[at], &line[1..]);
                result.push_str(lines[at]);
                at += 1;
            }
            Some(b'-') => at += 1,
            Some(b'+') => result.push_str(&line[1..]),
            _ => {
                assert_eq!(line, "\\ No newline at end of file\n");
                if result.ends_with('\n') && at == lines.len() && patch.ends_with(line) {
                    result.pop();
                }
            }
        }
    }
    lines[at..].iter().for_each(|line| result.push_str(line));
    result
}

async fn differences(before: &Arc<dyn Sandbox>, after: &Arc<dyn Sandbox>, limit: usize) -> Vec<Difference> {
    let (old, new) = (FilesClient::new(before.clone()), FilesClient::new(after.clone()));
    let (mut all, mut last) = (Vec::new(), None);
    loop {
        let comparing = Comparing { at: Name::plain(""), after: last, limit, detail: Detail::Patch };
        let page = new.compare(&old, comparing).await.expect("compared");
        last = page
            .found
            .last()
            .and_then(|last| last.after.as_ref().or(last.before.as_ref()))
            .map(|last| last.name.clone());
        all.extend(page.found);
        if !page.more {
            return all;
        }
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % most
    }

    fn path(&mut self) -> String {
        let names: Vec<&str> = (0..1 + self.below(3)).map(|_| NAMES[self.below(4) as usize]).collect();
        names.join("/")
    }

    /// Edits as a shell does them; what can't be done isn't.
    fn script(&mut self) -> String {
        let mut script = "cd /workspace\n".to_owned();
        for _ in 0..4 + self.below(12) {
            let (at, to, number) = (self.path(), self.path(), self.below(1_000));
            script.push_str(&match self.below(14) {
                0..3 => format!("mkdir -p {at}"),
                3 | 4 => format!("{{ seq {number} | head -30; echo {number}; }} > {at}"),
                5 => format!("printf '%s' {number} > {at}"),
                6 => format!("[ -f {at} ] && [ ! -L {at} ] && echo {number} >> {at}"),
                7 => format!("[ -f {at} ] && [ ! -L {at} ] && sed -i 's/1/{number}/' {at}"),
                8 => format!("rm -rf {at}"),
                9 => format!("rm -rf {at}; mkdir {at}; echo {number} > {at}/a"),
                10 => format!("mv {at} {to}"),
                11 => format!("ln {at} {to}"),
                12 => format!("ln -sn {to} {at}"),
                _ => format!("[ -L {at} ] || chmod {:o} {at}", 0o700 + number % 0o100),
            });
            script.push_str(" 2>/dev/null\n");
        }
        script + "true"
    }
}

/// A property: what is told is what two archives of the same files differ in.
#[tokio::test]
async fn differences_are_those_of_a_model_after_any_edits_and_layers() {
    let (mut seen, mut copied) = (BTreeMap::<String, u64>::new(), 0);
    for seed in 1..4u64 {
        // Stacks are merged as soon as they can be.
        let Some(mut real) = Real::open_with(|config| config.most_layers = 2).await else { return };
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut kept: Vec<(SnapshotId, Tree)> = Vec::new();
        for round in 0..9u64 {
            if round % 4 == 1 {
                // What lives on makes the next snapshot a copy.
                real.bash("sleep 1000 & disown").await.expect("started");
            }
            real.bash(&dice.script()).await.expect("edited");
            let snapshot = SnapshotId::from_bits(u128::from(round) + 1);
            let taken = real.backend().snapshot(SESSION, snapshot, None).await.expect("kept");
            copied += u64::from(matches!(taken, Taken::Copied { .. }));
            kept.push((snapshot, tree(real.sandbox()).await));
            if round % 4 == 1 {
                real.bash("pkill sleep; true").await.expect("ended");
            }
            if round % 3 == 2 {
                real.backend().leftovers(&[SESSION]).await.expect("merged");
            }
            if round == 6 {
                let back = kept[dice.below(5) as usize].0;
                real.backend().rewind(SESSION, Some(back)).await.expect("rewound");
                real.reopen().await;
            }
            real.bash(&dice.script()).await.expect("edited");
            let now = tree(real.sandbox()).await;
            let (from, was) = &kept[dice.below(kept.len() as u64) as usize];
            real.backend().fork(SESSION, *from, &[], VIEW).await.expect("forked");
            let view = real.backend().open(Spec::new(VIEW)).await.expect("opened").sandbox;
            let limit = [1_000, 1, 3][dice.below(3) as usize];
            let found = differences(&view, real.sandbox(), limit).await;
            let told: BTreeMap<Vec<u8>, Change> = found.iter().map(|one| (path_of(one), one.change)).collect();
            assert_eq!(told, expected(was, &now), "seed {seed}, round {round}");
            assert_eq!(told.len(), found.len(), "each once");
            for one in &found {
                *seen.entry(format!("{:?}", one.change)).or_default() += 1;
                let text = |tree: &Tree| match tree.get(&path_of(one)) {
                    Some((_, Node::File(content))) => String::from_utf8(content.clone()).expect("text"),
                    Some((_, Node::Directory | Node::Link(_))) | None => String::new(),
                };
                if let Some(Content::Text { patch, .. }) = &one.content {
                    let patch = patch.as_deref().expect("short");
                    assert_eq!(applied(&text(was), patch), text(&now), "seed {seed}, round {round}: {patch}");
                }
            }
            real.backend().destroy(VIEW).await.expect("gone");
        }
        // A fork goes its own way.
        let (last, was) = kept.last().expect("some");
        real.backend().fork(SESSION, *last, &[], FORK).await.expect("forked");
        let fork = real.backend().open(Spec::new(FORK)).await.expect("opened").sandbox;
        assert_eq!(tree(&fork).await, *was);
        let told: BTreeMap<Vec<u8>, Change> =
            differences(&fork, real.sandbox(), 1_000).await.iter().map(|one| (path_of(one), one.change)).collect();
        assert_eq!(told, expected(was, &tree(real.sandbox()).await), "seed {seed}");
        real.backend().destroy(FORK).await.expect("gone");
        real.close().await;
    }
    // What was to be tried was.
    let kinds = ["Added", "Removed", "Modified", "TypeChanged", "ModeChanged"];
    assert!(kinds.iter().all(|kind| seen.contains_key(*kind)) && copied > 2, "{seen:?}, {copied} copied");
}

/// What both have in common isn't read: here it can't be.
#[tokio::test]
async fn only_what_may_differ_is_read() {
    let Some(mut real) = Real::open().await else { return };
    real.bash("mkdir d; seq 100000 > d/large; chmod 0 d/large; echo x > other; chmod 0 other; mkdir sealed; echo x > sealed/f")
        .await
        .expect("made");
    let snapshot = SnapshotId::from_bits(1);
    real.backend().snapshot(SESSION, snapshot, None).await.expect("kept");
    real.backend().fork(SESSION, snapshot, &[], VIEW).await.expect("forked");
    let view = real.backend().open(Spec::new(VIEW)).await.expect("opened").sandbox;
    assert_eq!(differences(&view, real.sandbox(), 100).await, []);
    // Of what is another file of the same size nobody knows, and it is said; nor of a directory that can't be entered.
    if rustix::process::geteuid().is_root() {
        // Elsewhere a directory of a snapshot is copied to another name, and this one can't be read.
        real.bash("mv d moved; mv moved d").await.expect("renamed");
    }
    real.bash("rm -f other; echo y > other; chmod 0 other sealed").await.expect("changed");
    let found = differences(&view, real.sandbox(), 100).await;
    let told: Vec<_> = found.iter().map(|one| (String::from_utf8(path_of(one)).expect("text"), one.change)).collect();
    let unreadable = |name: &str| (name.to_owned(), Change::Unreadable);
    assert_eq!(told, [unreadable("other"), unreadable("sealed")]);
    // The root has everything but what no snapshot has.
    let all = Comparing { at: Name::plain("/"), after: None, limit: 100, detail: Detail::None };
    real.bash("echo x > /tmp/new; echo x > /home/agent/new").await.expect("written");
    let (old, new) = (FilesClient::new(view.clone()), FilesClient::new(real.sandbox().clone()));
    let found = new.compare(&old, all).await.expect("compared").found;
    let paths: Vec<String> = found.iter().filter_map(|one| Some(one.after.as_ref()?.name.path.clone())).collect();
    assert_eq!(paths, ["/home/agent/new", "/workspace/other", "/workspace/sealed"]);
    let never = Comparing { at: Name::plain("/tmp/new"), after: None, limit: 100, detail: Detail::None };
    assert!(new.compare(&old, never).await.expect_err("refused").to_string().contains("isn't part of snapshots"));
    real.backend().destroy(VIEW).await.expect("gone");
    real.close().await;
}
