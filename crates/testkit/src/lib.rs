//! What tests of several crates need: a sandbox that runs nothing, a model server that misbehaves on order, and an
//! engine put together from them.
#![warn(missing_docs)]

mod fake_hosted;
mod fake_model;
mod fake_registry;
mod fake_sandbox;
mod test_engine;

pub use fake_hosted::FakeHosted;
pub use fake_model::{Answer, FakeModel};
pub use fake_registry::{FakeRegistry, ImageFiles};
pub use fake_sandbox::FakeBackend;
pub use test_engine::{TestEngine, message, script};
