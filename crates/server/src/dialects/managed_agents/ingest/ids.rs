//! Ids in paths and bodies. In a path, text that is no id names nothing; in a body, it is a wrong value.

use tenure_core::id::{AgentId, EnvironmentId, ItemId, KeyId, SessionId};

use crate::problem::Problem;

macro_rules! in_path {
    ($($name:ident -> $kind:ty, $what:literal;)*) => {$(
        pub(crate) fn $name(text: &str) -> Result<$kind, Problem> {
            <$kind>::parse(text)
                .map_err(|error| Problem::not_found(format!(concat!("no ", $what, ": {}"), error)))
        }
    )*};
}

in_path! {
    agent_id -> AgentId, "such agent";
    environment_id -> EnvironmentId, "such environment";
    session_id -> SessionId, "such session";
    item_id -> ItemId, "such event";
    key_id -> KeyId, "such key";
}
