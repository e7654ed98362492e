//! Environments that are made or changed.

use serde_json::Value;
use tenure_core::agent::LimitsChange;
use tenure_core::packages::{MOST_PACKAGES, Manager, Packages};
use tenure_core::root::{ImageReference, Root};
use tenure_engine::{EnvironmentChange, NewEnvironment};

use super::metadata;
use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

pub(in super::super) const NAME: usize = 256;
pub(in super::super) const DESCRIPTION: usize = 2_048;
/// Managers that the peer has and that can't install without a network.
pub(in super::super) const OTHER_MANAGERS: [&str; 2] = ["cargo", "go"];

/// The least and the most that a sandbox may be limited to.
pub(in super::super) const MEMORY_BYTES: (u64, u64) = (16 << 20, 1 << 50);
pub(in super::super) const CPU_MILLIS: (u64, u64) = (10, 1_024_000);
pub(in super::super) const PIDS: (u64, u64) = (8, 4_194_304);
pub(in super::super) const DISK_BYTES: (u64, u64) = (1 << 20, 1 << 50);
pub(in super::super) const INODES: (u64, u64) = (100, 1 << 32);
pub(in super::super) const OPEN_FILES: (u64, u64) = (256, 1_048_576);
/// A second to a day.
pub(in super::super) const CALL_MS: (u64, u64) = (1_000, 86_400_000);
pub(in super::super) const OUTPUT_BYTES: (u64, u64) = (1_024, 1 << 30);

/// What a root may be, and how long its name.
pub(in super::super) const ROOTS: [&str; 4] = ["host", "directory", "image", "archive"];
pub(in super::super) const REFERENCE: usize = 512;
pub(in super::super) const ROOT_PATH: usize = 4_095;

/// A new environment.
pub(in super::super) fn new_environment(mut fields: Fields<'_>) -> Result<NewEnvironment, Problem> {
    let name = fields.required_text("name", 1, NAME)?;
    let description = fields.text("description", DESCRIPTION)?.value();
    let Cloud { limits, root, packages: given } = match fields.object("config")? {
        Given::Absent | Given::Null => Cloud::default(),
        Given::Value(mut config) => {
            if config.required_one_of("type", &["cloud", "self_hosted"])? == "self_hosted" {
                return Err(config.wrong("type", SELF_HOSTED));
            }
            cloud(config)?
        }
    };
    let root = root.unwrap_or_default();
    let mut packages = Packages::default();
    given.into_iter().for_each(|(manager, names)| packages.set(manager, names));
    let metadata = metadata::whole(&mut fields)?;
    scope(&mut fields)?;
    Ok(NewEnvironment { name, description, limits, root, packages, metadata })
}

/// What is to change of an environment. Fields of `config` that are absent or null stay as they are.
pub(in super::super) fn environment_change(mut fields: Fields<'_>) -> Result<EnvironmentChange, Problem> {
    let name = fields.text("name", NAME)?.value();
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(fields.wrong("name", "expected 1 to 256 characters, got 0"));
    }
    let description = fields.text("description", DESCRIPTION)?.change();
    let Cloud { limits, root, packages } = match fields.object("config")? {
        Given::Absent | Given::Null => Cloud::default(),
        Given::Value(mut config) => {
            if config.one_of("type", &["cloud", "self_hosted"])?.value() == Some("self_hosted") {
                let message = "this environment is `cloud`, and an environment's type can't be changed";
                return Err(config.wrong("type", message).with_code("invalid_config_type_change"));
            }
            cloud(config)?
        }
    };
    let changes = metadata::changes(&mut fields)?.into_iter();
    // Unlike elsewhere, here an empty value removes a name, too.
    let metadata = changes.map(|(name, value)| (name, value.filter(|value| !value.is_empty()))).collect();
    scope(&mut fields)?;
    Ok(EnvironmentChange { name, description, limits, root, packages, metadata })
}

const SELF_HOSTED: &str =
    "worker queues (`self_hosted`) are not supported yet by this server; `cloud` runs sandboxes here";

fn scope(fields: &mut Fields<'_>) -> Result<(), Problem> {
    if fields.one_of("scope", &["organization", "account"])?.value() == Some("account") {
        return Err(Problem::unsupported(&fields.at("scope"), "the scope `account` is"));
    }
    Ok(())
}

/// What a configuration says.
#[derive(Default)]
struct Cloud {
    limits: LimitsChange,
    root: Option<Root>,
    /// By manager; one that isn't named installs what it did.
    packages: Vec<(Manager, Vec<String>)>,
}

fn cloud(mut config: Fields<'_>) -> Result<Cloud, Problem> {
    if let Given::Value(mut networking) = config.object("networking")?
        && networking.required_one_of("type", &["unrestricted", "limited"])? == "limited"
    {
        let message = "`limited` is not supported yet by this server; so far sandboxes have no network but loopback";
        return Err(networking.wrong("type", message));
    }
    let packages = match config.object("packages")? {
        Given::Absent | Given::Null => Vec::new(),
        Given::Value(mut packages) => read_packages(&mut packages)?,
    };
    let limits = limits(&mut config)?;
    let root = match config.object("root")? {
        Given::Absent | Given::Null => None,
        Given::Value(mut root) => Some(read_root(&mut root)?),
    };
    Ok(Cloud { limits, root, packages })
}

fn read_packages(packages: &mut Fields<'_>) -> Result<Vec<(Manager, Vec<String>)>, Problem> {
    packages.one_of("type", &["packages"])?;
    for manager in OTHER_MANAGERS {
        if packages.unsupported(manager, "").is_err() {
            return Err(packages.wrong(manager, NEEDS_NETWORK));
        }
    }
    let mut read = Vec::new();
    for manager in Manager::ALL {
        let Given::Value(names) = packages.list(manager.name())? else { continue };
        if names.len() > MOST_PACKAGES {
            let message = format!("expected at most {MOST_PACKAGES} packages, got {}", names.len());
            return Err(packages.wrong(manager.name(), message));
        }
        let text = |(at, name): (usize, Value)| {
            let field = format!("{}[{at}]", manager.name());
            let Value::String(name) = name else {
                return Err(packages.wrong(&field, format!("expected a string, got {}", describe(&name))));
            };
            manager.read(&name).map_err(|why| packages.wrong(&field, format!("{why}, got `{name}`")))?;
            Ok(name)
        };
        read.push((manager, names.into_iter().enumerate().map(text).collect::<Result<_, _>>()?));
    }
    Ok(read)
}

const NEEDS_NETWORK: &str = "its packages are built from what a registry has, and nothing is installed over a network yet; \
                             have the programs in an image (`config.root`), or in packages of another manager";

/// Ours. What the operator allows is known further in.
fn read_root(root: &mut Fields<'_>) -> Result<Root, Problem> {
    match root.required_one_of("type", &ROOTS)? {
        "directory" => Ok(Root::Directory { path: root_path(root)? }),
        "archive" => Ok(Root::Archive { path: root_path(root)? }),
        "image" => {
            let reference = root.required_text("reference", 1, REFERENCE)?;
            let reference = ImageReference::parse(&reference).map_err(|why| root.wrong("reference", why))?;
            Ok(Root::Image { reference })
        }
        _ => Ok(Root::Host),
    }
}

fn root_path(root: &mut Fields<'_>) -> Result<String, Problem> {
    let path = root.required_text("path", 1, ROOT_PATH)?;
    match path.starts_with('/') && !path.contains('\0') {
        true => Ok(path),
        false => Err(root.wrong("path", "expected an absolute path of the server's host")),
    }
}

/// Ours: the field `limits`.
pub(super) fn limits(fields: &mut Fields<'_>) -> Result<LimitsChange, Problem> {
    match fields.object("limits")? {
        Given::Absent | Given::Null => Ok(LimitsChange::default()),
        Given::Value(mut limits) => read_limits(&mut limits),
    }
}

/// Ours. What is set here is enforced, or the sandbox isn't made; null leaves it to the operator's default.
pub(crate) fn read_limits(limits: &mut Fields<'_>) -> Result<LimitsChange, Problem> {
    let small = |number: Option<u64>| number.map(|number| number as u32);
    Ok(LimitsChange {
        memory_bytes: limits.bytes("memory_bytes", MEMORY_BYTES.0, MEMORY_BYTES.1)?.change(),
        cpu_millis: limits.integer("cpu_millis", CPU_MILLIS.0, CPU_MILLIS.1)?.change().map(small),
        pids: limits.integer("pids", PIDS.0, PIDS.1)?.change().map(small),
        disk_bytes: limits.bytes("disk_bytes", DISK_BYTES.0, DISK_BYTES.1)?.change(),
        inodes: limits.integer("inodes", INODES.0, INODES.1)?.change(),
        open_files: limits.integer("open_files", OPEN_FILES.0, OPEN_FILES.1)?.change().map(small),
        call_ms: limits.integer("call_ms", CALL_MS.0, CALL_MS.1)?.change(),
        output_bytes: limits.bytes("output_bytes", OUTPUT_BYTES.0, OUTPUT_BYTES.1)?.change(),
    })
}
