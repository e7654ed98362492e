//! An executable that does little but play the sandbox roles, for the tests of this crate.

#[path = "guest/drive.rs"]
mod drive;

use std::ffi::CString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tenure_sandbox::native::{as_owner_of_files, check_files, load_files, mark_restored, save_files};
use tenure_sandbox::{Backend, Native, NativeConfig, Op, dispatch};

const OPS: &[Op] = &[
    Op { name: "echo", run: echo },
    Op { name: "panic", run: |_, _| panic!("as asked") },
    Op { name: "hog", run: hog },
    Op { name: "relay", run: relay },
];

fn main() {
    dispatch(OPS);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // For the control of the escape suite: the same attempts, made outside of any sandbox.
        ["probe-here"] => tenure_sandbox::native::probe_here(&mut std::io::stdout()),
        ["report", dir] => report(Path::new(dir)),
        // As a backup, a restore and `tenure check` do it.
        ["save-files", dir, session] => {
            as_owner_of_files(Path::new(dir)).expect("its owner");
            let session = session.parse().expect("a session");
            save_files(Path::new(dir), session, &mut std::io::stdout()).expect("saved").expect("it has files");
        }
        ["load-files", dir, session] => {
            as_owner_of_files(Path::new(dir)).expect("its owner");
            let session = session.parse().expect("a session");
            load_files(Path::new(dir), session, &mut std::io::stdin()).expect("loaded");
            mark_restored(Path::new(dir), std::time::SystemTime::now()).expect("marked");
        }
        ["check-files", dir, session] => {
            as_owner_of_files(Path::new(dir)).expect("its owner");
            let found = check_files(Path::new(dir), session.parse().expect("a session")).expect("checked");
            found.iter().for_each(|damage| drop(writeln!(std::io::stdout(), "{damage:?}")));
        }
        ["drive", dir, most_layers] => drive::drive(Path::new(dir), most_layers.parse().expect("a number")),
        ["report-without-user-namespaces", dir] => {
            leave_user_namespaces();
            report(Path::new(dir));
        }
        ["report-without-administration", dir] => {
            // SAFETY: takes numbers only. Programs that this one starts won't have CAP_SYS_ADMIN.
            let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 21, 0, 0, 0) };
            assert_eq!(dropped, 0, "control: this needs root");
            report(Path::new(dir));
        }
        ["report-on-an-overlay", dir] => {
            report(&on_an_overlay(Path::new(dir)));
        }
        ["report-as-nobody-without-user-namespaces", dir] => {
            leave_user_namespaces();
            report_as_nobody(Path::new(dir));
        }
        ["report-as-nobody-in-a-chroot", dir] => {
            change_root(Path::new(dir));
            report_as_nobody(Path::new(dir));
        }
        ["report-on-files-of-nobody", dir] => {
            let sessions = Path::new(dir).join("sessions");
            std::fs::create_dir_all(&sessions).expect("a directory");
            std::os::unix::fs::chown(&sessions, Some(NOBODY), Some(NOBODY)).expect("control: this needs root");
            report(Path::new(dir));
        }
        _ => {}
    }
}

const NOBODY: u32 = 65_534;

/// Reports as an ordinary user to whom this directory belongs.
fn report_as_nobody(dir: &Path) {
    // SAFETY: changes the user and groups of this process, which has one thread.
    let changed = unsafe { libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(NOBODY) == 0 };
    let given = std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).is_ok();
    // SAFETY: as above.
    assert!(given && changed && unsafe { libc::setuid(NOBODY) } == 0, "control: this needs root");
    report(&dir.join("sandbox"));
}

/// Goes below a root that looks like the one there is, but isn't that of the mounts.
fn change_root(dir: &Path) {
    let root = dir.join("root");
    std::fs::create_dir(&root).expect("a directory");
    let root = CString::new(root.to_string_lossy().into_owned()).expect("no zero byte");
    let null = std::ptr::null();
    // SAFETY: moves this process, which has one thread, into a new namespace; every pointer is to a C string or null.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "control: this needs root");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(null, c"/".as_ptr(), null, private, null.cast()), 0, "control: mounts stay here");
        let bind = libc::MS_REC | libc::MS_BIND;
        assert_eq!(
            libc::mount(c"/".as_ptr(), root.as_ptr(), null, bind, null.cast()),
            0,
            "control: it can be shown twice"
        );
        assert_eq!(libc::chroot(root.as_ptr()), 0, "control: this needs root");
    }
    std::env::set_current_dir("/").expect("a directory");
}

/// Goes where no user namespace can be made: into one, the only one, that allows none below it.
fn leave_user_namespaces() {
    let (mut mapped, mut say_mapped) = std::io::pipe().expect("a pipe");
    let parent = std::process::id();
    // SAFETY: this process has one thread; the copy only writes two files and ends.
    let mapper = unsafe { libc::fork() };
    if mapper == 0 {
        drop(say_mapped);
        let _ = mapped.read(&mut [0]);
        // Every user as outside, so that nothing but the number of namespaces is different.
        let written =
            ["uid_map", "gid_map"].map(|map| std::fs::write(format!("/proc/{parent}/{map}"), "0 0 4294967295"));
        std::process::exit(i32::from(written.iter().any(Result::is_err)));
    }
    drop(mapped);
    // SAFETY: moves this process, which has one thread, into a new namespace, and waits for its own child.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWUSER), 0, "control: one can be made here");
        say_mapped.write_all(b"1").expect("it waits");
        let mut status = 0;
        libc::waitpid(mapper, &raw mut status, 0);
        assert_eq!(status, 0, "control: it can be mapped");
    }
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").expect("control: the limit can be set");
}

/// A directory on an overlay that only this process and what it starts can see.
fn on_an_overlay(dir: &Path) -> PathBuf {
    let part = |name: &str| dir.join(name).to_string_lossy().into_owned();
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(part(name)).expect("a directory");
    }
    let text = |text: String| CString::new(text).expect("no zero byte");
    let options = text(format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work")));
    let merged = text(part("merged"));
    let (kind, null) = (c"overlay".as_ptr(), std::ptr::null());
    // SAFETY: moves this process, which has one thread, into a new namespace; every pointer is to a C string or null.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "control: this needs root");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(null, c"/".as_ptr(), null, private, null.cast()), 0, "control: mounts stay here");
        let mounted = libc::mount(kind, merged.as_ptr(), kind, 0, options.as_ptr().cast());
        assert_eq!(mounted, 0, "control: an overlay can be mounted");
    }
    dir.join("merged/sandbox")
}

fn report(dir: &Path) {
    let config = NativeConfig::new(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = runtime.block_on(Native::new(config).probe());
    for check in report.checks {
        let line = format!("{:?} {}: {}; {}\n", check.outcome, check.name, check.cause, check.fix);
        std::io::stdout().write_all(line.as_bytes()).expect("it is read");
    }
}

fn echo(input: &[u8], out: &mut dyn Write) -> i32 {
    match out.write_all(input) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Gives back what it was ordered with, then what comes in, as it comes.
fn relay(input: &[u8], out: &mut dyn Write) -> i32 {
    let mut bytes = [0; 1000];
    let mut given = out.write_all(input).and_then(|()| out.flush());
    while given.is_ok() {
        given = match std::io::stdin().read(&mut bytes) {
            Ok(0) => return 0,
            Ok(length) => out.write_all(&bytes[..length]).and_then(|()| out.flush()),
            Err(error) => Err(error),
        };
    }
    1
}

/// Takes memory until there is none.
fn hog(_: &[u8], _: &mut dyn Write) -> i32 {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1 << 20]);
        if all.len() > 1 << 20 {
            return 0;
        }
    }
}
