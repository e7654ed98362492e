//! Tenure's own sandboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{Backend, CallEnd, Exit, Native, NativeConfig, Order, Sandbox, Spec, Work};

use crate::case::{Case, Control, Outcome, Probe, Whose, attacker, outcome, whose};
use crate::stage::Stage;
use crate::table::{Row, Shown};

/// The attempts that the suite makes itself or with a second sandbox.
const OUTLIVE: &str = "outlive";
const OTHER_PORT: &str = "other-port";

type Fences = BTreeSet<String>;

/// Makes every attempt, and then those in weaker sandboxes.
pub(crate) fn run(cases: &[Case], stage: &Stage) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let probes: Vec<&Probe> = cases.iter().flat_map(|case| &case.probes).collect();
        let mut runs: BTreeMap<Fences, Vec<&Probe>> = BTreeMap::new();
        runs.entry(Fences::new()).or_default().extend(&probes);
        for probe in &probes {
            for down in weaker(probe) {
                runs.entry(down).or_default().push(probe);
            }
        }
        let mut config = NativeConfig::new(stage.dir.path().join("sandbox"));
        config.linger = Duration::from_secs(30);
        let backend: Arc<dyn Backend> = Arc::new(Native::new(config));
        if let Whose::Given(_) = whose() {
            // Whose files are is settled before there are sessions.
            let first = SessionId::from_bits(3);
            backend.open(Spec::new(first)).await?;
            backend.destroy(first).await?;
        }
        let mut outcomes: BTreeMap<(String, Fences), Outcome> = BTreeMap::new();
        for (down, probes) in runs {
            let made = attempts(stage, &backend, &down, &probes).await;
            let made = made.with_context(|| format!("in a sandbox without {:?}", down.iter().collect::<Vec<_>>()))?;
            outcomes.extend(made.into_iter().map(|(name, outcome)| ((name, down.clone()), outcome)));
        }
        backend.shutdown().await?;
        let outcome_of = |probe: &Probe, down: Fences| outcomes[&(probe.name.clone(), down)].clone();
        Ok(probes
            .iter()
            .map(|probe| Row {
                probe: probe.name.clone(),
                outcome: outcome_of(probe, Fences::new()),
                control: match probe.control() {
                    Control::None(why) => Shown::Not(why.clone()),
                    Control::Without(fences) => {
                        let all: Fences = fences.iter().cloned().collect();
                        let alone = |fence: &String| {
                            let others: Fences = all.iter().filter(|other| *other != fence).cloned().collect();
                            (fence.clone(), outcome_of(probe, others))
                        };
                        Shown::Without {
                            outcome: outcome_of(probe, all.clone()),
                            alone: all.iter().map(alone).collect(),
                        }
                    }
                },
            })
            .collect())
    })
}

/// The sandboxes in which an attempt is to be made besides a whole one: without all of its fences, and with one of them
/// alone.
fn weaker(probe: &Probe) -> Vec<Fences> {
    let Control::Without(fences) = probe.control() else { return Vec::new() };
    let all: Fences = fences.iter().cloned().collect();
    let with_one = |one: &String| all.iter().filter(|other| *other != one).cloned().collect();
    let mut weaker: Vec<Fences> = all.iter().map(with_one).filter(|down: &Fences| !down.is_empty()).collect();
    weaker.push(all);
    weaker
}

async fn attempts(
    stage: &Stage,
    backend: &Arc<dyn Backend>,
    down: &Fences,
    probes: &[&Probe],
) -> Result<Vec<(String, Outcome)>> {
    let (session, other) = (SessionId::from_bits(1), SessionId::from_bits(2));
    let layer = stage.dir.path().join(format!("sandbox/sessions/{session}/layer"));
    stage.plant(&layer)?;
    let made = in_sandboxes(stage, backend, [session, other], down, probes).await;
    // The one whose users the stage knows comes last, so that the next sandbox has them again.
    for session in [other, session] {
        backend.destroy(session).await?;
    }
    if std::env::var_os("TENURE_ESCAPE_TALK").is_some() {
        eprintln!("{down:?}: {:?}", made.as_ref().map(Vec::len));
    }
    let mut made = made?;
    if probes.iter().any(|probe| probe.name == OUTLIVE) {
        made.push((OUTLIVE.to_owned(), outlived(stage)?));
    }
    Ok(made)
}

async fn in_sandboxes(
    stage: &Stage,
    backend: &Arc<dyn Backend>,
    [session, other]: [SessionId; 2],
    down: &Fences,
    probes: &[&Probe],
) -> Result<Vec<(String, Outcome)>> {
    let program = std::fs::read(attacker()?)?;
    let mut caller = Caller::open(backend, session, down, &program).await?;
    // Held, so that it goes on listening.
    let mut _other = None;
    if probes.iter().any(|probe| probe.name == OTHER_PORT) {
        let mut caller = Caller::open(backend, other, down, &program).await?;
        let (port, nonce) = (stage.input.other_port, &stage.input.nonce);
        caller
            .shell(&format!("mkfifo /tmp/said; {PROGRAM} listen {port}:{nonce} >/tmp/said & head -n1 /tmp/said"))
            .await?;
        _other = Some(caller);
    }
    if probes.iter().any(|probe| probe.name == OUTLIVE) {
        let nonce = &stage.input.nonce;
        let begun = format!("mkfifo /tmp/here; (setsid {PROGRAM} linger {nonce} >/tmp/here &); head -n1 /tmp/here");
        caller.shell(&begun).await?;
    }
    let input = serde_json::to_string(&stage.input)?;
    let mut made = Vec::new();
    for probe in probes.iter().filter(|probe| probe.name != OUTLIVE) {
        let argv = [PROGRAM, "try", &probe.name, &input].map(str::to_owned).to_vec();
        let exit = caller.run(Work::Exec { argv, env: Vec::new(), cwd: "/".to_owned(), stdin: Vec::new() }).await?;
        let end = format!("code {:?}, signal {:?}", exit.code, exit.signal);
        made.push((probe.name.clone(), outcome(&exit.stdout, &exit.stderr, &end)));
    }
    Ok(made)
}

/// Where the program that tries is put.
const PROGRAM: &str = "/tmp/tenure-escape";

struct Caller {
    sandbox: Arc<dyn Sandbox>,
    calls: u128,
}

impl Caller {
    /// Makes a sandbox with the program in it.
    async fn open(backend: &Arc<dyn Backend>, session: SessionId, down: &Fences, program: &[u8]) -> Result<Self> {
        let mut spec = Spec::new(session);
        if !down.is_empty() {
            let names: Vec<&str> = down.iter().map(String::as_str).collect();
            spec.env.push(("TENURE_FENCES_DOWN".to_owned(), names.join(",")));
        }
        let sandbox = backend.open(spec).await?.sandbox;
        let mut caller = Self { sandbox, calls: 0 };
        let script = format!("cat >{PROGRAM} && chmod 755 {PROGRAM}");
        let argv = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let exit =
            caller.run(Work::Exec { argv, env: Vec::new(), cwd: "/".to_owned(), stdin: program.to_vec() }).await?;
        match exit.code {
            Some(0) => Ok(caller),
            _ => bail!("the program can't be put into it: {exit:?}"),
        }
    }

    async fn shell(&mut self, command: &str) -> Result<Exit> {
        self.run(Work::Shell { command: command.to_owned(), restart: false }).await
    }

    async fn run(&mut self, work: Work) -> Result<Exit> {
        self.calls += 1;
        let mut order = Order::new(ItemId::from_bits(self.calls), work);
        order.timeout = Some(Duration::from_secs(30));
        match self.sandbox.run(order, None).await? {
            CallEnd::Exited(exit) => Ok(exit),
            CallEnd::Interrupted { reason } => bail!("interrupted: {reason}"),
        }
    }
}

/// Whether a process of a sandbox that is gone is still there. If so, it is ended.
fn outlived(stage: &Stage) -> Result<Outcome> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = std::fs::read_to_string(Path::new("/proc").join(format!("{pid}/cmdline"))).unwrap_or_default();
        if command.starts_with(PROGRAM) && command.contains("linger") && command.contains(&stage.input.nonce) {
            // SAFETY: takes numbers only; the process is the suite's own, in a namespace of its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            return Ok(Outcome::Reached(format!("process {pid} is still there")));
        }
    }
    Ok(Outcome::Blocked("ended with the sandbox".to_owned()))
}
