//! How many files the server may have open: as many as the system allows, and not all of them for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Settings;

/// What the store, the log, the models' connections and so on need.
const OURS: usize = 256;

/// What a sandbox needs: its channel, and the journals of its calls while they are handed over.
const EACH_SANDBOX: usize = 4;

/// Raises the limit as far as it goes, and says how many connections there is room for beside everything else.
pub(super) fn room_for_connections(settings: &Settings) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let limit =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let room = room(limit, settings.max_sandboxes);
    if room < settings.max_connections {
        tracing::info!(
            wanted = settings.max_connections,
            room,
            limit,
            "fewer connections than wanted: raise the limit of open files (`ulimit -Hn`, `LimitNOFILE=`)"
        );
    }
    settings.max_connections.min(room)
}

/// At least half is for connections: with a low limit, fewer sandboxes run at once than might.
fn room(limit: usize, max_sandboxes: usize) -> usize {
    let kept = max_sandboxes.saturating_mul(EACH_SANDBOX).saturating_add(OURS);
    limit - kept.min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn some_descriptors_are_kept() {
        assert_eq!(room(1_000_000, 1_000), 1_000_000 - 4_256);
        assert_eq!(room(1_024, 1_000), 512);
        assert_eq!(room(1_024, 10), 728);
        assert_eq!(room(usize::MAX, usize::MAX), usize::MAX / 2 + 1);
    }
}
