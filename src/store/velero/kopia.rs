//! Data in Velero's kopia repositories, by way of a kopia binary that the user names.
//!
//! Each namespace has a repository of its own. It is connected to read-only, with a configuration and a cache in a
//! folder of ours that goes with it, so that neither the repository nor the user's own kopia is touched. Secrets go by
//! the environment, never by arguments that others could see.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::VeleroError;
use crate::store::bucket::{AUTHORITIES, Settings};
use crate::store::{Cloud, Location, Password};

/// What Velero opens its repositories with, when its user has not said otherwise (velero `pkg/repository/keys`).
const PASSWORD: &str = "static-passw0rd";
/// Bytes of kopia's last words that are passed on.
const WORDS: usize = 400;

/// A kopia binary at work on the repositories of one bucket.
#[derive(Debug)]
pub struct Kopia {
    program: PathBuf,
    location: Location,
    /// With what a bucket is reached; a folder needs nothing.
    settings: Option<Settings>,
    password: Password,
    /// Configurations and caches.
    folder: PathBuf,
}

impl Kopia {
    /// The binary, for the bucket, working in a folder; `password` is that of the repositories if it is not Velero's
    /// own.
    ///
    /// # Errors
    /// [`VeleroError::Elsewhere`] for places that are not read, [`VeleroError::NoKopia`] when it does not run.
    pub async fn new(
        program: &Path,
        location: &Location,
        password: Option<Password>,
        folder: &Path,
    ) -> Result<Self, VeleroError> {
        let read = matches!(
            location,
            Location::Folder(_)
                | Location::Bucket {
                    cloud: Cloud::S3,
                    ..
                }
        );
        if !read {
            return Err(VeleroError::Elsewhere {
                location: location.clone(),
            });
        }
        let kopia = Self {
            program: program.into(),
            location: location.clone(),
            settings: location.settings()?,
            password: password.unwrap_or_else(|| Password::new(PASSWORD)),
            folder: folder.into(),
        };
        kopia
            .run("", "say its version", ["--version".into()])
            .await?;
        Ok(kopia)
    }

    /// Opens the repository of a namespace.
    ///
    /// # Errors
    /// [`VeleroError::Kopia`] in its words: no such repository, or another password.
    pub async fn connect(&self, namespace: &str) -> Result<(), VeleroError> {
        let mut arguments: Vec<OsString> = ["repository", "connect"].map(Into::into).into();
        let cache = self.folder.join(namespace).join("cache");
        let beginning = format!("kopia/{namespace}/");
        match &self.location {
            Location::Folder(path) => {
                arguments.extend(["filesystem".into(), "--path".into()]);
                arguments.push(path.join(beginning).into());
            }
            Location::Bucket { bucket, prefix, .. } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                arguments.push("s3".into());
                arguments.push(format!("--bucket={bucket}").into());
                arguments.push(format!("--prefix={prefix}{slash}{beginning}").into());
                arguments.extend(self.server().into_iter().map(Into::into));
            }
            // Refused at the beginning: the one is in this process only, the other Ferry's own.
            Location::Memory(_) | Location::Depot { .. } => {}
        }
        arguments.push("--readonly".into());
        arguments.push("--cache-directory".into());
        arguments.push(cache.into());
        let action = format!("open the repository of namespace {namespace}");
        self.run(namespace, &action, arguments).await
    }

    /// Unpacks a snapshot of a namespace that was connected to into a folder that is not there yet.
    ///
    /// # Errors
    /// [`VeleroError::Kopia`] in its words. What could not be given its owner or mode counts as not unpacked.
    pub async fn restore(
        &self,
        namespace: &str,
        snapshot: &str,
        target: &Path,
    ) -> Result<(), VeleroError> {
        let arguments: [OsString; 7] = [
            "snapshot".into(),
            "restore".into(),
            "--no-progress".into(),
            "--no-ignore-permission-errors".into(),
            "--write-sparse-files".into(),
            snapshot.into(),
            target.into(),
        ];
        let action = format!("unpack snapshot {snapshot} of namespace {namespace}");
        self.run(namespace, &action, arguments).await
    }

    /// Where the S3 server is.
    fn server(&self) -> Vec<String> {
        let Some(settings) = &self.settings else {
            return Vec::new();
        };
        let said = |names: &[&str]| names.iter().find_map(|name| settings.variables.get(*name));
        let mut arguments = Vec::new();
        if let Some(endpoint) = settings.endpoint() {
            let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
            arguments.push(format!("--endpoint={}", host.trim_end_matches('/')));
            if scheme == "http" {
                arguments.push("--disable-tls".into());
            }
        }
        if let Some(region) = said(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
            arguments.push(format!("--region={region}"));
        }
        if let Some(authorities) = said(&[AUTHORITIES]) {
            arguments.push(format!("--root-ca-pem-path={authorities}"));
        }
        arguments
    }

    async fn run(
        &self,
        namespace: &str,
        action: &str,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<(), VeleroError> {
        let folder = self.folder.join(namespace);
        std::fs::create_dir_all(&folder).map_err(|source| VeleroError::Scratch {
            path: folder.clone(),
            source,
        })?;
        let done = Command::new(&self.program)
            .args(arguments)
            .envs(
                self.settings
                    .iter()
                    .flat_map(|settings| &settings.variables),
            )
            .env("KOPIA_PASSWORD", self.password.expose())
            .env("KOPIA_CONFIG_PATH", folder.join("repository.config"))
            .env("KOPIA_LOG_DIR", folder.join("logs"))
            .env("KOPIA_CHECK_FOR_UPDATES", "false")
            .env("KOPIA_USE_KEYRING", "false")
            .env("KOPIA_PERSIST_CREDENTIALS_ON_CONNECT", "false")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let Output { status, stderr, .. } = done.map_err(|source| VeleroError::NoKopia {
            path: self.program.clone(),
            source,
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(VeleroError::Kopia {
                action: action.into(),
                said: match last_words(&stderr) {
                    none if none.is_empty() => format!("it said nothing, and ended with {status}"),
                    words => words,
                },
            }),
        }
    }
}

/// What kopia ended with, on one line: its progress comes before.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    let start = last.len().saturating_sub(WORDS);
    last[last.ceil_char_boundary(start)..].to_owned()
}
