//! The hooks that people wrote for Velero and OADP, as annotations of pods.
//!
//! `pre.hook.backup.velero.io/…` runs in a cutover on A before anything is held; `post.hook.restore.velero.io/…`
//! on B. A pod that has `post.hook.backup.velero.io/command` too wants something undone after a backup, as a file
//! system that was frozen: a cutover stops the pod instead, for which nothing may be frozen, so of such a pod
//! neither runs.

use std::fmt;

use super::{Hook, Moment, OnError, Pods, TIMEOUT, WAIT, WaitFor, seconds};

/// Who asks for a hook that is an annotation.
pub const ORIGIN: &str = "annotations";

const PRE: &str = "pre.hook.backup.velero.io";
const POST: &str = "post.hook.backup.velero.io";
const RESTORE: &str = "post.hook.restore.velero.io";

/// What a pod's annotations ask for.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// What runs.
    pub hook: Option<Hook>,
    /// What does not, and why; what is not as Velero would read it.
    pub said: Vec<Said>,
}

/// Something to say of annotations.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A backup's hooks come in a pair, and a cutover runs neither.
    Pair,
    /// A command that is no command.
    NoCommand(String),
    /// A value nobody understands; Velero's default stands in its place.
    Unclear(String, String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair => write!(
                f,
                "its {PRE} and {POST} commands belong together, around a backup, and a cutover runs neither"
            ),
            Self::NoCommand(key) => write!(f, "{key} is no command and is not run"),
            Self::Unclear(key, value) => {
                write!(f, "{key} says {value:?}, which nobody understands")
            }
        }
    }
}

/// What the annotations of a pod ask for at a moment; `read` gives one by its key.
pub fn asked<'a>(moment: Moment, read: &dyn Fn(&str) -> Option<&'a str>) -> Asked {
    let prefix = match moment {
        Moment::BeforeHold => PRE,
        Moment::AfterRelease => RESTORE,
    };
    let key = |name: &str| format!("{prefix}/{name}");
    let get = |name: &str| read(&key(name)).filter(|value| !value.is_empty());
    let mut asked = Asked::default();
    let Some(text) = get("command") else {
        return asked;
    };
    if moment == Moment::BeforeHold && read(&format!("{POST}/command")).is_some() {
        asked.said.push(Said::Pair);
        return asked;
    }
    let Some(command) = command(text) else {
        asked.said.push(Said::NoCommand(key("command")));
        return asked;
    };
    let said = &mut asked.said;
    let mut time = |name: &str, default: u64| {
        let Some(text) = get(name) else {
            return default;
        };
        seconds(text).unwrap_or_else(|| {
            said.push(Said::Unclear(key(name), text.into()));
            default
        })
    };
    let (timeout, wait) = match moment {
        Moment::BeforeHold => (time("timeout", TIMEOUT), WAIT),
        Moment::AfterRelease => (time("exec-timeout", TIMEOUT), time("wait-timeout", WAIT)),
    };
    // A backup fails where a restore goes on.
    let default = match moment {
        Moment::BeforeHold => OnError::Fail,
        Moment::AfterRelease => OnError::Continue,
    };
    let on_error = match get("on-error") {
        None => default,
        Some("Fail") => OnError::Fail,
        Some("Continue") => OnError::Continue,
        Some(other) => {
            said.push(Said::Unclear(key("on-error"), other.into()));
            default
        }
    };
    asked.hook = Some(Hook {
        name: key("command"),
        origin: ORIGIN.into(),
        moment,
        pods: Pods::All,
        container: get("container").map(Into::into),
        command,
        timeout,
        on_error,
        wait_for: match (moment, get("wait-for-ready")) {
            (Moment::BeforeHold, _) | (_, Some("true")) => WaitFor::Ready,
            (Moment::AfterRelease, _) => WaitFor::Running,
        },
        wait,
    });
    asked
}

/// A JSON array, or one program without arguments.
fn command(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return Some(vec![text.to_owned()]);
    }
    let words: Vec<String> = serde_json::from_str(text).ok()?;
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(moment: Moment, annotations: &[(&str, &'static str)]) -> Asked {
        asked(moment, &|key| {
            let mut all = annotations.iter();
            all.find_map(|(name, value)| (*name == key).then_some(*value))
        })
    }

    #[test]
    fn a_backups_hook_has_veleros_defaults_and_fails() {
        let asked = ask(
            Moment::BeforeHold,
            &[("pre.hook.backup.velero.io/command", r#"["sync", "-f"]"#)],
        );
        let hook = asked.hook.unwrap();
        assert_eq!(hook.command, ["sync", "-f"]);
        assert_eq!((hook.timeout, hook.on_error), (30, OnError::Fail));
        assert_eq!(hook.container, None);
        assert_eq!(asked.said, []);
    }

    #[test]
    fn a_restores_hook_goes_on_after_a_failure_and_waits_for_a_running_container() {
        let key = |name| format!("post.hook.restore.velero.io/{name}");
        let (command, wait, exec) = (key("command"), key("wait-timeout"), key("exec-timeout"));
        let (ready, error) = (key("wait-for-ready"), key("on-error"));
        let hook = ask(
            Moment::AfterRelease,
            &[(&command, "/restore.sh"), (&wait, "5m"), (&exec, "45s")],
        )
        .hook
        .unwrap();
        assert_eq!(hook.command, ["/restore.sh"]);
        assert_eq!((hook.wait, hook.timeout), (300, 45));
        assert_eq!(hook.on_error, OnError::Continue);
        assert_eq!(hook.wait_for, WaitFor::Running);
        let hook = ask(
            Moment::AfterRelease,
            &[(&command, "x"), (&ready, "true"), (&error, "Fail")],
        )
        .hook
        .unwrap();
        assert_eq!(hook.on_error, OnError::Fail);
        assert_eq!(hook.wait_for, WaitFor::Ready);
    }

    #[test]
    fn of_a_pair_around_a_backup_neither_runs() {
        let asked = ask(
            Moment::BeforeHold,
            &[
                ("pre.hook.backup.velero.io/command", "freeze"),
                ("post.hook.backup.velero.io/command", "unfreeze"),
            ],
        );
        assert_eq!((asked.hook, asked.said), (None, vec![Said::Pair]));
    }

    #[test]
    fn what_nobody_understands_is_said() {
        let asked = ask(
            Moment::BeforeHold,
            &[
                ("pre.hook.backup.velero.io/command", "sync"),
                ("pre.hook.backup.velero.io/timeout", "300"),
                ("pre.hook.backup.velero.io/on-error", "ignore"),
            ],
        );
        assert_eq!(asked.said.len(), 2);
        assert_eq!(asked.hook.unwrap().timeout, 30);
        let broken = ask(
            Moment::BeforeHold,
            &[("pre.hook.backup.velero.io/command", r#"["sync""#)],
        );
        assert_eq!(broken.hook, None);
        assert!(matches!(broken.said[..], [Said::NoCommand(_)]));
    }
}
