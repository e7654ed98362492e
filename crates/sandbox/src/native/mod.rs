//! The backend that needs nothing but this binary and the kernel: the server's side of it.

mod backend;
mod channel;
mod journal_file;
mod leftovers;
mod probe;
mod sandbox;
mod supervisor_link;

pub(crate) use backend::cgroup_name;
pub use backend::{Native, NativeConfig};
