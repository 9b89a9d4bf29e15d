//! What a run tells its movers: the store, the image, the names.

use std::sync::Arc;

use object_store::ObjectStore;

use crate::repository::{LossClass, Repository};
use crate::store::MoverAccess;

/// The store, as movers and the CLI reach it.
#[derive(Clone)]
pub struct MoverStore {
    /// The store's root, as the CLI reaches it.
    pub objects: Arc<dyn ObjectStore>,
    /// The repository in it, open.
    pub repository: Repository,
    /// Its URL, as in `s3://bucket/prefix`.
    pub url: String,
    /// With what pods reach `url`: endpoint, region, credentials, proxies, authorities.
    pub access: MoverAccess,
}

/// What one run's movers need to know.
#[derive(Clone, Debug)]
pub struct MoverSettings {
    /// The run's id: a DNS label of at most 40 bytes.
    pub run: String,
    /// The capture that saved volumes belong to.
    pub capture: String,
    /// Ferry's image, as the clusters' nodes pull it; `None` fails when the first mover is needed.
    pub image: Option<String>,
    /// Carry the store's traffic through the CLI even if pods might reach the store.
    pub relay: bool,
    /// The application's namespaces on A, for cleaning up after a killed run.
    pub namespaces: Vec<String>,
    /// The application's namespaces on A in which movers without privileges work; none for others.
    pub beside_source: Vec<String>,
    /// The same on B.
    pub beside_target: Vec<String>,
    /// Movers at work at one time; 0 for the default.
    pub parallel: usize,
    /// Whether files that change while a live volume is read are saved as they were found.
    pub accept_torn: bool,
    /// Whether the snapshots that are taken on A stay there for the user.
    pub keep_snapshots: bool,
    /// What volumes on B may lose of what was saved.
    pub accept_losses: Vec<LossClass>,
}
