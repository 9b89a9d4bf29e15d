//! From a kubeconfig context to a [`Cluster`] that has answered once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use serde_json::Value;

use super::request::Call;
use super::{Cluster, ClusterError};
use crate::surface::ClusterIdentity;

/// How long the first answer may take: long enough for a far cluster, short enough to wait for.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Which cluster to connect to.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The kubeconfig context; `None` for its current one.
    pub context: Option<String>,
    /// The kubeconfig file; `None` for `KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
}

impl ConnectOptions {
    /// A context of the default kubeconfig.
    pub fn context(name: impl Into<String>) -> Self {
        Self {
            context: Some(name.into()),
            kubeconfig: None,
        }
    }
}

impl Cluster {
    /// Connects, and proves it by asking for the server's version.
    ///
    /// # Errors
    /// [`ClusterError::Kubeconfig`], [`ClusterError::UnknownContext`] and [`ClusterError::Context`]
    /// before anything is sent; else, within five seconds, why the server did not answer.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ClusterError> {
        let path = display_path(options.kubeconfig.as_deref());
        let kubeconfig = read(options.kubeconfig.as_deref(), &path)?;
        let name = context_name(&kubeconfig, options, &path)?;
        let unusable = |source: Box<dyn std::error::Error + Send + Sync>| ClusterError::Context {
            name: name.clone(),
            source,
        };
        let selected = KubeConfigOptions {
            context: Some(name.clone()),
            ..KubeConfigOptions::default()
        };
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &selected)
            .await
            .map_err(|source| unusable(Box::new(source)))?;
        config.connect_timeout = Some(FIRST_ANSWER);
        // `request` knows which failures are final and honours Retry-After; two layers of retries
        // would multiply (W-2).
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).map_err(|source| unusable(Box::new(source)))?;
        let identity = ClusterIdentity {
            name,
            uid: String::new(),
            version: String::new(),
        };
        let mut cluster = Self {
            client,
            identity,
            server,
        };
        cluster.introduce().await?;
        Ok(cluster)
    }

    /// Learns the server's version and what tells this cluster from all others.
    async fn introduce(&mut self) -> Result<(), ClusterError> {
        let hello = Call::get("/version", "ask for", "its version");
        let version = self
            .call_json(&hello.within(FIRST_ANSWER).impatient())
            .await?;
        self.identity.version = text(&version, "/gitVersion");
        let system = Call::get(
            "/api/v1/namespaces/kube-system",
            "get",
            "Namespace kube-system",
        );
        match self.call_json(&system).await {
            Ok(namespace) => self.identity.uid = text(&namespace, "/metadata/uid"),
            // A namespace owner may not read it; two clusters are then told apart by name alone.
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn read(given: Option<&Path>, shown: &Path) -> Result<Kubeconfig, ClusterError> {
    let read = match given {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.map_err(|source: KubeconfigError| ClusterError::Kubeconfig {
        path: shown.to_owned(),
        source: Box::new(source),
    })
}

/// The file, or the list of files, the kubeconfig is read from.
fn display_path(given: Option<&Path>) -> PathBuf {
    match (given, std::env::var_os("KUBECONFIG")) {
        (Some(path), _) => path.to_owned(),
        (None, Some(list)) if !list.is_empty() => PathBuf::from(list),
        (None, _) => PathBuf::from("~/.kube/config"),
    }
}

fn context_name(
    kubeconfig: &Kubeconfig,
    options: &ConnectOptions,
    path: &Path,
) -> Result<String, ClusterError> {
    let mut known: Vec<String> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.clone())
        .collect();
    known.sort();
    let name = options
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    match name {
        Some(name) if known.contains(&name) => Ok(name),
        name => Err(ClusterError::UnknownContext {
            name: name.unwrap_or_default(),
            kubeconfig: path.display().to_string(),
            known,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig() -> Kubeconfig {
        Kubeconfig::from_yaml(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n\
             - {name: b, context: {cluster: b, user: b}}\n\
             - {name: a, context: {cluster: a, user: a}}\n\
             clusters: []\nusers: []\n",
        )
        .unwrap()
    }

    #[test]
    fn no_name_means_the_current_context() {
        let name = context_name(
            &kubeconfig(),
            &ConnectOptions::default(),
            Path::new("config"),
        )
        .unwrap();
        assert_eq!(name, "a");
    }

    #[test]
    fn an_unknown_context_is_refused_before_anything_is_sent() {
        let error = context_name(
            &kubeconfig(),
            &ConnectOptions::context("c"),
            Path::new("config"),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "there is no context \"c\" in config");
        assert_eq!(
            error.help().as_deref(),
            Some("use one of the contexts there: a, b")
        );
    }

    #[tokio::test]
    async fn a_closed_port_is_reported_as_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(
            &path,
            "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
             contexts: [{name: x, context: {cluster: x, user: x}}]\n\
             clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\n\
             users: [{name: x, user: {}}]\n",
        )
        .unwrap();
        let options = ConnectOptions {
            context: None,
            kubeconfig: Some(path),
        };
        let error = Cluster::connect(&options).await.unwrap_err();
        assert!(
            matches!(error, ClusterError::Unreachable { .. }),
            "{error:?}"
        );
    }
}
