//! Azure's blob storage.
//!
//! A container is reached as the Azure tools would reach it: by the `AZURE_STORAGE_*` variables, a connection string
//! among them, by a service principal's `AZURE_*`, or as what this machine or pod is (workload and managed identity).
//! The names restic has for the same are known as well.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::{Protocol, StoreError, Variables, configured, settings};

const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT_NAME";
const KEY: &str = "AZURE_STORAGE_ACCOUNT_KEY";
const SAS: &str = "AZURE_STORAGE_SAS_TOKEN";
const ENDPOINT: &str = "AZURE_STORAGE_ENDPOINT";
const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// What the Azure tools and restic call what has the second name here.
const ALIASES: [(&str, &str); 7] = [
    ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
    ("AZURE_ACCOUNT_NAME", ACCOUNT),
    ("AZURE_STORAGE_KEY", KEY),
    ("AZURE_ACCOUNT_KEY", KEY),
    ("AZURE_ACCOUNT_SAS", SAS),
    ("AZURE_ENDPOINT", ENDPOINT),
    ("AZURE_STORAGE_SERVICE_ENDPOINT", ENDPOINT),
];
/// Parts of a connection string.
const PARTS: [(&str, &str); 4] = [
    ("AccountName", ACCOUNT),
    ("AccountKey", KEY),
    ("SharedAccessSignature", SAS),
    ("BlobEndpoint", ENDPOINT),
];
/// Variables that give credentials which only this machine, or this pod, can use.
const OF_THIS_MACHINE: [&str; 4] = [
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_MSI_ENDPOINT",
    "AZURE_IDENTITY_ENDPOINT",
    "AZURE_USE_AZURE_CLI",
];
/// Variables of which one is enough to be let in.
const CREDENTIALS: [&str; 4] = [KEY, SAS, "AZURE_STORAGE_TOKEN", "AZURE_CLIENT_SECRET"];

pub(super) struct Azure;

impl Protocol for Azure {
    fn complete(&self, variables: &mut Variables) -> Result<(), StoreError> {
        for (alias, name) in ALIASES {
            if let Some(value) = variables.get(alias).cloned() {
                variables.entry(name.to_owned()).or_insert(value);
            }
        }
        // Another account's key would be no key.
        if let Some(text) = variables.get(CONNECTION).cloned()
            && ![ACCOUNT, KEY, SAS]
                .iter()
                .any(|name| variables.contains_key(*name))
        {
            variables.extend(connection(&text)?);
        }
        if let Some(suffix) = variables.get("AZURE_ENDPOINT_SUFFIX")
            && let Some(account) = variables.get(ACCOUNT)
        {
            let endpoint = format!("https://{account}.blob.{suffix}");
            variables.entry(ENDPOINT.to_owned()).or_insert(endpoint);
        }
        Ok(())
    }

    fn endpoint<'v>(&self, variables: &'v Variables) -> Option<&'v str> {
        variables.get(ENDPOINT).map(String::as_str)
    }

    fn is_for_movers(&self, name: &str) -> bool {
        !OF_THIS_MACHINE.contains(&name) && configured::<AzureConfigKey>(name, "AZURE_").is_some()
    }

    fn check(&self, variables: &Variables) -> Result<(), &'static str> {
        let given = |name: &&str| variables.contains_key(*name);
        if !given(&ACCOUNT) {
            return Err("no storage account was named");
        }
        // Left alone, the client would ask the cloud's metadata service.
        if given(&ENDPOINT) && !CREDENTIALS.iter().any(given) && !OF_THIS_MACHINE.iter().any(given)
        {
            return Err("no credentials were given for it");
        }
        Ok(())
    }

    fn build(
        &self,
        variables: &Variables,
        bucket: &str,
        client: ClientOptions,
        retry: RetryConfig,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let builder = MicrosoftAzureBuilder::new().with_container_name(bucket);
        let store = settings(variables, "AZURE_")
            .fold(builder, |builder, (key, value)| {
                builder.with_config(key, value)
            })
            .with_client_options(client)
            .with_retry(retry)
            .build();
        Ok(Arc::new(store?))
    }
}

/// What a connection string says, under the names of the variables that would say it.
fn connection(text: &str) -> Result<Variables, StoreError> {
    let mut said = Variables::new();
    let parts = text.split(';').filter(|part| !part.trim().is_empty());
    let mut protocol = "https";
    let mut suffix = None;
    for part in parts {
        // Not shown: it may be the key.
        let Some((name, value)) = part.trim().split_once('=') else {
            return Err(StoreError::Settings {
                reason: format!("{CONNECTION} has a part that is no Name=value"),
                help: "copy it whole, as the portal's access keys show it, in quotes".into(),
            });
        };
        match name {
            "DefaultEndpointsProtocol" => protocol = value,
            "EndpointSuffix" => suffix = Some(value),
            name => {
                if let Some((_, variable)) = PARTS.iter().find(|(part, _)| *part == name) {
                    said.insert((*variable).to_owned(), value.to_owned());
                }
            }
        }
    }
    if let (Some(suffix), Some(account)) = (suffix, said.get(ACCOUNT)) {
        let endpoint = format!("{protocol}://{account}.blob.{suffix}");
        said.entry(ENDPOINT.to_owned()).or_insert(endpoint);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(variables: &[(&str, &str)]) -> Variables {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut variables = variables.iter().map(own).collect();
        Azure.complete(&mut variables).unwrap();
        variables
    }

    #[test]
    fn a_connection_string_says_what_the_variables_would() {
        let said = completed(&[(
            CONNECTION,
            "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=a+b/c==;EndpointSuffix=core.windows.net",
        )]);
        assert_eq!(said[ACCOUNT], "shop");
        assert_eq!(said[KEY], "a+b/c==", "a key ends in equals signs");
        assert_eq!(said[ENDPOINT], "https://shop.blob.core.windows.net");
        let said = completed(&[(
            CONNECTION,
            "AccountName=x;AccountKey=k;BlobEndpoint=http://here:10000/x;",
        )]);
        assert_eq!(said[ENDPOINT], "http://here:10000/x");
    }

    #[test]
    fn variables_win_over_a_connection_string_and_are_known_by_other_tools_names() {
        let said = completed(&[
            (CONNECTION, "AccountName=other;AccountKey=other"),
            ("AZURE_STORAGE_ACCOUNT", "shop"),
            ("AZURE_STORAGE_KEY", "key"),
        ]);
        assert_eq!(
            (said[ACCOUNT].as_str(), said[KEY].as_str()),
            ("shop", "key")
        );
        let said = completed(&[
            ("AZURE_ACCOUNT_NAME", "shop"),
            ("AZURE_ACCOUNT_SAS", "sv=1&sig=x"),
            ("AZURE_ENDPOINT_SUFFIX", "core.chinacloudapi.cn"),
        ]);
        assert_eq!(said[SAS], "sv=1&sig=x");
        assert_eq!(said[ENDPOINT], "https://shop.blob.core.chinacloudapi.cn");
    }

    #[test]
    fn a_damaged_connection_string_is_told_without_its_key() {
        let mut variables =
            Variables::from([(CONNECTION.into(), "AccountName=a;secretpart".into())]);
        let error = Azure.complete(&mut variables).unwrap_err().to_string();
        assert!(
            error.contains(CONNECTION) && !error.contains("secretpart"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        let of = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), "x".to_owned()))
                .collect()
        };
        assert!(
            Azure
                .check(&of(&[KEY]))
                .is_err_and(|why| why.contains("account"))
        );
        assert!(Azure.check(&of(&[ACCOUNT, ENDPOINT])).is_err());
        assert_eq!(Azure.check(&of(&[ACCOUNT, ENDPOINT, SAS])), Ok(()));
        assert_eq!(Azure.check(&of(&[ACCOUNT])), Ok(()), "a managed identity");
    }
}
