//! Agents, environments, keys and secrets.

use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};

use super::super::{During as _, database};
use super::whole::{Checking, RESTORE};
use crate::check::{Finding, Part};
use crate::error::Error;
use crate::formats::Stored;
use crate::seal::MasterKey;

const OPERATION: &str = "checking agents, environments and keys";

pub(super) fn check(checking: &mut Checking<'_>, master_key: Option<&MasterKey>) -> Result<(), Error> {
    part(checking, "agents", |checking| bodies::<AgentRecord>(checking, "agent_versions"))?;
    part(checking, "agents", without_version)?;
    part(checking, "environments", |checking| bodies::<EnvironmentRecord>(checking, "environments"))?;
    part(checking, "keys", |checking| bodies::<KeyRecord>(checking, "keys"))?;
    part(checking, "secrets", |checking| secrets(checking, master_key))
}

/// Checks one part. A damaged page in it is a finding, and the next part is checked all the same.
fn part(
    checking: &mut Checking<'_>,
    name: &str,
    check: impl FnOnce(&mut Checking<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let Err(error) = check(checking) else { return Ok(()) };
    checking.go_on()?;
    let what = format!("the {name} can't be read: {error}");
    checking.find(Finding::new(Part::Resource, what, "they can't be shown or used", RESTORE));
    Ok(())
}

/// Every agent's current version is there.
fn without_version(checking: &mut Checking<'_>) -> Result<(), Error> {
    let without_version = "SELECT count(*) FROM agents a WHERE NOT EXISTS
         (SELECT 1 FROM agent_versions v WHERE v.agent = a.id AND v.version = a.version)";
    let lost: u64 = checking.db.query_row(without_version, [], |row| row.get(0)).during(OPERATION)?;
    if lost > 0 {
        let what = format!("the current version of {lost} agents is missing");
        checking.find(Finding::new(Part::Resource, what, "those agents can't be used", RESTORE));
    }
    Ok(())
}

fn bodies<T: Stored>(checking: &mut Checking<'_>, table: &str) -> Result<(), Error> {
    let mut select = checking.db.prepare(&format!("SELECT rowid, format, body FROM {table}")).during(OPERATION)?;
    let mut rows = select.query([]).during(OPERATION)?;
    while let Some(row) = rows.next().during(OPERATION)? {
        checking.go_on()?;
        let body = row.get_ref(2).during(OPERATION)?.as_blob().during(OPERATION)?;
        if let Err(error) = database::decode::<T>(row.get(1).during(OPERATION)?, body) {
            let number: i64 = row.get(0).during(OPERATION)?;
            let what = format!("row {number} of table `{table}`: {error}");
            checking.find(Finding::new(Part::Resource, what, "it can't be shown or used", RESTORE));
        }
    }
    Ok(())
}

/// Every secret opens with the master key.
fn secrets(checking: &mut Checking<'_>, given: Option<&MasterKey>) -> Result<(), Error> {
    let path = checking.dir.join("master.key");
    let key = match given {
        Some(key) => Some(key.clone()),
        None => match database::read_key(&path) {
            Ok(key) => key,
            Err(error) => {
                let meaning = "the server doesn't start, and no secret can be read";
                let finding = Finding::new(Part::Secret, error.to_string(), meaning, "put the right file back");
                checking.find(Finding { path: Some(path), ..finding });
                return Ok(());
            }
        },
    };
    let Some(key) = key else { return Ok(()) };
    let proof: Option<Vec<u8>> = database::sealed_proof(checking.db)?;
    if proof.is_some_and(|proof| !database::opens_proof(&key, &proof)) {
        let what = "the secrets were sealed with another master key, or the word that proves it is damaged";
        let meaning = "the server doesn't start";
        checking.find(Finding::new(Part::Secret, what, meaning, "put the right master key back"));
        return Ok(());
    }
    let mut select = checking.db.prepare("SELECT name, sealed FROM secrets").during(OPERATION)?;
    let mut rows = select.query([]).during(OPERATION)?;
    while let Some(row) = rows.next().during(OPERATION)? {
        let (name, sealed): (String, Vec<u8>) = (row.get(0).during(OPERATION)?, row.get(1).during(OPERATION)?);
        if let Err(error) = key.open(&name, &sealed) {
            let meaning = "what it opens (a model server, say) can't be used";
            checking.find(Finding::new(Part::Secret, error.to_string(), meaning, "set it anew (`tenure models add`)"));
        }
    }
    Ok(())
}
