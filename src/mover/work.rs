//! The job itself: open the store, run the engine, leave the result.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::engine;
use super::job::{Job, StoreAccess, Task};
use super::outcome::{Done, Outcome};
use crate::data::relay::{Pool, RelayStore};
use crate::exit::Exit;
use crate::repository::{Error, MasterKey, Progress, Repository};
use crate::store::Location;

/// Why a job failed, with the exit code that says whose fault it is.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl Trouble {
    pub(super) fn new(exit: Exit, reason: impl Into<String>) -> Self {
        Self {
            exit,
            reason: reason.into(),
        }
    }

    /// An error with its causes, in one line.
    fn caused(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own words.
            if !reason.contains(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            cause = error.source();
        }
        Self { exit, reason }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::NotARepository { .. } | Error::Store { .. } | Error::StoreFull { .. } => {
                Exit::Refused
            }
            _ => Exit::Incomplete,
        };
        Self::caused(exit, &error)
    }
}

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
            let store = Location::parse(url).and_then(|location| location.open());
            store.map_err(|error| Trouble::caused(Exit::Input, &error))
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
        } => {
            let source = engine::Source {
                path,
                mode: job.mode,
                consistency: *consistency,
            };
            Done::Saved(engine::save(&repository, &source, host, tags, progress)?)
        }
        Task::Load { saved } => {
            Done::Loaded(engine::load(&repository, path, job.mode, saved, progress)?)
        }
    };
    let json = serde_json::to_vec(&Outcome::Done(done.clone()))
        .map_err(|error| Trouble::new(Exit::Internal, error.to_string()))?;
    repository.put_sealed(&super::result_path(&job.id), &json)?;
    Ok(done)
}
