//! Registry credentials, from where `docker login` and `podman login` leave them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

use super::ImageError;

/// What the user's container tools would log in with at `registry`; anonymous when they know nothing.
///
/// # Errors
/// When a credentials file or helper is there and cannot be read: pushing anonymously instead would
/// only hide why it is refused.
pub(super) fn find(registry: &str) -> Result<RegistryAuth, ImageError> {
    for path in files() {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let refuse = |reason: String| ImageError::Credentials {
            from: path.display().to_string(),
            reason,
        };
        let config: Value =
            serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if let Some(auth) = of_config(&config, registry).map_err(refuse)? {
            return Ok(auth);
        }
    }
    Ok(RegistryAuth::Anonymous)
}

fn files() -> Vec<PathBuf> {
    let named = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = |variable: &str, rest: &str| named(variable).map(|base| base.join(rest));
    [
        named("REGISTRY_AUTH_FILE"),
        folder("DOCKER_CONFIG", "config.json"),
        folder("XDG_RUNTIME_DIR", "containers/auth.json"),
        folder("HOME", ".docker/config.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The names under which a registry may be filed; Docker Hub has its own.
fn names(registry: &str) -> Vec<String> {
    let mut names = vec![
        registry.into(),
        format!("https://{registry}"),
        format!("https://{registry}/v1/"),
    ];
    if matches!(
        registry,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    ) {
        names.push("https://index.docker.io/v1/".into());
    }
    names
}

fn of_config(config: &Value, registry: &str) -> Result<Option<RegistryAuth>, String> {
    for name in names(registry) {
        let helper = config["credHelpers"][&name]
            .as_str()
            .or_else(|| config["credsStore"].as_str());
        let entry = &config["auths"][&name];
        if let Some(text) = entry["auth"].as_str().filter(|text| !text.is_empty()) {
            let plain = STANDARD
                .decode(text)
                .ok()
                .and_then(|plain| String::from_utf8(plain).ok());
            let plain = plain.ok_or_else(|| format!("auth of {name} is not base64 text"))?;
            let (user, password) = plain
                .split_once(':')
                .ok_or_else(|| format!("auth of {name} has no password"))?;
            return Ok(Some(RegistryAuth::Basic(user.into(), password.into())));
        }
        if let Some(token) = entry["registrytoken"].as_str() {
            return Ok(Some(RegistryAuth::Bearer(token.into())));
        }
        if let Some(helper) = helper
            && let Some(auth) = ask(helper, &name)?
        {
            return Ok(Some(auth));
        }
    }
    Ok(None)
}

/// Asks a docker credential helper, which reads a server's name and answers in JSON.
fn ask(helper: &str, server: &str) -> Result<Option<RegistryAuth>, String> {
    let program = format!("docker-credential-{helper}");
    let run = || {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            std::io::Write::write_all(&mut input, server.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| format!("{program}: {error}"))?;
    // A helper that does not know the server ends with an error; that is an answer, not a fault.
    if !output.status.success() {
        return Ok(None);
    }
    let answer: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{program}: {error}"))?;
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    Ok(match text("Username").as_str() {
        "" => None,
        "<token>" => Some(RegistryAuth::Bearer(text("Secret"))),
        user => Some(RegistryAuth::Basic(user.into(), text("Secret"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_login_is_found_under_every_name_docker_files_it_by() {
        let auth = STANDARD.encode("me:se:cret");
        for name in ["quay.io", "https://quay.io", "https://quay.io/v1/"] {
            let config = json!({"auths": {name: {"auth": auth}}});
            let found = of_config(&config, "quay.io").unwrap();
            assert!(
                found == Some(RegistryAuth::Basic("me".into(), "se:cret".into())),
                "{name}"
            );
            assert!(of_config(&config, "ghcr.io").unwrap().is_none());
        }
        let config = json!({"auths": {"https://index.docker.io/v1/": {"auth": auth}}});
        assert!(of_config(&config, "docker.io").unwrap().is_some());
    }

    #[test]
    fn a_broken_entry_is_an_error_and_not_anonymous() {
        let config = json!({"auths": {"quay.io": {"auth": "%%%"}}});
        assert!(of_config(&config, "quay.io").is_err());
    }
}
