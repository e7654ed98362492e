//! The tools: the visible list, what holds for every tool, and each tool's own behaviour. Files are real, in a
//! temporary directory that stands for the sandbox; the shell is scripted.

mod fake;

mod conformance;
mod registry;

mod bash;
mod began;
mod diff;
mod edit;
mod files;
mod glob;
mod grep;
mod hostile;
mod read;
mod real;
mod spill;
mod web_fetch;
mod write;
