//! Which of many states of the same thing are kept: restic's rules, so that both programs keep the same.
//!
//! Newest first, each rule keeps the first it meets of every hour, day, week, month or year until its count is used
//! up. Hours and days are those of the clock that the state's own time was written by.

use jiff::civil::DateTime;
use jiff::{Span, Timestamp};

/// What is kept. Rules add to each other: what one of them keeps is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of so many hours that have one.
    pub hourly: u32,
    /// The same by days.
    pub daily: u32,
    /// The same by ISO weeks.
    pub weekly: u32,
    /// The same by months.
    pub monthly: u32,
    /// The same by years.
    pub yearly: u32,
    /// Everything this much younger than the newest, or less.
    pub within: Option<Age>,
    /// Everything with all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// Whether it keeps nothing at all, which nobody can mean.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }
}

/// A length of time as people say it: `1y5m7d2h`.
#[derive(Clone, Copy, Debug)]
pub struct Age(Span);

impl PartialEq for Age {
    fn eq(&self, other: &Self) -> bool {
        self.0.fieldwise() == other.0.fieldwise()
    }
}

impl std::str::FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no age such as 1y5m7d2h");
        let (mut span, mut number) = (Span::new(), String::new());
        for letter in text.chars() {
            if letter.is_ascii_digit() {
                number.push(letter);
                continue;
            }
            let count: i64 = number.parse().map_err(|_| wrong())?;
            number.clear();
            span = match letter {
                'y' => span.try_years(count),
                'm' => span.try_months(count),
                'd' => span.try_days(count),
                'h' => span.try_hours(count),
                _ => return Err(wrong()),
            }
            .map_err(|_| wrong())?;
        }
        match text.is_empty() || !number.is_empty() {
            true => Err(wrong()),
            false => Ok(Age(span)),
        }
    }
}

/// One state of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// When, RFC 3339 with the offset of the clock it was written by.
    pub time: String,
    /// Its tags.
    pub tags: Vec<String>,
}

impl State {
    fn instant(&self) -> Timestamp {
        self.time.parse().unwrap_or(Timestamp::MIN)
    }

    fn clock(&self) -> DateTime {
        let pieces = jiff::fmt::temporal::Pieces::parse(&self.time).ok();
        let civil = pieces.and_then(|pieces| Some(pieces.date().to_datetime(pieces.time()?)));
        civil.unwrap_or(DateTime::MIN)
    }
}

/// One rule at work.
struct Bucket {
    left: u32,
    last: Option<(i16, i16, i8, i8)>,
    key: fn(&DateTime, usize) -> (i16, i16, i8, i8),
    reason: &'static str,
}

fn buckets(policy: &Policy) -> [Bucket; 6] {
    let bucket = |left, key, reason| Bucket {
        left,
        last: None,
        key,
        reason,
    };
    [
        // Numbers that never repeat: each state is a period of its own.
        bucket(
            policy.last,
            |_, n| (n as i16, (n >> 15) as i16, 0, 0),
            "last",
        ),
        bucket(
            policy.hourly,
            |t, _| (t.year(), t.month().into(), t.day(), t.hour()),
            "hourly",
        ),
        bucket(
            policy.daily,
            |t, _| (t.year(), t.month().into(), t.day(), 0),
            "daily",
        ),
        bucket(
            policy.weekly,
            |t, _| {
                let week = t.date().iso_week_date();
                (week.year(), week.week().into(), 0, 0)
            },
            "weekly",
        ),
        bucket(
            policy.monthly,
            |t, _| (t.year(), t.month().into(), 0, 0),
            "monthly",
        ),
        bucket(policy.yearly, |t, _| (t.year(), 0, 0, 0), "yearly"),
    ]
}

/// For each state, in the order given, why it is kept; an empty list means that it is not.
pub fn apply(policy: &Policy, states: &[State]) -> Vec<Vec<&'static str>> {
    let mut order: Vec<usize> = (0..states.len()).collect();
    order.sort_by_key(|number| std::cmp::Reverse(states[*number].instant()));
    let newest = order.first().map(|number| states[*number].instant());
    let mut reasons = vec![Vec::new(); states.len()];
    let mut buckets = buckets(policy);
    for (position, number) in order.into_iter().enumerate() {
        let (state, reasons) = (&states[number], &mut reasons[number]);
        let has_all = |tags: &Vec<String>| tags.iter().all(|tag| state.tags.contains(tag));
        if policy.tags.iter().any(has_all) {
            reasons.push("tag");
        }
        let since = policy.within.and_then(|age| {
            let utc = newest?.to_zoned(jiff::tz::TimeZone::UTC);
            Some(utc.checked_sub(age.0).ok()?.timestamp())
        });
        if since.is_some_and(|since| state.instant() > since) {
            reasons.push("within");
        }
        let clock = state.clock();
        for bucket in buckets.iter_mut().filter(|bucket| bucket.left > 0) {
            let key = Some((bucket.key)(&clock, position));
            if bucket.last != key {
                bucket.last = key;
                bucket.left -= 1;
                reasons.push(bucket.reason);
            }
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(times: &[&str]) -> Vec<State> {
        let state = |time: &&str| State {
            time: (*time).into(),
            tags: vec![],
        };
        times.iter().map(state).collect()
    }

    fn kept(policy: &Policy, times: &[&str]) -> Vec<String> {
        let states = states(times);
        let reasons = apply(policy, &states);
        let kept = states
            .iter()
            .zip(reasons)
            .filter(|(_, why)| !why.is_empty());
        kept.map(|(state, _)| state.time.clone()).collect()
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let times = [
            "2026-01-31T10:00:00Z",
            "2026-01-31T23:00:00Z",
            "2026-02-01T01:00:00+02:00",
            "2026-02-01T12:30:00Z",
            "2026-02-01T12:45:00Z",
        ];
        let daily = Policy {
            daily: 2,
            ..Policy::default()
        };
        // By its own clock, the third is of February.
        assert_eq!(kept(&daily, &times), [times[1], times[4]]);
        let hourly = Policy {
            hourly: 9,
            ..Policy::default()
        };
        assert_eq!(
            kept(&hourly, &times),
            [times[0], times[1], times[2], times[4]]
        );
        let last = Policy {
            last: 2,
            ..Policy::default()
        };
        assert_eq!(kept(&last, &times), [times[3], times[4]]);
        let within = Policy {
            within: Some("1d".parse().unwrap()),
            ..Policy::default()
        };
        assert_eq!(kept(&within, &times).len(), 4);
    }

    #[test]
    fn ages_are_read_as_restic_reads_them() {
        for good in ["1y5m7d2h", "36h", "7d"] {
            assert!(good.parse::<Age>().is_ok(), "{good}");
        }
        for bad in ["", "7", "d", "7w", "7d1"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }
}
