//! `grep`: finds lines by regular expression, with ripgrep's engine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};

use crate::builtin::FileTool;
use crate::guest::{self, Body, Stopped, Walk, Workspace, reason};
use crate::input::{Field, Input, Kind};

pub(crate) const TOOL: FileTool = FileTool {
    name: "grep",
    description: "Finds the lines of files that match a regular expression, as `path:line:text`, at most 100 KiB. The \
                  syntax is Rust's (as in ripgrep): no look-around, no back-references; `(?i)` ignores case. Hidden \
                  files are searched too; binary files, .git, and what .gitignore and .ignore exclude are not, unless \
                  named as `path`.",
    fields: &[
        Field {
            name: "pattern",
            kind: Kind::Text,
            required: true,
            description: "The regular expression; it matches within one line.",
        },
        Field {
            name: "path",
            kind: Kind::Text,
            required: false,
            description: "The directory or file to search. Default: /workspace, where relative paths start from.",
        },
    ],
    guest: grep,
    answer_cap_bytes: 0,
};

/// The longest part of a line that is shown.
const LINE_CAP_BYTES: usize = 2000;
/// How much of a cut line is shown before what matched.
const CONTEXT_BYTES: usize = 200;
/// The longest line that is searched; files with longer ones are passed over from there on.
const HEAP_CAP_BYTES: usize = 16 * 1024 * 1024;

fn grep(workspace: &Workspace<'_>, input: &Input) -> Result<Body, String> {
    let pattern = input.required_text("pattern");
    let matcher = RegexMatcherBuilder::new()
        .multi_line(true)
        .crlf(true)
        .build(pattern)
        .map_err(|error| format!("grep: the pattern is no regular expression: {error}"))?;
    let path = input.text("path");
    let root = workspace.search_root("grep", path)?;
    let shown = path.unwrap_or("/workspace");
    let failed = |reason: String| format!("grep: {shown}: {reason}");
    let metadata = fs::metadata(&root).map_err(|error| failed(reason(&error)))?;

    let mut search = Search {
        searcher: SearcherBuilder::new()
            .line_terminator(grep_matcher::LineTerminator::crlf())
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(HEAP_CAP_BYTES))
            .build(),
        matcher,
        found: Found { lines: String::new(), cap_bytes: workspace.output_cap_bytes, full: false },
        give_up_at: workspace.give_up_at,
        skipped: 0,
        binary: 0,
    };
    let mut notes = Vec::new();
    if metadata.is_dir() {
        let walk = Walk { heed_ignore_files: true, deepest: usize::MAX, give_up_at: workspace.give_up_at };
        let walked = walk.run(&root, &mut |entry| {
            if entry.kind.is_file()
                && let Ok((file, _)) = guest::open_regular(entry.path)
            {
                search.file(entry.path, file);
            }
            search.found.full.then_some(Stopped::Enough)
        });
        notes.extend(walked.stopped.and_then(Stopped::note));
        if walked.ignored > 0 && search.found.lines.is_empty() {
            notes.push(format!(
                "[{} path(s) passed over by .gitignore or .ignore; name one as `path` to search it]",
                walked.ignored
            ));
        }
        if walked.unreadable > 0 {
            notes.push(format!("[{} directory(s) could not be read]", walked.unreadable));
        }
    } else {
        let (file, _) = guest::open_regular(&root).map_err(|unopened| failed(unopened.into()))?;
        search.file(&root, file);
        if search.binary > 0 {
            notes.push("[the file is binary and was not searched; use bash (strings, grep -a)]".to_owned());
        }
    }
    if search.skipped > 0 {
        notes.push(format!(
            "[{} file(s) not searched to the end: unreadable, out of time, or with a line over 16 MiB]",
            search.skipped
        ));
    }
    if search.found.full {
        notes.push(format!(
            "[output truncated at {} bytes; narrow the pattern or the path]",
            workspace.output_cap_bytes
        ));
    }
    let mut text = search.found.lines;
    if text.is_empty() {
        text.push_str("no matches\n");
    }
    text.pop();
    for note in notes {
        text.push('\n');
        text.push_str(&note);
    }
    Ok(text.into())
}

struct Search {
    searcher: Searcher,
    matcher: RegexMatcher,
    found: Found,
    give_up_at: Instant,
    skipped: usize,
    binary: usize,
}

impl Search {
    fn file(&mut self, path: &Path, file: File) {
        if is_binary(&file) {
            self.binary += 1;
            return;
        }
        let path = path.to_string_lossy();
        let mut lines = Lines { path: &path, matcher: &self.matcher, found: &mut self.found };
        let reader = UntilLate { file, give_up_at: self.give_up_at };
        if self.searcher.search_reader(&self.matcher, reader, &mut lines).is_err() {
            self.skipped += 1;
        }
    }
}

/// Whether the beginning of a file has a NUL, and no mark that says it is UTF-16.
fn is_binary(file: &File) -> bool {
    let mut head = [0; 4096];
    let read = file.read_at(&mut head, 0).unwrap_or(0);
    let head = &head[..read];
    head.contains(&0) && !head.starts_with(&[0xff, 0xfe]) && !head.starts_with(&[0xfe, 0xff])
}

/// What was found, within the cap.
struct Found {
    lines: String,
    cap_bytes: usize,
    full: bool,
}

struct Lines<'s> {
    path: &'s str,
    matcher: &'s RegexMatcher,
    found: &'s mut Found,
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, matched: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let number = matched.line_number().unwrap_or_default();
        let line = without_ending(matched.bytes());
        let line = format!("{}:{number}:{}\n", self.path, shown(line, self.matcher));
        if self.found.lines.len() + line.len() > self.found.cap_bytes {
            self.found.full = true;
            return Ok(false);
        }
        self.found.lines.push_str(&line);
        Ok(true)
    }
}

fn without_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line as it is shown: whole, or the part around what matched.
fn shown(line: &[u8], matcher: &RegexMatcher) -> String {
    if line.len() <= LINE_CAP_BYTES {
        return String::from_utf8_lossy(line).into_owned();
    }
    let at = matcher.find(line).ok().flatten().map_or(0, |found| found.start());
    let start = at.saturating_sub(CONTEXT_BYTES).min(line.len() - LINE_CAP_BYTES);
    let part = String::from_utf8_lossy(&line[start..start + LINE_CAP_BYTES]);
    format!("{part} [bytes {} to {} of a line of {}]", start + 1, start + LINE_CAP_BYTES, line.len())
}

/// A file that ends with an error when it is late.
struct UntilLate {
    file: File,
    give_up_at: Instant,
}

impl Read for UntilLate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.give_up_at {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.file.read(buffer)
    }
}
