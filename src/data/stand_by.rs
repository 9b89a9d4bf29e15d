//! Movers that are there before they have anything to do.
//!
//! In a cutover the application stands still from the first hold until it runs on B, and making a claim, finding a node,
//! mounting and starting a pod takes longer than a small change takes to travel. So while A still works, a mover is
//! started beside each claim, opens the store, and waits for its order, which it finds there: sealed, at a path that
//! no other mover was ever told. Until then it reads and writes nothing.
//!
//! On A it stands beside the claim itself, on the node of the pod that uses it: what is at rest needs no snapshot.
//! That a mover cannot stand by is no failure: then it is started when its work is due.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::access::{self, State};
use super::api::Api;
use super::links::Links;
use super::movers::{ClusterMovers, Site, named, place};
use super::work::Work;
use super::{DataError, names};
use crate::capture::Consistency;
use crate::event::Direction;
use crate::mover::{Done, Order, Task};
use crate::plan::VolumeMove;

/// How long a mover may take to stand by: a node that has no room for one more pod is not waited for.
const START: Duration = Duration::from_secs(90);

/// A mover that waits for its order.
pub(super) struct Standing {
    site: Site,
    order: String,
    mounts: String,
    /// Dropped when its work is done.
    links: Option<Links>,
}

impl ClusterMovers {
    /// Starts the mover that will save or load a volume, if it is of use.
    pub(super) async fn ready(&self, volume: &VolumeMove, way: Direction) -> Result<(), DataError> {
        let (claim, word, user) = named(volume, way);
        let takes_snapshot = way != Direction::Load && volume.consistency != Consistency::Quiet;
        if takes_snapshot || user.is_some() {
            // Beside the application it would be one more user of the claim.
            return Ok(());
        }
        let site = self.site(claim, user);
        let api = self.side(self.cluster(way), claim)?;
        let name = names::object(&self.settings.run, word, &api.claim);
        let work = async {
            let started = self.start_early(&api, (&site, &name), volume, way);
            match tokio::time::timeout(START, started).await {
                Ok(started) => started,
                Err(_) => Err(api.unusable(format!("no mover started in {} s", START.as_secs()))),
            }
        };
        let done = self
            .unless_cancelled(&api, (word, site.clone()), work)
            .await;
        if done.is_err() {
            self.remove(&api, &site.namespace, &name).await?;
        }
        done
    }

    async fn start_early(
        &self,
        api: &Api,
        (site, name): (&Site, &str),
        volume: &VolumeMove,
        way: Direction,
    ) -> Result<(), DataError> {
        let loads = way == Direction::Load;
        let (namespace, claim) = place(named(volume, way).0);
        let claim = match access::state(api, namespace, claim).await? {
            State::Bound { claim } => claim,
            // Nobody has synced, so there is more to wait for than a pod.
            State::Waiting { .. } => return Ok(()),
        };
        let node = match loads {
            true => {
                access::unused(api, namespace, &claim).await?;
                None
            }
            false => access::node_of(api, namespace, &claim).await?,
        };
        self.ensure_namespace(api).await?;
        self.remove(api, &site.namespace, name).await?;
        let access = self.access(api, site, name);
        let bound = access::behind(api, &claim).await?;
        let mounts = access.twin(&claim, &bound).await?;
        let job = names::secret(name);
        let order = crate::mover::order_path(&job);
        let links = self
            .launch(&Work {
                api,
                site,
                name,
                mounts: &mounts,
                mode: volume.mode,
                direction: way,
                node,
                placement: if loads {
                    &volume.placement
                } else {
                    &Value::Null
                },
                job,
                task: Task::StandBy {
                    order: order.clone(),
                },
            })
            .await?;
        let standing = Standing {
            site: site.clone(),
            order,
            mounts: mounts.name().to_owned(),
            links,
        };
        self.standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), standing);
        Ok(())
    }

    /// The mover that stands by for some work.
    pub(super) fn standing(&self, name: &str) -> Option<Standing> {
        let mut all = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(name)
    }

    /// Gives a mover that stands by its order and follows it to its end.
    pub(super) async fn order(
        &self,
        (api, name): (&Api, &str),
        standing: Standing,
        direction: Direction,
        order: Order,
    ) -> Result<Done, DataError> {
        let started = Instant::now();
        let place = (api, &standing.site, name);
        let follower = self.follower(place, &standing.mounts, direction);
        let done = async {
            self.put_order(api, &standing.order, &order).await?;
            follower.finished().await
        };
        let done = done.await;
        drop(standing.links);
        self.ended(place, direction, started, done).await
    }

    async fn put_order(&self, api: &Api, path: &str, order: &Order) -> Result<(), DataError> {
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
                self.remove(&api, &standing.site.namespace, name).await?;
            }
        }
        Ok(())
    }
}
