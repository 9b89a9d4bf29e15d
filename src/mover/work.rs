//! The job itself: open the store, run the engine, leave the result.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::engine;
use super::job::{Job, StoreAccess, Task};
use super::outcome::{Done, Outcome};
use super::trouble::Trouble;
use crate::data::relay::{Pool, RelayStore};
use crate::exit::Exit;
use crate::repository::{MasterKey, Progress, Repository};
use crate::store::Location;

/// Does the job.
pub(super) async fn run(job: Job, progress: Arc<Progress>) -> Outcome {
    match attempt(job, progress).await {
        Ok(done) => Outcome::Done(done),
        Err(Trouble { exit, reason }) => Outcome::failed(exit, reason),
    }
}

async fn attempt(job: Job, progress: Arc<Progress>) -> Result<Done, Trouble> {
    let store = open(&job.store).await?;
    // The engine blocks and has threads of its own; the runtime carries its requests.
    let work = tokio::task::spawn_blocking(move || blocking(&job, store, &progress));
    work.await
        .map_err(|error| Trouble::new(Exit::Internal, format!("a defect in the mover: {error}")))?
}

async fn open(access: &StoreAccess) -> Result<Arc<dyn ObjectStore>, Trouble> {
    match access {
        StoreAccess::Direct { url } => {
            let place = Location::parse(url).and_then(|location| location.open());
            place.map(|place| place.objects).map_err(|error| {
                let next = error.help().map(|help| format!("; {help}"));
                let trouble = Trouble::caused(error.exit(), &error);
                Trouble::new(trouble.exit, trouble.reason + &next.unwrap_or_default())
            })
        }
        StoreAccess::Relay { port, token } => {
            let listener = TcpListener::bind(("127.0.0.1", *port))
                .await
                .map_err(|error| {
                    Trouble::new(
                        Exit::Internal,
                        format!("cannot listen on port {port}: {error}"),
                    )
                })?;
            let (pool, token) = (Pool::new(), token.clone());
            let store = RelayStore::new(pool.clone());
            Handle::current().spawn(async move { pool.listen(&listener, &token).await });
            Ok(Arc::new(store))
        }
    }
}

fn blocking(job: &Job, store: Arc<dyn ObjectStore>, progress: &Progress) -> Result<Done, Trouble> {
    let key = MasterKey::from_json(&job.key)
        .ok_or_else(|| Trouble::new(Exit::Input, "the job's key is not a master key"))?;
    let repository = Repository::open_with_master_key(store, key)?;
    let path: &Path = &job.path;
    let done = match &job.task {
        Task::Save {
            host,
            tags,
            consistency,
            accept_torn,
        } => {
            let source = engine::Source {
                path,
                mode: job.mode,
                consistency: *consistency,
                host,
                tags,
                accept_torn: *accept_torn,
            };
            let saved = engine::save(&repository, &source, progress)?;
            engine::forget_earlier(&repository, tags, &saved)?;
            Done::Saved(saved.volume)
        }
        Task::Load {
            saved,
            delete_extra,
            accept,
            foreign_root,
        } => {
            let snapshot = repository.snapshot(&saved.snapshot)?;
            let target = engine::Target {
                path,
                accept,
                delete_extra: *delete_extra,
                foreign_root: *foreign_root,
            };
            let loaded = engine::load(&repository, &snapshot, &target, progress)?;
            Done::Loaded {
                proof: loaded.proof,
                lost: loaded.lost,
            }
        }
    };
    let json = serde_json::to_vec(&Outcome::Done(done.clone()))
        .map_err(|error| Trouble::new(Exit::Internal, error.to_string()))?;
    repository.put_sealed(&super::result_path(&job.id), &json)?;
    Ok(done)
}
