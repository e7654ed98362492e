//! The archives of packages that the operator has put on the host: which there are of what an environment names.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tenure_core::packages::{Manager, Packages, Wanted};

use crate::Error;
use crate::wire::Step;

/// The most archives of one manager.
const MOST_ARCHIVES: usize = 20_000;

/// A directory with a directory of archives for each manager.
#[derive(Debug)]
pub(super) struct Archives {
    dir: PathBuf,
    /// Digests of files by what would be another if their content were.
    digests: Mutex<HashMap<Stamp, String>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Stamp {
    dev: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// As whom managers work.
#[derive(Debug, Clone, Copy)]
pub(super) enum Installer {
    /// As who may read what Tenure may.
    Ours,
    /// As another user of the host, and owners can't be shifted.
    Another,
}

/// What is to be installed, and from what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) steps: Vec<Step>,
    /// Says all that what comes of it depends on, but for the root it is installed in.
    pub(super) key: String,
}

/// A file in the directory of a manager, and what its name says.
#[derive(Debug, PartialEq, Eq)]
struct Archive {
    file: String,
    name: String,
    version: String,
}

impl Archives {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, digests: Mutex::default() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there are archives of all of them.
    pub(super) fn check(&self, packages: &Packages) -> Result<(), Error> {
        packages.iter().try_for_each(|(manager, names)| self.choose_of(manager, names).map(drop))
    }

    /// Finds out what they are to be installed from. Reads the archives, so it takes its time.
    pub(super) fn choose(&self, packages: &Packages, installer: Installer) -> Result<Chosen, Error> {
        let mut chosen = Chosen { steps: Vec::new(), key: String::new() };
        for (manager, names) in packages.iter() {
            let (step, files) = self.choose_of(manager, names)?;
            installer.may_read(&self.dir, 0o5)?;
            installer.may_read(&self.dir.join(manager.name()), 0o5)?;
            let _ = write!(chosen.key, " {manager}: {}", step.packages.join(" "));
            for file in files {
                let path = self.dir.join(manager.name()).join(&file);
                installer.may_read(&path, 0o4)?;
                let digest =
                    self.digest(&path).map_err(Error::failed(format!("reading the archive {}", path.display())))?;
                let _ = write!(chosen.key, " {file}:{digest}");
            }
            chosen.steps.push(step);
        }
        Ok(chosen)
    }

    /// What a manager is to be told, and the archives that it may take.
    fn choose_of(&self, manager: Manager, names: &[String]) -> Result<(Step, Vec<String>), Error> {
        let there = self.list(manager)?;
        let mut step = Step { manager, packages: Vec::new() };
        let mut files = Vec::new();
        for name in names {
            let refused = |why: String| Error::Invalid(format!("{manager}: {why}"));
            let wanted = manager.read(name).map_err(|why| refused(format!("{name}: {why}")))?;
            let fitting: Vec<&Archive> = there.iter().filter(|archive| fits(manager, &wanted, archive)).collect();
            if fitting.is_empty() {
                let (dir, what) = (self.dir.join(manager.name()), put_there(manager));
                return Err(refused(format!("no archive of {name} in {}; have {what} put there", dir.display())));
            }
            match manager {
                // They find out themselves which, and what else is needed.
                Manager::Pip => step.packages.push(wanted.rest.to_owned()),
                Manager::Gem => {
                    step.packages
                        .push(wanted.name.to_owned() + &wanted.version.map_or(String::new(), |v| format!(":{v}")));
                }
                Manager::Apt | Manager::Npm => {
                    let [only] = fitting.as_slice() else {
                        let found: Vec<&str> = fitting.iter().map(|archive| archive.file.as_str()).collect();
                        let found = found.join(", ");
                        return Err(refused(format!("{name}: several archives are there ({found}); name the version")));
                    };
                    files.push(only.file.clone());
                    step.packages.push(format!("./{}", only.file));
                }
            }
        }
        if matches!(manager, Manager::Pip | Manager::Gem) {
            files.extend(there.into_iter().map(|archive| archive.file));
        }
        Ok((step, files))
    }

    /// The archives of a manager, sorted by name.
    fn list(&self, manager: Manager) -> Result<Vec<Archive>, Error> {
        let dir = self.dir.join(manager.name());
        let listed = match std::fs::read_dir(&dir) {
            Ok(listed) => listed,
            // Then there are none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::failed(format!("reading {}", dir.display()))(error)),
        };
        let files = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut archives: Vec<Archive> =
            files.filter_map(|file| Archive::read(manager, file)).take(MOST_ARCHIVES + 1).collect();
        if archives.len() > MOST_ARCHIVES {
            let why = format!("{manager}: there are more than {MOST_ARCHIVES} archives in {}", dir.display());
            return Err(Error::Invalid(why));
        }
        archives.sort_unstable_by(|one, other| one.file.cmp(&other.file));
        Ok(archives)
    }

    fn digest(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        let stamp = Stamp {
            dev: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.mtime(), found.mtime_nsec()),
        };
        let digests = || self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = digests().get(&stamp) {
            return Ok(known.clone());
        }
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash)?;
        let digest = hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let mut digests = digests();
        if digests.len() >= MOST_ARCHIVES {
            digests.clear();
        }
        digests.insert(stamp, digest.clone());
        Ok(digest)
    }
}

impl Installer {
    /// Refuses what managers couldn't read.
    fn may_read(self, path: &Path, needed: u32) -> Result<(), Error> {
        match self {
            Self::Ours => return Ok(()),
            Self::Another => {}
        }
        let found = std::fs::metadata(path).map_err(Error::failed(format!("looking at {}", path.display())))?;
        match found.mode() & needed == needed {
            true => Ok(()),
            false => Err(Error::Invalid(format!(
                "packages are installed by another user than the one that runs Tenure, and {} isn't open to all: `chmod -R a+rX` the \
                 directory of the archives",
                path.display()
            ))),
        }
    }
}

impl Archive {
    /// What the name of a file says, if it is that of an archive of this manager for this machine.
    fn read(manager: Manager, file: String) -> Option<Self> {
        let (name, version) = match manager {
            Manager::Apt => {
                let mut parts = file.strip_suffix(".deb")?.split('_');
                let (name, version, machine) = (parts.next()?, parts.next()?, parts.next()?);
                if parts.next().is_some() || !["all", DEBIANS_NAME].contains(&machine) {
                    return None;
                }
                (name.to_owned(), version.replace("%3a", ":"))
            }
            Manager::Gem => versioned(file.strip_suffix(".gem")?)?,
            Manager::Npm => versioned(file.strip_suffix(".tgz")?)?,
            Manager::Pip => match file.strip_suffix(".whl") {
                Some(wheel) => {
                    let mut parts = wheel.split('-');
                    (parts.next()?.to_owned(), parts.next()?.to_owned())
                }
                None => versioned([".tar.gz", ".zip"].iter().find_map(|suffix| file.strip_suffix(suffix))?)?,
            },
        };
        let name = if manager == Manager::Pip { canonical(&name) } else { name };
        Some(Self { file, name, version })
    }
}

/// What Debian calls this machine.
const DEBIANS_NAME: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// `name-version`, where names may have hyphens and versions begin with a digit.
fn versioned(stem: &str) -> Option<(String, String)> {
    let is_mark = |(at, _): &(usize, &str)| stem.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    let at = stem.match_indices('-').find(is_mark)?.0;
    Some((stem[..at].to_owned(), stem[at + 1..].to_owned()))
}

/// A project of Python has one name in many spellings.
fn canonical(name: &str) -> String {
    let mut plain = String::new();
    for letter in name.to_ascii_lowercase().chars() {
        let letter = if matches!(letter, '.' | '_') { '-' } else { letter };
        if letter != '-' || !plain.ends_with('-') {
            plain.push(letter);
        }
    }
    plain
}

fn fits(manager: Manager, wanted: &Wanted<'_>, archive: &Archive) -> bool {
    let name = match manager {
        Manager::Apt | Manager::Gem => wanted.name.to_owned(),
        // As `npm pack` names files.
        Manager::Npm => wanted.name.trim_start_matches('@').replace('/', "-"),
        Manager::Pip => canonical(wanted.name),
    };
    let is_version = |version: &str| match manager {
        // Names of files mostly lack the epoch.
        Manager::Apt => {
            archive.version == version || version.split_once(':').is_some_and(|(_, rest)| archive.version == rest)
        }
        // The name may go on with a platform.
        Manager::Gem => archive.version == version || archive.version.starts_with(&format!("{version}-")),
        Manager::Npm => archive.version == version,
        // Which versions are equal is for pip to say.
        Manager::Pip => true,
    };
    archive.name == name && wanted.version.is_none_or(is_version)
}

fn put_there(manager: Manager) -> &'static str {
    match manager {
        Manager::Apt => "its .deb, and those of what it needs and the root lacks,",
        Manager::Gem => "its .gem, and those of what it needs,",
        Manager::Npm => "its .tgz, as `npm pack` makes it,",
        Manager::Pip => "its wheel, and those of what it needs (`pip download`),",
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::packages::{Manager, Packages};

    use super::{Archive, Archives, DEBIANS_NAME, Installer};

    fn packages(of: &[(Manager, &[&str])]) -> Packages {
        let mut packages = Packages::default();
        of.iter().for_each(|(manager, names)| {
            packages.set(*manager, names.iter().map(|name| (*name).to_owned()).collect());
        });
        packages
    }

    #[test]
    fn names_of_files_are_read() {
        for (manager, file, name, version) in [
            (Manager::Apt, "ruby_1%3a3.1_all.deb", "ruby", "1:3.1"),
            (Manager::Gem, "net-http-0.4.1.gem", "net-http", "0.4.1"),
            (Manager::Npm, "scope-left-pad-1.3.0-rc.1.tgz", "scope-left-pad", "1.3.0-rc.1"),
            (Manager::Pip, "Zope.Interface-5.0-cp311-cp311-manylinux_2_17_x86_64.whl", "zope-interface", "5.0"),
            (Manager::Pip, "ruamel_yaml__x-0.18.tar.gz", "ruamel-yaml-x", "0.18"),
        ] {
            let read = Archive::read(manager, file.to_owned()).unwrap_or_else(|| panic!("{file} is one"));
            assert_eq!((read.name.as_str(), read.version.as_str()), (name, version), "{file}");
        }
        for (manager, file) in [
            (Manager::Apt, "a_1_riscv64.deb"),
            (Manager::Apt, "a.deb"),
            (Manager::Gem, "a.gem"),
            (Manager::Npm, "a-b.tgz"),
            (Manager::Pip, "a-1.0.txt"),
        ] {
            assert_eq!(Archive::read(manager, file.to_owned()), None, "{file}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let archives = Archives::new(dir.path().to_owned());
        let why = |of: &[(Manager, &[&str])]| archives.check(&packages(of)).expect_err("refused").to_string();
        let at = dir.path().display();
        let expected = format!(
            "pip: no archive of requests==2.31 in {at}/pip; have its wheel, and those of what it needs (`pip download`), put there"
        );
        assert_eq!(why(&[(Manager::Pip, &["requests==2.31"])]), expected);
        std::fs::create_dir(dir.path().join("npm")).expect("made");
        for name in ["a-1.0.0.tgz", "a-1.1.0.tgz", "s-b-1.0.0.tgz", "notes.txt"] {
            std::fs::write(dir.path().join("npm").join(name), name).expect("written");
        }
        let several = "npm: a: several archives are there (a-1.0.0.tgz, a-1.1.0.tgz); name the version";
        assert_eq!(why(&[(Manager::Npm, &["@s/b", "a"])]), several);
        assert!(why(&[(Manager::Npm, &["a@1.2.0"])]).starts_with("npm: no archive of a@1.2.0 in "));
        archives.check(&packages(&[(Manager::Npm, &["@s/b@1.0.0", "a==1.1.0"])])).expect("all are there");
    }

    #[test]
    fn the_key_changes_with_what_is_installed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let archives = Archives::new(dir.path().to_owned());
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        ["apt", "pip"].iter().for_each(|name| std::fs::create_dir(dir.path().join(name)).expect("made"));
        let deb = format!("apt/jq_1.6_{DEBIANS_NAME}.deb");
        write(&deb, "one");
        write("pip/a-1-py3-none-any.whl", "one");
        let of = packages(&[(Manager::Pip, &["a"]), (Manager::Apt, &["jq"])]);
        let key = || archives.choose(&of, Installer::Ours).expect("chosen").key;
        let first = key();
        assert!(first.contains(" apt: ./jq_1.6_") && first.contains(" pip: a a-1-py3-none-any.whl:"), "{first}");
        write("apt/other_1_all.deb", "two");
        write("pip/README", "two");
        assert_eq!(key(), first, "what isn't asked for doesn't count");
        write(&deb, "another");
        let second = key();
        assert_ne!(second, first);
        // What it needs may be any of the wheels.
        write("pip/b-1-py3-none-any.whl", "one");
        assert_ne!(key(), second);
    }
}
