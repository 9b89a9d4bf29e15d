//! Save, forget, prune and restore through a store that fails: by seeded schedules of errors, lost answers, bodies cut
//! short, late listings and deaths. Each is run again until it succeeds; then everything must be as if nothing had been.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ferry::repository::{
    BackupOptions, Error, MasterKey, Progress, PruneOptions, Repository, RestoreOptions, Snapshot,
    SnapshotInfo, WriteOptions,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::faulty::Faulty;
use crate::maintain::{PASSWORD, copy_of};
use crate::restic_interop::runtime;
use crate::torture;

const SCHEDULES: u64 = 500;
/// Schedules at one time: most of the time they wait between tries.
const THREADS: usize = 16;
/// From this attempt on the store is well, so that every schedule ends.
const PATIENCE: u64 = 5;
const PACK: usize = 48 << 10;
/// A pack ends with the first blob beyond its size, and these sources have no larger one.
const LARGEST_PACK: u64 = (PACK + (40 << 10)) as u64;

fn write() -> WriteOptions {
    WriteOptions {
        pack_size: PACK,
        workers: 2,
        ..WriteOptions::default()
    }
}

fn fill(source: &Path, round: u64) {
    fs::create_dir_all(source.join("deep/er")).unwrap();
    for file in 0..12u64 {
        let seed = if file % 3 == 0 { 100 * round } else { 0 } + file + 1;
        let place = if file % 2 == 0 { "deep/er" } else { "." };
        let content = torture::noise(seed, 17_000);
        fs::write(source.join(place).join(format!("f{file}")), content).unwrap();
    }
}

fn save(repository: &Repository, source: &Path, parent: &Snapshot) -> Result<Snapshot, Error> {
    let info = SnapshotInfo {
        hostname: "a".into(),
        tags: vec!["sweep".into()],
    };
    let options = BackupOptions {
        parent: Some(parent.clone()),
        write: write(),
        ..BackupOptions::new("data", info)
    };
    let saved = repository.backup_directory(source, &options, &Progress::default())?;
    assert_eq!(saved.problems, []);
    Ok(saved.snapshot)
}

/// What all schedules begin with.
struct Start {
    store: Arc<InMemory>,
    key: MasterKey,
    old: Snapshot,
}

/// One schedule.
struct Run<'a> {
    seed: u64,
    start: &'a Start,
    faulty: Faulty,
}

impl Run<'_> {
    /// Repeats `operation` as somebody would whose process died or failed, each time with a new one.
    fn until_done<T>(
        &self,
        what: &str,
        lies: bool,
        operation: impl Fn(&Repository) -> Result<T, Error>,
    ) -> (T, u64) {
        for attempt in 0.. {
            self.ail(attempt, lies);
            let opened = Repository::open_with_master_key(
                Arc::new(self.faulty.clone()),
                self.start.key.clone(),
            );
            let done = opened.and_then(|repository| operation(&repository));
            self.faulty.heal();
            match done {
                Ok(done) => return (done, attempt),
                Err(error) => assert!(
                    attempt < PATIENCE,
                    "seed {}: {what} on a healthy store: {error:?}",
                    self.seed
                ),
            }
            // Nobody but us could hold a lock, and whoever died has not taken its own away.
            self.healthy().unlock(true).unwrap();
        }
        unreachable!()
    }

    /// Makes the store ill in this attempt's own way; every third attempt dies.
    fn ail(&self, attempt: u64, lies: bool) {
        if attempt >= PATIENCE {
            return;
        }
        let dice = (self.seed * 8 + attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.faulty.stumble(dice | 1);
        self.faulty.lie(lies);
        if dice.is_multiple_of(3) {
            self.faulty.die_at(dice / 3 % 40);
        }
    }

    fn healthy(&self) -> Repository {
        Repository::open_with_master_key(Arc::new(self.faulty.clone()), self.start.key.clone())
            .unwrap()
    }

    fn packs(&self) -> u64 {
        let figures = self.healthy().statistics(&Progress::default());
        figures.unwrap().stored_bytes
    }

    fn whole(&self, repository: &Repository) {
        let report = repository.check(true, &Progress::default()).unwrap();
        assert_eq!(report.faults, [], "seed {}", self.seed);
    }

    fn run(&self, source: &Path) {
        let (before, faults) = (self.packs(), self.faulty.faults());
        let old = &self.start.old;
        let (saved, failed) = self.until_done("save", true, |r| save(r, source, old));
        let (sent, stored) = (self.faulty.packs_sent(), self.packs() - before);
        // What was on its way when an attempt ended: the workers' packs, the trees', and the uploads. Beyond that, only
        // a pack whose answer was lost is sent again, and what a late listing hid.
        let WriteOptions {
            workers, uploads, ..
        } = write();
        let on_the_way = failed * (workers as u64 + 1 + u64::from(uploads));
        let lost = self.faulty.faults() - faults;
        let bound = stored + (on_the_way + lost) * LARGEST_PACK;
        assert!(
            sent <= bound,
            "seed {}: {sent} sent, {stored} stored, {failed} failed",
            self.seed
        );

        let id = old.id.unwrap();
        self.until_done("forget", true, |repository| repository.forget(&id));
        // To prune, a store must list what is there (docs/design/0003).
        let prune = PruneOptions {
            max_unused: 0.0,
            grace: Duration::ZERO,
            write: write(),
            ..PruneOptions::default()
        };
        self.until_done("prune", false, |r| r.prune(&prune, &Progress::default()));

        let target = tempfile::tempdir().unwrap();
        let options = RestoreOptions::new("data");
        let (restored, _) = self.until_done("restore", true, |repository| {
            repository.restore_directory(&saved, target.path(), &options, &Progress::default())
        });
        assert_eq!(restored.losses, [], "seed {}", self.seed);
        torture::assert_same(source, target.path());

        let healthy = self.healthy();
        self.whole(&healthy);
        // An attempt may have committed its snapshot and died before it knew.
        let snapshots = healthy.snapshots::<&str>(&[]).unwrap();
        let ids: Vec<_> = snapshots.iter().filter_map(|one| one.id).collect();
        assert!(ids.contains(&saved.id.unwrap()), "seed {}", self.seed);
        assert!(!ids.contains(&id), "seed {}", self.seed);
        assert!(ids.len() as u64 <= 1 + failed, "seed {}", self.seed);
    }
}

#[test]
fn a_sweep_of_failing_stores_ends_as_if_nothing_had_been() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fill(&source, 0);
    let store = Arc::new(InMemory::new());
    let repository = Repository::init(store.clone(), PASSWORD).unwrap();
    let info = SnapshotInfo {
        hostname: "a".into(),
        tags: Vec::new(),
    };
    let options = BackupOptions {
        write: write(),
        ..BackupOptions::new("data", info)
    };
    let old = repository.backup_directory(&source, &options, &Progress::default());
    let start = Start {
        store,
        key: repository.master_key(),
        old: old.unwrap().snapshot,
    };
    fill(&source, 1);

    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let _entered = runtime.enter();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > SCHEDULES {
                        return;
                    }
                    let store: Arc<dyn ObjectStore> = runtime.block_on(copy_of(&*start.store));
                    let run = Run {
                        seed,
                        start: &start,
                        faulty: Faulty::new(store),
                    };
                    run.run(&source);
                }
            });
        }
    });
}
