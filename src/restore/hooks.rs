//! Hooks: commands in the application's own containers, run as a step of the plan says.
//!
//! Before a command runs in a pod the journal says so, and afterwards how it ended and what it wrote last. A pod in
//! which it ended well is not visited again by a resume. Where Ferry was killed in between nobody knows how far the
//! command came, and a resume runs it again: it is run at least once, not exactly once.

use std::time::{Duration, Instant};

use super::StepError;
use super::engine::{Engine, Executed};
use super::pods::Home;
use crate::cluster::{Command, CommandEnd};
use crate::data::Movers;
use crate::event::Event;
use crate::hook::{DEFAULT_CONTAINER, Hook, Moment, OnError, Pods};
use crate::journal::{Entry, Record};
use crate::object::Object;
use crate::plan::{Step, digest};

const LOOK: Duration = Duration::from_millis(250);

/// Lines of what a command wrote that are kept.
const LINES: usize = 20;

/// Bytes of them.
const BYTES: usize = 4 << 10;

impl<M: Movers> Engine<'_, M> {
    /// Runs a hook in the pods of its workload.
    pub(super) async fn hook(&self, step: &Step, hook: &Hook) -> Result<Executed, StepError> {
        let over = hook.moment == Moment::BeforeHold && self.released;
        if over || self.past.ended.contains_key(&step.number) {
            return Ok(Executed::found());
        }
        if self.context.options.skip_hooks.contains(&hook.name) {
            self.journal
                .intend(Record::of_step(step, Entry::LeftOut))
                .await?;
            self.events()
                .warning(format!("hook {} is left out, as you said", hook.name));
            return Ok(Executed::default());
        }
        if hook.moment == Moment::BeforeHold {
            // A hook makes the last delta small, so nothing that takes time comes between them.
            self.standing_by.get_or_try_init(|| self.stand_by()).await?;
        }
        match self.pods(step, hook).await {
            Ok(pods) => self.run_in(step, hook, &pods).await?,
            Err(error) => self.may_fail(hook, error)?,
        }
        Ok(Executed::default())
    }

    /// Tells a failure that is allowed.
    fn may_fail(&self, hook: &Hook, error: StepError) -> Result<(), StepError> {
        match error {
            StepError::Hook { reason } if hook.on_error == OnError::Continue => {
                self.events().warning(format!("allowed to fail: {reason}"));
                Ok(())
            }
            error => Err(error),
        }
    }

    /// The pods it runs in, each with the container: there and running.
    async fn pods(&self, step: &Step, hook: &Hook) -> Result<Vec<(String, String)>, StepError> {
        let home = self.home(step, hook).await?;
        let begun = Instant::now();
        let mut told = String::new();
        loop {
            let missing = match chosen(step, hook, &home).await? {
                Ok(pods) => return Ok(pods),
                Err(missing) => missing,
            };
            let waits = hook.moment == Moment::AfterRelease;
            if !waits || begun.elapsed() >= Duration::from_secs(hook.wait) {
                let name = &hook.name;
                return Err(StepError::Hook {
                    reason: format!("hook {name} has nowhere to run: {missing}"),
                });
            }
            if told != missing {
                told.clone_from(&missing);
                self.events().send(Event::Waiting {
                    object: step.object.clone(),
                    message: missing,
                });
            }
            tokio::select! {
                () = self.context.cancel.cancelled() => return Err(StepError::Stopped),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn home<'h>(&'h self, step: &'h Step, hook: &Hook) -> Result<Home<'h>, StepError> {
        let (cluster, served) = match hook.moment {
            Moment::BeforeHold => self.source().await?,
            Moment::AfterRelease => (self.target(), self.resources.served()),
        };
        Ok(Home {
            cluster,
            served,
            namespace: step.object.namespace.as_deref().unwrap_or_default(),
        })
    }

    async fn run_in(
        &self,
        step: &Step,
        hook: &Hook,
        pods: &[(String, String)],
    ) -> Result<(), StepError> {
        for (pod, container) in pods {
            if self.past.ran.contains(&(step.number, pod.clone())) {
                continue;
            }
            let entry = Entry::Intent {
                before: None,
                payload: digest(&hook.command),
            };
            self.journal.intend(Record::of_step(step, entry)).await?;
            if let Err(error) = self.run_once(step, hook, pod, container).await {
                self.may_fail(hook, error)?;
            }
        }
        Ok(())
    }

    async fn run_once(
        &self,
        step: &Step,
        hook: &Hook,
        pod: &str,
        container: &str,
    ) -> Result<(), StepError> {
        let home = self.home(step, hook).await?;
        let begun = Instant::now();
        let within = Duration::from_secs(hook.timeout);
        let command = home
            .cluster
            .command(home.namespace, pod, container, &hook.command, within);
        let command = tokio::select! {
            () = self.context.cancel.cancelled() => return Err(StepError::Stopped),
            command = command => command.unwrap_or_else(|error| Command {
                end: CommandEnd::Failed(crate::causes::in_one_line(&error)),
                output: Vec::new(),
            }),
        };
        let (exit, problem) = problem(&command.end, hook);
        let output = last(&command.output);
        let seconds = begun.elapsed().as_secs_f64();
        let entry = Entry::Ran {
            pod: pod.into(),
            container: container.into(),
            exit,
            problem: problem.clone(),
            output: output.clone(),
            seconds,
        };
        // Durable: what ended well is not run again.
        self.journal.intend(Record::of_step(step, entry)).await?;
        let place = format!("Pod {}/{pod}, container {container}", home.namespace);
        let wrote = match output.as_str() {
            "" => String::new(),
            output => format!(":\n    {}", output.replace('\n', "\n    ")),
        };
        let name = &hook.name;
        match problem {
            None => {
                self.events().notice(format!(
                    "hook {name} ended well in {place} after {seconds:.1} s{wrote}"
                ));
                Ok(())
            }
            Some(problem) => Err(StepError::Hook {
                reason: format!("hook {name} failed in {place}: {problem}{wrote}"),
            }),
        }
    }
}

/// The exit code, and what is wrong.
fn problem(end: &CommandEnd, hook: &Hook) -> (Option<i32>, Option<String>) {
    match end {
        CommandEnd::Exit(0) => (Some(0), None),
        CommandEnd::Exit(code) => (Some(*code), Some(format!("it ended with {code}"))),
        CommandEnd::Failed(reason) => (None, Some(plain(reason))),
        CommandEnd::Late => {
            let seconds = hook.timeout;
            let late = format!(
                "it did not end within {seconds} s, is not waited for any longer, and may go on there"
            );
            (None, Some(late))
        }
        CommandEnd::Lost => {
            let lost = "the connection broke before its end was known";
            (None, Some(lost.into()))
        }
    }
}

/// The pods a hook runs in now, or what is missing.
async fn chosen(
    step: &Step,
    hook: &Hook,
    home: &Home<'_>,
) -> Result<Result<Vec<(String, String)>, String>, StepError> {
    let all = home.pods().await?;
    let mut pods = all.of(&step.object);
    if pods.is_empty() {
        return Ok(Err(format!("no pod of {} is there", step.object)));
    }
    if hook.pods == Pods::First {
        pods.truncate(1);
    }
    let with_container = |pod: &&Object| {
        let container = hook.container.clone().or_else(|| default(pod));
        let name = pod.name();
        let Some(container) = container else {
            return Err(format!("Pod {name} has no container"));
        };
        match state(pod, &container) {
            State::Runs => Ok((name.to_owned(), container)),
            State::Waits => Err(format!("container {container} of Pod {name} does not run")),
            State::Absent => Err(format!("Pod {name} has no container {container}")),
        }
    };
    Ok(pods.iter().map(with_container).collect())
}

enum State {
    Runs,
    Waits,
    Absent,
}

fn state(pod: &Object, container: &str) -> State {
    let named = |list: &str| {
        let all = pod.pointer(list).and_then(serde_json::Value::as_array);
        all.into_iter()
            .flatten()
            .find(|one| one["name"] == container)
    };
    let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let status = lists.iter().find_map(|list| named(list));
    let known = ["/spec/containers", "/spec/initContainers"];
    match status {
        Some(status) if status.pointer("/state/running").is_some() => State::Runs,
        Some(_) => State::Waits,
        None if known.iter().any(|list| named(list).is_some()) => State::Waits,
        None => State::Absent,
    }
}

/// The container a pod calls its default, else its first.
fn default(pod: &Object) -> Option<String> {
    let named = pod.annotation(DEFAULT_CONTAINER);
    named
        .or_else(|| pod.text("/spec/containers/0/name"))
        .map(Into::into)
}

/// The last lines a command wrote, without what a terminal would obey.
fn last(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let text = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let mut from = text.len().saturating_sub(BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    plain(&text[from..])
}

fn plain(text: &str) -> String {
    let letter = |letter: char| match letter {
        '\n' => '\n',
        control if control.is_control() => ' ',
        other => other,
    };
    text.trim().chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_command_wrote_the_last_lines_are_told_without_control_characters() {
        let many: String = (0..50).map(|line| format!("line {line}\n")).collect();
        let told = last(many.as_bytes());
        assert!(
            told.starts_with("line 30\n") && told.ends_with("line 49"),
            "{told}"
        );
        assert_eq!(last(b"a\x1b[31mb\tc\r\n\n"), "a [31mb c");
        assert_eq!(last("ü".repeat(5000).as_bytes()).len(), BYTES);
        assert_eq!(last(b""), "");
    }
}
