use std::collections::HashSet;
use std::path::Path;

use tenure_core::amount::exact_bytes;

use super::cgroup::write_limit;
use super::{Failure, Group};
use crate::guest::process_tree::Snapshot;
use crate::spec::Limits;
use crate::wire::Control;

/// How many times to look for processes that were started while others were moved.
const ROUNDS: usize = 64;

impl Group {
    /// Changes the limits of a sandbox that is alive. What is no longer set gets its default again.
    ///
    /// Memory comes first: that alone can be refused, and then nothing has changed.
    pub(crate) fn change(&mut self, limits: Limits, keeper: i32) -> Result<(), Failure> {
        let wanted = [
            (Control::Memory, limits.memory_bytes, Some(Limits::DEFAULT_MEMORY_BYTES)),
            (Control::Pids, limits.pids.map(u64::from), Some(u64::from(Limits::DEFAULT_PIDS))),
            (Control::Cpu, limits.cpu_millis.map(u64::from), None),
        ];
        for (control, set, default) in wanted {
            let value = set.or(default);
            if value == self.in_force(control) {
                continue;
            }
            let place = self.places.iter().find(|(placed, ..)| *placed == control).cloned();
            match (place, value) {
                (Some((_, path, unified)), Some(value)) => {
                    self.write(&path, unified, control, value)?;
                    if self.in_force(control).is_none() {
                        enter_all(&path, keeper);
                    }
                    self.note(control, value);
                }
                (Some((_, path, unified)), None) => self.lift_cpu(&path, unified)?,
                (None, _) if set.is_some() => {
                    let missing = self.applied.missing.iter().find(|missing| missing.starts_with(control.name()));
                    let cause = missing.cloned().unwrap_or_else(|| "this host can't".to_owned());
                    return Err(Failure::Unenforceable { what: control, cause });
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    fn in_force(&self, control: Control) -> Option<u64> {
        match control {
            Control::Memory => self.applied.memory_bytes,
            Control::Cpu => self.applied.cpu_millis.map(u64::from),
            Control::Pids => self.applied.pids.map(u64::from),
        }
    }

    fn write(&self, path: &Path, unified: bool, control: Control, value: u64) -> Result<(), Failure> {
        if control == Control::Memory {
            let needed = needed_memory(path, unified);
            if needed > value {
                return Err(too_little_memory(value, needed));
            }
            if !unified && self.applied.memory_bytes < Some(value) {
                // With swap it may not be less than without.
                let _ = std::fs::write(path.join("memory.memsw.limit_in_bytes"), value.to_string());
            }
        }
        write_limit(path, unified, control, value).map_err(|error| match (control, error.raw_os_error()) {
            (Control::Memory, Some(libc::EBUSY)) => too_little_memory(value, number(path, "memory.usage_in_bytes")),
            _ => Failure::Failed { doing: format!("limiting {}", control.name()), cause: error.to_string() },
        })
    }

    fn lift_cpu(&mut self, path: &Path, unified: bool) -> Result<(), Failure> {
        let (file, unlimited) = if unified { ("cpu.max", "max") } else { ("cpu.cfs_quota_us", "-1") };
        std::fs::write(path.join(file), unlimited).map_err(|error| Failure::Failed {
            doing: "lifting the limit of cpu".to_owned(),
            cause: error.to_string(),
        })?;
        self.applied.cpu_millis = None;
        Ok(())
    }
}

fn too_little_memory(wanted: u64, used: u64) -> Failure {
    let (used, wanted) = (exact_bytes(used), exact_bytes(wanted));
    Failure::Invalid { why: format!("memory_bytes: the sandbox uses {used} now; {wanted} is less than that") }
}

/// What can't be taken from it without killing something: version 2 takes a limit below that, and kills. Version 1 refuses
/// by itself.
fn needed_memory(path: &Path, unified: bool) -> u64 {
    if !unified {
        return 0;
    }
    let stat = std::fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
    let of =
        |key: &str| -> u64 { stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok()).unwrap_or(0) };
    let freed = ["active_file ", "inactive_file ", "slab_reclaimable "].map(of);
    number(path, "memory.current").saturating_sub(freed.iter().sum())
}

/// The number in a file of a group; 0 if it isn't there.
pub(super) fn number(path: &Path, file: &str) -> u64 {
    std::fs::read_to_string(path.join(file)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Puts all that runs below a keeper into a group.
fn enter_all(path: &Path, keeper: i32) {
    let mut entered = HashSet::new();
    for _ in 0..ROUNDS {
        let below = Snapshot::take().all_below(keeper);
        let fresh: Vec<i32> = below.into_iter().filter(|process| entered.insert(*process)).collect();
        if fresh.is_empty() {
            return;
        }
        for process in fresh {
            // One that has ended meanwhile can't be moved.
            let _ = std::fs::write(path.join("cgroup.procs"), process.to_string());
        }
    }
}
