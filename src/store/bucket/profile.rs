//! The AWS tools' shared files: `~/.aws/config` and `~/.aws/credentials`.
//!
//! Read are the keys, the region, the endpoint, the addressing style and the CA bundle of one profile. Where a profile
//! comes to its keys by a role, single sign-on or a process, somebody else is asked for them ([`process`]).

mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::s3::{ENDPOINT, KEY_ID, OF_THIS_MACHINE, SECRET, TOKEN};
use super::{AUTHORITIES, StoreError};

/// Section to key to value; a key below another is `outer.inner`.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Keys of a profile by which the AWS tools alone come to credentials.
const ROUNDABOUT: [&str; 5] = [
    "role_arn",
    "credential_source",
    "sso_session",
    "sso_start_url",
    "login_session",
];

/// What the profile says, under the names of the variables that would say it.
pub(super) fn read(
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let given = |name: &str| variables.get(name).cloned();
    let wanted = given("AWS_PROFILE").or_else(|| given("AWS_DEFAULT_PROFILE"));
    let name = wanted.as_deref().unwrap_or("default");
    let config = sections(variables, "AWS_CONFIG_FILE", "config")?;
    let credentials = sections(variables, "AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
    let titled = match name {
        "default" => "default".to_owned(),
        name => format!("profile {name}"),
    };
    let found = [credentials.get(name), config.get(&titled)];
    if wanted.is_some() && found == [None, None] {
        return Err(unknown(name, &config, &credentials));
    }
    let value = |key: &str| found.iter().flatten().find_map(|section| section.get(key));
    let mut said = BTreeMap::new();
    let mut say = |variable: &str, text: Option<&String>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            said.insert(variable.to_owned(), text.clone());
        }
    };
    // The three belong together, and are one file's.
    if let Some(section) = found
        .iter()
        .flatten()
        .find(|section| section.contains_key("aws_access_key_id"))
    {
        say(KEY_ID, section.get("aws_access_key_id"));
        say(SECRET, section.get("aws_secret_access_key"));
        say(TOKEN, section.get("aws_session_token"));
    }
    say("AWS_REGION", value("region"));
    let services = value("services").and_then(|name| config.get(&format!("services {name}")));
    let of_s3 = services.and_then(|services| services.get("s3.endpoint_url"));
    say(ENDPOINT, of_s3.or_else(|| value("endpoint_url")));
    say(AUTHORITIES, value("ca_bundle"));
    let style = value("s3.addressing_style").map(|style| (style == "virtual").to_string());
    say("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", style.as_ref());
    let has_keys = said.contains_key(KEY_ID)
        || std::iter::once(KEY_ID)
            .chain(OF_THIS_MACHINE)
            .any(|name| variables.contains_key(name));
    if !has_keys {
        if let Some(key) = ROUNDABOUT.iter().find(|key| value(key).is_some()) {
            said.extend(process::exported(name, key, variables)?);
        } else if let Some(command) = value("credential_process") {
            said.extend(process::told(name, command, variables)?);
        }
    }
    Ok(said)
}

/// A file's sections; none where there is no file, unless it was named.
fn sections(
    variables: &BTreeMap<String, String>,
    variable: &str,
    usual: &str,
) -> Result<Sections, StoreError> {
    let path = match (variables.get(variable), variables.get("HOME")) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => PathBuf::from(home).join(".aws").join(usual),
        (None, None) => return Ok(Sections::new()),
    };
    let wrong = |reason: String| StoreError::Settings {
        reason: format!("{} {reason}", path.display()),
        help: format!(
            "mend it, name another file with {variable}, or set the AWS_* variables instead"
        ),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|(line, what)| wrong(format!("line {line}: {what}"))),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                && !variables.contains_key(variable) =>
        {
            Ok(Sections::new())
        }
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}

fn unknown(name: &str, config: &Sections, credentials: &Sections) -> StoreError {
    let titles = config.keys().filter_map(|title| match title.as_str() {
        "default" => Some("default"),
        title => title.strip_prefix("profile "),
    });
    let known: std::collections::BTreeSet<&str> = titles
        .chain(credentials.keys().map(String::as_str))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    StoreError::Settings {
        reason: format!("AWS_PROFILE names {name:?}, and there is no such profile"),
        help: if known.is_empty() {
            "no profile was found in ~/.aws/config and ~/.aws/credentials".into()
        } else {
            format!("there are: {}", known.join(", "))
        },
    }
}

/// Reads one file. What is wrong is told without the line itself, which may be a secret.
fn parse(text: &str) -> Result<Sections, (usize, &'static str)> {
    let mut sections = Sections::new();
    let mut section = None;
    let mut outer = None;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let title = rest
                .split_once(']')
                .ok_or((number, "a section's title has no `]`"))?
                .0;
            let title = title
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace('"', "");
            sections.entry(title.clone()).or_default();
            (section, outer) = (Some(title), None);
            continue;
        }
        let (key, value) = trimmed
            .split_once('=')
            .ok_or((number, "is no `key = value`"))?;
        let title = section.as_ref().ok_or((number, "belongs to no section"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), uncommented(value));
        let key = match (&outer, line.starts_with([' ', '\t'])) {
            (Some(outer), true) => format!("{outer}.{key}"),
            _ => {
                outer = value.is_empty().then(|| key.clone());
                key
            }
        };
        sections
            .entry(title.clone())
            .or_default()
            .insert(key, value.to_owned());
    }
    Ok(sections)
}

/// A value without what is said about it: a comment begins after a space.
fn uncommented(value: &str) -> &str {
    let cut = [" #", " ;", "\t#", "\t;"]
        .iter()
        .filter_map(|mark| value.find(mark))
        .min();
    value[..cut.unwrap_or(value.len())].trim()
}
