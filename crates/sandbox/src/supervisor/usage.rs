use super::Group;
use super::relimit::number;
use crate::guest::process_tree::Snapshot;
use crate::spec::Usage;
use crate::wire::Control;

impl Group {
    /// What the sandbox of this keeper uses. Where no cgroup counts it, what its processes say.
    pub(crate) fn usage(&self, keeper: i32) -> Usage {
        let tree = Tree::of(keeper);
        let place = |control| self.places.iter().find(|(placed, ..)| *placed == control);
        let memory = place(Control::Memory).map(|(_, path, unified)| match unified {
            true => (number(path, "memory.current"), number(path, "memory.peak")),
            false => (number(path, "memory.usage_in_bytes"), number(path, "memory.max_usage_in_bytes")),
        });
        let pids = place(Control::Pids).map(|(_, path, _)| number(path, "pids.current"));
        Usage {
            memory_bytes: Some(memory.map_or(tree.resident_bytes, |(now, _)| now)),
            memory_peak_bytes: memory.map(|(now, peak)| peak.max(now)),
            cpu_ms: Some(tree.cpu_ms),
            pids: Some(pids.unwrap_or(tree.threads)),
            limits: Some(self.applied.clone()),
            ..Usage::default()
        }
    }
}

/// All that runs in a sandbox, the keeper too; of what has ended, the time it took.
#[derive(Debug, Default)]
struct Tree {
    cpu_ms: u64,
    threads: u64,
    resident_bytes: u64,
}

impl Tree {
    fn of(keeper: i32) -> Self {
        let mut tree = Self::default();
        // SAFETY: both take a number and give one.
        let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
        let (ticks, page) = (ticks.max(1) as u64, page.max(0) as u64);
        for pid in Snapshot::take().all_below(keeper).into_iter().chain([keeper]) {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<u64> = stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| {
                rest.split_ascii_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect()
            });
            let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0);
            // Fields 14 to 17: its own time and that of its children that have ended.
            tree.cpu_ms += (14..=17).map(field).sum::<u64>() * 1_000 / ticks;
            if pid != keeper {
                tree.threads += field(20);
                tree.resident_bytes += field(24) * page;
            }
        }
        tree
    }
}
