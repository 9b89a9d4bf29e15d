//! Volumes' way from claims of A into the store.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::Value;

use super::movers::{ClusterMovers, Site, place, source};
use super::party::{Party, Ready, Seat};
use super::{DataError, access, names};
use crate::capture::{Consistency, Held, SavedVolume};
use crate::mover::{Done, Task};
use crate::object::Object;
use crate::plan::VolumeMove;

/// What a mover reads.
struct Readable {
    /// The claim.
    mounts: String,
    /// The labels of the node the mover must be on.
    node: Option<Value>,
    /// The snapshot that the claim was made of, where it was handed over.
    held: Option<Held>,
}

impl Readable {
    fn under(name: impl Into<String>) -> Self {
        Self {
            mounts: name.into(),
            node: None,
            held: None,
        }
    }
}

impl ClusterMovers {
    /// Saves what travels together, and says of each claim what came of it.
    pub(super) async fn save_all(&self, party: &Party<'_>) -> Vec<Result<SavedVolume, DataError>> {
        let standing = self.standing(&party.name);
        let stands = |claim: &str| standing.as_ref().is_some_and(|mover| mover.awaits(claim));
        // A killed mover may still hold what is made anew below.
        if standing.is_none()
            && let Err(error) = self.make_room(party).await
        {
            return party.failed(&error);
        }
        let ready = (0..).zip(&party.volumes);
        let ready = ready.map(|(at, volume)| self.ready_to_save(at, volume, &stands));
        let (mut all, mut seats) = (BTreeMap::new(), Vec::new());
        for (at, ready) in (0..).zip(join_all(ready).await) {
            match ready {
                Ok(Ready::Seat(seat)) => seats.push(*seat),
                Ok(Ready::Done(done)) => drop(all.insert(at, Self::saved(party, at, done))),
                Err(error) => drop(all.insert(at, Err(error))),
            }
        }
        for round in self.rounds(standing, seats) {
            for (at, done) in self.work(party, round, Vec::new()).await {
                all.insert(at, done.and_then(|done| Self::saved(party, at, done)));
            }
        }
        all.into_values().collect()
    }

    /// What a save has to have come to.
    fn saved(party: &Party<'_>, at: usize, done: Done) -> Result<SavedVolume, DataError> {
        match done {
            Done::Saved(saved) => Ok(saved),
            Done::Loaded { .. } => Err(party.other_job(at)),
        }
    }

    /// What a claim's save needs beside its mover.
    async fn ready_to_save(
        &self,
        at: usize,
        volume: &VolumeMove,
        stands: &(impl Fn(&str) -> bool + Sync),
    ) -> Result<Ready, DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let claim = source(&api, volume).await?;
        let job = self.saving(volume, &claim);
        if let Some(done) = self.earlier(&api, &job).await? {
            return Ok(Ready::Done(done));
        }
        let site = self.site(&volume.source, volume.reads_as.as_ref());
        let name = names::object(&self.settings.run, "save", &api.claim);
        let Readable { mounts, node, held } = match stands(&api.claim) {
            true => Readable::under(name),
            false => {
                let access = self.access(&api, &site, &name);
                self.readable(&access, &site, volume, &claim).await?
            }
        };
        let task = Task::Save {
            host: api.cluster.name().into(),
            tags: vec![
                format!("capture={}", self.settings.capture),
                // A save forgets what earlier attempts of its own run left, and only that.
                format!("run={}", self.settings.run),
                format!("pvc={}", api.claim),
            ],
            consistency: volume.consistency,
            accept_torn: self.settings.accept_torn,
            frozen: held
                .as_ref()
                .map(|held| format!("{} {}", held.driver, held.handle)),
            held: held.filter(|_| volume.shares),
        };
        Ok(Ready::Seat(Box::new(Seat {
            at,
            mode: volume.mode,
            placement: Value::Null,
            api,
            site,
            mounts,
            node,
            job,
            task,
        })))
    }

    /// What a mover reads, in its own namespace.
    async fn readable(
        &self,
        access: &access::Access<'_>,
        site: &Site,
        volume: &VolumeMove,
        claim: &Object,
    ) -> Result<Readable, DataError> {
        let api = access.api;
        match volume.consistency {
            Consistency::Snapshot | Consistency::Together => {
                let bound = access::behind(api, claim).await?;
                let class = self.class(api, claim, &bound).await?;
                let freezer = self.freezer(api, volume);
                let (snapshot, size, held) = match site.user {
                    // It lies where the mover works: nothing has to be handed over.
                    Some(_) => {
                        let (snapshot, size) = freezer.take(&class).await?;
                        (snapshot, size, None)
                    }
                    None => {
                        let frozen = freezer.freeze(&class).await?;
                        let snapshot = freezer.hand_over(&frozen, &site.namespace).await?;
                        (snapshot, frozen.held.size, Some(frozen.held))
                    }
                };
                let restored = access.restored(claim, &bound, size, &snapshot).await?;
                Ok(Readable {
                    held,
                    ..Readable::under(restored.name())
                })
            }
            Consistency::Clone => {
                let clone = self.cloned(api, volume, claim).await?;
                let mounts = match site.user {
                    Some(_) => clone,
                    None => {
                        let bound = access::behind(api, &clone).await?;
                        access.twin(&clone, &bound).await?
                    }
                };
                Ok(Readable::under(mounts.name()))
            }
            Consistency::Live | Consistency::Quiet => {
                let node = access::node_of(api, place(&volume.source).0, claim).await?;
                let mounts = match site.user {
                    Some(_) => claim.clone(),
                    None => {
                        let bound = access::behind(api, claim).await?;
                        access.twin(claim, &bound).await?
                    }
                };
                Ok(Readable {
                    node,
                    ..Readable::under(mounts.name())
                })
            }
        }
    }
}
