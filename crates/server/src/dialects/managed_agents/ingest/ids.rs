//! Ids in paths and bodies. In a path, text that is no id names nothing; in a body, it is a wrong value.

use tenure_core::id::{AgentId, EnvironmentId, ItemId, KeyId, SessionId, ThreadId};

use crate::problem::Problem;

macro_rules! in_path {
    ($($name:ident -> $kind:ty, $what:literal, $code:expr;)*) => {$(
        pub(crate) fn $name(text: &str) -> Result<$kind, Problem> {
            <$kind>::parse(text).map_err(|error| {
                let message = format!(concat!("no ", $what, ": {}"), error);
                Problem { code: $code, ..Problem::not_found(message) }
            })
        }
    )*};
}

in_path! {
    agent_id -> AgentId, "such agent", None;
    environment_id -> EnvironmentId, "such environment", Some("environment_not_found");
    session_id -> SessionId, "such session", None;
    thread_id -> ThreadId, "such thread", None;
    item_id -> ItemId, "such event", None;
    key_id -> KeyId, "such key", None;
}
