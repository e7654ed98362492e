//! The built-in tools, one file each.

mod ask;
mod bash;
mod edit;
mod file_tool;
mod glob;
mod grep;
mod image;
mod read;
mod write;

pub use ask::ask;
pub(crate) use bash::Bash;
pub(crate) use file_tool::FileTool;

/// The tools whose work is done by a function inside the sandbox.
pub(crate) static FILE_TOOLS: &[FileTool] = &[read::TOOL, write::TOOL, edit::TOOL, glob::TOOL, grep::TOOL];
