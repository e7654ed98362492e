//! Random histories of files, with snapshots, forks and rewinding, against a model in memory.
//!
//! `TENURE_SEED` tries one history again, `TENURE_HISTORIES` that many.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallEnd, Order, Sandbox, Taken, Work};

use crate::host::{Host, call, needs_root, run, session, shell, text};
use crate::snapshots::snapshot;

const HISTORIES: u64 = 4;
const STEPS: usize = 12;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Carries out what it is told, one line at a time, then shows everything that is there.
const ACT: &str = r#"
import json, os, shutil, sys
os.makedirs('/workspace/t', exist_ok=True)
os.chdir('/workspace/t')
for line in sys.stdin:
    op, *args = json.loads(line)
    if op == 'dir': os.mkdir(args[0])
    elif op == 'write': open(args[0], 'w').write(args[1])
    elif op == 'append': open(args[0], 'a').write(args[1])
    elif op == 'rename': os.rename(args[0], args[1])
    elif op == 'link': os.link(args[0], args[1])
    elif op == 'symlink': os.symlink(args[0], args[1])
    elif op == 'chmod': os.chmod(args[0], args[1])
    elif op == 'remove': shutil.rmtree(args[0]) if os.path.isdir(args[0]) and not os.path.islink(args[0]) else os.remove(args[0])
    else: raise ValueError(op)
def show(at):
    for name in sorted(os.listdir(at)):
        path = os.path.join(at, name)[2:] if at == '.' else os.path.join(at, name)
        if os.path.islink(path): print(path, '->', os.readlink(path))
        elif os.path.isdir(path):
            print(path, 'dir', oct(os.lstat(path).st_mode & 0o7777))
            show(path)
        else: print(path, 'file', oct(os.lstat(path).st_mode & 0o7777), open(path).read())
show('.')
"#;

/// What is in a directory of a model.
#[derive(Debug, Clone)]
enum Node {
    Dir {
        mode: u32,
    },
    /// By the number of what it holds, which several names may have.
    File(usize),
    Symlink(String),
}

/// Files as they should be.
#[derive(Debug, Clone, Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    files: HashMap<usize, (u32, String)>,
    made: usize,
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.below(among.len())) }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

impl Model {
    fn show(&self) -> String {
        self.show_in("")
    }

    /// Depth first, by name, as the sandbox shows it.
    fn show_in(&self, dir: &str) -> String {
        let mut shown = String::new();
        for (path, node) in self.nodes.iter().filter(|(path, _)| parent(path) == dir) {
            match node {
                Node::Symlink(to) => shown.push_str(&format!("{path} -> {to}\n")),
                Node::Dir { mode } => {
                    shown.push_str(&format!("{path} dir 0o{mode:o}\n"));
                    shown.push_str(&self.show_in(path));
                }
                Node::File(number) => {
                    let (mode, holds) = &self.files[number];
                    shown.push_str(&format!("{path} file 0o{mode:o} {holds}\n"));
                }
            }
        }
        shown
    }

    fn paths(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| wanted(node)).map(|(path, _)| path.clone()).collect()
    }

    /// Files with one name: what an overlay does with a sealed one that has several is to part them.
    fn single_files(&self) -> Vec<String> {
        let names =
            |number: &usize| self.nodes.values().filter(|node| matches!(node, Node::File(n) if n == number)).count();
        self.paths(|node| matches!(node, Node::File(number) if names(number) == 1))
    }

    fn new_path(&self, dice: &mut Dice) -> String {
        let mut dirs = self.paths(|node| matches!(node, Node::Dir { .. }));
        dirs.push(String::new());
        let dir = &dirs[dice.below(dirs.len())];
        let name = NAMES[dice.below(NAMES.len())];
        if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
    }

    fn remove(&mut self, path: &str) {
        self.nodes.retain(|other, _| other != path && !is_below(other, path));
    }

    /// Changes something; gives the line that does the same, if there is anything to change.
    fn change(&mut self, dice: &mut Dice) -> Option<String> {
        let line = |parts: &[&str]| serde_json::to_string(parts).ok();
        self.made += 1;
        let made = self.made;
        let holds = "x".repeat(dice.below(20)) + &made.to_string();
        let new = self.new_path(dice);
        let is_free = !self.nodes.contains_key(&new);
        let everything = self.paths(|_| true);
        match dice.below(10) {
            0 | 1 if is_free => {
                self.nodes.insert(new.clone(), Node::Dir { mode: 0o755 });
                line(&["dir", &new])
            }
            2 | 3 if is_free => {
                self.files.insert(made, (0o644, holds.clone()));
                self.nodes.insert(new.clone(), Node::File(made));
                line(&["write", &new, &holds])
            }
            4 => {
                let files = self.single_files();
                let path = dice.pick(&files)?;
                let Some(Node::File(number)) = self.nodes.get(path) else { return None };
                let file = self.files.get_mut(number)?;
                if dice.below(2) == 0 {
                    file.1.push_str(&holds);
                    line(&["append", path, &holds])
                } else {
                    file.1.clone_from(&holds);
                    line(&["write", path, &holds])
                }
            }
            5 | 6 => {
                let from = dice.pick(&everything)?.clone();
                if new == from || is_below(&new, &from) {
                    return None;
                }
                match (&self.nodes[&from], self.nodes.get(&new)) {
                    (_, None) => {}
                    (Node::File(one), Some(Node::File(other))) if one != other => {}
                    (Node::Dir { .. }, Some(Node::Dir { .. }))
                        if !self.nodes.keys().any(|path| is_below(path, &new)) => {}
                    (Node::File(_) | Node::Dir { .. } | Node::Symlink(_), Some(_)) => return None,
                }
                self.nodes.remove(&new);
                let moved: Vec<String> =
                    everything.iter().filter(|path| **path == from || is_below(path, &from)).cloned().collect();
                for path in moved {
                    let node = self.nodes.remove(&path)?;
                    self.nodes.insert(format!("{new}{}", &path[from.len()..]), node);
                }
                line(&["rename", &from, &new])
            }
            7 => {
                let path = dice.pick(&everything)?.clone();
                let was_dir = matches!(self.nodes[&path], Node::Dir { .. });
                self.remove(&path);
                let removed = line(&["remove", &path])?;
                // A directory becomes a file, and the other way round.
                let (node, made_line) = match (dice.below(3), was_dir) {
                    (0, true) => {
                        self.files.insert(made, (0o644, holds.clone()));
                        (Node::File(made), line(&["write", &path, &holds])?)
                    }
                    (0, false) => (Node::Dir { mode: 0o755 }, line(&["dir", &path])?),
                    _ => return Some(removed),
                };
                self.nodes.insert(path, node);
                Some(format!("{removed}\n{made_line}"))
            }
            8 => {
                let mut among = self.single_files();
                among.extend(self.paths(|node| matches!(node, Node::Dir { .. })));
                let path = dice.pick(&among)?.clone();
                let mode = [0o700, 0o755, 0o750, 0o711][dice.below(4)];
                match self.nodes.get_mut(&path)? {
                    Node::Dir { mode: old } => *old = mode,
                    Node::File(number) => self.files.get_mut(number)?.0 = mode,
                    Node::Symlink(_) => return None,
                }
                serde_json::to_string(&("chmod", path, mode)).ok()
            }
            9 if is_free => {
                let files = self.paths(|node| matches!(node, Node::File(_)));
                match dice.pick(&files) {
                    Some(file) if dice.below(2) == 0 => {
                        let node = self.nodes[file].clone();
                        self.nodes.insert(new.clone(), node);
                        line(&["link", file, &new])
                    }
                    _ => {
                        self.nodes.insert(new.clone(), Node::Symlink(holds.clone()));
                        line(&["symlink", &holds, &new])
                    }
                }
            }
            _ => None,
        }
    }
}

struct History {
    host: Host,
    dice: Dice,
    calls: u128,
    /// What each session should have, and each of its snapshots.
    sessions: BTreeMap<u128, Model>,
    kept: BTreeMap<(u128, u128), Model>,
    told: Vec<String>,
}

impl History {
    async fn act(&mut self, n: u128, changes: usize) {
        let (dice, model) = (&mut self.dice, self.sessions.get_mut(&n).expect("it is known"));
        let lines: Vec<String> = (0..changes).filter_map(|_| model.change(dice)).collect();
        self.told.push(format!("{n}: {}", lines.join(" ")));
        let sandbox = self.host.open(session(n)).await;
        self.calls += 1;
        let argv = ["python3", "-c", ACT].map(str::to_owned).to_vec();
        let stdin = lines.join("\n").into_bytes();
        let work = Work::Exec { argv, env: Vec::new(), cwd: "/workspace".to_owned(), stdin };
        let CallEnd::Exited(exit) = sandbox.run(Order::new(call(self.calls), work), None).await.expect("a result")
        else {
            panic!("interrupted")
        };
        assert_eq!(text(&exit), self.sessions[&n].show(), "session {n}");
    }

    async fn open(&self, n: u128) -> Arc<dyn Sandbox> {
        self.host.open(session(n)).await
    }

    async fn step(&mut self) {
        let known: Vec<u128> = self.sessions.keys().copied().collect();
        let n = known[self.dice.below(known.len())];
        let kept: Vec<(u128, u128)> = self.kept.keys().copied().collect();
        let new = self.kept.len() as u128 + 100 + self.calls * 1_000;
        match self.dice.below(8) {
            0..=2 => {
                self.told.push(format!("{n}: keep {new}"));
                let taken = self.host.backend.snapshot(session(n), snapshot(new), None).await.expect("taken");
                assert!(!matches!(taken, Taken::Skipped { .. }));
                self.kept.insert((n, new), self.sessions[&n].clone());
            }
            3 => {
                self.told.push(format!("{n}: write in the background"));
                self.calls += 1;
                let sandbox = self.open(n).await;
                let writing =
                    "mkdir -p ~/b; while :; do echo x >> ~/b/w; mv ~/b/w ~/b/v; sleep 0.01; done > /dev/null 2>&1 &";
                run(&sandbox, self.calls, shell(writing)).await;
            }
            4 => {
                self.told.push(format!("{n}: stop"));
                let sandbox = self.open(n).await;
                sandbox.stop(Duration::ZERO).await.expect("stopped");
            }
            5 if !kept.is_empty() => {
                let (from, which) = kept[self.dice.below(kept.len())];
                self.told.push(format!("{from}: fork {which} to {new}"));
                self.host.backend.fork(session(from), snapshot(which), &[], session(new)).await.expect("forked");
                let model = self.kept[&(from, which)].clone();
                self.kept.insert((new, which), model.clone());
                self.sessions.insert(new, model);
                self.act(new, 0).await;
                self.act(from, 0).await;
            }
            6 => {
                let own: Vec<u128> = kept.iter().filter(|(owner, _)| *owner == n).map(|(_, which)| *which).collect();
                let to = self.dice.pick(&own).copied();
                self.told.push(format!("{n}: rewind to {to:?}"));
                self.host.backend.rewind(session(n), to.map(snapshot)).await.expect("rewound");
                let made = self.sessions[&n].made;
                let model = to.map_or_else(Model::default, |to| self.kept[&(n, to)].clone());
                self.sessions.insert(n, Model { made: made.max(model.made), ..model });
                self.act(n, 0).await;
            }
            _ => {}
        }
        let changes = self.dice.below(12);
        self.act(n, changes).await;
    }
}

async fn live(seed: u64) {
    let mut sessions = BTreeMap::new();
    sessions.insert(1, Model::default());
    let (calls, told) = (0, Vec::new());
    let mut history = History { host: Host::new(), dice: Dice(seed), calls, sessions, kept: BTreeMap::new(), told };
    let outcome = {
        let living = async {
            for _ in 0..STEPS {
                history.step().await;
            }
            let all: Vec<u128> = history.sessions.keys().copied().collect();
            for n in all {
                history.act(n, 0).await;
            }
        };
        futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(living)).await
    };
    if let Err(panic) = outcome {
        #[expect(clippy::print_stdout, reason = "says how to try it again")]
        {
            println!("TENURE_SEED={seed}\n{}", history.told.join("\n"));
        }
        std::panic::resume_unwind(panic);
    }
    history.host.finish().await;
}

#[tokio::test]
async fn whatever_happens_to_files_snapshots_and_forks_are_as_they_were() {
    needs_root("it renames directories of lower layers, which an ordinary user's overlays can't");
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("TENURE_SEED");
    let count = number("TENURE_HISTORIES").unwrap_or(if first.is_some() { 1 } else { HISTORIES });
    let first = first.unwrap_or_else(|| u64::from(std::process::id()) * 1_000);
    for seed in first..first + count {
        live(seed).await;
    }
}
