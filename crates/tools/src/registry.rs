//! The visible list of tools.

use std::io::Write;
use std::path::Path;

use tenure_sandbox::Op;

use crate::builtin::{Bash, FILE_TOOLS};
use crate::files::OP;
use crate::{Tool, guest};

/// Every built-in tool that runs in the sandbox, in the order of [`tenure_core::agent::BUILTIN_TOOLS`].
pub fn registry() -> &'static [&'static dyn Tool] {
    static TOOLS: &[&dyn Tool] =
        &[&Bash, &FILE_TOOLS[0], &FILE_TOOLS[1], &FILE_TOOLS[2], &FILE_TOOLS[3], &FILE_TOOLS[4]];
    TOOLS
}

/// The functions that the tools run inside sandboxes, for [`tenure_sandbox::dispatch()`].
pub fn guest_ops() -> &'static [Op] {
    macro_rules! ops {
        ($($name:literal),*) => {
            &[
                Op { name: OP, run: |input: &[u8], out: &mut dyn Write| guest::perform_files(Path::new(guest::WORKSPACE), input, &mut std::io::stdin(), out) },
                $(Op { name: $name, run: |input: &[u8], out: &mut dyn Write| guest::perform($name, Path::new(guest::WORKSPACE), input, out) }),*
            ]
        };
    }
    ops!("read", "write", "edit", "glob", "grep", "keep_output")
}
