//! The examples of the pages on files and commands and on the sandbox, run as they are printed there.

use std::path::Path;
use std::process::Command;

use crate::home::{Home, has_sandboxes};

const FILES: &str = include_str!("../../../../docs/workspace.md");
const SANDBOX: &str = include_str!("../../../../docs/sandbox.md");

/// The blocks of code of a page in a language.
fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

/// A home with a session whose agent has written files, and its id.
fn with_files() -> (Home, String) {
    let home = Home::new();
    let ran = home.run(&["run", "assistant", "write", "--single", "--model", "script/files"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let id = ran.stderr.rsplit("tenure sessions resume ").next().expect("never empty").trim().to_owned();
    (home, id)
}

/// Has bash run it where `tenure` is this program and `4f2a` the session.
fn run(home: &Home, at: &Path, id: &str, script: &str) -> String {
    let tenure = home.command(&[]);
    let bin = at.join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).expect("made");
        std::os::unix::fs::symlink(tenure.get_program(), bin.join("tenure")).expect("made");
    }
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script.replace("4f2a", id)]).current_dir(at).env_clear();
    command.envs(tenure.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var("PATH").unwrap_or_default();
    let key = std::fs::read_to_string(home.data().join("root.key")).expect("a key");
    let url = home.server()["url"].as_str().expect("an address").to_owned();
    command.env("PATH", format!("{}:{path}", bin.display())).env("NO_PROXY", "*");
    command.env("TENURE_URL", url).env("TENURE_API_KEY", key.trim());
    let session = home.json(&["sessions", "get", id])["id"].as_str().expect("an id").to_owned();
    let ran = command.env("SESSION", session).output().expect("bash is there");
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{script}: {out}{err}");
    out.into_owned()
}

#[test]
fn the_commands_of_the_page_on_files_do_what_it_says() {
    if !has_sandboxes("the_commands_of_the_page_on_files_do_what_it_says") {
        return;
    }
    let (home, id) = with_files();
    let here = tempfile::tempdir().expect("a directory");
    for directory in ["data", "src"] {
        std::fs::create_dir(here.path().join(directory)).expect("made");
        std::fs::write(here.path().join(directory).join("file"), directory).expect("written");
    }
    let mut ran = 0;
    for line in blocks(FILES, "console").into_iter().flat_map(str::lines) {
        let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{line}: no command"));
        // It wants a terminal: `exec::a_shell_has_a_terminal` gives it one.
        if command.contains("sessions shell") {
            continue;
        }
        ran += 1;
        let out = run(&home, here.path(), &id, command);
        let expected = match command {
            _ if command.contains("files ls") => "report.md",
            _ if command.contains("wc -l") => "3 report.md",
            _ if command.contains("resume") => "Edited.",
            _ if command.contains("--stat") => "lines added",
            _ if command.contains("--to before") => "+++ b/report.md",
            _ => "",
        };
        assert!(out.contains(expected), "{command}: {out}");
    }
    assert!(ran > 10, "{ran} ran");
    assert_eq!(std::fs::read_to_string(here.path().join("report.md")).expect("downloaded"), "one\ntwo\nthree\n");
    let listed = home.ok(&["sessions", "files", "ls", &id, "-R"]);
    assert!(listed.contains("data/file") && listed.contains("src/file"), "{listed}");
    assert_eq!(home.ok(&["sessions", "files", "cat", &id, "report.md"]), "one\ntwo\nthree\n", "it was rewound");

    std::fs::write(here.path().join("notes.md"), "some words\n").expect("written");
    let [requests] = blocks(FILES, "bash").try_into().expect("one block");
    let out = run(&home, here.path(), &id, requests);
    assert!(out.contains("docs/notes.md") && out.contains("workspace_diff"), "{out}");
    assert_eq!(home.ok(&["sessions", "files", "cat", &id, "copy/docs/notes.md"]), "some words\n");
}

#[test]
fn the_requests_of_the_page_on_the_sandbox_do_what_it_says() {
    if !has_sandboxes("the_requests_of_the_page_on_the_sandbox_do_what_it_says") {
        return;
    }
    let (home, id) = with_files();
    let here = tempfile::tempdir().expect("a directory");
    let [requests] = blocks(SANDBOX, "bash").try_into().expect("one block");
    let out = run(&home, here.path(), &id, requests);
    assert!(out.contains("another try") && out.contains("snapshot_deleted"), "{out}");
    let sessions = home.json(&["sessions", "list"])["sessions"].as_array().cloned().unwrap_or_default();
    assert_eq!(sessions.len(), 4, "{sessions:?}");
    let made = |wanted: fn(&serde_json::Value) -> bool| {
        let found = sessions.iter().find(|session| wanted(session)).unwrap_or_else(|| panic!("not in {sessions:?}"));
        home.ok(&["sessions", "files", "ls", found["id"].as_str().expect("an id")])
    };
    assert!(made(|session| session["title"] == "another try").contains("report.md"));
    assert!(home.ok(&["sessions", "files", "ls", &id]).contains("report.md"));
}
