//! From the wire to core's terms. Every complaint names the field it is about.

pub(super) mod agent;
pub(super) mod budget;
pub(super) mod content;
pub(super) mod environment;
pub(super) mod event;
mod ids;
pub(super) mod labels;
pub(super) mod lifetimes;
pub(super) mod metadata;
pub(super) mod model;
pub(super) mod session;
pub(super) mod tools;
pub(super) mod web_fetch;

pub(super) use agent::{agent_change, new_agent};
pub(crate) use content::Attached;
pub(super) use content::store;
pub(crate) use environment::read_limits;
pub(super) use environment::{environment_change, new_environment};
pub(super) use event::{Said, inputs};
pub(crate) use ids::{agent_id, environment_id, item_id, key_id, session_id, thread_id};
pub(super) use session::{AgentGiven, SessionGiven, new_session, session_update};
pub(super) use tools::offered;
