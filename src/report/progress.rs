//! Events as progress bars on a terminal: one line per stage under way and one per volume.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain::{describe, verb};
use crate::event::{Direction, Event, Events, Stage, VolumeProgress};

const STAGE: &str = "{spinner:.cyan} {prefix:<9} {wide_msg:.dim} {elapsed:.dim}";
const VOLUME: &str = "  {prefix} {bar:24.cyan/dim} {bytes:>10} of {total_bytes} {binary_bytes_per_sec:>12}  eta {eta}";
const VOLUME_UNSIZED: &str = "  {prefix} {spinner:.cyan} {bytes:>10} {binary_bytes_per_sec:>12}";

/// Progress bars on stderr; everything that must stay readable is printed above them.
pub fn bars() -> Events {
    let board = Mutex::new(Board::default());
    Events::new(move |event| {
        board
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .show(&event);
    })
}

#[derive(Default)]
struct Board {
    all: MultiProgress,
    stages: BTreeMap<Stage, ProgressBar>,
    volumes: BTreeMap<(String, Direction), ProgressBar>,
    steps_done: u64,
    listed: u64,
}

impl Board {
    fn show(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage, .. } => self.start(*stage),
            Event::StageFinished { stage, .. } => {
                if let Some(bar) = self.stages.remove(stage) {
                    bar.finish_and_clear();
                }
                self.print(event);
            }
            Event::Listed { kind, count, .. } => {
                self.listed += count;
                self.tell(Stage::Capture, format!("{} objects, {kind}", self.listed));
            }
            Event::StepStarted { object, action, .. } => {
                self.tell(
                    Stage::Restore,
                    format!("{} steps, {action} {object}", self.steps_done),
                );
            }
            Event::StepFinished { .. } => {
                self.steps_done += 1;
                self.print(event);
            }
            Event::Waiting { object, message } => {
                self.tell(Stage::Restore, format!("waiting for {object}: {message}"));
            }
            Event::Volume {
                claim,
                direction,
                progress,
            } => self.volume(claim, *direction, progress),
            Event::VolumeFinished {
                claim, direction, ..
            } => {
                if let Some(bar) = self.volumes.remove(&(claim.clone(), *direction)) {
                    bar.finish_and_clear();
                }
                self.print(event);
            }
            Event::StepStopped { .. } | Event::Notice { .. } | Event::Warning { .. } => {
                self.print(event);
            }
        }
    }

    fn start(&mut self, stage: Stage) {
        let bar = ProgressBar::new_spinner()
            .with_style(style(STAGE))
            .with_prefix(stage.to_string());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.stages.insert(stage, self.all.add(bar));
    }

    fn tell(&self, stage: Stage, message: String) {
        if let Some(bar) = self.stages.get(&stage) {
            bar.set_message(message);
        }
    }

    fn volume(&mut self, claim: &str, direction: Direction, progress: &VolumeProgress) {
        let all = &self.all;
        let bar = self
            .volumes
            .entry((claim.to_owned(), direction))
            .or_insert_with(|| {
                let bar = ProgressBar::new(0).with_prefix(format!("{} {claim}", verb(direction)));
                bar.enable_steady_tick(Duration::from_millis(200));
                all.add(bar)
            });
        match progress.bytes_total {
            Some(total) => {
                bar.set_style(style(VOLUME));
                bar.set_length(total);
            }
            None => bar.set_style(style(VOLUME_UNSIZED)),
        }
        bar.set_position(progress.bytes_done);
    }

    fn print(&self, event: &Event) {
        if let Some(line) = describe(event) {
            // A terminal that went away takes its lines with it.
            drop(self.all.println(line));
        }
    }
}

/// The templates are constants of this file; a wrong one shows as the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_well_formed() {
        for template in [STAGE, VOLUME, VOLUME_UNSIZED] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
