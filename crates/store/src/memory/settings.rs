//! Blobs and settings in memory. Secrets aren't sealed: nothing leaves the process.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use tenure_core::content::BlobId;
use tenure_core::time::Timestamp;

use super::MemoryStore;
use super::state::Blob;
use crate::blobs::{Blobs, name_of, now};
use crate::error::Error;
use crate::settings::Settings;

impl Blobs for MemoryStore {
    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<BlobId, Error>> {
        self.step(move |state| {
            let id = name_of(&bytes);
            state.blobs.insert(id.clone(), Blob { bytes: Arc::from(bytes), put_at: now() });
            Ok(id)
        })
    }

    fn blob(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        self.step(move |state| Ok(state.blobs.get(&id).map(|blob| blob.bytes.to_vec())))
    }

    fn has_blob(&self, id: BlobId) -> BoxFuture<'_, Result<bool, Error>> {
        self.step(move |state| Ok(state.blobs.contains_key(&id)))
    }

    fn sweep_blobs(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, Error>> {
        self.step(move |state| {
            let facts = state.sessions.values().flat_map(|session| &session.facts);
            let named: BTreeSet<BlobId> = facts.flat_map(|stored| stored.fact.blobs()).cloned().collect();
            let kept = state.blobs.len();
            state.blobs.retain(|id, blob| named.contains(id) || blob.put_at >= before);
            Ok(kept - state.blobs.len())
        })
    }
}

impl Settings for MemoryStore {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn put_secret(&self, name: String, plaintext: Vec<u8>) -> BoxFuture<'_, Result<(), Error>> {
        self.step(move |state| {
            state.secrets.insert(name, plaintext);
            Ok(())
        })
    }

    fn secret(&self, name: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        self.step(move |state| Ok(state.secrets.get(&name).cloned()))
    }

    fn secret_names(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.step(|state| Ok(state.secrets.keys().cloned().collect()))
    }

    fn remove_secret(&self, name: String) -> BoxFuture<'_, Result<bool, Error>> {
        self.step(move |state| Ok(state.secrets.remove(&name).is_some()))
    }

    fn put_setting(&self, name: String, value: Option<String>) -> BoxFuture<'_, Result<(), Error>> {
        self.step(move |state| {
            match value {
                Some(value) => state.settings.insert(name, value),
                None => state.settings.remove(&name),
            };
            Ok(())
        })
    }

    fn setting(&self, name: String) -> BoxFuture<'_, Result<Option<String>, Error>> {
        self.step(move |state| Ok(state.settings.get(&name).cloned()))
    }
}
