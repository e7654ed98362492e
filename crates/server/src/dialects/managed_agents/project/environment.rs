//! Environments.

use tenure_core::agent::Limits;
use tenure_core::packages::Manager;
use tenure_core::resource::EnvironmentRecord;
use tenure_core::root::Root;

use super::super::wire::{self, EmptyList, Id, Tagged, Time};

/// An environment.
pub(crate) fn environment(record: &EnvironmentRecord) -> wire::Environment<'_> {
    wire::Environment {
        id: Id(record.id),
        kind: "environment",
        name: &record.name,
        description: record.description.as_deref(),
        config: wire::Config {
            kind: "cloud",
            networking: Tagged { kind: "unrestricted" },
            packages: wire::Packages {
                kind: "packages",
                apt: record.packages.of(Manager::Apt),
                cargo: EmptyList,
                gem: record.packages.of(Manager::Gem),
                go: EmptyList,
                npm: record.packages.of(Manager::Npm),
                pip: record.packages.of(Manager::Pip),
            },
            limits: limits(record.limits),
            root: root(&record.root),
        },
        metadata: &record.metadata,
        scope: "organization",
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
        archived_at: record.archived_at.map(Time),
    }
}

/// Those that are set; nothing if none is.
pub(super) fn limits(set: Limits) -> Option<wire::Limits> {
    let Limits { memory_bytes, cpu_millis, pids, disk_bytes, inodes, open_files, call_ms, output_bytes } = set;
    let shown = wire::Limits { memory_bytes, cpu_millis, pids, disk_bytes, inodes, open_files, call_ms, output_bytes };
    (set != Limits::default()).then_some(shown)
}

fn root(root: &Root) -> Option<wire::Root<'_>> {
    match root {
        Root::Host => None,
        Root::Directory { path } => Some(wire::Root::Directory { path }),
        Root::Image { reference } => Some(wire::Root::Image { reference: reference.to_string() }),
        Root::Archive { path } => Some(wire::Root::Archive { path }),
    }
}
