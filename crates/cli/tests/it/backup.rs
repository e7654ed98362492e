use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, find as written, finish, has_sandboxes, read_until, signal, until};

#[test]
fn a_backup_is_restored_and_its_sessions_carry_on() {
    if !has_sandboxes("a_backup_is_restored_and_its_sessions_carry_on") {
        return;
    }
    let home = Home::new();
    let idle = home.session("hello");
    let mut run =
        home.command(&["run", "assistant", "go", "--json", "--model", "script/gate"]).spawn().expect("started");
    let (_rest, said) = read_until(run.stdout.take().expect("piped"), "agent.tool_use");
    let session: Value = serde_json::from_str(said.lines().next().expect("a line")).expect("it is JSON");
    let busy = session["data"]["id"].as_str().expect("an id").to_owned();
    let id = tenure_core::id::SessionId::parse(&busy).expect("an id");
    until("the call's beginning", || find(&home.data().join(format!("sandbox/sessions/{id}")), "gate"));

    // In the middle of the call, with the server running.
    let backup = home.data().with_file_name("backup");
    let manifest = home.json(&["backup", text(&backup)])["manifest"].clone();
    assert_eq!((&manifest["sessions"], &manifest["master_key"]), (&2.into(), &true.into()), "{manifest}");
    assert_eq!(manifest["sessions_with_files"], 1, "{manifest}");
    signal(run.id(), Signal::KILL);
    finish(run);

    let restored = Restored::of(&home, &backup, "restored");
    assert!(restored.generation > 1_700_000_000, "{}", restored.generation);
    for name in ["server.json", "server.log", "lock", "start.lock"] {
        assert!(!restored.dir.join(name).exists(), "{name} is of the old server");
    }
    assert_eq!(
        fs::read(restored.dir.join("root.key")).expect("read"),
        fs::read(home.data().join("root.key")).expect("read")
    );
    // Its server takes up what was under way: the call is over, since nobody knows how it went, and isn't run again.
    let status = |id: &str| restored.json(&home, &["sessions", "get", id])["status"].clone();
    until("the session's rest", || (status(&busy) == "idle").then_some(()));
    // The turn's end may be sealing the layer that it is in.
    let lines =
        until("what the call wrote", || fs::read_to_string(written(&restored.dir.join("sandbox"), "log")?).ok());
    assert_eq!(lines, "line\n", "the call ran once");
    let said = restored.ok(&home, &["sessions", "resume", &idle, "again", "--single"]);
    assert_eq!(said.trim(), "I hear you.");
    let checked = restored.json(&home, &["check"]);
    assert_eq!((&checked["ok"], &checked["checked"]["sessions"]), (&true.into(), &2.into()), "{checked}");
    // Another restore of the same backup is another generation.
    assert!(Restored::of(&home, &backup, "again").generation > restored.generation);
}

#[test]
fn every_damage_to_a_backup_is_noticed_before_anything_is_written() {
    let home = Home::new();
    home.session(&"a long message ".repeat(5_000));
    home.run(&["down"]);
    let backup = home.data().with_file_name("backup");
    home.ok(&["backup", text(&backup)]);
    let target = home.data().with_file_name("target");
    let files = files(&backup);
    let has = |name: &str| files.iter().any(|file| file.strip_prefix(&backup).is_ok_and(|file| file.starts_with(name)));
    for name in
        ["tenure.db", "blobs", "manifest.json", "files.sha256", "master.key", "root.key", "config.toml", "scripts"]
    {
        assert!(has(name), "{name} isn't in the backup: {files:?}");
    }
    let refused = |what: &str| {
        let ran = home.run(&["restore", text(&backup), "--data-dir", text(&target)]);
        assert_eq!(ran.code, 1, "{what} went unnoticed: {ran:#?}");
        assert!(!target.exists() && !target.with_extension("restoring").exists(), "{what}: something was written");
        ran.stderr
    };
    for file in &files {
        let (name, whole) = (file.display(), fs::read(file).expect("read"));
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(file, damaged).expect("written");
            refused(&format!("a bit at {at} of {name}"));
        }
        fs::write(file, &whole[..whole.len() - 1]).expect("written");
        refused(&format!("the loss of the last byte of {name}"));
        fs::remove_file(file).expect("removed");
        refused(&format!("the loss of {name}"));
        fs::write(file, &whole).expect("written");
    }
    let blob = files.iter().find(|file| file.starts_with(backup.join("blobs"))).expect("a blob");
    fs::write(blob, "x").expect("written");
    assert!(refused("a blob").contains("blobs/"), "the file is named");
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_refused() {
    let home = Home::new();
    home.session("hello");
    let backup = home.data().with_file_name("backup");
    home.ok(&["backup", text(&backup)]);
    let refused = |args: &[&str], said: &str| {
        let ran = home.run(args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:#?}");
        assert!(ran.stderr.contains(said), "{args:?}: {ran:#?}");
    };
    refused(&["backup", text(&backup)], "exists already");
    refused(&["restore", text(&backup)], "isn't empty");
    let nothing = home.data().with_file_name("nothing");
    refused(&["restore", text(&nothing), "--data-dir", text(&nothing)], "isn't a backup");
    refused(&["backup", text(&nothing), "--data-dir", text(&backup.join("scripts"))], "nothing to back up");
    refused(&["check", "--data-dir", text(&nothing)], "nothing to check");
    // An empty folder is as good as none.
    fs::create_dir(&nothing).expect("made");
    home.ok(&["restore", text(&backup), "--data-dir", text(&nothing)]);
    assert!(nothing.join("tenure.db").exists());

    let manifest = backup.join("manifest.json");
    let newer = fs::read_to_string(&manifest).expect("read").replace("\"format\": 2", "\"format\": 3");
    fs::write(&manifest, newer).expect("written");
    refused(&["restore", text(&backup), "--data-dir", text(&backup.join("x"))], "of form 3; this version knows 2");
}

#[test]
fn a_backup_of_the_form_before_is_restored() {
    let home = Home::new();
    let session = home.session("hello");
    home.run(&["down"]);
    let backup = home.data().with_file_name("backup");
    home.ok(&["backup", text(&backup)]);
    let manifest = backup.join("manifest.json");
    let now = fs::read_to_string(&manifest).expect("read");
    let before = now.replace("\"format\": 2", "\"format\": 1").replace("  \"layers\": 0,\n", "");
    assert_ne!(now.lines().count(), before.lines().count());
    fs::write(&manifest, before).expect("written");
    let hashed = std::process::Command::new("sha256sum").arg(&manifest).output().expect("hashed").stdout;
    let hash = String::from_utf8(hashed).expect("text")[..64].to_owned();
    let list = backup.join("files.sha256");
    let lines = fs::read_to_string(&list).expect("read");
    let lines = lines.lines().map(|line| match line.strip_suffix("  manifest.json") {
        Some(_) => format!("{hash}  manifest.json\n"),
        None => format!("{line}\n"),
    });
    fs::write(&list, lines.collect::<String>()).expect("written");
    let restored = Restored::of(&home, &backup, "restored");
    let said = restored.ok(&home, &["sessions", "resume", &session, "again", "--single"]);
    assert_eq!(said.trim(), "I hear you.");
}

#[test]
fn a_backup_that_is_broken_off_leaves_nothing() {
    let home = Home::new();
    home.session("hello");
    // Takes no space here, and long to copy.
    let long = fs::File::create(home.data().join("scripts/long.yaml")).expect("made");
    long.set_len(2 * 1024 * 1024 * 1024).expect("set");
    let backup = home.data().with_file_name("backup");
    let mut taking = home.command(&["backup", text(&backup)]).spawn().expect("started");
    let (_rest, _) = read_until(taking.stderr.take().expect("piped"), "copying the sessions' files");
    signal(taking.id(), Signal::INT);
    assert_eq!(taking.wait().expect("waited for").code(), Some(130));
    assert!(!backup.exists() && !backup.with_extension("partial").exists());
    drop(long);
}

#[test]
fn a_check_names_what_is_damaged() {
    let home = Home::new();
    let session = home.session("an unmistakable message");
    assert!(home.ok(&["check"]).starts_with("all is well: 1 sessions"));
    home.run(&["down"]);
    // A folder of a session that doesn't exist, and a fact with another bit.
    let stray = home.data().join("sandbox/sessions/00000000000000000000000000000001");
    fs::create_dir_all(&stray).expect("made");
    let database = home.data().join("tenure.db");
    let mut bytes = fs::read(&database).expect("read");
    // The message is in its fact and in the session's row; all of it is damaged in the same way.
    let message = b"an unmistakable message";
    let places: Vec<_> = (0..bytes.len() - message.len()).filter(|at| bytes[*at..].starts_with(message)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + 3] ^= 1);
    fs::write(&database, bytes).expect("written");

    let checked = home.run(&["check"]);
    assert_eq!(checked.code, 1, "{checked:#?}");
    assert!(checked.stdout.contains(&format!("✗ session {session}")), "{checked:#?}");
    assert!(checked.stdout.contains("checksum") && checked.stdout.contains("tenure restore"), "{checked:#?}");
    assert!(checked.stdout.contains(text(&stray)), "{checked:#?}");
    let lines = home.run(&["check", "--json"]).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert_eq!(lines.last().expect("a line")["ok"], false);
    assert!(lines.iter().any(|line| line["part"] == "log" && line["seq"].is_u64()), "{lines:?}");
    assert!(lines.iter().any(|line| line["part"] == "files" && line["path"] == text(&stray)), "{lines:?}");

    let backup = home.data().with_file_name("backup");
    let refused = home.run(&["backup", text(&backup)]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stderr.contains("--despite-damage") && !backup.exists(), "{refused:#?}");
    let made = home.json(&["backup", text(&backup), "--despite-damage"]);
    assert_ne!(made["manifest"]["damaged"], 0, "{made}");
}

/// A data directory made of a backup; its server ends with it.
struct Restored<'a> {
    home: &'a Home,
    dir: PathBuf,
    generation: u64,
}

impl<'a> Restored<'a> {
    fn of(home: &'a Home, backup: &Path, name: &str) -> Self {
        let dir = home.data().with_file_name(name);
        let said = home.json(&["restore", text(backup), "--data-dir", text(&dir)]);
        Self { home, dir, generation: said["generation"].as_u64().expect("a number") }
    }

    fn ok(&self, home: &Home, args: &[&str]) -> String {
        home.ok(&[args, &["--data-dir", text(&self.dir)]].concat())
    }

    fn json(&self, home: &Home, args: &[&str]) -> Value {
        home.json(&[args, &["--data-dir", text(&self.dir)]].concat())
    }
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        self.home.run(&["down", "--data-dir", text(&self.dir)]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("there").flatten() {
        match entry.file_type().expect("known").is_dir() {
            true => files.extend(self::files(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    files
}

/// A file of that name somewhere below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            return Some(path);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = find(&path, name)
        {
            return Some(found);
        }
    }
    None
}
