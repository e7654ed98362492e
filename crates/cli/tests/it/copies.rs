//! Snapshots, what has changed since, forks, rewinds and clones, with the real sandbox.

use crate::home::{Home, has_sandboxes};

/// A session in which files were written by a turn; gives its short id.
fn written(home: &Home) -> String {
    let ran = home.run(&["run", "assistant", "write", "--single", "--model", "script/files"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Written.\n"), "{ran:#?}");
    ran.stderr.rsplit("tenure sessions resume ").next().expect("never empty").trim().to_owned()
}

#[test]
fn what_has_changed_is_shown_as_patch_takes_it() {
    if !has_sandboxes("what_has_changed_is_shown_as_patch_takes_it") {
        return;
    }
    let home = Home::new();
    let id = written(&home);
    // After a turn: what it did.
    let ran = home.run(&["sessions", "diff", &id]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "from the beginning to now\n"));
    let report = "diff a/report.md b/report.md\nnew file mode 0644\n--- /dev/null\n+++ b/report.md\n@@ -0,0 +1,3 @@\n+one\n+two\n+three\n";
    let bytes = "diff a/bytes b/bytes\nnew file mode 0644\nbinary, nothing -> 3 B\n";
    assert_eq!(ran.stdout, format!("{bytes}{report}"));
    assert_eq!(home.ok(&["sessions", "diff", &id, "--path", "report.md"]), report);
    assert_eq!(home.ok(&["sessions", "diff", &id, "--name-only"]), "bytes\nreport.md\n");

    home.ok(&["sessions", "snapshots", &id, "--take", "before"]);
    assert_eq!(home.ok(&["sessions", "diff", &id, "before"]), "");
    assert_eq!(home.run(&["sessions", "diff", &id, "before", "--exit-code"]).code, 0);
    home.ok(&["sessions", "resume", &id, "edit", "--single"]);
    let changed =
        "diff a/report.md b/report.md\n--- a/report.md\n+++ b/report.md\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
    let directory = "diff a/src b/src\nnew directory mode 0755\n";
    let added =
        "diff a/src/added b/src/added\nnew file mode 0644\n--- /dev/null\n+++ b/src/added\n@@ -0,0 +1 @@\n+new\n";
    let ran = home.run(&["sessions", "diff", &id, "before", "--exit-code"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "from snapshot before to now\n"));
    assert_eq!(ran.stdout, format!("{changed}{directory}{added}"));
    let stat = home.ok(&["sessions", "diff", &id, "before", "--stat"]);
    let expected = " report.md |     2 +-\n src       |       directory added\n src/added |     1 +\n 3 paths differ, 2 lines added, 1 removed\n";
    assert_eq!(stat, expected);
    assert_eq!(home.ok(&["sessions", "diff", &id, "start", "--to", "before", "--name-only"]), "bytes\nreport.md\n");
    let told = home.json(&["sessions", "diff", &id, "before"]);
    assert_eq!((&told["from"]["name"], &told["to"]["type"]), (&"before".into(), &"now".into()));
    assert_eq!((&told["data"][0]["change"], told["data"].as_array().map(Vec::len)), (&"modified".into(), Some(3)));
    // It is what `patch` applies: the copy of before becomes what there is now.
    let here = tempfile::tempdir().expect("a directory");
    let report = here.path().join("report.md");
    std::fs::write(&report, "one\ntwo\nthree\n").expect("written");
    let patch = here.path().join("patch");
    std::fs::write(&patch, ran.stdout).expect("written");
    if let Ok(applied) =
        std::process::Command::new("patch").args(["-p1", "-i", "patch"]).current_dir(here.path()).output()
    {
        assert!(applied.status.success(), "{applied:?}");
        assert_eq!(std::fs::read_to_string(&report).expect("text"), "one\n2\nthree\n");
        assert_eq!(std::fs::read_to_string(here.path().join("src/added")).expect("text"), "new\n");
    }
    // Of a stopped session, too.
    home.ok(&["sessions", "stop", &id]);
    assert_eq!(home.ok(&["sessions", "diff", &id, "before", "--path", "report.md"]), changed);
}

#[test]
fn a_session_is_forked_rewound_and_cloned_with_its_files() {
    if !has_sandboxes("a_session_is_forked_rewound_and_cloned_with_its_files") {
        return;
    }
    let home = Home::new();
    let id = written(&home);
    let taken = home.run(&["sessions", "snapshots", &id, "--take", "before"]);
    assert!(taken.code == 0 && taken.stderr.contains("Snapshot before taken"), "{taken:#?}");
    let again = home.run(&["sessions", "snapshots", &id, "--take", "before"]);
    assert!(again.code == 1 && again.stderr.contains("before"), "{again:#?}");
    home.ok(&["sessions", "resume", &id, "edit", "--single"]);
    let report = |id: &str| home.ok(&["sessions", "files", "cat", id, "report.md"]);
    assert_eq!(report(&id), "one\n2\nthree\n");

    let listed = home.ok(&["sessions", "snapshots", &id]);
    assert!(listed.lines().any(|line| line.contains("before") && line.contains("snap_")), "{listed}");
    let snapshots = home.json(&["sessions", "snapshots", &id]);
    let named =
        |name: &str| snapshots["snapshots"].as_array().map(|all| all.iter().filter(|one| one["name"] == name).count());
    assert_eq!(named("before"), Some(1), "{snapshots}");

    let fork = home.ok(&["sessions", "fork", &id, "--at", "before", "--title", "another try"]);
    let fork = fork.trim();
    assert_eq!(
        (report(fork).as_str(), home.json(&["sessions", "get", fork])["title"].as_str()),
        ("one\ntwo\nthree\n", Some("another try"))
    );
    let bare = home.ok(&["sessions", "fork", &id, "--no-files"]);
    assert_eq!(home.ok(&["sessions", "files", "ls", bare.trim()]), "");
    let clone = home.json(&["sessions", "clone", &id, "--files", "--title", "like it"]);
    let clone = clone["id"].as_str().expect("an id");
    assert_eq!(
        (report(clone).as_str(), home.json(&["sessions", "get", clone])["tenure"]["messages"].as_u64()),
        ("one\n2\nthree\n", Some(0))
    );
    let empty = home.ok(&["sessions", "clone", &id]);
    assert_eq!(home.ok(&["sessions", "files", "ls", empty.trim()]), "");

    let rewound = home.run(&["sessions", "rewind", &id, "before"]);
    assert!(rewound.code == 0 && rewound.stderr.contains("rewound"), "{rewound:#?}");
    assert_eq!(report(&id), "one\ntwo\nthree\n");
    assert_eq!(home.ok(&["sessions", "diff", &id, "before"]), "");
    let deleted = home.run(&["sessions", "snapshots", &id, "--delete", "before"]);
    assert!(deleted.code == 0 && deleted.stderr.contains("Snapshot before deleted"), "{deleted:#?}");
}

#[test]
fn places_that_are_not_there_are_named() {
    let home = Home::new();
    let id = home.session("hello");
    for command in [
        &["sessions", "diff", &id, "before"][..],
        &["sessions", "diff", &id, "--to", "before"],
        &["sessions", "fork", &id, "--at", "before"],
        &["sessions", "rewind", &id, "before"],
    ] {
        let ran = home.run(command);
        assert!(ran.code == 1 && ran.stdout.is_empty(), "{command:?}: {ran:#?}");
        assert!(ran.stderr.contains("no snapshot `before`; it has no named snapshots"), "{command:?}: {ran:#?}");
    }
    let ran = home.run(&["sessions", "rewind", &id, "999999"]);
    assert!(ran.code == 1 && ran.stderr.contains("the log ends at"), "{ran:#?}");
    let ran = home.run(&["sessions", "snapshots", &id, "--delete", "before"]);
    assert!(ran.code == 1 && ran.stderr.contains("before"), "{ran:#?}");
    let ran = home.run(&["sessions", "snapshots", &id, "--take", "two words"]);
    assert!(ran.code == 1 && ran.stderr.contains("letters, digits"), "{ran:#?}");
    assert_eq!(home.ok(&["sessions", "snapshots", &id]), "");
    for command in ["diff", "fork", "rewind", "clone", "snapshots", "limits", "exec", "download", "upload"] {
        let more: &[&str] = match command {
            "rewind" | "upload" => &["x"],
            "exec" => &["--", "true"],
            _ => &[],
        };
        let ran = home.run(&[&["sessions", command, "ffff0000ffff"][..], more].concat());
        assert!(ran.code == 1 && ran.stderr.contains("No session found"), "{command}: {ran:#?}");
        let help = home.ok(&["sessions", command, "--help"]);
        assert!(help.contains("Usage: tenure sessions") && help.contains("digits"), "{command}: {help}");
    }
    let ran = home.run(&["sessions", "diff", &id, "--stat", "--name-only"]);
    assert!(ran.code == 1 && ran.stderr.contains("cannot be used with"), "{ran:#?}");
}
