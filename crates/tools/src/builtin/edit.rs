//! `edit`: replaces text in a file by exact match.

use crate::builtin::FileTool;
use crate::guest::{self, Body, Content, Workspace};
use crate::input::{Field, Input, Kind};

pub(crate) const TOOL: FileTool = FileTool {
    name: "edit",
    description: "Replaces text in a UTF-8 file. `old_string` must be in the file exactly as given, whitespace and line \
                  endings included, and only once, unless `replace_all` is true; give enough of the lines around it to \
                  make it unique. `read` the file first. To create a file use `write`.",
    fields: &[
        Field {
            name: "file_path",
            kind: Kind::Text,
            required: true,
            description: "The file to change. Relative paths start from /workspace.",
        },
        Field {
            name: "old_string",
            kind: Kind::Text,
            required: true,
            description: "The text to replace, exactly as in the file.",
        },
        Field {
            name: "new_string",
            kind: Kind::Text,
            required: true,
            description: "What to put in its place. May be empty.",
        },
        Field {
            name: "replace_all",
            kind: Kind::Flag,
            required: false,
            description: "Replace every occurrence instead of requiring exactly one. Default: false.",
        },
    ],
    guest: edit,
    answer_cap_bytes: 0,
};

/// The peer stops at 256 KiB; generated files and data are often larger, and this still fits any sandbox's memory.
const CAP_BYTES: u64 = 8 * 1024 * 1024;

fn edit(workspace: &Workspace<'_>, input: &Input) -> Result<Body, String> {
    let path = input.required_text("file_path");
    let old = input.required_text("old_string");
    let new = input.required_text("new_string");
    if old.is_empty() {
        return Err("edit: old_string is empty; to create a file or replace all of it use write".to_owned());
    }
    if old == new {
        return Err("edit: old_string and new_string are the same: nothing to change".to_owned());
    }
    let file = workspace.resolve("edit", path)?;
    let text = load(&file).map_err(|reason| format!("edit: {path}: {reason}"))?;
    let found: Vec<usize> = text.match_indices(old).map(|(at, _)| at).collect();
    let (changed, count) = match found.as_slice() {
        [] => return Err(format!("edit: old_string not found in {path}{}", near_miss(&text, old))),
        all if input.flag("replace_all") => (text.replace(old, new), all.len()),
        [_] => (text.replacen(old, new, 1), 1),
        several => {
            return Err(format!(
                "edit: old_string appears {} times in {path} (must be unique): at lines {}. Give more of the lines \
                 around the one you mean, or set replace_all",
                several.len(),
                line_numbers(&text, several)
            ));
        }
    };
    guest::replace(&file, changed.as_bytes()).map_err(|reason| format!("edit: {path}: {reason}"))?;
    Ok(format!("edited {path} ({count} replacement(s))").into())
}

fn load(file: &std::path::Path) -> Result<String, String> {
    let (opened, metadata) = guest::open_regular(file)?;
    match guest::read_whole(&opened, &metadata, CAP_BYTES)? {
        Content::Whole(bytes) => {
            String::from_utf8(bytes).map_err(|_| "not UTF-8 text; only texts can be edited".to_owned())
        }
        Content::TooLarge(size) => {
            Err(format!("is {size} bytes, more than the {CAP_BYTES} that edit can change; use bash (sed, for one)"))
        }
    }
}

fn line_numbers(text: &str, offsets: &[usize]) -> String {
    const SHOWN: usize = 10;
    let (mut line, mut from) = (1, 0);
    let mut numbers = Vec::new();
    for &at in offsets.iter().take(SHOWN) {
        line += text.as_bytes()[from..at].iter().filter(|&&byte| byte == b'\n').count();
        from = at;
        numbers.push(line.to_string());
    }
    if offsets.len() > SHOWN {
        numbers.push("…".to_owned());
    }
    numbers.join(", ")
}

/// Why a text that looks right to a model isn't there: a hint that begins with `; `, or nothing.
fn near_miss(text: &str, old: &str) -> String {
    if old.contains('\n') && !old.contains("\r\n") && text.contains(&old.replace('\n', "\r\n")) {
        return "; it is there with other line endings: the file's lines end with \\r\\n, those of old_string with \\n"
            .to_owned();
    }
    if old.contains("\r\n") && text.contains(&old.replace("\r\n", "\n")) {
        return "; it is there with other line endings: the file's lines end with \\n, those of old_string with \\r\\n"
            .to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let wanted: Vec<&str> = old.trim_matches('\n').lines().collect();
    let Some(closest) = closest(&lines, &wanted) else { return String::new() };
    let line = closest.line + 1;
    if closest.alike == wanted.len() {
        let differing = lines[closest.line..].iter().zip(&wanted).find(|(one, other)| one != other);
        return match differing {
            Some((there, asked)) => format!(
                "; line {line} and on differ from it only in whitespace: the file has {:?} where old_string has {:?}",
                shortened(there),
                shortened(asked)
            ),
            None => format!("; line {line} and on differ from it only in the line feeds at its start or end"),
        };
    }
    let there = lines
        .get(closest.line + closest.alike)
        .copied()
        .map_or_else(|| "the end of the file".to_owned(), |line| format!("{:?}", shortened(line)));
    let asked = shortened(wanted[closest.alike]);
    format!(
        "; its first {} line(s) are at line {line}, but then the file has {there} where old_string has {asked:?}",
        closest.alike
    )
}

struct Closest {
    line: usize,
    /// How many lines from there are those wanted, whitespace aside.
    alike: usize,
}

/// The place where most of the wanted lines follow one another, whitespace aside.
fn closest(lines: &[&str], wanted: &[&str]) -> Option<Closest> {
    // A blank or very short first line is alike to too much to say anything.
    const TELLING_CHARS: usize = 3;
    // A hint isn't worth more time than this, which only files made for the purpose take.
    const MOST_COMPARISONS: usize = 50_000_000;
    let first = wanted.first()?;
    if lines.len().saturating_mul(wanted.len()) > MOST_COMPARISONS
        || first.chars().filter(|char| !char.is_whitespace()).count() < TELLING_CHARS
    {
        return None;
    }
    let mut best: Option<Closest> = None;
    for line in 0..lines.len() {
        let alike = lines[line..].iter().zip(wanted).take_while(|(one, other)| alike(one, other)).count();
        if alike > best.as_ref().map_or(0, |best| best.alike) {
            best = Some(Closest { line, alike });
        }
    }
    best
}

fn alike(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

fn shortened(line: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
