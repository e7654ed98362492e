//! Other programs that make sandboxes: bwrap, crun and runc.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::Times;

/// Another program that makes a sandbox, runs `true` in it and removes it.
pub(crate) struct Other {
    pub(crate) name: &'static str,
    command: Vec<String>,
    /// The mounts it is to see, if not ours.
    place: Option<Place>,
    pub(crate) times: Times,
}

/// The name of the case without any sandbox.
pub(crate) const HOST: &str = "no sandbox";

/// Those that are installed and work here.
pub(crate) fn others(dir: &Path) -> Vec<Other> {
    let other = |name: &'static str, command: &str| {
        let command = command.split_whitespace().map(str::to_owned).collect();
        Other { name, command, place: None, times: Times::default() }
    };
    let bwrap = "bwrap --unshare-all --die-with-parent --cap-drop ALL --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
         --symlink usr/bin /bin --proc /proc --dev /dev --tmpfs /tmp /bin/true";
    let mut all = vec![other(HOST, "/bin/true"), other("bwrap", bwrap)];
    let bundle = dir.join("bundle");
    write_bundle(&bundle).expect("a bundle can be written");
    for name in ["crun", "runc"] {
        let (state, bundle) = (dir.join(format!("{name}-state")), bundle.display());
        all.push(other(name, &format!("{name} --root {} run --bundle {bundle} tenure-bench-{name}", state.display())));
    }
    for other in &mut all {
        // crun refuses a host that has both versions of cgroups, unless it doesn't see the second.
        if !other.runs() {
            other.place = Place::without("/sys/fs/cgroup/unified");
        }
    }
    all.retain(|other| other.runs());
    all
}

impl Other {
    pub(crate) fn runs(&self) -> bool {
        let mut command = Command::new(&self.command[0]);
        // crun and runc give the container's root what they get as standard streams: were it /dev/null, that would be the host's.
        command.args(&self.command[1..]).stdin(Stdio::piped());
        if let Some(namespace) = self.place.as_ref().map(|place| place.namespace.as_raw_fd()) {
            // SAFETY: between fork and exec, only makes a system call on a descriptor that stays open meanwhile.
            unsafe {
                command.pre_exec(move || match libc::setns(namespace, libc::CLONE_NEWNS) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
        }
        command.output().is_ok_and(|ran| ran.status.success())
    }
}

/// A mount namespace in which something is missing; a process of its own keeps it.
struct Place {
    namespace: OwnedFd,
    keeper: Child,
}

impl Place {
    fn without(mount: &str) -> Option<Self> {
        use std::io::BufRead;
        let script = format!("umount {mount} && echo ready && exec cat");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut keeper = command.spawn().ok()?;
        let mut line = String::new();
        let read = std::io::BufReader::new(keeper.stdout.take()?).read_line(&mut line);
        let namespace = std::fs::File::open(format!("/proc/{}/ns/mnt", keeper.id()));
        match (read.is_ok() && line == "ready\n", namespace) {
            (true, Ok(namespace)) => Some(Self { namespace: namespace.into(), keeper }),
            (_, _) => {
                let _ = keeper.kill();
                let _ = keeper.wait();
                None
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A bundle whose root has the host's `/usr`, read-only, with the namespaces that ours have.
fn write_bundle(bundle: &Path) -> std::io::Result<()> {
    let root = bundle.join("rootfs");
    for name in ["usr", "proc", "dev", "tmp"] {
        std::fs::create_dir_all(root.join(name))?;
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))?;
    }
    let namespaces: Vec<_> =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind})).to_vec();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/usr/bin"], "cwd": "/", "noNewPrivileges": true},
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "sandbox",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        ],
        "linux": {"namespaces": namespaces, "uidMappings": map.clone(), "gidMappings": map},
    });
    std::fs::write(bundle.join("config.json"), config.to_string())
}
