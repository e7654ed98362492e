//! What is said of a command.

use schemars::JsonSchema;
use serde::Serialize;
use tenure_engine::Exit;

/// How a command ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExecExit {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "exit"))]
    kind: &'static str,
    /// Its exit code; null if a signal ended it. 127: there is no such program; 126: it couldn't be started.
    exit_code: Option<i32>,
    /// The signal that ended it, such as `SIGKILL`.
    signal: Option<String>,
    /// Whether it was killed for taking longer than `timeout`.
    timed_out: bool,
    /// Whether something was killed because the sandbox ran out of memory.
    out_of_memory: bool,
    limits_reached: Vec<LimitReached>,
}

/// A limit of the sandbox that was reached while a command ran, or since the one before.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LimitReached {
    /// What there is to say of it: `killed: disk limit 32 MiB; until files are removed, none can be made longer`.
    message: String,
}

/// A command that was run to its end.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExecResult {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "exec_result"))]
    pub(super) kind: &'static str,
    /// Its exit code; null if a signal ended it. 127: there is no such program; 126: it couldn't be started.
    pub(super) exit_code: Option<i32>,
    /// The signal that ended it, such as `SIGKILL`.
    pub(super) signal: Option<String>,
    /// Whether it was killed for taking longer than `timeout`.
    pub(super) timed_out: bool,
    /// Whether something was killed because the sandbox ran out of memory.
    pub(super) out_of_memory: bool,
    pub(super) limits_reached: Vec<LimitReached>,
    /// What it printed, at most 10 MiB. Bytes that aren't UTF-8 are replaced.
    pub(super) stdout: String,
    /// What it printed as errors, likewise.
    pub(super) stderr: String,
    /// All the bytes of `stdout` in Base64, if they aren't UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stdout_base64: Option<String>,
    /// All the bytes of `stderr` in Base64, if they aren't UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stderr_base64: Option<String>,
    /// Whether it printed more than is here. A stream has all of it.
    pub(super) truncated: bool,
}

/// A piece of what a command prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExecOutput {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "output"))]
    pub(super) kind: &'static str,
    #[schemars(extend("enum" = ["stdout", "stderr"]))]
    pub(super) stream: &'static str,
    /// The piece, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The piece in Base64, if it isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
}

pub(super) fn exit(exit: &Exit) -> ExecExit {
    ExecExit {
        kind: "exit",
        exit_code: exit.code,
        signal: exit.signal.map(signal_name),
        timed_out: exit.timed_out,
        out_of_memory: exit.out_of_memory,
        limits_reached: limits_reached(exit),
    }
}

pub(super) fn limits_reached(exit: &Exit) -> Vec<LimitReached> {
    exit.limits_told().into_iter().map(|message| LimitReached { message }).collect()
}

/// The signals that can be sent, by name.
pub(super) const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGTERM", 15),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGWINCH", 28),
];

/// Those that end programs without being sent from here.
const OTHERS: &[(&str, i32)] = &[
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGSEGV", 11),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGSYS", 31),
];

pub(super) fn signal_name(signal: i32) -> String {
    let named = SIGNALS.iter().chain(OTHERS).find(|(_, number)| *number == signal);
    named.map_or_else(|| format!("SIG{signal}"), |(name, _)| (*name).to_owned())
}
