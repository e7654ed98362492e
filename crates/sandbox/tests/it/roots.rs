//! Root file systems that aren't the host's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{EntryType, Header};
use tenure_core::id::SessionId;
use tenure_core::root::Root;
use tenure_sandbox::{Error, NativeConfig, Packing, Sandbox, Spec};

use crate::host::{Host, exec, has_one_id, needs_root, run, session, shell, text};
use crate::shelf::{Layer, Shelf, image};

/// Files of other systems on the host belong to its users.
const WHY: &str = "a directory of the host's as a root";

fn host(shelf: &Arc<Shelf>) -> Host {
    Host::with(|config| config.images = Some(shelf.clone()))
}

fn spec(session: SessionId, root: Root) -> Spec {
    Spec { root, ..Spec::new(session) }
}

async fn open(host: &Host, session: SessionId, root: Root) -> Arc<dyn Sandbox> {
    host.backend.open(spec(session, root)).await.expect("a sandbox").sandbox
}

async fn refusal(host: &Host, session: SessionId, root: Root) -> String {
    match host.backend.open(spec(session, root)).await.expect_err("refused") {
        Error::Invalid(why) => why,
        other => panic!("expected that the root is at fault, got: {other:?}"),
    }
}

/// A layer with what the tests look around with.
fn programs() -> Layer {
    Layer::with_programs(&["bash", "find", "cat", "id", "ls"])
}

/// Names of directories in the sandboxes' directory.
fn names(host: &Host, dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(host.dir.path().join(dir)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// The files below a directory with their kind, mode, owner and target.
async fn tree(sandbox: &Arc<dyn Sandbox>, n: u128, dir: &str) -> Vec<String> {
    let format = "%P %y %m %U %l|%s\\n";
    let found = run(sandbox, n, exec(&["find", dir, "-mindepth", "1", "-printf", format])).await;
    let mut lines: Vec<String> = text(&found)
        .lines()
        .map(|line| {
            let (rest, size) = line.rsplit_once('|').expect("a size");
            if rest.contains(" f ") { format!("{}{size}", rest) } else { rest.trim_end().to_owned() }
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// What is to be seen of such files where this test runs: with one id all of them are the tools' own, and no bit makes others be
/// them.
fn here(files: &[&str]) -> Vec<String> {
    let with_one = |file: &&str| {
        let mut words: Vec<&str> = file.split(' ').collect();
        (words[2], words[3]) = (words[2].trim_start_matches("4"), "1000");
        words.join(" ")
    };
    files.iter().map(|file| if has_one_id() { with_one(file) } else { (*file).to_owned() }).collect()
}

#[tokio::test]
async fn an_image_is_the_root_and_nothing_of_the_host_is_in_it() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    shelf.put("plain", vec![programs(), Layer::new().text("etc/motd", "moved in\n").file("srv/own", b"", 0o640, 33)]);
    let sandbox = open(&host, session(1), image("plain")).await;
    let said =
        run(&sandbox, 1, shell("cat /etc/motd; echo $GREETING $HOME; pwd; id -u; echo x > here; cat here")).await;
    assert_eq!(text(&said), "moved in\nhello /home/agent\n/workspace\n1000\nx\n");
    let top = run(&sandbox, 2, exec(&["ls", "/"])).await;
    let ours = "bin\ndev\netc\nhome\nlib\nlib64\nproc\nroot\nrun\nsrv\nsys\ntmp\nusr\nvar\nworkspace\n";
    assert_eq!(text(&top), ours);
    let etc = run(&sandbox, 3, exec(&["ls", "/etc"])).await;
    assert_eq!(text(&etc), "group\nhostname\nhosts\nmotd\nmtab\npasswd\nresolv.conf\n");
    assert_eq!(tree(&sandbox, 4, "/srv").await, here(&["own f 640 33 0"]));
    let who = run(&sandbox, 5, exec(&["id"])).await;
    assert_eq!(text(&who), "uid=1000(agent) gid=1000(agent) groups=1000(agent)\n");
    let cannot = run(&sandbox, 6, shell("echo x > /etc/motd || echo no; : > /usr/new || echo no")).await;
    match has_one_id() {
        // They are the tools' own, and what is written is in the session's layer.
        true => assert_eq!(text(&cannot), ""),
        false => assert!(text(&cannot).ends_with("no\n") && cannot.code == Some(0), "{}", text(&cannot)),
    }
    let other = open(&host, session(2), image("plain")).await;
    assert_eq!(text(&run(&other, 1, shell("cat /etc/motd; test -e /usr/new || echo none")).await), "moved in\nnone\n");
    assert!(sandbox.stop(std::time::Duration::ZERO).await.is_ok());
    let sandbox = open(&host, session(1), image("plain")).await;
    let motd = if has_one_id() { "x" } else { "moved in" };
    let said = run(&sandbox, 7, shell("cat here /etc/motd; echo $GREETING")).await;
    assert_eq!(text(&said), format!("x\n{motd}\nhello\n"));
    host.finish().await;
}

#[tokio::test]
async fn marks_of_removal_act_on_lower_layers_alone() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    let lower = Layer::packed(Packing::Zstd)
        .dir("srv", 0o755, 0)
        .text("srv/gone", "1")
        .text("srv/stays", "12")
        .dir("srv/dir", 0o755, 0)
        .text("srv/dir/below/deep", "1")
        .text("srv/emptied/a", "1")
        .text("srv/emptied/b/c", "1")
        .text("srv/mixed/old", "1")
        .text("srv/mixed/both", "1")
        .text("srv/again", "old")
        .text("srv/becomes-dir", "1")
        .text("srv/becomes-file/x", "1")
        .symlink("srv/becomes-real", "stays");
    let upper = Layer::packed(Packing::Plain)
        .without("srv/gone")
        .without("srv/dir")
        .without("srv/never-was")
        .afresh("srv/emptied")
        // An entry may come before the mark that means only what is below it.
        .text("srv/mixed/both", "123")
        .text("srv/mixed/new/x", "1")
        .afresh("srv/mixed")
        .text("srv/again", "newer")
        .without("srv/again")
        .text("srv/becomes-dir/x", "1")
        .text("srv/becomes-file", "12345")
        .text("srv/becomes-real", "1");
    // A name that was a file has to be made a directory by an entry of its own.
    let between = Layer::new().dir("srv/becomes-dir", 0o755, 5);
    shelf.put("marked", vec![programs(), lower, between, upper]);
    let sandbox = open(&host, session(1), image("marked")).await;
    let expected = [
        "again f 644 0 5",
        "becomes-dir d 755 5",
        "becomes-dir/x f 644 0 1",
        "becomes-file f 644 0 5",
        "becomes-real f 644 0 1",
        "emptied d 755 0",
        "mixed d 755 0",
        "mixed/both f 644 0 3",
        "mixed/new d 755 0",
        "mixed/new/x f 644 0 1",
        "stays f 644 0 2",
    ];
    assert_eq!(tree(&sandbox, 1, "/srv").await, here(&expected));
    host.finish().await;
}

#[tokio::test]
async fn every_kind_of_file_keeps_what_it_can() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    let kinds = Layer::new()
        .dir("srv", 0o755, 0)
        .dir("srv/sticky", 0o1777, 7)
        .file("srv/setuid", b"x", 0o4755, 0)
        .file("srv/agents", b"x", 0o600, 1000)
        .symlink("srv/link", "/etc/motd")
        .link("srv/again", "/srv/agents")
        .entry("srv/fifo", EntryType::Fifo, 0o644, 3, None, b"")
        .entry("srv/zero", EntryType::Char, 0o666, 0, None, b"")
        .entry("srv/disk", EntryType::Block, 0o666, 0, None, b"")
        .text("/srv/absolute", "1")
        .text("./srv/./dotted", "1");
    shelf.put("kinds", vec![programs(), kinds]);
    let sandbox = open(&host, session(1), image("kinds")).await;
    let expected = [
        "absolute f 644 0 1",
        "again f 600 1000 1",
        "agents f 600 1000 1",
        "dotted f 644 0 1",
        "fifo p 644 3",
        "link l 777 0 /etc/motd",
        "setuid f 4755 0 1",
        "sticky d 1777 7",
    ];
    assert_eq!(tree(&sandbox, 1, "/srv").await, here(&expected));
    let links = run(&sandbox, 2, exec(&["find", "/srv/agents", "-printf", "%n %Ty\\n"])).await;
    assert_eq!(text(&links), "2 01\n");
    host.finish().await;
}

#[tokio::test]
async fn layers_are_unpacked_once_for_all_images_and_sessions() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    let top = |words: &str| Layer::new().text("srv/name", words);
    shelf.put("one", vec![programs(), top("one")]);
    shelf.put("two", vec![programs(), top("two")]);
    let (first, again) = tokio::join!(open(&host, session(1), image("one")), open(&host, session(2), image("one")));
    assert_eq!(text(&run(&first, 1, exec(&["cat", "/srv/name"])).await), "one");
    assert_eq!(text(&run(&again, 1, exec(&["cat", "/srv/name"])).await), "one");
    // Two layers and what tools need.
    let layers = names(&host, "layers");
    assert_eq!(layers.len(), 3);
    // Whose owners are kept and whose aren't can't be taken for each other, in a backup neither.
    assert_eq!(layers.iter().filter(|name| name.starts_with("image-one-")).count(), if has_one_id() { 2 } else { 0 });
    let fetched = shelf.fetched();
    let second = open(&host, session(3), image("two")).await;
    assert_eq!(text(&run(&second, 1, exec(&["cat", "/srv/name"])).await), "two");
    assert_eq!((shelf.fetched() - fetched, names(&host, "layers").len()), (1, 5));
    run(&first, 2, shell("echo mine > /workspace/a")).await;
    assert_eq!(text(&run(&again, 2, exec(&["ls", "/workspace"])).await), "");
    host.finish().await;
}

#[tokio::test]
async fn a_session_keeps_its_image_when_the_name_means_another() {
    let shelf = Shelf::new();
    let mut host = host(&shelf);
    shelf.put("moving", vec![programs(), Layer::new().text("srv/name", "old")]);
    let sandbox = open(&host, session(1), image("moving")).await;
    run(&sandbox, 1, shell("cat /srv/name > kept")).await;
    drop(sandbox);
    shelf.put("moving", vec![programs(), Layer::new().text("srv/name", "new")]);
    host.backend.shutdown().await.expect("shut down");
    let again = shelf.clone();
    host.restarted_with(|config| config.images = Some(again));
    let sandbox = open(&host, session(1), image("moving")).await;
    assert_eq!(text(&run(&sandbox, 2, shell("cat kept /srv/name")).await), "oldold");
    let other = open(&host, session(2), image("moving")).await;
    assert_eq!(text(&run(&other, 1, shell("cat /srv/name")).await), "new");
    host.finish().await;
}

#[tokio::test]
async fn hostile_layers_are_refused_and_nothing_is_left() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    let outside = tempfile::tempdir().expect("a directory");
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").expect("written");
    let target = victim.to_str().expect("text");
    let bomb = vec![0; 100 << 20];
    let sparse = {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let gnu = header.as_gnu_mut().expect("it is one");
        gnu.realsize[..11].copy_from_slice(b"77777777777");
        gnu.sparse[0].offset[..11].copy_from_slice(b"77777777777");
        gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000000");
        header
    };
    let cases: Vec<(&str, Layer, &str)> = vec![
        ("up", Layer::new().text("../../victim", "x"), "would lead out"),
        ("up-inside", Layer::new().text("a/../../victim", "x"), "would lead out"),
        ("link-up", Layer::new().link("a", "../../etc/shadow"), "would lead out"),
        ("link-nowhere", Layer::new().link("a", target), "can't be made"),
        ("link-dir", Layer::new().dir("d", 0o755, 0).link("a", "d"), "can't be made"),
        ("hides-up", Layer::new().text("a/.wh...", "x"), "can't be made"),
        ("hides-nothing", Layer::new().text("a/.wh.", "x"), "can't be made"),
        ("foreign", Layer::new().file("a", b"x", 0o644, 65_536), "a sandbox has those up to 65535"),
        ("through-a-file", Layer::new().text("a", "x").text("a/b", "x"), "can't be made"),
        ("loop", Layer::new().symlink("a", "b").symlink("b", "a").text("a/x", "x"), "can't be made"),
        ("bomb", Layer::packed(Packing::Zstd).file("zeros", &bomb, 0o644, 0), "its files are more than"),
        (
            "name-bomb",
            Layer::packed(Packing::Zstd).entry("x", EntryType::GNULongName, 0, 0, None, &bomb),
            "unpacked it is more",
        ),
        ("sparse", Layer::new().raw(sparse, "holes", None, b""), "its files are more than"),
        ("garbled", Layer::new().raw(Header::new_gnu(), "x", None, b"x").text("a", "x"), ""),
    ];
    for (n, (name, layer, why)) in cases.into_iter().enumerate() {
        shelf.put(name, vec![Layer::new().text("ok", "x"), layer]);
        let refused = refusal(&host, session(n as u128 + 1), image(name)).await;
        assert!(refused.contains(why), "{name}: {refused}");
        assert!(
            refused.starts_with(&format!("the image registry.test/{name}:latest can't be used: its layer sha256:")),
            "{refused}"
        );
    }
    shelf.put_wrong("wrong", vec![Layer::new().text("ok", "x"), Layer::new().text("other", "x")]);
    let refused = refusal(&host, session(100), image("wrong")).await;
    assert!(refused.contains("unpacked its digest is sha256:"), "{refused}");
    assert_eq!(std::fs::read_to_string(&victim).expect("still there"), "untouched");
    assert_eq!(names(&host, "layers").len(), 1, "the good layer below them all");
    assert_eq!(names(&host, "sessions"), [] as [&str; 0]);
    assert_eq!(names(&host, "builds"), [] as [&str; 0]);
    host.finish().await;
}

#[tokio::test]
async fn links_in_a_layer_lead_nowhere_outside() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    let outside = tempfile::tempdir().expect("a directory");
    let target = outside.path().to_str().expect("text").to_owned();
    let hostile = Layer::new()
        .symlink("out", &target)
        .dir(&target, 0o755, 0)
        .text("out/written", "x")
        .symlink("up", "../../../../../../../..")
        .text("up/at-the-top", "x")
        .symlink("proc", "/sys")
        .symlink("dev", "/etc")
        .symlink("workspace", "/etc")
        .symlink("etc/passwd", "/etc/shadow")
        .symlink("etc/resolv.conf", "../../../../../../etc/hosts");
    shelf.put("links", vec![programs(), hostile]);
    let sandbox = open(&host, session(1), image("links")).await;
    assert_eq!(std::fs::read_dir(outside.path()).expect("a directory").count(), 0);
    let seen =
        run(&sandbox, 1, shell("cat /at-the-top; pwd; [ -c /dev/null ] && [ -d /proc/self ] && echo both")).await;
    assert_eq!(text(&seen), "x/workspace\nboth\n");
    let lists = run(&sandbox, 2, exec(&["cat", "/etc/passwd"])).await;
    assert_eq!(text(&lists), "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/home/agent:/bin/bash\n");
    host.finish().await;
}

#[tokio::test]
async fn a_user_of_the_image_with_our_number_stays() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    let users = Layer::new()
        .text("etc/passwd", "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh")
        .text("etc/group", "root:x:0:\nagent:x:5:");
    shelf.put("users", vec![programs(), users]);
    let sandbox = open(&host, session(1), image("users")).await;
    let lists = run(&sandbox, 1, exec(&["cat", "/etc/passwd", "/etc/group"])).await;
    let expected =
        "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/shroot:x:0:\nagent:x:5:\ntenure:x:1000:\n";
    assert_eq!(text(&lists), expected);
    host.finish().await;
}

#[tokio::test]
async fn an_image_without_a_shell_says_so_and_runs_what_needs_none() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    shelf.put("bare", vec![Layer::new().text("srv/only", "x")]);
    let sandbox = open(&host, session(1), image("bare")).await;
    let said = run(&sandbox, 1, shell("echo x")).await;
    assert!(text(&said).contains("there is no /bin/bash in this sandbox's root"), "{}", text(&said));
    let op = tenure_sandbox::Work::Op { name: "echo".to_owned(), input: b"from our own memory".to_vec() };
    assert_eq!(text(&run(&sandbox, 2, op).await), "from our own memory");
    host.finish().await;
}

#[tokio::test]
async fn a_directory_that_the_operator_allows_is_a_root() {
    needs_root(WHY);
    let allowed = tempfile::tempdir().expect("a directory");
    let root = allowed.path().join("system");
    plant(&root);
    std::os::unix::fs::symlink("/etc", allowed.path().join("out")).expect("a link");
    let dirs = vec![allowed.path().to_owned()];
    let host = Host::with(|config| config.root_dirs = dirs);
    let of = |path: &Path| Root::Directory { path: path.display().to_string() };
    let sandbox = open(&host, session(1), of(&root)).await;
    let seen = run(&sandbox, 1, shell("cat /srv/name; echo mine > /workspace/a; cat /workspace/a; id -un")).await;
    assert_eq!(text(&seen), "planted\nmine\nagent\n");
    assert!(!root.join("workspace").exists() && !root.join("etc").exists(), "the directory itself stays as it is");
    for (path, why) in [
        (PathBuf::from("/etc"), "--root-dirs"),
        (allowed.path().join("out"), "--root-dirs"),
        (PathBuf::from("/"), "--root-dirs"),
        (allowed.path().join("none"), "No such file"),
        (root.join("srv/name"), "is not a directory"),
    ] {
        let refused = refusal(&host, session(2), of(&path)).await;
        assert!(refused.contains(why), "{}: {refused}", path.display());
    }
    host.finish().await;
}

/// A small system with the programs of the tests, made by hand.
fn plant(root: &Path) {
    std::fs::create_dir_all(root.join("srv")).expect("made");
    std::fs::write(root.join("srv/name"), "planted\n").expect("written");
    programs().unpack(root);
}

#[tokio::test]
async fn an_image_that_nobody_begins_with_for_a_month_is_forgotten() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    shelf.put("old", vec![Layer::new().text("srv/name", "old")]);
    shelf.put("new", vec![Layer::new().text("srv/name", "new")]);
    open(&host, session(1), image("old")).await;
    let old = names(&host, "roots");
    let note = std::fs::File::open(host.dir.path().join("roots").join(&old[0])).expect("a note");
    let month = std::time::Duration::from_secs(31 * 24 * 3_600);
    note.set_modified(std::time::SystemTime::now() - month).expect("set back");
    open(&host, session(2), image("new")).await;
    let new = names(&host, "roots");
    assert!(new.len() == 1 && new != old, "{new:?} after {old:?}");
    open(&host, session(3), image("old")).await;
    assert_eq!(names(&host, "roots").len(), 2);
    host.finish().await;
}

#[tokio::test]
async fn what_a_session_has_goes_with_it_and_not_its_image() {
    let shelf = Shelf::new();
    let host = host(&shelf);
    shelf.put("kept", vec![programs()]);
    let sandbox = open(&host, session(1), image("kept")).await;
    run(&sandbox, 1, shell("echo x > a")).await;
    host.backend.destroy(session(1)).await.expect("destroyed");
    assert_eq!(names(&host, "layers").len(), 2);
    let fetched = shelf.fetched();
    let sandbox = open(&host, session(2), image("kept")).await;
    assert_eq!(text(&run(&sandbox, 1, shell("ls")).await), "");
    assert_eq!(shelf.fetched(), fetched);
    host.finish().await;
}

#[tokio::test]
async fn snapshots_forks_and_rewinding_keep_the_image() {
    use tenure_core::id::SnapshotId;
    let shelf = Shelf::new();
    let host = host(&shelf);
    shelf.put("forked", vec![programs(), Layer::new().text("srv/name", "image")]);
    let of = SnapshotId::from_bits;
    // Of a session that has no files yet, and so no root.
    host.backend.snapshot(session(1), of(1), None).await.expect("kept");
    let sandbox = open(&host, session(1), image("forked")).await;
    run(&sandbox, 1, shell("echo x > a")).await;
    sandbox.stop(std::time::Duration::ZERO).await.expect("stopped");
    host.backend.snapshot(session(1), of(2), None).await.expect("kept");
    host.backend.fork(session(1), of(2), &[], session(2)).await.expect("forked");
    host.backend.fork(session(1), of(1), &[], session(3)).await.expect("forked");
    for (n, expected) in [(2, "a\nimage"), (3, "image")] {
        let sandbox = open(&host, session(n), image("forked")).await;
        assert_eq!(text(&run(&sandbox, 1, shell("ls; cat /srv/name")).await), expected);
    }
    host.backend.rewind(session(2), None).await.expect("rewound");
    let sandbox = open(&host, session(2), image("forked")).await;
    assert_eq!(text(&run(&sandbox, 2, shell("ls; cat /srv/name")).await), "image");
    host.finish().await;
}

#[tokio::test]
async fn no_layer_is_made_of_the_last_of_the_hosts_disk() {
    let shelf = Shelf::new();
    let low = |config: &mut NativeConfig| {
        config.images = Some(shelf.clone());
        config.disk_floor_bytes = Some(u64::MAX >> 8);
    };
    let mut host = Host::with(low);
    shelf.put("one", vec![programs()]);
    for n in 1..3 {
        match host.backend.open(spec(session(n), image("one"))).await {
            Err(error @ Error::Failed { .. }) => {
                let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(why.contains("--sandbox-disk-floor"), "{why}");
            }
            other => panic!("expected that it lacks room, got: {other:?}"),
        }
    }
    assert_eq!((names(&host, "layers"), names(&host, "builds")), (Vec::new(), Vec::new()));
    host.backend.shutdown().await.expect("shut down");
    host.restarted_with(|config| config.images = Some(shelf.clone()));
    let sandbox = open(&host, session(1), image("one")).await;
    assert_eq!(text(&run(&sandbox, 1, exec(&["id", "-un"])).await), "agent\n");
    host.finish().await;
}
