//! Taking fences away, so that tests can see that an attempt to get out which a fence stops would get out without it.
//! Without the feature `weakened`, which no product has (`cargo xtask tidy` sees to it), all are up, always.
//!
//! `TENURE_FENCES_DOWN=name,name` in the environment that a sandbox is to have takes these away from it.

use crate::spec::Spec;

/// The variable that names the fences that are down.
#[cfg(feature = "weakened")]
const VARIABLE: &str = "TENURE_FENCES_DOWN";

/// Heeds what a sandbox that is about to be made is to lack. Its keeper and executor are copies of this process.
#[cfg(feature = "weakened")]
pub(crate) fn prepare(spec: &Spec) {
    let down = spec.env.iter().find(|(name, _)| name == VARIABLE).map_or("", |(_, down)| down.as_str());
    // SAFETY: a supervisor has one thread.
    unsafe { std::env::set_var(VARIABLE, down) };
}

/// Nothing is lacking.
#[cfg(not(feature = "weakened"))]
pub(crate) fn prepare(_: &Spec) {}

/// Which fences are down, for another process to [`set_down`].
#[cfg(feature = "weakened")]
pub(crate) fn down() -> String {
    std::env::var(VARIABLE).unwrap_or_default()
}

/// None.
#[cfg(not(feature = "weakened"))]
pub(crate) fn down() -> String {
    String::new()
}

/// Takes these away from what is forked from here on.
#[cfg(feature = "weakened")]
pub(crate) fn set_down(down: &str) {
    // SAFETY: what keepers are forked from has one thread.
    unsafe { std::env::set_var(VARIABLE, down) };
}

/// There is nothing to take away.
#[cfg(not(feature = "weakened"))]
pub(crate) fn set_down(_: &str) {}

/// What a test can take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The filter of system calls.
    Seccomp,
    /// Tools are a user without rights. Without it they are the sandbox's root, with all rights in its namespaces.
    Capabilities,
    /// Programs gain nothing by being executed.
    NewPrivileges,
    /// Neither set-user-id nor device files have an effect.
    MountFlags,
    /// Files of `/proc` are hidden.
    Masks,
    /// `/proc/sys` can't be written.
    ProcSys,
    /// There is no `/sys`.
    NoSysfs,
    /// No namespaces may be made.
    NamespaceLimits,
    /// The host's root is let go of.
    OldRoot,
    /// Descriptors are closed that those who forked a process left open for every program.
    #[cfg_attr(not(feature = "weakened"), expect(dead_code, reason = "only a weakened build asks"))]
    Descriptors,
    /// The sandbox's own processes can't be looked into.
    Hidden,
    /// A network of its own.
    Network,
    /// Process ids of its own.
    Pids,
    /// Shared memory and queues of its own.
    Ipc,
    /// Keys of its own.
    Keyring,
    /// Landlock's rules about files, and with them about tracing and mounting.
    Landlock,
    /// Landlock's rules about signals and sockets with abstract names.
    Scope,
    /// Users of its own. Without it, the sandbox's root is the host's.
    OwnUsers,
}

impl Fence {
    /// What it is called in `TENURE_FENCES_DOWN`.
    #[cfg(feature = "weakened")]
    const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Capabilities => "capabilities",
            Self::NewPrivileges => "new_privileges",
            Self::MountFlags => "mount_flags",
            Self::Masks => "masks",
            Self::ProcSys => "proc_sys",
            Self::NoSysfs => "no_sysfs",
            Self::NamespaceLimits => "namespace_limits",
            Self::OldRoot => "old_root",
            Self::Descriptors => "descriptors",
            Self::Hidden => "hidden",
            Self::Network => "network",
            Self::Pids => "pids",
            Self::Ipc => "ipc",
            Self::Keyring => "keyring",
            Self::Landlock => "landlock",
            Self::Scope => "scope",
            Self::OwnUsers => "own_users",
        }
    }

    /// Whether it is there.
    #[cfg(feature = "weakened")]
    pub(crate) fn is_up(self) -> bool {
        let down = std::env::var(VARIABLE).unwrap_or_default();
        down.split(',').all(|name| name != self.name())
    }

    /// Whether it is there: yes.
    #[cfg(not(feature = "weakened"))]
    pub(crate) const fn is_up(self) -> bool {
        let _ = self;
        true
    }
}
