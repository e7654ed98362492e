use std::collections::HashSet;
use std::io::Write as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, find, finish, has_sandboxes, read_until, signal, until};

#[test]
fn one_question_gets_its_answer_alone_on_standard_output() {
    let home = Home::new();
    let ran = home.run(&["run", "assistant", "hello", "--single"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "I hear you.\n"), "{ran:#?}");
    assert_eq!(ran.stderr.matches("script/talk is a scripted model").count(), 1, "{ran:#?}");
    for said in ["Agent > ", "Completed in ", "tenure sessions resume "] {
        assert!(ran.stderr.contains(said), "no `{said}`: {ran:#?}");
    }
}

#[test]
fn the_question_can_come_on_standard_input() {
    let home = Home::new();
    let ran = home.run_with(&["run", "assistant"], "hello\nthere\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "I hear you.\n"), "{ran:#?}");
    let none = home.run(&["run", "assistant"]);
    assert_eq!(none.code, 1);
    assert!(none.stderr.contains("there is no prompt"), "{none:#?}");
}

#[test]
fn json_is_one_object_on_each_line() {
    let home = Home::new();
    let printed = home.ok(&["run", "assistant", "hello", "--json"]);
    let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds[0], "session");
    assert_eq!(kinds.last(), Some(&"session.status_idle"));
    for kind in ["user.message", "session.status_running", "agent.message"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    let message = events.iter().find(|event| event["type"] == "agent.message").expect("it was seen");
    assert_eq!(message["data"]["content"][0]["text"], "I hear you.");
    let mut seen = HashSet::new();
    let stored = events.iter().filter(|event| event["data"]["processed_at"].is_string());
    assert!(stored.map(|event| event["data"]["id"].as_str()).all(|id| seen.insert(id)), "an event came twice");
}

#[test]
fn a_session_that_nobody_goes_on_with_times_out_after_29_minutes() {
    let home = Home::new();
    let printed = home.ok(&["run", "assistant", "hello", "--json"]);
    let first: Value = serde_json::from_str(printed.lines().next().expect("a line")).expect("it is JSON");
    let lifetimes = &first["data"]["tenure"]["lifetimes"];
    assert_eq!((&lifetimes["idle_seconds"], &lifetimes["then"]), (&(29 * 60).into(), &"end".into()), "{first:#}");
    assert_eq!((&lifetimes["outcome"], &lifetimes["keep"]), (&"timed_out".into(), &"log".into()));
}

#[test]
fn nothing_the_model_says_controls_the_terminal() {
    let home = Home::new();
    let ran = home.run(&["run", "assistant", "escape", "--single"]);
    assert_eq!(ran.stdout, "red end\n", "{ran:#?}");
    assert!(!ran.stderr.contains('\x1b'), "{ran:#?}");
}

#[test]
fn an_agent_nobody_knows_is_an_error() {
    let home = Home::new();
    let ran = home.run(&["run", "nobody", "hello", "--single"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    assert!(ran.stderr.contains("Agent 'nobody' not found"), "{ran:#?}");
}

#[test]
fn an_interrupt_stops_the_turn() {
    let home = Home::new();
    let mut run =
        home.command(&["run", "assistant", "hello", "--json", "--model", "script/slow"]).spawn().expect("started");
    let (_rest, _) = read_until(run.stdout.take().expect("piped"), "span.model_request_start");
    signal(run.id(), Signal::INT);
    let ran = finish(run);
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert!(ran.stderr.contains("Cancelled."), "{ran:#?}");
    until("an idle session", || (home.json(&["sessions", "list"])["sessions"][0]["status"] == "idle").then_some(()));
}

#[test]
fn sigterm_ends_the_command_and_not_the_turn() {
    let home = Home::new();
    home.configure("listen = '127.0.0.1:0'\nshutdown_grace = '100ms'\n");
    let mut run =
        home.command(&["run", "assistant", "hello", "--json", "--model", "script/slow"]).spawn().expect("started");
    let (_rest, _) = read_until(run.stdout.take().expect("piped"), "span.model_request_start");
    signal(run.id(), Signal::TERM);
    assert_eq!(finish(run).code, 143);
    assert_eq!(home.json(&["sessions", "list"])["sessions"][0]["status"], "running");
}

#[test]
fn a_model_that_fails_is_exit_code_1() {
    let home = Home::new();
    let ran = home.run(&["run", "assistant", "hello", "--single", "--model", "script/nothing"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    assert!(ran.stderr.contains("no script `nothing`"), "{ran:#?}");
}

#[test]
fn tools_run_in_a_sandbox_and_are_shown() {
    if !has_sandboxes("tools_run_in_a_sandbox_and_are_shown") {
        return;
    }
    let home = Home::new();
    let ran = home.run(&["run", "assistant", "go", "--single", "--model", "script/fibonacci"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.trim_end().ends_with("6765"), "{ran:#?}");
    assert!(ran.stderr.contains("[write] fib.py ("), "{ran:#?}");
    assert!(ran.stderr.contains("[bash] python3 fib.py ("), "{ran:#?}");
    assert_eq!(home.json(&["status"])["sandboxes"], 1);
    assert!(home.run(&["down"]).stderr.contains("and 1 sandbox."));
}

#[test]
fn an_approval_that_nobody_can_give_is_said() {
    let home = Home::new();
    home.ok(&["agents", "create", "Careful", "--model", "script/demo", "--ask", "bash"]);
    let ran = home.run(&["run", "careful", "go", "--single"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("waits for an answer that nobody here can give"), "{ran:#?}");
    assert_eq!(home.json(&["sessions", "list"])["sessions"][0]["tenure"]["phase"], "waiting");
}

#[test]
fn a_server_killed_in_the_middle_of_a_call_loses_and_doubles_nothing() {
    if !has_sandboxes("a_server_killed_in_the_middle_of_a_call_loses_and_doubles_nothing") {
        return;
    }
    let home = Home::new();
    let mut run =
        home.command(&["run", "assistant", "go", "--json", "--model", "script/gate"]).spawn().expect("started");
    let (rest, said) = read_until(run.stdout.take().expect("piped"), "agent.tool_use");
    let session: Value = serde_json::from_str(said.lines().next().expect("a line")).expect("it is JSON");
    let id = tenure_core::id::SessionId::parse(session["data"]["id"].as_str().expect("an id")).expect("an id");
    let workspace = home.data().join(format!("sandbox/sessions/{id}"));
    let gate = until("the call's beginning", || find(&workspace, "gate"));

    let killed = home.server()["pid"].as_u64().expect("a number");
    signal(u32::try_from(killed).expect("a process"), Signal::KILL);
    // The command finds that out, starts a server, and goes on where it was; then the call may end.
    let (_, _) = read_until(run.stderr.take().expect("piped"), "Started a server");
    // What is added to a file is seen inside; a file that is made from outside need not be.
    let mut gate = std::fs::File::options().append(true).open(gate).expect("there");
    gate.write_all(b"open\n").expect("written");
    let (_, said) = read_until(rest, "session.status_idle");
    assert_eq!(finish(run).code, 0);

    let events: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let messages: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "agent.message")
        .filter_map(|event| event["data"]["content"][0]["text"].as_str())
        .collect();
    assert_eq!(messages.iter().map(|text| text.trim()).collect::<Vec<_>>(), ["1"], "{said}");
    let results = events.iter().filter(|event| event["type"] == "agent.tool_result").count();
    assert_eq!(results, 1, "{said}");
}

#[test]
fn limits_are_given_when_a_session_begins() {
    let home = Home::new();
    let given = ["--memory", "512MiB", "--cpus", "0.5", "--pids", "200", "--disk", "2GiB", "--inodes", "20000"];
    let more = ["--open-files", "512", "--tool-timeout-max", "10m", "--tool-output", "1MiB"];
    home.ok(&[&["run", "assistant", "hello", "--single"], &given[..], &more].concat());
    let session = &home.json(&["sessions", "list"])["sessions"][0];
    let id = session["id"].as_str().expect("an id");
    let limits = &session["tenure"]["limits"];
    assert_eq!(
        *limits,
        serde_json::json!({"memory_bytes": 512 << 20, "cpu_millis": 500, "pids": 200, "disk_bytes": 2_u64 << 30,
                           "inodes": 20_000, "open_files": 512, "call_ms": 600_000, "output_bytes": 1 << 20})
    );
    let shown = home.ok(&["sessions", "get", id]);
    let line = "memory 512 MiB, processors 0.5, processes 200, disk 2 GiB, files 20000, open files 512, call 10m, output 1 MiB";
    assert!(shown.lines().any(|shown| shown.starts_with("Limits:") && shown.ends_with(line)), "{shown}");
    home.ok(&["sessions", "limits", id, "--cpus", "default", "--tool-timeout-max", "90s"]);
    let table = home.ok(&["sessions", "limits", id]);
    for (title, limit) in
        [("Memory", "512 MiB"), ("Processors", "unlimited (default)"), ("Call", "1m 30s"), ("Output", "1 MiB")]
    {
        let is_there = |line: &str| line.starts_with(title) && line.trim_end().ends_with(limit);
        assert!(table.lines().any(is_there), "no {title} of {limit}: {table}");
    }
}

#[test]
fn limits_that_cannot_be_begin_no_session() {
    let home = Home::new();
    home.ok(&["sessions", "list"]);
    for (option, wrong) in [
        ("--memory", "0"),
        ("--memory", "-1"),
        ("--memory", "1.5GiB"),
        ("--memory", "99999999999999TiB"),
        ("--cpus", "0"),
        ("--cpus", "-2"),
        ("--pids", "many"),
        ("--disk", "0GiB"),
        ("--inodes", "1.5"),
        ("--open-files", "-5"),
        ("--tool-timeout-max", "0s"),
        ("--tool-output", "none"),
    ] {
        let ran = home.run(&["run", "assistant", "hello", "--single", option, wrong]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{option} {wrong}: {ran:#?}");
        let said = |part: &str| ran.stderr.contains(part);
        assert!(said(option) && said("expected") && said(wrong), "{option} {wrong}: {ran:#?}");
    }
    for (option, much, field) in [
        ("--memory", "900TiB", "limits.memory_bytes"),
        ("--cpus", "1000", "limits.cpu_millis"),
        ("--disk", "900TiB", "limits.disk_bytes"),
        ("--memory", "1KiB", "limits.memory_bytes"),
    ] {
        let ran = home.run(&["run", "assistant", "hello", "--single", option, much]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{option} {much}: {ran:#?}");
        assert!(ran.stderr.contains(&format!("{field}: expected ")), "{option} {much}: {ran:#?}");
    }
    assert_eq!(home.json(&["sessions", "list"])["sessions"].as_array().map(Vec::len), Some(0));
}
