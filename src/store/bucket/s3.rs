//! S3, as AWS and the servers in people's own halls speak it.
//!
//! A bucket is reached as the AWS tools would reach it: by the `AWS_*` variables, and where those say nothing by the
//! profile of the shared files ([`profile`]).

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::{Protocol, StoreError, Variables, configured, profile, settings};
use crate::repository::KnownDigests;

pub(super) const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(super) const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
pub(super) const TOKEN: &str = "AWS_SESSION_TOKEN";
pub(super) const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// Variables that say where a server is; the first that is set counts.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", ENDPOINT, "AWS_ENDPOINT"];
/// Variables that give credentials which only this machine, or this pod, can use.
pub(super) const OF_THIS_MACHINE: [&str; 4] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

pub(super) struct S3;

impl S3 {
    /// All that the variables say.
    fn builder(&self, variables: &Variables, bucket: &str) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
        // A bucket of AWS that keeps its objects for a time wants it. The hash is known: each request is signed with it.
        // Not every other server takes it.
        if self.endpoint(variables).is_none() {
            builder = builder.with_checksum_algorithm(Checksum::SHA256);
        }
        settings(variables, "AWS_").fold(builder, |builder, (key, value)| {
            builder.with_config(key, value)
        })
    }
}

impl Protocol for S3 {
    fn complete(&self, variables: &mut Variables) -> Result<(), StoreError> {
        let mut said = profile::read(variables)?;
        let given = |name: &&str| variables.contains_key(*name);
        // Half a key from here and half from there would be none.
        if [KEY_ID, SECRET].iter().any(given) {
            for name in [KEY_ID, SECRET, TOKEN] {
                said.remove(name);
            }
        }
        if ENDPOINTS.iter().any(given) {
            said.remove(ENDPOINT);
        }
        if given(&"AWS_DEFAULT_REGION") {
            said.remove("AWS_REGION");
        }
        for (name, value) in said {
            variables.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn endpoint<'v>(&self, variables: &'v Variables) -> Option<&'v str> {
        let mut set = ENDPOINTS.iter().filter_map(|name| variables.get(*name));
        set.next().map(String::as_str)
    }

    fn is_for_movers(&self, name: &str) -> bool {
        !OF_THIS_MACHINE.contains(&name) && configured::<AmazonS3ConfigKey>(name, "AWS_").is_some()
    }

    fn check(&self, variables: &Variables) -> Result<(), &'static str> {
        let given = |name: &&str| variables.contains_key(*name);
        match (given(&KEY_ID), given(&SECRET)) {
            (true, false) => Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
            (false, true) => Err("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"),
            // Left alone, the client would ask the cloud's metadata service for the keys to a server
            // that is none of that cloud's.
            (false, _)
                if self.endpoint(variables).is_some() && !OF_THIS_MACHINE.iter().any(given) =>
            {
                Err("no credentials were given for it")
            }
            _ => Ok(()),
        }
    }

    fn build(
        &self,
        variables: &Variables,
        bucket: &str,
        client: ClientOptions,
        retry: RetryConfig,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let store = self
            .builder(variables, bucket)
            .with_crypto_provider(Arc::new(KnownDigests))
            .with_client_options(client)
            .with_retry(retry)
            .build();
        Ok(Arc::new(store?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_goes_to_aws_and_to_whom_it_is_asked_for() {
        let checksum = |variables: &[(&str, &str)]| {
            let variables = variables.iter();
            let variables =
                variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let builder = S3.builder(&variables.collect(), "bucket");
            builder.get_config_value(&AmazonS3ConfigKey::Checksum)
        };
        let server = (ENDPOINT, "https://s3.example");
        let asked = ("AWS_CHECKSUM_ALGORITHM", "sha256");
        assert_eq!(checksum(&[]).as_deref(), Some("sha256"));
        assert_eq!(checksum(&[server]), None);
        assert_eq!(checksum(&[server, asked]).as_deref(), Some("sha256"));
    }
}
