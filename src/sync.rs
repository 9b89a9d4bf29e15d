//! What syncs measured, and what that says of a cutover.
//!
//! Each sync leaves one [`Measure`] among its run's files. Two of them give the rate at which the data
//! changes; all of them give what carrying costs: a part that is there even if nothing changed (looking at every file,
//! reading everything back) and a part for every byte. What counts is how long movers worked: a cutover has its movers
//! there before anything stands still, and takes no snapshot.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{Entry, Record};
use crate::object::ObjectId;
use crate::plan::Plan;
use crate::restore::VOLUMES;
use crate::store::{Store, StoreError};

/// Name of the measure among a run's files.
const FILE: &str = "sync";
/// Runs looked at for measures, newest first.
const LOOKED_AT: usize = 64;
/// Measures a forecast is made of: what was long ago says little.
const USED: usize = 8;
/// Files read at once.
const PARALLEL: usize = 16;
/// The part of a forecast that two syncs leave open: machines and networks have more to do now, then less.
const DOUBT: f64 = 0.3;

/// What one sync carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// UID of cluster A.
    pub source: String,
    /// UID of cluster B.
    pub target: String,
    /// Namespaces on A.
    pub namespaces: Vec<String>,
    /// The moment its data shows: when the first volume was frozen.
    pub time: Timestamp,
    /// Seconds from then until everything on B was proven.
    pub seconds: f64,
    /// Of these, what a cutover would have to wait for: the work itself, without snapshots and without pods that
    /// start. `None` when the journal tells no step's time.
    pub work: Option<f64>,
    /// Bytes that had changed and were sent to the store.
    pub changed: u64,
    /// Bytes the volumes hold in all.
    pub size: u64,
}

impl Measure {
    /// What a run's journal says it carried; `None` when it carried nothing, or was interrupted: then its
    /// time is not that of the work.
    pub fn of(plan: &Plan, records: &[Record]) -> Option<Self> {
        let opened = |record: &&Record| matches!(record.entry, Entry::Opened { .. });
        if records.iter().filter(opened).count() != 1 {
            return None;
        }
        let begun = records
            .iter()
            .filter(|record| matches!(record.action.as_str(), "snapshot" | "clone" | "save"))
            .map(|record| record.time)
            .min()?;
        let (mut ended, mut changed, mut size) = (None, 0, 0);
        let mut work = BTreeMap::<&ObjectId, f64>::new();
        for record in records {
            if let Entry::Done {
                saved,
                proof,
                seconds,
                ..
            } = &record.entry
            {
                if let Some((claim, seconds)) = source(plan, record).zip(*seconds) {
                    *work.entry(claim).or_default() += seconds;
                }
                if let Some(saved) = saved {
                    changed += saved.added;
                    size += saved.proof.bytes;
                }
                if proof.is_some() {
                    ended = ended.max(Some(record.time));
                }
            }
        }
        Some(Self {
            source: plan.source.uid.clone(),
            target: plan.target.uid.clone(),
            namespaces: plan
                .namespaces
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            time: begun,
            seconds: ended?.duration_since(begun).as_secs_f64(),
            work: together(&work),
            changed,
            size,
        })
    }

    /// What counts for a forecast.
    fn cost(&self) -> f64 {
        self.work.unwrap_or(self.seconds)
    }

    /// Keeps it among the files of its run, once.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn keep(&self, store: &Store, run: &str) -> Result<(), StoreError> {
        if store.get_run_file(run, FILE).await?.is_some() {
            return Ok(());
        }
        let text = serde_json::to_vec(self).unwrap_or_default();
        store.put_run_file(run, FILE, &text).await
    }
}

/// The claim on A that a record is about, if its step carries data.
fn source<'a>(plan: &'a Plan, record: &Record) -> Option<&'a ObjectId> {
    let step = plan.steps.get(record.step? as usize)?;
    Some(&step.action.volume()?.source)
}

/// Seconds that the work at several volumes takes, when some are worked at at once.
fn together(work: &BTreeMap<&ObjectId, f64>) -> Option<f64> {
    let longest = work.values().copied().reduce(f64::max)?;
    Some(longest.max(work.values().sum::<f64>() / VOLUMES as f64))
}

/// The measures of earlier syncs of the same namespaces between the same clusters, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn history(store: &Store, plan: &Plan) -> Result<Vec<Measure>, StoreError> {
    let mut runs = store.list_runs().await?;
    runs.sort();
    let newest = runs.split_off(runs.len().saturating_sub(LOOKED_AT));
    let mut files = stream::iter(newest)
        .map(|run| async move { store.get_run_file(&run, FILE).await })
        .buffered(PARALLEL);
    let mut found = Vec::new();
    while let Some(file) = files.next().await {
        // One of another version's form is as good as none.
        let measure = file?.and_then(|text| serde_json::from_slice::<Measure>(&text).ok());
        found.extend(measure.filter(|measure| {
            measure.source == plan.source.uid
                && measure.target == plan.target.uid
                && (plan.namespaces.iter().map(|(name, _)| name)).eq(&measure.namespaces)
        }));
    }
    found.sort_by_key(|measure| measure.time);
    Ok(found)
}

/// What the next copy of the data would take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Bytes that change in a second on A, by the last two syncs; `None` after only one.
    pub change_rate: Option<f64>,
    /// Bytes carried in a second, from A until proven on B; `None` when the syncs do not tell it apart
    /// from what they take anyway.
    pub bandwidth: Option<f64>,
    /// Bytes that will have changed.
    pub changed: u64,
    /// Seconds to carry them and prove them.
    pub seconds: f64,
    /// By how many seconds it may be wrong, as far as the syncs tell: after one alone, by all of them.
    pub give_or_take: f64,
}

impl Forecast {
    /// From earlier syncs, oldest first; `None` without any.
    pub fn at(now: Timestamp, measures: &[Measure]) -> Option<Self> {
        let used = &measures[measures.len().saturating_sub(USED)..];
        let last = used.last()?;
        let since = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
        let change_rate = used
            .len()
            .checked_sub(2)
            .map(|before| last.changed as f64 / since(used[before].time, last.time).max(1.0));
        let changed = change_rate.unwrap_or(0.0) * since(last.time, now);
        let changed = changed.min(last.size as f64);
        let (overhead, per_byte) = fit(used);
        let seconds = overhead + per_byte * changed;
        let off = |measure: &Measure| {
            (measure.cost() - overhead - per_byte * measure.changed as f64).abs()
        };
        let give_or_take = match used.len() {
            1 => seconds,
            _ => used.iter().map(off).fold(seconds * DOUBT, f64::max),
        };
        Some(Self {
            change_rate,
            bandwidth: (per_byte > 0.0).then(|| 1.0 / per_byte),
            changed: changed as u64,
            seconds,
            give_or_take,
        })
    }
}

/// Seconds of a sync without changes, and seconds for each byte: the line of least squares, which never
/// says that more bytes take less time. One sync alone is an upper bound.
fn fit(measures: &[Measure]) -> (f64, f64) {
    let count = measures.len() as f64;
    let mean = |value: fn(&Measure) -> f64| measures.iter().map(value).sum::<f64>() / count;
    let (bytes, seconds) = (mean(|measure| measure.changed as f64), mean(Measure::cost));
    let spread = |measure: &Measure| measure.changed as f64 - bytes;
    let variance: f64 = measures.iter().map(|one| spread(one).powi(2)).sum();
    let together: f64 = measures
        .iter()
        .map(|one| spread(one) * (one.cost() - seconds))
        .sum();
    let slope = if variance > 0.0 {
        together / variance
    } else {
        0.0
    };
    let slope = slope.clamp(0.0, if bytes > 0.0 { seconds / bytes } else { 0.0 });
    (seconds - slope * bytes, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(at: i64, seconds: f64, changed: u64) -> Measure {
        Measure {
            source: "a".into(),
            target: "b".into(),
            namespaces: vec!["shop".into()],
            time: Timestamp::from_second(at).unwrap(),
            seconds: seconds + 7.0,
            work: Some(seconds),
            changed,
            size: 1 << 30,
        }
    }

    fn at(now: i64, measures: &[Measure]) -> Forecast {
        Forecast::at(Timestamp::from_second(now).unwrap(), measures).unwrap()
    }

    #[test]
    fn without_a_sync_nothing_is_foretold() {
        assert_eq!(Forecast::at(Timestamp::UNIX_EPOCH, &[]), None);
    }

    #[test]
    fn one_sync_is_an_upper_bound() {
        let forecast = at(100, &[measure(0, 30.0, 1 << 30)]);
        assert_eq!((forecast.change_rate, forecast.bandwidth), (None, None));
        assert!((forecast.seconds - 30.0).abs() < 1e-9);
        assert!((forecast.give_or_take - 30.0).abs() < 1e-9);
    }

    #[test]
    fn syncs_that_disagree_make_it_less_sure() {
        let forecast = at(20, &[measure(0, 4.0, 1000), measure(10, 16.0, 1000)]);
        assert!((forecast.seconds - 10.0).abs() < 1e-9);
        assert!((forecast.give_or_take - 6.0).abs() < 1e-9);
    }

    #[test]
    fn volumes_are_worked_at_side_by_side() {
        let claims: Vec<ObjectId> = (0..6)
            .map(|number| ObjectId::cluster("", "PersistentVolumeClaim", &number.to_string()))
            .collect();
        let of = |count: usize| together(&claims[..count].iter().map(|one| (one, 2.0)).collect());
        assert_eq!(of(0), None);
        assert_eq!(of(3), Some(2.0));
        assert_eq!(of(6), Some(3.0));
    }

    #[test]
    fn two_syncs_tell_the_rate_of_change_and_the_bandwidth() {
        // 4 s whatever changed, and 10 MB/s.
        let forecast = at(
            160,
            &[
                measure(0, 104.0, 1_000_000_000),
                measure(100, 6.0, 20_000_000),
            ],
        );
        assert!((forecast.change_rate.unwrap() - 200_000.0).abs() < 1.0);
        assert!((forecast.bandwidth.unwrap() - 1e7).abs() < 1e3);
        assert_eq!(forecast.changed, 12_000_000);
        assert!((forecast.seconds - 5.2).abs() < 1e-3, "{forecast:?}");
    }

    #[test]
    fn more_bytes_in_less_time_are_no_negative_bandwidth() {
        let forecast = at(20, &[measure(0, 5.0, 1000), measure(10, 3.0, 2000)]);
        assert_eq!(forecast.bandwidth, None);
        assert!((forecast.seconds - 4.0).abs() < 1e-9);
    }

    #[test]
    fn no_more_can_change_than_there_is() {
        let forecast = at(1 << 37, &[measure(0, 5.0, 1000), measure(10, 3.0, 2000)]);
        assert_eq!(forecast.changed, 1 << 30);
    }
}
