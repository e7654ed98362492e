//! Layers that nothing needs go, and deep stacks become flat, whoever dies meanwhile.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tenure_core::id::{SessionId, SnapshotId};
use tenure_sandbox::native::{
    KeepLayers, check_files, check_layers, check_stacks, load_files, load_layer, mark_restored, save_files, save_layer,
    strays,
};

use crate::host::{Host, kill, left_of, run, session, shell, text};

fn snapshot(n: u128) -> SnapshotId {
    SnapshotId::from_bits(n)
}

/// The layers that a file names.
fn named(at: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(at).expect("a file");
    let layers: Value = serde_json::from_str(&text).expect("it is JSON");
    layers["layers"].as_array().expect("a list").iter().map(|id| id.as_str().expect("text").to_owned()).collect()
}

fn head(host: &Host, session: SessionId) -> Vec<String> {
    named(&host.dir.path().join(format!("sessions/{session}/HEAD")))
}

fn layers(host: &Host) -> BTreeSet<String> {
    let entries = std::fs::read_dir(host.dir.path().join("layers")).expect("a directory");
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect()
}

/// Writes a line in the workspace's log, removes what an earlier one left, renames a directory, and keeps the files.
async fn step(host: &Host, n: u128) {
    let command = format!(
        "echo {n} >> log; rm -rf gone$(({n}-2)); mkdir -p gone{n}/x; echo {n} > gone{n}/x/f; \
         mkdir -p start/deep; echo {n} > start/deep/{n}; [ -e was ] && mv was/deep start/again{n}; mv start was"
    );
    stopped(host, n, &command).await;
    host.backend.snapshot(session(1), snapshot(n), None).await.expect("kept");
}

/// Runs a command in the session's sandbox and ends that.
async fn stopped(host: &Host, n: u128, command: &str) -> String {
    let sandbox = host.open(session(1)).await;
    let said = text(&run(&sandbox, n, shell(command)).await);
    sandbox.stop(std::time::Duration::ZERO).await.expect("stopped");
    said
}

/// Waits until nothing is left to do.
async fn tidy(host: &Host) {
    assert_eq!(left_of(&host.backend, host.dir.path()).await, [] as [String; 0]);
}

const SHOW: &str = "find . -type f -exec grep -H . {} + | sort; find . | sort";

#[tokio::test]
async fn deep_stacks_become_flat_and_show_the_same() {
    crate::host::needs_own_files("it reaches into them");
    let (host, sandbox, before, deep, flat) = loop {
        let host = Host::new();
        for n in 1..=22 {
            step(&host, n).await;
        }
        let before = stopped(&host, 100, SHOW).await;
        assert!(before.lines().count() > 60, "{before}");
        let deep = head(&host, session(1));
        // The session that is alive goes on with what it has mounted.
        let sandbox = host.open(session(1)).await;
        host.backend.leftovers(&[session(1)]).await.expect("a list");
        let flat = head(&host, session(1));
        assert!(flat.len() < 5 && flat[0].starts_with("merged-"), "{flat:?}");
        if deep.len() == 22 && flat.len() == 1 {
            break (host, sandbox, before, deep, flat);
        }
        // On a busy machine there was a moment so quiet that some of it was made flat already.
        sandbox.stop(std::time::Duration::ZERO).await.expect("stopped");
        host.finish().await;
    };
    assert!(deep.iter().all(|layer| layers(&host).contains(layer)), "they are mounted, and snapshots need them");
    assert_eq!(text(&run(&sandbox, 101, shell(SHOW)).await), before);
    sandbox.stop(std::time::Duration::ZERO).await.expect("stopped");
    assert_eq!(stopped(&host, 102, SHOW).await, before);
    assert_eq!(check_files(host.dir.path(), session(1)).expect("checked"), []);
    assert_eq!(check_layers(host.dir.path()).expect("checked"), []);
    // Snapshots that share the run share the merged layer, the others have theirs.
    let of = |n| named(&host.dir.path().join(format!("sessions/{}/snapshots/{}", session(1), snapshot(n))));
    assert_eq!((of(22), of(21)), (flat.clone(), deep[..21].to_vec()));
    host.backend.rewind(session(1), Some(snapshot(21))).await.expect("rewound");
    assert_eq!(stopped(&host, 103, "tail -n 1 log; ls -d gone*").await, "21\ngone20\ngone21\n");
    // What only forgotten snapshots need goes.
    host.backend.keep_snapshots(session(1), &[snapshot(22)]).await.expect("forgotten");
    host.backend.rewind(session(1), Some(snapshot(22))).await.expect("rewound");
    tidy_but(&host).await;
    assert_eq!(stopped(&host, 104, SHOW).await, before);
    assert!(layers(&host).iter().eq(&BTreeSet::from_iter(head(&host, session(1)))), "{:?}", layers(&host));
    host.finish().await;
}

/// Waits until nothing is left to do, while the session is known.
async fn tidy_but(host: &Host) {
    host.backend.leftovers(&[session(1)]).await.expect("a list");
}

#[tokio::test]
async fn what_nothing_needs_goes_with_who_needed_it() {
    crate::host::needs_own_files("it reaches into them");
    let mut host = Host::new();
    for n in 1..=3 {
        step(&host, n).await;
    }
    host.backend.fork(session(1), snapshot(2), &[snapshot(1)], session(2)).await.expect("forked");
    let all = head(&host, session(1));
    let unnamed = host.dir.path().join("layers/00000000000000000000000000000000/root/workspace");
    let unfinished = host.dir.path().join("layers/tmp-00000000000000000000000000000000/root");
    std::fs::create_dir_all(unnamed).expect("made");
    std::fs::create_dir_all(unfinished).expect("made");
    tidy_but(&host).await;
    assert!(layers(&host).iter().eq(&BTreeSet::from_iter(all.clone())), "{:?}", layers(&host));
    assert_eq!(strays(host.dir.path(), &|_| true).expect("looked"), []);
    let lost = host.dir.path().join("layers").join(&all[2]);
    let aside = host.dir.path().join("aside");
    std::fs::rename(&lost, &aside).expect("moved");
    let found = check_files(host.dir.path(), session(1)).expect("checked");
    let named: Vec<_> = found.iter().map(|damage| damage.what).collect();
    assert_eq!(named, ["a stack that lacks a layer"; 2], "{found:?}");
    std::fs::rename(&aside, &lost).expect("moved");
    host.backend.destroy(session(1)).await.expect("destroyed");
    // A supervisor that dies has a successor that goes on.
    let supervisor = host.supervisor();
    let gone = crate::host::wait_for_end(supervisor);
    kill(supervisor);
    gone.await.expect("it ended");
    host.restarted();
    host.open(session(2)).await.stop(std::time::Duration::ZERO).await.expect("stopped");
    host.backend.leftovers(&[session(2)]).await.expect("a list");
    assert!(layers(&host).iter().eq(&BTreeSet::from_iter(all[..2].to_vec())), "{:?}", layers(&host));
    host.backend.destroy(session(2)).await.expect("destroyed");
    tidy(&host).await;
    assert_eq!(layers(&host), BTreeSet::new());
    host.finish().await;
}

#[tokio::test]
async fn nothing_is_collected_while_a_stack_cannot_be_read_or_somebody_reads_layers() {
    let host = Host::new();
    step(&host, 1).await;
    let unnamed = "00000000000000000000000000000000";
    std::fs::create_dir_all(host.dir.path().join("layers").join(unnamed).join("root")).expect("made");
    let odd = host.dir.path().join(format!("sessions/{}/snapshots/{}", session(1), snapshot(9)));
    std::fs::write(&odd, r#"{"version":9,"stack":"of another kind"}"#).expect("written");
    tidy_but(&host).await;
    assert!(layers(&host).contains(unnamed));
    std::fs::remove_file(&odd).expect("removed");
    let lock = std::fs::File::create(host.dir.path().join("collect.lock")).expect("made");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).expect("locked");
    tidy_but(&host).await;
    assert!(layers(&host).contains(unnamed));
    drop(lock);
    tidy_but(&host).await;
    assert!(!layers(&host).contains(unnamed));
    host.finish().await;
}

/// Saves everything of some sessions and restores it elsewhere, as a backup does.
fn carried_over(from: &Path, sessions: &[SessionId]) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    let _kept = KeepLayers::new(from).expect("kept");
    let mut layers = BTreeSet::new();
    for session in sessions {
        let mut stream = Vec::new();
        let saved = save_files(from, *session, &mut stream).expect("saved").expect("it has files");
        layers.extend(saved.layers);
        load_files(to.path(), *session, &mut stream.as_slice()).expect("loaded");
    }
    assert!(check_stacks(to.path(), sessions[0]).is_err(), "its layers aren't there yet");
    for layer in &layers {
        let mut stream = Vec::new();
        save_layer(from, layer, &mut stream).expect("saved");
        for cut in [0, 1, stream.len() / 2, stream.len() - 1] {
            assert!(load_layer(to.path(), layer, &mut &stream[..cut]).is_err(), "cut at {cut} of {}", stream.len());
        }
        let mut damaged = stream.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        assert!(load_layer(to.path(), layer, &mut damaged.as_slice()).is_err(), "a bit at {middle}");
        assert_eq!(strays(to.path(), &|_| true).expect("looked"), []);
        load_layer(to.path(), layer, &mut stream.as_slice()).expect("loaded");
        load_layer(to.path(), layer, &mut stream.as_slice()).expect_err("it is there");
    }
    mark_restored(to.path(), std::time::SystemTime::now()).expect("marked");
    for session in sessions {
        check_stacks(to.path(), *session).expect("all its layers are there");
        assert_eq!(check_files(to.path(), *session).expect("checked"), []);
    }
    assert_eq!(check_layers(to.path()).expect("checked"), []);
    to
}

#[tokio::test]
async fn stacks_go_on_in_another_directory() {
    let host = Host::new();
    for n in 1..=22 {
        step(&host, n).await;
    }
    host.backend.fork(session(1), snapshot(3), &[], session(2)).await.expect("forked");
    tidy_but(&host).await;
    stopped(&host, 50, "echo unsealed > more; rm -r was").await;
    let before = stopped(&host, 51, SHOW).await;
    let to = carried_over(host.dir.path(), &[session(1), session(2)]);
    let other = Host::at(to);
    assert_eq!(stopped(&other, 52, SHOW).await, before);
    // Forks and earlier snapshots are there too.
    let fork = other.open(session(2)).await;
    assert_eq!(text(&run(&fork, 53, shell("cat log")).await), "1\n2\n3\n");
    fork.stop(std::time::Duration::ZERO).await.expect("stopped");
    other.backend.rewind(session(1), Some(snapshot(21))).await.expect("rewound");
    assert_eq!(
        stopped(&other, 54, "tail -n 1 log; ls more").await,
        "21\nls: cannot access 'more': No such file or directory\n"
    );
    other.backend.fork(session(1), snapshot(22), &[], session(3)).await.expect("forked");
    let fork = other.open(session(3)).await;
    assert_eq!(text(&run(&fork, 55, shell("tail -n 1 log")).await), "22\n");
    fork.stop(std::time::Duration::ZERO).await.expect("stopped");
    other.finish().await;
    host.finish().await;
}

#[tokio::test]
async fn layers_and_stacks_from_elsewhere_lead_nowhere_else() {
    let to = tempfile::tempdir().expect("a directory");
    let packed = |path: &str, kind: tar::EntryType| {
        let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).expect("an encoder"));
        let record = format!("path={path}\n");
        let digits = if record.len() < 8 { 2 } else { 3 };
        let records = format!("{} {record}18 mtime=1.000000\n", record.len() + digits);
        for (kind, data) in [(tar::EntryType::XHeader, records.as_bytes()), (kind, b"" as &[u8])] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            archive.append(&header, data).expect("written");
        }
        archive.into_inner().expect("written").finish().expect("packed")
    };
    for (path, kind, why) in [
        ("../x", tar::EntryType::Regular, "a path leads elsewhere"),
        ("/etc/x", tar::EntryType::Regular, "a path leads elsewhere"),
        ("root/../../x", tar::EntryType::Regular, "a path leads elsewhere"),
        ("root/x", tar::EntryType::Regular, "an entry comes before the directory it is in"),
        ("root", tar::EntryType::Block, "an entry is of a kind that isn't saved"),
    ] {
        let refused = load_layer(to.path(), "00", &mut packed(path, kind).as_slice()).expect_err(path);
        let said = std::error::Error::source(&refused).map(ToString::to_string);
        assert_eq!(said.as_deref(), Some(why), "{path}");
        assert_eq!(strays(to.path(), &|_| true).expect("looked"), [], "{path}");
    }
    for name in ["..", "a/b", "", "A"] {
        load_layer(to.path(), name, &mut packed("root", tar::EntryType::Directory).as_slice()).expect_err(name);
    }
    assert_eq!(std::fs::read_dir(to.path().join("layers")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn archives_are_made_of_what_is_needed_and_are_what_a_backup_takes() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::with(|config| config.archive_layers = true);
    for n in 1..=3 {
        step(&host, n).await;
    }
    tidy_but(&host).await;
    let archives = host.dir.path().join("archives");
    let listed = || {
        let entries = std::fs::read_dir(&archives).expect("a directory");
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect::<BTreeSet<_>>()
    };
    let of = |layers: &[String]| -> BTreeSet<String> {
        layers.iter().flat_map(|layer| [format!("{layer}.tar.zst"), format!("{layer}.json")]).collect()
    };
    let all = head(&host, session(1));
    assert_eq!(listed(), of(&all));
    // What is archived isn't read again; an archive that isn't what it was isn't taken.
    let save = || {
        let mut stream = Vec::new();
        save_layer(host.dir.path(), &all[0], &mut stream).expect("saved");
        stream
    };
    let whole = std::fs::read(archives.join(format!("{}.tar.zst", all[0]))).expect("read");
    assert!(save() == whole);
    let log = host.dir.path().join(format!("layers/{}/root/workspace/log", all[0]));
    std::fs::write(&log, "changed, which no layer ever is").expect("written");
    assert!(save() == whole, "it was read again");
    std::fs::write(archives.join(format!("{}.tar.zst", all[0])), &whole[1..]).expect("written");
    assert!(save() != whole, "a damaged archive was taken");
    host.backend.rewind(session(1), Some(snapshot(1))).await.expect("rewound");
    host.backend.keep_snapshots(session(1), &[snapshot(1)]).await.expect("forgotten");
    tidy_but(&host).await;
    assert_eq!(listed(), of(&all[..1]));
    host.finish().await;
}

/// Wherever a supervisor dies while it makes a stack flat or collects what nothing needs, files are as before, and the next one does
/// the rest.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn wherever_a_supervisor_dies_in_its_upkeep_the_next_one_does_the_rest() {
    crate::host::needs_own_files("it reaches into them");
    for place in ["upkeep.merged", "upkeep.swapped", "upkeep.collected"] {
        let mut host = Host::new();
        for n in 1..=6 {
            step(&host, n).await;
        }
        let before = stopped(&host, 100, SHOW).await;
        host.backend.shutdown().await.expect("shut down");
        host.restarted_with(|config| {
            config.most_layers = 2;
            config.failpoint = Some(format!("{place}:1"));
        });
        drop(host.open(session(8)).await);
        let first = host.supervisor();
        tidy_but(&host).await;
        assert_ne!(host.try_supervisor(), Some(first), "{place} was reached");
        host.restarted_with(|config| config.most_layers = 2);
        assert_eq!(stopped(&host, 101, SHOW).await, before, "{place}");
        tidy_but(&host).await;
        assert_eq!(stopped(&host, 102, SHOW).await, before, "{place}");
        let flat = head(&host, session(1));
        assert!(flat.len() < 6 && layers(&host).is_superset(&flat.iter().cloned().collect()), "{place}: {flat:?}");
        assert_eq!(check_files(host.dir.path(), session(1)).expect("checked"), [], "{place}");
        host.backend.rewind(session(1), Some(snapshot(6))).await.expect("rewound");
        assert_eq!(stopped(&host, 103, SHOW).await, before, "{place}");
        host.finish().await;
    }
}
