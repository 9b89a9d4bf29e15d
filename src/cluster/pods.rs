//! Talking to pods: logs, commands, ports.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream};
use tokio::time::timeout;

use super::request::{Call, path};
use super::{Cluster, ClusterError};

/// How long opening a stream may take.
const OPEN: Duration = Duration::from_secs(30);

/// How long what a command wrote may be on its way after its end is known.
const FLUSH: Duration = Duration::from_secs(1);

/// Bytes kept of what a command wrote; the last ones.
const KEPT: usize = 16 << 10;

/// A command that was run in a container.
#[derive(Debug)]
pub struct Command {
    /// How it ended.
    pub end: CommandEnd,
    /// The last it wrote, on both of its streams.
    pub output: Vec<u8>,
}

/// How a command in a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// By itself, with this code.
    Exit(i32),
    /// It was not started, or not to its end, for this reason.
    Failed(String),
    /// It took longer than it may.
    Late,
    /// The connection broke before the end was known.
    Lost,
}

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

    /// Runs a command in a container to its end, or as long as it may take. What it wrote last is in the answer; of
    /// one that takes longer nobody knows whether it goes on.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses.
    pub async fn command(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: &[String],
        within: Duration,
    ) -> Result<Command, ClusterError> {
        let call = Call::get("", "run a command in", format!("Pod {namespace}/{pod}")).within(OPEN);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let attach = AttachParams::default()
            .container(container)
            .stdin(false)
            .tty(false);
        let opened = timeout(OPEN, pods.exec(pod, command, &attach)).await;
        let process = self.opened(&call, opened)?;
        let output = Mutex::new(Vec::new());
        let end = timeout(within, to_end(process, &output)).await;
        Ok(Command {
            end: end.unwrap_or(CommandEnd::Late),
            output: output.into_inner().unwrap_or_default(),
        })
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

/// Follows a command until its end is known.
async fn to_end(mut process: AttachedProcess, output: &Mutex<Vec<u8>>) -> CommandEnd {
    let Some(status) = process.take_status() else {
        return CommandEnd::Lost;
    };
    let streams = join(
        keep(process.stdout(), output),
        keep(process.stderr(), output),
    );
    let (mut status, mut streams) = (std::pin::pin!(status), std::pin::pin!(streams));
    // A connection that breaks does not end the streams, so they are not what is waited for.
    let mut read = false;
    let status = loop {
        tokio::select! {
            status = &mut status => break status,
            _ = &mut streams, if !read => read = true,
        }
    };
    if !read {
        drop(timeout(FLUSH, streams).await);
    }
    status.map_or(CommandEnd::Lost, ended)
}

/// Reads a stream and keeps its last bytes.
async fn keep(stream: Option<impl AsyncRead + Unpin>, output: &Mutex<Vec<u8>>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 4 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if let Ok(mut output) = output.lock() {
            output.extend_from_slice(&buffer[..read]);
            let more = output.len().saturating_sub(KEPT);
            output.drain(..more);
        }
    }
}

/// What the kubelet says of a command's end.
fn ended(status: Status) -> CommandEnd {
    let Status {
        status: summary,
        message,
        details,
        ..
    } = status;
    if summary.as_deref() == Some("Success") {
        return CommandEnd::Exit(0);
    }
    let causes = details.and_then(|details| details.causes);
    let code = causes.into_iter().flatten().find_map(|cause| {
        let exit = cause.reason.as_deref() == Some("ExitCode");
        exit.then_some(cause.message?.parse().ok()).flatten()
    });
    match code {
        Some(code) => CommandEnd::Exit(code),
        None => CommandEnd::Failed(message.unwrap_or_else(|| "no reason was given".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(json: serde_json::Value) -> CommandEnd {
        ended(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_commands_end_is_what_the_kubelet_says() {
        use serde_json::json;
        assert_eq!(end(json!({"status": "Success"})), CommandEnd::Exit(0));
        let causes = json!([{"reason": "ExitCode", "message": "3"}]);
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}});
        assert_eq!(end(failed), CommandEnd::Exit(3));
        let absent =
            json!({"status": "Failure", "reason": "InternalError", "message": "no such file"});
        assert_eq!(end(absent), CommandEnd::Failed("no such file".into()));
    }

    #[tokio::test]
    async fn of_what_a_command_writes_the_last_is_kept() {
        let output = Mutex::new(Vec::new());
        let text = [vec![b'a'; KEPT], vec![b'b'; 10]].concat();
        keep(Some(text.as_slice()), &output).await;
        let output = output.into_inner().unwrap();
        assert_eq!(output.len(), KEPT);
        assert!(output.ends_with(b"abbbbbbbbbb"));
    }
}
