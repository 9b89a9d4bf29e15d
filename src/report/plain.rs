//! Events as lines: for logs, pipes and machines.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::palette::{Role, paint};
use super::{talk, units};
use crate::event::{Direction, Event, Events, VolumeProgress};

/// A volume under way says so no more often than this.
const VOLUME_EVERY: Duration = Duration::from_secs(5);

/// Every event as one JSON line on stderr.
pub fn json_lines() -> Events {
    Events::new(|event| {
        if let Ok(line) = serde_json::to_string(&event) {
            talk(&line);
        }
    })
}

/// An object that is not ready is mentioned after this long, and again each time.
const WAITING_EVERY: Duration = Duration::from_secs(15);

/// Events as plain lines on stderr; volumes and waits report every few seconds.
pub fn lines() -> Events {
    let clock = Mutex::new(Clock::default());
    Events::new(move |event| {
        let due = clock
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .due(&event);
        if due && let Some(line) = describe(&event) {
            talk(&line);
        }
    })
}

/// When what was last mentioned.
#[derive(Default)]
struct Clock(BTreeMap<String, Instant>);

impl Clock {
    /// Whether an event is worth a line now. The first news of a volume or a wait only starts its
    /// clock: quick ones are never mentioned.
    fn due(&mut self, event: &Event) -> bool {
        let (key, every) = match event {
            Event::Volume {
                claim, direction, ..
            } => (format!("{direction:?} {claim}"), VOLUME_EVERY),
            Event::Waiting { object, .. } => (object.to_string(), WAITING_EVERY),
            _ => return true,
        };
        match self.0.get(&key) {
            Some(last) if last.elapsed() < every => return false,
            Some(_) => {}
            None => {
                self.0.insert(key, Instant::now());
                return false;
            }
        }
        self.0.insert(key, Instant::now());
        true
    }
}

/// One line for an event; `None` for those too small to mention.
pub(super) fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::StageStarted { .. } | Event::Listed { .. } | Event::StepStarted { .. } => {
            return None;
        }
        Event::StageFinished { stage, summary } => {
            format!("{} {stage:<9} {summary}", paint(Role::Good, "✓"))
        }
        Event::Volume {
            claim,
            direction,
            progress,
        } => {
            format!(
                "  {} {claim}: {}",
                verb(*direction),
                amounts(*direction, progress)
            )
        }
        Event::VolumeFinished {
            claim,
            direction,
            progress,
            seconds,
        } => {
            let took = units::span(Duration::from_secs_f64(seconds.max(0.0)));
            let done = done(*direction);
            // A check that reads no content has no bytes to be quick with.
            if progress.bytes_done == 0 && *direction == Direction::Examine {
                let (files, what) = (units::count(progress.files_done), counted(*direction));
                return Some(format!("  {done} {claim}: {files} {what} in {took}"));
            }
            let all = VolumeProgress {
                files_total: None,
                bytes_total: None,
                ..*progress
            };
            let amounts = amounts(*direction, &all);
            format!(
                "  {done} {claim}: {amounts} in {took}{}",
                rate(progress, *seconds)
            )
        }
        Event::StepFinished { error: None, .. } => return None,
        Event::StepFinished {
            object,
            action,
            error: Some(_),
            ..
        } => {
            // The reason stands in what the run ends with, and only there.
            format!("{} {action} {object} failed", paint(Role::Bad, "✗"))
        }
        Event::StepStopped { object, action, .. } => {
            format!("{} {action} {object} stopped", paint(Role::Dim, "…"))
        }
        Event::Waiting { object, message } => {
            format!(
                "{} waiting for {object}: {}",
                paint(Role::Dim, "…"),
                shortened(message)
            )
        }
        Event::Notice { text } => format!("  {text}"),
        Event::Warning { text } => format!("{} {text}", paint(Role::Warn, "warning:")),
    })
}

/// The beginning of a long message: events of pods run to many lines.
fn shortened(message: &str) -> String {
    const LONGEST: usize = 200;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

pub(super) fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::Save => "saving",
        Direction::Load => "loading",
        Direction::Read => "reading",
        Direction::Verify => "verifying",
        Direction::Examine => "examining",
    }
}

fn done(direction: Direction) -> &'static str {
    match direction {
        Direction::Save => "saved",
        Direction::Load => "loaded",
        Direction::Read => "read",
        Direction::Verify => "verified",
        Direction::Examine => "examined",
    }
}

fn counted(direction: Direction) -> &'static str {
    match direction {
        Direction::Examine => "directories",
        _ => "files",
    }
}

/// How fast that was, unless nearly nothing was to be done.
fn rate(progress: &VolumeProgress, seconds: f64) -> String {
    if seconds < 0.1 {
        return String::new();
    }
    let rate = (progress.bytes_done as f64 / seconds) as u64;
    format!(" ({}/s)", units::bytes(rate))
}

fn amounts(direction: Direction, progress: &VolumeProgress) -> String {
    let of = |done: String, total: Option<String>| match total {
        Some(total) => format!("{done} of {total}"),
        None => done,
    };
    let bytes = of(
        units::bytes(progress.bytes_done),
        progress.bytes_total.map(units::bytes),
    );
    // A block volume has none.
    if progress.files_done == 0 && progress.files_total.is_none() {
        return bytes;
    }
    let files = of(
        units::count(progress.files_done),
        progress.files_total.map(units::count),
    );
    format!("{files} {}, {bytes}", counted(direction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_volume_says_how_fast_it_was() {
        let progress = VolumeProgress {
            files_done: 1200,
            bytes_done: 10 << 20,
            ..Default::default()
        };
        let event = |seconds| Event::VolumeFinished {
            claim: "shop/files".into(),
            direction: Direction::Save,
            progress,
            seconds,
        };
        assert_eq!(
            describe(&event(2.0)).unwrap(),
            "  saved shop/files: 1\u{202f}200 files, 10.0 MiB in 2.0 s (5.00 MiB/s)"
        );
        assert_eq!(
            describe(&event(0.01)).unwrap(),
            "  saved shop/files: 1\u{202f}200 files, 10.0 MiB in 0.0 s"
        );
    }

    #[test]
    fn a_failed_step_is_told_at_once_and_its_reason_once_at_the_end() {
        let event = Event::StepFinished {
            step: 1,
            object: crate::object::ObjectId::namespaced("", "ConfigMap", "shop", "env"),
            action: "create".into(),
            error: Some("a long story".into()),
        };
        let line = describe(&event).unwrap();
        assert!(line.ends_with("create ConfigMap shop/env failed"), "{line}");
    }

    #[test]
    fn what_the_user_stopped_has_not_failed() {
        let event = Event::StepStopped {
            step: 1,
            object: crate::object::ObjectId::cluster("", "Namespace", "shop"),
            action: "quiet".into(),
        };
        let line = describe(&event).unwrap();
        assert!(line.ends_with("quiet Namespace shop stopped"), "{line}");
    }

    #[test]
    fn a_block_volume_is_told_without_files() {
        let progress = VolumeProgress {
            bytes_done: 4 << 20,
            ..Default::default()
        };
        assert_eq!(amounts(Direction::Save, &progress), "4.00 MiB");
    }

    #[test]
    fn a_check_that_read_no_content_says_what_it_looked_through() {
        let event = Event::VolumeFinished {
            claim: "s3://backups/ferry".into(),
            direction: Direction::Examine,
            progress: VolumeProgress {
                files_done: 145,
                ..Default::default()
            },
            seconds: 2.0,
        };
        assert_eq!(
            describe(&event).unwrap(),
            "  examined s3://backups/ferry: 145 directories in 2.0 s"
        );
    }
}
