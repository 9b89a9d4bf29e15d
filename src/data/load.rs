//! Volumes' way from the store into claims of B.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::access::{self, State};
use super::api::Api;
use super::movers::{ClusterMovers, Site, place, uid};
use super::party::{Party, Ready, Seat, all_failed};
use super::{DataError, names};
use crate::capture::{Proof, SavedVolume};
use crate::mover::{Done, Task};
use crate::object::Object;
use crate::plan::VolumeMove;

/// One load.
pub(super) struct Way<'a> {
    at: usize,
    pub(super) api: Api,
    pub(super) site: Site,
    /// Of what is made for it.
    name: String,
    pub(super) volume: &'a VolumeMove,
    saved: &'a SavedVolume,
    /// The claim on B, if it gets its volume when that is full.
    waits: Option<Object>,
}

impl ClusterMovers {
    /// Loads what travels together, and says of each claim what came of it.
    pub(super) async fn load_all(
        &self,
        party: &Party<'_>,
        saved: &[&SavedVolume],
    ) -> Vec<Result<Proof, DataError>> {
        let standing = self.standing(&party.name);
        let stands = |claim: &str| standing.as_ref().is_some_and(|mover| mover.awaits(claim));
        // A killed mover may still hold a claim that is made anew below, or would be one of its users.
        if standing.is_none()
            && let Err(error) = self.make_room(party).await
        {
            return party.failed(&error);
        }
        let ready = (0..).zip(party.volumes.iter().zip(saved));
        let ready =
            ready.map(|(at, (volume, saved))| self.ready_to_load(at, volume, saved, &stands));
        let (mut all, mut seats, mut ways) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (at, ready) in (0..).zip(join_all(ready).await) {
            match ready {
                Ok((way, Ready::Done(done))) => {
                    drop(all.insert(at, self.arrived(party, &way, done).await))
                }
                Ok((way, Ready::Seat(seat))) => {
                    ways.insert(at, way);
                    seats.push(*seat);
                }
                Err(error) => drop(all.insert(at, Err(error))),
            }
        }
        for round in self.rounds(standing, seats) {
            let worked = match self.near(party, &round).await {
                Ok(near) => self.work(party, round, near).await,
                Err(error) => all_failed(error, &round.seats),
            };
            for (at, done) in worked {
                let arrived = match (ways.get(&at), done) {
                    (Some(way), Ok(done)) => self.arrived(party, way, done).await,
                    (_, Err(error)) => Err(error),
                    (None, Ok(_)) => Err(party.other_job(at)),
                };
                all.insert(at, arrived);
            }
        }
        all.into_values().collect()
    }

    /// What a claim's load needs beside its mover.
    async fn ready_to_load<'a>(
        &self,
        at: usize,
        volume: &'a VolumeMove,
        saved: &'a SavedVolume,
        stands: &(impl Fn(&str) -> bool + Sync),
    ) -> Result<(Way<'a>, Ready), DataError> {
        let api = self.side(self.target.as_ref(), &volume.target)?;
        let (namespace, claim) = place(&volume.target);
        let mut way = Way {
            at,
            site: self.site(&volume.target, volume.writes_as.as_ref()),
            name: names::object(&self.settings.run, "load", &api.claim),
            api,
            volume,
            saved,
            waits: None,
        };
        let api = &way.api;
        if way.site.user.is_some() {
            let claim = access::present(api, namespace, claim).await?;
            access::unused(api, namespace, &claim).await?;
            let ready = self.seat_to_load(&way, &claim, claim.name()).await?;
            return Ok((way, ready));
        }
        let state = access::state(api, namespace, claim).await?;
        let access = self.access(api, &way.site, &way.name);
        let ready = match state {
            // Also one that an earlier attempt has given what the storage carried: it is read again.
            State::Bound { claim } => {
                access::unused(api, namespace, &claim).await?;
                if !stands(&api.claim) {
                    let bound = access::behind(api, &claim).await?;
                    access.twin(&claim, &bound).await?;
                }
                self.seat_to_load(&way, &claim, &way.name).await?
            }
            State::Waiting { claim } => {
                let ready = match access.staged(&saved.snapshot).await? {
                    // Proven and marked by an earlier attempt: it only has to be given away.
                    Some(_) => Ready::Done(Done::Loaded {
                        proof: saved.proof.clone(),
                        lost: Vec::new(),
                    }),
                    None => {
                        let origin = match &saved.held {
                            Some(held) => Some((self.take_over(&way, held).await?, held)),
                            None => None,
                        };
                        let origin = origin.as_ref().map(|(name, held)| (name.as_str(), *held));
                        let stage = access.stage(&claim, origin).await?;
                        self.seat_to_load(&way, &stage, &way.name).await?
                    }
                };
                way.waits = Some(claim);
                ready
            }
        };
        Ok((way, ready))
    }

    /// A place beside the second of two claims, which are one volume; the first names the job.
    async fn seat_to_load(
        &self,
        way: &Way<'_>,
        claim: &Object,
        mounts: &str,
    ) -> Result<Ready, DataError> {
        let job = self.job("load", &[&way.api.claim, uid(claim), &way.saved.snapshot]);
        if let Some(done) = self.earlier(&way.api, &job).await? {
            return Ok(Ready::Done(done));
        }
        Ok(Ready::Seat(Box::new(Seat {
            at: way.at,
            api: way.api.clone(),
            site: way.site.clone(),
            mounts: mounts.to_owned(),
            mode: way.volume.mode,
            node: None,
            placement: way.volume.placement.clone(),
            job,
            task: Task::Load {
                saved: way.saved.clone(),
                delete_extra: way.volume.synced,
                accept: self.settings.accept_losses.clone(),
                foreign_root: way.site.user.is_some(),
            },
        })))
    }

    /// What a load has to have found; a claim that waits gets its volume.
    async fn arrived(
        &self,
        party: &Party<'_>,
        way: &Way<'_>,
        done: Done,
    ) -> Result<Proof, DataError> {
        let Way { api, saved, .. } = way;
        match done {
            // Pipes and devices are in the digest; the mover has compared everything else.
            Done::Loaded { proof, lost } if proof == saved.proof || !lost.is_empty() => {
                self.tell_lost(&api.claim, &lost);
            }
            Done::Loaded { proof: found, .. } => {
                let (claim, wanted) = (api.claim.clone(), saved.proof.clone());
                return Err(DataError::Differs {
                    claim,
                    found,
                    wanted,
                });
            }
            Done::Saved(_) => return Err(party.other_job(way.at)),
        }
        if let Some(claim) = &way.waits {
            let access = self.access(api, &way.site, &way.name);
            access.give(claim, &saved.snapshot).await?;
        }
        Ok(saved.proof.clone())
    }
}
