//! The append-only record of one run, kept in the store, from which it is resumed or undone (W-15).
//!
//! ```text
//! step ──▶ intend ──┐                          ┌──▶ ack: only now may B be written
//! step ──▶ intend ──┼──▶ one object per batch ─┤
//! step ──▶ note   ──┘   runs/<id>/journal/<seq>└──▶ ack
//! ```
//!
//! An intent is durable before the write it announces, so whatever happened on B is in the journal or
//! can be looked up by what is. A store answers in 1 to 100 ms, and sixteen writers must not queue for
//! it one by one: while one batch travels the next collects, so that the latency is paid once per
//! batch and not once per object. Nothing is ever rewritten. When the store fails, no further intent
//! is granted and so nothing more is written.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::capture::{Proof, SavedVolume};
use crate::object::{Object, ObjectId};
use crate::store::Store;

/// Why a store could not keep or give a file.
pub type FileError = Box<dyn std::error::Error + Send + Sync>;

/// Where the files of runs are kept, sealed: `runs/<run>/<name>`.
pub trait RunFiles: Send + Sync {
    /// Keeps a new file; a file of that name must not exist.
    fn put<'a>(
        &'a self,
        run: &'a str,
        name: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), FileError>>;

    /// Gives a file back; `None` when there is none.
    fn get<'a>(
        &'a self,
        run: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, FileError>>;

    /// Names of the run's files below a folder, as in `journal/0000000001`, sorted.
    fn list<'a>(
        &'a self,
        run: &'a str,
        folder: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, FileError>>;
}

impl RunFiles for Store {
    fn put<'a>(
        &'a self,
        run: &'a str,
        name: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), FileError>> {
        Box::pin(async move { Ok(self.create_run_file(run, name, &bytes).await?) })
    }

    fn get<'a>(
        &'a self,
        run: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, FileError>> {
        Box::pin(async move { Ok(self.get_run_file(run, name).await?) })
    }

    fn list<'a>(
        &'a self,
        run: &'a str,
        folder: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, FileError>> {
        Box::pin(async move { Ok(self.list_run_files(run, folder).await?) })
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// A process began or went on with the run.
    Opened {
        /// Version of Ferry.
        ferry: String,
    },
    /// A step is about to change something.
    Intent {
        /// The object as it was on B; `None` when it was not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Object>,
        /// SHA-256 of what is sent, as hex.
        payload: String,
    },
    /// A step was executed.
    Done {
        /// What the server then had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
        /// What a save put into the store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<SavedVolume>,
        /// What a load found in the claim.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
        /// Seconds a mover worked at it, from when it was there until its result was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
    },
    /// A hook's command ended in one pod, or is not waited for any longer.
    Ran {
        /// The pod.
        pod: String,
        /// Its container.
        container: String,
        /// The command's exit code; `None` where there was none or nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        /// What went wrong; `None` when it ended well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
        /// The last lines it wrote.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        output: String,
        /// How long it took.
        seconds: f64,
    },
    /// A hook is left out, because the user said so.
    LeftOut,
    /// A step's object is ready.
    Ready,
    /// A step failed, or its object did not become ready.
    Failed {
        /// Why.
        reason: String,
    },
    /// Something ran on cluster A after its data was taken: the run can only be taken back.
    Broken {
        /// What ran.
        reason: String,
    },
    /// A workload of cluster A is as it was before the run held it.
    GivenBack,
    /// A process ended the run in order.
    Closed {
        /// Steps that ended well.
        done: u64,
        /// Steps that failed or were not reached.
        open: u64,
    },
    /// The run is being undone, or was.
    Undone {
        /// Objects left, once the undo came to its end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<u64>,
    },
}

/// An object as the server had it after a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// SHA-256 of what users own in it, as hex.
    pub content: String,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the journal, from 1.
    pub seq: u64,
    /// When it was written.
    pub time: Timestamp,
    /// The step it is about; `None` when it is about the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// The step's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// The step's action in a word; empty when the record is about the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
}

impl Record {
    /// A record about the run as a whole. Its place in the journal is given when it is written.
    pub fn of_run(entry: Entry) -> Self {
        Self {
            seq: 0,
            time: Timestamp::now(),
            step: None,
            object: None,
            action: String::new(),
            entry,
        }
    }

    /// A record about one step.
    pub fn of_step(step: &crate::plan::Step, entry: Entry) -> Self {
        Self {
            step: Some(step.number),
            object: Some(step.object.clone()),
            action: step.action.word().into(),
            ..Self::of_run(entry)
        }
    }
}

/// Why a run cannot be recorded or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The store does not take a record. Nothing more is written on B.
    #[error(
        "the journal of run {run} cannot be written, so nothing more is written on the cluster"
    )]
    Write {
        /// The run.
        run: String,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store does not give a record back.
    #[error("the journal of run {run} cannot be read")]
    Read {
        /// The run.
        run: String,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A record is not what Ferry writes.
    #[error("the journal of run {run} is damaged in {file}")]
    Damaged {
        /// The run.
        run: String,
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
}

/// Reads every record of a run, in order.
///
/// # Errors
/// When the store does not answer or a file is not a journal's.
pub async fn read(files: &dyn RunFiles, run: &str) -> Result<Vec<Record>, JournalError> {
    let unreadable = |source: FileError| JournalError::Read {
        run: run.into(),
        source: source.into(),
    };
    let names = files.list(run, FOLDER).await.map_err(unreadable)?;
    let mut contents = stream::iter(names)
        .map(|name| async move { (files.get(run, &name).await, name) })
        .buffered(PARALLEL);
    let mut records = Vec::new();
    while let Some((content, file)) = contents.next().await {
        let content = content.map_err(unreadable)?.unwrap_or_default();
        for line in content.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            let record = serde_json::from_slice(line).map_err(|source| JournalError::Damaged {
                run: run.into(),
                file: file.clone(),
                source: source.into(),
            })?;
            records.push(record);
        }
    }
    Ok(records)
}

const FOLDER: &str = "journal";

/// Files read at once.
const PARALLEL: usize = 16;

/// How long the first record of a batch waits for company: far below a store's latency.
const LINGER: Duration = Duration::from_millis(2);

struct Item {
    record: Record,
    written: Option<oneshot::Sender<Result<(), JournalError>>>,
}

/// The journal of a run, open for writing. Dropping it stops the writer at once, as a kill would.
#[derive(Debug)]
pub struct Journal {
    queue: mpsc::UnboundedSender<Item>,
    writer: AbortOnDropHandle<Result<(), JournalError>>,
    run: String,
}

impl Journal {
    /// Opens a journal behind the records it already has.
    pub fn open(files: Arc<dyn RunFiles>, run: &str, last: u64) -> Self {
        let (queue, items) = mpsc::unbounded_channel();
        let writer = Writer {
            files,
            run: run.into(),
            next: last + 1,
        };
        Self {
            queue,
            writer: AbortOnDropHandle::new(tokio::spawn(writer.work(items))),
            run: run.into(),
        }
    }

    /// Records something and returns when it is durable.
    ///
    /// # Errors
    /// When the store did not take it, or did not take an earlier record.
    pub async fn intend(&self, record: Record) -> Result<(), JournalError> {
        let (sender, written) = oneshot::channel();
        let item = Item {
            record,
            written: Some(sender),
        };
        self.queue.send(item).map_err(|_| self.stopped())?;
        written.await.map_err(|_| self.stopped())?
    }

    /// Records something soon: with the next batch, at the latest when the journal is closed.
    pub fn note(&self, record: Record) {
        let item = Item {
            record,
            written: None,
        };
        // Fails only after the writer failed; the next intent, or the close, says so.
        drop(self.queue.send(item));
    }

    /// Writes what is left and ends the journal.
    ///
    /// # Errors
    /// When the store did not take every record.
    pub async fn close(self) -> Result<(), JournalError> {
        let Self { queue, writer, run } = self;
        drop(queue);
        writer.await.unwrap_or_else(|failed| {
            Err(JournalError::Write {
                run,
                source: Arc::new(failed),
            })
        })
    }

    fn stopped(&self) -> JournalError {
        JournalError::Write {
            run: self.run.clone(),
            source: Arc::new(std::io::Error::other(
                "an earlier record could not be written",
            )),
        }
    }
}

struct Writer {
    files: Arc<dyn RunFiles>,
    run: String,
    next: u64,
}

impl Writer {
    async fn work(mut self, mut items: mpsc::UnboundedReceiver<Item>) -> Result<(), JournalError> {
        let mut batch = Vec::new();
        loop {
            if items.recv_many(&mut batch, usize::MAX).await == 0 {
                return Ok(());
            }
            tokio::time::sleep(LINGER).await;
            while let Ok(item) = items.try_recv() {
                batch.push(item);
            }
            let written = self.write(&mut batch).await;
            for item in batch.drain(..) {
                if let Some(waiting) = item.written {
                    // Who no longer waits was dropped by a kill.
                    drop(waiting.send(written.clone()));
                }
            }
            written?;
        }
    }

    async fn write(&mut self, batch: &mut [Item]) -> Result<(), JournalError> {
        let first = self.next;
        let mut bytes = Vec::new();
        for item in batch {
            item.record.seq = self.next;
            self.next += 1;
            // A record is made of maps with string keys; it always has a JSON form.
            bytes.extend(serde_json::to_vec(&item.record).unwrap_or_default());
            bytes.push(b'\n');
        }
        let name = format!("{FOLDER}/{first:010}");
        self.files
            .put(&self.run, &name, bytes)
            .await
            .map_err(|source| JournalError::Write {
                run: self.run.clone(),
                source: source.into(),
            })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Files in memory, which fail when told to.
    #[derive(Default)]
    pub(crate) struct Memory {
        files: Mutex<BTreeMap<String, Vec<u8>>>,
        puts: AtomicUsize,
        full: std::sync::atomic::AtomicBool,
    }

    impl RunFiles for Memory {
        fn put<'a>(
            &'a self,
            run: &'a str,
            name: &'a str,
            bytes: Vec<u8>,
        ) -> BoxFuture<'a, Result<(), FileError>> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if self.full.load(Ordering::Relaxed) {
                    return Err("no space left".into());
                }
                self.puts.fetch_add(1, Ordering::Relaxed);
                let previous = self
                    .files
                    .lock()
                    .unwrap()
                    .insert(format!("{run}/{name}"), bytes);
                assert_eq!(previous, None, "{name} was written twice");
                Ok(())
            })
        }

        fn get<'a>(
            &'a self,
            run: &'a str,
            name: &'a str,
        ) -> BoxFuture<'a, Result<Option<Vec<u8>>, FileError>> {
            let found = self
                .files
                .lock()
                .unwrap()
                .get(&format!("{run}/{name}"))
                .cloned();
            Box::pin(async move { Ok(found) })
        }

        fn list<'a>(
            &'a self,
            run: &'a str,
            folder: &'a str,
        ) -> BoxFuture<'a, Result<Vec<String>, FileError>> {
            let prefix = format!("{run}/");
            let names = self.files.lock().unwrap();
            let names = names
                .keys()
                .filter_map(|name| name.strip_prefix(&prefix))
                .filter(|name| name.starts_with(folder))
                .map(str::to_owned)
                .collect();
            Box::pin(async move { Ok(names) })
        }
    }

    fn opened() -> Record {
        Record::of_run(Entry::Opened { ferry: "1".into() })
    }

    #[tokio::test]
    async fn sixteen_writers_share_the_latency_of_the_store() {
        let files = Arc::new(Memory::default());
        let journal = Journal::open(files.clone(), "r", 0);
        let writers = (0..16).map(|_| async {
            for _ in 0..10 {
                journal.intend(opened()).await.unwrap();
                journal.note(opened());
            }
        });
        futures::future::join_all(writers).await;
        journal.close().await.unwrap();
        let records = read(&*files, "r").await.unwrap();
        let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (1..=320).collect::<Vec<_>>());
        assert!(files.puts.load(Ordering::Relaxed) <= 25);
    }

    #[tokio::test]
    async fn a_journal_goes_on_behind_what_it_has() {
        let files = Arc::new(Memory::default());
        let journal = Journal::open(files.clone(), "r", 0);
        journal.intend(opened()).await.unwrap();
        drop(journal);
        let journal = Journal::open(files.clone(), "r", 1);
        journal.note(opened());
        journal.close().await.unwrap();
        let records = read(&*files, "r").await.unwrap();
        assert_eq!(
            records.iter().map(|record| record.seq).collect::<Vec<_>>(),
            [1, 2]
        );
    }

    #[tokio::test]
    async fn when_the_store_is_full_no_intent_is_granted() {
        let files = Arc::new(Memory::default());
        files.full.store(true, Ordering::Relaxed);
        let journal = Journal::open(files.clone(), "r", 0);
        let error = journal.intend(opened()).await.unwrap_err();
        assert!(
            error.to_string().contains("nothing more is written"),
            "{error}"
        );
        files.full.store(false, Ordering::Relaxed);
        assert!(journal.intend(opened()).await.is_err());
        assert!(journal.close().await.is_err());
    }
}
