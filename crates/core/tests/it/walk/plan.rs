//! What happens in a history. An operation means something in every state, so that any may be left out.

use std::time::Duration;

use tenure_core::session::{ContextPolicy, IdleRule, IdleThen, Keep, Lifetimes, Outcome, RetryPolicy};

/// A history.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) lifetimes: Lifetimes,
    pub(super) retry: RetryPolicy,
    pub(super) context: ContextPolicy,
    /// What the session may cost, in cents.
    pub(super) budget: Option<u64>,
    pub(super) ops: Vec<Op>,
}

/// One thing that happens. Numbers choose among what there is then.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// Somebody sends so many messages at once.
    Say(usize),
    /// Somebody steers the agent.
    Steer,
    /// Whoever runs the agent instructs it: by itself, with a message, or with an answer to an open call.
    Instruct(usize, usize),
    Interrupt,
    /// An interrupt and a message in one request, in this order or the other.
    Instead {
        interrupt_first: bool,
    },
    /// Somebody answers an open call, rightly or not.
    Answer(usize, usize),
    Withdraw(usize),
    Update(usize),
    /// Somebody raises the budget, keeps it, or takes it away.
    Budget(usize),
    Hold,
    Resume,
    /// Somebody asks for a snapshot by one of a few names.
    Name(usize),
    RemoveSnapshot(usize),
    /// Somebody goes back to a turn's end or a named snapshot.
    Rewind(usize),
    /// Somebody else writes to the files.
    Write,
    /// Somebody begins to use the sandbox, or leaves.
    Visit,
    /// Somebody forks it at a turn's end, which changes nothing here.
    Fork(usize),
    End(usize),
    /// One of the effects under way is carried out, or goes on, with one of its outcomes.
    Perform(usize, usize),
    /// An outcome comes again.
    Repeat(usize),
    /// An outcome comes of something that never was.
    Unheard(usize),
    SandboxDies {
        noticed: bool,
    },
    Room,
    Later(u64),
    ClockGoesBack(u64),
    /// The server dies, or is ended; perhaps the sandbox too. Perhaps somebody speaks before recovery comes to it.
    Restart {
        clean: bool,
        sandbox_dies: bool,
        early: bool,
    },
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635);
        let lifetimes = lifetimes(&mut random);
        let retry = RetryPolicy {
            retries: random.below(4) as u32,
            base: Duration::from_millis([0, 100, 1_000, 30_000][random.below(4)]),
            cap: Duration::from_secs(60),
        };
        // In half of the histories the window is so small that the conversation is summed up now and then.
        let window = [128_000, 128_000, 500, 120][random.below(4)];
        let context = ContextPolicy { window, ..ContextPolicy::default() };
        let budget = (random.below(3) == 0).then(|| 1 + random.below(40) as u64);
        let ends = random.below(3) == 0;
        let floods = random.below(200) == 0;
        let restarts = random.below(4);
        let length = 10 + random.below(60);
        let ops = (0..length).map(|_| op(&mut random, budget.is_some(), ends, floods, restarts)).collect();
        Self { seed, lifetimes, retry, context, budget, ops }
    }
}

fn lifetimes(random: &mut Random) -> Lifetimes {
    let some = |random: &mut Random, secs: u64| (random.below(2) == 0).then_some(Duration::from_secs(secs));
    let then = match random.below(3) {
        0 => IdleThen::Stop,
        1 => IdleThen::End { outcome: Outcome::TimedOut, keep: Keep::Log },
        _ => IdleThen::End { outcome: Outcome::Completed, keep: Keep::Everything },
    };
    let idle = (random.below(3) == 0).then_some(IdleRule { after: Duration::from_secs(600), then });
    Lifetimes {
        idle,
        sandbox_idle: some(random, 300),
        max_duration: (random.below(4) == 0).then_some(Duration::from_secs(1_000)),
        end_when_agent_exits: random.below(8) == 0,
        ..Lifetimes::default()
    }
}

fn op(random: &mut Random, budgeted: bool, ends: bool, floods: bool, restarts: usize) -> Op {
    let (one, other) = (random.below(1 << 16), random.below(1 << 16));
    match random.below(100) {
        0..12 if floods => Op::Say(400),
        0..3 => Op::Steer,
        3..6 => Op::Instruct(one, other),
        6..12 => Op::Say(1 + one % 2),
        12..15 => Op::Interrupt,
        15..17 => Op::Instead { interrupt_first: one % 2 == 0 },
        17..25 => Op::Answer(one, other),
        25..26 => Op::Withdraw(one),
        26..28 => Op::Update(one),
        28..30 => Op::Hold,
        30..33 => Op::Resume,
        33..34 if ends => Op::End(one),
        34..38 if budgeted => Op::Budget(one),
        34..71 => Op::Perform(one, other),
        74..77 => Op::Repeat(one),
        77..78 => Op::Unheard(one),
        78..80 => Op::SandboxDies { noticed: one % 2 == 0 },
        80..82 => Op::Room,
        82..84 => Op::Later(one as u64 % 3 + 1),
        71..74 => match other % 8 {
            0..2 => Op::Name(one),
            2 => Op::RemoveSnapshot(one),
            3..6 => Op::Rewind(one),
            6 if one % 3 == 0 => Op::Write,
            6 => Op::Visit,
            _ => Op::Fork(one),
        },
        84..86 => Op::Later(one as u64 % 2_000),
        86..87 => Op::ClockGoesBack(one as u64 % 5_000),
        at if at < 88 + 4 * restarts => {
            Op::Restart { clean: one % 5 == 0, sandbox_dies: other % 3 == 0, early: other % 7 == 0 }
        }
        _ => Op::Perform(one, other),
    }
}

/// A generator of numbers that are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }
}
