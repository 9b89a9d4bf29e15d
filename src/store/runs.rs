//! Sealed files beside the repository: those of runs, and the form all of them share.
//!
//! A seal proves who wrote a file, not which one it is. So the name is the first line inside, and a
//! file found under another name is damaged.

use super::{Store, StoreError};
use crate::repository::Error;

impl Store {
    /// Writes a file of a run, over what was there. `name` may have folders: `plan`, `journal/7`.
    ///
    /// # Errors
    /// [`StoreError::Full`] and what else can go wrong with a place.
    pub async fn put_run_file(
        &self,
        run: &str,
        name: &str,
        content: &[u8],
    ) -> Result<(), StoreError> {
        self.put_file(&path(run, name), content).await
    }

    /// Writes a file of a run that must not be there yet: an entry of a journal.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when it is there, and as [`Store::put_run_file`].
    pub async fn create_run_file(
        &self,
        run: &str,
        name: &str,
        content: &[u8],
    ) -> Result<(), StoreError> {
        let path = path(run, name);
        let named = with_name(&path, content);
        self.with(move |repository| repository.create_sealed(&path, &named))
            .await
    }

    /// Reads a file of a run; `None` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and what else can go wrong with a place.
    pub async fn get_run_file(&self, run: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_file(&path(run, name)).await
    }

    /// Names of the files of a run below a folder of it (`""` for all), sorted as text.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_run_files(&self, run: &str, folder: &str) -> Result<Vec<String>, StoreError> {
        let root = format!("runs/{run}");
        let folder = if folder.is_empty() {
            root.clone()
        } else {
            format!("{root}/{folder}")
        };
        let names = self.list_paths(&folder).await?;
        let prefix = format!("{root}/");
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix(&prefix))
            .map(Into::into)
            .collect())
    }

    /// Ids of all runs, sorted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_runs(&self) -> Result<Vec<String>, StoreError> {
        let mut runs: Vec<String> = self
            .list_files("runs")
            .await?
            .iter()
            .filter_map(|name| Some(name.split_once('/')?.0.to_owned()))
            .collect();
        runs.dedup();
        Ok(runs)
    }

    /// Removes a file of a run; that it is gone already is success.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn remove_run_file(&self, run: &str, name: &str) -> Result<(), StoreError> {
        let path = path(run, name);
        self.with(move |repository| repository.delete_sealed(&path))
            .await
    }

    pub(super) async fn put_file(&self, path: &str, content: &[u8]) -> Result<(), StoreError> {
        let (path, named) = (path.to_owned(), with_name(path, content));
        self.with(move |repository| repository.put_sealed(&path, &named))
            .await
    }

    pub(super) async fn get_file(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = path.to_owned();
        let read = self
            .with(move |repository| match repository.get_sealed(&name) {
                Ok(named) => Ok(Some(named)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            })
            .await?;
        let Some(mut named) = read else {
            return Ok(None);
        };
        let head = with_name(path, &[]);
        if !named.starts_with(&head) {
            let reason = "it was written under another name";
            return Err(StoreError::damaged(&self.location, path, reason));
        }
        Ok(Some(named.split_off(head.len())))
    }

    /// Names below a folder, without it, sorted.
    pub(super) async fn list_files(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let prefix = format!("{folder}/");
        let paths = self.list_paths(folder).await?;
        Ok(paths
            .iter()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(Into::into)
            .collect())
    }

    async fn list_paths(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let folder = folder.to_owned();
        self.with(move |repository| repository.list_sealed(&folder))
            .await
    }
}

fn path(run: &str, name: &str) -> String {
    format!("runs/{run}/{name}")
}

fn with_name(path: &str, content: &[u8]) -> Vec<u8> {
    [path.as_bytes(), b"\n", content].concat()
}
