//! What a supervisor does on a report: short steps, each of which leaves everything as before or as after.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::scan::{Report, Swap, named_by_roots};
use crate::supervisor::head::{Head, LayerId, Noted};
use crate::supervisor::live::Sandboxes;
use crate::supervisor::snapshots::{COLLECT_LOCK, HEAD, LAYERS};

/// Takes away what nothing names: not on disk, not since the report was begun, and no mount. Gives how many. A backup keeps it
/// from that as long as it reads.
pub(super) fn collect(dir: &Path, report: &Report, sandboxes: &Sandboxes) -> io::Result<usize> {
    let mut collected = 0;
    for name in &report.unfinished {
        sandboxes.files.throw_away(&dir.join(LAYERS).join(name))?;
    }
    for archive in &report.needless_archives {
        match std::fs::remove_file(archive) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    if report.unnamed.is_empty() {
        return Ok(0);
    }
    let lock = File::create(dir.join(COLLECT_LOCK))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(0);
    }
    let named = named_by_roots(dir)?;
    let is_needed = |layer: &LayerId| {
        named.contains(layer)
            || sandboxes.files.was_named(layer)
            || sandboxes.mounted_layers().any(|used| used == layer)
    };
    for layer in report.unnamed.iter().filter(|layer| !is_needed(layer)) {
        sandboxes.files.throw_away(&dir.join(LAYERS).join(layer.to_string()))?;
        crate::failpoint::pass("upkeep.collected");
        collected += 1;
    }
    Ok(collected)
}

/// Has a stack name a merged layer instead of those it is made of, if it still names these.
pub(super) fn swap(dir: &Path, swap: &Swap, sandboxes: &Sandboxes) -> io::Result<()> {
    if !dir.join(LAYERS).join(swap.by.to_string()).exists() {
        return Ok(());
    }
    if swap.file.ends_with(HEAD) {
        if let Some(mut head) = Head::read(&swap.file)?.filter(|head| swap.is_in(head)) {
            swap.apply(&mut head);
            sandboxes.files.write_head(&swap.file, &head)?;
        }
    } else if let Some(mut noted) = Noted::read(&swap.file)?.filter(|noted| swap.is_in(&noted.head)) {
        swap.apply(&mut noted.head);
        sandboxes.files.write_noted(&swap.file, &noted)?;
    }
    crate::failpoint::pass("upkeep.swapped");
    Ok(())
}

impl Swap {
    fn is_in(&self, head: &Head) -> bool {
        self.place(head).is_some()
    }

    fn place(&self, head: &Head) -> Option<usize> {
        head.layers.windows(self.of.len()).position(|run| run == self.of)
    }

    fn apply(&self, head: &mut Head) {
        let Some(at) = self.place(head) else { return };
        head.layers.splice(at..at + self.of.len(), [self.by.clone()]);
        let is_own = self.of.iter().all(|layer| head.own.contains(layer));
        head.own.retain(|layer| !self.of.contains(layer));
        if is_own {
            head.own.push(self.by.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Swap;
    use crate::supervisor::head::{Head, LayerId};

    #[test]
    fn a_run_is_replaced_where_it_is_and_is_own_if_all_of_it_was() {
        let ids = |names: &[&str]| names.iter().map(|name| LayerId::parse(name).expect("a name")).collect::<Vec<_>>();
        let swap = Swap { file: "HEAD".into(), of: ids(&["b", "c"]), by: ids(&["m"]).remove(0) };
        let stack = |layers: &[&str], own: &[&str]| Head { layers: ids(layers), own: ids(own), ..Head::default() };
        for (before, after) in [
            (stack(&["a", "b", "c", "d"], &["b", "c", "d"]), stack(&["a", "m", "d"], &["d", "m"])),
            (stack(&["b", "c"], &["c"]), stack(&["m"], &[])),
            (stack(&["c", "b"], &["c"]), stack(&["c", "b"], &["c"])),
        ] {
            let mut head = before;
            swap.apply(&mut head);
            assert_eq!(head, after);
        }
    }
}
