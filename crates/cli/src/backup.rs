//! Backups: a folder with a copy of everything a server needs to carry on, and how to check that it is whole.

mod copying;
mod list;
mod manifest;
mod put_back;
mod stop;
mod take;
mod verify;

pub(crate) use manifest::Manifest;
pub(crate) use put_back::{Restored, put_back};
pub(crate) use stop::{Stop, stoppable};
pub(crate) use take::{Plan, take};
