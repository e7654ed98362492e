//! Random histories: whatever is asked in whatever order, whatever becomes of what a session wants done, and whenever the
//! server dies, the session keeps its promises. A history that breaks one is made short before it is shown.

#![expect(clippy::print_stdout, reason = "the history and the totals are for whoever runs the tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use plan::{Op, Plan};
use play::play;

mod check;
mod plan;
mod play;
mod request;
mod world;

/// Histories that are always played.
const HISTORIES: u64 = 12_000;

#[test]
fn a_session_keeps_its_promises() {
    // `SEED=17` plays one history, `HISTORIES=1000000` more of them.
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("HISTORIES").unwrap_or(HISTORIES)),
    };
    let (next, steps, facts) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let plan = Plan::of(seed);
            match silently(|| play(&plan, false)) {
                Ok(played) => {
                    steps.fetch_add(played.steps, Ordering::Relaxed);
                    facts.fetch_add(played.facts, Ordering::Relaxed);
                }
                Err(_) => {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                    show(&shortest(plan));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{count} histories of {} commands and {} facts", steps.into_inner(), facts.into_inner());
}

/// Plays a history again, aloud, so that its last words say what broke.
fn show(plan: &Plan) -> ! {
    println!("seed {} (SEED={} plays it whole); shortened to:", plan.seed, plan.seed);
    let played = catch_unwind(|| play(plan, true));
    std::panic::resume_unwind(played.err().unwrap_or_else(|| Box::new("it broke before it was shortened")))
}

/// Leaves out whatever isn't needed for it to break.
fn shortest(mut plan: Plan) -> Plan {
    let mut size = plan.ops.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < plan.ops.len() {
            let mut ops: Vec<Op> = plan.ops.clone();
            ops.drain(at..(at + size).min(plan.ops.len()));
            let shorter = Plan { ops, ..plan.clone() };
            match silently(|| play(&shorter, false)) {
                Ok(_) => at += size,
                Err(_) => plan = shorter,
            }
        }
        size /= 2;
    }
    plan
}

/// Runs this without the words of its panic.
fn silently<T>(run: impl FnOnce() -> T) -> Result<T, Box<dyn std::any::Any + Send>> {
    QUIET.with(|quiet| quiet.set(true));
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.with(std::cell::Cell::get) {
                loud(info);
            }
        }));
    });
    let outcome = catch_unwind(AssertUnwindSafe(run));
    QUIET.with(|quiet| quiet.set(false));
    outcome
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
