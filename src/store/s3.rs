//! Buckets: with what they are reached, and going there.
//!
//! A bucket is reached as the AWS tools would reach it: by the `AWS_*` variables, and where those say nothing by the
//! profile of the shared files ([`profile`]). Proxies are those of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. Movers
//! in pods have none of this: what was found here is handed to them, resolved. A server's certificate is always
//! checked; the authority that signed it is named, never waved through.

mod profile;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{Host, Url};

use super::{Location, StoreError};

/// How long a connection to a store may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one request may take: a pack of 16 MiB over half a megabit per second.
const REQUEST: Duration = Duration::from_secs(300);
/// How long a failing request is tried again before the user is told.
const RETRY: Duration = Duration::from_secs(20);

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";
const ENDPOINT: &str = "AWS_ENDPOINT_URL";
/// The authorities that a server's certificate may be signed by, besides those of the system.
pub(crate) const AUTHORITIES: &str = "AWS_CA_BUNDLE";
/// The system's authorities, where they are not in their usual place; the TLS library reads it too.
const SYSTEM_AUTHORITIES: &str = "SSL_CERT_FILE";

/// Variables that say where a server is; the first that is set counts.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", ENDPOINT, "AWS_ENDPOINT"];
/// Variables that give credentials which only this machine, or this pod, can use.
const OF_THIS_MACHINE: [&str; 4] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// With what a pod reaches the store by itself.
#[derive(Clone, Default)]
pub struct MoverAccess {
    /// Environment variables; some are credentials.
    pub variables: BTreeMap<String, String>,
    /// Certificates of authorities to trust besides the image's, as PEM.
    pub authorities: Option<String>,
}

/// Without the values.
impl fmt::Debug for MoverAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// With what a bucket is reached.
pub(super) struct Settings {
    /// The variables that say something, and under their names what the profile says.
    variables: BTreeMap<String, String>,
    authorities: Option<String>,
}

impl Settings {
    /// Takes them from an environment and the files that it names.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        let mut variables: BTreeMap<String, String> = environment
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut said = profile::read(&variables)?;
        // Half a key from here and half from there would be none.
        if [KEY_ID, SECRET]
            .iter()
            .any(|name| variables.contains_key(*name))
        {
            for name in [KEY_ID, SECRET, TOKEN] {
                said.remove(name);
            }
        }
        if ENDPOINTS.iter().any(|name| variables.contains_key(*name)) {
            said.remove(ENDPOINT);
        }
        if variables.contains_key("AWS_DEFAULT_REGION") {
            said.remove("AWS_REGION");
        }
        for (name, value) in said {
            variables.entry(name).or_insert(value);
        }
        let mut settings = Self {
            variables,
            authorities: None,
        };
        if !settings.is_plain() {
            settings.authorities = settings.read_authorities()?;
        }
        Ok(settings)
    }

    fn endpoint(&self) -> Option<&str> {
        ENDPOINTS
            .iter()
            .find_map(|name| self.variables.get(*name))
            .map(String::as_str)
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
        let known = |name: &str| {
            name.starts_with("AWS_")
                && !OF_THIS_MACHINE.contains(&name)
                && name
                    .to_ascii_lowercase()
                    .parse::<AmazonS3ConfigKey>()
                    .is_ok()
        };
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
            variables,
            authorities: self.authorities.clone(),
        }
    }

    /// Whether there are keys, or a way to get some.
    fn check_credentials(&self) -> Result<(), &'static str> {
        let given = |name: &&str| self.variables.contains_key(*name);
        if let Some(reason) = half_a_key(given(&KEY_ID), given(&SECRET)) {
            return Err(reason);
        }
        if self.endpoint().is_some() && !given(&KEY_ID) && !OF_THIS_MACHINE.iter().any(given) {
            // Left alone, the client would ask the cloud's metadata service for the keys to a server
            // that is none of that cloud's.
            return Err("no credentials were given for it");
        }
        Ok(())
    }

    /// Goes to a bucket. Nothing is asked of the server yet.
    pub(super) fn open(
        &self,
        location: &Location,
        bucket: &str,
        prefix: &str,
    ) -> Result<Arc<dyn ObjectStore>, StoreError> {
        self.check_credentials()
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
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.variables {
            if name.starts_with("AWS_")
                && let Ok(key) = name.to_ascii_lowercase().parse()
            {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .build()
            .map_err(unreachable)?;
        Ok(match prefix {
            "" => Arc::new(store),
            prefix => Arc::new(PrefixStore::new(store, prefix)),
        })
    }
}

/// Why credentials of which one half is missing cannot work.
fn half_a_key(id: bool, secret: bool) -> Option<&'static str> {
    match (id, secret) {
        (true, false) => Some("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        (false, true) => Some("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"),
        _ => None,
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
