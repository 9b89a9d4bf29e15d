//! One mover's pod, from its Secret until it is gone.

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::DataError;
use super::api::{Api, POD, SECRET};
use super::follow::Follower;
use super::links::Links;
use super::movers::{ClusterMovers, Site};
use super::names;
use super::party::Seat;
use super::pod::{MoverPod, container};
use super::relay::Token;
use super::stand_by::Standing;
use super::wait::Wait;
use crate::cluster::Cluster;
use crate::event::Direction;
use crate::mover::{Job, StoreAccess, VOLUME};
use crate::store::MoverAccess;

/// Where a relayed mover listens, on its pod's loopback; the next container's one after.
const PORT: u16 = 7447;
/// How long a new namespace may take to get its service account.
const ACCOUNT: Duration = Duration::from_secs(20);
/// How long a pod may take to go: its grace, and volumes to unmount.
const GONE: Duration = Duration::from_secs(180);

/// One mover to be run, with a container for each claim.
pub(super) struct Work<'a> {
    pub(super) name: &'a str,
    pub(super) direction: Direction,
    /// Where other claims of its party are: lists of terms of a node selector, of each of which one has to hold.
    pub(super) near: Vec<Value>,
    /// At least one, all of one site and node.
    pub(super) seats: &'a [Seat],
}

impl Work<'_> {
    /// Its cluster, in the name of its first claim, and its namespace.
    pub(super) fn place(&self) -> (&Api, &str) {
        let Seat { api, site, .. } = &self.seats[0];
        (api, &site.namespace)
    }
}

impl ClusterMovers {
    /// Starts a mover, and opens the links it needs.
    pub(super) async fn launch(&self, work: &Work<'_>) -> Result<Standing, DataError> {
        let image = self.settings.image.as_deref().ok_or(DataError::NoImage)?;
        let (api, namespace) = work.place();
        let first = &work.seats[0];
        let tokens: Vec<Token> = work.seats.iter().map(|_| Token::random()).collect();
        let jobs: Vec<Job> = (PORT..)
            .zip(work.seats.iter().zip(&tokens))
            .map(|(port, (seat, token))| Job {
                id: seat.job.clone(),
                task: seat.task.clone(),
                mode: seat.mode,
                path: VOLUME.into(),
                store: self.way(&api.cluster, port, token),
                key: self.store.repository.master_key().to_json(),
            })
            .collect();
        let relayed = matches!(jobs[0].store, StoreAccess::Relay { .. });
        let none = MoverAccess::default();
        let claims: Vec<&str> = work
            .seats
            .iter()
            .map(|seat| seat.api.claim.as_str())
            .collect();
        let mut placements = work.seats.iter().map(|seat| &seat.placement);
        let secret = names::secret(work.name);
        let pod = MoverPod {
            run: &self.settings.run,
            namespace,
            name: work.name,
            secret: &secret,
            image,
            claims: &claims.join(", "),
            mounts: work
                .seats
                .iter()
                .map(|seat| (seat.mounts.as_str(), seat.mode))
                .collect(),
            writes: work.direction == Direction::Load,
            node: first.node.clone(),
            near: &work.near,
            placement: placements
                .find(|one| !one.is_null())
                .unwrap_or(&Value::Null),
            access: if relayed { &none } else { &self.store.access },
            user: first.site.user.as_ref(),
        };
        self.create(api, &pod, &jobs).await?;
        let started = work.seats.iter().enumerate();
        let started = started
            .map(|(number, seat)| async move { self.follower(work, seat, number).started().await });
        try_join_all(started).await?;
        let links = (PORT..)
            .zip(&tokens)
            .filter(|_| relayed)
            .map(|(port, token)| {
                let place = (namespace, work.name, port);
                Links::open(&api.cluster, place, token, &self.store.objects)
            });
        Ok(Standing::of(work, links.collect()))
    }

    /// How a mover on a cluster gets to the store; through the CLI where it has no way of its own.
    fn way(&self, cluster: &Cluster, port: u16, token: &Token) -> StoreAccess {
        let access = &self.store.access;
        let depot = access.depot.as_ref().and_then(|depot| depot.from(cluster));
        match depot {
            _ if self.settings.relay => {}
            Some((address, pass)) => {
                return StoreAccess::Depot {
                    address: address.to_owned(),
                    pass: pass.clone(),
                };
            }
            None if access.by_network => {
                return StoreAccess::Direct {
                    url: self.store.url.clone(),
                };
            }
            None => {}
        }
        StoreAccess::Relay {
            port,
            token: token.clone(),
        }
    }

    /// Watches the container of one claim.
    pub(super) fn follower<'a>(
        &'a self,
        work: &Work<'a>,
        seat: &'a Seat,
        number: usize,
    ) -> Follower<'a> {
        Follower {
            api: &seat.api,
            namespace: &seat.site.namespace,
            pod: work.name,
            container: container(number),
            mounts: &seat.mounts,
            doubtful: seat.is_held() && work.direction == Direction::Load,
            direction: seat.told(work.direction),
            events: &self.events,
        }
    }

    async fn create(&self, api: &Api, pod: &MoverPod<'_>, jobs: &[Job]) -> Result<(), DataError> {
        let texts = jobs
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<Vec<_>, _>>();
        let texts = texts.map_err(|source| DataError::Cluster {
            action: "describe the mover's job".into(),
            claim: api.claim.clone(),
            source: Box::new(source),
        })?;
        let (namespace, name) = (pod.namespace, pod.name);
        api.ensure(&SECRET, pod.secret(&texts)).await?;
        let mut wait = Wait::begin();
        let created = loop {
            match api.ensure(&POD, pod.body()).await {
                // A new namespace has no service account for a moment, and pods are refused so long.
                Err(DataError::Cluster { source, .. })
                    if source.to_string().contains("serviceaccount")
                        && wait.elapsed() < ACCOUNT =>
                {
                    wait.pause().await;
                }
                created => break created?,
            }
        };
        // The Secret, which holds the key, goes when its pod goes, whoever deletes that.
        let owner = json!({"metadata": {"ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": name, "uid": created.uid(),
        }]}});
        api.merge(&SECRET, Some(namespace), pod.secret, owner)
            .await
            .map(drop)
    }

    /// Removes a mover, also one an earlier process left, and waits: two must never write one claim.
    /// Its Secret follows, because the pod owns it.
    pub(super) async fn remove(
        &self,
        api: &Api,
        namespace: &str,
        name: &str,
    ) -> Result<(), DataError> {
        api.delete(&POD, Some(namespace), name).await?;
        let mut wait = Wait::begin();
        while api.get(&POD, Some(namespace), name).await?.is_some() {
            if wait.elapsed() > GONE {
                return Err(api.unusable(format!(
                    "an earlier mover, Pod {namespace}/{name}, does not go"
                )));
            }
            wait.pause().await;
        }
        Ok(())
    }
}

/// What a mover without privileges failed with, and that it had none.
pub(super) fn limited(error: DataError, site: &Site) -> DataError {
    match (error, &site.user) {
        (
            DataError::Mover {
                claim,
                reason,
                exit,
            },
            Some(user),
        ) => DataError::Mover {
            claim,
            reason: format!(
                "{reason} (it has no privileges and runs as {user}; --mover-user names another user, and without \
                 --unprivileged it has them)"
            ),
            exit,
        },
        (error, _) => error,
    }
}
