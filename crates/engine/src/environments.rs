//! Environments.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::agent::{Limits, LimitsChange};
use tenure_core::id::{EnvironmentId, TenantId};
use tenure_core::packages::{Manager, Packages};
use tenure_core::resource::{DEFAULT_TENANT, EnvironmentRecord};
use tenure_core::root::Root;
use tenure_core::session::Metadata;
use tenure_store::{Page, ResourceError, ResourceQuery};

use crate::engine::Shared;
use crate::error::Error;
use crate::limits;
use crate::metadata::merged;
use crate::view::{Done, Keyed};

/// The name of the environment that every tenant has.
const DEFAULT: &str = "default";

/// Why that one stays as it is called.
const EVERYBODYS: &str = "every tenant has the environment `default`; it can't be renamed, archived or deleted";

/// A tenant's environments. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Environments {
    shared: Arc<Shared>,
}

/// A new environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnvironment {
    /// Its name, unique among the tenant's.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Limits that must be enforced, where they aren't the operator's defaults.
    pub limits: LimitsChange,
    /// What the root file systems are made from.
    pub root: Root,
    /// What is installed in them.
    pub packages: Packages,
    /// Names and values of the client's.
    pub metadata: Metadata,
}

/// What is to change; `None` leaves a part as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvironmentChange {
    /// The new name.
    pub name: Option<String>,
    /// The new description; the inner `None` clears it.
    pub description: Option<Option<String>>,
    /// New limits.
    pub limits: LimitsChange,
    /// What root file systems are made from, of sessions to come.
    pub root: Option<Root>,
    /// What managers install from now on, in root file systems of sessions to come.
    pub packages: Vec<(Manager, Vec<String>)>,
    /// Metadata by name; `None` removes it.
    pub metadata: Vec<(String, Option<String>)>,
}

/// Where limits are in a request that is about an environment.
const AT: &str = "config.limits.";

/// How often a change is made again because another one came between reading and writing.
const TRIES: u32 = 16;

impl Environments {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes an environment.
    pub async fn create(
        &self,
        tenant: TenantId,
        new: NewEnvironment,
        keyed: Option<Keyed>,
    ) -> Result<EnvironmentRecord, Error> {
        let now = self.shared.clock.now();
        let NewEnvironment { name, description, limits, root, packages, metadata } = new;
        self.check_root(&root).await?;
        self.check_packages(&packages).await?;
        limits::check(&self.shared, limits, AT).await?;
        let limits = limits.apply(Limits::default());
        let record = EnvironmentRecord {
            id: EnvironmentId::from_bits(self.shared.clock.ids().bits()),
            tenant,
            name,
            description,
            limits,
            root,
            packages,
            metadata,
            created_at: now,
            updated_at: now,
            archived_at: None,
        };
        let answer = keyed.map(|keyed| keyed.record(tenant, &Done::Environment(record.clone()), now));
        let written = self.shared.store.create_environment(record.clone(), answer).await;
        written.map_err(|error| Error::of_resource(error, "environment", "name", &record.name))?;
        Ok(record)
    }

    /// An environment.
    pub async fn get(&self, tenant: TenantId, id: EnvironmentId) -> Result<EnvironmentRecord, Error> {
        let found = self.shared.store.environment(tenant, id).await?;
        found.ok_or_else(|| Error::not_found("environment", id.prefixed()))
    }

    /// An environment by its name.
    pub async fn by_name(&self, tenant: TenantId, name: &str) -> Result<EnvironmentRecord, Error> {
        let found = self.shared.store.environment_by_name(tenant, name.to_owned()).await?;
        found.ok_or_else(|| Error::not_found("environment", name))
    }

    /// Changes an environment. Sessions that were made before keep what it was. A change of nothing changes nothing.
    pub async fn update(
        &self,
        tenant: TenantId,
        id: EnvironmentId,
        change: EnvironmentChange,
        keyed: Option<Keyed>,
    ) -> Result<EnvironmentRecord, Error> {
        if let Some(root) = &change.root {
            self.check_root(root).await?;
        }
        limits::check(&self.shared, change.limits, AT).await?;
        let mut packages = Packages::default();
        change.packages.iter().for_each(|(manager, names)| packages.set(*manager, names.clone()));
        self.check_packages(&packages).await?;
        self.write(tenant, id, keyed, |current| {
            if current.archived_at.is_some() {
                let message = "the environment is archived and can't be changed";
                return Err(Error::Archived { what: "environment", field: "environment", message });
            }
            let renamed = change.name.as_ref().is_some_and(|name| *name != current.name);
            if renamed && current.name == DEFAULT {
                return Err(Error::invalid("name", EVERYBODYS));
            }
            changed(current, change.clone())
        })
        .await
    }

    /// Whether the operator allows a root.
    async fn check_root(&self, root: &Root) -> Result<(), Error> {
        let checked = self.shared.sandboxes.backend().check_root(root).await;
        checked.map_err(|error| Error::invalid("config.root", error.to_string()))
    }

    /// Whether the operator has what is to be installed.
    async fn check_packages(&self, packages: &Packages) -> Result<(), Error> {
        if packages.is_empty() {
            return Ok(());
        }
        let checked = self.shared.sandboxes.backend().check_packages(packages).await;
        checked.map_err(|error| Error::invalid("config.packages", error.to_string()))
    }

    /// Archives an environment for good: its sessions go on, new ones can't have it. A second time changes nothing.
    pub async fn archive(
        &self,
        tenant: TenantId,
        id: EnvironmentId,
        keyed: Option<Keyed>,
    ) -> Result<EnvironmentRecord, Error> {
        let _nobody_chooses_it = self.shared.choosing_environments.write().await;
        self.write(tenant, id, keyed, |current| {
            if current.name == DEFAULT {
                return Err(Error::invalid("environment", EVERYBODYS));
            }
            let archived_at = current.archived_at.or(Some(self.shared.clock.now()));
            Ok(EnvironmentRecord { archived_at, ..current.clone() })
        })
        .await
    }

    /// Removes an environment that no session refers to.
    pub async fn delete(&self, tenant: TenantId, id: EnvironmentId) -> Result<(), Error> {
        let _nobody_chooses_it = self.shared.choosing_environments.write().await;
        if self.get(tenant, id).await?.name == DEFAULT {
            return Err(Error::invalid("environment", EVERYBODYS));
        }
        let deleted = self.shared.store.delete_environment(tenant, id).await;
        deleted.map_err(|error| Error::of_resource(error, "environment", "name", &id.prefixed()))
    }

    /// A page of environments.
    pub async fn list(&self, query: ResourceQuery) -> Result<Page<EnvironmentRecord>, Error> {
        Ok(self.shared.store.environments(query).await?)
    }

    /// Writes what `next` makes of the record, and the answer. The last one to write wins.
    async fn write(
        &self,
        tenant: TenantId,
        id: EnvironmentId,
        keyed: Option<Keyed>,
        next: impl Fn(&EnvironmentRecord) -> Result<EnvironmentRecord, Error>,
    ) -> Result<EnvironmentRecord, Error> {
        for _ in 0..TRIES {
            let current = self.get(tenant, id).await?;
            let mut record = next(&current)?;
            let now = self.shared.clock.now();
            let answer = |record: &EnvironmentRecord| {
                keyed.as_ref().map(|keyed| keyed.record(tenant, &Done::Environment(record.clone()), now))
            };
            let written = if record == current {
                match answer(&record) {
                    Some(answer) => self.shared.store.keep_answer(answer, None).await,
                    None => Ok(()),
                }
            } else {
                // The time of a change also tells it from the one before.
                record.updated_at = now.max(current.updated_at.after(Duration::from_micros(1)));
                let answer = answer(&record);
                self.shared.store.update_environment(current.updated_at, record.clone(), answer).await
            };
            match written {
                Ok(()) => return Ok(record),
                Err(ResourceError::Conflict) => {}
                Err(error) => return Err(Error::of_resource(error, "environment", "name", &record.name)),
            }
        }
        Err(Error::busy())
    }
}

fn changed(current: &EnvironmentRecord, change: EnvironmentChange) -> Result<EnvironmentRecord, Error> {
    let EnvironmentChange { name, description, limits, root, packages: changed, metadata } = change;
    let mut packages = current.packages.clone();
    changed.into_iter().for_each(|(manager, names)| packages.set(manager, names));
    Ok(EnvironmentRecord {
        name: name.unwrap_or_else(|| current.name.clone()),
        description: description.unwrap_or_else(|| current.description.clone()),
        limits: limits.apply(current.limits),
        root: root.unwrap_or_else(|| current.root.clone()),
        packages,
        metadata: merged(&current.metadata, metadata)?,
        ..current.clone()
    })
}

/// Makes the default tenant's environment if there is none.
pub(crate) async fn ensure_default(environments: &Environments) -> Result<(), Error> {
    match environments.by_name(DEFAULT_TENANT, DEFAULT).await {
        Ok(_) => Ok(()),
        Err(Error::NotFound { .. }) => {
            let new = NewEnvironment {
                name: DEFAULT.to_owned(),
                description: Some("The environment every tenant has.".to_owned()),
                limits: LimitsChange::default(),
                root: Root::Host,
                packages: Packages::default(),
                metadata: Metadata::new(),
            };
            environments.create(DEFAULT_TENANT, new, None).await.map(drop)
        }
        Err(error) => Err(error),
    }
}
