//! What an idle sandbox weighs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure_core::id::SessionId;
use tenure_sandbox::{Backend, Native, NativeConfig};

use crate::{Row, open, program, run};

/// How many are made at a time; what the kernel takes for them is the median of these.
const BATCH: u64 = 60;
const BATCHES: u64 = 5;
/// How long the kernel gets to settle before memory is read.
const SETTLING: Duration = Duration::from_secs(2);
/// How many groups are made to see what one takes.
const GROUPS: u32 = 100;

/// What idle sandboxes weigh, each of which has run a program: the pages of their processes, with shared ones counted by their share,
/// and what the kernel keeps for them and can't let go of.
///
/// What the kernel keeps is read off the whole host, so what others do meanwhile is in it.
pub(crate) async fn weigh() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("weighed");
    let backend = Native::new(NativeConfig { pool: 0, ..NativeConfig::new(&place) });
    let (mut sandboxes, mut kernel) = (Vec::new(), Vec::new());
    let mut before = None;
    for batch in 0..=BATCHES {
        for n in 0..BATCH {
            let sandbox = open(&backend, SessionId::from_bits(u128::from(batch * BATCH + n + 1))).await;
            run(&sandbox, 1, program()).await;
            sandboxes.push(sandbox);
        }
        tokio::time::sleep(SETTLING).await;
        let now = kernel_kib();
        // The first batch is for what all share.
        kernel.extend(before.map(|before| (now - before) / BATCH as f64));
        before = Some(now);
    }
    kernel.sort_by(f64::total_cmp);
    let kernel = kernel[kernel.len() / 2];
    let family = Family::of(&tenure_sandbox::native::cgroup_name(&place));
    let each = |kib: u64| kib as f64 / sandboxes.len() as f64;
    let (pages, tables, stacks) = (each(family.pss_kib), each(family.tables_kib), each(family.stacks_kib));
    let all = pages + tables + stacks + kernel;
    let group = group_kib().map(|kib| format!(", of which {kib:.0} for the group that counts its memory"));
    let beside = format!(
        "{} of them: {pages:.0} of pages, {tables:.0} of page tables, {stacks:.0} of stacks in the kernel, {kernel:.0} of what else \
         it keeps{}",
        sandboxes.len(),
        group.unwrap_or_default()
    );
    Row {
        row: "sandbox: memory each when idle",
        measured: format!("{all:.0}"),
        unit: "KiB",
        target: "≤ 1,024",
        met: Some(all <= 1_024.0),
        beside,
    }
    .print();
    drop(sandboxes);
    backend.shutdown().await.expect("shut down");
}

/// The processes of a supervisor, itself among them, which is as good as nothing beside hundreds.
#[derive(Default)]
struct Family {
    pss_kib: u64,
    tables_kib: u64,
    stacks_kib: u64,
}

/// What the kernel has for each process to work on.
const STACK_KIB: u64 = 16;

impl Family {
    /// Those whose command line has this name.
    fn of(name: &str) -> Self {
        let mut family = Self::default();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            if read("cmdline").contains(name) {
                family.pss_kib += field(&read("smaps_rollup"), "Pss:").unwrap_or(0);
                family.tables_kib += field(&read("status"), "VmPTE:").unwrap_or(0);
                family.stacks_kib += STACK_KIB;
            }
        }
        family
    }
}

/// What the kernel keeps that isn't a process's memory, its tables or its stack, and that it can't let go of.
fn kernel_kib() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc");
    let kib = |name: &str| field(&text, name).unwrap_or(0) as f64;
    kib("SUnreclaim:") + kib("Percpu:")
}

/// What a group of processes takes whose memory is counted, if such groups can be made here. It differs from host to host: the
/// kernel makes a table in each of all file systems that the host has ever had mounted at once.
fn group_kib() -> Option<f64> {
    let parents = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(PathBuf::from);
    let counts = |parent: &&PathBuf| parent.join("memory.stat").exists();
    let parent = parents.iter().find(counts)?;
    let name = |n: u32| parent.join(format!("tenure-bench-{}-{n}", std::process::id()));
    let before = kernel_kib();
    let made: Vec<PathBuf> = (0..GROUPS).map(name).take_while(|group| std::fs::create_dir(group).is_ok()).collect();
    let after = kernel_kib();
    made.iter().for_each(|group| remove(group));
    (made.len() == GROUPS as usize).then(|| (after - before) / f64::from(GROUPS))
}

fn remove(group: &Path) {
    let _ = std::fs::remove_dir(group);
}

/// The number that a line beginning with this name has.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
