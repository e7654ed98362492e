//! Attempts to get out, each with a control that shows that the attempt itself is sound.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use tenure_sandbox::Outcome;

use crate::host::{Host, exec, guest, has_given_ids, is_root, needs_root, run, session, shell, text};

#[tokio::test]
async fn every_check_of_the_probe_passes() {
    let host = Host::new();
    let report = host.backend.probe().await;
    let failed: Vec<_> = report.checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
    assert!(failed.is_empty() && report.isolates(), "{failed:#?}");
    assert!(report.checks.len() > 15, "{report:#?}");
    host.finish().await;
}

/// The suite must be able to fail: without the sandbox, most of it does.
#[test]
fn the_probe_finds_much_amiss_outside_of_a_sandbox() {
    let output = std::process::Command::new(guest()).arg("probe-here").output().expect("it runs");
    let findings = String::from_utf8(output.stdout).expect("text");
    assert!(findings.matches("\"holds\":false").count() >= 4, "{findings}");
}

#[tokio::test]
async fn abstract_sockets_of_the_host_are_out_of_reach() {
    let name = format!("tenure-escape-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("it listens");
    UnixStream::connect_addr(&address).expect("control: the host reaches it");
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let script = format!(
        "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die 'socket'; connect(S, pack_sockaddr_un(\"\\0{name}\")) or die \"refused\\n\"; print \"reached\\n\""
    );
    let exit = run(&sandbox, 1, exec(&["perl", "-e", &script])).await;
    assert_eq!(text(&exit), "refused\n");
    host.finish().await;
}

#[tokio::test]
async fn one_session_sees_nothing_of_another() {
    let host = Host::new();
    let (one, other) = (host.open(session(1)).await, host.open(session(2)).await);
    run(&one, 1, shell("echo secret > /workspace/s; echo secret > /tmp/s; sleep 1000 &")).await;
    let exit = run(&other, 1, shell("cat /workspace/s /tmp/s 2>/dev/null; ls /proc | grep -c '^[0-9]'; id -u")).await;
    let shown = text(&exit);
    assert!(!shown.contains("secret"), "{shown}");
    let maps: Vec<String> = {
        let mut maps = Vec::new();
        for sandbox in [&one, &other] {
            maps.push(text(&run(sandbox, 9, exec(&["cat", "/proc/self/uid_map"])).await));
        }
        maps
    };
    // An ordinary user has but one map to give.
    assert_eq!(maps[0] != maps[1], is_root());
    host.finish().await;
}

/// How much memory a process has in common with the supervisor and others.
fn shared_bytes(pid: i32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is ours");
    let shared = maps.lines().filter(|line| line.contains("rw-s") && line.ends_with("/dev/zero (deleted)"));
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a number");
    shared.filter_map(|line| line.split(' ').next()?.split_once('-')).map(|(from, to)| number(to) - number(from)).sum()
}

/// Who takes over one of a sandbox's own processes must not get at what other sandboxes' tell the supervisor.
#[tokio::test]
async fn no_process_of_a_sandbox_has_memory_in_common_with_another_sandbox() {
    needs_root("it looks into processes that hide themselves");
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    host.open(session(2)).await;
    run(&sandbox, 1, shell("true")).await;
    let (supervisor, keepers) = (host.supervisor(), host.keepers());
    assert!(shared_bytes(supervisor) >= 4_095 * 4_096, "control: it is seen");
    for (pid, _) in host.family().into_iter().filter(|(pid, _)| *pid != supervisor && *pid != host.zygote()) {
        // Its own board, which has a page; where tests let processes die at places, they all count in another.
        let most =
            if keepers.contains(&pid) { 4_096 } else { 0 } + if cfg!(feature = "failpoints") { 4_096 } else { 0 };
        assert_eq!(shared_bytes(pid), most, "process {pid}");
    }
    host.finish().await;
}

#[tokio::test]
async fn the_keeper_survives_what_tools_do_to_it() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(
        &sandbox,
        1,
        shell("kill -9 1; kill -TERM 1; kill -STOP 1; renice 19 -p 1; prlimit --pid 1 --nofile=0 --cpu=1"),
    )
    .await;
    // All tools, the executor among them, go at once.
    run(&sandbox, 2, exec(&["bash", "-c", "kill -9 -1"])).await;
    let exit = run(&sandbox, 3, exec(&["echo", "alive"])).await;
    assert_eq!(text(&exit), "alive\n");
    let exit = run(&sandbox, 4, shell("echo again")).await;
    assert_eq!((text(&exit).as_str(), exit.shell_lost), ("again\n", true));
    host.finish().await;
}

#[tokio::test]
async fn host_files_keep_their_owner_and_content() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit = run(
        &sandbox,
        1,
        shell("echo x > /usr/bin/true; rm -f /usr/bin/env; echo x > /etc/passwd; stat -c '%u %g' /usr /etc | sort -u"),
    )
    .await;
    for refused in ["/usr/bin/true", "/usr/bin/env"] {
        assert!(text(&exit).contains(refused), "{}", text(&exit));
    }
    // Where there is one user, all but the host's directories is the tools' own, in their layer.
    assert_eq!(text(&exit).contains("/etc/passwd"), is_root() || has_given_ids(), "{}", text(&exit));
    let owners = match (is_root(), has_given_ids()) {
        (true, _) => "0 0\n",
        (false, true) => "0 0\n65534 65534\n",
        (false, false) => "1000 1000\n65534 65534\n",
    };
    assert!(text(&exit).ends_with(owners), "{}", text(&exit));
    assert!(std::path::Path::new("/usr/bin/env").exists());
    host.finish().await;
}

/// What a layer holds may come from an image or an archive. Where links stand in place of directories that are mounted over,
/// runtimes were led elsewhere (CVE-2025-31133 and its kin).
#[tokio::test]
async fn a_root_that_leads_elsewhere_is_refused() {
    let host = Host::new();
    for (n, name) in ["dev", "proc", "tmp"].into_iter().enumerate() {
        let session = session(n as u128 + 1);
        let root = host.dir.path().join(format!("sessions/{session}/layer/root"));
        std::fs::create_dir_all(&root).expect("a directory");
        std::os::unix::fs::symlink("usr", root.join(name)).expect("a link");
        let refused = host.backend.open(tenure_sandbox::Spec::new(session)).await.expect_err("it leads elsewhere");
        assert!(format!("{refused:?}").contains(&format!("mounting /{name}")), "{refused:?}");
    }
    host.finish().await;
}
