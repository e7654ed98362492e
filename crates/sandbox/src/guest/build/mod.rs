//! What runs in a builder: a sandbox without network in which one layer comes into being, under the user that the layer's root
//! is, with no more rights than giving files their owners takes.

mod bits;
mod builder;
mod layer;
mod packages;
mod system;
mod tree;

pub(crate) use builder::{Builder, Outcome, Task, enter};
