//! What differs between a session's files and what they were. The sandbox is a fake one whose files are real.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};
use tenure_core::id::SessionId;
use tenure_engine::Config;

use crate::support::{TestServer, engine_config};

struct Place {
    server: TestServer,
    session: String,
    path: String,
    /// What stands for `/workspace`.
    directory: PathBuf,
}

impl Place {
    async fn new() -> Self {
        Self::on(TestServer::start().await).await
    }

    async fn on(server: TestServer) -> Self {
        let write = "{tools: [{name: bash, input: {command: write}}]}";
        let agent = server.agent("worker", &[write, "text: done"]).await;
        let session = server.session(&agent).await;
        let directory = server.engine.backend.workspace(SessionId::parse(&session).unwrap());
        let path = format!("/v1/sessions/{session}");
        Self { server, session, path, directory }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.directory.join(name), content).unwrap();
    }

    async fn keep(&self, name: &str) {
        self.server.post(&format!("{}/snapshots", self.path), json!({"name": name})).await.ok();
    }

    async fn diff(&self, query: &str) -> Value {
        self.server.get(&format!("{}/workspace/diff?{query}", self.path)).await.ok()
    }

    async fn refused(&self, query: &str, status: u16) -> String {
        self.server.get(&format!("{}/workspace/diff?{query}", self.path)).await.problem(status)
    }

    /// `change path` of each.
    fn changes(&self, diff: &Value) -> Vec<String> {
        // Each fake sandbox has a directory of its own beside the others.
        let beside = format!("{}/", self.directory.parent().unwrap().display());
        let text = |difference: &Value| {
            let (change, path) = (difference["change"].as_str().unwrap(), difference["path"].as_str().unwrap());
            let (_, path) = path.strip_prefix(&beside).and_then(|path| path.split_once('/')).unwrap();
            format!("{change} {path}")
        };
        diff["data"].as_array().unwrap().iter().map(text).collect()
    }
}

#[tokio::test]
async fn whatever_differs_is_told_in_order() {
    let place = Place::new().await;
    let at = |name: &str| place.directory.join(name);
    for directory in ["gone", "gone/deep", "swapped", "same"] {
        std::fs::create_dir(at(directory)).unwrap();
    }
    for name in ["gone/deep/file", "edited", "touched", "made-executable", "swapped/file", "same/file", "z"] {
        place.write(name, "one\ntwo\nthree\n");
    }
    symlink("same", at("link")).unwrap();
    place.keep("before").await;
    std::fs::remove_dir_all(at("gone")).unwrap();
    std::fs::remove_dir_all(at("swapped")).unwrap();
    std::fs::create_dir(at("a-new")).unwrap();
    place.write("a-new/file", "new\n");
    place.write("a-new.txt", "");
    place.write("edited", "one\n2\nthree\n");
    // Written anew, with what it had.
    place.write("touched", "one\ntwo\nthree\n");
    std::fs::set_permissions(at("made-executable"), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.write("swapped", "a file now");
    std::fs::remove_file(at("link")).unwrap();
    symlink("elsewhere", at("link")).unwrap();

    let expected = [
        "added a-new",
        "added a-new/file",
        "added a-new.txt",
        "modified edited",
        "removed gone",
        "removed gone/deep",
        "removed gone/deep/file",
        "modified link",
        "mode_changed made-executable",
        "type_changed swapped",
        "removed swapped/file",
    ];
    let diff = place.diff("from=before&content=patch").await;
    assert_eq!(place.changes(&diff), expected);
    assert_eq!((&diff["from"]["name"], &diff["to"]), (&json!("before"), &json!({"type": "now"})));
    let of = |name: &str| {
        let is = |difference: &&Value| difference["path"].as_str().unwrap().ends_with(name);
        diff["data"].as_array().unwrap().iter().find(is).unwrap()
    };
    let edited = of("/edited");
    assert_eq!(edited["patch"], "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n");
    assert_eq!((&edited["added_lines"], &edited["removed_lines"]), (&json!(1), &json!(1)));
    assert_eq!((&edited["before"]["size"], &edited["after"]["size"]), (&json!(14), &json!(12)));
    assert_eq!(of("/a-new/file")["patch"], "@@ -0,0 +1 @@\n+new\n");
    assert_eq!((&of("/a-new/file")["before"], &of("/a-new")["content"]), (&Value::Null, &Value::Null));
    assert_eq!(of("/gone/deep/file")["removed_lines"], 3);
    assert_eq!(
        (&of("/link")["before"]["target"], &of("/link")["after"]["target"]),
        (&json!("same"), &json!("elsewhere"))
    );
    let mode = of("/made-executable");
    assert_eq!(
        (&mode["before"]["mode"], &mode["after"]["mode"], &mode["patch"]),
        (&json!("0644"), &json!("0755"), &Value::Null)
    );
    assert_eq!(
        (&of("/swapped")["before"]["type"], &of("/swapped")["after"]["type"]),
        (&json!("directory"), &json!("file"))
    );

    // The other way round, and page by page.
    let back: Vec<String> = place.changes(&place.diff("from=before&to=before").await);
    assert!(back.is_empty(), "{back:?}");
    for limit in 1..=expected.len() {
        let (mut seen, mut page) = (Vec::new(), String::new());
        loop {
            let part = place.diff(&format!("from=before&limit={limit}{page}")).await;
            seen.extend(place.changes(&part));
            match part["next_page"].as_str() {
                Some(next) => page = format!("&page={next}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{limit} at a time");
    }
    // A part of it.
    assert_eq!(place.changes(&place.diff("from=before&path=gone").await), expected[4..7]);
    assert_eq!(place.changes(&place.diff("from=before&path=edited").await), ["modified edited"]);
    assert_eq!(place.changes(&place.diff("from=before&path=same").await), [] as [&str; 0]);
    let counted = place.diff("from=before&path=edited&content=count").await;
    assert_eq!((&counted["data"][0]["added_lines"], &counted["data"][0]["patch"]), (&json!(1), &Value::Null));
    let named = place.diff("from=before&path=edited").await;
    assert_eq!((&named["data"][0]["content"], &named["data"][0]["added_lines"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn what_is_no_text_or_oddly_named_is_told_as_well() {
    let place = Place::new().await;
    place.write("bytes", b"a\0b");
    place.write("large", vec![b'x'; (1 << 20) + 1]);
    place.keep("before").await;
    place.write("bytes", b"a\0c");
    place.write("large", vec![b'y'; (1 << 20) + 1]);
    place.write("latin", b"caf\xe9\n");
    place.write("long", "line\n".repeat(100_000));
    let odd = place.directory.join(std::ffi::OsStr::from_bytes(b"odd\xff\\\nname"));
    std::fs::write(odd, "odd").unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.directory.join("pipe")).status().unwrap();
    assert!(made.success());
    let diff = place.diff("from=before&content=patch").await;
    let expected =
        ["modified bytes", "modified large", "added latin", "added long", "added odd\\xff\\\\\nname", "added pipe"];
    assert_eq!(place.changes(&diff), expected);
    let content: Vec<&Value> = diff["data"].as_array().unwrap().iter().map(|one| &one["content"]).collect();
    assert_eq!(
        content,
        [&json!("binary"), &json!("too_large"), &json!("binary"), &json!("text"), &json!("text"), &Value::Null]
    );
    assert_eq!((&diff["data"][3]["added_lines"], &diff["data"][3]["patch"]), (&json!(100_000), &Value::Null));
    assert_eq!((&diff["data"][4]["escaped"], &diff["data"][5]["after"]["type"]), (&json!(true), &json!("other")));
    // A directory that got lost is told with all that was in it; one named by bytes is found.
    let query = "from=before&path=odd%5Cxff%5C%5C%0Aname&escaped=true";
    assert_eq!(place.changes(&place.diff(query).await), [expected[4]]);
}

#[tokio::test]
async fn without_a_name_it_is_the_last_change_that_is_told() {
    let place = Place::new().await;
    let diff = place.diff("").await;
    assert_eq!((&diff["from"]["type"], &diff["data"]), (&json!("start"), &json!([])), "nothing was written yet");
    place.write("first", "1");
    // A turn with a call, at whose end the files are kept.
    place.server.say(&place.session, "go").await;
    place.server.until(&place.session, 0, "session.status_idle").await;
    place.server.engine.backend.wait_snapshots(SessionId::parse(&place.session).unwrap(), 1).await;
    let diff = loop {
        // Until the log has it, it is the beginning that counts in either case.
        let diff = place.diff("").await;
        assert_eq!((place.changes(&diff), &diff["from"]["type"]), (vec!["added first".to_owned()], &json!("start")));
        if place.server.get(&format!("{}/snapshots", place.path)).await.ok()["data"].as_array().unwrap().len() == 1 {
            break diff;
        }
    };
    assert_eq!(diff["to"], json!({"type": "now"}));
    // Somebody writes: since then.
    place.server.post(&format!("{}/workspace/move", place.path), json!({"from": "first", "to": "moved"})).await.ok();
    let diff = place.diff("").await;
    assert_eq!(place.changes(&diff), ["removed first", "added moved"]);
    assert_eq!(diff["from"]["type"], "snapshot");
    let id = diff["from"]["id"].as_str().unwrap().to_owned();
    place.keep("second").await;
    assert_eq!(place.changes(&place.diff("").await), ["removed first", "added moved"]);
    assert_eq!(place.changes(&place.diff("to=second").await), ["removed first", "added moved"]);
    assert_eq!(place.changes(&place.diff(&format!("to={id}")).await), ["added first"]);
    assert_eq!(place.changes(&place.diff(&format!("from=second&to={id}")).await), ["added first", "removed moved"]);
    assert_eq!(place.changes(&place.diff("from=start&to=second").await), ["added moved"]);
    let at = place.diff("from=second").await["from"]["at"].as_u64().unwrap();
    assert_eq!(place.diff(&format!("from={at}")).await["from"]["name"], "second");
    // What was made to look at them is gone.
    let session = SessionId::parse(&place.session).unwrap();
    place.server.engine.backend.wait_only(session).await;
}

/// The session's own sandbox is all that there is room for, and it is one side of what is compared, or goes on being there.
#[tokio::test]
async fn files_are_compared_where_there_is_room_for_one_sandbox() {
    let config = Config { max_sandboxes: 1, ..engine_config() };
    let place = Place::on(TestServer::of_engine(config).await).await;
    place.write("f", "one");
    place.keep("first").await;
    place.write("f", "two");
    place.keep("second").await;
    place.write("g", "new");
    assert_eq!(place.changes(&place.diff("from=first").await), ["modified f", "added g"]);
    assert_eq!(place.changes(&place.diff("from=first&to=second").await), ["modified f"]);
    let [one, other, third] =
        ["from=first", "from=start&to=second", "from=first&to=second"].map(|query| place.diff(query));
    let (one, other, third) = tokio::join!(one, other, third);
    assert_eq!([one, other, third].map(|diff| place.changes(&diff).len()), [2, 1, 1]);
    place.server.engine.backend.wait_only(SessionId::parse(&place.session).unwrap()).await;
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused() {
    let place = Place::new().await;
    place.write("f", "x");
    assert!(place.refused("from=before", 400).await.contains("it has no named snapshots"));
    place.keep("before").await;
    place.keep("after").await;
    let message = place.refused("from=befor", 400).await;
    assert!(message.starts_with("from: ") && message.contains("before, after"), "{message}");
    assert!(place.refused("to=none", 400).await.starts_with("to: "));
    for (query, field) in [
        ("from=999999", "from"),
        ("from=snap_x", "from"),
        ("content=all", "content"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("page=x", "page"),
        ("escaped=perhaps", "escaped"),
    ] {
        let message = place.refused(query, 400).await;
        assert!(message.starts_with(&format!("{field}: ")), "{query}: {message}");
    }
    place.refused("path=none", 404).await;
    for path in ["%00", "a%5Cz&escaped=1"] {
        place.refused(&format!("path={path}"), 400).await;
    }
    place.refused(&format!("path={}", "x/".repeat(3_000)), 400).await;
    place.server.get("/v1/sessions/sesn_00000000000000000000000000000000/workspace/diff").await.problem(404);
}

#[tokio::test]
async fn an_archived_sessions_files_can_be_compared_as_long_as_they_are_kept() {
    let place = Place::new().await;
    place.write("f", "one");
    place.keep("before").await;
    place.write("f", "two");
    place.server.post(&format!("{}/archive", place.path), json!({})).await.ok();
    place.server.until(&place.session, 0, "session.status_terminated").await;
    assert_eq!(place.changes(&place.diff("from=before").await), ["modified f"]);
    let place = Place::new().await;
    place.write("f", "one");
    place.keep("before").await;
    place.server.post(&format!("{}/end", place.path), json!({"keep": "log"})).await.ok();
    place.server.until(&place.session, 0, "session.status_terminated").await;
    place.refused("from=before", 410).await;
    place.refused("to=before", 410).await;
}
