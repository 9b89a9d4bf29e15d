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
use super::movers::{ClusterMovers, place, source, uid};
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

    /// Carries through the store what B's storage did not take over, and whatever could not be loaded because one pod
    /// mounts it together with that.
    pub(super) async fn or_by_store(
        &self,
        loads: &[(&VolumeMove, &SavedVolume)],
        proofs: Vec<Result<Proof, DataError>>,
    ) -> Vec<Result<Loaded, DataError>> {
        let (mut all, mut again) = (BTreeMap::new(), BTreeMap::new());
        let mut left = Vec::new();
        for (at, ((volume, saved), proof)) in loads.iter().zip(proofs).enumerate() {
            match (proof, &saved.held) {
                (Err(error), Some(_)) if is_refusal(&error) => {
                    match self.give_back(volume, &error).await {
                        Ok(copied) => drop(again.insert(at, (copied, None))),
                        Err(error) => drop(all.insert(at, Err(error))),
                    }
                }
                (Err(error @ DataError::Snapshot { .. }), None) => {
                    left.push((at, error));
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
        for (at, error) in left {
            match again.is_empty() {
                true => drop(all.insert(at, Err(error))),
                false => {
                    let (volume, saved) = loads[at];
                    again.insert(at, (volume.clone(), Some(saved.clone())));
                }
            }
        }
        all.extend(self.by_store(again).await);
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
        let copied = VolumeMove {
            shares: false,
            ..volume.clone()
        };
        match self.can_be_saved(&copied).await? {
            true => Ok(copied),
            false => Err(DataError::Snapshot {
                claim: names::claim(&volume.source),
                reason: "it was deleted by somebody, and the storage has not carried it to B; take the run back and \
                         begin anew"
                    .into(),
            }),
        }
    }

    /// Whether the moment that was frozen is in the store, or can still be read.
    async fn can_be_saved(&self, volume: &VolumeMove) -> Result<bool, DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let claim = source(&api, volume).await?;
        let job = self.saving(volume, &claim);
        let saved = self.earlier(&api, &job).await?.is_some();
        Ok(saved || self.freezer(&api, volume).is_taken().await?)
    }

    /// Copies volumes that travel together, each by its place among those of the load: those that are saved already are
    /// only loaded.
    async fn by_store(
        &self,
        mut volumes: BTreeMap<usize, (VolumeMove, Option<SavedVolume>)>,
    ) -> BTreeMap<usize, Result<Loaded, DataError>> {
        let (mut all, mut instead) = (BTreeMap::new(), BTreeMap::new());
        let open = volumes.iter().filter(|(_, (_, saved))| saved.is_none());
        let (places, party): (Vec<usize>, Vec<VolumeMove>) =
            open.map(|(at, (volume, _))| (*at, volume.clone())).unzip();
        let party: Vec<&VolumeMove> = party.iter().collect();
        if !party.is_empty() {
            for (at, saved) in places.iter().zip(self.save(&party).await) {
                match saved {
                    Ok(saved) => drop(instead.insert(*at, saved)),
                    Err(error) => {
                        volumes.remove(at);
                        all.insert(*at, Err(error));
                    }
                }
            }
        }
        let loads = volumes.iter();
        let loads = loads.filter_map(|(at, (volume, saved))| {
            Some((volume, saved.as_ref().or_else(|| instead.get(at))?))
        });
        let loads: Vec<_> = loads.collect();
        let proofs = match loads.is_empty() {
            true => Vec::new(),
            false => self.load_party(&loads).await,
        };
        for (at, proof) in volumes.keys().zip(proofs) {
            let instead = instead.remove(at);
            all.insert(*at, proof.map(|proof| Loaded { proof, instead }));
        }
        all
    }
}

/// Whether B's storage does not have what A's holds, as it says or as its volume shows. Anything else that keeps a mover
/// from its work is no reason to copy.
fn is_refusal(error: &DataError) -> bool {
    matches!(
        error,
        DataError::Snapshot { .. } | DataError::Differs { .. }
    )
}
