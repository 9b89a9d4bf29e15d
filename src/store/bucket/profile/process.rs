//! Keys that a command hands over: the profile's own `credential_process`, or the AWS tools for what only they know how
//! to do (roles, single sign-on, a second factor).
//!
//! Both speak the format of <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>. The keys
//! are those of the moment: when they end before a run does, the run ends resumable, and resuming asks again.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::super::StoreError;
use super::super::s3::{KEY_ID, SECRET, TOKEN};

/// Characters of a command's last words that are passed on.
const WORDS: usize = 400;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// The keys that the profile's own command tells.
pub(super) fn told(
    profile: &str,
    command: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut process = Command::new("sh");
    process.args(["-c", command]);
    let asked = format!("the credential_process of the profile {profile:?}");
    let help = "run it by hand: it has to print the JSON of a credential process".to_owned();
    answer(process, environment, &asked, &help)
}

/// The keys that the AWS tools have for a profile, which comes to them by `key`.
pub(super) fn exported(
    profile: &str,
    key: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut process = Command::new("aws");
    let arguments = ["configure", "export-credentials", "--profile", profile];
    process.args(arguments).args(["--format", "process"]);
    let asked = format!("the AWS tools, which the profile {profile:?} needs for its `{key}`,");
    let help = format!(
        "`aws configure export-credentials --profile {profile}` has to work: install version 2 of the AWS CLI, or log in, for \
         example with `aws sso login --profile {profile}`"
    );
    answer(process, environment, &asked, &help)
}

fn answer(
    mut process: Command,
    environment: &BTreeMap<String, String>,
    asked: &str,
    help: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let failed = |reason: String| StoreError::Settings {
        reason: format!("{asked} {reason}"),
        help: help.to_owned(),
    };
    // A second factor is asked for on the terminal.
    let done = process
        .env_clear()
        .envs(environment)
        .stdin(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("cannot be asked: {error}")))?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        let words: String = words.trim().chars().take(WORDS).collect();
        return Err(failed(format!("said: {words}")));
    }
    // What it printed may be half a secret, so it is not shown.
    let answer: Answer = serde_json::from_slice(&done.stdout)
        .map_err(|_| failed("gave no JSON with the keys".into()))?;
    if answer.version != 1 {
        return Err(failed(format!(
            "speaks version {} of its format, and 1 is known",
            answer.version
        )));
    }
    let token = answer.session_token.filter(|token| !token.is_empty());
    let keys = [
        (KEY_ID, Some(answer.access_key_id)),
        (SECRET, Some(answer.secret_access_key)),
        (TOKEN, token),
    ];
    let said = keys
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(said.collect())
}
