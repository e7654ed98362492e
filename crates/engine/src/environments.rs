//! Environments.

use std::sync::Arc;

use tenure_core::agent::Limits;
use tenure_core::id::{EnvironmentId, TenantId};
use tenure_core::resource::{DEFAULT_TENANT, EnvironmentRecord};
use tenure_core::session::Metadata;
use tenure_store::{Page, ResourceQuery};

use crate::engine::Shared;
use crate::error::Error;
use crate::view::{Done, Keyed};

/// The name of the environment that every tenant has.
const DEFAULT: &str = "default";

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
    /// Limits that must be enforced.
    pub limits: Limits,
    /// Names and values of the client's.
    pub metadata: Metadata,
}

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
        let NewEnvironment { name, description, limits, metadata } = new;
        let record = EnvironmentRecord {
            id: EnvironmentId::from_bits(self.shared.clock.ids().bits()),
            tenant,
            name,
            description,
            limits,
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

    /// A page of environments.
    pub async fn list(&self, query: ResourceQuery) -> Result<Page<EnvironmentRecord>, Error> {
        Ok(self.shared.store.environments(query).await?)
    }
}

/// Makes the default tenant's environment if there is none.
pub(crate) async fn ensure_default(environments: &Environments) -> Result<(), Error> {
    match environments.by_name(DEFAULT_TENANT, DEFAULT).await {
        Ok(_) => Ok(()),
        Err(Error::NotFound { .. }) => {
            let new = NewEnvironment {
                name: DEFAULT.to_owned(),
                description: Some("The environment every tenant has.".to_owned()),
                limits: Limits::default(),
                metadata: Metadata::new(),
            };
            environments.create(DEFAULT_TENANT, new, None).await.map(drop)
        }
        Err(error) => Err(error),
    }
}
