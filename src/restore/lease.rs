//! One run at a time in a target namespace: a Lease there, renewed while the run goes on.
//!
//! The journal keeps two processes off one run; this keeps two runs, also of different stores and users,
//! off one namespace. It is the Lease that Kubernetes' own components elect leaders with, and read as they
//! read it: a holder counts as gone when its renewal stands still for the whole duration by *our* clock,
//! so that clocks need not agree. Who may not write Leases gets a warning and no protection.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::StepError;
use crate::cluster::{Cluster, ClusterError, Delete, MANAGER, Patch, Place};
use crate::event::Events;
use crate::object::Object;
use crate::surface::ApiResource;

/// The name of the Lease.
const NAME: &str = "ferry";
/// How long a holder that shows no life keeps it.
const DURATION: Duration = Duration::from_secs(30);
/// How often it is renewed: two renewals may be lost.
const RENEW: Duration = Duration::from_secs(10);
/// How often another's Lease is looked at while its holder may be dead.
const LOOK: Duration = Duration::from_secs(1);

/// The Leases of one run.
pub(super) struct Leases<'a> {
    target: &'a Cluster,
    run: &'a str,
    events: &'a Events,
    resource: Option<&'a ApiResource>,
    held: Mutex<BTreeSet<String>>,
    /// Renewals of other runs, and since when they stand still.
    seen: Mutex<BTreeMap<String, (Value, Instant)>>,
}

/// What one attempt came to.
enum Attempt {
    Held,
    /// There is no such namespace yet.
    NoNamespace,
    /// Somebody wrote in between.
    Again,
    /// Another run's, renewed at that time.
    Theirs {
        holder: String,
        renewed: Value,
    },
}

impl<'a> Leases<'a> {
    pub(super) fn new(
        target: &'a Cluster,
        run: &'a str,
        events: &'a Events,
        served: &'a [ApiResource],
    ) -> Self {
        let resource = served.iter().find(|found| {
            found.group == "coordination.k8s.io" && found.kind == "Lease" && found.preferred
        });
        Self {
            target,
            run,
            events,
            resource,
            held: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Looks whose the namespaces are before they are taken one after the other, so that holders that are
    /// gone are waited for all at once. Who cannot be asked is met by [`take`](Self::take).
    pub(super) async fn look(&self, namespaces: &BTreeSet<&str>) {
        let Some(resource) = self.resource else {
            return;
        };
        for namespace in namespaces {
            if let Ok(Some(live)) = self.target.get(place(resource, namespace)).await
                && let Some((holder, renewed)) = theirs(&live, self.run)
            {
                self.events.notice(waits(namespace, &holder));
                if let Ok(mut seen) = self.seen.lock() {
                    seen.insert((*namespace).to_owned(), (renewed, Instant::now()));
                }
            }
        }
    }

    /// Takes a namespace for this run. One that does not exist yet is nobody's: whoever makes it has it.
    ///
    /// # Errors
    /// When another run works on it, or the cluster does not answer.
    pub(super) async fn take(&self, namespace: &str) -> Result<(), StepError> {
        let Some(resource) = self.resource else {
            return Ok(());
        };
        let mut seen = self
            .seen
            .lock()
            .ok()
            .and_then(|mut all| all.remove(namespace));
        loop {
            let dead = seen
                .as_ref()
                .filter(|(_, since)| since.elapsed() >= DURATION)
                .map(|(renewed, _)| renewed);
            match self.attempt(resource, namespace, dead).await {
                Ok(Attempt::Held) => {
                    self.note(namespace, true);
                    return Ok(());
                }
                Ok(Attempt::NoNamespace) => return Ok(()),
                Ok(Attempt::Again) => {}
                Ok(Attempt::Theirs { holder, renewed }) => match &seen {
                    Some((before, _)) if *before != renewed => {
                        let namespace = namespace.into();
                        return Err(StepError::Busy { namespace, holder });
                    }
                    Some(_) => {}
                    None => {
                        self.events.notice(waits(namespace, &holder));
                        seen = Some((renewed, Instant::now()));
                    }
                },
                Err(error) if error.is_forbidden() => {
                    self.events.warning(format!(
                        "nothing keeps other runs off namespace {namespace}: {error}"
                    ));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One look and, where it is free, one write; `dead` is the renewal of a holder that is gone.
    async fn attempt(
        &self,
        resource: &ApiResource,
        namespace: &str,
        dead: Option<&Value>,
    ) -> Result<Attempt, ClusterError> {
        let place = place(resource, namespace);
        let Some(live) = self.target.get(place).await? else {
            return self.create(resource, namespace).await;
        };
        if let Some((holder, renewed)) = theirs(&live, self.run)
            && dead != Some(&renewed)
        {
            return Ok(Attempt::Theirs { holder, renewed });
        }
        let patch =
            json!({"metadata": {"resourceVersion": live.resource_version()}, "spec": self.spec()});
        match self
            .target
            .patch(place, None, &Patch::Merge(patch), MANAGER)
            .await
        {
            Ok(_) => Ok(Attempt::Held),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Attempt::Again),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        resource: &ApiResource,
        namespace: &str,
    ) -> Result<Attempt, ClusterError> {
        let lease = Object::new(json!({
            "apiVersion": resource.api_version(), "kind": "Lease",
            "metadata": {"name": NAME, "namespace": namespace}, "spec": self.spec(),
        }));
        let Ok(lease) = lease else {
            return Ok(Attempt::NoNamespace);
        };
        match self.target.create(resource, &lease, MANAGER).await {
            Ok(_) => Ok(Attempt::Held),
            Err(error) if error.is_not_found() => Ok(Attempt::NoNamespace),
            Err(error) if error.is_already_exists() => Ok(Attempt::Again),
            Err(error) => Err(error),
        }
    }

    fn spec(&self) -> Value {
        // MicroTime: exactly six digits.
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
        json!({"holderIdentity": self.run, "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": now.to_string()})
    }

    /// Renews what is held, for ever; ends when a namespace was taken from this run.
    pub(super) async fn keep(&self) -> Result<Infallible, StepError> {
        loop {
            tokio::time::sleep(RENEW).await;
            for namespace in self.held() {
                // A server that is away for a moment is no loss: the next renewal is soon.
                if let Err(error @ StepError::Busy { .. }) = self.take(&namespace).await {
                    return Err(error);
                }
            }
        }
    }

    /// Gives everything back. What cannot be given back expires.
    pub(super) async fn release(&self) {
        for namespace in self.held() {
            self.free(&namespace).await;
            self.note(&namespace, false);
        }
    }

    /// Gives a namespace back that a process of this run took, be it another that was killed.
    pub(super) async fn free(&self, namespace: &str) {
        let Some(resource) = self.resource else {
            return;
        };
        let place = place(resource, namespace);
        if let Ok(Some(live)) = self.target.get(place).await
            && live.text("/spec/holderIdentity") == Some(self.run)
        {
            let delete = Delete {
                uid: live.uid().map(Into::into),
                resource_version: live.resource_version().map(Into::into),
                ..Delete::default()
            };
            if let Err(error) = self.target.delete(place, &delete).await {
                tracing::debug!(%error, namespace, "the lease is left to expire");
            }
        }
    }

    fn held(&self) -> Vec<String> {
        let held = self.held.lock();
        held.map(|held| held.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn note(&self, namespace: &str, held: bool) {
        if let Ok(mut all) = self.held.lock() {
            if held {
                all.insert(namespace.into());
            } else {
                all.remove(namespace);
            }
        }
    }
}

fn place<'a>(resource: &'a ApiResource, namespace: &'a str) -> Place<'a> {
    Place {
        resource,
        namespace: Some(namespace),
        name: NAME,
    }
}

/// Another run that holds a Lease, and when it renewed it. One's own, from an earlier process of the same run,
/// is taken over at once: the journal keeps two processes off one run.
fn theirs(lease: &Object, run: &str) -> Option<(String, Value)> {
    let holder = lease.text("/spec/holderIdentity").unwrap_or_default();
    let renewed = lease.pointer("/spec/renewTime").cloned();
    (!holder.is_empty() && holder != run).then(|| (holder.to_owned(), renewed.unwrap_or_default()))
}

/// What is said while another run's Lease stands.
fn waits(namespace: &str, holder: &str) -> String {
    format!(
        "waiting for the lease of run {holder} on namespace {namespace}, which frees in about {} s unless \
         that run is alive",
        DURATION.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_for_others_and_not_for_its_own_killed_process() {
        let lease = |holder: &str| {
            Object::new(
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": NAME, "namespace": "shop"},
                "spec": {"holderIdentity": holder, "renewTime": "t"}}),
            )
            .unwrap()
        };
        assert_eq!(theirs(&lease("mine"), "mine"), None);
        assert_eq!(theirs(&lease(""), "mine"), None);
        let other = theirs(&lease("other"), "mine").unwrap();
        assert_eq!(other, ("other".to_owned(), json!("t")));
        let said = waits("shop", &other.0);
        assert!(
            said.contains("lease of run other on namespace shop"),
            "{said}"
        );
        assert!(said.contains("about 30 s"), "{said}");
    }
}
