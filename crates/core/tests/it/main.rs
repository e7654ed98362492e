//! The core, tested by text: given a state, when a command comes, then these facts and effects.

mod cells;
mod compaction;
mod long;
mod scene;
mod suspects;
mod walk;
