//! This machine's own server: its data directory, who serves it, and how one is started in the background.

mod background;
mod data_dir;
mod locks;
mod server_file;
mod stop;

pub(crate) use background::find_or_start;
pub(crate) use data_dir::{DataDir, Served};
pub(crate) use server_file::ServerFile;
pub(crate) use stop::{Stopped, stop};
