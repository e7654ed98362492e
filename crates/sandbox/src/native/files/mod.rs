//! The files of sessions, for backups: written to a stream, read back, and checked where they lie.

pub(crate) mod archive;
mod check;
mod layers;
mod load;
mod owner;
mod pax;
mod restored;
mod save;
mod stack;

pub(crate) use restored::restored_at;

pub use check::{Damage, check_files, check_layers, strays};
pub use layers::{KeepLayers, check_stacks, load_layer, save_layer};
pub use load::load_files;
pub use restored::mark_restored;
pub use save::{Noted, Saved, save_files};
