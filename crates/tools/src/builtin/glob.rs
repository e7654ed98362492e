//! `glob`: lists paths that match a pattern, newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};

use crate::builtin::FileTool;
use crate::guest::{Body, Walk, Workspace, reason};
use crate::input::{Field, Input, Kind};

pub(crate) const TOOL: FileTool = FileTool {
    name: "glob",
    description: "Lists the files and directories whose path matches a pattern, newest first, at most 200; directories \
                  end with `/`. `*` and `?` match within a name, `**` across directories, `{a,b}` either, `[ab]` one \
                  character: `**/*.py` finds all Python files, `*.py` only those directly in the directory. Hidden and \
                  git-ignored files are listed too, but not the insides of .git.",
    fields: &[
        Field {
            name: "pattern",
            kind: Kind::Text,
            required: true,
            description: "The pattern, relative to `path`; it can't start with `/` or contain `..`.",
        },
        Field {
            name: "path",
            kind: Kind::Text,
            required: false,
            description: "The directory to search. Default: /workspace, where relative paths start from.",
        },
    ],
    guest: glob,
    answer_cap_bytes: MOST_MATCHES * 4096,
};

/// The peer's.
const MOST_MATCHES: usize = 200;

fn glob(workspace: &Workspace<'_>, input: &Input) -> Result<Body, String> {
    let pattern = input.required_text("pattern");
    let search = Search::new(pattern)?;
    let path = input.text("path");
    let root = workspace.search_root("glob", path)?;
    let shown = path.unwrap_or("/workspace");
    let metadata = fs::metadata(&root).map_err(|error| format!("glob: {shown}: {}", reason(&error)))?;
    if !metadata.is_dir() {
        return Err(format!("glob: {shown}: not a directory"));
    }

    // Of a tree of any size only the newest are kept; among equals, the first by name.
    let mut newest: BinaryHeap<Reverse<(SystemTime, Reverse<PathBuf>)>> = BinaryHeap::new();
    let mut matches = 0_usize;
    let mut found = |path: &Path, is_dir: bool| {
        matches += 1;
        let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let mut path = path.to_owned();
        if is_dir {
            path.as_mut_os_string().push("/");
        }
        newest.push(Reverse((changed.unwrap_or(SystemTime::UNIX_EPOCH), Reverse(path))));
        if newest.len() > MOST_MATCHES {
            newest.pop();
        }
    };
    let start = root.join(&search.fixed);
    let mut stopped = None;
    match &search.rest {
        None => {
            if let Ok(metadata) = fs::symlink_metadata(&start) {
                found(&start, metadata.is_dir());
            }
        }
        Some(rest) => {
            let walk = Walk { heed_ignore_files: false, deepest: rest.deepest, give_up_at: workspace.give_up_at };
            let walked = walk.run(&start, &mut |entry| {
                let relative = entry.path.strip_prefix(&start).unwrap_or(entry.path);
                if rest.matcher.is_match(relative) {
                    found(entry.path, entry.kind.is_dir());
                }
                None
            });
            stopped = walked.stopped;
        }
    }

    let mut lines: Vec<String> = newest
        .into_sorted_vec()
        .into_iter()
        .map(|Reverse((_, Reverse(path)))| path.to_string_lossy().into_owned())
        .collect();
    if lines.is_empty() {
        lines.push("no matches".to_owned());
    }
    if matches > MOST_MATCHES {
        lines.push(format!("[the newest {MOST_MATCHES} of {matches} matches]"));
    }
    lines.extend(stopped.and_then(|stopped| stopped.note()));
    Ok(lines.join("\n").into())
}

/// A pattern, cut where its first special character is, so that the walk starts as deep as it can.
struct Search {
    fixed: PathBuf,
    rest: Option<Rest>,
}

struct Rest {
    matcher: GlobMatcher,
    deepest: usize,
}

impl Search {
    fn new(pattern: &str) -> Result<Self, String> {
        if pattern.starts_with('/') {
            return Err(
                "glob: absolute pattern not permitted; pass a relative pattern, and the directory as path".to_owned()
            );
        }
        if Path::new(pattern).components().any(|component| component == Component::ParentDir) {
            return Err("glob: '..' is not permitted in the pattern; pass the directory as path".to_owned());
        }
        let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.is_empty() {
            return Err("glob: the pattern is empty; `**/*` matches everything".to_owned());
        }
        // A brace may span several parts, so nothing after the first special part is looked at by itself.
        let special = parts.iter().position(|part| part.contains(['*', '?', '[', '{', '\\'])).unwrap_or(parts.len());
        let fixed = parts[..special].iter().collect();
        if special == parts.len() {
            return Ok(Self { fixed, rest: None });
        }
        let rest = parts[special..].join("/");
        let deepest = if rest.contains("**") || rest.contains('{') { usize::MAX } else { parts.len() - special };
        let matcher = GlobBuilder::new(&rest)
            .literal_separator(true)
            .build()
            .map_err(|error| format!("glob: the pattern {pattern:?} is not one: {}", error.kind()))?
            .compile_matcher();
        Ok(Self { fixed, rest: Some(Rest { matcher, deepest }) })
    }
}
