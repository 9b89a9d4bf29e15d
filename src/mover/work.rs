//! The job itself: open the store, run the engine, leave the result.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::engine;
use super::job::{Job, Order, StoreAccess, Task};
use super::outcome::{Done, Outcome};
use super::trouble::Trouble;
use crate::data::relay::{Pool, RelayStore};
use crate::exit::Exit;
use crate::repository::{self, MasterKey, Progress, Repository};
use crate::store::Location;

/// How long a mover stands by: longer than pods on A may take to end.
const STANDS_BY: Duration = Duration::from_secs(2 * 60 * 60);
/// How often it looks for its order.
const LOOK: Duration = Duration::from_millis(200);

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
        StoreAccess::Depot { address, pass } => Ok(pass.store_at(address)),
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

/// Waits for the order. One that never comes ends the mover: who was to give it is gone.
fn ordered(repository: &Repository, path: &str, progress: &Progress) -> Result<Order, Trouble> {
    let begun = Instant::now();
    while begun.elapsed() < STANDS_BY {
        if progress.is_cancelled() {
            return Err(repository::Error::Cancelled.into());
        }
        match repository.get_sealed(path) {
            Ok(plain) => {
                return serde_json::from_slice(&plain).map_err(|error| {
                    Trouble::new(
                        Exit::Internal,
                        format!("the order cannot be understood: {error}"),
                    )
                });
            }
            Err(repository::Error::NotFound { .. }) => std::thread::sleep(LOOK),
            Err(error) => return Err(error.into()),
        }
    }
    let reason = format!(
        "it stood by for {} min and nobody came",
        STANDS_BY.as_secs() / 60
    );
    Err(Trouble::new(Exit::Incomplete, reason))
}

fn blocking(job: &Job, store: Arc<dyn ObjectStore>, progress: &Progress) -> Result<Done, Trouble> {
    let key = MasterKey::from_json(&job.key)
        .ok_or_else(|| Trouble::new(Exit::Input, "the job's key is not a master key"))?;
    let repository = Repository::open_with_master_key(store, key)?;
    progress.follow(&repository);
    let path: &Path = &job.path;
    let (id, task) = match &job.task {
        Task::StandBy { order } => {
            let Order { id, task } = ordered(&repository, order, progress)?;
            (id, task)
        }
        task => (job.id.clone(), task.clone()),
    };
    let done = match &task {
        Task::Save {
            host,
            tags,
            consistency,
            accept_torn,
            held,
            frozen,
        } => {
            let source = engine::Source {
                path,
                mode: job.mode,
                consistency: *consistency,
                host,
                tags,
                accept_torn: *accept_torn,
                frozen: frozen.as_deref(),
            };
            match held {
                Some(held) => Done::Saved(engine::hold(&source, held.clone(), progress)?),
                None => {
                    let saved = engine::save(&repository, &source, progress)?;
                    engine::forget_earlier(&repository, tags, &saved)?;
                    Done::Saved(saved.volume)
                }
            }
        }
        Task::Load { saved, .. } if saved.held.is_some() => Done::Loaded {
            proof: engine::found(path, saved, job.mode, progress)?,
            lost: Vec::new(),
        },
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
        Task::StandBy { .. } => {
            let reason = "a mover that stands by was ordered to stand by";
            return Err(Trouble::new(Exit::Internal, reason));
        }
    };
    let json = serde_json::to_vec(&Outcome::Done(done.clone()))
        .map_err(|error| Trouble::new(Exit::Internal, error.to_string()))?;
    repository.put_sealed(&super::result_path(&id), &json)?;
    Ok(done)
}
