use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::task::Run;
use crate::native::archive::{self, ARCHIVES};
use crate::supervisor::head::{Head, LayerId};
use crate::supervisor::snapshots::{HEAD, LAYERS, MERGED, ROOTS, SNAPSHOTS, TRASH, UNFINISHED};

/// Above how many layers, of those that sessions made, a stack is made flatter, if nobody says otherwise.
pub(crate) const MOST_LAYERS: usize = 20;

/// How many things of a kind one report has.
const MOST_NAMED: usize = 1_000;

/// What there is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Layers that nothing on disk names.
    pub(super) unnamed: Vec<LayerId>,
    /// What workers that died left among the layers.
    pub(super) unfinished: Vec<String>,
    /// Stacks in which a run has been merged, but that still name it one by one.
    pub(super) swaps: Vec<Swap>,
    /// The next run to merge.
    pub(super) merge: Option<Run>,
    /// Layers that are needed and have no archive, if there are to be any.
    pub(super) unarchived: Vec<LayerId>,
    /// Files that are the archive of no layer.
    pub(super) needless_archives: Vec<PathBuf>,
    /// Layers that are needed.
    #[serde(skip)]
    needed: HashSet<LayerId>,
    /// Whether there is anything in the trash.
    pub(super) has_trash: bool,
    /// Files that can't be read; as long as there are any, what they name isn't known, and no layer goes.
    pub(super) unread: Vec<String>,
}

/// A file in which a run of layers is to be replaced by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Swap {
    pub(super) file: PathBuf,
    pub(super) of: Vec<LayerId>,
    pub(super) by: LayerId,
}

impl Report {
    /// Compares the archives with the layers that are needed.
    pub(super) fn look_at_archives(&mut self, dir: &Path, archives: bool, refused: &[LayerId]) -> io::Result<()> {
        let place = dir.join(ARCHIVES);
        let there: HashSet<String> = names(&place)?.into_iter().collect();
        let wanted: HashSet<String> = match archives {
            true => self.needed.iter().flat_map(archive::names).collect(),
            false => HashSet::new(),
        };
        // Where it isn't known what is needed, nothing is needless.
        if self.unread.is_empty() {
            self.needless_archives = there.difference(&wanted).take(MOST_NAMED).map(|name| place.join(name)).collect();
        }
        if archives {
            let lacks = |layer: &&LayerId| {
                let is_sealed = dir.join(LAYERS).join(layer.to_string()).is_dir();
                is_sealed && !refused.contains(layer) && !archive::names(layer).iter().all(|name| there.contains(name))
            };
            self.unarchived = self.needed.iter().filter(lacks).take(MOST_NAMED).cloned().collect();
        }
        Ok(())
    }
}

/// What a merged layer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MergedOf {
    version: u32,
    #[serde(flatten)]
    run: Run,
}

impl MergedOf {
    pub(super) fn new(run: &Run) -> Self {
        Self { version: 1, run: run.clone() }
    }
}

/// What any file that names layers has in common.
#[derive(Deserialize)]
struct Names {
    version: u32,
    layers: Vec<LayerId>,
}

/// Looks through everything that names layers. What changes meanwhile is to be minded by who acts on the report.
pub(super) fn scan(dir: &Path, most_layers: usize, refused: &[Vec<LayerId>]) -> io::Result<Report> {
    let layers = dir.join(LAYERS);
    let mut report = Report { has_trash: !names(&dir.join(TRASH))?.is_empty(), ..Report::default() };
    let mut there = Vec::new();
    let mut merged: HashMap<LayerId, Vec<(LayerId, Run)>> = HashMap::new();
    let mut weights = HashMap::new();
    for name in names(&layers)? {
        if name.starts_with(UNFINISHED) {
            report.unfinished.push(name);
            continue;
        }
        // What isn't a layer isn't ours to remove.
        let Some(layer) = LayerId::parse(&name) else { continue };
        if let Some(run) = run_of(&layers.join(&name)) {
            weights.insert(layer.clone(), run.weight);
            if let Some(lowest) = run.of.first() {
                merged.entry(lowest.clone()).or_default().push((layer.clone(), run));
            }
        }
        there.push(layer);
    }
    // The longest first.
    merged.values_mut().for_each(|runs| runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.of.len())));

    let mut needed: HashSet<LayerId> = HashSet::new();
    let mut deepest: Option<Head> = None;
    for file in naming_files(dir)? {
        let names = match read(&file) {
            Ok(Some(names)) => names,
            Ok(None) => continue,
            Err(error) => {
                report.unread.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        let swap = swap_in(&names, &merged).filter(|_| !file.starts_with(dir.join(ROOTS)));
        needed.extend(names);
        if let Some((of, by)) = swap {
            needed.insert(by.clone());
            report.swaps.push(Swap { file, of, by });
        } else if file.ends_with(HEAD)
            && let Ok(Some(head)) = Head::read(&file)
            && depth(&head) > deepest.as_ref().map_or(most_layers, depth)
            && run_in(&head, &weights, refused).is_some()
        {
            deepest = Some(head);
        }
    }
    report.merge = deepest.and_then(|head| run_in(&head, &weights, refused));
    if report.unread.is_empty() {
        report.unnamed = there.into_iter().filter(|layer| !needed.contains(layer)).take(MOST_NAMED).collect();
    }
    // One that is about to be replaced everywhere isn't worth it.
    let replaced: HashSet<&LayerId> = report.swaps.iter().flat_map(|swap| &swap.of).collect();
    report.needed = needed.iter().filter(|layer| !replaced.contains(layer)).cloned().collect();
    report.swaps.truncate(MOST_NAMED);
    report.unread.truncate(10);
    Ok(report)
}

/// A merged layer's run that a stack names one by one.
fn swap_in(names: &[LayerId], merged: &HashMap<LayerId, Vec<(LayerId, Run)>>) -> Option<(Vec<LayerId>, LayerId)> {
    names.iter().enumerate().find_map(|(at, lowest)| {
        let (by, run) = merged.get(lowest)?.iter().find(|(_, run)| names[at..].starts_with(&run.of))?;
        Some((run.of.clone(), by.clone()))
    })
}

/// How many layers of a stack may be merged.
fn depth(head: &Head) -> usize {
    head.layers.iter().filter(|layer| layer.is_of_a_session()).count()
}

/// The best run to merge in a stack: adjacent layers that sessions made, all or none of them this one's own, and of about the
/// same weight, so that each file is handled once for each order of magnitude and not every time. If there is none of four, the
/// longest of any weights.
fn run_in(head: &Head, weights: &HashMap<LayerId, u64>, refused: &[Vec<LayerId>]) -> Option<Run> {
    let weight = |layer: &LayerId| weights.get(layer).copied().unwrap_or(1);
    let tier = |layer: &LayerId| weight(layer).checked_ilog(8).unwrap_or(0);
    let is_own = |layer: &LayerId| head.own.contains(layer);
    let longest = |alike: &dyn Fn(&LayerId, &LayerId) -> bool| {
        let runs = head.layers.chunk_by(|below, above| {
            below.is_of_a_session() && above.is_of_a_session() && is_own(below) == is_own(above) && alike(below, above)
        });
        let runs = runs.filter(|run| run.len() > 1 && !refused.iter().any(|refused| refused == run));
        runs.max_by_key(|run| run.len())
    };
    let of = longest(&|below, above| tier(below) == tier(above)).filter(|run| run.len() >= 4);
    let of = of.or_else(|| longest(&|_, _| true))?;
    Some(Run { of: of.to_vec(), weight: of.iter().map(weight).sum() })
}

/// Every file that may name layers.
fn naming_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let sessions = dir.join("sessions");
    for session in names(&sessions)? {
        let session = sessions.join(session);
        // Snapshots first: what is in none of them and then in HEAD may become one, but what HEAD leaves was in one before.
        let snapshots = session.join(SNAPSHOTS);
        files.extend(names(&snapshots)?.into_iter().filter(|name| is_whole(name)).map(|name| snapshots.join(name)));
        files.push(session.join(HEAD));
    }
    let roots = dir.join(ROOTS);
    files.extend(names(&roots)?.into_iter().filter(|name| is_whole(name)).map(|name| roots.join(name)));
    Ok(files)
}

/// Files that are being written have an ending of their own.
fn is_whole(name: &str) -> bool {
    !name.ends_with(".new")
}

fn read(file: &Path) -> io::Result<Option<Vec<LayerId>>> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&text)? {
        Names { version: 1, layers } => Ok(Some(layers)),
        Names { version, .. } => Err(io::Error::other(format!("it is of version {version}"))),
    }
}

/// What a layer was merged of, if it was. One that doesn't say so well is as good as sealed.
fn run_of(layer: &Path) -> Option<Run> {
    let said: MergedOf = serde_json::from_slice(&std::fs::read(layer.join(MERGED)).ok()?).ok()?;
    (said.version == 1 && said.run.of.len() > 1).then_some(said.run)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Layers that nothing on disk names, and what workers left unfinished; nothing if that can't be told.
pub(crate) fn needless_layers(dir: &Path) -> Vec<PathBuf> {
    let Ok(report) = scan(dir, MOST_LAYERS, &[]) else { return Vec::new() };
    let unnamed = report.unnamed.iter().map(ToString::to_string);
    unnamed.chain(report.unfinished).map(|name| dir.join(LAYERS).join(name)).collect()
}

/// The layers that the files of `roots` name.
pub(super) fn named_by_roots(dir: &Path) -> io::Result<HashSet<LayerId>> {
    let roots = dir.join(ROOTS);
    let mut named = HashSet::new();
    for name in names(&roots)?.into_iter().filter(|name| is_whole(name)) {
        named.extend(read(&roots.join(name))?.into_iter().flatten());
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::{MOST_LAYERS, MergedOf, Run, run_in, scan};
    use crate::supervisor::head::{Head, LayerId};

    fn id(number: usize) -> LayerId {
        LayerId::parse(&format!("{number:032x}")).expect("a name")
    }

    fn stack(numbers: std::ops::Range<usize>) -> Head {
        Head { layers: numbers.map(id).collect(), ..Head::default() }
    }

    fn make(dir: &Path, layers: std::ops::Range<usize>) {
        layers
            .for_each(|number| std::fs::create_dir_all(dir.join("layers").join(id(number).to_string())).expect("made"));
    }

    #[test]
    fn what_nothing_names_is_found_unless_something_cannot_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        assert_eq!(scan(dir, MOST_LAYERS, &[]).expect("scanned"), super::Report::default());
        make(dir, 0..6);
        for place in ["layers/tmp-1", "sessions/a/snapshots", "sessions/b", "roots", "trash/x"] {
            std::fs::create_dir_all(dir.join(place)).expect("made");
        }
        stack(0..2).write(&dir.join("sessions/a/HEAD")).expect("written");
        stack(1..3).write(&dir.join("sessions/a/snapshots/s")).expect("written");
        std::fs::write(dir.join("sessions/a/snapshots/t.new"), "half").expect("written");
        stack(3..4).write(&dir.join("roots/r.json")).expect("written");
        let report = scan(dir, MOST_LAYERS, &[]).expect("scanned");
        let mut unnamed = report.unnamed.clone();
        unnamed.sort();
        assert_eq!((unnamed, report.has_trash), (vec![id(4), id(5)], true));
        assert_eq!(report.unfinished, ["tmp-1"]);
        std::fs::write(dir.join("sessions/b/HEAD"), r#"{"version":2,"layers":[]}"#).expect("written");
        let report = scan(dir, MOST_LAYERS, &[]).expect("scanned");
        assert_eq!((report.unnamed.len(), report.unread.len()), (0, 1));
    }

    #[test]
    fn a_deep_stack_is_to_be_merged_and_then_named_so_everywhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        make(dir, 0..MOST_LAYERS + 1);
        std::fs::create_dir_all(dir.join("sessions/a/snapshots")).expect("made");
        stack(0..MOST_LAYERS).write(&dir.join("sessions/a/HEAD")).expect("written");
        assert_eq!(scan(dir, MOST_LAYERS, &[]).expect("scanned").merge, None);
        let deep = stack(0..MOST_LAYERS + 1);
        deep.write(&dir.join("sessions/a/HEAD")).expect("written");
        let run = scan(dir, MOST_LAYERS, &[]).expect("scanned").merge.expect("a run");
        assert_eq!((run.of.len(), run.weight), (MOST_LAYERS + 1, 21));
        assert_eq!(scan(dir, MOST_LAYERS, std::slice::from_ref(&run.of)).expect("scanned").merge, None);
        let merged = dir.join("layers/merged-1");
        std::fs::create_dir(&merged).expect("made");
        let run = Run { of: run.of[..8].to_vec(), weight: 8 };
        std::fs::write(merged.join("merged.json"), serde_json::to_vec(&MergedOf::new(&run)).expect("text"))
            .expect("written");
        stack(0..9).write(&dir.join("sessions/a/snapshots/s")).expect("written");
        stack(0..7).write(&dir.join("sessions/a/snapshots/t")).expect("written");
        let report = scan(dir, MOST_LAYERS, &[]).expect("scanned");
        let mut files: Vec<_> = report.swaps.iter().map(|swap| swap.file.strip_prefix(dir).expect("below")).collect();
        files.sort();
        assert_eq!(files, [Path::new("sessions/a/HEAD"), Path::new("sessions/a/snapshots/s")]);
        assert_eq!((report.unnamed, report.merge), (vec![], None));
    }

    #[test]
    fn runs_are_of_one_owner_and_one_weight() {
        let mut head = stack(0..30);
        head.own = (10..30).map(id).collect();
        let no_weights = HashMap::new();
        assert_eq!(run_in(&head, &no_weights, &[]).expect("a run").of, head.layers[10..]);
        // Those that are heavy are left alone as long as there are enough light ones.
        let weights: HashMap<LayerId, u64> = (10..25).map(|number| (id(number), 64)).collect();
        let light =
            run_in(&head, &weights, &[head.layers[10..25].to_vec(), head.layers[..10].to_vec()]).expect("a run");
        assert_eq!((light.of.as_slice(), light.weight), (&head.layers[25..], 5));
        let image = LayerId::parse("image-00").expect("a name");
        head.layers.insert(15, image.clone());
        assert!(!run_in(&head, &no_weights, &[]).expect("a run").of.contains(&image));
    }
}
