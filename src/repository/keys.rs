//! Keys: several passwords for one repository. Each opens the same master key, so adding one costs nothing and
//! removing one takes access away only from who never had the master key.

use serde::Serialize;

use super::Repository;
use super::backend::Kind;
use super::error::{Error, Result};
use super::id::Id;
use super::key::KeyFile;

/// A key as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its name.
    pub id: Id,
    /// Whether it is the one that this process opened the repository with.
    pub current: bool,
    /// Who made it.
    pub user: String,
    /// Where.
    pub host: String,
    /// When, RFC 3339.
    pub created: String,
}

impl Repository {
    /// All keys, oldest first.
    pub fn keys(&self) -> Result<Vec<KeyInfo>> {
        let backend = self.backend();
        let mut keys = Vec::new();
        for (id, _) in backend.wait(backend.list_ids(Kind::Key))? {
            let object = Kind::Key.path(&id);
            let file = KeyFile::parse(&backend.wait(backend.get(&object))?, &object)?;
            keys.push(KeyInfo {
                id,
                current: self.current_key() == Some(id),
                user: file.username,
                host: file.hostname,
                created: file.created,
            });
        }
        keys.sort_by(|a, b| a.created.cmp(&b.created).then(a.id.cmp(&b.id)));
        Ok(keys)
    }

    /// Adds a key that `password` opens.
    pub fn add_key(&self, password: &str) -> Result<Id> {
        self.locked(|_| self.write_key(password))
    }

    /// Removes the key with this id or unambiguous beginning of it.
    ///
    /// # Errors
    /// [`Error::KeyNotFound`]; [`Error::KeyInUse`] for the key that this process opened the repository with: whoever
    /// removes a key has another.
    pub fn remove_key(&self, wanted: &str) -> Result<Id> {
        self.locked_exclusively(|_| {
            let keys = self.keys()?;
            let mut fitting = keys
                .iter()
                .filter(|key| !wanted.is_empty() && key.id.to_string().starts_with(wanted));
            let (Some(key), None) = (fitting.next(), fitting.next()) else {
                let wanted = wanted.to_owned();
                return Err(Error::KeyNotFound { wanted });
            };
            if key.current || keys.len() < 2 {
                return Err(Error::KeyInUse { id: key.id });
            }
            self.delete_key(&key.id)?;
            Ok(key.id)
        })
    }

    /// Adds a key that `password` opens, then removes the one that this process opened the repository with.
    ///
    /// # Errors
    /// [`Error::NoCurrentKey`] when that was done with the master key.
    pub fn change_password(&self, password: &str) -> Result<Id> {
        self.locked_exclusively(|_| {
            let old = self.current_key().ok_or(Error::NoCurrentKey)?;
            let new = self.write_key(password)?;
            // Proven before the old one goes: a key that does not open would lock everybody out.
            let object = Kind::Key.path(&new);
            let backend = self.backend();
            let file = KeyFile::parse(&backend.wait(backend.get(&object))?, &object)?;
            if file.open(password, &object)?.as_ref() != Some(&self.inner.master) {
                return Err(Error::Tampered { object });
            }
            self.set_current_key(new);
            self.delete_key(&old)?;
            Ok(new)
        })
    }

    fn delete_key(&self, id: &Id) -> Result<()> {
        let backend = self.backend();
        backend.wait(backend.delete(&Kind::Key.path(id)))
    }

    /// Writes a key file for `password`, as its own name.
    fn write_key(&self, password: &str) -> Result<Id> {
        let key = KeyFile::create(&self.inner.master, password, self.user(), self.host())?;
        let json = serde_json::to_vec(&key).map_err(|error| Error::damaged("a new key", error))?;
        let id = Id::of(&json);
        let backend = self.backend();
        backend.wait(backend.put(&Kind::Key.path(&id), json.into()))?;
        Ok(id)
    }
}
