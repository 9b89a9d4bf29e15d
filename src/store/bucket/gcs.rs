//! Google Cloud Storage.
//!
//! A bucket is reached as Google's libraries would reach it: by the key file that `GOOGLE_APPLICATION_CREDENTIALS`
//! names, by what `gcloud auth application-default login` left, or as what this machine or pod is.

use std::path::Path;
use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use serde_json::Value;

use super::{Protocol, StoreError, Variables, configured, settings};

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const KEY: &str = "GOOGLE_SERVICE_ACCOUNT_KEY";
const TOKEN: &str = "GOOGLE_BEARER_TOKEN";
const ENDPOINT: &str = "GOOGLE_BASE_URL";
/// How Google's libraries are told of a server that stands in for the cloud.
const EMULATOR: &str = "STORAGE_EMULATOR_HOST";
/// The key for such a server, which asks for none.
const NOBODY: &str =
    r#"{"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": true}"#;
/// Variables that name a file of this machine with a key; the first that is set counts.
const FILES: [&str; 3] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    FILE,
];

pub(super) struct Gcs;

impl Protocol for Gcs {
    fn complete(&self, variables: &mut Variables) -> Result<(), StoreError> {
        if let Some(host) = variables.get(EMULATOR).cloned() {
            let url = match host.contains("://") {
                true => host,
                false => format!("http://{host}"),
            };
            variables.entry(ENDPOINT.to_owned()).or_insert(url);
            variables.entry(KEY.to_owned()).or_insert(NOBODY.to_owned());
        }
        let named = FILES
            .iter()
            .filter_map(|name| variables.get_key_value(*name));
        let named = named
            .map(|(name, path)| (name.clone(), path.clone()))
            .next();
        let Some((name, path)) = named else {
            return Ok(());
        };
        let found = service_account(&name, &path)?;
        // The client takes one of them only.
        if found.is_some() || variables.contains_key(KEY) {
            FILES.iter().for_each(|name| drop(variables.remove(*name)));
        }
        if let Some(key) = found {
            variables.entry(KEY.to_owned()).or_insert(key);
        }
        Ok(())
    }

    fn endpoint<'v>(&self, variables: &'v Variables) -> Option<&'v str> {
        variables.get(ENDPOINT).map(String::as_str)
    }

    fn is_for_movers(&self, name: &str) -> bool {
        !FILES.contains(&name) && configured::<GoogleConfigKey>(name, "GOOGLE_").is_some()
    }

    fn check(&self, variables: &Variables) -> Result<(), &'static str> {
        let given = |name: &&str| variables.contains_key(*name);
        // Left alone, the client would ask the cloud's metadata service.
        if given(&ENDPOINT) && ![KEY, TOKEN].iter().chain(&FILES).any(given) {
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
        let builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket);
        let store = settings(variables, "GOOGLE_")
            .fold(builder, |builder, (key, value)| {
                builder.with_config(key, value)
            })
            .with_client_options(client)
            .with_retry(retry)
            .build();
        Ok(Arc::new(store?))
    }
}

/// The key of a service account that a file holds; `None` for a person's login, which only this machine can use.
fn service_account(variable: &str, path: &str) -> Result<Option<String>, StoreError> {
    let wrong = |reason: String| StoreError::Settings {
        reason: format!("{variable} names {path}, which {reason}"),
        help: "name the JSON key of a service account that may use the bucket's objects".into(),
    };
    let text = std::fs::read_to_string(Path::new(path))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("is no JSON: line {}", error.line())))?;
    match value["type"].as_str() {
        Some("authorized_user") => Ok(None),
        Some("service_account") | None if value["private_key"].is_string() => Ok(Some(text)),
        Some(other) => Err(wrong(format!("is of type {other:?}"))),
        None => Err(wrong("holds no private_key".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn of(variables: &[(&str, &str)]) -> Variables {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        variables.iter().map(own).collect()
    }

    #[test]
    fn a_key_file_becomes_what_movers_can_be_handed() {
        let key = r#"{"type":"service_account","private_key":"p","client_email":"e"}"#;
        let file = file(key);
        let mut variables = of(&[(FILE, &file.path().display().to_string())]);
        Gcs.complete(&mut variables).unwrap();
        assert_eq!(variables, of(&[(KEY, key)]));
        assert!(Gcs.is_for_movers(KEY) && !Gcs.is_for_movers(FILE));
    }

    #[test]
    fn a_login_of_this_machine_stays_here() {
        let file = file(r#"{"type":"authorized_user","refresh_token":"t"}"#);
        let mut variables = of(&[(FILE, &file.path().display().to_string())]);
        Gcs.complete(&mut variables).unwrap();
        assert!(variables.contains_key(FILE) && !variables.contains_key(KEY));
    }

    #[test]
    fn a_file_that_is_no_key_is_told_without_its_text() {
        for (text, told) in [
            ("secret", "no JSON"),
            (r#"{"type":"external_account"}"#, "external_account"),
            (r#"{"type":"service_account"}"#, "service_account"),
            ("{}", "private_key"),
        ] {
            let file = file(text);
            let mut variables = of(&[(FILE, &file.path().display().to_string())]);
            let error = Gcs.complete(&mut variables).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains(told), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let mut variables = of(&[(FILE, "/none/key.json")]);
        let error = Gcs.complete(&mut variables).unwrap_err().to_string();
        assert!(error.contains("/none/key.json"), "{error}");
    }

    #[test]
    fn a_server_that_stands_in_is_reached_unsigned() {
        let mut variables = of(&[(EMULATOR, "here:4443")]);
        Gcs.complete(&mut variables).unwrap();
        assert_eq!(Gcs.endpoint(&variables), Some("http://here:4443"));
        assert_eq!(Gcs.check(&variables), Ok(()));
        assert!(Gcs.check(&of(&[(ENDPOINT, "http://here:1")])).is_err());
    }
}
