//! Volumes that the storage carries by itself, because both clusters are on it.
//!
//! ```text
//! A: claim ── snapshot ─────────── handle ───────────▶ B: content ◀─▶ VolumeSnapshot ─▶ staged claim ─▶ claim
//!      └────────▶ temporary claim ◀── mover: fingerprint  =  fingerprint :mover ──▶ ┘
//! ```
//!
//! B's content says Retain: A's snapshot stays A's, and goes when B's volume has been proven. The fingerprints (see
//! `repository::fingerprint_directory`) are all that is read; no byte goes to the store.
//!
//! That the storage is one is what the user says, and nothing tells before it is tried: a driver that does not know the handle
//! refuses it, one with another volume under that name shows another fingerprint. Either way the bytes go through
//! the store after all, from the same snapshot.

use std::collections::BTreeMap;

use super::api::Api;
use super::load::Way;
use super::movers::{ClusterMovers, place, uid};
use super::snapshot::{Freezer, Frozen, class_on};
use super::{DataError, Loaded, Movers, names};
use crate::capture::{Held, Proof, SavedVolume};
use crate::causes::in_one_line;
use crate::event::Direction;
use crate::object::Object;
use crate::plan::VolumeMove;

impl ClusterMovers {
    /// Names the job that reads a claim on A.
    pub(super) fn saving(&self, volume: &VolumeMove, claim: &Object) -> String {
        let word = if volume.shares { "hold" } else { "save" };
        self.job(word, &[&names::claim(&volume.source), uid(claim)])
    }

    /// What makes a snapshot of A known on B.
    fn taker<'a>(&'a self, api: &'a Api, volume: &'a VolumeMove) -> Freezer<'a> {
        Freezer {
            api,
            run: &self.settings.run,
            claim: place(&volume.target),
            together: None,
            movers: self,
        }
    }

    /// Makes what the storage holds known on B and returns the VolumeSnapshot's name there.
    pub(super) async fn take_over(&self, way: &Way<'_>, held: &Held) -> Result<String, DataError> {
        let class = class_on(&way.api, &held.driver, None).await?;
        let frozen = Frozen {
            held: held.clone(),
            class: class.map(|class| class.name().to_owned()),
        };
        let taker = self.taker(&way.api, way.volume);
        taker.hand_over(&frozen, &way.site.namespace).await
    }

    /// Removes what made A's snapshot known on B; no claim is made of it any more.
    pub(super) async fn hand_back(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let api = self.side(self.target.as_ref(), &volume.target)?;
        let site = self.site(&volume.target, None);
        self.taker(&api, volume).take_back(&site.namespace).await
    }

    /// Carries through the store what B's storage did not take over.
    pub(super) async fn or_by_store(
        &self,
        loads: &[(&VolumeMove, &SavedVolume)],
        proofs: Vec<Result<Proof, DataError>>,
    ) -> Vec<Result<Loaded, DataError>> {
        let (mut all, mut refused) = (BTreeMap::new(), BTreeMap::new());
        for (at, ((volume, saved), proof)) in loads.iter().zip(proofs).enumerate() {
            match (proof, &saved.held) {
                (Err(error), Some(_)) if !matches!(error, DataError::Cancelled { .. }) => {
                    match self.give_back(volume, &error).await {
                        Ok(copied) => drop(refused.insert(at, copied)),
                        Err(error) => drop(all.insert(at, Err(error))),
                    }
                }
                (Ok(proof), held) => {
                    if let Some(held) = held {
                        self.tell_carried(volume, held);
                    }
                    let instead = None;
                    all.insert(at, Ok(Loaded { proof, instead }));
                }
                (Err(error), _) => drop(all.insert(at, Err(error))),
            }
        }
        all.extend(self.by_store(&refused).await);
        all.into_values().collect()
    }

    fn tell_carried(&self, volume: &VolumeMove, held: &Held) {
        self.events.notice(format!(
            "{} was carried by the storage: driver {} made its volume on B of A's snapshot",
            names::claim(&volume.source),
            held.driver
        ));
    }

    /// Removes what was tried on B, and returns the move that copies.
    async fn give_back(
        &self,
        volume: &VolumeMove,
        refused: &DataError,
    ) -> Result<VolumeMove, DataError> {
        self.events.warning(format!(
            "the storage did not carry {} to B, its bytes travel through the store instead: {}",
            names::claim(&volume.source),
            in_one_line(refused)
        ));
        self.clear(volume, Direction::Load).await?;
        self.hand_back(volume).await?;
        Ok(VolumeMove {
            shares: false,
            ..volume.clone()
        })
    }

    /// Copies volumes that travel together, each by its place among those of the load.
    async fn by_store(
        &self,
        volumes: &BTreeMap<usize, VolumeMove>,
    ) -> BTreeMap<usize, Result<Loaded, DataError>> {
        let (mut all, mut open) = (BTreeMap::new(), BTreeMap::new());
        if volumes.is_empty() {
            return all;
        }
        let party: Vec<&VolumeMove> = volumes.values().collect();
        for ((at, volume), saved) in volumes.iter().zip(self.save(&party).await) {
            let cleared = self.clear(volume, Direction::Save).await;
            match saved.and_then(|saved| cleared.map(|()| saved)) {
                Ok(saved) => drop(open.insert(*at, (volume, saved))),
                Err(error) => drop(all.insert(*at, Err(error))),
            }
        }
        let loads: Vec<_> = open
            .values()
            .map(|(volume, saved)| (*volume, saved))
            .collect();
        let proofs = match loads.is_empty() {
            true => Vec::new(),
            false => self.load_party(&loads).await,
        };
        for ((at, (_, saved)), proof) in open.into_iter().zip(proofs) {
            let instead = Some(saved);
            all.insert(at, proof.map(|proof| Loaded { proof, instead }));
        }
        all
    }
}
