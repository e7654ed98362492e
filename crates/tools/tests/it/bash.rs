use std::time::Duration;

use serde_json::json;
use tenure_sandbox::{Exit, Work};
use tenure_tools::{ToolContent, ToolLimits, ToolResult};
use tokio::sync::mpsc;

use crate::fake::{Fake, tool};

fn printed(text: &str) -> Exit {
    Exit { code: Some(0), stdout: text.into(), ..Exit::default() }
}

async fn says(exit: Exit) -> Result<String, String> {
    let fake = Fake::new();
    fake.plays_exit(exit);
    fake.call("bash", json!({ "command": "x" })).await
}

#[tokio::test]
async fn a_command_is_a_line_for_the_shell() {
    let fake = Fake::new();
    fake.plays_exit(printed("6765\n"));
    assert_eq!(fake.call("bash", json!({ "command": "python3 fib.py" })).await, Ok("6765".to_owned()));
    let order = &fake.orders()[0];
    assert_eq!(order.work, Work::Shell { command: "python3 fib.py".to_owned(), restart: false });
    assert_eq!((order.timeout, order.output_cap_bytes), (Some(Duration::from_secs(120)), 10 << 20));
}

#[tokio::test]
async fn a_failing_command_is_an_error_with_output_and_exit_code() {
    assert_eq!(
        says(Exit { code: Some(2), ..printed("no such file\n") }).await,
        Err("no such file\n[exit code 2]".to_owned())
    );
    assert_eq!(says(Exit { code: Some(1), ..printed("") }).await, Err("[exit code 1]".to_owned()));
    let killed = Exit { code: None, signal: Some(9), out_of_memory: true, ..printed("half") };
    assert_eq!(
        says(killed).await,
        Err(
            "half\n[killed: memory limit; something in the sandbox needed more than is left]\n[the shell was killed by signal 9]"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn separate_errors_follow_the_output() {
    let exit = Exit { stderr: b"\x1b[31mwarning\x1b[0m\n".to_vec(), ..printed("done") };
    assert_eq!(says(exit).await, Ok("done\nwarning".to_owned()));
}

#[tokio::test]
async fn a_restart_runs_no_command() {
    let fake = Fake::new();
    fake.plays_exit(printed(""));
    fake.plays_exit(printed(""));
    fake.plays_exit(Exit { code: Some(126), ..printed("bash: not found\n") });
    assert_eq!(fake.call("bash", json!({ "restart": true })).await, Ok("bash session restarted".to_owned()));
    let both = fake.call("bash", json!({ "restart": true, "command": "make" })).await.expect("a restart");
    assert!(both.starts_with("bash session restarted; the command was not run"), "{both}");
    for order in fake.orders() {
        assert_eq!(order.work, Work::Shell { command: String::new(), restart: true });
    }
    let failed = fake.call("bash", json!({ "restart": true })).await;
    assert_eq!(failed, Err("bash: not found\n[exit code 126]".to_owned()));
}

#[tokio::test]
async fn neither_command_nor_restart_names_both_fields() {
    for input in [json!({}), json!({ "command": "  " }), json!({ "restart": false })] {
        let message = Fake::new().call("bash", input).await.expect_err("nothing to do");
        assert!(message.contains("`command`") && message.contains("`restart`"), "{message}");
    }
    let message = Fake::new().call("bash", json!({ "command": "a\0b" })).await.expect_err("a NUL");
    assert!(message.contains("NUL"), "{message}");
}

#[tokio::test]
async fn the_time_out_is_what_was_asked_within_the_most() {
    for (asked, expected) in [(json!(1500), 1500), (json!(0), 120_000), (json!(null), 120_000), (json!(2000.0), 2000)] {
        let fake = Fake::new();
        fake.plays_exit(printed("ok"));
        fake.call("bash", json!({ "command": "x", "timeout_ms": asked })).await.expect("a result");
        assert_eq!(fake.orders()[0].timeout, Some(Duration::from_millis(expected)));
    }
    let message =
        Fake::new().call("bash", json!({ "command": "x", "timeout_ms": 3_600_001 })).await.expect_err("too long");
    assert!(message.contains("at most 3600000, got 3600001"), "{message}");
}

#[tokio::test]
async fn a_time_out_is_said_after_the_output_so_far() {
    let fake = Fake::new();
    fake.plays_exit(Exit { code: None, signal: Some(9), timed_out: true, ..printed("compiling…\n") });
    let message = fake.call("bash", json!({ "command": "make", "timeout_ms": 1500 })).await.expect_err("a time-out");
    assert!(message.starts_with("compiling…\n[timed out after 1500 ms and was killed"), "{message}");
    assert!(!message.contains("signal"), "{message}");
    assert!(message.contains("the shell with it; the next command starts in a fresh one"), "{message}");
    fake.plays_exit(Exit { code: Some(137), timed_out: true, ..printed("") });
    let message = fake.call("bash", json!({ "command": "make", "timeout_ms": 1000 })).await.expect_err("a time-out");
    assert_eq!(message, "[timed out after 1 s and was killed, the shell lives on. `timeout_ms` allows more time]");
}

#[tokio::test]
async fn a_lost_shell_is_told_before_the_output() {
    let told = says(Exit { shell_lost: true, ..printed("/workspace\n") }).await.expect("a result");
    assert!(told.starts_with("[the shell had ended since the last command"), "{told}");
    assert!(told.ends_with("]\n/workspace"), "{told}");
}

#[tokio::test]
async fn long_output_keeps_its_ends_and_says_what_is_missing() {
    let fake = Fake::new();
    fake.plays_exit(Exit { truncated: true, omitted_bytes: 12_345, ..printed("aaaaazzzzz") });
    let mut ctx = fake.ctx();
    ctx.limits = ToolLimits { kept_output_bytes: 10, ..ToolLimits::default() };
    let result = tool("bash").run(ctx, json!({ "command": "yes" })).await.expect("a result");
    let expected =
        "aaaaa\n[… 12345 bytes of output left out here; to see all of it, send it to a file and read that …]\nzzzzz";
    assert_eq!(result, ToolResult::text(expected));
    assert_eq!(fake.orders()[0].output_cap_bytes, 10);
}

#[tokio::test]
async fn output_is_passed_on_as_it_comes() {
    let fake = Fake::new();
    fake.plays_exit(printed("line\n"));
    let (send, mut receive) = mpsc::channel(4);
    let mut ctx = fake.ctx();
    ctx.progress = Some(send);
    let result = tool("bash").run(ctx, json!({ "command": "x" })).await.expect("a result");
    assert_eq!(result.content, [ToolContent::Text("line".to_owned())]);
    assert_eq!(receive.recv().await, Some(b"line\n".to_vec()));
    assert_eq!(receive.recv().await, None);
}
