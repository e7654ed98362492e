//! Settings an operator makes while the server runs, secret ones sealed.

use futures_core::future::BoxFuture;

use crate::error::Error;

/// Small values by name, for the whole installation.
pub trait Settings {
    /// Which life of these data this is: 0 until they are restored from a backup, and then a greater number with each
    /// restore. A cursor of another generation may name a fact that this one never had, or had another one in its place.
    fn generation(&self) -> u64;

    /// Seals and keeps a secret under a name, in place of the one before.
    fn put_secret(&self, name: String, plaintext: Vec<u8>) -> BoxFuture<'_, Result<(), Error>>;

    /// The secret of that name.
    fn secret(&self, name: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>>;

    /// The names of all secrets, in order.
    fn secret_names(&self) -> BoxFuture<'_, Result<Vec<String>, Error>>;

    /// Forgets a secret; `false` when there is none.
    fn remove_secret(&self, name: String) -> BoxFuture<'_, Result<bool, Error>>;

    /// Keeps a plain value under a name; `None` forgets it.
    fn put_setting(&self, name: String, value: Option<String>) -> BoxFuture<'_, Result<(), Error>>;

    /// The plain value of that name.
    fn setting(&self, name: String) -> BoxFuture<'_, Result<Option<String>, Error>>;
}
