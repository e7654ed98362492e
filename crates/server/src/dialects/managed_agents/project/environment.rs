//! Environments.

use tenure_core::agent::Limits;
use tenure_core::resource::EnvironmentRecord;

use super::super::wire::{self, EmptyList, Id, Tagged, Time};

/// An environment.
pub(crate) fn environment(record: &EnvironmentRecord) -> wire::Environment<'_> {
    let Limits { memory_bytes, cpu_millis, pids } = record.limits;
    let limits = (record.limits != Limits::default()).then_some(wire::Limits { memory_bytes, cpu_millis, pids });
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
                apt: EmptyList,
                cargo: EmptyList,
                gem: EmptyList,
                go: EmptyList,
                npm: EmptyList,
                pip: EmptyList,
            },
            limits,
        },
        metadata: &record.metadata,
        scope: "organization",
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
        archived_at: record.archived_at.map(Time),
    }
}
