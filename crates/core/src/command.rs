//! What is asked of a session: by people, by the outcomes of effects, and by time.

use crate::decide::{Draft, Refusal};

mod end;
mod fail_attempt;
mod finish_attempt;
mod finish_call;
mod fork;
mod hold;
mod note_files;
mod recover;
mod remove_snapshot;
mod report_files;
mod report_sandbox;
mod resume;
mod rewind;
mod send;
mod take_snapshot;
mod tick;
mod update;
mod withdraw;

pub mod create;

pub use end::End;
pub use fail_attempt::FailAttempt;
pub use finish_attempt::FinishAttempt;
pub use finish_call::{CallResult, FinishCall};
pub use fork::Fork;
pub use hold::Hold;
pub use note_files::NoteFiles;
pub use recover::Recover;
pub use remove_snapshot::RemoveSnapshot;
pub use report_files::{FilesReport, ReportFiles};
pub use report_sandbox::{ReportSandbox, SandboxReport};
pub use resume::Resume;
pub use rewind::Rewind;
pub use send::Send;
pub use take_snapshot::TakeSnapshot;
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
    /// Somebody asks for a snapshot of its files, by name.
    TakeSnapshot = "take_snapshot";
    /// Somebody no longer needs a snapshot.
    RemoveSnapshot = "remove_snapshot";
    /// Somebody goes back to an earlier place of its log.
    Rewind = "rewind";
    /// It is the copy of another session, and begins its own life.
    Fork = "fork";
    /// Somebody other than a call uses its sandbox, or did until now.
    NoteFiles = "note_files";
    /// A model replied.
    FinishAttempt = "finish_attempt";
    /// A model request failed.
    FailAttempt = "fail_attempt";
    /// A tool call is over.
    FinishCall = "finish_call";
    /// Something became of the sandbox.
    ReportSandbox = "report_sandbox";
    /// Something became of its files.
    ReportFiles = "report_files";
    /// Time has passed.
    Tick = "tick";
    /// The server has started again.
    Recover = "recover";
}
