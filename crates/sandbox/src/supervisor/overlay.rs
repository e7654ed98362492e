use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::Standing;

/// An overlay that is to be mounted: all of it is reached through `/proc/self/fd`, by mounts that have their owners shifted and
/// are nowhere else.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// What lies under the writable layer, highest first.
    pub(crate) lowers: Vec<String>,
    pub(crate) upper: String,
    pub(crate) work: String,
}

/// The path of what lies below a directory or mount that is open.
pub(crate) fn below(open: &OwnedFd, name: &str) -> String {
    match name {
        "" => format!("/proc/self/fd/{}", open.as_raw_fd()),
        name => format!("/proc/self/fd/{}/{name}", open.as_raw_fd()),
    }
}

impl Overlay {
    /// Mounts it, nowhere yet.
    ///
    /// As root, it belongs to the initial user namespace and has `redirect_dir=on`, so that renaming a directory of a lower layer
    /// works; one that is mounted in another user namespace answers EXDEV. It is `volatile`: a sandbox's fsync costs nothing, and the kernel writes
    /// back in its own time.
    pub(crate) fn mount(&self) -> io::Result<OwnedFd> {
        if let [only] = self.lowers.as_slice() {
            return self.mount_over(&[("lowerdir", only)]);
        }
        let each: Vec<_> = self.lowers.iter().map(|lower| ("lowerdir+", lower.as_str())).collect();
        match self.mount_over(&each) {
            // Before Linux 6.5 all have to be named at once.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.mount_over_numbers(),
            mounted => mounted,
        }
    }

    /// An option is at most 255 bytes long, so each lower layer is named by the number of an open descriptor, seen from where those
    /// are. There is room for some fifty.
    fn mount_over_numbers(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open: Vec<OwnedFd> =
            self.lowers.iter().map(|lower| openat(CWD, lower, flags, Mode::empty())).collect::<Result<_, _>>()?;
        let numbers: Vec<String> = open.iter().map(|lower| lower.as_raw_fd().to_string()).collect();
        std::env::set_current_dir("/proc/self/fd")?;
        let mounted = self.mount_over(&[("lowerdir", &numbers.join(":"))]);
        std::env::set_current_dir("/")?;
        mounted
    }

    fn mount_over(&self, lowers: &[(&str, &str)]) -> io::Result<OwnedFd> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let context = context.as_fd();
        let places = [("upperdir", self.upper.as_str()), ("workdir", self.work.as_str())];
        let settings = [("index", "off"), ("xino", "off"), ("metacopy", "off")];
        for (key, value) in [("source", "tenure")].iter().chain(lowers).chain(&places).chain(&settings) {
            fsconfig_set_string(context, *key, *value)?;
        }
        match Standing::ours().overlay_option() {
            (key, Some(value)) => fsconfig_set_string(context, key, value)?,
            (key, None) => fsconfig_set_flag(context, key)?,
        }
        fsconfig_set_flag(context, "volatile")?;
        fsconfig_create(context)?;
        let attributes = match crate::fences::Fence::MountFlags.is_up() {
            true => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
            false => MountAttrFlags::empty(),
        };
        Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Overlay, below};

    /// As on a kernel that wants all lower directories in one option.
    #[test]
    fn lower_directories_can_be_named_by_number() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let made = |name: &str| std::fs::create_dir_all(dir.path().join(name)).expect("made");
        ["upper", "work"].into_iter().for_each(made);
        let lowers: Vec<String> = (0..50).map(|n| format!("a-layer-whose-name-is-rather-long-{n}")).collect();
        for (n, lower) in lowers.iter().enumerate() {
            made(lower);
            symlink(n.to_string(), dir.path().join(lower).join("highest")).expect("made");
            symlink("x", dir.path().join(lower).join(n.to_string())).expect("made");
        }
        let text = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        let lowers = lowers.iter().map(|lower| text(lower)).collect();
        let overlay = Overlay { lowers, upper: text("upper"), work: text("work") };
        let mounted = overlay.mount_over_numbers().expect("mounted");
        let at = below(&mounted, "");
        assert_eq!(std::fs::read_link(Path::new(&at).join("highest")).expect("a link"), Path::new("0"));
        assert_eq!(std::fs::read_dir(&at).expect("a directory").count(), 51);
    }
}
