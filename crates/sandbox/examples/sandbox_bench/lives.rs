//! Lives of sandboxes: made, used and ended, beside those that others make.

use std::time::{Duration, Instant};

use tenure_core::id::SessionId;
use tenure_sandbox::{Backend, Native, NativeConfig, Work};

use crate::floor::Floor;
use crate::others::{HOST, others};
use crate::{MILLISECONDS, Row, Times, open, program, run};

/// How long the supervisor gets to make sandboxes ahead.
const FILLING: Duration = Duration::from_millis(200);

/// What is timed of a life of ours.
#[derive(Default)]
struct Ours {
    create: Times,
    exec: Times,
    shell: Times,
    destroy: Times,
    whole: Times,
}

/// As above, of one that was made ahead.
#[derive(Default)]
struct Claimed {
    claim: Times,
    first_call: Times,
    whole: Times,
}

pub(crate) async fn lives(rounds: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = |name: &str, cgroups: bool, pool: usize| {
        let mut config = NativeConfig::new(dir.path().join(name));
        (config.cgroups, config.pool) = (cgroups, pool);
        Native::new(config)
    };
    let (with, without, pooled) = (backend("with", true, 0), backend("without", false, 0), backend("pooled", true, 2));
    let (mut limited, mut unlimited, mut claimed) = (Ours::default(), Ours::default(), Claimed::default());
    let mut others = others(dir.path());
    let mut floor = Floor::new(dir.path()).expect("directories");
    for round in 0..=rounds {
        if round == 1 {
            // The first round warms up.
            (limited, unlimited, claimed) = (Ours::default(), Ours::default(), Claimed::default());
            others.iter_mut().for_each(|other| other.times = Times::default());
            floor.times = Times::default();
        }
        one_life(&with, &mut limited, round).await;
        one_life(&without, &mut unlimited, round).await;
        one_claimed_life(&pooled, &mut claimed, round).await;
        floor.make().expect("made");
        for other in &mut others {
            let began = Instant::now();
            other.runs();
            other.times.add(began);
        }
    }
    for backend in [with, without, pooled] {
        backend.shutdown().await.expect("shut down");
    }
    let timed = |row: &str, times: &Times, most: f64, beside: &str| {
        let (target, met) = (format!("≤ {most}"), Some(times.median() <= most));
        Row { row, measured: times.shown(), unit: MILLISECONDS, target: &target, met, beside: beside.to_owned() }
            .print();
    };
    let n = format!(
        "{rounds} lives, interleaved with those of the others; the system calls alone that make as many namespaces and mounts: {}",
        floor.times.shown()
    );
    let beside = format!("until the first /bin/true in it has ended: {}", claimed.first_call.shown());
    timed("sandbox: claim from the pool, with limits by cgroups", &claimed.claim, 2.0, &beside);
    timed("sandbox: cold create, with limits by cgroups", &limited.create, 5.0, &n);
    timed("sandbox: cold create, without cgroups", &unlimited.create, 5.0, &n);
    let plain = others.iter().find(|other| other.name == HOST).map(|other| other.times.shown()).unwrap_or_default();
    timed("sandbox: exec of /bin/true in a live one", &limited.exec, 1.0, &format!("without a sandbox: {plain}"));
    timed("sandbox: `true` in the live shell", &limited.shell, 1.0, "no process is started");
    timed("sandbox: destroy to last process reaped", &limited.destroy, 2.0, "files moved away");
    let beside: Vec<String> = others.iter().map(|other| format!("{} {}", other.name, other.times.shown())).collect();
    let beside = beside.join(", ");
    let best = others.iter().filter(|other| other.name != HOST).map(|other| other.times.median()).reduce(f64::min);
    for (row, ours) in [
        ("sandbox: claim, run /bin/true, destroy", &claimed.whole),
        ("sandbox: create, run /bin/true, destroy; with limits by cgroups", &limited.whole),
        ("sandbox: create, run /bin/true, destroy; without cgroups", &unlimited.whole),
    ] {
        let met = best.map(|best| ours.median() < best);
        let (measured, target) = (ours.shown(), "ahead of bwrap, crun and runc");
        Row { row, measured, unit: MILLISECONDS, target, met, beside: beside.clone() }.print();
    }
}

/// One that was made ahead.
async fn one_claimed_life(backend: &Native, times: &mut Claimed, round: u32) {
    let session = SessionId::from_bits(u128::from(round) + 1);
    // What is made ahead is made when nothing else happens.
    tokio::time::sleep(FILLING).await;
    let began = Instant::now();
    let sandbox = open(backend, session).await;
    times.claim.add(began);
    run(&sandbox, 1, program()).await;
    times.first_call.add(began);
    drop(sandbox);
    Backend::destroy(backend, session).await.expect("destroyed");
    times.whole.add(began);
}

async fn one_life(backend: &Native, times: &mut Ours, round: u32) {
    let session = SessionId::from_bits(u128::from(round) + 1);
    // First a life as the others have it, then one to be looked into.
    let began = Instant::now();
    let sandbox = open(backend, session).await;
    run(&sandbox, 1, program()).await;
    drop(sandbox);
    Backend::destroy(backend, session).await.expect("destroyed");
    times.whole.add(began);
    let began = Instant::now();
    let sandbox = open(backend, session).await;
    times.create.add(began);
    let line = Work::Shell { command: "true".to_owned(), restart: false };
    for (turn, (case, work)) in [(&mut times.exec, program()), (&mut times.shell, line)].into_iter().enumerate() {
        // The first of each waits for the limits to be entered, or for bash to start.
        for again in 0..6 {
            let began = Instant::now();
            run(&sandbox, (turn * 6 + again + 1) as u128, work.clone()).await;
            if again > 0 {
                case.add(began);
            }
        }
    }
    drop(sandbox);
    let began = Instant::now();
    Backend::destroy(backend, session).await.expect("destroyed");
    times.destroy.add(began);
}
