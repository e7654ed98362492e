//! Output that is too long for a model: it is kept whole in a file of the sandbox, and named.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tenure_core::id::ItemId;
use tenure_sandbox::{CallEnd, Error, Exit, Work};
use tenure_tools::ToolError;

use crate::fake::{Fake, Played, tool};

fn printed(text: &str) -> Exit {
    Exit { code: Some(0), stdout: text.into(), ..Exit::default() }
}

/// 220,000 characters in 20,000 lines.
fn long() -> String {
    (0..20_000).map(|at| format!("line {at:05}\n")).collect()
}

fn kept(fake: &Fake) -> PathBuf {
    fake.at(".tenure/outputs").join(format!("{}.txt", ItemId::from_bits(7).prefixed()))
}

async fn bash(fake: &Arc<Fake>) -> String {
    fake.call("bash", json!({ "command": "x" })).await.expect("it is no error")
}

#[tokio::test]
async fn a_long_output_is_kept_whole_and_its_ends_are_shown() {
    let (fake, text) = (Fake::new(), long());
    fake.plays_exit(printed(&text));
    let told = bash(&fake).await;
    let name = ItemId::from_bits(7).prefixed();
    let trimmed = text.trim_end();
    let (all, lines) = (trimmed.chars().count(), trimmed.lines().count());
    let note = format!(
        "\n[… {} of {all} characters left out here. All of it is in /workspace/.tenure/outputs/{name}.txt ({lines} lines): read on \
         with `read` and its `view_range`, or search it with `grep`. …]\n",
        all - 20_000
    );
    let (head, tail) = told.split_once(&note).expect("the note is there");
    assert!(trimmed.starts_with(head) && trimmed.ends_with(tail), "the ends are the output's own");
    assert_eq!((head.chars().count(), tail.chars().count()), (10_000, 10_000));
    assert_eq!(fs::read_to_string(kept(&fake)).expect("it is kept"), trimmed);
    assert_eq!(fake.text(".tenure/.gitignore"), "*\n");
    // Run again after a crash, the same call says the same.
    fake.plays_exit(printed(&text));
    assert_eq!(bash(&fake).await, told);
    let read = json!({ "file_path": format!(".tenure/outputs/{name}.txt"), "view_range": [15_000, 15_000] });
    let line = text.lines().nth(14_999).expect("it has so many");
    assert_eq!(fake.call("read", read).await, Ok(line.to_owned()));
    let found = fake.call("grep", json!({ "pattern": "line 12345" })).await;
    assert!(found.is_ok_and(|found| found.starts_with("no matches")), "searches of the workspace pass it over");
    let search = json!({ "pattern": "line 12345", "path": format!(".tenure/outputs/{name}.txt") });
    assert!(
        fake.call("grep", search).await.is_ok_and(|found| found.contains("line 12345")),
        "and one of itself doesn't"
    );
}

#[tokio::test]
async fn what_is_just_short_enough_is_shown_whole() {
    for letter in ["x", "ß", "✓"] {
        let fake = Fake::new();
        fake.plays_exit(printed(&letter.repeat(100_000)));
        assert_eq!(bash(&fake).await, letter.repeat(100_000));
        assert!(!fake.at(".tenure").exists());
        fake.plays_exit(printed(&letter.repeat(100_001)));
        assert!(bash(&fake).await.contains("80001 of 100001 characters left out"));
        assert_eq!(fs::read_to_string(kept(&fake)).expect("it is kept"), letter.repeat(100_001));
    }
}

#[tokio::test]
async fn a_failing_command_still_says_how_it_ended() {
    let fake = Fake::new();
    fake.plays_exit(Exit { code: Some(3), ..printed(&long()) });
    let told = fake.call("bash", json!({ "command": "x" })).await.expect_err("it failed");
    assert!(told.contains("characters left out") && told.ends_with("\n[exit code 3]"), "{}", &told[told.len() - 100..]);
}

#[tokio::test]
async fn nothing_is_written_where_a_link_leads() {
    let text = long();
    for trap in [".tenure", ".tenure/outputs"] {
        let (fake, elsewhere) = (Fake::new(), tempfile::tempdir().expect("a directory"));
        let path = fake.at(trap);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        symlink(elsewhere.path(), &path).expect("a link");
        fake.plays_exit(printed(&text));
        let told = bash(&fake).await;
        assert!(told.contains("The rest couldn't be kept: .tenure/outputs/"), "{trap}");
        assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 0, "{trap}");
    }
    for dangling in [false, true] {
        let (fake, elsewhere) = (Fake::new(), tempfile::tempdir().expect("a directory"));
        let victim = elsewhere.path().join("victim");
        if !dangling {
            fs::write(&victim, "mine").expect("a file");
        }
        let path = kept(&fake);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        let unfinished = path.with_file_name(format!(".{}.new", path.file_name().expect("a name").to_string_lossy()));
        let hidden = fake.at(".tenure/.gitignore");
        for link in [&path, &unfinished, &hidden] {
            symlink(&victim, link).expect("a link");
        }
        fake.plays_exit(printed(&text));
        assert!(bash(&fake).await.contains("All of it is in"));
        let written = fs::symlink_metadata(&path).expect("it is there");
        assert!(written.is_file(), "the link is replaced, not followed");
        match dangling {
            false => assert_eq!(fs::read_to_string(&victim).expect("still there"), "mine"),
            true => assert!(!victim.exists()),
        }
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let fake = Fake::new();
    fake.put(".tenure", "a file");
    fake.plays_exit(printed(&long()));
    assert!(bash(&fake).await.contains("The rest couldn't be kept: .tenure/outputs/"));
    let fake = Fake::new();
    fs::create_dir_all(kept(&fake)).expect("a directory in its place");
    fake.plays_exit(printed(&long()));
    assert!(bash(&fake).await.contains("couldn't be kept"));
    let left = fs::read_dir(fake.at(".tenure/outputs")).expect("readable").count();
    assert_eq!(left, 1, "nothing unfinished is left");
}

#[tokio::test]
async fn a_writer_that_was_ended_is_followed_by_another() {
    let fake = Fake::new();
    fake.plays_exit(printed(&long()));
    fake.play(Played::End(Ok(CallEnd::Interrupted { reason: "cleared away".to_owned() })));
    fake.play(Played::End(Ok(CallEnd::Exited(Exit { cancelled: true, signal: Some(9), ..Exit::default() }))));
    assert!(bash(&fake).await.contains("All of it is in"));
    let orders = fake.orders();
    let writers: Vec<ItemId> = orders[1..].iter().map(|order| order.call).collect();
    assert_eq!(writers.len(), 3);
    assert!(writers[0] != writers[1] && writers[1] != writers[2] && !writers.contains(&orders[0].call));
    assert!(orders[1..].iter().all(|order| matches!(&order.work, Work::Op { name, .. } if name == "keep_output")));
}

#[tokio::test]
async fn a_sandbox_that_is_lost_meanwhile_is_told_as_lost() {
    let fake = Fake::new();
    fake.plays_exit(printed(&long()));
    fake.play(Played::End(Err(Error::Lost)));
    let lost = tool("bash").run(fake.ctx(), json!({ "command": "x" })).await;
    assert!(matches!(lost, Err(ToolError::SandboxLost)), "{lost:?}");
}

#[tokio::test]
async fn a_long_file_is_named_and_not_kept_twice() {
    let fake = Fake::new();
    fake.put("long.txt", long());
    let told = fake.call("read", json!({ "file_path": "long.txt" })).await.expect("it is read");
    assert!(
        told.contains("Read smaller parts of long.txt with `view_range` (20000 lines are meant here)"),
        "{}",
        &told[9_900..10_300]
    );
    assert!(!fake.at(".tenure").exists());
}

#[tokio::test]
async fn an_order_that_names_no_file_of_its_own_writes_none() {
    for input in [&b"no name"[..], b"\nbytes", b"../up\nbytes", b".hidden\nbytes", b"\xff\nbytes", b""] {
        let fake = Fake::new();
        let mut out = Vec::new();
        assert_eq!(tenure_tools::guest::perform("keep_output", fake.path(), input, &mut out), 70, "{input:?}");
        assert_eq!(fs::read_dir(fake.path()).expect("readable").count(), 0);
    }
}
