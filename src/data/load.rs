//! A volume's way into a claim of B.

use super::access::{self, State};
use super::api::Api;
use super::movers::{ClusterMovers, Site, place, uid};
use super::work::Work;
use super::{DataError, names};
use crate::capture::{Proof, SavedVolume};
use crate::event::Direction;
use crate::mover::{Done, Order, Task};
use crate::object::Object;
use crate::plan::VolumeMove;

/// One load.
#[derive(Clone, Copy)]
struct Way<'a> {
    api: &'a Api,
    site: &'a Site,
    name: &'a str,
    volume: &'a VolumeMove,
    saved: &'a SavedVolume,
}

impl ClusterMovers {
    pub(super) async fn load_into(
        &self,
        api: &Api,
        volume: &VolumeMove,
        saved: &SavedVolume,
    ) -> Result<Proof, DataError> {
        let name = names::object(&self.settings.run, "load", &api.claim);
        let (namespace, claim) = place(&volume.target);
        let site = self.site(&volume.target, volume.writes_as.as_ref());
        let way = Way {
            api,
            site: &site,
            name: &name,
            volume,
            saved,
        };
        if site.user.is_some() {
            let claim = access::present(api, namespace, claim).await?;
            // A killed mover would be one of its users.
            self.remove(api, namespace, &name).await?;
            access::unused(api, namespace, &claim).await?;
            return self.load_through(&way, (&claim, &claim)).await;
        }
        let state = access::state(api, namespace, claim).await?;
        self.ensure_namespace(api).await?;
        let access = self.access(api, &site, &name);
        match state {
            State::Bound { claim } => {
                access::unused(api, namespace, &claim).await?;
                if let Some(standing) = self.standing(&name) {
                    let (id, task) = self.load_task(&way, &claim);
                    let order = Order { id, task };
                    let done = self
                        .order((api, &name), standing, Direction::Load, order)
                        .await?;
                    return self.loaded(&way, done);
                }
                // A killed mover may still hold the claim that is made anew here.
                self.remove(api, &site.namespace, &name).await?;
                let bound = access::behind(api, &claim).await?;
                let twin = access.twin(&claim, &bound).await?;
                self.load_through(&way, (&claim, &twin)).await
            }
            State::Waiting { claim } => {
                // Proven and marked by an earlier attempt: it only has to be given away.
                if access.staged(&saved.snapshot).await?.is_none() {
                    let stage = access.stage(&claim).await?;
                    self.load_through(&way, (&stage, &stage)).await?;
                }
                access.give(&claim, &saved.snapshot).await?;
                Ok(saved.proof.clone())
            }
        }
    }

    /// Loads into the second of two claims, which are one volume; the first names the job.
    async fn load_through(
        &self,
        way: &Way<'_>,
        (claim, mounts): (&Object, &Object),
    ) -> Result<Proof, DataError> {
        let Way {
            api,
            site,
            name,
            volume,
            saved: _,
        } = *way;
        let (job, task) = self.load_task(way, claim);
        let done = match self.earlier(api, &job).await? {
            Some(done) => done,
            None => {
                let work = Work {
                    api,
                    site,
                    name,
                    mounts,
                    mode: volume.mode,
                    direction: Direction::Load,
                    node: None,
                    placement: &volume.placement,
                    job,
                    task,
                };
                self.work(work).await?
            }
        };
        self.loaded(way, done)
    }

    /// What loading a claim is called, and what is to be done.
    fn load_task(&self, way: &Way<'_>, claim: &Object) -> (String, Task) {
        let (claimed, saved) = (&way.api.claim, way.saved);
        let job = self.job("load", &[claimed, uid(claim), &saved.snapshot]);
        let task = Task::Load {
            saved: saved.clone(),
            delete_extra: way.volume.synced,
            accept: self.settings.accept_losses.clone(),
            foreign_root: way.site.user.is_some(),
        };
        (job, task)
    }

    /// What a load has to have found.
    fn loaded(&self, way: &Way<'_>, done: Done) -> Result<Proof, DataError> {
        let Way { api, saved, .. } = *way;
        match done {
            // Pipes and devices are in the digest; the mover has compared everything else.
            Done::Loaded { proof, lost } if proof == saved.proof || !lost.is_empty() => {
                self.tell_lost(&api.claim, &lost);
                Ok(saved.proof.clone())
            }
            Done::Loaded { proof: found, .. } => {
                let (claim, wanted) = (api.claim.clone(), saved.proof.clone());
                Err(DataError::Differs {
                    claim,
                    found,
                    wanted,
                })
            }
            Done::Saved(_) => Err(api.unusable("its mover did another job; run again")),
        }
    }
}
