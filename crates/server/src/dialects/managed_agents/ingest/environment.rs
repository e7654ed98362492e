//! Environments that are made.

use tenure_core::agent::Limits;
use tenure_engine::NewEnvironment;

use super::metadata;
use crate::problem::Problem;
use crate::request::{Fields, Given};

/// A new environment.
pub(in super::super) fn new_environment(mut fields: Fields<'_>) -> Result<NewEnvironment, Problem> {
    let name = fields.required_text("name", 1, 256)?;
    let description = fields.text("description", 2_048)?.value();
    let limits = match fields.object("config")? {
        Given::Absent | Given::Null => Limits::default(),
        Given::Value(config) => read_config(config)?,
    };
    let metadata = metadata::whole(&mut fields)?;
    if fields.one_of("scope", &["organization", "account"])?.value() == Some("account") {
        return Err(Problem::unsupported(&fields.at("scope"), "the scope `account` is"));
    }
    Ok(NewEnvironment { name, description, limits, metadata })
}

fn read_config(mut config: Fields<'_>) -> Result<Limits, Problem> {
    if config.required_one_of("type", &["cloud", "self_hosted"])? == "self_hosted" {
        let message = "worker queues (`self_hosted`) are not supported yet by this server; `cloud` runs sandboxes here";
        return Err(config.wrong("type", message));
    }
    if let Given::Value(mut networking) = config.object("networking")?
        && networking.required_one_of("type", &["unrestricted", "limited"])? == "limited"
    {
        let message = "`limited` is not supported yet by this server; so far sandboxes have no network but loopback";
        return Err(networking.wrong("type", message));
    }
    if let Given::Value(mut packages) = config.object("packages")? {
        packages.one_of("type", &["packages"])?;
        for manager in ["apt", "cargo", "gem", "go", "npm", "pip"] {
            packages.unsupported(manager, "packages are")?;
        }
    }
    match config.object("limits")? {
        Given::Absent | Given::Null => Ok(Limits::default()),
        Given::Value(mut limits) => read_limits(&mut limits),
    }
}

/// Ours. What is set here is enforced, or the sandbox isn't made.
fn read_limits(limits: &mut Fields<'_>) -> Result<Limits, Problem> {
    Ok(Limits {
        memory_bytes: limits.integer("memory_bytes", 16 << 20, 1 << 50)?.value(),
        cpu_millis: limits.integer("cpu_millis", 10, 1_024_000)?.value().map(|millis| millis as u32),
        pids: limits.integer("pids", 8, 4_194_304)?.value().map(|pids| pids as u32),
    })
}
