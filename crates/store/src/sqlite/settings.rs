//! Settings in the database, secret ones sealed before they come near it.

use futures_core::future::BoxFuture;
use rusqlite::{OptionalExtension as _, params};

use super::{During as _, SqliteStore};
use crate::error::Error;
use crate::settings::Settings;

impl Settings for SqliteStore {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn put_secret(&self, name: String, plaintext: Vec<u8>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let sealed = self.key.seal(&name, &plaintext)?;
            let write = self.writer.write(move |db| {
                let sql = "INSERT OR REPLACE INTO secrets (name, sealed) VALUES (?1, ?2)";
                db.execute(sql, params![name, sealed]).during("keeping a secret").map(|_| ())
            });
            write.await
        })
    }

    fn secret(&self, name: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move {
            let asked = name.clone();
            let read = self.read(move |db| {
                db.query_row("SELECT sealed FROM secrets WHERE name = ?1", [asked], |row| row.get::<_, Vec<u8>>(0))
                    .optional()
                    .during("reading a secret")
            });
            read.await?.map(|sealed| self.key.open(&name, &sealed)).transpose()
        })
    }

    fn secret_names(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(self.read(|db| {
            db.prepare("SELECT name FROM secrets ORDER BY name")
                .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
                .during("reading the names of secrets")
        }))
    }

    fn remove_secret(&self, name: String) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.writer.write(move |db| {
            let removed = db.execute("DELETE FROM secrets WHERE name = ?1", [&name]).during("removing a secret")?;
            Ok(removed > 0)
        }))
    }

    fn put_setting(&self, name: String, value: Option<String>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.writer.write(move |db| {
            match &value {
                Some(value) => {
                    db.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)", [&name, value])
                }
                None => db.execute("DELETE FROM settings WHERE name = ?1", [&name]),
            }
            .during("keeping a setting")
            .map(|_| ())
        }))
    }

    fn setting(&self, name: String) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(self.read(move |db| {
            db.query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0))
                .optional()
                .during("reading a setting")
        }))
    }
}
