//! Server, supervisor, and both are killed at random moments while sessions are kept, forked, put back, merged and collected:
//! nothing that a snapshot holds is lost, and nothing is left behind.
//!
//! `TENURE_KILLS` says how many are killed (10), `TENURE_SEED` tries the same dice again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_sandbox::native::{check_files, check_layers};
use tokio::sync::{mpsc, oneshot};

use crate::host::{Host, session};

const KILLS: usize = 10;
/// Sessions at work at once.
const CHAINS: u64 = 3;
/// So few that stacks are merged all the time.
const MOST_LAYERS: &str = "4";
/// How often something is tried whose outcome isn't known.
const ATTEMPTS: usize = 100;

/// Everything in the workspace.
const SHOW: &str = "find . | sort; find . -type f -print0 | sort -z | xargs -0 -r tail -n +1";

#[tokio::test]
async fn whoever_is_killed_no_snapshot_loses_anything() {
    crate::host::needs_own_files("it reaches into them");
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (kills, seed) = (number("TENURE_KILLS", KILLS as u64) as usize, number("TENURE_SEED", rand()));
    #[expect(clippy::print_stdout, reason = "so that it can be tried again")]
    {
        println!("TENURE_SEED={seed}");
    }
    let host = Host::new();
    let server = Server::start(&host);
    let (progress, mut progressed) = mpsc::unbounded_channel();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let chains: Vec<_> = (0..CHAINS)
        .map(|number| {
            let chain = Chain::new(number, seed, Arc::clone(&server), progress.clone());
            tokio::spawn(chain.work(Arc::clone(&over)))
        })
        .collect();
    drop(progress);
    let mut dice = Dice(seed);
    let (mut killed, mut merged) = (BTreeMap::new(), BTreeSet::new());
    for _ in 0..kills {
        for _ in 0..1 + dice.below(6) {
            progressed.recv().await.expect("they go on");
        }
        merged.extend(layers(&host).filter(|name| name.starts_with("merged-")));
        let victim = ["server", "supervisor", "both"][dice.below(3) as usize];
        *killed.entry(victim).or_insert(0) += 1;
        if victim != "server" {
            // There may be none just now, if it was the last victim too.
            host.try_supervisor().into_iter().for_each(crate::host::kill);
        }
        if victim != "supervisor" {
            server.kill_and_restart();
        }
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut chains_done = Vec::new();
    for chain in chains {
        // What they still have to say must not fill up.
        chains_done.push(chain.await.expect("it came to its end"));
    }
    let mut snapshots = 0;
    let mut known = Vec::new();
    for chain in &mut chains_done {
        snapshots += chain.check_snapshots().await;
        known.extend(chain.sessions());
    }
    assert!(snapshots > 0, "no snapshot was there to be lost");
    let left = server.until_done(session(0), json!({"tidy": {"known": known}})).await;
    assert_eq!(ours(&host, &left), [] as [&str; 0]);
    merged.extend(layers(&host).filter(|name| name.starts_with("merged-")));
    for known in &known {
        assert_eq!(check_files(host.dir.path(), *known).expect("checked"), []);
    }
    assert_eq!(check_layers(host.dir.path()).expect("checked"), []);
    for known in known {
        server.until_done(known, json!("destroy")).await;
    }
    let left = server.until_done(session(0), json!({"tidy": {"known": []}})).await;
    assert_eq!((ours(&host, &left), layers(&host).count()), (Vec::new(), 0));
    let steps: usize = chains_done.iter().map(|chain| chain.steps).sum();
    #[expect(clippy::print_stdout, reason = "what it came to")]
    {
        println!("killed {killed:?}; {steps} steps, {snapshots} snapshots checked, {} merged layers", merged.len());
    }
    server.end();
    host.finish().await;
}

/// Not the groups of other hosts, which a failed test may have left.
fn ours<'l>(host: &Host, left: &'l str) -> Vec<&'l str> {
    let name = host.group_name();
    left.lines().filter(|line| !line.starts_with("cgroup") || line.contains(&name)).collect()
}

fn layers(host: &Host) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(host.dir.path().join("layers")).expect("a directory");
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
}

/// One session after another, each forked from the one before now and then.
struct Chain {
    number: u64,
    dice: Dice,
    server: Arc<Server>,
    progress: mpsc::UnboundedSender<()>,
    session: SessionId,
    made: u64,
    calls: u64,
    steps: usize,
    /// What was shown when each was taken, by session.
    snapshots: HashMap<SessionId, Vec<(SnapshotId, String)>>,
}

impl Chain {
    fn new(number: u64, seed: u64, server: Arc<Server>, progress: mpsc::UnboundedSender<()>) -> Self {
        let dice = Dice(seed ^ (number + 1).wrapping_mul(0x1234_5678_9abc_def1));
        let mut chain = Self {
            number,
            dice,
            server,
            progress,
            session: session(0),
            made: 0,
            calls: 0,
            steps: 0,
            snapshots: HashMap::new(),
        };
        chain.session = chain.new_session();
        chain
    }

    async fn work(mut self, over: Arc<std::sync::atomic::AtomicBool>) -> Self {
        self.change().await;
        self.keep().await;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            match self.dice.below(12) {
                0..3 => self.change().await,
                3..7 => self.keep().await,
                7 => self.fork().await,
                8 => self.rewind().await,
                9 => drop(self.done(json!("stop")).await),
                10 => self.forget().await,
                _ => {
                    let known: Vec<_> = self.snapshots.keys().copied().collect();
                    // Those of the others aren't known to this one; what it tells isn't judged.
                    drop(self.done(json!({"tidy": {"known": known}})).await);
                }
            }
            self.steps += 1;
            let _ = self.progress.send(());
        }
        self
    }

    fn sessions(&self) -> Vec<SessionId> {
        self.snapshots.keys().copied().collect()
    }

    async fn done(&self, what: Value) -> String {
        self.server.until_done(self.session, what).await
    }

    fn new_session(&mut self) -> SessionId {
        self.made += 1;
        let new = SessionId::from_bits(u128::from(self.number) << 64 | u128::from(self.made));
        self.snapshots.insert(new, Vec::new());
        new
    }

    fn next_call(&mut self) -> ItemId {
        self.calls += 1;
        ItemId::from_bits(u128::from(self.number) << 64 | u128::from(self.calls))
    }

    /// Changes files in a way that overlays have their trouble with.
    async fn change(&mut self) {
        let (call, n) = (self.next_call(), self.calls);
        let command = format!(
            "echo {n} >> log; mkdir -p d{m}/x && echo {n} > d{m}/x/f{n}; mv -T d{o} e{m} 2>/dev/null; rm -rf d{p}; \
             [ {k} = 0 ] && sleep 1000 & true",
            m = n % 5,
            o = (n + 1) % 5,
            p = (n + 2) % 5,
            k = self.dice.below(8),
        );
        self.done(json!({"shell": {"call": call, "command": command}})).await;
    }

    async fn show(&mut self) -> String {
        loop {
            let call = self.next_call();
            let shown = self.done(json!({"exec": {"call": call, "command": SHOW}})).await;
            if shown != "interrupted" {
                return shown;
            }
        }
    }

    async fn keep(&mut self) {
        let shown = self.show().await;
        self.made += 1;
        let new = SnapshotId::from_bits(u128::from(self.number) << 64 | u128::from(self.made));
        let taken = self.done(json!({"snapshot": {"snapshot": new}})).await;
        assert!(!taken.contains("Skipped"), "{taken}");
        self.snapshots.get_mut(&self.session).expect("it is known").push((new, shown));
        // What is acknowledged is there, whoever died since.
        assert_eq!(self.show().await, self.snapshots[&self.session].last().expect("just taken").1);
    }

    fn any(&mut self) -> Option<(SnapshotId, String)> {
        let all = &self.snapshots[&self.session];
        (!all.is_empty()).then(|| all[self.dice.below(all.len() as u64) as usize].clone())
    }

    async fn fork(&mut self) {
        let Some((snapshot, shown)) = self.any() else { return };
        let to = self.new_session();
        self.done(json!({"fork": {"snapshot": snapshot, "to": to}})).await;
        self.snapshots.get_mut(&to).expect("just made").push((snapshot, shown.clone()));
        self.session = to;
        assert_eq!(self.show().await, shown);
    }

    async fn rewind(&mut self) {
        let Some((snapshot, shown)) = self.any() else { return };
        self.done(json!({"rewind": {"snapshot": snapshot}})).await;
        assert_eq!(self.show().await, shown);
    }

    async fn forget(&mut self) {
        let kept = self.snapshots.get_mut(&self.session).expect("it is known");
        if kept.len() > 3 {
            kept.drain(..1);
            let snapshots: Vec<_> = kept.iter().map(|(snapshot, _)| *snapshot).collect();
            self.done(json!({"keep": {"snapshots": snapshots}})).await;
        }
    }

    /// Looks at every snapshot through a fork of it; gives how many there are.
    async fn check_snapshots(&mut self) -> usize {
        let all: Vec<_> = self.snapshots.iter().map(|(session, all)| (*session, all.clone())).collect();
        let mut checked = 0;
        for (from, snapshots) in all {
            for (snapshot, shown) in snapshots {
                let to = self.new_session();
                self.session = from;
                self.done(json!({"fork": {"snapshot": snapshot, "to": to}})).await;
                self.session = to;
                assert_eq!(self.show().await, shown, "snapshot {snapshot} of {from}");
                self.done(json!("destroy")).await;
                self.snapshots.remove(&to);
                checked += 1;
            }
        }
        checked
    }
}

/// A server in a process of its own, which is killed and started again.
struct Server {
    dir: std::path::PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    process: Child,
    input: ChildStdin,
    asked: u64,
    waiting: Arc<Mutex<HashMap<u64, Asker>>>,
}

/// Who waits for an answer.
type Asker = oneshot::Sender<Result<String, String>>;

impl Server {
    fn start(host: &Host) -> Arc<Self> {
        let dir = host.dir.path().to_owned();
        let inner = Mutex::new(Inner::start(&dir));
        Arc::new(Self { dir, inner })
    }

    fn kill_and_restart(&self) {
        let mut inner = self.inner.lock().expect("no holder panics");
        inner.process.kill().expect("killed");
        inner.process.wait().expect("waited for");
        *inner = Inner::start(&self.dir);
    }

    fn end(&self) {
        let mut inner = self.inner.lock().expect("no holder panics");
        inner.process.kill().expect("killed");
        inner.process.wait().expect("waited for");
    }

    /// Asks as the engine does: again, until there is an answer.
    async fn until_done(&self, session: SessionId, what: Value) -> String {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let answer = self.inner.lock().expect("no holder panics").ask(session, &what);
            match answer.await {
                Ok(Ok(said)) => return said,
                Ok(Err(why)) => last = why,
                Err(_) => "the server died".clone_into(&mut last),
            }
        }
        panic!("{what} of {session} failed {ATTEMPTS} times: {last}");
    }
}

impl Inner {
    fn start(dir: &std::path::Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tenure-sandbox-guest"))
            .args(["drive", dir.to_str().expect("text"), MOST_LAYERS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let (input, output) = (process.stdin.take().expect("piped"), process.stdout.take().expect("piped"));
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<_>>>> = Arc::default();
        let answered = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
                let number = answer["number"].as_u64().expect("a number");
                let outcome = match &answer["outcome"]["Ok"] {
                    Value::String(said) => Ok(said.clone()),
                    _ => Err(answer["outcome"]["Err"].to_string()),
                };
                if let Some(waits) = answered.lock().expect("no holder panics").remove(&number) {
                    let _ = waits.send(outcome);
                }
            }
            // Whoever still waits is told by the loss of what would tell.
            answered.lock().expect("no holder panics").clear();
        });
        Self { process, input, asked: 0, waiting }
    }

    fn ask(&mut self, session: SessionId, what: &Value) -> oneshot::Receiver<Result<String, String>> {
        self.asked += 1;
        let (tell, answer) = oneshot::channel();
        self.waiting.lock().expect("no holder panics").insert(self.asked, tell);
        let line = json!({"number": self.asked, "session": session, "what": what});
        if writeln!(self.input, "{line}").is_err() {
            self.waiting.lock().expect("no holder panics").remove(&self.asked);
        }
        answer
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// A seed for this run.
fn rand() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().into())
}
