//! Where the groups of a directory's sandboxes are, noted in it: who asks, or comes after who made them, may be in another group of
//! the host's, and so would look elsewhere.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroups, Home};
use crate::native::cgroup_name;

/// In a sandbox directory.
const FILE: &str = "cgroups";
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    version: u32,
    parents: Vec<PathBuf>,
}

/// Notes where they are made.
pub(super) fn note(dir: &Path, homes: &[Home]) -> std::io::Result<()> {
    let noted = Noted { version: VERSION, parents: homes.iter().map(|home| home.parent.clone()).collect() };
    std::fs::write(dir.join(FILE), serde_json::to_vec(&noted)?)
}

/// Where they are; as long as there are none, where this process would make them.
pub(crate) fn of(dir: &Path) -> Vec<Home> {
    let name = cgroup_name(dir);
    let noted = noted(dir);
    let mut homes = Cgroups::found(&name);
    for (home, on_top) in homes.iter_mut().zip(Cgroups::found_on_top(&name)) {
        let Some(hierarchy) = on_top.parent.parent() else { continue };
        // Whatever the file says: only a group of this name.
        let is_ours = |at: &&PathBuf| at.starts_with(hierarchy) && at.file_name() == on_top.parent.file_name();
        if let Some(parent) = noted.iter().find(|at| is_ours(at) && at.is_dir()) {
            home.parent.clone_from(parent);
        }
    }
    homes
}

fn noted(dir: &Path) -> Vec<PathBuf> {
    let bytes = std::fs::read(dir.join(FILE)).unwrap_or_default();
    let noted: Option<Noted> = serde_json::from_slice(&bytes).ok();
    noted.filter(|noted| noted.version == VERSION).map(|noted| noted.parents).unwrap_or_default()
}

/// All places where there may be groups of a directory's sandboxes: where they were last, where this process makes them, and at the
/// top of each hierarchy.
pub(super) fn all(dir: &Path) -> Vec<Home> {
    let name = cgroup_name(dir);
    let mut homes = of(dir);
    for home in Cgroups::found(&name).into_iter().chain(Cgroups::found_on_top(&name)) {
        if homes.iter().all(|known| known.parent != home.parent) {
            homes.push(home);
        }
    }
    homes
}

#[cfg(test)]
mod tests {
    use super::{note, noted, of};
    use crate::native::cgroup_name;
    use crate::supervisor::Cgroups;

    #[test]
    fn only_groups_of_ours_are_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let here = of(dir.path());
        assert_eq!(here, Cgroups::found(&cgroup_name(dir.path())), "nothing is noted");
        let mut elsewhere = here.clone();
        elsewhere.iter_mut().for_each(|home| home.parent = dir.path().join(cgroup_name(dir.path())));
        note(dir.path(), &elsewhere).expect("noted");
        std::fs::create_dir(dir.path().join(cgroup_name(dir.path()))).expect("made");
        assert_eq!(noted(dir.path()).len(), here.len());
        assert_eq!(of(dir.path()), here, "not in a hierarchy");
        std::fs::write(dir.path().join("cgroups"), "{").expect("written");
        assert_eq!(of(dir.path()), here);
    }
}
