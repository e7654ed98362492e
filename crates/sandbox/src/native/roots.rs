//! What a new session's files begin with: finds the image, has its layers fetched and unpacked, and adds what tools need.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tenure_core::packages::{Manager, Packages};
use tenure_core::root::Root;
use tokio::sync::Semaphore;

use super::archives::{Archives, Installer};
use super::backend::refusal;
use super::supervisor_link::SupervisorLink;
use super::trash::Trash;
use crate::supervisor::{self, Head, LayerId, subordinate};
use crate::wire::{Build, BuildTask, Start, SupervisorAsk, SupervisorTell};
use crate::{Error, Fetched, Image, ImageLayer, Images, Progress, Spec};

/// How many layers are made at once. Each may need as much memory as a sandbox.
const MOST_BUILDS: usize = 2;
/// How long the layers of a root stay that nobody begins with any more.
const ROOTS_STAY: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often it is looked at how much of a layer has been fetched.
const LOOK: Duration = Duration::from_millis(500);
/// Which kind of [`BuildTask::System`] layers this program makes: raised when they change.
const SYSTEM_VERSION: u32 = 1;
/// The same of [`BuildTask::Install`].
const INSTALL_VERSION: u32 = 1;

/// Where roots come from.
#[derive(Debug)]
pub(super) struct Roots {
    dir: PathBuf,
    images: Option<Arc<dyn Images>>,
    root_dirs: Vec<PathBuf>,
    archives: Arc<Archives>,
    building: Semaphore,
}

/// Whose the files of layers are.
#[derive(Debug, Clone, Copy)]
enum Owners {
    /// Users' that root gave to sandboxes.
    Root,
    /// Those of the ids that an ordinary user was given.
    Given,
    /// All are that one user's, so its layers have names of their own, lest they be taken for others where a backup is restored.
    One,
}

impl Owners {
    /// What layers of images are called.
    fn image(self) -> &'static str {
        match self {
            Self::Root | Self::Given => "image",
            Self::One => "image-one",
        }
    }

    /// What layers of packages are called.
    fn packages(self) -> &'static str {
        match self {
            Self::Root | Self::Given => "packages",
            Self::One => "packages-one",
        }
    }

    /// As whom packages are installed, as it counts for who may read their archives.
    fn installer(self) -> Installer {
        match self {
            // Owners are shifted in what it sees.
            Self::Root | Self::One => Installer::Ours,
            Self::Given => Installer::Another,
        }
    }
}

/// The sandboxes' side of it.
struct Builders<'b> {
    supervisor: &'b SupervisorLink,
    trash: &'b Trash,
    progress: &'b Progress,
}

impl Roots {
    pub(super) fn new(
        dir: &Path,
        images: Option<Arc<dyn Images>>,
        root_dirs: Vec<PathBuf>,
        packages_dir: PathBuf,
    ) -> Self {
        let archives = Arc::new(Archives::new(packages_dir));
        Self { dir: dir.to_owned(), images, root_dirs, archives, building: Semaphore::new(MOST_BUILDS) }
    }

    /// Whether a root may be had, as far as can be told without fetching anything.
    pub(super) fn check(&self, root: &Root) -> Result<(), Error> {
        match root {
            Root::Host => Ok(()),
            Root::Directory { .. } if !rustix::process::geteuid().is_root() => {
                Err(Error::Invalid(supervisor::NEEDS_ROOT.to_owned()))
            }
            Root::Directory { path } => self.directory(path).map(drop),
            Root::Image { .. } => self.images()?.check(root),
            Root::Archive { path } => {
                allowed(path, &self.root_dirs)?;
                self.images()?.check(root)
            }
        }
    }

    /// Whether packages may be had, as far as can be told without installing them.
    pub(super) fn check_packages(&self, packages: &Packages) -> Result<(), Error> {
        self.archives.check(packages)
    }

    fn directory(&self, path: &str) -> Result<PathBuf, Error> {
        let found = allowed(path, &self.root_dirs)?;
        match found.is_dir() {
            true => Ok(found),
            false => Err(Error::Invalid(format!("the root {path} can't be used: it is not a directory"))),
        }
    }

    fn images(&self) -> Result<&Arc<dyn Images>, Error> {
        let images = self.images.as_ref();
        images.ok_or_else(|| Error::Invalid("this server has no place to get images from".to_owned()))
    }

    /// What the session begins with, if that is still open and something else than the host's root; all of it is there then.
    pub(super) async fn start(
        &self,
        spec: &Spec,
        session_dir: &Path,
        supervisor: &SupervisorLink,
        trash: &Trash,
    ) -> Result<Option<Start>, Error> {
        if spec.root.is_host() && spec.packages.is_empty() || has_begun(session_dir)? {
            return Ok(None);
        }
        let builders = Builders { supervisor, trash, progress: &spec.progress };
        let start = match &spec.root {
            Root::Host => Start { root: supervisor::Root::Host, base: Vec::new() },
            Root::Directory { path } => self.of_directory(path, &builders).await?,
            Root::Image { .. } => self.of_image(&spec.root, &builders).await?,
            Root::Archive { path } => {
                allowed(path, &self.root_dirs)?;
                self.of_image(&spec.root, &builders).await?
            }
        };
        match spec.packages.is_empty() {
            true => Ok(Some(start)),
            false => self.with_packages(start, &spec.packages, &builders).await.map(Some),
        }
    }

    /// Has the packages installed over what there is.
    async fn with_packages(&self, start: Start, packages: &Packages, builders: &Builders<'_>) -> Result<Start, Error> {
        self.check_packages(packages)?;
        let owners = self.owners(builders).await?;
        let (archives, wanted) = (self.archives.clone(), packages.clone());
        let installer = owners.installer();
        let chosen = tokio::task::spawn_blocking(move || archives.choose(&wanted, installer)).await;
        let chosen = chosen.map_err(|error| Error::failed("choosing archives")(io::Error::other(error)))??;
        let below = match (&start.root, start.base.last()) {
            (_, Some(top)) => top.to_string(),
            (_, None) => hosts_key(packages),
        };
        let made = layer(owners.packages(), &format!("{INSTALL_VERSION} {below}{}", chosen.key));
        let Start { root, mut base } = start;
        let task = BuildTask::Install { archives: self.archives.dir().to_owned(), steps: chosen.steps };
        let all: Vec<LayerId> = base.iter().chain([&made]).cloned().collect();
        self.name_layers(&made, &all)?;
        let named = packages.iter().map(|(manager, names)| format!("{manager}: {}", names.join(", ")));
        builders.progress.say(&format!("packages: installing {}", named.collect::<Vec<_>>().join("; ")));
        let built = self.build(&made, &root, &base, task, builders).await;
        built.map_err(|error| match error {
            Error::Invalid(why) => Error::Invalid(format!("packages: {why}")),
            other => other,
        })?;
        base.push(made);
        Ok(Start { root, base })
    }

    async fn of_directory(&self, path: &str, builders: &Builders<'_>) -> Result<Start, Error> {
        let path = self.directory(path)?;
        let system = layer("base", &directory_key(&path));
        let root = supervisor::Root::Directory { path };
        self.name_layers(&system, std::slice::from_ref(&system))?;
        self.build(&system, &root, &[], BuildTask::System, builders).await?;
        Ok(Start { root, base: vec![system] })
    }

    /// Whose the files of layers are here.
    async fn owners(&self, builders: &Builders<'_>) -> Result<Owners, Error> {
        if rustix::process::geteuid().is_root() {
            return Ok(Owners::Root);
        }
        // Once there is a supervisor, it is settled whose the files are.
        builders.supervisor.ask(&SupervisorAsk::Alive).await?;
        let users =
            subordinate::Users::read(&self.dir).map_err(Error::failed("reading whose the sandboxes' files are"))?;
        Ok(if users.is_some() { Owners::Given } else { Owners::One })
    }

    async fn of_image(&self, root: &Root, builders: &Builders<'_>) -> Result<Start, Error> {
        let images = self.images()?;
        let name = printed(root);
        builders.progress.say(&format!("image {name}: looking it up"));
        let image = images.find(root).await?;
        let layers = layers_of(&image, self.owners(builders).await?.image());
        if layers.is_empty() || layers.len() != image.layers.len() {
            return Err(Error::Invalid(format!("the image {} has no usable layers", printed(root))));
        }
        let top = layers.last().map(ToString::to_string).unwrap_or_default();
        let system = layer("base", &format!("{SYSTEM_VERSION} {top}"));
        let all: Vec<LayerId> = layers.iter().chain([&system]).cloned().collect();
        // First, lest anybody think that nobody needs them.
        self.name_layers(&system, &all)?;
        let below = supervisor::Root::Image { digest: image.digest.clone(), env: image.env.clone() };
        for (number, (made, packed)) in layers.iter().zip(&image.layers).enumerate() {
            if self.is_there(made) {
                continue;
            }
            let doing = format!("image {name}: layer {} of {}", number + 1, layers.len());
            let fetched = fetch(images.as_ref(), &image, packed, &doing, builders.progress).await?;
            builders.progress.say(&format!("{doing}: unpacking"));
            let (packing, diff_id) = (packed.packing, packed.diff_id.clone());
            let task = BuildTask::Unpack { packed: fetched.path.clone(), packing, diff_id };
            let built = self.build(made, &below, &layers[..number], task, builders).await;
            built.map_err(|error| of_layer(&image, &packed.digest, error))?;
        }
        self.build(&system, &below, &layers, BuildTask::System, builders).await?;
        Ok(Start { root: below, base: all })
    }

    async fn build(
        &self,
        layer: &LayerId,
        root: &supervisor::Root,
        base: &[LayerId],
        task: BuildTask,
        builders: &Builders<'_>,
    ) -> Result<(), Error> {
        if self.is_there(layer) {
            return Ok(());
        }
        let _turn = self.building.acquire().await;
        let build = Build { layer: layer.clone(), root: root.clone(), base: base.to_vec(), task };
        tracing::info!(%layer, "a layer is made");
        let answer = builders.supervisor.ask(&SupervisorAsk::Build { build }).await;
        // What it needed on the way, or made in vain.
        builders.trash.sweep();
        match answer? {
            SupervisorTell::Done => Ok(()),
            other => Err(refusal(other)),
        }
    }

    fn is_there(&self, layer: &LayerId) -> bool {
        self.dir.join("layers").join(layer.to_string()).is_dir()
    }

    /// Notes what layers a root consists of, under the name of the highest: as long as that note is there, so are they.
    fn name_layers(&self, top: &LayerId, layers: &[LayerId]) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            let dir = self.dir.join("roots");
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            let text = serde_json::to_vec(&serde_json::json!({"version": 1, "layers": layers}))?;
            let (new, at) = (dir.join(format!("{top}.{}.new", std::process::id())), dir.join(format!("{top}.json")));
            std::fs::write(&new, text)?;
            std::fs::rename(new, at)?;
            forget_unused(&dir);
            Ok(())
        };
        write().map_err(Error::failed("noting the layers of a root"))
    }
}

/// Has a layer's file fetched, and says how far it is.
async fn fetch(
    images: &dyn Images,
    image: &Image,
    layer: &ImageLayer,
    doing: &str,
    progress: &Progress,
) -> Result<Fetched, Error> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut fetching = images.layer(image, layer);
    loop {
        let (there, all) = (mib(images.fetched(layer)), mib(layer.bytes));
        progress.say(&format!("{doing}: {there:.1} of {all:.1} MiB fetched"));
        tokio::select! {
            fetched = &mut fetching => return fetched,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Removes the notes of roots that no session has begun with for long: their layers go when no session has them any more.
fn forget_unused(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|found| found.modified());
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ROOTS_STAY)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether it is settled what the session's files begin with.
fn has_begun(session_dir: &Path) -> Result<bool, Error> {
    let head =
        Head::read(&session_dir.join("HEAD")).map_err(Error::failed("reading what a session's files are made of"))?;
    Ok(match head {
        Some(head) => head.root != supervisor::Root::Unmade,
        None => session_dir.join("layer").exists(),
    })
}

/// A path of the host, with its links resolved, if the operator allows it as a root or what that is made from.
fn allowed(path: &str, root_dirs: &[PathBuf]) -> Result<PathBuf, Error> {
    let refused = |why: String| Error::Invalid(format!("the root {path} can't be used: {why}"));
    let found = std::fs::canonicalize(path).map_err(|error| refused(error.to_string()))?;
    let is_below = |dir: &PathBuf| std::fs::canonicalize(dir).is_ok_and(|dir| found.starts_with(dir));
    // Everything of the host, and its mounts, is never a root.
    if found == Path::new("/") || !root_dirs.iter().any(is_below) {
        return Err(refused("it is in none of the directories that the operator allows with `--root-dirs`".to_owned()));
    }
    Ok(found)
}

/// What makes the system layer of a directory another one: the directory itself, and whom its lists of users have.
fn directory_key(path: &Path) -> String {
    let mut key = format!("{SYSTEM_VERSION} directory {}", path.display());
    for name in ["", "etc/passwd", "etc/group", "bin/bash"] {
        if let Ok(found) = std::fs::symlink_metadata(path.join(name)) {
            let time = if name.is_empty() { (0, 0) } else { (found.mtime(), found.mtime_nsec()) };
            let _ = write!(key, " {name}:{}:{}:{}:{}", found.dev(), found.ino(), time.0, time.1);
        }
    }
    key
}

/// What makes packages that are installed over the host's root others: which system it is, and which managers it has.
fn hosts_key(packages: &Packages) -> String {
    let mut key = "host".to_owned();
    let mut note = |path: PathBuf| {
        let found = std::fs::canonicalize(&path).and_then(|at| std::fs::metadata(&at).map(|found| (at, found)));
        if let Ok((at, found)) = found {
            let _ = write!(key, " {}:{}:{}:{}", at.display(), found.len(), found.mtime(), found.mtime_nsec());
        }
    };
    note(PathBuf::from("/etc/os-release"));
    for (manager, _) in packages.iter() {
        match manager {
            // What is installed already needs nothing more.
            Manager::Apt => note(PathBuf::from("/var/lib/dpkg/status")),
            Manager::Gem => note(PathBuf::from("/usr/bin/gem")),
            Manager::Npm => note(PathBuf::from("/usr/bin/npm")),
            Manager::Pip => note(PathBuf::from("/usr/bin/python3")),
        }
    }
    key
}

/// The name of a layer that is what this text says.
fn layer(kind: &str, key: &str) -> LayerId {
    LayerId::parse(&format!("{kind}-{}", hex(key))).expect("letters, digits and a hyphen")
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The names of an image's layers: each says what lies below it, too, since unpacking depends on that (the chain ids of the OCI
/// image specification).
fn layers_of(image: &Image, kind: &str) -> Vec<LayerId> {
    let mut chain = String::new();
    let named = image.layers.iter().map(|layer| {
        chain = match chain.is_empty() {
            true => layer.diff_id.clone(),
            false => format!("sha256:{}", hex(&format!("{chain} {}", layer.diff_id))),
        };
        let digits = chain.trim_start_matches("sha256:");
        LayerId::parse(&format!("{kind}-{digits}"))
    });
    // Digests have been checked by who found the image.
    named.flatten().collect()
}

fn of_layer(image: &Image, digest: &str, error: Error) -> Error {
    match error {
        Error::Invalid(why) => Error::Invalid(format!(
            "the image {} can't be used: its layer {digest} can't be unpacked: {why}",
            printed(&image.root)
        )),
        other => other,
    }
}

fn printed(root: &Root) -> String {
    match root {
        Root::Host => "of the host".to_owned(),
        Root::Directory { path } | Root::Archive { path } => path.clone(),
        Root::Image { reference } => reference.to_string(),
    }
}
