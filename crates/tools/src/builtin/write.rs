//! `write`: makes a file hold a text.

use crate::builtin::FileTool;
use crate::guest::{self, Body, Workspace};
use crate::input::{Field, Input, Kind};

pub(crate) const TOOL: FileTool = FileTool {
    name: "write",
    description: "Creates a file, or replaces all of a file's content, with the given text. Missing directories are \
                  created. To change part of a file, use `edit`.",
    fields: &[
        Field {
            name: "file_path",
            kind: Kind::Text,
            required: true,
            description: "The file to write. Relative paths start from /workspace.",
        },
        Field { name: "content", kind: Kind::Text, required: true, description: "All of the file's new text." },
    ],
    guest: write,
    answer_cap_bytes: 0,
};

fn write(workspace: &Workspace<'_>, input: &Input) -> Result<Body, String> {
    let path = input.required_text("file_path");
    let content = input.required_text("content");
    let file = workspace.resolve("write", path)?;
    if path.ends_with('/') {
        return Err(format!("write: {path}: is a directory"));
    }
    guest::create(&file, content.as_bytes()).map_err(|reason| format!("write: {path}: {reason}"))?;
    Ok(format!("wrote {} bytes to {path}", content.len()).into())
}
