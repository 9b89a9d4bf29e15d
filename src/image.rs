//! Ferry's own container image: one static binary and nothing else, built and pushed with no
//! container engine.
//!
//! ```text
//! /proc/self/exe ──▶ layer (tar.gz) ──▶ config ──▶ manifest ┐
//! other binaries ──▶   …                                    ├─▶ index ──▶ registry, or a file for `ctr`
//! ```
//!
//! Equal binaries give equal digests: times are zero, owners root, order fixed. So pushing twice
//! uploads nothing, and a digest in a pod spec can be traced to a build. It refuses a dynamically
//! linked binary, which would not start in an image that holds no libraries.

mod archive;
mod auth;
mod elf;
mod layer;
mod push;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use layer::Layer;

/// Where the kernel shows the running executable.
const SELF: &str = "/proc/self/exe";
/// Where Linux distributions keep the certificate authorities they trust; the first that exists.
const CA_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Why an image could not be built, saved or pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file that goes into the image could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The binary would not run in the image.
    #[error("{} cannot be the image's binary: {reason}", path.display())]
    Binary {
        /// Which.
        path: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// The archive could not be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The image's name is not one.
    #[error(
        "`{reference}` is not an image reference of the form REGISTRY/REPOSITORY:TAG: {reason}"
    )]
    Reference {
        /// As given.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// The user's registry credentials are there but cannot be read.
    #[error("failed to read registry credentials from {from}: {reason}")]
    Credentials {
        /// The file or helper program.
        from: String,
        /// Why.
        reason: String,
    },
    /// The registry refused or could not be reached.
    #[error("failed to {action} at registry {registry}{hint}")]
    Registry {
        /// What was tried.
        action: &'static str,
        /// The registry.
        registry: String,
        /// What to try, beginning with `: `, or nothing.
        hint: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Bytes with the name content-addressed stores give them.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// `sha256:…`.
    pub(crate) digest: String,
    pub(crate) data: Bytes,
    pub(crate) media_type: &'static str,
}

impl Blob {
    fn new(media_type: &'static str, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self {
            digest: sha256(&data),
            data,
            media_type,
        }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.data.len()})
    }
}

/// One platform's image.
#[derive(Debug)]
struct Platform {
    architecture: &'static str,
    layers: Vec<Blob>,
    config: Blob,
    manifest: Blob,
}

/// Ferry's image for one or more platforms, in memory.
#[derive(Debug)]
pub struct Image {
    platforms: Vec<Platform>,
    index: Blob,
}

impl Image {
    /// Builds the image from static binaries, one per architecture; from the running executable when
    /// `binaries` is empty. The trusted certificate authorities of this machine go in as well, if it
    /// has any, so that movers trust the same object stores.
    ///
    /// # Errors
    /// When a binary cannot be read, is not a static Linux executable, or two are for one architecture.
    pub fn build(binaries: &[PathBuf]) -> Result<Self, ImageError> {
        let own = [PathBuf::from(SELF)];
        let binaries = if binaries.is_empty() { &own } else { binaries };
        let bundle = CA_BUNDLES.iter().map(Path::new).find(|path| path.is_file());
        let trust = bundle.map(|path| read(path).and_then(|pem| layer::certificates(&pem)));
        let trust = trust.transpose()?;
        let mut platforms: Vec<Platform> = Vec::new();
        for path in binaries {
            let platform = Platform::build(path, trust.as_ref())?;
            if platforms
                .iter()
                .any(|other| other.architecture == platform.architecture)
            {
                let reason = format!("another binary is for {} already", platform.architecture);
                return Err(ImageError::Binary {
                    path: path.clone(),
                    reason,
                });
            }
            platforms.push(platform);
        }
        platforms.sort_by_key(|platform| platform.architecture);
        let manifests: Vec<Value> = platforms.iter().map(Platform::descriptor).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})
            .to_string();
        Ok(Self {
            platforms,
            index: Blob::new(INDEX_TYPE, index),
        })
    }

    /// The digest of the index, which names the whole image: `sha256:…`.
    pub fn digest(&self) -> &str {
        &self.index.digest
    }

    /// Architectures it runs on, as `amd64`.
    pub fn architectures(&self) -> impl Iterator<Item = &'static str> {
        self.platforms.iter().map(|platform| platform.architecture)
    }

    /// Every blob once: layers and configs first, then manifests; the index is not among them.
    fn blobs(&self) -> Vec<&Blob> {
        let mut blobs: Vec<&Blob> = Vec::new();
        for platform in &self.platforms {
            let parts = platform
                .layers
                .iter()
                .chain([&platform.config, &platform.manifest]);
            for blob in parts {
                if blobs.iter().all(|known| known.digest != blob.digest) {
                    blobs.push(blob);
                }
            }
        }
        blobs
    }
}

impl Platform {
    fn build(path: &Path, trust: Option<&Layer>) -> Result<Self, ImageError> {
        let binary = read(path)?;
        let architecture = elf::architecture(&binary).map_err(|reason| ImageError::Binary {
            path: path.into(),
            reason,
        })?;
        let program = layer::program(&binary)?;
        let layers: Vec<&Layer> = trust.into_iter().chain([&program]).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": ["/ferry"], "Env": ["PATH=/", "HOME=/tmp"], "WorkingDir": "/"},
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
            },
        });
        let config = Blob::new(CONFIG_TYPE, config.to_string());
        let layers: Vec<Blob> = layers.into_iter().map(|layer| layer.blob.clone()).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(MANIFEST_TYPE, manifest.to_string());
        Ok(Self {
            architecture,
            layers,
            config,
            manifest,
        })
    }

    fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest.descriptor();
        descriptor["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        descriptor
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    std::fs::read(path).map_err(|source| ImageError::Read {
        path: path.into(),
        source,
    })
}

fn sha256(data: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    format!("sha256:{}", hex::encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn binary(architecture: u16) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), elf::tests::executable(architecture, &[1])).unwrap();
        file
    }

    #[test]
    fn equal_binaries_give_equal_digests_and_others_do_not() {
        let (amd, arm) = (binary(62), binary(183));
        let paths = [amd.path().to_path_buf(), arm.path().to_path_buf()];
        let image = Image::build(&paths).unwrap();
        let again = Image::build(&[paths[1].clone(), paths[0].clone()]).unwrap();
        assert_eq!(image.digest(), again.digest());
        assert_eq!(
            image.architectures().collect::<Vec<_>>(),
            ["amd64", "arm64"]
        );
        assert_ne!(image.digest(), Image::build(&paths[..1]).unwrap().digest());
    }

    #[test]
    fn two_binaries_for_one_architecture_are_refused() {
        let amd = binary(62);
        let error = Image::build(&[amd.path().into(), amd.path().into()]).unwrap_err();
        assert!(
            error.to_string().contains("another binary is for amd64"),
            "{error}"
        );
    }
}
