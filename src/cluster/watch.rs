//! Watching a collection from a resource version on.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use futures::{AsyncBufReadExt, TryStreamExt};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

use super::objects::{collection, collection_text};
use super::request::{Call, path};
use super::{ApiFailure, Cluster, ClusterError, ListOptions};
use crate::object::Object;
use crate::surface::ApiResource;

/// How long the server keeps one watch open; then the caller watches again from where it was.
const SERVER_SECONDS: u64 = 290;

/// How long a watch may be silent before its connection counts as dead: the server's own limit and
/// time to close.
const SILENCE: Duration = Duration::from_secs(SERVER_SECONDS + 20);

/// How long the first byte of the answer may take.
const FIRST_BYTE: Duration = Duration::from_secs(30);

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// It is there, or matches the selector now.
    Added(Object),
    /// It changed.
    Modified(Object),
    /// It is gone, or no longer matches; as it last was.
    Deleted(Object),
    /// Nothing happened up to this resource version.
    Bookmark(String),
}

/// Events in the order the server sends them; ends when the server closes the watch.
pub type WatchStream<'a> = BoxStream<'a, Result<WatchEvent, ClusterError>>;

impl Cluster {
    /// Watches a collection. From resource version `"0"` or an empty one the server first sends what
    /// is there as `Added`.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses. On the stream, [`ClusterError::is_expired`]
    /// means that the resource version is too old: list, then watch again.
    pub async fn watch<'a>(
        &'a self,
        resource: &ApiResource,
        namespace: Option<&str>,
        options: &ListOptions,
        from: &str,
    ) -> Result<WatchStream<'a>, ClusterError> {
        let seconds = SERVER_SECONDS.to_string();
        let mut query = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", seconds.as_str()),
        ];
        query.extend(options.selectors());
        if !from.is_empty() {
            query.push(("resourceVersion", from));
        }
        let target = path(&collection(resource, namespace), &query);
        let call =
            Call::get(target, "watch", collection_text(resource, namespace)).within(FIRST_BYTE);
        let request = Request::get(&call.path)
            .header(header::ACCEPT, "application/json")
            // Compressed events arrive late, if at all: the reader stops after one gzip member.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::empty())
            .map_err(|source| self.malformed(&call, source))?;
        let response = timeout(FIRST_BYTE, self.client.send(request))
            .await
            .map_err(|_| self.timeout(&call))?
            .map_err(|source| self.unreachable(&call, source))?;
        let status = response.status();
        if !status.is_success() {
            let body = response
                .into_body()
                .collect_bytes()
                .await
                .unwrap_or_default();
            return Err(ClusterError::Api(Box::new(
                self.failure(&call, status, &body),
            )));
        }
        Ok(self.lines(call, response.into_body()))
    }

    fn lines<'a>(&'a self, call: Call, body: Body) -> WatchStream<'a> {
        let reader = body
            .into_data_stream()
            .map_err(std::io::Error::other)
            .into_async_read();
        let call = Call {
            deadline: SILENCE,
            ..call
        };
        futures::stream::try_unfold(
            (reader.lines(), call),
            move |(mut lines, call)| async move {
                loop {
                    let Ok(line) = timeout(SILENCE, lines.next()).await else {
                        return Err(self.timeout(&call));
                    };
                    let line = match line {
                        None => return Ok(None),
                        Some(Err(source)) => return Err(self.unreachable(&call, source)),
                        Some(Ok(line)) if line.trim().is_empty() => continue,
                        Some(Ok(line)) => line,
                    };
                    let event = self.event(&call, &line)?;
                    return Ok(Some((event, (lines, call))));
                }
            },
        )
        .boxed()
    }

    fn event(&self, call: &Call, line: &str) -> Result<WatchEvent, ClusterError> {
        let mut value: Value =
            serde_json::from_str(line).map_err(|source| self.malformed(call, source))?;
        let object = value["object"].take();
        match value["type"].as_str().unwrap_or_default() {
            "ADDED" => Ok(WatchEvent::Added(self.object(call, object)?)),
            "MODIFIED" => Ok(WatchEvent::Modified(self.object(call, object)?)),
            "DELETED" => Ok(WatchEvent::Deleted(self.object(call, object)?)),
            "BOOKMARK" => Ok(WatchEvent::Bookmark(
                object
                    .pointer("/metadata/resourceVersion")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .into(),
            )),
            // A watch that is too old is answered 200, with the refusal as an event (W-6).
            "ERROR" => {
                let code = object["code"]
                    .as_u64()
                    .and_then(|code| u16::try_from(code).ok());
                let status = code.and_then(|code| StatusCode::from_u16(code).ok());
                let body = object.to_string();
                let failure: ApiFailure = self.failure(
                    call,
                    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    body.as_bytes(),
                );
                Err(ClusterError::Api(Box::new(failure)))
            }
            other => Err(self.malformed(call, format!("unknown watch event {other:?}"))),
        }
    }
}
