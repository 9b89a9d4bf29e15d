//! Talking to pods: logs, commands, ports.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::DuplexStream;
use tokio::time::timeout;

use super::request::{Call, path};
use super::{Cluster, ClusterError};

/// How long opening a stream may take.
const OPEN: Duration = Duration::from_secs(30);

impl Cluster {
    /// The last lines a container wrote; `previous` asks for the instance before a restart.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses, as it does while the container has not started.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        lines: u32,
        previous: bool,
    ) -> Result<String, ClusterError> {
        let tail = lines.to_string();
        let mut query = vec![("tailLines", tail.as_str())];
        query.extend(container.map(|container| ("container", container)));
        if previous {
            query.push(("previous", "true"));
        }
        let target = path(
            &["api", "v1", "namespaces", namespace, "pods", pod, "log"],
            &query,
        );
        let call = Call::get(target, "read the logs of", format!("Pod {namespace}/{pod}"));
        let body = self.call(&call.accept("*/*")).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Runs a command in a container. Its streams are in the answer; an end of stream is no proof
    /// that everything arrived, only the status and a digest are.
    ///
    /// # Errors
    /// When the stream cannot be opened.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        command: &[&str],
        attach: &AttachParams,
    ) -> Result<AttachedProcess, ClusterError> {
        let call = Call::get("", "run a command in", format!("Pod {namespace}/{pod}")).within(OPEN);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let opened = timeout(OPEN, pods.exec(pod, command.iter().copied(), attach)).await;
        self.opened(&call, opened)
    }

    /// Opens a connection to a port of a pod, through the API server.
    ///
    /// # Errors
    /// When the stream cannot be opened.
    pub async fn portforward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<DuplexStream, ClusterError> {
        let object = format!("port {port} of Pod {namespace}/{pod}");
        let call = Call::get("", "open", object).within(OPEN);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let opened = timeout(OPEN, pods.portforward(pod, &[port])).await;
        let mut forwarder = self.opened(&call, opened)?;
        // The stream keeps the forwarder's task alive: it ends when both ends are closed.
        forwarder
            .take_stream(port)
            .ok_or_else(|| self.malformed(&call, "no stream was opened"))
    }

    fn opened<T>(
        &self,
        call: &Call,
        opened: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, ClusterError> {
        match opened {
            Err(_) => Err(self.timeout(call)),
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(kube::Error::Api(status))) => {
                let code = http::StatusCode::from_u16(status.code)
                    .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                let body = serde_json::to_vec(&*status).unwrap_or_default();
                Err(ClusterError::Api(Box::new(self.failure(call, code, &body))))
            }
            Ok(Err(source)) => Err(self.unreachable(call, source)),
        }
    }
}
