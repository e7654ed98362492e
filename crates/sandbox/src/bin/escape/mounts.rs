//! Mounting, and undoing what is mounted.

use std::fs::OpenOptions;
use std::io;

use crate::calls::{call, has_nonce, judge, open_kernel_file};
use crate::case::{Input, Outcome};

fn mount(source: &std::ffi::CStr, target: &std::ffi::CStr, kind: &std::ffi::CStr, flags: u64) -> io::Result<usize> {
    let at = |text: &std::ffi::CStr| text.as_ptr() as usize;
    call(libc::SYS_mount, [at(source), at(target), at(kind), flags as usize, 0])
}

pub(crate) fn tmpfs(_: &Input) -> Outcome {
    judge("/mnt has a file system", mount(c"none", c"/mnt", c"tmpfs", 0))
}

pub(crate) fn bind(_: &Input) -> Outcome {
    judge("/tmp is at /mnt too", mount(c"/tmp", c"/mnt", c"", libc::MS_BIND))
}

/// The calls that came with Linux 5.2.
pub(crate) fn new_calls(_: &Input) -> Outcome {
    const CREATE: usize = 6;
    let made = call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0]).and_then(|context| {
        call(libc::SYS_fsconfig, [context, CREATE, 0, 0, 0])?;
        call(libc::SYS_fsmount, [context, 0, 0])
    });
    judge("a file system is made", made)
}

/// Handlers for program formats are run as root where they are registered.
pub(crate) fn binfmt(_: &Input) -> Outcome {
    judge("binfmt_misc is mounted", mount(c"none", c"/mnt", c"binfmt_misc", 0))
}

pub(crate) fn cgroup_1(_: &Input) -> Outcome {
    let controllers = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let mut old = controllers.lines().skip(1).filter_map(|line| {
        let mut fields = line.split('\t');
        let (name, hierarchy) = (fields.next()?, fields.next()?);
        (hierarchy != "0").then(|| name.to_owned())
    });
    let Some(options) = old.next().and_then(|name| std::ffi::CString::new(name).ok()) else {
        return Outcome::NotApplicable("the host has no hierarchy of version 1".to_owned());
    };
    let at = |text: &std::ffi::CStr| text.as_ptr() as usize;
    let mounted = call(libc::SYS_mount, [at(c"none"), at(c"/mnt"), at(c"cgroup"), 0, options.as_ptr() as usize]);
    judge("a hierarchy with its release_agent's file system is mounted", mounted)
}

pub(crate) fn cgroup_2(_: &Input) -> Outcome {
    judge("cgroup2 is mounted", mount(c"none", c"/mnt", c"cgroup2", 0))
}

/// The groups themselves, where they would be.
pub(crate) fn cgroup_files(_: &Input) -> Outcome {
    judge("/sys/fs/cgroup is there", std::fs::read_dir("/sys/fs/cgroup"))
}

pub(crate) fn writable_proc_sys(_: &Input) -> Outcome {
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    judge("/proc/sys is writable", mount(c"none", c"/proc/sys", c"", flags))
}

pub(crate) fn writable_usr(_: &Input) -> Outcome {
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_NOSUID | libc::MS_NODEV;
    judge("/usr is writable", mount(c"none", c"/usr", c"", flags))
}

pub(crate) fn uncover(_: &Input) -> Outcome {
    let taken = call(libc::SYS_umount2, [c"/proc/kallsyms".as_ptr() as usize, libc::MNT_DETACH as usize]);
    judge("what hid /proc/kallsyms is gone", taken)
}

/// Up from the root, where the host's is if it was only covered.
pub(crate) fn above_the_root(input: &Input) -> Outcome {
    read(&[format!("/..{}", input.host_file), format!("/../..{}", input.host_file), input.host_file.clone()], input)
}

pub(crate) fn above_the_working_directory(input: &Input) -> Outcome {
    read(&[format!("../../../../../../../..{}", input.host_file)], input)
}

/// By way of other processes.
pub(crate) fn root_of_the_keeper(input: &Input) -> Outcome {
    read(&[format!("/proc/1/root/..{}", input.host_file), format!("/proc/1/cwd/../..{}", input.host_file)], input)
}

fn read(paths: &[String], input: &Input) -> Outcome {
    let mut met = Vec::new();
    for path in paths {
        match has_nonce(path, &input.nonce) {
            Ok(true) => return Outcome::Reached(format!("{path} is read")),
            Ok(false) => return Outcome::Broken(format!("{path} is another file")),
            Err(error) => met.push(error),
        }
    }
    let last = met.pop().unwrap_or_else(|| io::Error::other("no path was tried"));
    judge("", Err::<(), _>(last))
}

pub(crate) fn core_pattern(_: &Input) -> Outcome {
    open_kernel_file("/proc/sys/kernel/core_pattern", OpenOptions::new().write(true))
}

pub(crate) fn modprobe(_: &Input) -> Outcome {
    open_kernel_file("/proc/sys/kernel/modprobe", OpenOptions::new().write(true))
}

/// Where `uevent_helper` and much else would be that the host's root may write.
pub(crate) fn sysfs(_: &Input) -> Outcome {
    judge("/sys/kernel is there", std::fs::read_dir("/sys/kernel"))
}

pub(crate) fn sysrq(_: &Input) -> Outcome {
    open_kernel_file("/proc/sysrq-trigger", OpenOptions::new().write(true))
}
