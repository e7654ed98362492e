//! Limits that people set, before anything is recorded.

use tenure_core::agent::{Limits, LimitsChange};
use tenure_core::amount::exact_bytes;
use tenure_core::id::SessionId;
use tenure_tools::ToolLimits;

use crate::engine::Shared;
use crate::error::Error;

/// Refuses a limit that is more than there is on this machine, or than the operator allows. Only what is being set is looked at: what
/// came from another machine doesn't keep anybody from changing something else. `at` is where limits are in the request.
pub(crate) async fn check(shared: &Shared, change: LimitsChange, at: &str) -> Result<(), Error> {
    let given = change.apply(Limits::default());
    let refused = |(field, message)| Err(Error::invalid(format!("{at}{field}"), message));
    if let Some(beyond) = beyond_operators(given, shared.config.tool_limits) {
        return refused(beyond);
    }
    let given = for_sandbox(given);
    if given == tenure_sandbox::Limits::default() {
        return Ok(());
    }
    given.beyond(shared.sandboxes.backend().most().await).map_or(Ok(()), refused)
}

/// The first limit of calls that is more than the operator's, which holds for all sessions, and what is wrong with it.
fn beyond_operators(given: Limits, operators: ToolLimits) -> Option<(&'static str, String)> {
    let most = u64::try_from(operators.max_timeout.as_millis()).unwrap_or(u64::MAX);
    if let Some(call_ms) = given.call_ms.filter(|given| *given > most) {
        let seconds = |ms: u64| format!("{ms} ({} s)", ms as f64 / 1_000.0);
        let (most, given) = (seconds(most), seconds(call_ms));
        return Some(("call_ms", format!("expected at most {most}, the operator's --tool-timeout-max, got {given}")));
    }
    let most = operators.kept_output_bytes as u64;
    given.output_bytes.filter(|given| *given > most).map(|given| {
        let (most, given) = (exact_bytes(most), exact_bytes(given));
        ("output_bytes", format!("expected at most {most}, the operator's --tool-output, got {given}"))
    })
}

/// Refuses a limit of the disk that is less than a session has there, whether its sandbox is alive or not.
pub(crate) async fn check_disk(shared: &Shared, session: SessionId, change: LimitsChange) -> Result<(), Error> {
    let (bytes, inodes) = (change.disk_bytes.flatten(), change.inodes.flatten());
    if bytes.is_none() && inodes.is_none() {
        return Ok(());
    }
    let used = shared.sandboxes.backend().usage(session).await?;
    let least = |used: Option<u64>, wanted: Option<u64>| used.zip(wanted).filter(|(used, wanted)| wanted < used);
    if let Some((used, wanted)) = least(used.disk_bytes, bytes) {
        let (used, wanted) = (exact_bytes(used), exact_bytes(wanted));
        let message = format!("the session has {used} on the disk now; {wanted} is less than that");
        return Err(Error::invalid("disk_bytes", message));
    }
    least(used.inodes, inodes).map_or(Ok(()), |(used, wanted)| {
        let message =
            format!("the session has {used} files and directories on the disk now; {wanted} is less than that");
        Err(Error::invalid("inodes", message))
    })
}

/// Those limits that are the sandbox's to keep: how long a call may take and how much of its output is kept, each call is told.
pub(crate) fn for_sandbox(limits: Limits) -> tenure_sandbox::Limits {
    let Limits { memory_bytes, cpu_millis, pids, disk_bytes, inodes, open_files, call_ms: _, output_bytes: _ } = limits;
    tenure_sandbox::Limits { memory_bytes, cpu_millis, pids, disk_bytes, inodes, open_files }
}

/// Why a sandbox can't have other limits, for who asked for them.
pub(crate) fn refused(error: tenure_sandbox::Error) -> Error {
    use tenure_sandbox::Error as E;
    match error {
        E::Invalid(message) => match message.split_once(": ") {
            Some((field, message)) => Error::invalid(field, message),
            None => Error::invalid("limits", message),
        },
        E::Unenforceable { what, cause } => {
            let field = match what {
                "memory" => "memory_bytes",
                "cpu" => "cpu_millis",
                other => other,
            };
            Error::invalid(field, format!("this host can't enforce it: {cause}"))
        }
        E::Refused { .. } | E::Lost | E::Superseded { .. } | E::Incompatible { .. } | E::Failed { .. } => {
            Error::Internal(Box::new(error))
        }
    }
}
