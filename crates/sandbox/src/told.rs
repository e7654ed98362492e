//! What people and models are told of limits that something came up against.

use crate::order::{Exit, Limit, Reached};

impl Exit {
    /// A sentence for each limit that was reached: `killed: disk limit 32 MiB; …`.
    pub fn limits_told(&self) -> Vec<String> {
        let mut reached = self.reached.clone();
        if self.out_of_memory && !reached.iter().any(|reached| reached.limit == Limit::Memory) {
            // From a record of an earlier version, which has no more than that.
            reached.insert(0, Reached { limit: Limit::Memory, most: 0, ended: true, refused: 0 });
        }
        reached.into_iter().map(sentence).collect()
    }
}

fn sentence(Reached { limit, most, ended, refused }: Reached) -> String {
    let of = |most: String| if most.is_empty() { most } else { format!(" {most}") };
    let (bytes, count) = (of(bytes(most)), of(if most == 0 { String::new() } else { most.to_string() }));
    let over = if ended { "killed: " } else { "over the " };
    match limit {
        Limit::Memory => format!("killed: memory limit{bytes}; something in the sandbox needed more than is left"),
        Limit::Pids => {
            let times = match refused {
                0 => String::new(),
                1 => ", once".to_owned(),
                times => format!(", {times} times"),
            };
            format!("process limit{count} reached: no more processes or threads could be started{times}")
        }
        Limit::Disk => format!("{over}disk limit{bytes}; until files are removed, none can be made longer"),
        Limit::Inodes => {
            format!("{over}limit of{count} files on the disk; until some are removed, none can be made longer")
        }
        Limit::HostDisk if ended => {
            "killed: the host has hardly any disk space left; files can only be removed".to_owned()
        }
        Limit::HostDisk => "the host has hardly any disk space left; files can only be removed".to_owned(),
        Limit::Other => "a limit of the sandbox was reached".to_owned(),
    }
}

/// In the largest unit that needs no fraction.
fn bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None if bytes == 0 => String::new(),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use crate::order::{Exit, Limit, Reached};

    #[test]
    fn each_limit_is_told_with_what_it_is() {
        let cases = [
            (Limit::Memory, 512 << 20, true, "killed: memory limit 512 MiB;"),
            (Limit::Memory, (1 << 30) + 1024, true, "killed: memory limit 1048577 KiB;"),
            (Limit::Memory, 0, true, "killed: memory limit;"),
            (Limit::Pids, 512, false, "process limit 512 reached:"),
            (Limit::Disk, 1 << 30, true, "killed: disk limit 1 GiB;"),
            (Limit::Disk, 1_000_000_001, false, "over the disk limit 1000000001 bytes;"),
            (Limit::Inodes, 1_000_000, true, "killed: limit of 1000000 files on the disk;"),
            (Limit::HostDisk, 0, true, "killed: the host has hardly any disk space left;"),
            (Limit::HostDisk, 0, false, "the host has hardly any disk space left;"),
        ];
        for (limit, most, ended, expected) in cases {
            let told =
                Exit { reached: vec![Reached { limit, most, ended, refused: 0 }], ..Exit::default() }.limits_told();
            assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
        }
        for (refused, expected) in [(0, "be started"), (1, "be started, once"), (37, "be started, 37 times")] {
            let reached = vec![Reached { limit: Limit::Pids, most: 512, ended: false, refused }];
            let told = Exit { reached, ..Exit::default() }.limits_told();
            assert!(told.len() == 1 && told[0].ends_with(expected), "{told:?}");
        }
        let earlier = Exit { out_of_memory: true, ..Exit::default() }.limits_told();
        assert!(earlier.len() == 1 && earlier[0].starts_with("killed: memory limit;"), "{earlier:?}");
        assert!(Exit::default().limits_told().is_empty());
    }
}
