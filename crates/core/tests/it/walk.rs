//! Random walks: whatever commands come in whatever order, the session keeps its promises.

use std::collections::BTreeSet;
use std::time::Duration;

use tenure_core::context::assemble;
use tenure_core::effect::outstanding;
use tenure_core::fact::Fact;
use tenure_core::id::ItemId;
use tenure_core::lifetime::next_due;
use tenure_core::model::{Part, Role};
use tenure_core::phase::{Fold, Phase};
use tenure_core::session::{Absent, Activity, Input, Lifecycle, Lifetimes, Sandbox};
use tenure_core::state::State;

use crate::scene::{Scene, commands};

const WALKS: u64 = 100;
const STEPS: u64 = 120;

#[test]
fn a_session_keeps_its_promises() {
    let commands = commands();
    for walk in 0..WALKS {
        let mut random = Random(walk + 1);
        let lifetimes = Lifetimes { sandbox_idle: Some(Duration::from_secs(40)), ..Lifetimes::default() };
        let mut scene = Scene::open(lifetimes);
        let mut trail = Vec::new();
        for step in 0..STEPS {
            let (name, variant, build) = &commands[random.below(commands.len())];
            // Ends come late, or every walk would be short.
            if *name == "end" && step < STEPS / 2 {
                continue;
            }
            let command = fresh_items(build(&scene), &mut random);
            trail.push(format!("{name} {variant}"));
            let (decision, _) = scene.play(command);
            if let Some(first) = decision.facts.first() {
                assert_eq!(first.seq + decision.facts.len() as u64 - 1, scene.state.seq, "{trail:?}");
            }
            check(&scene, &trail);
        }
    }
}

fn check(scene: &Scene, trail: &[String]) {
    let state = &scene.state;
    never_stuck(state, trail);
    assert_eq!(State::replay(&scene.log).as_ref(), Some(state), "{trail:?}");
    let seqs: Vec<u64> = scene.log.iter().map(|stored| stored.seq).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "gapless: {trail:?}");
    assert!(scene.log.windows(2).all(|pair| pair[0].at <= pair[1].at), "time goes forward: {trail:?}");
    said_status_is_true(scene, trail);
    if let Activity::Asking { .. } = state.thread.activity {
        every_call_has_one_result(state, trail);
    }
    let text = serde_json::to_string(state).expect("the state is JSON");
    assert_eq!(&serde_json::from_str::<State>(&text).expect("and reads back"), state, "{trail:?}");
}

/// Whatever is under way has something that will bring it on: an effect, a deadline, or room.
fn never_stuck(state: &State, trail: &[String]) {
    let moving = !outstanding(state).is_empty()
        || next_due(state).is_some()
        || state.sandbox == (Sandbox::Absent { why: Absent::Queued });
    let under_way = match state.phase() {
        Phase::Closing | Phase::ClosingToArchive | Phase::Stopping | Phase::Rescheduling | Phase::Working => true,
        Phase::WorkQueued | Phase::IdleQueued | Phase::IdleStarting => true,
        Phase::Failed | Phase::TimedOut | Phase::Archived | Phase::Completed | Phase::EndedByUser => false,
        Phase::WaitingStopped | Phase::Waiting | Phase::IdleStopped | Phase::Idle => false,
    };
    assert!(moving || !under_way, "stuck {}: {trail:?}", state.phase().name());
    let idle = state.fold() == Fold::Idle && !state.held && state.lifecycle == Lifecycle::Open;
    assert!(!idle || state.queue.is_empty(), "idle with input waiting: {trail:?}");
}

/// The last status in the log is the one the state has.
fn said_status_is_true(scene: &Scene, trail: &[String]) {
    let said = scene.log.iter().rev().find_map(|stored| match &*stored.fact {
        Fact::SessionRunning { .. } => Some([Fold::Working, Fold::Working]),
        Fact::SessionIdle { .. } => Some([Fold::Idle, Fold::Waiting]),
        Fact::SessionRescheduled { .. } => Some([Fold::Rescheduling, Fold::Rescheduling]),
        _ => None,
    });
    let said = said.unwrap_or([Fold::Idle, Fold::Idle]);
    assert!(said.contains(&scene.state.fold()), "says {said:?}: {trail:?}");
    let idles = scene.log.windows(2).filter(|pair| matches!(&*pair[1].fact, Fact::SessionIdle { .. }));
    assert!(idles.into_iter().all(|pair| matches!(&*pair[0].fact, Fact::UsageRecorded { .. })), "{trail:?}");
}

fn every_call_has_one_result(state: &State, trail: &[String]) {
    let request = assemble(state, &[]);
    assert_eq!(request.messages.first().map(|message| message.role), Some(Role::User), "{trail:?}");
    for pair in request.messages.windows(2) {
        assert_ne!(pair[0].role, pair[1].role, "speakers alternate: {trail:?}");
    }
    for (at, message) in request.messages.iter().enumerate() {
        let used: BTreeSet<ItemId> = message.parts.iter().filter_map(used).collect();
        let next = request.messages.get(at + 1).map(|next| next.parts.as_slice()).unwrap_or_default();
        let answered: Vec<ItemId> = next.iter().filter_map(answered).collect();
        let distinct: BTreeSet<ItemId> = answered.iter().copied().collect();
        assert_eq!(answered.len(), distinct.len(), "one result each: {trail:?}");
        assert_eq!(used, distinct, "each call is answered by the next message: {trail:?}");
    }
}

fn used(part: &Part) -> Option<ItemId> {
    match part {
        Part::ToolUse { call, .. } => Some(*call),
        _ => None,
    }
}

fn answered(part: &Part) -> Option<ItemId> {
    match part {
        Part::ToolResult { call, .. } => Some(*call),
        _ => None,
    }
}

/// Fixtures name inputs by fixed ids; a walk sends many, so each gets its own.
fn fresh_items(command: tenure_core::command::Command, random: &mut Random) -> tenure_core::command::Command {
    use tenure_core::command::{Command, Send};
    match command {
        Command::Send(Send { inputs }) => {
            let inputs: Vec<(ItemId, Input)> = inputs
                .into_iter()
                .map(|(_, input)| (ItemId::from_bits(u128::from(random.next()) << 64 | 0xf), input))
                .collect();
            Send { inputs }.into()
        }
        other => other,
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
