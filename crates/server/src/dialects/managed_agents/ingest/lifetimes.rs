//! Ours: when a new session stops or ends by itself.

use std::time::Duration;

use tenure_core::session::{IdleRule, IdleThen, Keep, Lifetimes, Outcome};

use crate::problem::Problem;
use crate::request::{Fields, Given};

/// The longest span, a year: what is to last longer is better said to last for ever.
pub(in super::super) const LONGEST: u64 = 366 * 24 * 3600;

pub(in super::super) const THEN: &[&str] = &["stop", "end"];
pub(in super::super) const OUTCOMES: &[&str] = &["timed_out", "completed", "ended_by_user"];
pub(in super::super) const KEPT: &[&str] = &["everything", "log"];

/// What a request says of lifetimes. What it doesn't name is the operator's choice; null is never.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::option_option, reason = "the two levels mean the operator's choice and never")]
pub(in super::super) struct LifetimesGiven {
    idle: Option<Option<IdleRule>>,
    sandbox_idle: Option<Option<Duration>>,
    max_duration: Option<Option<Duration>>,
    end_when_agent_exits: Option<bool>,
    stop_grace: Option<Duration>,
}

impl LifetimesGiven {
    /// The lifetimes of a session, given those that the operator chose.
    pub(in super::super) fn over(self, operators: Lifetimes) -> Lifetimes {
        Lifetimes {
            idle: self.idle.unwrap_or(operators.idle),
            sandbox_idle: self.sandbox_idle.unwrap_or(operators.sandbox_idle),
            max_duration: self.max_duration.unwrap_or(operators.max_duration),
            end_when_agent_exits: self.end_when_agent_exits.unwrap_or(operators.end_when_agent_exits),
            stop_grace: self.stop_grace.unwrap_or(operators.stop_grace),
        }
    }
}

/// Reads the field `lifetimes`.
pub(super) fn lifetimes(fields: &mut Fields<'_>) -> Result<LifetimesGiven, Problem> {
    let Given::Value(mut given) = fields.object("lifetimes")? else { return Ok(LifetimesGiven::default()) };
    let idle_after = span(&mut given, "idle_seconds", 1)?;
    let then = then(&mut given)?;
    let idle = match (idle_after, then) {
        (None, None) => None,
        (Some(None), None) => Some(None),
        (Some(Some(after)), then) => Some(Some(IdleRule { after, then: then.unwrap_or(IdleThen::Stop) })),
        (None | Some(None), Some(_)) => {
            return Err(given.wrong("then", "expected it together with `idle_seconds`, which says after how long"));
        }
    };
    Ok(LifetimesGiven {
        idle,
        sandbox_idle: span(&mut given, "sandbox_idle_seconds", 1)?,
        max_duration: span(&mut given, "max_duration_seconds", 1)?,
        end_when_agent_exits: given.bool("end_when_agent_exits")?.value(),
        stop_grace: span(&mut given, "stop_grace_seconds", 0)?.flatten(),
    })
}

fn then(given: &mut Fields<'_>) -> Result<Option<IdleThen>, Problem> {
    let then = given.one_of("then", THEN)?.value();
    let outcome = given.one_of("outcome", OUTCOMES)?.value();
    let keep = given.one_of("keep", KEPT)?.value();
    match then {
        Some("end") => Ok(Some(IdleThen::End {
            outcome: match outcome {
                Some("completed") => Outcome::Completed,
                Some("ended_by_user") => Outcome::EndedByUser,
                Some(_) | None => Outcome::TimedOut,
            },
            keep: if keep == Some("log") { Keep::Log } else { Keep::Everything },
        })),
        Some(_) | None if outcome.is_some() || keep.is_some() => {
            let name = if outcome.is_some() { "outcome" } else { "keep" };
            Err(given.wrong(name, "expected it together with `then: end` only"))
        }
        Some(_) => Ok(Some(IdleThen::Stop)),
        None => Ok(None),
    }
}

#[expect(clippy::option_option, reason = "the two levels mean the operator's choice and never")]
fn span(given: &mut Fields<'_>, name: &str, least: u64) -> Result<Option<Option<Duration>>, Problem> {
    let seconds = given.integer(name, least, LONGEST)?.change();
    Ok(seconds.map(|seconds| seconds.map(Duration::from_secs)))
}
