//! The backend that needs nothing but this binary and the kernel: the server's side of it.

mod backend;
mod channel;
mod epoch;
pub(crate) mod errand;
mod files;
mod journal_file;
mod launched;
mod leftovers;
mod probe;
mod sandbox;
mod supervisor_link;
mod trash;

pub use backend::{Native, NativeConfig, cgroup_name};
pub use files::{Damage, Noted, Saved, check_files, check_layers, load_files, mark_restored, save_files, strays};

/// Makes the attempts of [`probe`](crate::Backend::probe) that are safe outside of a sandbox in this very process: the
/// control that shows that they can succeed.
#[doc(hidden)]
pub fn probe_here(out: &mut dyn std::io::Write) {
    crate::guest::probe::run_harmless(out);
}
