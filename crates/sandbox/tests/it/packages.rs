//! Packages that an environment names, from archives that the test makes. `scripts/setup test` sees to it that their managers
//! are there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tar::{EntryType, Header};
use tenure_core::id::SessionId;
use tenure_core::packages::{Manager, Packages};
use tenure_core::root::Root;
use tenure_sandbox::{Error, Progress, Sandbox, Spec};

use crate::host::{Host, has_given_ids, has_one_id, is_root, needs_ordinary_user, run, session, shell, text};
use crate::shelf::{Layer, Shelf, image};

/// What was said while a sandbox was made ready.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<std::sync::Mutex<Vec<String>>>);

impl Heard {
    fn progress(&self) -> Progress {
        let heard = self.0.clone();
        Progress::to(move |doing| heard.lock().expect("no holder panics").push(doing.to_owned()))
    }

    fn words(&self) -> Vec<String> {
        let mut words = self.0.lock().expect("no holder panics").clone();
        words.dedup();
        words
    }
}

/// A host with an operator's directory of archives.
struct Depot {
    host: Host,
    archives: tempfile::TempDir,
}

impl Depot {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut tenure_sandbox::NativeConfig)) -> Self {
        let archives = tempfile::tempdir().expect("a directory");
        for manager in Manager::ALL {
            std::fs::create_dir(archives.path().join(manager.name())).expect("made");
        }
        // An ordinary user's builders are others.
        std::fs::set_permissions(archives.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
        let host = Host::with(|config| {
            config.packages_dir = archives.path().to_owned();
            change(config);
        });
        Self { host, archives }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.archives.path().join(name)
    }

    async fn open(&self, n: u128, wanted: &[(Manager, &[&str])]) -> Arc<dyn Sandbox> {
        let opened = self.host.backend.open(spec(session(n), Root::Host, wanted)).await;
        opened.expect("a sandbox").sandbox
    }

    async fn refusal(&self, n: u128, wanted: &[(Manager, &[&str])]) -> String {
        match self.host.backend.open(spec(session(n), Root::Host, wanted)).await.expect_err("refused") {
            Error::Invalid(why) => why,
            other => panic!("expected that the packages are at fault, got: {other:?}"),
        }
    }

    /// The names of the layers that packages made.
    fn layers(&self) -> Vec<String> {
        let mut layers = self.names("layers");
        layers.retain(|name| name.starts_with("packages-"));
        layers
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.host.dir.path().join(dir)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Makes a package of Python with a module that has a word, and a program that prints it.
    fn wheel(&self, name: &str, version: &str, word: &str, needs: &[&str]) {
        let dir = tempfile::tempdir().expect("a directory");
        let info = format!("{name}-{version}.dist-info");
        let needs: String = needs.iter().map(|needed| format!("Requires-Dist: {needed}\n")).collect();
        let files = [
            (format!("{name}/__init__.py"), format!("word = '{word}'\ndef say():\n    print(word)\n")),
            (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")),
            (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
            (format!("{info}/entry_points.txt"), format!("[console_scripts]\nsay-{name} = {name}:say\n")),
            (format!("{info}/RECORD"), String::new()),
        ];
        let wheel = self.at(&format!("pip/{name}-{version}-py3-none-any.whl"));
        let _ = std::fs::remove_file(&wheel);
        write_below(dir.path(), &files);
        let mut zip = Command::new("/usr/bin/python3");
        zip.args(["-m", "zipfile", "-c"]).arg(wheel).args([name, &info]).current_dir(dir.path());
        assert!(zip.status().expect("control: there is a Python").success());
    }

    /// Makes a package of Debian's kind with a file, and a script that runs when it is installed.
    fn deb(&self, name: &str, script: &str) {
        let dir = tempfile::tempdir().expect("a directory");
        let control =
            format!("Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: a test\n");
        let files = [
            ("DEBIAN/control".to_owned(), control),
            ("DEBIAN/postinst".to_owned(), format!("#!/bin/sh\nset -e\n{script}\n")),
            (format!("usr/share/{name}/note"), "from a package\n".to_owned()),
        ];
        write_below(dir.path(), &files);
        let script = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path().join("DEBIAN/postinst"), script).expect("made executable");
        let mut build = Command::new("dpkg-deb");
        build
            .args(["--root-owner-group", "--build"])
            .arg(dir.path())
            .arg(self.at(&format!("apt/{name}_1.0-1_all.deb")));
        assert!(build.output().expect("control: there is dpkg").status.success());
    }

    /// Makes a package of Node.js with a program.
    fn tgz(&self, name: &str, needs: &str) {
        let manifest = format!(
            r#"{{"name": "{name}", "version": "1.0.0", "bin": {{"{name}": "run.js"}}, "dependencies": {{{needs}}}}}"#
        );
        let program = format!("#!/usr/bin/env node\nconsole.log('{name} of node')\n");
        let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(packer);
        for (path, content, mode) in [("package/package.json", &manifest, 0o644), ("package/run.js", &program, 0o755)] {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_bytes()).expect("written to memory");
        }
        let packed = archive.into_inner().expect("written to memory").finish().expect("written to memory");
        std::fs::write(self.at(&format!("npm/{name}-1.0.0.tgz")), packed).expect("written");
    }
}

fn write_below(dir: &Path, files: &[(String, String)]) {
    for (name, content) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
}

fn spec(session: SessionId, root: Root, wanted: &[(Manager, &[&str])]) -> Spec {
    let mut packages = Packages::default();
    for (manager, names) in wanted {
        packages.set(*manager, names.iter().map(|name| (*name).to_owned()).collect());
    }
    Spec { root, packages, ..Spec::new(session) }
}

#[tokio::test]
async fn wheels_are_installed_once_for_all_that_want_the_same() {
    let depot = Depot::new();
    depot.wheel("tiny", "1.0", "one", &["deeper>=1"]);
    depot.wheel("deeper", "1.5", "below", &[]);
    depot.wheel("other", "1.0", "other", &[]);
    let sandbox = depot.open(1, &[(Manager::Pip, &["tiny==1.0"])]).await;
    let look = "python3 -c 'import tiny, deeper; print(tiny.word, deeper.word)'; say-tiny; python3 -c 'import other' 2>&1 | tail -n 1; \
                ls /var/tmp /run; touch $(which say-tiny) || echo no";
    let said = text(&run(&sandbox, 1, shell(look)).await);
    assert!(
        said.starts_with("one below\none\nModuleNotFoundError: No module named 'other'\n/run:\n\n/var/tmp:\n"),
        "{said}"
    );
    // Where there is one user, what is installed is the tools' own.
    assert_eq!(said.contains("Permission denied") && said.contains("no\n"), !has_one_id(), "{said}");
    let layers = depot.layers();
    assert_eq!(layers.len(), 1);
    // Whose owners are kept and whose aren't can't be taken for each other, in a backup neither.
    assert_eq!(layers[0].starts_with("packages-one-"), has_one_id(), "{layers:?}");
    let second = depot.open(2, &[(Manager::Pip, &["tiny==1.0"])]).await;
    assert_eq!(text(&run(&second, 1, shell("say-tiny")).await), "one\n");
    assert_eq!(depot.layers(), layers, "the second session has the first one's layer");
    // Where nothing was changed, the host's directories are there as they are.
    let parts = depot.names(&format!("layers/{}", layers[0]));
    assert_eq!(parts, ["root", "usr"]);

    // Another content is another layer, and a session keeps what it began with.
    depot.wheel("tiny", "1.0", "two", &[]);
    let third = depot.open(3, &[(Manager::Pip, &["tiny==1.0"])]).await;
    assert_eq!(text(&run(&third, 1, shell("say-tiny")).await), "two\n");
    assert_eq!(depot.layers().len(), 2);
    sandbox.stop(Duration::ZERO).await.expect("stopped");
    let again = depot.open(1, &[(Manager::Pip, &["tiny==1.0"])]).await;
    assert_eq!(text(&run(&again, 2, shell("say-tiny")).await), "one\n");
    let strays = tenure_sandbox::native::strays(depot.host.dir.path(), &|_| true);
    assert_eq!(strays.expect("looked"), [], "all that came about on the way is known");
    let plain = depot.open(4, &[]).await;
    assert_eq!(text(&run(&plain, 1, shell("which say-tiny || echo none")).await), "none\n");
    depot.host.finish().await;
}

#[tokio::test]
async fn sessions_at_once_have_them_installed_once() {
    let depot = Depot::new();
    depot.deb("unique", "cat /proc/sys/kernel/random/uuid > /opt/id");
    let wanted: &[(Manager, &[&str])] = &[(Manager::Apt, &["unique"])];
    let (one, other) = tokio::join!(depot.open(1, wanted), depot.open(2, wanted));
    let look = "cat /opt/id /usr/share/unique/note; dpkg-query -W unique";
    let first = text(&run(&one, 1, shell(look)).await);
    assert!(first.ends_with("from a package\nunique\t1.0-1\n") && first.len() > 60, "{first}");
    assert_eq!(text(&run(&other, 1, shell(look)).await), first);
    assert_eq!(depot.layers().len(), 1);
    depot.host.finish().await;
}

#[tokio::test]
async fn managers_install_one_after_another() {
    let depot = Depot::new();
    depot.deb("first", "");
    depot.tgz("second", "\"third\": \"^1.0.0\"");
    depot.tgz("third", "");
    depot.wheel("fourth", "1.0", "of python", &[]);
    let wanted: &[(Manager, &[&str])] =
        &[(Manager::Pip, &["fourth"]), (Manager::Npm, &["second@1.0.0", "third"]), (Manager::Apt, &["first=1.0-1"])];
    let sandbox = depot.open(1, wanted).await;
    let said = run(&sandbox, 1, shell("cat /usr/share/first/note; second; third; say-fourth")).await;
    assert_eq!(text(&said), "from a package\nsecond of node\nthird of node\nof python\n");
    depot.host.finish().await;
}

#[tokio::test]
async fn what_went_wrong_is_told_and_nothing_is_kept() {
    let depot = Depot::new();
    depot.deb("broken", "echo so far so good; printf '\\033[31mbut not now\\n' >&2; exit 3");
    depot.wheel("needy", "1.0", "x", &["absent>=2"]);
    let why = depot.refusal(1, &[(Manager::Apt, &["broken"])]).await;
    assert!(why.starts_with("packages: apt: installing ./broken_1.0-1_all.deb failed (exit status: 1): "), "{why}");
    assert!(why.contains("so far so good\n[31mbut not now\n"), "{why}");
    let why = depot.refusal(1, &[(Manager::Pip, &["needy"])]).await;
    assert!(why.contains("pip: installing needy failed") && why.contains("absent>=2"), "{why}");
    let why = depot.refusal(1, &[(Manager::Npm, &["nowhere@1.0.0"])]).await;
    assert!(why.starts_with("npm: no archive of nowhere@1.0.0 in /") && why.contains("put there"), "{why}");
    assert_eq!((depot.layers(), depot.names("builds")), (Vec::new(), Vec::new()));
    // The same session has another try.
    depot.wheel("absent", "2.0", "now there", &[]);
    let sandbox = depot.open(1, &[(Manager::Pip, &["needy"])]).await;
    assert_eq!(text(&run(&sandbox, 1, shell("say-absent")).await), "now there\n");
    depot.host.finish().await;
}

#[tokio::test]
async fn nothing_is_installed_on_a_disk_that_is_nearly_full() {
    let depot = Depot::with(|config| config.disk_floor_bytes = Some(1 << 60));
    depot.wheel("tiny", "1.0", "one", &[]);
    let opened = depot.host.backend.open(spec(session(1), Root::Host, &[(Manager::Pip, &["tiny"])])).await;
    let error = opened.expect_err("refused");
    assert!(format!("{error:?}").contains("--sandbox-disk-floor"), "{error:?}");
    assert_eq!((depot.layers(), depot.names("builds")), (Vec::new(), Vec::new()));
    depot.host.finish().await;
}

/// The host's files are nobody's in an ordinary user's sandbox.
#[tokio::test]
async fn what_the_host_has_can_be_replaced_but_not_changed_by_an_ordinary_users_packages() {
    if is_root() {
        return needs_ordinary_user();
    }
    let depot = Depot::new();
    let script = r#"
        say() { sh -c "$1" > /dev/null 2>&1 && echo "could: $1" >> /opt/log || echo "could not: $1" >> /opt/log; }
        say "ln /usr/bin/env /usr/bin/kept"
        say "chmod 755 /usr/bin/env"
        say "echo x >> /usr/bin/env"
        say "echo made > /usr/bin/new && mv /usr/bin/new /usr/bin/env"
        say "rm /usr/bin/id"
        say "mkdir /usr/share/doc/new"
    "#;
    depot.deb("eager", script);
    let sandbox = depot.open(1, &[(Manager::Apt, &["eager"])]).await;
    let look = "cat /opt/log /usr/bin/env; test -e /usr/bin/id || echo gone; ls -d /usr/share/doc/new; ls -A /usr/share/doc/new";
    let expected = "could not: ln /usr/bin/env /usr/bin/kept\ncould not: chmod 755 /usr/bin/env\n\
                    could not: echo x >> /usr/bin/env\ncould: echo made > /usr/bin/new && mv /usr/bin/new /usr/bin/env\n\
                    could: rm /usr/bin/id\ncould: mkdir /usr/share/doc/new\nmade\ngone\n/usr/share/doc/new\n";
    assert_eq!(text(&run(&sandbox, 1, shell(look)).await), expected);
    depot.host.finish().await;
}

#[tokio::test]
async fn archives_that_are_not_open_to_all_are_named() {
    let depot = Depot::new();
    depot.wheel("tiny", "1.0", "one", &[]);
    let wheel = depot.at("pip/tiny-1.0-py3-none-any.whl");
    std::fs::set_permissions(&wheel, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    let wanted: &[(Manager, &[&str])] = &[(Manager::Pip, &["tiny"])];
    if has_given_ids() {
        let why = depot.refusal(1, wanted).await;
        assert!(why.contains(&format!("{} isn't open to all: `chmod -R a+rX`", wheel.display())), "{why}");
        std::fs::set_permissions(&wheel, std::os::unix::fs::PermissionsExt::from_mode(0o604)).expect("opened");
    }
    let sandbox = depot.open(1, wanted).await;
    assert_eq!(text(&run(&sandbox, 1, shell("say-tiny")).await), "one\n");
    depot.host.finish().await;
}

/// Elsewhere it is root's, as it should be.
#[tokio::test]
async fn with_one_id_what_is_installed_is_the_tools_own() {
    let depot = Depot::new();
    let script = "cp /bin/true /opt/bits; chmod 6755 /opt/bits; mkdir -m 3775 /opt/dir; id -u > /opt/id";
    depot.deb("with-bits", script);
    depot.deb("with-users", "touch /opt/daemons; chown daemon /opt/daemons");
    let wanted: &[(Manager, &[&str])] = &[(Manager::Apt, &["with-bits"])];
    let sandbox = depot.open(1, wanted).await;
    let look = "stat -c '%u %a' /opt/bits /opt/dir /usr/share/with-bits/note; cat /opt/id";
    let change = "{ echo mine > /usr/share/with-bits/note; } 2> /dev/null; cat /usr/share/with-bits/note";
    let (looks, note) = match has_one_id() {
        true => ("1000 755\n1000 1775\n1000 644\n0\n", "mine\n"),
        false => ("0 6755\n0 3775\n0 644\n0\n", "from a package\n"),
    };
    assert_eq!(text(&run(&sandbox, 1, shell(look)).await), looks);
    assert_eq!(text(&run(&sandbox, 2, shell(change)).await), note);
    // Nobody else's.
    let other = depot.open(2, wanted).await;
    assert_eq!(text(&run(&other, 1, shell("cat /usr/share/with-bits/note")).await), "from a package\n");
    let wanted: &[(Manager, &[&str])] = &[(Manager::Apt, &["with-users"])];
    match has_one_id() {
        true => {
            let why = depot.refusal(3, wanted).await;
            assert!(why.contains("chown: ") && why.contains("/opt/daemons"), "{why}");
            assert!(why.ends_with("it takes subordinate ids, see `tenure doctor`.)"), "{why}");
        }
        false => {
            let sandbox = depot.open(3, wanted).await;
            assert_eq!(text(&run(&sandbox, 1, shell("stat -c %U /opt/daemons")).await), "daemon\n");
        }
    }
    depot.host.finish().await;
}

/// As root of its sandbox, but of nothing else.
#[tokio::test]
async fn hostile_scripts_are_confined() {
    let depot = Depot::new();
    let script = r#"
        id -u > /opt/log
        for attempt in "mount -t tmpfs x /mnt" "chroot / true" "unshare -m true" "mknod /opt/disk b 8 0" "touch /run/packages/apt/planted" \
            "rm /run/packages/apt/hostile_1.0-1_all.deb" "hostname x" "kill -9 1" "ls /root/.." \
            "touch /proc/sys/kernel/hostname" "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 5)'"; do
            sh -c "$attempt" > /dev/null 2>&1 && echo "could: $attempt" >> /opt/log
        done
        cp /bin/sh /opt/sh && chmod 4755 /opt/sh
        chmod 777 / /etc
        echo planted > /etc/hosts
        rmdir /home/agent /home && ln -s /etc /home
        rm -r /workspace && ln -s /etc /workspace
        mv /tmp /tmp2 2> /dev/null && ln -s /etc /tmp
        (setsid sh -c 'sleep 1000000; touch /opt/later' > /dev/null 2>&1 &)
    "#;
    depot.deb("hostile", script);
    let sandbox = depot.open(1, &[(Manager::Apt, &["hostile"])]).await;
    let said = text(
        &run(
            &sandbox,
            1,
            shell("cat /opt/log; pwd; stat -c '%F %U %a' / /workspace /home /home/agent /etc; cat /etc/hosts"),
        )
        .await,
    );
    // Where there is one user, nothing reaches the first process, and the root is the tools' own.
    let (could, root) = if has_one_id() { ("", "agent") } else { ("could: kill -9 1\n", "root") };
    let expected = format!(
        "0\n{could}could: ls /root/..\n/workspace\ndirectory {root} 755\ndirectory agent 755\ndirectory {root} 755\n\
         directory agent 755\ndirectory {root} 755\n127.0.0.1 localhost sandbox\n"
    );
    assert!(said.starts_with(&expected), "{said}");
    let said = text(&run(&sandbox, 2, shell("/opt/sh -c 'id -u'; pgrep -c sleep; touch /opt/mine || echo no")).await);
    assert!(said.starts_with("1000\n0\n") && said.contains("no\n") != has_one_id(), "{said}");
    assert!(depot.at("apt/hostile_1.0-1_all.deb").exists() && !depot.at("apt/planted").exists());
    depot.host.finish().await;
}

#[tokio::test]
async fn an_image_has_packages_installed_by_its_own_managers() {
    let shelf = Shelf::new();
    let images = shelf.clone();
    let depot = Depot::with(|config| config.images = Some(images));
    let dpkg = ["dpkg", "dpkg-deb", "dpkg-split", "dpkg-query", "tar", "rm", "sh", "bash", "cat", "diff"];
    let database = Layer::new().text("var/lib/dpkg/status", "").dir("var/lib/dpkg/info", 0o755, 0);
    let linker = Layer::new()
        .file("usr/sbin/ldconfig", b"#!/bin/sh\n", 0o755, 0)
        .file("usr/sbin/start-stop-daemon", b"#!/bin/sh\n", 0o755, 0)
        .symlink("sbin", "usr/sbin");
    shelf.put("debianish", vec![Layer::with_programs(&dpkg), database, linker]);
    depot.deb("added", "echo configured > /etc/mark");
    let wanted: &[(Manager, &[&str])] = &[(Manager::Apt, &["added"])];
    let heard = Heard::default();
    let asked = Spec { progress: heard.progress(), ..spec(session(1), image("debianish"), wanted) };
    let opened = depot.host.backend.open(asked).await;
    let sandbox = opened.expect("a sandbox").sandbox;
    let said = run(&sandbox, 1, shell("cat /etc/mark /usr/share/added/note; dpkg-query -W; echo $GREETING")).await;
    assert_eq!(text(&said), "configured\nfrom a package\nadded\t1.0-1\nhello\n");
    let words = heard.words();
    let layer = |number: usize, end: &str| {
        let begin = format!("image registry.test/debianish:latest: layer {number} of 3: ");
        words.iter().any(|doing| doing.starts_with(&begin) && doing.ends_with(end))
    };
    assert_eq!(words.first().map(String::as_str), Some("image registry.test/debianish:latest: looking it up"));
    assert!((1..=3).all(|number| layer(number, " MiB fetched") && layer(number, ": unpacking")), "{words:?}");
    assert_eq!(words.last().map(String::as_str), Some("packages: installing apt: added"));
    let refused = depot.host.backend.open(spec(session(2), image("debianish"), &[(Manager::Pip, &["x"])])).await;
    assert!(refused.expect_err("refused").to_string().starts_with("pip: no archive of x in "));
    depot.wheel("x", "1", "x", &[]);
    let refused = depot.host.backend.open(spec(session(2), image("debianish"), &[(Manager::Pip, &["x"])])).await;
    let why = refused.expect_err("refused").to_string();
    assert!(why.starts_with("packages: pip: the root file system has no `python3` to install packages with"), "{why}");
    depot.host.finish().await;
}

#[tokio::test]
async fn packages_stay_through_snapshots_forks_and_rewinding() {
    let depot = Depot::new();
    depot.wheel("tiny", "1.0", "one", &[]);
    let wanted: &[(Manager, &[&str])] = &[(Manager::Pip, &["tiny"])];
    let sandbox = depot.open(1, wanted).await;
    run(&sandbox, 1, shell("echo before > note")).await;
    let snapshot = tenure_core::id::SnapshotId::from_bits(7);
    let backend = &depot.host.backend;
    backend.snapshot(session(1), snapshot, None).await.expect("taken");
    run(&sandbox, 2, shell("echo after > note")).await;
    backend.fork(session(1), snapshot, &[], session(2)).await.expect("forked");
    let fork = depot.open(2, wanted).await;
    assert_eq!(text(&run(&fork, 1, shell("cat note; say-tiny")).await), "before\none\n");
    backend.rewind(session(1), None).await.expect("rewound");
    let sandbox = depot.open(1, wanted).await;
    assert_eq!(text(&run(&sandbox, 3, shell("cat note 2> /dev/null || say-tiny")).await), "one\n");
    assert_eq!(depot.layers().len(), 1);
    depot.host.finish().await;
}

/// The supervisor dies right before or after the layer has its name, or when the session's files begin with it; the next one goes on.
/// Those started in its place die of the same, so another server's has to.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_supervisor_that_dies_when_a_layer_is_sealed_leaves_it_whole() {
    for place in ["build.done", "build.sealed", "begin.headed"] {
        let mut depot = Depot::with(|config| config.failpoint = Some(format!("{place}:1")));
        depot.deb("unique", "cat /proc/sys/kernel/random/uuid > /opt/id");
        let wanted: &[(Manager, &[&str])] = &[(Manager::Apt, &["unique"])];
        let opened = depot.host.backend.open(spec(session(1), Root::Host, wanted)).await;
        assert_eq!(opened.is_err(), place == "build.done", "{place}");
        depot.host.backend.shutdown().await.expect("shut down");
        let archives = depot.archives.path().to_owned();
        depot.host.restarted_with(|config| config.packages_dir = archives);
        let sandbox = depot.open(1, wanted).await;
        let layers = depot.layers();
        let id = std::fs::read_to_string(depot.host.dir.path().join("layers").join(&layers[0]).join("root/opt/id"));
        assert_eq!(text(&run(&sandbox, 1, shell("cat /opt/id")).await), id.expect("it has one"), "{place}");
        assert_eq!((layers.len(), depot.names("builds")), (1, Vec::new()), "{place}");
        depot.host.finish().await;
    }
}

#[tokio::test]
async fn what_a_supervisor_was_installing_when_it_died_is_begun_again() {
    let depot = Depot::new();
    let mark = depot.at("apt/mark");
    let script = "echo $$ >> /opt/runs; while test ! -e /run/packages/apt/mark; do sleep 0.01; done";
    depot.deb("slow", script);
    let wanted: &[(Manager, &[&str])] = &[(Manager::Apt, &["slow"])];
    let backend = depot.host.backend.clone();
    let opening = tokio::spawn(async move { backend.open(spec(session(1), Root::Host, wanted)).await });
    let builds = depot.host.dir.path().join("builds");
    let runs_script = || {
        let builds = std::fs::read_dir(&builds).into_iter().flatten().flatten();
        builds.into_iter().any(|build| build.path().join("layer/root/opt/runs").exists())
    };
    while !runs_script() {
        assert!(!opening.is_finished(), "it is being installed: {:?}", opening.await);
        tokio::task::yield_now().await;
    }
    let supervisor = depot.host.supervisor();
    let gone = crate::host::wait_for_end(supervisor);
    std::fs::write(mark, "").expect("written");
    crate::host::kill(supervisor);
    gone.await.expect("it is gone");
    let sandbox = opening.await.expect("no panic").expect("a sandbox").sandbox;
    assert_eq!(text(&run(&sandbox, 1, shell("wc -l < /opt/runs")).await), "1\n");
    assert_eq!((depot.layers().len(), depot.names("builds")), (1, Vec::new()));
    depot.host.finish().await;
}
