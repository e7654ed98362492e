//! The backend that needs nothing but this binary and the kernel: the server's side of it.

mod archives;
mod as_owner;
mod backend;
mod channel;
mod epoch;
pub(crate) mod errand;
mod files;
mod journal_file;
mod launched;
mod leftovers;
mod name;
mod probe;
mod roots;
mod sandbox;
mod supervisor_link;
mod trash;

pub use as_owner::as_owner_of_files;
pub use backend::{Native, NativeConfig};
pub(crate) use files::archive;
pub use files::{
    Damage, KeepLayers, Noted, Saved, check_files, check_layers, check_stacks, load_files, load_layer, mark_restored,
    save_files, save_layer, strays,
};
pub use name::cgroup_name;

/// Makes the attempts of [`probe`](crate::Backend::probe) that are safe outside of a sandbox in this very process: the
/// control that shows that they can succeed.
#[doc(hidden)]
pub fn probe_here(out: &mut dyn std::io::Write) {
    crate::guest::probe::run_harmless(out);
}
