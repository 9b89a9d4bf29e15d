//! Hooks: commands that run inside the application's own containers, as their owners would run them.
//!
//! A hook is data of a plan like everything else: which pods, which container, the very words of the command,
//! how long it may take and what its failure means are signed with the plan. It comes from a recipe's `hooks`,
//! or from the annotations that Velero reads ([`velero`]). No data travels through one.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod velero;

/// Seconds a command may take when nobody says otherwise; Velero's.
pub const TIMEOUT: u64 = 30;

/// Seconds in which a container has to run before the hook is taken for failed.
pub const WAIT: u64 = 600;

/// The annotation by which a pod names its default container.
pub(crate) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// When, and so on which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// On A in a cutover, when B is prepared and before the first workload is held.
    BeforeHold,
    /// On B, when the workload was started there.
    AfterRelease,
}

/// In how many of a workload's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pods {
    /// In each of them, one after the other in order of name.
    #[default]
    All,
    /// In the first one in order of name.
    First,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The step failed, and whatever waits for it is not reached.
    #[default]
    Fail,
    /// It is told, and the run goes on.
    Continue,
}

/// What must be of the pods before the command is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    /// The workload is ready.
    #[default]
    Ready,
    /// The container runs: for a command without which the workload does not become ready.
    Running,
}

/// A command and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// What it is called.
    pub name: String,
    /// Who asked for it: `recipe shop`, or the annotation.
    pub origin: String,
    /// When.
    pub moment: Moment,
    /// In how many pods of the workload.
    pub pods: Pods,
    /// The container; `None` for the one the pod itself names as its default, else its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// Seconds it may take in one pod.
    pub timeout: u64,
    /// What a failure means.
    pub on_error: OnError,
    /// What is waited for before.
    pub wait_for: WaitFor,
    /// Seconds that is waited for at most.
    pub wait: u64,
}

impl Hook {
    /// The command as a shell would be given it, on one line.
    pub fn shown(&self) -> String {
        let words = self.command.iter().map(|word| quoted(word));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Moment {
    /// Its word in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Self::BeforeHold => "before-hold",
            Self::AfterRelease => "after-release",
        }
    }
}

/// `[container postgres] psql -c CHECKPOINT`, with all that is not as always.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.moment {
            Moment::BeforeHold => "on A",
            Moment::AfterRelease => "on B",
        };
        let pods = match self.pods {
            Pods::All => "every pod",
            Pods::First => "the first pod",
        };
        write!(f, "{side}, {} in {pods}, ", self.name)?;
        match &self.container {
            Some(container) => write!(f, "container {container}")?,
            None => f.write_str("its default container")?,
        }
        write!(f, ", {} s at most", self.timeout)?;
        if self.wait_for == WaitFor::Running {
            f.write_str(", as soon as it runs")?;
        }
        if self.on_error == OnError::Continue {
            f.write_str(", may fail")?;
        }
        write!(f, ": {}", self.shown())
    }
}

/// A word as a shell reads it; what would break a line is escaped.
pub fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    match word.chars().any(char::is_control) {
        true => format!("$'{}'", word.escape_default()),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Seconds of a duration as Go and people write it: `30s`, `1m30s`. None for anything else, and for none at all.
pub fn seconds(text: &str) -> Option<u64> {
    let duration: jiff::SignedDuration = text.trim().parse().ok()?;
    let seconds = duration.as_secs_f64().ceil();
    (seconds >= 1.0).then_some(seconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_would_be_given_it() {
        let words = ["psql", "-c", "SELECT 'a b'", "", "two\nlines"];
        let hook = Hook {
            name: "flush".into(),
            origin: "recipe t".into(),
            moment: Moment::BeforeHold,
            pods: Pods::All,
            container: Some("db".into()),
            command: words.map(str::to_owned).to_vec(),
            timeout: 5,
            on_error: OnError::Continue,
            wait_for: WaitFor::Ready,
            wait: WAIT,
        };
        assert_eq!(
            hook.to_string(),
            r"on A, flush in every pod, container db, 5 s at most, may fail: psql -c 'SELECT '\''a b'\''' '' $'two\nlines'"
        );
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("1m30s"), Some(90));
        assert_eq!(seconds("1h"), Some(3600));
        assert_eq!(seconds("1500ms"), Some(2));
        for bad in ["", "0s", "-5s", "300", "soon"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
