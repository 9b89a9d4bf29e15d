//! Claims that one pod of the application mounts, carried by one mover.
//!
//! They must be reachable from one node. For those that are bound the scheduler sees to it; volumes that are only made
//! when a pod needs them are put where that pod is, and two pods may be in two zones. So one pod mounts them all, with a
//! container for each: everything else, jobs, results, progress and failures, stays one claim's own.

use std::sync::PoisonError;
use std::time::Instant;

use futures::future::join_all;
use serde_json::Value;

use super::api::{Api, POD};
use super::movers::{ClusterMovers, Site, named, word};
use super::stand_by::Standing;
use super::work::{Work, limited};
use super::{DataError, names};
use crate::capture::VolumeMode;
use crate::event::{Direction, Event, VolumeProgress};
use crate::mover::{Done, Order, Task};
use crate::plan::VolumeMove;

/// Volumes that travel one way together.
pub(super) struct Party<'a> {
    pub(super) volumes: Vec<&'a VolumeMove>,
    pub(super) way: Direction,
    /// Of its mover's pod. It is that of all who ever travel in it, so that a resumed run finds what carried others.
    pub(super) name: String,
}

impl Party<'_> {
    fn claims(&self) -> impl Iterator<Item = String> {
        self.volumes
            .iter()
            .map(|volume| names::claim(named(volume, self.way).0))
    }

    /// For each of its volumes, that the user asked to stop.
    pub(super) fn stopped<T>(&self) -> Vec<Result<T, DataError>> {
        self.claims()
            .map(|claim| Err(DataError::Cancelled { claim }))
            .collect()
    }

    /// For each of its volumes, what befell them all.
    pub(super) fn failed<T>(&self, error: &DataError) -> Vec<Result<T, DataError>> {
        self.claims()
            .map(|claim| Err(error.about(&claim)))
            .collect()
    }

    /// A result that is not that of the claim's job.
    pub(super) fn other_job(&self, at: usize) -> DataError {
        DataError::Claim {
            claim: self.claims().nth(at).unwrap_or_default(),
            reason: "its mover did another job; run again".into(),
        }
    }
}

/// A claim's place in a mover.
pub(super) struct Seat {
    /// Its volume's place in the party.
    pub(super) at: usize,
    pub(super) api: Api,
    pub(super) site: Site,
    /// The claim to mount, in the mover's namespace.
    pub(super) mounts: String,
    pub(super) mode: VolumeMode,
    /// Node labels its mover must have, as a live volume's node.
    pub(super) node: Option<Value>,
    /// Partial pod spec of the workload (W-5).
    pub(super) placement: Value,
    pub(super) job: String,
    pub(super) task: Task,
}

impl Seat {
    /// Whether the storage carries the data, so that the claim is only read.
    pub(super) fn is_held(&self) -> bool {
        match &self.task {
            Task::Save { held, .. } => held.is_some(),
            Task::Load { saved, .. } => saved.held.is_some(),
            Task::StandBy { .. } => false,
        }
    }

    /// What is told of a mover that goes one way.
    pub(super) fn told(&self, way: Direction) -> Direction {
        match self.is_held() {
            true => Direction::Read,
            false => way,
        }
    }
}

/// A claim whose turn has come.
pub(super) enum Ready {
    /// An earlier attempt has done it.
    Done(Done),
    Seat(Box<Seat>),
}

/// Claims that one pod can work at.
pub(super) struct Round {
    /// It is there already.
    standing: Option<Standing>,
    pub(super) seats: Vec<Seat>,
}

impl ClusterMovers {
    pub(super) fn party<'a>(&self, volumes: &[&'a VolumeMove], way: Direction) -> Party<'a> {
        let first = volumes.first().map(|volume| names::claim(volume.party()));
        Party {
            volumes: volumes.to_vec(),
            way,
            name: names::object(&self.settings.run, word(way), &first.unwrap_or_default()),
        }
    }

    /// Where a party's movers may be: one place for each namespace.
    fn places(&self, party: &Party<'_>) -> Result<Vec<(Api, Site)>, DataError> {
        let mut places = Vec::<(Api, Site)>::new();
        for volume in &party.volumes {
            let (claim, _, user) = named(volume, party.way);
            let site = self.site(claim, user);
            if places
                .iter()
                .all(|(_, seen)| seen.namespace != site.namespace)
            {
                places.push((self.side(self.cluster(party.way), claim)?, site));
            }
        }
        Ok(places)
    }

    /// Makes Ferry's namespace if a mover is to work there, and removes one of the party's that an earlier process left.
    pub(super) async fn make_room(&self, party: &Party<'_>) -> Result<(), DataError> {
        for (api, site) in self.places(party)? {
            if site.user.is_none() {
                self.ensure_namespace(&api).await?;
            }
            self.remove(&api, &site.namespace, &party.name).await?;
        }
        Ok(())
    }

    /// Removes the mover of a party that is given up.
    pub(super) async fn give_up(&self, party: &Party<'_>) -> Result<(), DataError> {
        for (api, site) in self.places(party)? {
            self.remove(&api, &site.namespace, &party.name).await?;
        }
        Ok(())
    }

    /// Shares out seats among pods: one, unless they differ in whom it runs as or where it must be, or are more than
    /// may be on their way at one time. One pod works after the other, each as the party's only one.
    pub(super) fn rounds(&self, standing: Option<Standing>, seats: Vec<Seat>) -> Vec<Round> {
        let mut rounds = Vec::from_iter(standing.map(|standing| Round {
            standing: Some(standing),
            seats: Vec::new(),
        }));
        for seat in seats {
            let takes = |round: &&mut Round| match (&round.standing, round.seats.first()) {
                (Some(standing), _) => standing.awaits(&seat.api.claim),
                (None, Some(first)) => {
                    round.seats.len() < self.parallel
                        && first.site == seat.site
                        && first.node == seat.node
                }
                (None, None) => true,
            };
            match rounds.iter_mut().find(takes) {
                Some(round) => round.seats.push(seat),
                None => rounds.push(Round {
                    standing: None,
                    seats: vec![seat],
                }),
            }
        }
        rounds
    }

    /// Has one pod work at some claims, near certain nodes, and says of each what came of it.
    pub(super) async fn work(
        &self,
        party: &Party<'_>,
        round: Round,
        near: Vec<Value>,
    ) -> Vec<(usize, Result<Done, DataError>)> {
        let Round { standing, seats } = round;
        let work = Work {
            name: &party.name,
            direction: party.way,
            near,
            seats: &seats,
        };
        let standing = match standing {
            Some(standing) => Ok(standing),
            None => self.launch_anew(&work).await,
        };
        let standing = match standing {
            Ok(standing) => standing,
            Err(error) => return all_failed(error, &seats),
        };
        let started = Instant::now();
        let followed = seats.iter().map(|seat| async {
            let done = self.see_through(&work, seat, &standing).await;
            (seat.at, self.ended(seat, party.way, started, done))
        });
        let ended = join_all(followed).await;
        drop(standing.links);
        // Those that did well read and write no more, and their node gives the volumes back meanwhile; nobody waits for
        // that here. One that goes on would write to a claim nobody watches.
        let well = ended.iter().all(|(_, done)| done.is_ok());
        if let Some(Seat { api, site, .. }) = seats.first() {
            let removed = match well {
                true => api.delete(&POD, Some(&site.namespace), &party.name).await,
                false => self.remove(api, &site.namespace, &party.name).await,
            };
            if let Err(error) = removed {
                tracing::warn!(%error, pod = party.name, "a mover is left for later");
            }
        }
        ended
    }

    /// Starts a mover for work that is due, in place of any that was there.
    async fn launch_anew(&self, work: &Work<'_>) -> Result<Standing, DataError> {
        let (api, namespace) = work.place();
        self.remove(api, namespace, work.name).await?;
        let launched = self.launch(work).await;
        if launched.is_err() {
            self.remove(api, namespace, work.name).await?;
        }
        launched
    }

    /// Follows one claim's container to its end; one that stands by is given its order first.
    async fn see_through(
        &self,
        work: &Work<'_>,
        seat: &Seat,
        standing: &Standing,
    ) -> Result<(Done, VolumeProgress), DataError> {
        let claim = &seat.api.claim;
        let Some((container, order)) = standing.berths.get(claim) else {
            return Err(seat
                .api
                .unusable("its mover has no place for it; run again"));
        };
        if let Some(path) = order {
            let order = Order {
                id: seat.job.clone(),
                task: seat.task.clone(),
            };
            self.put_order(&seat.api, path, &order).await?;
        }
        self.follower(work, seat, *container).finished().await
    }

    /// Notes what a claim's container came to.
    fn ended(
        &self,
        seat: &Seat,
        way: Direction,
        started: Instant,
        done: Result<(Done, VolumeProgress), DataError>,
    ) -> Result<Done, DataError> {
        let (done, progress) = done.map_err(|error| limited(error, &seat.site))?;
        let took = started.elapsed();
        let name = names::object(&self.settings.run, word(way), &seat.api.claim);
        let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, took);
        drop(all);
        self.events.send(Event::VolumeFinished {
            claim: seat.api.claim.clone(),
            direction: seat.told(way),
            progress,
            seconds: took.as_secs_f64(),
        });
        Ok(done)
    }
}

/// What kept the pod from working, for each of its claims.
pub(super) fn all_failed(
    error: DataError,
    seats: &[Seat],
) -> Vec<(usize, Result<Done, DataError>)> {
    let others = seats
        .iter()
        .skip(1)
        .map(|seat| (seat, error.about(&seat.api.claim)));
    let others: Vec<_> = others.collect();
    let first = seats.first().map(|seat| (seat, error));
    let failed = first.into_iter().chain(others);
    failed
        .map(|(seat, error)| (seat.at, Err(limited(error, &seat.site))))
        .collect()
}
