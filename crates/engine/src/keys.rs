//! API keys: who a request comes from.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use tenure_core::id::{KeyId, TenantId};
use tenure_core::resource::{DEFAULT_TENANT, KeyRecord};

use crate::engine::Shared;
use crate::error::Error;

/// What every key begins with, so that leaked ones are recognised.
const PREFIX: &str = "tnr_";

/// Keys that were checked lately, at most.
const REMEMBERED: usize = 10_000;

/// API keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keys {
    shared: Arc<Shared>,
    root: Arc<HashMap<String, KeyRecord>>,
    known: Arc<RwLock<HashMap<String, KeyRecord>>>,
}

impl Keys {
    pub(crate) fn new(shared: Arc<Shared>, root: &[String]) -> Self {
        let root = root.iter().map(|secret| {
            let record = KeyRecord {
                id: KeyId::from_bits(0),
                tenant: DEFAULT_TENANT,
                name: "root".to_owned(),
                hash: hash(secret),
                hint: String::new(),
                created_at: shared.clock.now(),
                revoked_at: None,
            };
            (record.hash.clone(), record)
        });
        Self { root: Arc::new(root.collect()), known: Arc::default(), shared }
    }

    /// Makes a key. The secret is told here and never again.
    pub async fn create(&self, tenant: TenantId, name: String) -> Result<(KeyRecord, String), Error> {
        let secret = new_secret();
        let record = KeyRecord {
            id: KeyId::from_bits(self.shared.clock.ids().bits()),
            tenant,
            name,
            hash: hash(&secret),
            hint: secret.chars().take(PREFIX.len() + 4).collect(),
            created_at: self.shared.clock.now(),
            revoked_at: None,
        };
        let written = self.shared.store.create_key(record.clone(), None).await;
        written.map_err(|error| Error::of_resource(error, "key", "name", &record.name))?;
        Ok((record, secret))
    }

    /// Whose key this is; `None` for one that doesn't exist or is revoked.
    pub async fn check(&self, secret: &str) -> Result<Option<KeyRecord>, Error> {
        // Looking up by the hash of the secret leaks nothing about other secrets through its timing.
        let hash = hash(secret);
        if let Some(record) = self.root.get(&hash) {
            return Ok(Some(record.clone()));
        }
        if let Some(record) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(Some(record.clone()));
        }
        let found = self.shared.store.key_by_hash(hash.clone()).await?;
        let valid = found.filter(|record| record.revoked_at.is_none());
        if let Some(record) = &valid {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(hash, record.clone());
        }
        Ok(valid)
    }

    /// A tenant's keys, newest first, revoked ones included.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<KeyRecord>, Error> {
        Ok(self.shared.store.keys(tenant).await?)
    }

    /// Revokes a key; it is refused from now on.
    pub async fn revoke(&self, tenant: TenantId, id: KeyId) -> Result<(), Error> {
        let existed = self.shared.store.revoke_key(tenant, id, self.shared.clock.now()).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).retain(|_, record| record.id != id);
        if existed { Ok(()) } else { Err(Error::not_found("key", id.prefixed())) }
    }
}

/// 256 random bits as text.
pub(crate) fn new_secret() -> String {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).expect("the system has random bytes");
    format!("{PREFIX}{}", hex(&bits))
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
