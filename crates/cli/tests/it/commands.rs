//! Every command does once what it is for: each request it makes is one that the server takes.

use std::collections::BTreeSet;

use crate::home::{Home, has_sandboxes};

/// In this order, where ID is a session's, KEY a key's and HERE a directory of this machine. Each must end with 0.
const STEPS: &[&str] = &[
    "status",
    "doctor",
    "agents create second --model script/files --description for-this",
    "agents list",
    "agents get second",
    "agents archive second",
    "environments list",
    "models list",
    "models default script/talk",
    "models test",
    "models add openai --no-key --base-url http://127.0.0.1:1/v1",
    "keys create one",
    "keys list",
    "keys revoke KEY",
    "sessions list",
    "sessions get ID",
    "sessions limits ID",
    "sessions limits ID --memory 1GiB --pids 200 --disk 1GiB --tool-timeout-max 10m --tool-output 1MiB",
    "sessions upload ID HERE/file notes/one",
    "sessions upload ID HERE/folder folder",
    "sessions files ls ID -R",
    "sessions files cat ID notes/one",
    "sessions files mv ID notes/one notes/two",
    "sessions snapshots ID --take before",
    "sessions files rm ID notes -r",
    "sessions snapshots ID",
    "sessions diff ID before",
    "sessions diff ID start --to before --stat",
    "sessions download ID folder -o HERE/copy",
    "sessions download ID folder/file -o HERE/one",
    "sessions exec ID -- true",
    "sessions fork ID --at before --title forked",
    "sessions fork ID --no-files",
    "sessions clone ID --files",
    "sessions clone ID",
    "sessions rewind ID before",
    "sessions snapshots ID --delete before",
    "sessions stop ID",
    "sessions resume ID again --single",
    "sessions end ID --yes",
    "sessions delete ID --yes",
    "run assistant hello --single --title named --label one --memory 512MiB",
    "check",
    "backup HERE/backup",
    "restore HERE/backup --data-dir HERE/restored",
    "down",
];

/// Those that need more than a line: where they are tried.
const ELSEWHERE: &[(&str, &str)] =
    &[("sessions shell", "exec::a_shell_has_a_terminal"), ("up", "every test of a server that is started")];

/// All commands that have none below them, as help shows them.
fn leaves(home: &Home, above: &[String], found: &mut BTreeSet<String>) {
    let mut args: Vec<&str> = above.iter().map(String::as_str).collect();
    args.push("--help");
    let help = home.ok(&args);
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        found.insert(above.join(" "));
        return;
    };
    let names = listed.lines().take_while(|line| !line.is_empty());
    // What goes on with a line is further to the right.
    for name in names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty())) {
        leaves(home, &[above, &[name.to_owned()]].concat(), found);
    }
}

#[test]
fn every_command_is_tried_and_works() {
    if !has_sandboxes("every_command_is_tried_and_works") {
        return;
    }
    let home = Home::new();
    let mut all = BTreeSet::new();
    leaves(&home, &[], &mut all);
    assert!(all.len() > 35, "{all:?}");
    let is_of = |step: &str, command: &str| step == command || step.starts_with(&format!("{command} "));
    let tried = |command: &String| {
        STEPS.iter().any(|step| is_of(step, command)) || ELSEWHERE.iter().any(|(known, _)| known == command)
    };
    let untried: Vec<&String> = all.iter().filter(|command| !tried(command)).collect();
    assert!(untried.is_empty(), "a new command belongs on the list: {untried:?}");

    let here = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::fs::create_dir(here.path().join("folder")).expect("made");
    for name in ["file", "folder/file"] {
        std::fs::write(here.path().join(name), "words\n").expect("written");
    }
    let id = home.session("hello");
    for step in STEPS {
        let key = step.contains("KEY").then(|| home.json(&["keys", "list"])["keys"][0]["id"].clone());
        let key = key.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let at = here.path().to_str().expect("a path");
        let args: Vec<String> =
            step.split(' ').map(|word| word.replace("ID", &id).replace("KEY", key).replace("HERE", at)).collect();
        let ran = home.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{step}: {ran:#?}");
    }
}
