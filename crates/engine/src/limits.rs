//! Limits that people set, before anything is recorded.

use tenure_core::agent::{Limits, LimitsChange};

use crate::error::Error;
use crate::sandboxes::Sandboxes;

/// Refuses a limit that is more than there is on this machine. Only what is being set is looked at: what came from another machine
/// doesn't keep anybody from changing something else. `at` is where limits are in the request.
pub(crate) async fn check(sandboxes: &Sandboxes, change: LimitsChange, at: &str) -> Result<(), Error> {
    let given = for_sandbox(change.apply(Limits::default()));
    if given == tenure_sandbox::Limits::default() {
        return Ok(());
    }
    let beyond = given.beyond(sandboxes.backend().most().await);
    beyond.map_or(Ok(()), |(field, message)| Err(Error::invalid(format!("{at}{field}"), message)))
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
