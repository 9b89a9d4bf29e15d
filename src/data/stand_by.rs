//! Movers that are there before they have anything to do.
//!
//! In a cutover the application stands still from the first hold until it runs on B, and making a claim, finding a node,
//! mounting and starting a pod takes longer than a small change takes to travel. So while A still works, a mover is
//! started beside the claims, opens the store, and waits for an order for each, which it finds there: sealed, at a path
//! that no other mover was ever told. Until then it reads and writes nothing.
//!
//! On A it stands beside the claim itself, on the node of the pod that uses it: what is at rest needs no snapshot.
//! That a mover cannot stand by is no failure: then it is started when its work is due.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::Value;

use super::access::{self, State};
use super::api::Api;
use super::links::Links;
use super::movers::{ClusterMovers, named, place};
use super::party::{Party, Seat};
use super::work::Work;
use super::{DataError, names};
use crate::capture::Consistency;
use crate::event::Direction;
use crate::mover::{Order, Task};
use crate::plan::VolumeMove;

/// How long a mover may take to stand by: a node that has no room for one more pod is not waited for.
const START: Duration = Duration::from_secs(90);

/// A mover that is there.
pub(super) struct Standing {
    namespace: String,
    /// Each claim's container, and where that finds its order if it waits for one.
    pub(super) berths: BTreeMap<String, (usize, Option<String>)>,
    /// Dropped when its work is done.
    pub(super) links: Vec<Links>,
}

impl Standing {
    pub(super) fn of(work: &Work<'_>, links: Vec<Links>) -> Self {
        let berth = |(number, seat): (usize, &Seat)| {
            let order = match &seat.task {
                Task::StandBy { order } => Some(order.clone()),
                _ => None,
            };
            (seat.api.claim.clone(), (number, order))
        };
        Self {
            namespace: work.place().1.to_owned(),
            berths: work.seats.iter().enumerate().map(berth).collect(),
            links,
        }
    }

    /// Whether it has a place for a claim.
    pub(super) fn awaits(&self, claim: &str) -> bool {
        self.berths.contains_key(claim)
    }
}

impl ClusterMovers {
    /// Starts the mover that will save or load a party, if it is of use.
    pub(super) async fn ready(
        &self,
        volumes: &[&VolumeMove],
        way: Direction,
    ) -> Result<(), DataError> {
        let useful = |volume: &&&VolumeMove| {
            let takes_snapshot = way != Direction::Load && volume.consistency != Consistency::Quiet;
            // Beside the application it would be one more user of the claim.
            !takes_snapshot && named(volume, way).2.is_none()
        };
        let volumes: Vec<&VolumeMove> = volumes.iter().filter(useful).copied().collect();
        let Some(first) = volumes.first() else {
            return Ok(());
        };
        let claim = names::claim(named(first, way).0);
        let party = self.party(&volumes, way);
        let work = tokio::time::timeout(START, self.start_early(&party));
        let Some(started) = self.unless_cancelled(&party, work).await else {
            return Err(DataError::Cancelled { claim });
        };
        let started = started.unwrap_or_else(|_| {
            let reason = format!("no mover started in {} s", START.as_secs());
            Err(DataError::Claim { claim, reason })
        });
        if started.is_err() {
            self.give_up(&party).await?;
        }
        started
    }

    async fn start_early(&self, party: &Party<'_>) -> Result<(), DataError> {
        self.make_room(party).await?;
        let seats = (0..).zip(&party.volumes);
        let seats = seats.map(|(at, volume)| self.seat_early(at, volume, party.way));
        let mut seats: Vec<Seat> = try_join_all(seats).await?.into_iter().flatten().collect();
        let node = seats.first().and_then(|seat| seat.node.clone());
        seats.retain(|seat| seat.node == node);
        if seats.is_empty() {
            return Ok(());
        }
        let work = Work {
            name: &party.name,
            direction: party.way,
            near: Vec::new(),
            seats: &seats,
        };
        let standing = self.launch(&work).await?;
        let mut all = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(party.name.clone(), standing);
        Ok(())
    }

    /// A place beside a claim, if it has a volume: nobody has synced otherwise, so there is more to wait for than a pod.
    async fn seat_early(
        &self,
        at: usize,
        volume: &VolumeMove,
        way: Direction,
    ) -> Result<Option<Seat>, DataError> {
        let (id, word, user) = named(volume, way);
        let (api, site) = (self.side(self.cluster(way), id)?, self.site(id, user));
        let name = names::object(&self.settings.run, word, &api.claim);
        let (namespace, claim) = place(id);
        let State::Bound { claim } = access::state(&api, namespace, claim).await? else {
            return Ok(None);
        };
        let (node, placement) = match way {
            Direction::Load => {
                access::unused(&api, namespace, &claim).await?;
                (None, volume.placement.clone())
            }
            _ => (access::node_of(&api, namespace, &claim).await?, Value::Null),
        };
        let bound = access::behind(&api, &claim).await?;
        let mounts = self.access(&api, &site, &name).twin(&claim, &bound).await?;
        let job = names::secret(&name);
        let order = crate::mover::order_path(&job);
        Ok(Some(Seat {
            at,
            mounts: mounts.name().to_owned(),
            mode: volume.mode,
            task: Task::StandBy { order },
            api,
            site,
            node,
            placement,
            job,
        }))
    }

    /// The mover that stands by for a party.
    pub(super) fn standing(&self, name: &str) -> Option<Standing> {
        let mut all = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(name)
    }

    pub(super) async fn put_order(
        &self,
        api: &Api,
        path: &str,
        order: &Order,
    ) -> Result<(), DataError> {
        let refuse = |source: Box<dyn std::error::Error + Send + Sync>| DataError::Store {
            claim: api.claim.clone(),
            source,
        };
        let text = serde_json::to_vec(order).map_err(|error| refuse(Box::new(error)))?;
        let (repository, path) = (self.store.repository.clone(), path.to_owned());
        let put = tokio::task::spawn_blocking(move || repository.put_sealed(&path, &text)).await;
        put.map_err(|error| refuse(Box::new(error)))?
            .map_err(|error| refuse(Box::new(error)))
    }

    /// Removes the movers that still stand by: nobody will give them an order.
    pub(super) async fn dismiss(&self) -> Result<(), DataError> {
        let left =
            std::mem::take(&mut *self.standing.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, standing) in &left {
            for cluster in [&self.source, &self.target].into_iter().flatten() {
                let api = Api::new(cluster, format!("(mover {name})"));
                self.remove(&api, &standing.namespace, name).await?;
            }
        }
        Ok(())
    }
}
