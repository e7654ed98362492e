//! What has changed in a session's files.

use anyhow::Result;
use serde_json::{Value, json};

use crate::client::{Client, session_id};
use crate::failure::Exit;
use crate::terminal::{bytes, out, plain, say};

/// Show what has changed in a session's files since a snapshot of them
///
/// Without one it is what was written since the newest snapshot, or, if nothing was, what that snapshot has kept: after a turn, what
/// the turn did. The output is a unified diff, whose paths begin at /workspace.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The session's id, or its first digits
    session: String,
    /// A snapshot's name or id, the place or the id of an event that ended a turn, or `start` for what the session began with
    from: Option<String>,
    /// Compare with this, named in the same way, instead of with what the files are now
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// Only what is in this file or directory. Default: /workspace
    #[arg(long, short, value_name = "PATH")]
    path: Option<String>,
    /// How many lines have changed in each file
    #[arg(long, conflicts_with = "name_only")]
    stat: bool,
    /// Only names
    #[arg(long)]
    name_only: bool,
    /// Exit with 1 if anything differs
    #[arg(long)]
    exit_code: bool,
}

impl Diff {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let route = format!("/v1/sessions/{id}/workspace/diff");
        let content = match (self.stat, self.name_only) {
            (true, _) => "count",
            (_, true) => "none",
            (false, false) => "patch",
        };
        let (mut from, mut page, mut all) = (self.from.clone(), None::<String>, Vec::new());
        let compared = loop {
            let given = [("from", &from), ("to", &self.to), ("path", &self.path), ("page", &page)];
            let mut query = vec![("content", content), ("limit", if self.name_only { "1000" } else { "100" })];
            query.extend(given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
            let found = client.get(&route, &query).await?;
            if page.is_none() && !as_json {
                say::line(&say::dim(&format!("from {} to {}", stage(&found["from"]), stage(&found["to"]))));
            }
            let rows = found["data"].as_array().cloned().unwrap_or_default();
            if !as_json && !self.stat {
                rows.iter().for_each(|row| self.show(row));
            }
            // Patches are shown and let go of.
            let keep = as_json || self.stat || all.is_empty();
            all.extend(rows.into_iter().take(if keep { usize::MAX } else { 0 }));
            // A snapshot that is taken meanwhile must not change what is compared.
            from = Some(found["from"]["id"].as_str().unwrap_or("start").to_owned());
            page = found["next_page"].as_str().map(str::to_owned);
            if page.is_none() {
                break json!({"from": found["from"], "to": found["to"], "data": null});
            }
        };
        let differs = !all.is_empty();
        if as_json {
            let mut compared = compared;
            compared["data"] = Value::Array(all);
            out::json(&compared);
        } else if self.stat {
            stat(&all);
        }
        Ok(if differs && self.exit_code { Exit::Of(1) } else { Exit::Success })
    }

    fn show(&self, row: &Value) {
        if self.name_only {
            return out::line(&plain(&path(row)));
        }
        for (line, colour) in lines(row) {
            out::text(&out::paint(colour, &line));
        }
    }
}

/// A difference as `git` and `patch` have it, each line with its colour.
fn lines(row: &Value) -> Vec<(String, &'static str)> {
    const BOLD: &str = "1";
    let path = path(row);
    let (before, after) = (&row["before"], &row["after"]);
    let (old, new) = (format!("a/{path}"), format!("b/{path}"));
    let mut lines = vec![(format!("diff {old} {new}\n"), BOLD)];
    let mut say = |line: String| lines.push((format!("{line}\n"), BOLD));
    let (kind, mode) = (|side: &Value| text(side, "type"), |side: &Value| text(side, "mode"));
    match text(row, "change").as_str() {
        "added" => say(format!("new {} mode {}", kind(after), mode(after))),
        "removed" => say(format!("deleted {} mode {}", kind(before), mode(before))),
        "type_changed" => say(format!("{} became {}", kind(before), kind(after))),
        "unreadable" => say("can't be compared: the sandbox's user may not read it".to_owned()),
        _ if mode(before) != mode(after) => {
            say(format!("old mode {}", mode(before)));
            say(format!("new mode {}", mode(after)));
        }
        _ => {}
    }
    for (side, sign) in [(before, '-'), (after, '+')] {
        if let Some(target) = side["target"].as_str() {
            say(format!("{sign}-> {}", one_line(target)));
        }
    }
    let count = |name: &str| row[name].as_u64().unwrap_or(0);
    match (text(row, "content").as_str(), row["patch"].as_str()) {
        ("text", Some("")) => {}
        ("text", Some(patch)) => {
            let names = |side: &Value, name: String| if side.is_null() { "/dev/null".to_owned() } else { name };
            say(format!("--- {}", names(before, old)));
            say(format!("+++ {}", names(after, new)));
            lines.extend(patch.split_inclusive('\n').map(|line| (out::harmless(line), colour(line))));
        }
        ("text", None) => {
            say(format!(
                "{} lines added, {} removed: too long to be shown",
                count("added_lines"),
                count("removed_lines")
            ));
        }
        ("binary", _) => say(format!("binary, {}", sizes(row))),
        ("too_large", _) => say(format!("too large to be compared line by line, {}", sizes(row))),
        ("unreadable", _) => say("the sandbox's user may not read it".to_owned()),
        _ => {}
    }
    lines
}

fn colour(line: &str) -> &'static str {
    match line.as_bytes().first() {
        Some(b'+') => "32",
        Some(b'-') => "31",
        Some(b'@') => "36",
        _ => "",
    }
}

/// How much has changed in each, with as many signs as fit, and in all.
fn stat(rows: &[Value]) {
    const SIGNS: u64 = 40;
    let count = |row: &Value, name: &str| row[name].as_u64().unwrap_or(0);
    let changed = |row: &Value| count(row, "added_lines") + count(row, "removed_lines");
    let width = rows.iter().map(|row| path(row).chars().count()).max().unwrap_or(0).min(60);
    let most = rows.iter().map(changed).max().unwrap_or(0).max(SIGNS);
    let (mut added, mut removed) = (0, 0);
    for row in rows {
        let name = plain(&path(row));
        let what = match (text(row, "content").as_str(), text(row, "change").as_str()) {
            ("text", _) => {
                let (more, less) = (count(row, "added_lines"), count(row, "removed_lines"));
                (added, removed) = (added + more, removed + less);
                let signs =
                    |of: u64, sign: &str| sign.repeat(usize::try_from((of * SIGNS).div_ceil(most)).unwrap_or(0));
                format!(
                    "{:>5} {}{}",
                    more + less,
                    out::paint("32", &signs(more, "+")),
                    out::paint("31", &signs(less, "-"))
                )
            }
            ("binary" | "too_large", _) => format!("{:>5} {}", "Bin", sizes(row)),
            (_, change) => {
                let side = if row["after"].is_null() { &row["before"] } else { &row["after"] };
                format!("{:>5} {} {}", "", text(side, "type"), change.replace('_', " "))
            }
        };
        out::line(&format!(" {name:width$} | {}", what.trim_end()));
    }
    let paths = if rows.len() == 1 { "1 path differs".to_owned() } else { format!("{} paths differ", rows.len()) };
    let lines = if added == 1 { "line" } else { "lines" };
    out::line(&format!(" {paths}, {added} {lines} added, {removed} removed"));
}

fn sizes(row: &Value) -> String {
    let size = |side: &Value| side["size"].as_u64().map_or_else(|| "nothing".to_owned(), bytes);
    format!("{} -> {}", size(&row["before"]), size(&row["after"]))
}

/// What is compared, for a person.
fn stage(stage: &Value) -> String {
    match (text(stage, "type").as_str(), stage["name"].as_str()) {
        ("start", _) => "the beginning".to_owned(),
        ("now", _) => "now".to_owned(),
        (_, Some(name)) => plain(&format!("snapshot {name}")),
        (_, None) => plain(&format!("the snapshot of the turn's end at {}", stage["at"])),
    }
}

/// The path below `/workspace`, or else below the root.
fn path(row: &Value) -> String {
    let path = text(row, "path");
    let below = path.strip_prefix("/workspace/").or_else(|| path.strip_prefix('/'));
    one_line(below.filter(|below| !below.is_empty()).unwrap_or(&path))
}

fn one_line(name: &str) -> String {
    out::harmless(&name.replace(['\n', '\t', '\r'], "?"))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::lines;

    fn shown(row: &Value) -> String {
        lines(row).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn a_difference_is_what_patch_takes() {
        let side = |mode: &str| json!({"type": "file", "mode": mode, "size": 3});
        let row = json!({"path": "/workspace/a\nb", "change": "modified", "before": side("0644"), "after": side("0755"),
            "content": "text", "patch": "@@ -1 +1 @@\n-a\n+b\n"});
        assert_eq!(
            shown(&row),
            "diff a/a?b b/a?b\nold mode 0644\nnew mode 0755\n--- a/a?b\n+++ b/a?b\n@@ -1 +1 @@\n-a\n+b\n"
        );
        let row = json!({"path": "/home/agent/x", "change": "added", "before": null, "after": side("0644"),
            "content": "text", "patch": "@@ -0,0 +1 @@\n+b\n"});
        assert_eq!(
            shown(&row),
            "diff a/home/agent/x b/home/agent/x\nnew file mode 0644\n--- /dev/null\n+++ b/home/agent/x\n@@ -0,0 +1 @@\n+b\n"
        );
        let link = |to: &str| json!({"type": "symlink", "mode": "0777", "target": to});
        let row = json!({"path": "/workspace/l", "change": "modified", "before": link("x"), "after": link("y")});
        assert_eq!(shown(&row), "diff a/l b/l\n--> x\n+-> y\n");
        let row = json!({"path": "/workspace/l", "change": "removed", "before": side("0600"), "after": null, "content": "binary"});
        assert_eq!(shown(&row), "diff a/l b/l\ndeleted file mode 0600\nbinary, 3 B -> nothing\n");
    }
}
