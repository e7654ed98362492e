//! The process that makes sandboxes and outlives the server: single-threaded, forking from a small address space.

pub(crate) mod abandoned;
mod board;
mod builds;
mod cgroup;
mod copy;
mod copying;
mod create;
mod delegated;
mod disk;
mod failure;
mod freezer;
pub(crate) mod head;
mod idmap;
mod keep;
mod layers;
mod live;
mod merge;
mod mirror;
mod overlay;
mod own_namespace;
mod ownership;
pub(crate) mod pool;
mod predecessors;
mod process_limits;
mod ranges;
mod reach;
mod relimit;
mod requirements;
mod scope;
mod serve;
mod skeleton;
pub(crate) mod snapshots;
mod standing;
mod start;
pub(crate) mod subordinate;
mod swap;
mod upkeep;
mod usage;
pub(crate) mod whereabouts;
mod zygote;

pub(crate) use board::{Board, ProcessLimits, Stillness};
pub(crate) use cgroup::{Cgroups, Group, Home, subdirectories};
pub(crate) use create::{KEEPER_SOCKET, SHELL_MARK};
pub(crate) use failure::{Doing, Failure};
pub(crate) use head::{Head, LayerId, Root};
pub(crate) use idmap::set_attributes;
pub(crate) use layers::{Detached, NEEDS_ROOT};
pub(crate) use own_namespace::enter as enter_own_namespace;
pub(crate) use ownership::is_given_away as has_own_maker;
pub(crate) use requirements::cut_short;
pub(crate) use skeleton::{AGENT, HOSTNAME, HOSTS, RESOLV_CONF};
pub(crate) use standing::Standing;
pub(crate) use start::{CONFIG_VARIABLE, Config, Started, address_in, allow_many_files, start};
pub(crate) use upkeep::{MOST_LAYERS, WORKER, needless_layers, play};

/// The uids and gids of a sandbox's files on disk: this many, from this one on, whichever range the sandbox has itself.
/// So layers can be shared between sandboxes.
pub(crate) const CANONICAL_BASE: u32 = 100_000;
/// How many uids and gids a sandbox has.
pub(crate) const RANGE: u32 = 65_536;
/// The first uid of the first sandbox's own range. systemd keeps 0x7000_0000 to 0x7fff_fffe free of its own containers.
pub(crate) const SANDBOX_BASE: u32 = 0x7000_0000;
/// How many sandboxes a supervisor can keep, each with its own range.
pub(crate) const SLOTS: u32 = crate::MOST_SANDBOXES as u32;
