//! What an operator can set: flag before environment before `config.toml` in the data directory before default.
//!
//! [`table`] is the one place where a setting is written down; `--help`, `docs/settings.md` and the checks follow from it.

mod file;
mod flags;
mod markdown;
mod models;
mod table;
mod value;

pub(crate) use flags::Flags;
pub(crate) use markdown::markdown;
pub(crate) use models::model_table;
pub(crate) use table::{Settings, TABLE};
pub(crate) use value::LogFormat;
