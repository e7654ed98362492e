use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use super::Standing;

/// The uid and gid of tools inside a sandbox.
pub(crate) const AGENT: u32 = 1000;

/// The directories of a host that may hold its programs and libraries. Each is shown as it is: a directory under a
/// mount of its own, a symlink (as on hosts with a merged `/usr`) as a symlink.
const SYSTEM_DIRS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What programs of the host look for in `/etc`. Nothing that may hold a secret: no `shadow`, `ssh`, `environment`, no
/// package manager's or proxy's settings.
const ETC: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "ethertypes",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.alias",
    "locale.conf",
    "magic",
    "magic.mime",
    "mailcap",
    "mime.types",
    "os-release",
    "perl",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "python2.7",
    "python3",
    "redhat-release",
    "rpc",
    "services",
    "sgml",
    "shells",
    "skel",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "xattr.conf",
    "xml",
];
/// As above, for names that carry a version.
const ETC_PREFIXES: &[&str] = &["java-", "python3.", "openssl"];

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
agent:x:1000:1000:agent:/home/agent:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
mail:x:8:
www-data:x:33:
staff:x:50:
agent:x:1000:
nogroup:x:65534:
";
/// The name that a sandbox has for itself.
pub(crate) const HOSTNAME: &str = "sandbox";
pub(crate) const HOSTS: &str = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n";
/// There is no network, and so no name server: a lookup fails at once instead of waiting.
pub(crate) const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n";

/// Directories, their modes and owners, as seen inside.
const DIRECTORIES: &[(&str, u32, u32)] = &[
    ("dev", 0o755, 0),
    ("etc", 0o755, 0),
    ("etc/ssl", 0o755, 0),
    ("home", 0o755, 0),
    ("home/agent", 0o755, AGENT),
    ("media", 0o755, 0),
    ("mnt", 0o755, 0),
    ("opt", 0o755, 0),
    ("proc", 0o555, 0),
    ("root", 0o700, 0),
    ("run", 0o755, 0),
    ("srv", 0o755, 0),
    ("sys", 0o555, 0),
    ("tmp", 0o1777, 0),
    ("var", 0o755, 0),
    ("var/cache", 0o755, 0),
    ("var/lib", 0o755, 0),
    ("var/log", 0o755, 0),
    ("var/tmp", 0o1777, 0),
    ("workspace", 0o755, AGENT),
];

/// The lowest layer of every sandbox's root: what a fresh system has outside of the host's own directories. Built anew
/// by each supervisor, when no sandbox is alive, so it follows the host's upgrades.
#[derive(Debug)]
pub(crate) struct Skeleton {
    pub(crate) path: PathBuf,
    /// The directories of the host that need a mount each.
    pub(crate) host_dirs: Vec<PathBuf>,
}

impl Skeleton {
    pub(crate) fn build(at: &Path) -> io::Result<Self> {
        match std::fs::remove_dir_all(at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        make_directory(at, 0o755, 0)?;
        for (name, mode, owner) in DIRECTORIES {
            make_directory(&at.join(name), *mode, *owner)?;
        }
        make_symlink(Path::new("/run"), &at.join("var/run"))?;
        make_symlink(Path::new("/proc/self/mounts"), &at.join("etc/mtab"))?;
        let mut host_dirs = Vec::new();
        for name in SYSTEM_DIRS {
            let host = Path::new("/").join(name);
            match std::fs::symlink_metadata(&host) {
                Ok(found) if found.is_dir() => {
                    make_directory(&at.join(name), 0o755, 0)?;
                    host_dirs.push(host);
                }
                Ok(found) if found.is_symlink() => make_symlink(&std::fs::read_link(&host)?, &at.join(name))?,
                Ok(_) | Err(_) => {}
            }
        }
        let texts = [
            ("passwd", PASSWD),
            ("group", GROUP),
            ("hosts", HOSTS),
            ("resolv.conf", RESOLV_CONF),
            ("nsswitch.conf", NSSWITCH),
        ];
        for (name, text) in texts {
            make_file(text.as_bytes(), &at.join("etc").join(name), 0o644)?;
        }
        make_file(format!("{HOSTNAME}\n").as_bytes(), &at.join("etc/hostname"), 0o644)?;
        for name in etc_names() {
            copy(&Path::new("/etc").join(&name), &at.join("etc").join(&name))?;
        }
        Ok(Self { path: at.to_owned(), host_dirs })
    }
}

fn etc_names() -> Vec<String> {
    let present = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    let versioned = present
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| ETC_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    ETC.iter().map(|name| (*name).to_owned()).chain(versioned).collect()
}

/// Manual pages of alternatives, which make up most of them: there are a thousand.
const NOT_NEEDED: &str = "gz";

/// Copies what everybody on the host may read; the rest, and what isn't there, is left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(from) else { return Ok(()) };
    let mode = found.permissions().mode() & 0o755;
    if found.is_symlink() {
        let needed = from.extension().is_none_or(|extension| extension != NOT_NEEDED);
        return if needed { make_symlink(&std::fs::read_link(from)?, to) } else { Ok(()) };
    }
    if found.mode() & 0o004 == 0 {
        return Ok(());
    }
    if found.is_dir() {
        make_directory(to, mode | 0o700, 0)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if found.is_file() { make_file(&std::fs::read(from)?, to, mode) } else { Ok(()) }
}

fn make_directory(at: &Path, mode: u32, owner: u32) -> io::Result<()> {
    match std::fs::create_dir(at) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let on_disk = Standing::ours().on_disk(owner);
    chown(at, Some(on_disk), Some(on_disk))?;
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode))
}

fn make_file(bytes: &[u8], at: &Path, mode: u32) -> io::Result<()> {
    std::fs::write(at, bytes)?;
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode))?;
    let root = Standing::ours().on_disk(0);
    chown(at, Some(root), Some(root))
}

fn make_symlink(target: &Path, at: &Path) -> io::Result<()> {
    symlink(target, at)?;
    let root = Standing::ours().on_disk(0);
    lchown(at, Some(root), Some(root))
}
