//! What is asked of a session: by people, by the outcomes of effects, and by time.

use crate::decide::{Draft, Refusal};

mod end;
mod fail_attempt;
mod finish_attempt;
mod finish_call;
mod hold;
mod recover;
mod report_sandbox;
mod resume;
mod send;
mod tick;
mod update;
mod withdraw;

pub mod create;

pub use end::End;
pub use fail_attempt::FailAttempt;
pub use finish_attempt::FinishAttempt;
pub use finish_call::{CallResult, FinishCall};
pub use hold::Hold;
pub use recover::Recover;
pub use report_sandbox::{ReportSandbox, SandboxReport};
pub use resume::Resume;
pub use send::Send;
pub use tick::Tick;
pub use update::Update;
pub use withdraw::Withdraw;

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// One thing asked of a session.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Command {
            $($(#[$doc])* $name($name),)*
        }

        impl Command {
            /// The name of every command, for the check that each has a fixture in each state.
            pub const NAMES: &[&str] = &[$($word),*];

            /// The command's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $word,)*
                }
            }

            pub(crate) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
                match self {
                    $(Self::$name(command) => command.decide(draft),)*
                }
            }
        }

        $(impl From<$name> for Command {
            fn from(command: $name) -> Self {
                Self::$name(command)
            }
        })*
    };
}

commands! {
    /// Somebody says something to the session.
    Send = "send";
    /// Somebody takes queued input back.
    Withdraw = "withdraw";
    /// Somebody changes its labels or its agent's tools.
    Update = "update";
    /// Somebody stops it for now.
    Hold = "hold";
    /// Somebody lets it go on.
    Resume = "resume";
    /// Somebody ends it, or archives it.
    End = "end";
    /// A model replied.
    FinishAttempt = "finish_attempt";
    /// A model request failed.
    FailAttempt = "fail_attempt";
    /// A tool call is over.
    FinishCall = "finish_call";
    /// Something became of the sandbox.
    ReportSandbox = "report_sandbox";
    /// Time has passed.
    Tick = "tick";
    /// The server has started again.
    Recover = "recover";
}
