//! The files of a session, over HTTP. The sandbox is a fake one whose files are real.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use futures_util::stream;
use serde_json::{Value, json};

use crate::support::{Answer, TestServer};

pub(crate) struct Place {
    pub(crate) server: TestServer,
    session: String,
    pub(crate) path: String,
    /// What stands for `/workspace`.
    pub(crate) directory: PathBuf,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let server = TestServer::start().await;
        let agent = server.agent("worker", &["text: done"]).await;
        let session = server.session(&agent).await;
        let path = format!("/v1/sessions/{session}/workspace");
        let id = tenure_core::id::SessionId::parse(&session).unwrap();
        let directory = server.engine.backend.workspace(id);
        Self { server, session, path, directory }
    }

    pub(crate) async fn put(&self, query: &str, body: impl Into<Body>) -> Answer {
        let uri = format!("{}/file?{query}", self.path);
        let request = Request::builder().method(Method::PUT).uri(uri).body(body.into()).unwrap();
        self.server.answer(request).await
    }

    pub(crate) async fn get(&self, query: &str, headers: &[(&'static str, &str)]) -> Answer {
        let uri = format!("{}/file?{query}", self.path);
        self.server.answer(crate::support::request(Method::GET, &uri, None, headers)).await
    }

    async fn list(&self, query: &str) -> Value {
        self.server.get(&format!("{}?{query}", self.path)).await.ok()
    }

    pub(crate) async fn names(&self, query: &str) -> Vec<String> {
        let listed = self.list(query).await;
        let root = format!("{}/", self.directory.display());
        let name = |entry: &Value| entry["path"].as_str().unwrap().trim_start_matches(&root).to_owned();
        listed["data"].as_array().unwrap().iter().map(name).collect()
    }
}

#[tokio::test]
async fn a_file_is_written_listed_read_moved_and_removed() {
    let place = Place::new().await;
    assert_eq!(
        place.list("").await,
        json!({"data": [], "next_page": null}),
        "a session without a sandbox has no files"
    );
    let written = place.put("path=notes.txt&mode=600", "hello").await.ok();
    assert_eq!((&written["created"], &written["file"]["mode"]), (&json!(true), &json!("0600")));
    let written = place.put("path=notes.txt", "hello again").await.ok();
    assert_eq!((&written["created"], &written["file"]["mode"]), (&json!(false), &json!("0600")));
    place.put("path=a/b/deep.json", "{}").await.problem(404);
    place.put("path=a/b/deep.json&parents=true", "{}").await.ok();
    assert_eq!(place.names("").await, ["a", "notes.txt"]);
    assert_eq!(place.names("recursive=true").await, ["a", "a/b", "a/b/deep.json", "notes.txt"]);
    assert_eq!(place.names("path=a/b").await, ["a/b/deep.json"]);
    let read = place.get("path=a/b/deep.json", &[]).await;
    assert_eq!((read.header("content-type"), &read.body[..]), (Some("application/json"), &b"{}"[..]));
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));

    let moving = format!("{}/move", place.path);
    place.server.post(&moving, json!({"from": "notes.txt", "to": "a"})).await.problem(409);
    place.server.post(&moving, json!({"from": "none", "to": "b"})).await.problem(404);
    place.server.post(&moving, json!({"from": "notes.txt", "to": "c/d", "parents": true})).await.ok();
    place.get("path=notes.txt", &[]).await.problem(404);
    assert_eq!(place.get("path=c/d", &[]).await.body, "hello again");

    let remove = |query: &str| format!("{}/file?{query}", place.path);
    place.server.delete(&remove("path=a")).await.problem(409);
    place.server.delete(&remove("path=a&recursive=true")).await.ok();
    place.server.delete(&remove("path=a&recursive=true")).await.problem(404);
    for whole in [".", "..", "/"] {
        place.server.delete(&remove(&format!("path={whole}&recursive=true"))).await.problem(400);
    }
    assert_eq!(place.names("recursive=1").await, ["c", "c/d"]);
    assert!(
        std::fs::read_dir(&place.directory).unwrap().all(|entry| entry.unwrap().file_name() == "c"),
        "nothing else"
    );
}

#[tokio::test]
async fn parts_and_known_files() {
    let place = Place::new().await;
    place.put("path=f", "0123456789").await.ok();
    let tag = place.get("path=f", &[]).await.header("etag").unwrap().to_owned();
    for (range, part, shown) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        for headers in [&[("range", range)][..], &[("range", range), ("if-range", &tag)]] {
            let read = place.get("path=f", headers).await;
            assert_eq!(
                (read.status, read.header("content-range")),
                (StatusCode::PARTIAL_CONTENT, Some(shown)),
                "{range}"
            );
            assert_eq!(read.body, part);
        }
    }
    for odd in ["bytes=3-1", "lines=1-2", "bytes=0-1,3-4", "bytes=x"] {
        assert_eq!(place.get("path=f", &[("range", odd)]).await.body, "0123456789", "{odd}");
    }
    let beyond = place.get("path=f", &[("range", "bytes=10-")]).await;
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    beyond.problem(416);
    assert_eq!(place.get("path=f", &[("if-none-match", &tag)]).await.status, StatusCode::NOT_MODIFIED);
    place.put("path=f", "9876543210").await.ok();
    let read = place.get("path=f", &[("if-none-match", &tag)]).await;
    assert_eq!((read.status, &read.body[..]), (StatusCode::OK, &b"9876543210"[..]));
    let read = place.get("path=f", &[("range", "bytes=0-3"), ("if-range", &tag)]).await;
    assert_eq!((read.status, &read.body[..]), (StatusCode::OK, &b"9876543210"[..]));
    let head =
        place.server.answer(crate::support::request(Method::HEAD, &format!("{}/file?path=f", place.path), None, &[]));
    let head = head.await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("10"), 0));
}

#[tokio::test]
async fn pages_go_on_where_they_ended_whatever_changes() {
    let place = Place::new().await;
    for name in ["b/1", "b/2", "a", "b.c", "c/d/e", "c/d/f"] {
        place.put(&format!("path={name}&parents=1"), name.to_owned()).await.ok();
    }
    let all = place.names("recursive=1").await;
    assert_eq!(all, ["a", "b", "b/1", "b/2", "b.c", "c", "c/d", "c/d/e", "c/d/f"]);
    for limit in 1..10 {
        let (mut seen, mut page) = (Vec::new(), String::new());
        loop {
            let query = format!("recursive=1&limit={limit}&page={page}");
            seen.extend(place.names(&query).await);
            match place.list(&query).await["next_page"].as_str() {
                Some(next) => page = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, all, "{limit} at a time");
    }
    let first = place.list("recursive=1&limit=3").await;
    std::fs::remove_dir_all(place.directory.join("b")).unwrap();
    let rest = place.names(&format!("recursive=1&page={}", first["next_page"].as_str().unwrap())).await;
    assert_eq!(rest, ["b.c", "c", "c/d", "c/d/e", "c/d/f"]);
    for wrong in ["page=x", "page=page_", "limit=0", "limit=1001", "recursive=maybe"] {
        place.server.get(&format!("{}?{wrong}", place.path)).await.problem(400);
    }
}

#[tokio::test]
async fn strange_names_and_hostile_trees_hold_nothing_up() {
    let place = Place::new().await;
    let odd = place.directory.join(std::ffi::OsStr::from_bytes(b"odd\xff\\name"));
    std::fs::write(&odd, "odd").unwrap();
    symlink("/etc/\u{202e}passwd\nx", place.directory.join("link")).unwrap();
    symlink("loop", place.directory.join("loop")).unwrap();
    rustix_fifo(&place.directory.join("pipe"));
    let listed = place.list("").await;
    let of = |name: &str| {
        let found =
            listed["data"].as_array().unwrap().iter().find(|entry| entry["path"].as_str().unwrap().contains(name));
        found.unwrap_or_else(|| panic!("no {name} in {listed}")).clone()
    };
    assert!(of("odd")["path"].as_str().unwrap().ends_with("/odd\\xff\\\\name"));
    assert_eq!((&of("odd")["escaped"], &of("pipe")["escaped"]), (&json!(true), &json!(false)));
    assert_eq!((&of("link")["type"], &of("link")["target"]), (&json!("symlink"), &json!("/etc/\u{202e}passwd\nx")));
    assert_eq!(of("pipe")["type"], "other");
    assert_eq!(place.get("path=odd%5Cxff%5C%5Cname&escaped=true", &[]).await.body, "odd");
    for (path, status) in
        [("pipe", 409), ("loop", 400), ("none", 404), (".", 409), ("", 400), ("%00", 400), ("a%5Cz&escaped=1", 400)]
    {
        place.get(&format!("path={path}"), &[]).await.problem(status);
    }
    place.put("path=pipe", "x").await.problem(409);
    place.put("path=loop", "x").await.problem(400);
    place.put(&format!("path={}", "x".repeat(300)), "x").await.problem(400);
    // A tree that is deeper than any path can say.
    let mut deep = std::fs::File::open(&place.directory).unwrap();
    for _ in 0..3_000 {
        deep = deeper(&deep);
    }
    assert!(place.names("recursive=1&limit=1000").await.len() > 100);
    place.server.delete(&format!("{}/file?path=d&recursive=1", place.path)).await.ok();
    assert!(!place.directory.join("d").exists());
}

fn deeper(at: &std::fs::File) -> std::fs::File {
    use std::os::fd::AsRawFd as _;
    let below = format!("/proc/self/fd/{}/d", at.as_raw_fd());
    std::fs::create_dir(&below).unwrap();
    std::fs::File::open(&below).unwrap()
}

fn rustix_fifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn large_files_go_through_in_pieces_and_a_broken_upload_leaves_nothing() {
    let place = Place::new().await;
    let pieces = || (0..300u32).map(|n| Bytes::from(vec![n as u8; 100_000]));
    let body = Body::from_stream(stream::iter(pieces().map(Ok::<_, std::io::Error>)));
    let written = place.put("path=large", body).await.ok();
    assert_eq!(written["file"]["size"], 30_000_000);
    let read = place.get("path=large", &[]).await;
    assert!(read.body == pieces().flatten().collect::<Bytes>());
    let broken = pieces().take(5).map(Ok).chain([Err(std::io::Error::other("gone"))]);
    place.put("path=large", Body::from_stream(stream::iter(broken))).await.problem(400);
    assert_eq!(place.get("path=large", &[]).await.body.len(), 30_000_000);
    // What was begun is cleared away by the one that had begun it.
    while std::fs::read_dir(&place.directory).unwrap().count() > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_may_be_forbidden() {
    let place = Place::new().await;
    let sealed = place.directory.join("sealed");
    std::fs::create_dir(&sealed).unwrap();
    std::fs::set_permissions(&sealed, std::fs::Permissions::from_mode(0o500)).unwrap();
    // To root, as whom this may run, nothing is forbidden.
    let status = place.put("path=sealed/x", "x").await.status;
    assert!([200, 403].contains(&status.as_u16()), "{status}");
}

#[tokio::test]
async fn files_outlive_a_session_as_long_as_they_are_kept() {
    let place = Place::new().await;
    place.put("path=f", "kept").await.ok();
    let path = format!("/v1/sessions/{}", place.session);
    place.server.post(&format!("{path}/archive"), json!({})).await.ok();
    place.server.until(&place.session, 0, "session.status_terminated").await;
    assert_eq!(place.get("path=f", &[]).await.body, "kept");
    place.put("path=f", "changed").await.problem(409);
    place.server.delete(&path).await.ok();
    place.get("path=f", &[]).await.problem(404);

    let place = Place::new().await;
    place.put("path=f", "not kept").await.ok();
    let path = format!("/v1/sessions/{}", place.session);
    place.server.post(&format!("{path}/end"), json!({"keep": "log"})).await.ok();
    place.server.until(&place.session, 0, "session.status_terminated").await;
    place.get("path=f", &[]).await.problem(410);
    place.put("path=f", "changed").await.problem(410);
    place.server.post(&format!("{path}/exec"), json!({"command": "x"})).await.problem(410);
}

#[tokio::test]
async fn a_visit_is_no_part_of_the_session() {
    let place = Place::new().await;
    place.put("path=f", "x").await.ok();
    assert_eq!(place.server.engine.backend.opened(), 1);
    let now = place.server.get(&format!("/v1/sessions/{}", place.session)).await.ok();
    assert_eq!(now["tenure"]["sandbox"], "not_yet", "{now}");
    // The session takes it over.
    let agent = place.server.agent("runner", &["{tools: [{name: bash, input: {command: ls}}]}", "text: done"]).await;
    let session = place.server.session(&agent).await;
    place.server.get(&format!("/v1/sessions/{session}/workspace")).await.ok();
    place.server.say(&session, "go").await;
    place.server.until(&session, 0, "session.status_idle").await;
    assert_eq!(place.server.engine.backend.opened(), 2, "one for each session");
    let now = place.server.get(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(now["tenure"]["sandbox"], "running");
}

/// An entry of an archive: its name, its kind, and its content or where it leads.
type Entry<'e> = (&'e [u8], tar::EntryType, &'e str);

/// A tar archive, entry by entry as it is given.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        let (links, size) = match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => (true, 0),
            _ => (false, content.len()),
        };
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        if links {
            header.set_link_name_literal(content).unwrap();
        }
        header.set_entry_type(*kind);
        header.set_size(size as u64);
        header.set_mode(0o640);
        header.set_cksum();
        bytes.extend(header.as_bytes());
        if size > 0 {
            bytes.extend(content.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.extend([0; 1024]);
    bytes
}

impl Place {
    async fn unpack(&self, query: &str, body: impl Into<Body>) -> Answer {
        let uri = format!("{}/archive?{query}", self.path);
        let request = Request::builder().method(Method::PUT).uri(uri).body(body.into()).unwrap();
        self.server.answer(request).await
    }
}

#[tokio::test]
async fn archives_go_in_and_come_out() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let place = Place::new().await;
    place.put("path=a/kept&parents=1", "kept").await.ok();
    place.put("path=a/file", "old").await.ok();
    let given = archive(&[
        (b"a/", Directory, ""),
        (b"a/file", Regular, "new"),
        (b"./b/c/deep", Regular, "deep"),
        (b"same", Link, "a/file"),
        (b"link", Symlink, "/etc/passwd"),
        (b"odd\xff", Regular, "odd"),
    ]);
    place.unpack("", given.clone()).await.ok();
    let names = place.names("recursive=1").await;
    assert_eq!(names, ["a", "a/file", "a/kept", "b", "b/c", "b/c/deep", "link", "odd\\xff", "same"], "{names:?}");
    assert_eq!(place.get("path=same", &[]).await.body, "new");
    // Packed, and into a directory that has to be made.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, &given).unwrap();
    let packed = packed.finish().unwrap();
    place.unpack("path=d/e", packed.clone()).await.problem(404);
    place.unpack("path=d/e&parents=1", packed).await.ok();
    assert_eq!(place.get("path=d/e/b/c/deep", &[]).await.body, "deep");

    let packed = zstd::encode_all(given.as_slice(), 0).unwrap();
    place.unpack("path=z&parents=1", packed).await.ok();
    assert_eq!(place.get("path=z/b/c/deep", &[]).await.body, "deep");

    for (format, kind) in
        [("tar", "application/x-tar"), ("tar.gz", "application/gzip"), ("tar.zst", "application/zstd")]
    {
        let uri = format!("{}/archive?path=d&format={format}", place.path);
        let answer = place.server.get(&uri).await;
        assert_eq!(answer.header("content-type"), Some(kind));
        let body: Box<dyn std::io::Read> = match format {
            "tar" => Box::new(&answer.body[..]),
            "tar.zst" => Box::new(zstd::Decoder::new(&answer.body[..]).unwrap()),
            _ => Box::new(flate2::read::GzDecoder::new(&answer.body[..])),
        };
        let mut read = tar::Archive::new(body);
        let names: Vec<String> = read
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned())
            .collect();
        let expected = ["e", "e/a", "e/a/file", "e/b", "e/b/c", "e/b/c/deep", "e/link", "e/odd\u{fffd}", "e/same"];
        assert_eq!(names.iter().map(|name| name.trim_end_matches('/')).collect::<Vec<_>>(), expected);
    }
    place.server.get(&format!("{}/archive?path=none", place.path)).await.problem(404);
    place.server.get(&format!("{}/archive?path=same", place.path)).await.problem(409);
    place.server.get(&format!("{}/archive?format=zip", place.path)).await.problem(400);
}

#[tokio::test]
async fn archives_that_play_tricks_are_refused_whole() {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let place = Place::new().await;
    let outside = place.directory.parent().unwrap().join(format!("outside-{}", std::process::id()));
    let outside_name = format!("../outside-{}", std::process::id());
    let absolute = outside.to_str().unwrap().to_owned();
    // Where a link that is followed would lead.
    let elsewhere = tempfile::tempdir().unwrap();
    let away = elsewhere.path().to_str().unwrap().to_owned();
    let good: (&[u8], _, &str) = (b"good", Regular, "good");
    let tricks: Vec<(&str, Vec<Entry<'_>>)> = vec![
        ("outside", vec![(outside_name.as_bytes(), Regular, "x")]),
        ("..", vec![(b"a/../../x", Regular, "x")]),
        ("outside", vec![(absolute.as_bytes(), Regular, "x")]),
        ("link/x", vec![(b"link", Symlink, &away), (b"link/x", Regular, "x")]),
        ("link/x", vec![(b"link", Symlink, ".."), (b"link/x", Regular, "x")]),
        ("dir: ", vec![(b"dir/", Directory, ""), (b"dir", Symlink, ".."), (b"dir/x", Regular, "x")]),
        ("hard", vec![(b"hard", Link, "/etc/passwd")]),
        ("hard", vec![(b"hard", Link, "../x")]),
        ("hard", vec![(b"hard", Link, "none")]),
        ("hard", vec![(b"link", Symlink, "/etc/passwd"), (b"hard", Link, "link")]),
        ("null", vec![(b"null", Char, "")]),
        ("disk", vec![(b"disk", Block, "")]),
        ("pipe", vec![(b"pipe", Fifo, "")]),
    ];
    for (named, entries) in tricks {
        let entries = [vec![good], entries].concat();
        let message = place.unpack("", archive(&entries)).await.problem(400);
        assert!(message.contains(named), "{message} names {named}");
        assert_eq!(place.names("recursive=1").await, [] as [String; 0], "{message}");
        assert!(!outside.exists() && std::fs::read_dir(elsewhere.path()).unwrap().next().is_none());
    }
    // A later entry of the same name wins, and neither is written through.
    let away = format!("{away}/x");
    let twice = archive(&[(b"f", Symlink, &away), (b"f", Regular, "f")]);
    place.unpack("", twice).await.ok();
    assert_eq!(place.get("path=f", &[]).await.body, "f");
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none());
    // Neither what is cut short, nor what is no archive, nor what swells.
    let whole = archive(&[good, (b"more", Regular, &"x".repeat(2_000))]);
    place.unpack("path=new/deep&parents=1", whole[..1_600].to_vec()).await.problem(400);
    let broken = vec![Ok(whole.clone()), Err(std::io::Error::other("the client went away"))];
    place.unpack("path=new/deep&parents=1", Body::from_stream(stream::iter(broken))).await.problem(400);
    // Nor the directories they were to come into, as soon as who had made them has cleared away.
    while std::fs::read_dir(&place.directory).unwrap().count() > 1 {
        tokio::task::yield_now().await;
    }
    std::fs::create_dir(place.directory.join("new")).unwrap();
    let message = place.unpack("path=new", vec![b'x'; 4_096]).await.problem(400);
    assert_eq!(message, "the archive can't be read: expected tar, as it is or packed with gzip or zstd");
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(40 << 20);
    header.set_cksum();
    let zeros = std::io::Read::take(std::io::repeat(0), 40 << 20);
    let mut swelling = std::io::Read::chain(&header.as_bytes()[..], zeros);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut swelling, &mut bytes).unwrap();
    std::io::Write::write_all(&mut gzip, &bytes).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(bytes.as_slice(), 9).unwrap()] {
        let message = place.unpack("path=new", packed).await.problem(400);
        assert!(message.contains("swells"), "{message}");
    }
    // A frame that is to be remembered for longer than there is memory for, and one that is cut short.
    let far = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0, (30 - 10) << 3, 1, 0, 0]].concat();
    place.unpack("path=new", far).await.problem(400);
    let cut = zstd::encode_all(whole.as_slice(), 0).unwrap();
    place.unpack("path=new", cut[..cut.len() / 2].to_vec()).await.problem(400);
    assert!(
        !std::fs::read_dir(&place.directory).unwrap().any(|entry| entry
            .unwrap()
            .file_name()
            .as_bytes()
            .starts_with(b".tenure"))
    );
}
