//! Where a store can be, and how to get there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::StoreError;

/// How long a connection to a store may take to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// How long one request may take: a pack of 16 MiB over half a megabit per second.
const REQUEST: Duration = Duration::from_secs(300);

/// How long a failing request is tried again before the user is told.
const RETRY: Duration = Duration::from_secs(20);

/// What may be in a folder that becomes a store.
const OWN: [&str; 5] = ["repo", "captures", "runs", "state", "lost+found"];

/// Variables by any of which credentials are given.
const CREDENTIALS: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine; movers reach it through Ferry.
    Folder(PathBuf),
    /// A bucket, reached as the `AWS_*` variables say.
    S3 {
        /// The bucket.
        bucket: String,
        /// The folder in it; empty for its root.
        prefix: String,
    },
    /// In this process, under a name. For tests: nothing outlives the process.
    Memory(String),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
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
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(wrong("it names no bucket"));
                }
                let prefix = prefix.trim_matches('/').to_owned();
                Ok(Self::S3 {
                    bucket: bucket.into(),
                    prefix,
                })
            }
            "memory" => Ok(Self::Memory(rest.into())),
            _ => Err(wrong("its scheme is none of file, s3")),
        }
    }

    /// Goes there.
    pub(crate) fn open(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        match self {
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
                Ok(Arc::new(folder.with_fsync(true)))
            }
            Self::S3 { bucket, prefix } => self.bucket(bucket, prefix),
            Self::Memory(name) => Ok(memory(name)),
        }
    }

    /// Makes the folder, then goes there. Buckets are not made: they have owners and policies.
    pub(super) fn make(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
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

    fn bucket(&self, bucket: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let plain = endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        let given = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if let Some(reason) = half_a_key(given(&KEY_ID), given(&SECRET)) {
            return Err(StoreError::Denied {
                location: self.clone(),
                source: reason.into(),
            });
        }
        if endpoint.is_some() && !CREDENTIALS.iter().any(given) {
            // Left alone, the client would ask the cloud's metadata service for the keys to a server
            // that is none of that cloud's.
            return Err(StoreError::Denied {
                location: self.clone(),
                source: "no credentials were given for it".into(),
            });
        }
        let client = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(CONNECT)
            .with_timeout(REQUEST);
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 5,
            retry_timeout: RETRY,
        };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .build()
            .map_err(|source| StoreError::Unreachable {
                location: self.clone(),
                source: source.into(),
            })?;
        Ok(match prefix {
            "" => Arc::new(store),
            prefix => Arc::new(PrefixStore::new(store, prefix)),
        })
    }

    pub(super) fn how_to_reach(&self) -> String {
        match self {
            Self::S3 { .. } => {
                "check AWS_ENDPOINT_URL and AWS_REGION, and that the bucket exists".into()
            }
            _ => format!("check that {self} is a folder on a file system that works"),
        }
    }

    pub(super) fn how_to_enter(&self) -> String {
        match self {
            Self::S3 { bucket, .. } => format!(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys that may read, write, list and \
                 delete in bucket {bucket}"
            ),
            _ => format!("make {self} readable and writable for this user"),
        }
    }
}

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";

/// Why credentials of which one half is missing cannot work.
fn half_a_key(id: bool, secret: bool) -> Option<&'static str> {
    match (id, secret) {
        (true, false) => Some("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        (false, true) => Some("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"),
        _ => None,
    }
}

/// The store of that name in this process.
fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: LazyLock<Mutex<BTreeMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.entry(name.into()).or_default().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_folders_or_buckets() {
        let s3 = |bucket: &str, prefix: &str| Location::S3 {
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
        for wrong in ["", "s3://", "s3:///x", "ftp://x/y", "~/store", "~"] {
            assert!(
                matches!(Location::parse(wrong), Err(StoreError::Address { .. })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn half_a_key_is_told_as_such() {
        assert!(
            half_a_key(true, false).is_some_and(|why| why.ends_with("SECRET_ACCESS_KEY is not"))
        );
        assert!(half_a_key(false, true).is_some());
        assert_eq!(
            (half_a_key(true, true), half_a_key(false, false)),
            (None, None)
        );
    }

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in ["s3://backups", "s3://backups/a/b", "/data", "memory://x"] {
            assert_eq!(Location::parse(text).unwrap().to_string(), text);
        }
    }
}
