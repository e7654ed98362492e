//! Files of sessions, saved and restored.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, XattrFlags};
use tenure_sandbox::native::{check_files, load_files, mark_restored, save_files, strays};
use tenure_sandbox::{CallEnd, Order};

use crate::given::files;
use crate::host::{Host, call, exec, is_root, judge, needs_root, run, session, shell, text};

/// All that can be told of what lies below a directory.
fn look(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        let seen = at.symlink_metadata().expect("it is there");
        let kind = seen.file_type();
        let content = match () {
            () if kind.is_symlink() => format!("{:?}", std::fs::read_link(&at).expect("a link")),
            () if kind.is_file() => format!("{:?}", checksum(&std::fs::read(&at).expect("a file"))),
            () => String::new(),
        };
        let first = inodes.entry(seen.ino()).or_insert_with(|| at.clone());
        let link = first.strip_prefix(dir).expect("below").to_owned();
        let shown = format!(
            "{:o} {}:{} {}.{:09} {} {} {link:?} {content} {:?}",
            seen.mode(),
            seen.uid(),
            seen.gid(),
            seen.mtime(),
            seen.mtime_nsec(),
            if kind.is_dir() { 0 } else { seen.size() },
            seen.rdev(),
            attributes(&at)
        );
        if kind.is_dir() {
            // Of the names of one file, the same comes first in every directory's own order.
            let mut inside: Vec<_> =
                std::fs::read_dir(&at).expect("a directory").map(|entry| entry.expect("readable").path()).collect();
            inside.sort();
            left.extend(inside);
        }
        if !kind.is_socket() {
            found.insert(at.strip_prefix(dir).expect("below").to_owned(), shown);
        }
    }
    found
}

fn checksum(bytes: &[u8]) -> (usize, u64) {
    (bytes.len(), bytes.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))))
}

fn attributes(at: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(at, &mut list).expect("a list");
    let mut attributes: Vec<(String, Vec<u8>)> = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("a name");
            let mut value = vec![0; 65_536];
            let length = rustix::fs::lgetxattr(at, name.as_str(), &mut value).expect("a value");
            (name, value[..length].to_vec())
        })
        .collect();
    attributes.sort();
    attributes
}

/// Makes everything that a layer can hold.
const BUSY: &str = r#"
set -e
mkdir -p d/e/f "odd
name" && printf 'one\n' > "odd
name/new
line" && printf '\xff\xfe' > $'\xff\xfe raw'
echo linked > a; ln a b; ln a d/c
ln -s /etc/passwd out; ln -s ../../../../.. up; ln -s nowhere "$(printf 'x%.0s' {1..200})"
printf start > holes; truncate -s 30M holes; printf end >> holes
truncate -s 5M all-holes; : > empty
mkfifo pipe
chmod 4755 a; chmod 1777 d; chmod 000 empty
mkdir -p deep; cd deep; for n in {1..300}; do mkdir sub; cd sub; done; cd /workspace
touch -d '1950-01-02 03:04:05.678' old; touch -d '2300-01-01' later
rm /home/agent/.* 2>/dev/null || true
python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX); s.bind("sock"); os.setxattr("d","user.note",b"two\nlines \x00=\xff")'
"#;

#[tokio::test]
async fn what_is_saved_comes_back_as_it_was() {
    needs_root("it makes what the overlays of root's sandboxes leave");
    let host = Host::new();
    let (from, to) = (host.dir.path(), tempfile::tempdir().expect("a directory"));
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 1, exec(&["bash", "-c", BUSY])).await;
    assert_eq!((exit.code, text(&exit)), (Some(0), String::new()));
    let layer = from.join(format!("sessions/{}/layer/root", session(1)));
    // What overlays leave when directories of the layer below are removed, renamed, made anew.
    let origin: Vec<u8> = (0..=255).chain(*b"\n5 a=\n").collect();
    let set = |at: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(layer.join(at), name, value, XattrFlags::empty()).expect("root may");
    };
    set("workspace/d", "trusted.overlay.opaque", b"y");
    set("workspace/d/e", "trusted.overlay.redirect", b"/elsewhere");
    set("workspace/a", "trusted.overlay.origin", &origin);
    let whiteout = layer.join("workspace/gone");
    rustix::fs::mknodat(rustix::fs::CWD, &whiteout, rustix::fs::FileType::CharacterDevice, 0.into(), 0)
        .expect("root may");
    let lone = layer.join("workspace/up");
    rustix::fs::lsetxattr(&lone, "trusted.overlay.origin", &origin, XattrFlags::empty()).expect("root may");
    std::os::unix::fs::chown(&whiteout, Some(100_000), Some(100_000)).expect("root may");
    let time = Timespec { tv_sec: -5, tv_nsec: 999_999_999 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, layer.join("workspace/d"), &times, rustix::fs::AtFlags::empty())
        .expect("set");

    let mut stream = Vec::new();
    let saved = save_files(from, session(1), &mut stream).expect("saved").expect("it has files");
    let named: Vec<_> = saved.left_out.first.iter().map(|(path, _)| path.file_name().expect("a name")).collect();
    assert_eq!((saved.changed.count, named), (0, vec![std::ffi::OsStr::new("sock")]), "{saved:?}");
    assert!(stream.len() < 3 << 20, "holes take no room: {} bytes", stream.len());
    let mut again = Vec::new();
    save_files(from, session(1), &mut again).expect("saved");
    assert!(stream == again, "twice the same");

    load_files(to.path(), session(1), &mut stream.as_slice()).expect("loaded");
    mark_restored(to.path(), SystemTime::now()).expect("marked");
    let place = |root: &Path| root.join(format!("sessions/{}", session(1)));
    for part in ["layer", "calls"] {
        let (before, after) = (look(&place(from).join(part)), look(&place(to.path()).join(part)));
        let both = before.iter().map(|(path, shown)| (path, Some(shown), after.get(path)));
        let differs: Vec<_> = both.filter(|(_, before, after)| before != after).collect();
        assert_eq!((differs, before.len()), (Vec::new(), after.len()));
    }
    assert!(place(to.path()).join("layer/root/workspace/holes").metadata().expect("a file").blocks() < 1_000);
    assert_eq!(check_files(to.path(), session(1)).expect("checked"), []);
    assert_eq!(strays(to.path(), &|known| known == session(1)).expect("looked"), []);
    load_files(to.path(), session(1), &mut stream.as_slice()).expect_err("it has files now");

    // And a sandbox has them: also the record of the call that made them.
    let mut other = Host::at(to);
    let sandbox = other.open(session(1)).await;
    let exit = run(
        &sandbox,
        2,
        exec(&["bash", "-c", "cat a b d/c; cat holes | tail -c 3; ls gone; cat $'\\xff\\xfe raw' | wc -c"]),
    )
    .await;
    assert_eq!(text(&exit), "linked\nlinked\nlinked\nend2\nls: cannot access 'gone': No such file or directory\n");
    let end = judge(&sandbox, 1, exec(&["false"])).await;
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if exit.code == Some(0)), "{end:?}");
    drop(sandbox);
    other.restarted();
    other.finish().await;
    host.finish().await;
}

/// So that another user, and root, can restore them.
#[tokio::test]
async fn an_ordinary_users_files_are_saved_as_roots_are() {
    crate::host::needs_own_files("it reaches into them");
    if is_root() {
        return;
    }
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let script = "mkdir d; echo text > d/f; chmod 444 d/f; ln -s f d/l";
    assert_eq!(text(&run(&sandbox, 1, exec(&["sh", "-c", script])).await), "");
    let layer = host.dir.path().join(format!("sessions/{}/layer/root", session(1)));
    // As the overlay does with a directory that was made anew.
    for (name, value) in [("user.note", b"note".as_slice()), ("user.overlay.opaque", b"y")] {
        rustix::fs::setxattr(layer.join("workspace/d"), name, value, XattrFlags::empty()).expect("its owner may");
    }
    let mut stream = Vec::new();
    save_files(host.dir.path(), session(1), &mut stream).expect("saved").expect("it has files");
    let mut archive = tar::Archive::new(stream.as_slice());
    let mut marks = 0;
    for entry in archive.entries().expect("entries").raw(true) {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type() == tar::EntryType::XHeader {
            let mut records = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut records).expect("read");
            let records = String::from_utf8_lossy(&records).into_owned();
            marks += records.matches("trusted.overlay.opaque=y").count();
            assert!(!records.contains("user.overlay."), "{records}");
            continue;
        }
        let path = entry.path().expect("a path").into_owned();
        let owner = if path.starts_with("layer") { 101_000 } else { 0 };
        assert_eq!(entry.header().uid().expect("a number"), owner, "{}", path.display());
    }
    assert_eq!(marks, 1);
    let to = tempfile::tempdir().expect("a directory");
    load_files(to.path(), session(1), &mut stream.as_slice()).expect("loaded");
    assert_eq!(check_files(to.path(), session(1)).expect("checked"), []);
    let loaded = to.path().join(format!("sessions/{}/layer/root/workspace/d", session(1)));
    let mut mark = [0; 8];
    assert_eq!(
        rustix::fs::getxattr(&loaded, "user.overlay.opaque", &mut mark).map(|length| mark[..length].to_vec()),
        Ok(b"y".to_vec())
    );
    let file = loaded.join("f");
    assert_eq!(file.metadata().expect("a file").mode() & 0o777, 0o444);
    assert_eq!(std::fs::read_to_string(file).expect("text"), "text\n");
    host.finish().await;
}

#[tokio::test]
async fn a_stream_that_is_cut_or_leads_elsewhere_restores_nothing() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("echo text > f; mkdir d; echo more > d/f; truncate -s 1M holes; ln f g")).await;
    let mut stream = Vec::new();
    save_files(host.dir.path(), session(1), &mut stream).expect("saved").expect("it has files");
    let to = tempfile::tempdir().expect("a directory");
    for cut in (0..stream.len()).step_by(211).chain([stream.len() - 1, stream.len() - 512]) {
        let refused = load_files(to.path(), session(1), &mut &stream[..cut]);
        assert!(refused.is_err(), "cut at {cut} of {}", stream.len());
        assert_eq!(strays(to.path(), &|_| false).expect("looked"), []);
    }
    for hostile in ["../x", "/etc/x", "layer/../../x", "other/x", "."] {
        let mut archive = tar::Builder::new(Vec::new());
        let record = format!("path={hostile}\n");
        let digits = if record.len() < 8 { 2 } else { 3 };
        let records = format!("{} {record}18 mtime=1.000000\n", record.len() + digits);
        for (kind, data) in [(tar::EntryType::XHeader, records.as_bytes()), (tar::EntryType::Regular, b"evil")] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            archive.append(&header, data).expect("written");
        }
        let stream = archive.into_inner().expect("written");
        let refused = load_files(to.path(), session(1), &mut stream.as_slice()).expect_err(hostile);
        let why = std::error::Error::source(&refused).map(ToString::to_string);
        assert_eq!(why.as_deref(), Some("a path leads elsewhere"), "{hostile}");
        assert_eq!(strays(to.path(), &|_| false).expect("looked"), [], "{hostile}");
    }
    assert_eq!(std::fs::read_dir(to.path().join("sessions")).expect("a directory").count(), 0);
    host.finish().await;
}

#[tokio::test]
async fn a_live_sandbox_can_be_saved_whatever_it_does_meanwhile() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let churn = "mkdir keep; echo kept > keep/f; : > /tmp/ready; n=0; while [ ! -e /tmp/go ]; do n=$((n+1)); \
                 mkdir -p d$((n%7))/x; echo $n >> log; mv d$((n%7)) e 2>/dev/null; ln -sfn / e/x 2>/dev/null; rm -rf e d3; done";
    let running = sandbox.run(Order::new(call(1), exec(&["bash", "-c", churn])), None);
    let saving = async {
        run(&sandbox, 2, exec(&["sh", "-c", "while [ ! -e /tmp/ready ]; do sleep 0.01; done"])).await;
        let root = host.dir.path().to_owned();
        let streams = tokio::task::spawn_blocking(move || {
            let save = |_| {
                let mut stream = Vec::new();
                save_files(&root, session(1), &mut stream).expect("saved").expect("it has files");
                assert_eq!(check_files(&root, session(1)).expect("checked"), []);
                stream
            };
            (0..20).map(save).collect::<Vec<_>>()
        });
        let streams = streams.await.expect("no panic");
        run(&sandbox, 3, exec(&["touch", "/tmp/go"])).await;
        streams
    };
    let (end, streams) = tokio::join!(running, saving);
    end.expect("it ended");
    for stream in streams {
        let to = tempfile::tempdir().expect("a directory");
        load_files(to.path(), session(1), &mut stream.as_slice()).expect("loaded");
        let kept = to.path().join(format!("sessions/{}/layer/root/workspace/keep/f", session(1)));
        assert_eq!(std::fs::read_to_string(kept).expect("it is there"), "kept\n");
    }
    host.finish().await;
}

#[tokio::test]
async fn a_call_from_before_a_restore_is_interrupted_unless_its_journal_shows_its_end() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("echo result")).await;
    let asked = SystemTime::now();
    let again = async |n, asked_at, work| {
        let mut order = Order::new(call(n), work);
        order.asked_at = asked_at;
        sandbox.run(order, None).await.expect("an end")
    };
    mark_restored(host.dir.path(), asked).expect("marked");
    let end = again(1, Some(asked), shell("echo ran")).await;
    assert!(matches!(&end, CallEnd::Exited(exit) if text(exit) == "result\n"), "{end:?}");
    let end = again(2, Some(asked), shell("echo ran")).await;
    assert!(matches!(&end, CallEnd::Interrupted { reason } if reason.contains("backup")), "{end:?}");
    let end = again(3, Some(asked + Duration::from_millis(5)), shell("echo ran")).await;
    assert!(matches!(&end, CallEnd::Exited(exit) if text(exit) == "ran\n"), "{end:?}");
    let end = again(4, None, shell("echo ran")).await;
    assert!(matches!(&end, CallEnd::Exited(exit) if text(exit) == "ran\n"), "{end:?}");
    host.finish().await;
}

#[tokio::test]
async fn what_is_amiss_with_files_is_named() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::new();
    let root = host.dir.path();
    for n in 1..3 {
        run(&host.open(session(n)).await, 1, shell("echo kept > f")).await;
    }
    assert_eq!(check_files(root, session(1)).expect("checked"), []);
    assert_eq!(check_files(root, session(9)).expect("checked"), [], "one that never had a sandbox");
    let dir = root.join(format!("sessions/{}", session(1)));
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).expect("written");
    let journal = std::fs::read(dir.join(format!("calls/{}", call(1)))).expect("a journal");
    write(&format!("calls/{}", call(2)), &journal[..journal.len() - 1]);
    write(&format!("calls/{}", call(3)), b"nonsense, and more of it");
    write("calls/notes", b"");
    write("stray", b"");
    write("layer/root/workspace/of-the-host", b"");
    symlink("/etc/passwd", dir.join("calls").join(call(4).to_string())).expect("a link");
    let found = check_files(root, session(1)).expect("checked");
    let mut named: Vec<(String, &str)> = found
        .iter()
        .map(|damage| (damage.path.strip_prefix(&dir).expect("below").to_string_lossy().into_owned(), damage.what))
        .collect();
    named.sort();
    let of = |n| format!("calls/{}", call(n));
    let mut expected = vec![
        (of(2), "a journal that is cut short or garbled"),
        (of(3), "a journal that doesn't begin as one"),
        (of(4), "something that can't be read"),
        ("calls/notes".to_owned(), "a foreign file"),
        ("layer/root/workspace/of-the-host".to_owned(), "a file of another owner"),
        ("stray".to_owned(), "a foreign file"),
    ];
    // An ordinary user's own are no strangers there.
    expected.retain(|(_, what)| is_root() || *what != "a file of another owner");
    expected.sort();
    assert_eq!(named, expected);
    assert!(std::fs::read_link(dir.join(of(4))).expect("left alone").as_os_str().as_bytes() == b"/etc/passwd");
    std::fs::write(root.join("notes"), "").expect("written");
    let stray = strays(root, &|known| known == session(1)).expect("looked");
    let mut names: Vec<_> = stray.iter().map(|damage| damage.path.file_name().expect("a name").to_owned()).collect();
    names.sort();
    assert_eq!(names, [session(2).to_string().as_str(), "notes"]);
    host.finish().await;
}

/// With one id that is the user that saves them.
#[tokio::test]
async fn files_that_are_closed_to_their_own_owner_are_saved_and_restored() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let close = "mkdir d; echo secret > d/f; chmod 0 d/f d";
    assert_eq!(text(&run(&sandbox, 1, shell(close)).await), "");
    sandbox.stop(Duration::ZERO).await.expect("stopped");
    let place = tempfile::tempdir().expect("a directory");
    let stream = files("save-files", host.dir.path(), session(1), b"");
    files("load-files", place.path(), session(1), &stream);
    for dir in [host.dir.path(), place.path()] {
        assert_eq!(String::from_utf8_lossy(&files("check-files", dir, session(1), b"")), "");
    }
    host.finish().await;
    let host = Host::at(place);
    let sandbox = host.open(session(1)).await;
    let open = "stat -c %a d; chmod 700 d; stat -c %a d/f; chmod 600 d/f; cat d/f";
    assert_eq!(text(&run(&sandbox, 2, shell(open)).await), "0\n0\nsecret\n");
    host.finish().await;
}
