//! The peers' interfaces, one folder each. A dialect knows the core and the engine's handles, never another dialect.

pub(crate) mod managed_agents;
