//! One HTTP call: a deadline, the retries of rule W-2, and errors in Ferry's words.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use kube::client::Body;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use super::{ApiFailure, Cluster, ClusterError};

/// How long a call may take with all its retries, unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// First pause before a retry; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What to ask of the API server, and how to speak of it when it fails.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query, percent-encoded.
    pub(super) path: String,
    pub(super) accept: &'static str,
    pub(super) body: Option<(&'static str, Vec<u8>)>,
    /// The verb for messages, as in `list`.
    pub(super) verb: &'static str,
    /// The object for messages.
    pub(super) object: String,
    pub(super) deadline: Duration,
    /// Whether sending it twice does no more than sending it once, so that a broken connection may
    /// be answered with a second try.
    pub(super) repeatable: bool,
    /// Whether a server that is not listening may be starting again, so that waiting makes sense.
    pub(super) patient: bool,
}

impl Call {
    pub(super) fn new(
        method: Method,
        path: impl Into<String>,
        verb: &'static str,
        object: impl Into<String>,
    ) -> Self {
        let repeatable = method != Method::POST;
        Self {
            method,
            path: path.into(),
            accept: "application/json",
            body: None,
            verb,
            object: object.into(),
            deadline: DEADLINE,
            repeatable,
            patient: true,
        }
    }

    pub(super) fn get(
        path: impl Into<String>,
        verb: &'static str,
        object: impl Into<String>,
    ) -> Self {
        Self::new(Method::GET, path, verb, object)
    }

    pub(super) fn body(mut self, content_type: &'static str, value: &Value) -> Self {
        self.body = Some((content_type, value.to_string().into_bytes()));
        self
    }

    pub(super) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    pub(super) fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Fails at once when nothing listens.
    pub(super) fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    fn request(&self) -> Result<Request<Body>, http::Error> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::ACCEPT, self.accept);
        if let Some((content_type, _)) = &self.body {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        let bytes = self
            .body
            .as_ref()
            .map(|(_, bytes)| bytes.clone())
            .unwrap_or_default();
        request.body(Body::from(bytes))
    }
}

/// Builds a path with a query; every segment and value is percent-encoded.
pub(super) fn path(segments: &[&str], query: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://server").expect("a constant URL parses");
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.clear().extend(segments);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url[url::Position::BeforePath..].to_owned()
}

/// How one attempt ended.
enum Attempt {
    Done(Vec<u8>),
    Refused {
        status: StatusCode,
        body: Vec<u8>,
        retry_after: Option<Duration>,
    },
    Broken(kube::Error),
}

impl Cluster {
    /// Makes a call and gives the body of the answer.
    pub(super) async fn call(&self, call: &Call) -> Result<Vec<u8>, ClusterError> {
        let deadline = Instant::now() + call.deadline;
        let mut pause = PAUSE;
        let mut broken = None;
        loop {
            let Ok(attempt) = timeout_at(deadline, self.attempt(call)).await else {
                // A connection that never came up says more than the clock does.
                return Err(match broken {
                    Some(source) => self.unreachable(call, source),
                    None => self.timeout(call),
                });
            };
            let (error, wait) = match attempt? {
                Attempt::Done(body) => return Ok(body),
                Attempt::Refused {
                    status,
                    body,
                    retry_after,
                } => {
                    let failure = self.failure(call, status, &body);
                    if !worth_retrying(&failure) {
                        return Err(ClusterError::Api(Box::new(failure)));
                    }
                    (
                        ClusterError::Api(Box::new(failure)),
                        retry_after.unwrap_or(pause),
                    )
                }
                Attempt::Broken(source) => {
                    let retry = match trouble(&source) {
                        Trouble::NotListening => call.patient,
                        Trouble::Untrusted => false,
                        Trouble::Cut => call.repeatable,
                    };
                    if !retry {
                        return Err(self.unreachable(call, source));
                    }
                    tracing::debug!(%source, verb = call.verb, object = call.object, "retrying");
                    broken = Some(source);
                    (self.timeout(call), pause)
                }
            };
            let until = Instant::now() + wait;
            if until >= deadline {
                return Err(match broken {
                    Some(source) => self.unreachable(call, source),
                    None => error,
                });
            }
            sleep_until(until).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Makes a call and parses the answer as JSON.
    pub(super) async fn call_json(&self, call: &Call) -> Result<Value, ClusterError> {
        let body = self.call(call).await?;
        serde_json::from_slice(&body).map_err(|source| self.malformed(call, source))
    }

    async fn attempt(&self, call: &Call) -> Result<Attempt, ClusterError> {
        let request = call
            .request()
            .map_err(|source| self.malformed(call, source))?;
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Attempt::Broken(error)),
        };
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = match response.into_body().collect_bytes().await {
            Ok(bytes) => Vec::from(bytes),
            Err(error) => return Ok(Attempt::Broken(error)),
        };
        Ok(if status.is_success() {
            Attempt::Done(body)
        } else {
            Attempt::Refused {
                status,
                body,
                retry_after,
            }
        })
    }

    pub(super) fn failure(&self, call: &Call, status: StatusCode, body: &[u8]) -> ApiFailure {
        let answer: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
        // Flow control and proxies answer in plain text.
        let message = text("message").unwrap_or_else(|| {
            String::from_utf8_lossy(body)
                .trim()
                .chars()
                .take(500)
                .collect()
        });
        ApiFailure {
            cluster: self.identity.name.clone(),
            verb: call.verb.into(),
            object: call.object.clone(),
            status: status.as_u16(),
            reason: text("reason")
                .unwrap_or_else(|| status.canonical_reason().unwrap_or_default().into()),
            message,
        }
    }

    pub(super) fn unreachable(
        &self,
        call: &Call,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ClusterError {
        ClusterError::Unreachable {
            cluster: self.identity.name.clone(),
            server: self.server.clone(),
            verb: call.verb.into(),
            object: call.object.clone(),
            source: source.into(),
        }
    }

    pub(super) fn timeout(&self, call: &Call) -> ClusterError {
        ClusterError::Timeout {
            cluster: self.identity.name.clone(),
            server: self.server.clone(),
            verb: call.verb.into(),
            object: call.object.clone(),
            seconds: call.deadline.as_secs(),
        }
    }

    pub(super) fn malformed(
        &self,
        call: &Call,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ClusterError {
        ClusterError::Malformed {
            cluster: self.identity.name.clone(),
            verb: call.verb.into(),
            object: call.object.clone(),
            source: source.into(),
        }
    }
}

/// W-2: which refusals may go away by themselves. Most 500s do not.
fn worth_retrying(failure: &ApiFailure) -> bool {
    match failure.status {
        429 | 503 | 504 => true,
        500 => {
            failure.message.contains("failed calling webhook")
                || failure.message.contains("conversion webhook")
        }
        403 => failure.message.contains("status unknown for quota"),
        _ => false,
    }
}

/// Why no answer came.
enum Trouble {
    /// Nothing listens there, so nothing was sent either.
    NotListening,
    /// TLS found no common ground; waiting does not help.
    Untrusted,
    /// The connection broke; the server may have done what was asked.
    Cut,
}

fn trouble(error: &kube::Error) -> Trouble {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return Trouble::Untrusted;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return Trouble::NotListening;
            }
            // An io::Error does not show what it wraps as its source.
            if io
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>())
            {
                return Trouble::Untrusted;
            }
        }
        cause = error.source();
    }
    Trouble::Cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, message: &str) -> ApiFailure {
        ApiFailure {
            cluster: "b".into(),
            verb: "apply".into(),
            object: "ConfigMap shop/c".into(),
            status,
            reason: String::new(),
            message: message.into(),
        }
    }

    #[test]
    fn w_2_overload_and_webhooks_are_retried_and_other_500s_are_final() {
        assert!(worth_retrying(&failure(429, "Too many requests")));
        assert!(worth_retrying(&failure(
            500,
            "failed calling webhook \"x\": connection refused"
        )));
        assert!(!worth_retrying(&failure(
            500,
            "etcdserver: request is too large"
        )));
        assert!(!worth_retrying(&failure(
            500,
            "failed to create typed patch object"
        )));
    }

    #[test]
    fn w_2_an_unknown_quota_status_is_retried_and_an_exceeded_one_is_final() {
        assert!(worth_retrying(&failure(
            403,
            "status unknown for quota: q2, resources: x"
        )));
        assert!(!worth_retrying(&failure(403, "exceeded quota: q1")));
    }

    #[test]
    fn names_and_selectors_are_percent_encoded() {
        assert_eq!(
            path(
                &["api", "v1", "namespaces", "a b"],
                &[("labelSelector", "app in (x,y)")]
            ),
            "/api/v1/namespaces/a%20b?labelSelector=app+in+%28x%2Cy%29"
        );
    }
}
