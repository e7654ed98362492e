use std::sync::Arc;

use serde_json::{Value, json};
use tenure_tools::{ToolContent, ToolLimits};

use crate::fake::{Fake, tool};

async fn grep(fake: &Arc<Fake>, input: Value) -> String {
    let told = fake.call("grep", input).await.expect("an answer");
    told.replace(&format!("{}/", fake.path().display()), "")
}

#[tokio::test]
async fn matching_lines_come_with_path_and_number() {
    let fake = Fake::new();
    fake.put("b.txt", "one\ntwo\r\nthree");
    fake.put("a/a.txt", "x\nTwo two\n");
    fake.put(".env", "two=2\n");
    for (pattern, expected) in [
        ("two", ".env:1:two=2\na/a.txt:2:Two two\nb.txt:2:two"),
        ("^two$", "b.txt:2:two"),
        ("(?i)^TWO", ".env:1:two=2\na/a.txt:2:Two two\nb.txt:2:two"),
        (r"thre{2}\b", "b.txt:3:three"),
        ("nothing", "no matches"),
    ] {
        assert_eq!(grep(&fake, json!({ "pattern": pattern })).await, expected, "{pattern}");
    }
    assert_eq!(grep(&fake, json!({ "pattern": "two", "path": "a" })).await, "a/a.txt:2:Two two");
    assert_eq!(grep(&fake, json!({ "pattern": "two", "path": "b.txt" })).await, "b.txt:2:two");
}

#[tokio::test]
async fn what_is_wrong_with_a_pattern_is_told() {
    let fake = Fake::new();
    for (pattern, expected) in
        [("(", "unclosed group"), ("(?=x)", "look-around"), (r"(a)\1", "backreferences"), ("a\nb", "\\n")]
    {
        let told = fake.call("grep", json!({ "pattern": pattern })).await.expect_err("no pattern");
        assert!(told.starts_with("grep: the pattern is no regular expression: ") && told.contains(expected), "{told}");
    }
    let told = fake.call("grep", json!({ "pattern": "x", "path": "nowhere" })).await;
    assert_eq!(told, Err("grep: nowhere: no such file or directory".to_owned()));
}

#[tokio::test]
async fn ignored_and_binary_files_are_passed_over_unless_named() {
    let fake = Fake::new();
    for (name, content) in [
        (".gitignore", "target/\n*.log\n!keep.log\n"),
        (".git/config", "needle\n"),
        (".git/info/exclude", "secret.txt\n"),
        (".ignore", "data.csv\n"),
        ("target/out.txt", "needle\n"),
        ("a.log", "needle\n"),
        ("keep.log", "needle\n"),
        ("secret.txt", "needle\n"),
        ("data.csv", "needle\n"),
        ("sub/.gitignore", "!a.log\n/only_here.txt\n"),
        ("sub/a.log", "needle\n"),
        ("sub/only_here.txt", "needle\n"),
        ("inner/.git/HEAD", ""),
        ("inner/b.log", "needle\n"),
        ("binary", "needle\n\0"),
    ] {
        fake.put(name, content);
    }
    let told = grep(&fake, json!({ "pattern": "needle" })).await;
    assert_eq!(told, "inner/b.log:1:needle\nkeep.log:1:needle\nsub/a.log:1:needle");
    assert_eq!(grep(&fake, json!({ "pattern": "needle", "path": "target" })).await, "target/out.txt:1:needle");
    assert_eq!(grep(&fake, json!({ "pattern": "needle", "path": "a.log" })).await, "a.log:1:needle");
    assert_eq!(grep(&fake, json!({ "pattern": "needle", "path": ".git" })).await, ".git/config:1:needle");
    let told = grep(&fake, json!({ "pattern": "needle", "path": "binary" })).await;
    assert_eq!(told, "no matches\n[the file is binary and was not searched; use bash (strings, grep -a)]");
    // The rules of directories above the one searched hold too.
    fake.put("sub/b.log", "needle\n");
    assert_eq!(grep(&fake, json!({ "pattern": "needle", "path": "sub" })).await, "sub/a.log:1:needle");
}

#[tokio::test]
async fn nothing_found_says_that_something_was_passed_over() {
    let fake = Fake::new();
    fake.put(".ignore", "*.txt\n");
    fake.put("a.txt", "needle\n");
    let told = grep(&fake, json!({ "pattern": "needle" })).await;
    assert_eq!(told, "no matches\n[1 path(s) passed over by .gitignore or .ignore; name one as `path` to search it]");
}

#[tokio::test]
async fn without_a_repository_git_ignores_nothing() {
    let fake = Fake::new();
    fake.put(".gitignore", "*.txt\n");
    fake.put("a.txt", "needle\n");
    assert_eq!(grep(&fake, json!({ "pattern": "needle" })).await, "a.txt:1:needle");
}

#[tokio::test]
async fn a_long_line_is_shown_around_what_matched() {
    let fake = Fake::new();
    fake.put("min.js", format!("{}needle{}", "a".repeat(50_000), "b".repeat(50_000)));
    let told = grep(&fake, json!({ "pattern": "needle" })).await;
    assert!(told.starts_with("min.js:1:aaa") && told.contains("aneedleb"), "{told}");
    assert!(told.ends_with("[bytes 49801 to 51800 of a line of 100006]"), "{told}");
}

#[tokio::test]
async fn the_output_is_capped() {
    let fake = Fake::new();
    fake.put("a", "needle\n".repeat(100));
    fake.put("b", "needle\n");
    let mut ctx = fake.ctx();
    ctx.limits = ToolLimits { output_cap_bytes: 200, ..ToolLimits::default() };
    let result = tool("grep").run(ctx, json!({ "pattern": "needle" })).await.expect("an answer");
    let [ToolContent::Text(text)] = result.content.as_slice() else { panic!("{result:?}") };
    assert!(
        text.len() < 300 && text.ends_with("\n[output truncated at 200 bytes; narrow the pattern or the path]"),
        "{text}"
    );
}

#[tokio::test]
async fn other_encodings_do_not_disturb() {
    let fake = Fake::new();
    fake.put("latin1", b"caf\xe9 needle\n");
    let utf16: Vec<u8> = "\u{feff}needle\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fake.put("utf16", utf16);
    assert_eq!(grep(&fake, json!({ "pattern": "needle" })).await, "latin1:1:caf\u{fffd} needle\nutf16:1:needle");
}
