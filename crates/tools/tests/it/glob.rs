use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::fake::Fake;

/// What `glob` says, with the directory that stands for the workspace left out.
async fn glob(fake: &std::sync::Arc<Fake>, input: Value) -> String {
    let told = fake.call("glob", input).await.expect("an answer");
    told.replace(&format!("{}/", fake.path().display()), "")
}

fn aged(fake: &Fake, name: &str, seconds: u64) {
    let path = if fake.at(name).exists() { fake.at(name) } else { fake.put(name, "") };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - seconds);
    File::open(path).and_then(|file| file.set_modified(at)).expect("a time");
}

fn tree() -> std::sync::Arc<Fake> {
    let fake = Fake::new();
    for (name, age) in [
        ("main.rs", 5),
        ("src/lib.rs", 1),
        ("src/a/deep.rs", 9),
        ("src/a/note.md", 2),
        (".hidden/x.rs", 3),
        (".git/config.rs", 4),
    ] {
        aged(&fake, name, age);
    }
    for (name, age) in [("src/a", 20), ("src", 21), (".hidden", 22)] {
        aged(&fake, name, age);
    }
    fake
}

#[tokio::test]
async fn matches_come_newest_first() {
    let fake = tree();
    for (pattern, expected) in [
        ("**/*.rs", "src/lib.rs\n.hidden/x.rs\nmain.rs\nsrc/a/deep.rs"),
        ("*.rs", "main.rs"),
        ("*", "main.rs\nsrc/\n.hidden/"),
        ("src/*", "src/lib.rs\nsrc/a/"),
        ("src/**/*.{md,rs}", "src/lib.rs\nsrc/a/note.md\nsrc/a/deep.rs"),
        ("{src,.hidden}/*.rs", "src/lib.rs\n.hidden/x.rs"),
        ("./src/./lib.rs", "src/lib.rs"),
        ("src/a", "src/a/"),
        ("src/[ab]/????.[!r]*", "src/a/note.md"),
        (".git/*.rs", ".git/config.rs"),
        ("*.py", "no matches"),
        ("missing/**", "no matches"),
        ("missing", "no matches"),
    ] {
        assert_eq!(glob(&fake, json!({ "pattern": pattern })).await, expected, "{pattern}");
    }
    assert_eq!(glob(&fake, json!({ "pattern": "**/*.rs", "path": "src/a" })).await, "src/a/deep.rs");
    assert_eq!(glob(&fake, json!({ "pattern": "*.md", "path": fake.at("src/a") })).await, "src/a/note.md");
}

#[tokio::test]
async fn patterns_that_lead_elsewhere_or_nowhere_are_refused() {
    let fake = tree();
    for (input, expected) in [
        (json!({ "pattern": "/etc/*" }), "glob: absolute pattern not permitted"),
        (json!({ "pattern": "../*" }), "glob: '..' is not permitted in the pattern"),
        (json!({ "pattern": "src/../../*" }), "glob: '..' is not permitted in the pattern"),
        (json!({ "pattern": "" }), "glob: the pattern is empty"),
        (json!({ "pattern": "./" }), "glob: the pattern is empty"),
        (json!({ "pattern": "src/[a" }), "glob: the pattern \"src/[a\" is not one: "),
        (json!({ "pattern": "*", "path": "nowhere" }), "glob: nowhere: no such file or directory"),
        (json!({ "pattern": "*", "path": "main.rs" }), "glob: main.rs: not a directory"),
    ] {
        let told = fake.call("glob", input).await.expect_err("refused");
        assert!(told.starts_with(expected), "{told}");
    }
}

#[tokio::test]
async fn only_the_newest_two_hundred_are_listed() {
    let fake = Fake::new();
    for number in 0..250_u64 {
        aged(&fake, &format!("d/{number:03}"), number);
    }
    let told = glob(&fake, json!({ "pattern": "d/*" })).await;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 201);
    assert_eq!((lines[0], lines[199], lines[200]), ("d/000", "d/199", "[the newest 200 of 250 matches]"));
}

#[tokio::test]
async fn links_are_listed_but_not_followed() {
    let fake = Fake::new();
    fake.put("real/file", "");
    symlink("..", fake.at("real/up")).expect("a link");
    symlink("nowhere", fake.at("real/dangling")).expect("a link");
    let told = glob(&fake, json!({ "pattern": "**" })).await;
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["real/", "real/dangling", "real/file", "real/up"]);
    fs::remove_file(fake.at("real/up")).expect("a link");
    // A link that is named is followed.
    symlink("real", fake.at("linked")).expect("a link");
    assert_eq!(glob(&fake, json!({ "pattern": "linked/f*" })).await, "linked/file");
}
