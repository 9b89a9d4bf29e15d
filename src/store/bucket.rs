//! Buckets: with what they are reached, and going there.
//!
//! A bucket is reached as its cloud's own tools would reach it ([`s3`], [`azure`], [`gcs`]). Proxies are those of
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. Movers in pods have none of this: what was found here is handed to
//! them, resolved. A server's certificate is always checked; the authority that signed it is named, never waved
//! through.

mod azure;
mod gcs;
mod profile;
mod s3;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{Host, Url};

use super::{Location, StoreError};
use crate::data::DepotAccess;

/// How long a connection to a store may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one request may take: a pack of 16 MiB over half a megabit per second.
const REQUEST: Duration = Duration::from_secs(300);
/// How long a failing request is tried again before the user is told.
const RETRY: Duration = Duration::from_secs(20);

/// The authorities that a server's certificate may be signed by, besides those of the system.
pub(crate) const AUTHORITIES: &str = "AWS_CA_BUNDLE";
/// The system's authorities, where they are not in their usual place; the TLS library reads it too.
const SYSTEM_AUTHORITIES: &str = "SSL_CERT_FILE";

const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Environment variables, and what stands for them.
type Variables = BTreeMap<String, String>;

/// Whose protocol a bucket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// `s3://bucket/prefix`
    S3,
    /// `az://container/prefix`
    Azure,
    /// `gs://bucket/prefix`
    Gcs,
}

impl Cloud {
    /// All there are.
    pub(super) const ALL: [Self; 3] = [Self::S3, Self::Azure, Self::Gcs];

    /// As addresses begin.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Gcs => "gs",
        }
    }

    /// What to check when a server does not answer as wanted.
    pub(super) fn how_to_reach(self) -> &'static str {
        match self {
            Self::S3 => "check AWS_ENDPOINT_URL and AWS_REGION, and that the bucket exists",
            Self::Azure => "check AZURE_STORAGE_ACCOUNT, and that the container exists",
            Self::Gcs => "check the bucket's name, and GOOGLE_BASE_URL if it is set",
        }
    }

    /// What to set to be let in.
    pub(super) fn how_to_enter(self) -> &'static str {
        match self {
            Self::S3 => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to keys",
            Self::Azure => {
                "set AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN to one"
            }
            Self::Gcs => "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account",
        }
    }

    fn protocol(self) -> &'static dyn Protocol {
        match self {
            Self::S3 => &s3::S3,
            Self::Azure => &azure::Azure,
            Self::Gcs => &gcs::Gcs,
        }
    }
}

/// What differs between the clouds.
trait Protocol {
    /// Adds what files and other tools' variables say, under the names that the client knows.
    fn complete(&self, variables: &mut Variables) -> Result<(), StoreError>;
    /// Where the server is, when it is not the cloud's.
    fn endpoint<'v>(&self, variables: &'v Variables) -> Option<&'v str>;
    /// Whether a variable says something that is true in a pod as well.
    fn is_for_movers(&self, name: &str) -> bool;
    /// Whether there are credentials, or a way to get some; else why not.
    fn check(&self, variables: &Variables) -> Result<(), &'static str>;
    /// Makes the client of a bucket. Nothing is asked of the server yet.
    fn build(
        &self,
        variables: &Variables,
        bucket: &str,
        client: ClientOptions,
        retry: RetryConfig,
    ) -> object_store::Result<Arc<dyn ObjectStore>>;
}

/// The setting of a client that a variable of that beginning gives.
fn configured<K: FromStr>(name: &str, beginning: &str) -> Option<K> {
    let ours = name.starts_with(beginning);
    ours.then(|| name.to_ascii_lowercase().parse().ok())
        .flatten()
}

/// The settings of a client that the variables of that beginning give.
fn settings<'v, K: FromStr>(
    variables: &'v Variables,
    beginning: &'v str,
) -> impl Iterator<Item = (K, &'v String)> {
    let named = variables.iter();
    named.filter_map(move |(name, value)| Some((configured(name, beginning)?, value)))
}

/// With what a pod reaches the store by itself.
#[derive(Clone, Default)]
pub struct MoverAccess {
    /// Whether it has a chance to: the store is in the network, and not on this machine.
    pub by_network: bool,
    /// Environment variables; some are credentials.
    pub variables: BTreeMap<String, String>,
    /// Certificates of authorities to trust besides the image's, as PEM.
    pub authorities: Option<String>,
    /// The store is a depot, and this is the way to it.
    pub depot: Option<DepotAccess>,
}

/// Without the values.
impl fmt::Debug for MoverAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// With what a bucket is reached.
pub(super) struct Settings {
    cloud: Cloud,
    /// The variables that say something, and under their names what else does.
    pub(super) variables: Variables,
    authorities: Option<String>,
}

/// Without the values.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Settings {
    /// Takes them from an environment and the files that it names.
    pub(super) fn of(cloud: Cloud, environment: &Variables) -> Result<Self, StoreError> {
        let mut variables: Variables = environment
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        cloud.protocol().complete(&mut variables)?;
        let mut settings = Self {
            cloud,
            variables,
            authorities: None,
        };
        if !settings.is_plain() {
            settings.authorities = settings.read_authorities()?;
        }
        Ok(settings)
    }

    pub(super) fn endpoint(&self) -> Option<&str> {
        self.cloud.protocol().endpoint(&self.variables)
    }

    /// Whether the server is reached without TLS.
    fn is_plain(&self) -> bool {
        self.endpoint()
            .is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// The certificates of the file that names authorities, and nothing else that may be in it: they go to movers.
    fn read_authorities(&self) -> Result<Option<String>, StoreError> {
        let named = [AUTHORITIES, SYSTEM_AUTHORITIES].iter();
        let Some((name, path)) = named
            .filter_map(|name| self.variables.get_key_value(*name))
            .next()
        else {
            return Ok(None);
        };
        let wrong = |reason: String| StoreError::Settings {
            reason: format!("{name} names {path}, which {reason}"),
            help: "name a PEM file with the certificate of the authority that signed the server's"
                .into(),
        };
        let text = std::fs::read_to_string(Path::new(path))
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let certificates = certificates_of(&text);
        if certificates.is_empty() {
            return Err(wrong("holds no certificate".into()));
        }
        let mut trusted = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificates.as_bytes()) {
            let certificate = certificate.map_err(|error| wrong(format!("is damaged: {error}")))?;
            let added = trusted.add(certificate);
            added.map_err(|error| wrong(format!("holds what is no certificate: {error}")))?;
        }
        Ok(Some(certificates))
    }

    /// What movers are told. Files and addresses of this machine are not theirs.
    pub(super) fn for_movers(&self) -> MoverAccess {
        let known = |name: &str| self.cloud.protocol().is_for_movers(name);
        let proxied = |(name, value): &(&String, &String)| {
            PROXIES.contains(&name.as_str()) && !is_loopback(value)
        };
        let proxies: Vec<_> = self.variables.iter().filter(proxied).collect();
        let excluded = |name: &str| !proxies.is_empty() && NO_PROXY.contains(&name);
        let variables = self
            .variables
            .iter()
            .filter(|(name, _)| known(name) || excluded(name))
            .chain(proxies.iter().copied())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        MoverAccess {
            by_network: !self.endpoint().is_some_and(is_loopback),
            variables,
            authorities: self.authorities.clone(),
            depot: None,
        }
    }

    /// Goes to a bucket. Nothing is asked of the server yet.
    pub(super) fn open(
        &self,
        location: &Location,
        bucket: &str,
        prefix: &str,
    ) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let protocol = self.cloud.protocol();
        protocol
            .check(&self.variables)
            .map_err(|reason| StoreError::Denied {
                location: location.clone(),
                source: reason.into(),
            })?;
        let unreachable = |source: object_store::Error| StoreError::Unreachable {
            location: location.clone(),
            source: source.into(),
        };
        let mut client = ClientOptions::new()
            .with_allow_http(self.is_plain())
            .with_connect_timeout(CONNECT)
            .with_timeout(REQUEST);
        if let Some(authorities) = &self.authorities {
            let certificates = Certificate::from_pem_bundle(authorities.as_bytes());
            for certificate in certificates.map_err(unreachable)? {
                client = client.with_root_certificate(certificate);
            }
        }
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 5,
            retry_timeout: RETRY,
        };
        let store = protocol
            .build(&self.variables, bucket, client, retry)
            .map_err(unreachable)?;
        Ok(match prefix {
            "" => store,
            prefix => Arc::new(PrefixStore::new(store, prefix)),
        })
    }
}

/// The certificates of a PEM file; a private key beside them stays where it is.
fn certificates_of(text: &str) -> String {
    let mut certificates = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside |= line.starts_with("-----BEGIN CERTIFICATE-----");
        if inside {
            certificates.push_str(line);
            certificates.push('\n');
        }
        inside &= !line.starts_with("-----END CERTIFICATE-----");
    }
    certificates
}

/// Whether an address is of this machine alone.
pub(crate) fn is_loopback(address: &str) -> bool {
    let with_scheme = |text: &str| Url::parse(text).ok().filter(|url| url.host().is_some());
    let url = with_scheme(address).or_else(|| with_scheme(&format!("http://{address}")));
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
