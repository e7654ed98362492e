//! Settings that are more than this machine has.

use anyhow::{Context as _, Result};

use crate::failure::advised;
use crate::local::DataDir;
use crate::settings::{Settings, TABLE};

/// Refuses settings that nothing here could ever meet.
pub(super) fn check(settings: &Settings, dir: &DataDir) -> Result<()> {
    let room = rustix::fs::statvfs(dir.path()).with_context(|| format!("can't look at {}", dir.path().display()))?;
    let disk = room.f_blocks.saturating_mul(room.f_frsize);
    let most_sandboxes = tenure_sandbox::MOST_SANDBOXES as u64;
    for (name, given, most, what) in [
        ("max-sandboxes", settings.max_sandboxes as u64, most_sandboxes, "as many as there can be at once"),
        ("sandbox-pool", settings.sandbox_pool, most_sandboxes, "as many as there can be at once"),
        ("sandbox-disk-floor", settings.sandbox_disk_floor, disk, "the size of the data directory's file system"),
        ("tool-output", settings.tool_output as u64, disk, "the size of the data directory's file system"),
    ] {
        // What nobody has set is none too many for a small machine.
        let is_set = TABLE.iter().any(|setting| setting.name == name && setting.default != given.to_string());
        if given > most && is_set {
            return Err(advised(
                format!("{name}: expected at most {most}, {what}, got {given}"),
                format!("set a smaller one, with --{name}, by its environment variable or in config.toml"),
            ));
        }
    }
    Ok(())
}
