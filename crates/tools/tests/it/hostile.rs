//! Files made to harm who reads them. That a test ends at all is half of what it asserts.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tenure_tools::ToolLimits;

use crate::fake::{Fake, tool};

fn fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    // SAFETY: the path is a string that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[tokio::test]
async fn fifos_sockets_and_devices_are_not_opened() {
    let fake = Fake::new();
    fifo(&fake.at("fifo"));
    symlink("fifo", fake.at("link")).expect("a link");
    let _listener = UnixListener::bind(fake.at("socket")).expect("a socket");
    for path in ["fifo", "link", "socket", "/dev/zero", "/dev/tty"] {
        for (name, input) in [
            ("read", json!({ "file_path": path })),
            ("read", json!({ "file_path": path, "view_range": [1, 2] })),
            ("edit", json!({ "file_path": path, "old_string": "a", "new_string": "b" })),
            ("write", json!({ "file_path": path, "content": "a" })),
            ("grep", json!({ "pattern": "a", "path": path })),
        ] {
            let told = fake.call(name, input).await;
            assert_eq!(told, Err(format!("{name}: {path}: not a regular file")));
        }
    }
}

#[tokio::test]
async fn walks_pass_over_what_can_block() {
    let fake = Fake::new();
    // Each of these would hold a walk that opens it.
    fs::create_dir_all(fake.at(".git/info")).expect("a directory");
    for name in ["fifo", ".gitignore", ".ignore", ".rgignore", ".git/info/exclude"] {
        fifo(&fake.at(name));
    }
    fake.put("file", "needle\n");
    let told = fake.call("grep", json!({ "pattern": "needle" })).await.expect("an answer");
    assert!(told.ends_with("/file:1:needle"), "{told}");
    let told = fake.call("glob", json!({ "pattern": "*" })).await.expect("an answer");
    assert_eq!(told.lines().count(), 5, "{told}");
}

#[tokio::test]
async fn symbolic_link_loops_end() {
    let fake = Fake::new();
    symlink("two", fake.at("one")).expect("a link");
    symlink("one", fake.at("two")).expect("a link");
    symlink(".", fake.at("here")).expect("a link");
    for (name, input) in [
        ("read", json!({ "file_path": "one" })),
        ("write", json!({ "file_path": "one", "content": "" })),
        ("write", json!({ "file_path": "one/below", "content": "" })),
        ("grep", json!({ "pattern": "x", "path": "one" })),
        ("glob", json!({ "pattern": "*", "path": "one" })),
    ] {
        let told = fake.call(name, input).await.expect_err("a loop");
        assert!(told.ends_with("too many levels of symbolic links"), "{told}");
    }
    fake.put("file", "x\n");
    let told = fake.call("grep", json!({ "pattern": "x" })).await.expect("an answer");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[tokio::test]
async fn huge_files_cost_neither_memory_nor_time() {
    let fake = Fake::new();
    // Sparse: a terabyte without a line feed.
    File::create(fake.at("huge")).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let told = fake.call("read", json!({ "file_path": "huge" })).await.expect_err("too large");
    assert!(told.contains("1099511627776 bytes"), "{told}");
    let told = fake.call("read", json!({ "file_path": "huge", "view_range": [1, 2] })).await.expect_err("too large");
    assert!(told.contains("more than the 262144"), "{told}");
    let told = fake.call("grep", json!({ "pattern": "x" })).await;
    assert_eq!(told, Ok("no matches".to_owned()));
}

#[tokio::test]
async fn a_line_over_the_heap_is_given_up_with_a_note() {
    let fake = Fake::new();
    let mut content = b"needle first\n".to_vec();
    content.resize(20 << 20, b'a');
    fake.put("long", &content);
    let told = fake.call("grep", json!({ "pattern": "needle" })).await.expect("an answer");
    assert!(told.contains("/long:1:needle first\n[1 file(s) not searched to the end"), "{told}");
}

/// A directory deeper than a path can be long.
fn deep(fake: &Fake) {
    let name = "d".repeat(200);
    fs::create_dir(fake.at("deep")).expect("a directory");
    let mut at = File::open(fake.at("deep")).expect("a directory");
    for _ in 0..60 {
        use std::os::fd::{AsRawFd, FromRawFd};
        let path = CString::new(name.as_str()).expect("no NUL");
        // SAFETY: the descriptor is open, the name ends with NUL, and what is opened is owned by the `File`.
        at = unsafe {
            assert_eq!(libc::mkdirat(at.as_raw_fd(), path.as_ptr(), 0o700), 0);
            let next = libc::openat(at.as_raw_fd(), path.as_ptr(), libc::O_DIRECTORY | libc::O_CLOEXEC);
            assert!(next >= 0);
            File::from_raw_fd(next)
        };
    }
}

#[tokio::test]
async fn deep_directories_end() {
    let fake = Fake::new();
    deep(&fake);
    fake.put("file", "needle\n");
    let told = fake.call("grep", json!({ "pattern": "needle" })).await.expect("an answer");
    assert!(told.ends_with("/file:1:needle\n[1 directory(s) could not be read]"), "{told}");
    let told = fake.call("glob", json!({ "pattern": "**/f*" })).await.expect("an answer");
    assert!(told.ends_with("/file"), "{told}");
}

#[tokio::test]
async fn a_search_out_of_time_gives_what_it_has_and_says_so() {
    let fake = Fake::new();
    fake.put("file", "needle\n");
    for (name, input) in [("grep", json!({ "pattern": "needle" })), ("glob", json!({ "pattern": "**" }))] {
        let mut ctx = fake.ctx();
        ctx.limits = ToolLimits { default_timeout: Duration::ZERO, ..ToolLimits::default() };
        let result = tool(name).run(ctx, input).await.expect("an answer");
        assert!(format!("{result:?}").contains("no matches\\n[stopped: out of time"), "{result:?}");
    }
}

#[tokio::test]
async fn patterns_that_explode_are_refused_or_fast() {
    let fake = Fake::new();
    fake.put("file", format!("{}!\n", "a".repeat(100_000)));
    let told = fake.call("grep", json!({ "pattern": "(a+)+$" })).await;
    assert_eq!(told, Ok("no matches".to_owned()));
    let told = fake.call("grep", json!({ "pattern": "((a{1000}){1000}){1000}" })).await.expect_err("too large");
    assert!(told.contains("size limit"), "{told}");
    let pattern = "{a,b}".repeat(2000);
    let told = fake.call("glob", json!({ "pattern": pattern })).await;
    assert!(told.is_ok() || told.is_err());
}
