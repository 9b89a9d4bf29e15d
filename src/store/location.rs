//! Where a store can be, and how to get there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use url::Url;

use super::StoreError;
use super::bucket::{Cloud, MoverAccess, Settings};

/// As the addresses of depots begin.
const DEPOT: &str = "cluster";

/// What may be in a folder that becomes a store.
const OWN: [&str; 5] = ["repo", "captures", "runs", "state", "lost+found"];

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine; movers reach it through Ferry.
    Folder(PathBuf),
    /// A bucket, reached as its cloud's own tools would reach it.
    Bucket {
        /// Whose.
        cloud: Cloud,
        /// The bucket, or Azure's container.
        bucket: String,
        /// The folder in it; empty for its root.
        prefix: String,
    },
    /// A depot: what `ferry migrate --direct` keeps on the target cluster until all has arrived.
    Depot {
        /// The kubeconfig context of its cluster.
        context: String,
        /// Its name.
        name: String,
    },
    /// In this process, under a name. For tests: nothing outlives the process.
    Memory(String),
}

/// A place that was gone to.
pub(crate) struct Place {
    /// With the store's root as its root.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// With what movers get there by themselves.
    pub(crate) for_movers: MoverAccess,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket {
                cloud,
                bucket,
                prefix,
            } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "{}://{bucket}{slash}{prefix}", cloud.scheme())
            }
            Self::Depot { context, name } => write!(f, "{DEPOT}://{context}/{name}"),
            Self::Memory(name) => write!(f, "memory://{name}"),
        }
    }
}

impl Location {
    /// Reads an address.
    ///
    /// # Errors
    /// [`StoreError::Address`] for a scheme Ferry does not know, or a part that is missing.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let wrong = |reason: &str| StoreError::Address {
            url: text.into(),
            reason: reason.into(),
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(wrong("it is empty")),
                path if path.starts_with('~') => Err(wrong(
                    "`~` is the shell's, and the shell left it as it is; write the folder in full, or use $HOME",
                )),
                // The address is shown, saved and given to others: it must not depend on where we are.
                path => std::path::absolute(path)
                    .map(Self::Folder)
                    .map_err(|error| wrong(&error.to_string())),
            };
        };
        match scheme {
            "file" => Url::parse(text)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::Folder)
                .ok_or_else(|| wrong("a file:// address needs an absolute path")),
            "memory" => Ok(Self::Memory(rest.into())),
            // Contexts may have slashes in their names.
            DEPOT => match rest.rsplit_once('/') {
                Some((context, name)) if !context.is_empty() && !name.is_empty() => {
                    Ok(Self::Depot {
                        context: context.into(),
                        name: name.into(),
                    })
                }
                _ => Err(wrong("it is not cluster://CONTEXT/NAME")),
            },
            _ => {
                let cloud = Cloud::ALL
                    .into_iter()
                    .find(|cloud| cloud.scheme() == scheme);
                let cloud = cloud
                    .ok_or_else(|| wrong("its scheme is none of file, s3, az, gs, cluster"))?;
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(wrong("it names no bucket"));
                }
                Ok(Self::Bucket {
                    cloud,
                    bucket: bucket.into(),
                    prefix: prefix.trim_matches('/').into(),
                })
            }
        }
    }

    /// Goes there.
    pub(crate) fn open(&self) -> Result<Place, StoreError> {
        let mut for_movers = MoverAccess::default();
        let objects: Arc<dyn ObjectStore> = match self {
            Self::Folder(path) => {
                // A folder without this check would be made by the first write.
                std::fs::read_dir(path).map_err(|error| StoreError::from_io(self, error))?;
                let folder = LocalFileSystem::new_with_prefix(path).map_err(|source| {
                    StoreError::Unreachable {
                        location: self.clone(),
                        source: source.into(),
                    }
                })?;
                // What a journal or a capture says was written must survive a power cut.
                Arc::new(folder.with_fsync(true))
            }
            Self::Bucket {
                cloud,
                bucket,
                prefix,
            } => {
                let settings = settings(*cloud)?;
                for_movers = settings.for_movers();
                settings.open(self, bucket, prefix)?
            }
            // Whoever has a cluster's connection brings the way there.
            Self::Depot { .. } => {
                return Err(StoreError::Unreachable {
                    location: self.clone(),
                    source: "a depot is no place for this".into(),
                });
            }
            Self::Memory(name) => memory(name),
        };
        Ok(Place {
            objects,
            for_movers,
        })
    }

    /// With what a bucket is reached, by the environment and the files that it names; `None` for what is no bucket.
    ///
    /// # Errors
    /// When such a file cannot be read.
    pub(super) fn settings(&self) -> Result<Option<Settings>, StoreError> {
        match self {
            Self::Bucket { cloud, .. } => settings(*cloud).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes the folder, then goes there. Buckets are not made: they have owners and policies.
    pub(super) fn make(&self) -> Result<Place, StoreError> {
        if let Self::Folder(path) = self {
            std::fs::create_dir_all(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => StoreError::Unreachable {
                    location: self.clone(),
                    source: error.into(),
                },
                _ => StoreError::from_io(self, error),
            })?;
            self.expect_free(path)?;
        }
        self.open()
    }

    /// Somebody else's files are no place for a store. Our own folders may be what a killed `init` left, and
    /// `lost+found` is a new file system's.
    fn expect_free(&self, path: &Path) -> Result<(), StoreError> {
        let entries = std::fs::read_dir(path).map_err(|error| StoreError::from_io(self, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::from_io(self, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !OWN.contains(&name.as_str()) {
                let location = self.clone();
                return Err(StoreError::NotEmpty { location, name });
            }
        }
        Ok(())
    }

    pub(super) fn how_to_reach(&self) -> String {
        match self {
            Self::Bucket { cloud, .. } => cloud.how_to_reach().into(),
            Self::Depot { context, .. } => {
                format!("check that cluster {context} answers, and that pods work there")
            }
            _ => format!("check that {self} is a folder on a file system that works"),
        }
    }

    pub(super) fn how_to_enter(&self) -> String {
        match self {
            Self::Bucket { cloud, bucket, .. } => format!(
                "{} that may read, write, list and delete in {bucket}",
                cloud.how_to_enter()
            ),
            _ => format!("make {self} readable and writable for this user"),
        }
    }
}

/// The store of that name in this process.
fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: LazyLock<Mutex<BTreeMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.entry(name.into()).or_default().clone()
}

/// What this process' environment says of a cloud's buckets.
fn settings(cloud: Cloud) -> Result<Settings, StoreError> {
    Settings::of(cloud, &std::env::vars().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_folders_or_buckets() {
        let s3 = |bucket: &str, prefix: &str| Location::Bucket {
            cloud: Cloud::S3,
            bucket: bucket.into(),
            prefix: prefix.into(),
        };
        assert_eq!(Location::parse("s3://backups").unwrap(), s3("backups", ""));
        assert_eq!(
            Location::parse("s3://backups/a/b/").unwrap(),
            s3("backups", "a/b")
        );
        assert_eq!(
            Location::parse("/data").unwrap(),
            Location::Folder("/data".into())
        );
        assert_eq!(
            Location::parse("file:///data").unwrap(),
            Location::Folder("/data".into())
        );
        for wrong in [
            "",
            "s3://",
            "s3:///x",
            "ftp://x/y",
            "~/store",
            "~",
            "cluster://b",
            "cluster:///x",
            "cluster://b/",
        ] {
            assert!(
                matches!(Location::parse(wrong), Err(StoreError::Address { .. })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let buckets = [
            "s3://backups",
            "s3://backups/a/b",
            "az://backups/a",
            "gs://backups",
        ];
        let others = [
            "/data",
            "memory://x",
            "cluster://b/shop-1a2b",
            "cluster://default/api:6443/admin/x",
        ];
        for text in buckets.into_iter().chain(others) {
            assert_eq!(Location::parse(text).unwrap().to_string(), text);
        }
    }
}
