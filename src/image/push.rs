//! Pushing to a registry.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::{Reference, RegistryOperation};

use super::{Blob, Image, ImageError, MANIFEST_TYPE, auth};

/// Uploads at a time: the layers of two platforms.
const UPLOADS: usize = 4;

impl Image {
    /// Pushes the image and returns its reference by digest, `REGISTRY/REPOSITORY@sha256:…`. What the
    /// registry has already is not sent again. `plain_http` speaks HTTP without TLS; registries on
    /// this machine are always spoken to that way, as other tools do.
    ///
    /// # Errors
    /// When the reference is not one, or the registry cannot be reached or refuses.
    pub async fn push(&self, reference: &str, plain_http: bool) -> Result<String, ImageError> {
        let reference = parse(reference)?;
        let registry = reference.resolve_registry().to_owned();
        let failed = |action| {
            let registry = registry.clone();
            move |source: OciDistributionError| refused(action, registry, plain_http, source)
        };
        let auth = auth::find(reference.registry())?;
        let client = client(&registry, plain_http);
        client
            .auth(&reference, &auth, RegistryOperation::Push)
            .await
            .map_err(failed("log in"))?;
        client.store_auth_if_needed(&registry, &auth).await;
        let (manifests, blobs): (Vec<&Blob>, Vec<&Blob>) = self
            .blobs()
            .into_iter()
            .partition(|blob| blob.media_type == MANIFEST_TYPE);
        stream::iter(blobs)
            .map(|blob| upload(&client, &reference, blob))
            .buffer_unordered(UPLOADS)
            .try_collect::<()>()
            .await
            .map_err(failed("upload a layer"))?;
        // Manifests by digest first: an index may not name what is not there.
        for (target, blob) in manifests
            .iter()
            .map(|blob| (reference.clone_with_digest(blob.digest.clone()), *blob))
            .chain([(reference.clone(), &self.index)])
        {
            manifest(&client, &target, blob)
                .await
                .map_err(failed("put the manifest"))?;
        }
        Ok(format!(
            "{}/{}@{}",
            reference.registry(),
            reference.repository(),
            self.digest()
        ))
    }
}

fn parse(reference: &str) -> Result<Reference, ImageError> {
    let refuse = |reason: String| ImageError::Reference {
        reference: reference.into(),
        reason,
    };
    let parsed: Reference = reference
        .parse()
        .map_err(|error: oci_client::ParseError| refuse(error.to_string()))?;
    // Without this, `ferry:1` would mean docker.io/library/ferry, which nobody can push to.
    let first = reference.split('/').next().unwrap_or_default();
    if !reference.contains('/') || !(first.contains(['.', ':']) || first == "localhost") {
        return Err(refuse("it names no registry".into()));
    }
    if parsed.digest().is_some() {
        return Err(refuse("a digest cannot be chosen; give a tag".into()));
    }
    Ok(parsed)
}

fn client(registry: &str, plain_http: bool) -> Client {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    Client::new(ClientConfig {
        protocol: if plain_http || here {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        connect_timeout: Some(Duration::from_secs(10)),
        read_timeout: Some(Duration::from_mins(1)),
        user_agent: concat!("ferry/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

async fn upload(
    client: &Client,
    reference: &Reference,
    blob: &Blob,
) -> Result<(), OciDistributionError> {
    if client.blob_exists(reference, &blob.digest).await? {
        return Ok(());
    }
    client
        .push_blob(reference, blob.data.clone(), &blob.digest)
        .await
        .map(drop)
}

async fn manifest(
    client: &Client,
    reference: &Reference,
    blob: &Blob,
) -> Result<(), OciDistributionError> {
    let kind = blob.media_type.parse().map_err(|_| {
        OciDistributionError::GenericError(Some(format!("{} is no header", blob.media_type)))
    })?;
    client
        .push_manifest_raw(reference, blob.data.clone(), kind)
        .await
        .map(drop)
}

fn refused(
    action: &'static str,
    registry: String,
    plain_http: bool,
    source: OciDistributionError,
) -> ImageError {
    let hint = match &source {
        OciDistributionError::RequestError(_) if !plain_http => {
            ": if it speaks HTTP without TLS, add --plain-http"
        }
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => {
            ": log in first, as with `docker login`"
        }
        _ => "",
    };
    ImageError::Registry {
        action,
        registry,
        hint,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_must_name_a_registry_and_no_digest() {
        assert!(parse("registry.example:5000/tools/ferry:1").is_ok());
        assert!(parse("localhost/ferry").is_ok());
        for wrong in ["ferry:1", "tools/ferry:1", "quay.io/Ferry:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let digest = "0".repeat(64);
        assert!(parse(&format!("quay.io/ferry@sha256:{digest}")).is_err());
    }
}
