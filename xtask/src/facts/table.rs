//! What the source doesn't say about a kind of fact. Every kind has a line here, or the page isn't made.

/// What is to be known of a kind besides its fields and frames.
pub(super) struct Known {
    /// The kind.
    pub(super) kind: &'static str,
    /// The commands that make it. Each must make it in some fixture.
    pub(super) made_by: &'static [&'static str],
    /// When, if the commands don't say it.
    pub(super) when: &'static str,
    /// What it wants done; empty if nothing.
    pub(super) effects: &'static str,
    /// Who may fence it: what makes it come too late, so that it isn't recorded.
    pub(super) fence: &'static str,
    /// The event that `/v2` will show; empty if none.
    pub(super) v2: &'static str,
}

const NOBODY: &str = "";
const BY_ATTEMPT: &str = "the attempt: a reply or failure with another token is dropped";
const BY_CALL: &str = "the call: a second end of the same call is dropped";
const BY_SANDBOX: &str = "the sandbox: a report on another one is dropped";

/// One line for each kind, in the order in which the core declares them.
pub(super) const TABLE: &[Known] = &[
    Known { kind: "session_created", made_by: &["create"], when: "", effects: "", fence: NOBODY, v2: "" },
    Known {
        kind: "session_updated",
        made_by: &["update"],
        when: "something changed",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "input_queued",
        made_by: &["send"],
        when: "a message came while the session works or waits",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "input_processed",
        made_by: &["send", "finish_attempt", "finish_call", "fail_attempt", "tick"],
        when: "its turn has come: at once if idle, else when the turn under way is over; what steers, before the model is asked again",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known { kind: "input_withdrawn", made_by: &["withdraw"], when: "", effects: "", fence: NOBODY, v2: "" },
    Known {
        kind: "thread_running",
        made_by: &["send", "tick"],
        when: "a turn begins, goes on after waiting, or is tried again",
        effects: "`RunCall` or `RunHostedCall` for every call that had started, if the turn had been put off while it ran",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "thread_idle",
        made_by: &["finish_attempt", "fail_attempt", "send", "hold", "end"],
        when: "a turn is over or waits",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "thread_rescheduled",
        made_by: &["fail_attempt", "recover"],
        when: "the failure is transient and retries are left, or the server died again while the session worked",
        effects: "",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "session_running",
        made_by: &["send", "tick"],
        when: "with `thread_running`",
        effects: "",
        fence: NOBODY,
        v2: "session.running",
    },
    Known {
        kind: "session_idle",
        made_by: &["finish_attempt", "fail_attempt", "send", "hold", "end"],
        when: "with `thread_idle`",
        effects: "",
        fence: NOBODY,
        v2: "session.idle",
    },
    Known {
        kind: "session_rescheduled",
        made_by: &["fail_attempt", "recover"],
        when: "with `thread_rescheduled`",
        effects: "",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "usage_recorded",
        made_by: &["finish_attempt", "fail_attempt", "send", "hold", "end"],
        when: "right before every `session_idle`",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "attempt_started",
        made_by: &["send", "finish_call", "finish_attempt", "tick", "recover"],
        when: "the model is to be asked",
        effects: "`CallModel`, answered by `finish_attempt` or `fail_attempt`",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "attempt_ended",
        made_by: &["finish_attempt", "fail_attempt", "send", "hold", "end", "recover"],
        when: "with a reply, a failure, an interrupt, or because the server died meanwhile",
        effects: "`CancelModel` if interrupted",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "thinking_said",
        made_by: &[],
        when: "part of a reply (`finish_attempt`)",
        effects: "",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "message_said",
        made_by: &["finish_attempt"],
        when: "part of a reply",
        effects: "",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "call_requested",
        made_by: &["finish_attempt"],
        when: "part of a reply",
        effects: "",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "call_started",
        made_by: &["report_sandbox", "finish_call", "finish_attempt"],
        when: "the calls before it are over, and the sandbox runs unless the server runs the call itself; so also by whatever \
               makes a call ready",
        effects: "`RunCall`, or `RunHostedCall` if the server runs it itself; answered by `finish_call`",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "call_settled",
        made_by: &["finish_call", "recover"],
        when: "a call that was cancelled while it ran is over, or the server died too often for trying any longer",
        effects: "",
        fence: BY_CALL,
        v2: "",
    },
    Known {
        kind: "call_ended",
        made_by: &["finish_call", "finish_attempt", "send", "hold", "end", "report_sandbox", "recover"],
        when: "with its result; or without having run: refused, denied, interrupted, lost",
        effects: "if it was cut off while it ran, `CancelCall`, answered by `finish_call`; or `EndHostedCall`, if the server ran it",
        fence: BY_CALL,
        v2: "",
    },
    Known {
        kind: "error_raised",
        made_by: &["fail_attempt", "report_sandbox", "recover"],
        when: "a model request failed, the sandbox couldn't be made, a turn asked the model too often, or the server \
               died again and again",
        effects: "",
        fence: BY_ATTEMPT,
        v2: "",
    },
    Known {
        kind: "sandbox_starting",
        made_by: &["finish_attempt", "resume", "report_sandbox", "send"],
        when: "a call is to run and there is no sandbox",
        effects: "`StartSandbox`, answered by `report_sandbox`",
        fence: NOBODY,
        v2: "session.queued while it waits for room",
    },
    Known {
        kind: "sandbox_running",
        made_by: &["report_sandbox"],
        when: "",
        effects: "`RunCall` for every call that had started: its journal tells what became of it",
        fence: BY_SANDBOX,
        v2: "",
    },
    Known {
        kind: "sandbox_stopping",
        made_by: &["hold", "end", "tick"],
        when: "somebody asked, the session ends, or nobody used it for too long",
        effects: "`StopSandbox`, answered by `report_sandbox`",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "sandbox_absent",
        made_by: &["report_sandbox", "recover", "hold"],
        when: "it stopped, died, couldn't be made, or waits for room",
        effects: "`RemoveFiles` if the session closes and keeps only its log",
        fence: BY_SANDBOX,
        v2: "",
    },
    Known {
        kind: "session_recovered",
        made_by: &["recover"],
        when: "the server died, and wasn't ended, while it did something for the session",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known {
        kind: "session_held",
        made_by: &["hold"],
        when: "somebody asked, or a lifetime is over",
        effects: "",
        fence: NOBODY,
        v2: "",
    },
    Known { kind: "session_resumed", made_by: &["resume", "send"], when: "", effects: "", fence: NOBODY, v2: "" },
    Known {
        kind: "session_closing",
        made_by: &["end", "tick"],
        when: "asked, or its time is over",
        effects: "`RemoveFiles` if only the log is kept and there is no sandbox",
        fence: NOBODY,
        v2: "session.completing",
    },
    Known {
        kind: "session_ended",
        made_by: &["end", "report_sandbox"],
        when: "no process of the session can write any more",
        effects: "",
        fence: NOBODY,
        v2: "session.completed, or session.failed",
    },
];
