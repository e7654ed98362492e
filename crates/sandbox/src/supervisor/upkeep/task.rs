use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::scan::Report;
use crate::supervisor::head::LayerId;

/// What a worker is told, on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// The directory of the supervisor.
    pub(super) dir: PathBuf,
    pub(super) work: Work,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// See what there is to do. These runs of layers can't be merged, these layers can't be archived.
    Scan { refused: Vec<Vec<LayerId>>, most_layers: usize, unarchived: Vec<LayerId>, archives: bool },
    /// Make one layer of these, lowest first, under a name that says that it is unfinished.
    Merge { run: Run, to: String },
    /// Make an archive of a layer.
    Archive { layer: LayerId },
    /// Delete what is in the trash.
    EmptyTrash,
}

/// Adjacent layers that can be one, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) of: Vec<LayerId>,
    /// How many layers that were sealed it comes to.
    pub(super) weight: u64,
}

/// What a worker says in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    Scanned(Box<Report>),
    Done,
    Failed(String),
}
