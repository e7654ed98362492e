//! The tools in the real sandbox. Where isolation can't be had, a test says so and is skipped, but for CI, where it fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{Backend, Error, Native, NativeConfig, Sandbox, Spec};
use tenure_tools::{ToolContent, ToolCtx, ToolError, ToolLimits, ToolResult};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::fake::tool;

pub(crate) struct Real {
    backend: Native,
    sandbox: Arc<dyn Sandbox>,
    calls: u128,
    _directory: TempDir,
}

/// A directory for a test, where overlays can be. `scripts/rootless-tests` has one that an ordinary user may write to.
pub(crate) fn place() -> TempDir {
    let made = match std::env::var_os("TENURE_TEST_HELPER") {
        Some(_) => tempfile::tempdir(),
        None => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")),
    };
    made.expect("a directory")
}

/// The executable that plays the sandbox roles, of which that script has a copy too.
fn helper() -> PathBuf {
    std::env::var_os("TENURE_TEST_HELPER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tools-test-helper")), PathBuf::from)
}

pub(crate) const SESSION: SessionId = SessionId::from_bits(1);

impl Real {
    pub(crate) async fn open() -> Option<Self> {
        Self::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut NativeConfig)) -> Option<Self> {
        let directory = place();
        let mut config = NativeConfig::new(directory.path());
        config.executable = Some(helper());
        // Should the test die, its sandbox follows soon.
        config.linger = Duration::from_secs(1);
        change(&mut config);
        let backend = Native::new(config);
        match backend.open(Spec::new(SESSION)).await {
            Ok(opened) => Some(Self { backend, sandbox: opened.sandbox, calls: 0, _directory: directory }),
            Err(error @ Error::Refused { .. }) if std::env::var_os("CI").is_none() => {
                skipped(&error);
                None
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
    }

    pub(crate) fn backend(&self) -> &Native {
        &self.backend
    }

    /// Attaches to the session's sandbox again, or makes it anew.
    pub(crate) async fn reopen(&mut self) {
        self.sandbox = self.backend.open(Spec::new(SESSION)).await.expect("opened").sandbox;
    }

    pub(crate) fn sandbox(&self) -> &Arc<dyn Sandbox> {
        &self.sandbox
    }

    pub(crate) async fn close(self) {
        self.backend.destroy(SESSION).await.expect("destroyed");
        self.backend.shutdown().await.expect("shut down");
    }

    fn ctx(&mut self) -> ToolCtx {
        self.calls += 1;
        ToolCtx {
            workspace: Arc::clone(&self.sandbox),
            call: ItemId::from_bits(self.calls),
            asked_at: None,
            cancel: CancellationToken::new(),
            progress: None,
            limits: ToolLimits::default(),
        }
    }

    async fn call(&mut self, name: &str, input: Value) -> Result<String, String> {
        let ctx = self.ctx();
        said(tool(name).run(ctx, input).await)
    }

    pub(crate) async fn bash(&mut self, command: &str) -> Result<String, String> {
        self.call("bash", json!({ "command": command })).await
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skipped(error: &Error) {
    eprintln!("SKIPPED, no sandbox here: {error}");
}

fn said(result: Result<ToolResult, ToolError>) -> Result<String, String> {
    match result {
        Ok(ToolResult { content, is_error }) => match content.as_slice() {
            [ToolContent::Text(text)] if is_error => Err(text.clone()),
            [ToolContent::Text(text)] => Ok(text.clone()),
            other => panic!("expected one text, got {other:?}"),
        },
        Err(ToolError::Model(message)) => Err(message),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[tokio::test]
async fn the_file_tools_and_the_shell_see_the_same_files() {
    let Some(mut real) = Real::open().await else { return };
    let script = "a=0 b=1\nfor ((i = 0; i < 20; i++)); do ((c = a + b, a = b, b = c)); done\necho \"$a\"\n";
    let told = real.call("write", json!({ "file_path": "src/fib.sh", "content": script })).await;
    assert_eq!(told, Ok(format!("wrote {} bytes to src/fib.sh", script.len())));
    assert_eq!(real.bash("bash src/fib.sh").await, Ok("6765".to_owned()));
    let told = real
        .call("edit", json!({ "file_path": "/workspace/src/fib.sh", "old_string": "< 20", "new_string": "< 10" }))
        .await;
    assert_eq!(told, Ok("edited /workspace/src/fib.sh (1 replacement(s))".to_owned()));
    assert_eq!(real.bash("bash src/fib.sh; stat -c %U src/fib.sh").await, Ok("55\nagent".to_owned()));
    assert_eq!(real.call("glob", json!({ "pattern": "**/*.sh" })).await, Ok("/workspace/src/fib.sh".to_owned()));
    let told = real.call("grep", json!({ "pattern": "echo" })).await;
    assert_eq!(told, Ok("/workspace/src/fib.sh:3:echo \"$a\"".to_owned()));
    let told = real.call("read", json!({ "file_path": "src/fib.sh", "view_range": [3, 3] })).await;
    assert_eq!(told, Ok("echo \"$a\"".to_owned()));
    // Outside the workspace, and outside of what its user may write.
    real.bash("echo log > /tmp/build.log").await.expect("written");
    assert_eq!(real.call("read", json!({ "file_path": "/tmp/build.log" })).await, Ok("log\n".to_owned()));
    let told = real.call("write", json!({ "file_path": "/usr/new", "content": "" })).await.expect_err("not ours");
    assert!(told.starts_with("write: /usr/new: "), "{told}");
    real.close().await;
}

#[tokio::test]
async fn large_inputs_and_answers_arrive_whole() {
    let Some(mut real) = Real::open().await else { return };
    let text = "0123456789abcdef\n".repeat(200_000);
    real.call("write", json!({ "file_path": "large", "content": text })).await.expect("written");
    let told = real.bash("wc -c < large; (printf '\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\1\\0\\0\\0\\1'; head -c 3000000 /dev/urandom) > p.png; head -c 19000000 /dev/zero | (printf %%PDF-; cat) > d.pdf").await;
    assert_eq!(told, Ok("3400000".to_owned()));
    for (file, length) in [("p.png", 3_000_024), ("d.pdf", 19_000_005)] {
        let ctx = real.ctx();
        let result = tool("read").run(ctx, json!({ "file_path": file })).await.expect("shown");
        let [ToolContent::Image { bytes, .. } | ToolContent::Document { bytes, .. }] = result.content.as_slice() else {
            panic!("{result:?}")
        };
        assert_eq!(bytes.len(), length);
    }
    real.close().await;
}

#[tokio::test]
async fn long_output_is_kept_in_a_file_that_the_tools_read() {
    let Some(mut real) = Real::open().await else { return };
    let told = real.bash("cd /tmp; seq 1 200000").await.expect("numbers");
    assert!(told.starts_with("1\n2\n") && told.ends_with("\n200000") && told.len() < 25_000, "{}", told.len());
    let path =
        told.split("All of it is in ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a path").to_owned();
    assert!(path.starts_with("/workspace/.tenure/outputs/sevt_"), "{path}");
    let read = json!({ "file_path": path, "view_range": [123_456, 123_457] });
    assert_eq!(real.call("read", read).await, Ok("123456\n123457".to_owned()));
    let found = real.call("grep", json!({ "pattern": "^77777$", "path": path })).await.expect("found");
    assert!(found.contains("77777:77777"), "{found}");
    // What is too much even for that file: its beginning and a little of its end.
    let told = real.bash("yes 0123456789abcdef | head -c 30000000; echo; echo the end").await.expect("much");
    assert!(told.ends_with("the end"), "{}", told.len());
    let path =
        told.split("All of it is in ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a path").to_owned();
    let size: usize = real.bash(&format!("wc -c < {path}")).await.expect("a size").parse().expect("a number");
    assert!((10 << 20..(10 << 20) + 200).contains(&size), "{size}");
    let found = real.call("grep", json!({ "pattern": "bytes of output left out here", "path": path })).await;
    assert!(found.is_ok_and(|found| found.contains("19514")), "it says what is missing");
    // Links in the way are of no use, and so is a place that can't be written.
    let trap =
        "rm -rf /workspace/.tenure; mkdir -p /workspace/away; ln -s /workspace/away /workspace/.tenure; seq 1 200000";
    let told = real.bash(trap).await.expect("numbers");
    assert!(told.contains("couldn't be kept"), "{}", told.len());
    assert_eq!(real.bash("ls /workspace/away").await, Ok("(no output)".to_owned()));
    real.close().await;
}

#[tokio::test]
async fn the_shell_stays_until_it_is_restarted_or_lost() {
    let Some(mut real) = Real::open().await else { return };
    real.bash("mkdir -p d; cd d; x=5; f() { echo f$x; }").await.expect("done");
    assert_eq!(real.bash("pwd; f").await, Ok("/workspace/d\nf5".to_owned()));
    assert_eq!(real.bash("echo out; echo err >&2; (exit 3)").await, Err("out\nerr\n[exit code 3]".to_owned()));
    assert_eq!(real.call("bash", json!({ "restart": true })).await, Ok("bash session restarted".to_owned()));
    assert_eq!(real.bash("pwd; echo x=$x").await, Ok("/workspace\nx=".to_owned()));
    assert_eq!(real.bash("exit 4").await, Err("[exit code 4]".to_owned()));
    let told = real.bash("pwd").await.expect("a fresh shell");
    assert!(
        told.starts_with("[the shell had ended since the last command") && told.ends_with("]\n/workspace"),
        "{told}"
    );
    real.close().await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_and_the_shell_lives_on() {
    let Some(mut real) = Real::open().await else { return };
    real.bash("x=5").await.expect("done");
    let told = real
        .call("bash", json!({ "command": "echo begun; sleep 1000", "timeout_ms": 300 }))
        .await
        .expect_err("too long");
    // Between the two, bash says what was killed.
    assert!(
        told.starts_with("begun\n") && told.contains("\n[timed out after 300 ms and was killed, the shell lives on."),
        "{told}"
    );
    let told = real.bash("echo x=$x; pgrep sleep || echo none").await.expect("done");
    assert!(told.ends_with("x=5\nnone"), "{told}");
    real.close().await;
}

#[tokio::test]
async fn a_cancelled_command_is_killed_with_all_it_started() {
    let Some(mut real) = Real::open().await else { return };
    let (send, mut receive) = mpsc::channel(8);
    let mut ctx = real.ctx();
    ctx.progress = Some(send);
    let cancel = ctx.cancel.clone();
    let running = tokio::spawn(tool("bash").run(ctx, json!({ "command": "setsid sleep 1000 & echo begun; wait" })));
    assert_eq!(receive.recv().await, Some(b"begun\n".to_vec()));
    cancel.cancel();
    let told = said(running.await.expect("no panic")).expect_err("cancelled");
    assert!(
        told.starts_with("begun\n") && told.contains("\n[cancelled before it ended; what it had started was killed"),
        "{told}"
    );
    // Bash may say only now what was killed.
    let told = real.bash("pgrep sleep || echo none").await.expect("done");
    assert!(
        told == "none" || told.ends_with("\nnone") && !told.lines().any(|line| line.parse::<u32>().is_ok()),
        "{told}"
    );
    real.close().await;
}

#[tokio::test]
async fn a_call_that_is_run_again_gives_the_result_it_had() {
    let Some(mut real) = Real::open().await else { return };
    let ctx = real.ctx();
    for _ in 0..2 {
        let told = said(tool("bash").run(ctx.clone(), json!({ "command": "echo line >> log; wc -l < log" })).await);
        assert_eq!(told, Ok("1".to_owned()));
    }
    real.close().await;
}

#[tokio::test]
async fn hostile_files_hold_nothing_up() {
    let Some(mut real) = Real::open().await else { return };
    real.bash("mkdir .git; mkfifo .gitignore .ignore pipe; ln -s . here; truncate -s 9G huge; echo needle > file")
        .await
        .expect("made");
    assert_eq!(real.call("grep", json!({ "pattern": "needle" })).await, Ok("/workspace/file:1:needle".to_owned()));
    assert_eq!(
        real.call("read", json!({ "file_path": "pipe" })).await,
        Err("read: pipe: not a regular file".to_owned())
    );
    let told = real.call("read", json!({ "file_path": "huge" })).await.expect_err("too large");
    assert!(told.contains("9663676416 bytes"), "{told}");
    let told = real.call("grep", json!({ "pattern": "x", "path": "/proc" })).await;
    assert!(told.is_ok(), "{told:?}");
    real.close().await;
}
