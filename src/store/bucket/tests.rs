use super::s3::{ENDPOINT, KEY_ID, S3, SECRET, TOKEN};
use super::*;

const CONFIG: &str = "\
# as the tools write it
[default]
region = us-west-2
[profile onprem]
region = eu-1   # ours
endpoint_url = https://other.example
services = ours
ca_bundle = /ca.pem
s3 =
    addressing_style = virtual
[services ours]
s3 =
  endpoint_url = https://s3.example:9000
dynamodb =
  endpoint_url = https://db.example
[profile sso]
sso_session = us
[profile told]
credential_process = cat $HOME/told
region = there
";
const CREDENTIALS: &str = "\
[default]
aws_access_key_id = D
aws_secret_access_key = d
[onprem]
aws_access_key_id=K
aws_secret_access_key=a+b/c=#;
aws_session_token = T
";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        Self(home)
    }

    fn with(&self, variables: &[(&str, &str)]) -> Result<BTreeMap<String, String>, StoreError> {
        // The profile's own CA file does not exist; a plain endpoint has no use for it.
        let home = self.0.path().display().to_string();
        let mut environment = of(&[("HOME", &home)]);
        environment.extend(of(variables));
        profile::read(&environment).map(|said| {
            environment.extend(said);
            environment
        })
    }
}

fn of(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(own).collect()
}

fn reason(error: &StoreError) -> String {
    format!("{error}; {}", error.help().unwrap_or_default())
}

#[test]
fn a_profile_says_what_the_variables_would() {
    let said = Home::new().with(&[("AWS_PROFILE", "onprem")]).unwrap();
    for (name, value) in [
        (KEY_ID, "K"),
        (SECRET, "a+b/c=#;"),
        (TOKEN, "T"),
        ("AWS_REGION", "eu-1"),
        (ENDPOINT, "https://s3.example:9000"),
        (AUTHORITIES, "/ca.pem"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
    ] {
        assert_eq!(said.get(name).map(String::as_str), Some(value), "{name}");
    }
    let said = Home::new().with(&[]).unwrap();
    assert_eq!(
        (said[KEY_ID].as_str(), said["AWS_REGION"].as_str()),
        ("D", "us-west-2")
    );
}

#[test]
fn variables_win_over_the_profile_and_keys_come_from_one_place() {
    let home = Home::new();
    let path = home.0.path().display().to_string();
    let settings = Settings::of(
        Cloud::S3,
        &of(&[
            ("HOME", &path),
            (KEY_ID, "mine"),
            (SECRET, "too"),
            (TOKEN, ""),
            ("AWS_ENDPOINT_URL_S3", "http://here:9000"),
            ("AWS_PROFILE", "onprem"),
        ]),
    )
    .unwrap();
    assert_eq!(settings.variables[KEY_ID], "mine");
    assert!(
        !settings.variables.contains_key(TOKEN),
        "the profile's token is not for these keys"
    );
    assert_eq!(settings.endpoint(), Some("http://here:9000"));
    assert!(!settings.variables.contains_key(ENDPOINT));
    assert_eq!(settings.variables["AWS_REGION"], "eu-1");
}

#[test]
fn a_profile_that_is_not_there_or_needs_the_aws_tools_is_told_with_the_next_step() {
    let home = Home::new();
    let error = reason(&home.with(&[("AWS_PROFILE", "prod")]).unwrap_err());
    assert!(
        error.contains("\"prod\"") && error.contains("default, onprem, sso, told"),
        "{error}"
    );
    let error = reason(&home.with(&[("AWS_PROFILE", "sso")]).unwrap_err());
    assert!(
        error.contains("sso_session") && error.contains("export-credentials --profile sso"),
        "{error}"
    );
    home.with(&[("AWS_PROFILE", "sso"), (KEY_ID, "x"), (SECRET, "y")])
        .unwrap();
    let missing = [("AWS_CONFIG_FILE", "/none/config")];
    assert!(reason(&home.with(&missing).unwrap_err()).contains("/none/config cannot be read"));
    std::fs::write(
        home.0.path().join(".aws/credentials"),
        "[default]\nAKIAsecret\n",
    )
    .unwrap();
    let error = reason(&home.with(&[]).unwrap_err());
    assert!(
        error.contains("line 2") && !error.contains("AKIAsecret"),
        "{error}"
    );
}

#[test]
fn keys_are_asked_of_the_profile_s_process_and_of_the_aws_tools() {
    let home = Home::new();
    let tools = home.0.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let asking = |profile| home.with(&[("AWS_PROFILE", profile), ("PATH", &path)]);
    let keys = r#"{"Version": 1, "AccessKeyId": "K", "SecretAccessKey": "s", "SessionToken": "t"}"#;

    let told = home.0.path().join("told");
    let error = reason(&asking("told").unwrap_err());
    assert!(
        error.contains("credential_process") && error.contains("No such file"),
        "{error}"
    );
    std::fs::write(&told, r#"{"Version": 1, "SecretAccessKey": "half"}"#).unwrap();
    let error = reason(&asking("told").unwrap_err());
    assert!(
        error.contains("no JSON with the keys") && !error.contains("half"),
        "{error}"
    );
    std::fs::write(&told, keys.replace('1', "2")).unwrap();
    assert!(reason(&asking("told").unwrap_err()).contains("version 2"));
    std::fs::write(&told, keys).unwrap();
    let said = asking("told").unwrap();
    let found = [KEY_ID, SECRET, TOKEN, "AWS_REGION"].map(|name| said[name].as_str());
    assert_eq!(found, ["K", "s", "t", "there"]);

    let script = "#!/bin/sh\n[ \"$*\" = 'configure export-credentials --profile sso --format process' ] || exit 9\n";
    let aws = |rest: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tools.join("aws");
        std::fs::write(&file, format!("{script}{rest}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    aws("echo 'the token has expired' >&2; exit 255");
    let error = reason(&asking("sso").unwrap_err());
    assert!(
        error.contains("the token has expired") && error.contains("aws sso login"),
        "{error}"
    );
    aws(&format!("echo '{keys}'"));
    assert_eq!(asking("sso").unwrap()[KEY_ID], "K");
}

#[test]
fn movers_are_handed_what_they_can_use_and_nothing_of_this_machine() {
    let settings = Settings {
        cloud: Cloud::S3,
        variables: of(&[
            (KEY_ID, "k"),
            (SECRET, "s"),
            (TOKEN, "t"),
            ("AWS_REGION", "r"),
            ("AWS_PROFILE", "p"),
            ("AWS_CA_BUNDLE", "/here/ca.pem"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/here/token"),
            ("HOME", "/root"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("http_proxy", "http://localhost:3128"),
            ("NO_PROXY", ".svc"),
        ]),
        authorities: Some("pem".into()),
    };
    let access = settings.for_movers();
    let names: Vec<&str> = access.variables.keys().map(String::as_str).collect();
    let expected = [
        KEY_ID,
        "AWS_REGION",
        SECRET,
        TOKEN,
        "HTTPS_PROXY",
        "NO_PROXY",
    ];
    assert_eq!(names, expected);
    assert_eq!(access.authorities.as_deref(), Some("pem"));
}

#[test]
fn of_a_ca_file_only_certificates_are_taken() {
    let pem = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n\
        -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\ntext\n";
    let expected = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    assert_eq!(certificates_of(pem), expected);
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, told) in [
        ("", "holds no certificate"),
        (expected, "is no certificate"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        let error = Settings::of(Cloud::S3, &of(&[(AUTHORITIES, &path)]))
            .err()
            .map(|error| reason(&error));
        assert!(
            error.as_ref().is_some_and(|error| error.contains(told)),
            "{error:?}"
        );
    }
}

#[test]
fn half_a_key_is_told_as_such() {
    let check = |names: &[&str]| {
        let variables = names
            .iter()
            .map(|name| ((*name).to_owned(), "x".to_owned()));
        S3.check(&variables.collect())
    };
    assert!(check(&[KEY_ID]).is_err_and(|why| why.ends_with("SECRET_ACCESS_KEY is not")));
    assert!(check(&[SECRET]).is_err());
    assert!(check(&[ENDPOINT]).is_err_and(|why| why.contains("no credentials")));
    assert_eq!((check(&[KEY_ID, SECRET]), check(&[])), (Ok(()), Ok(())));
}

#[test]
fn an_address_of_this_machine_is_known_as_one() {
    for (address, is) in [
        ("http://127.0.0.1:9000", true),
        ("https://[::1]:9000", true),
        ("localhost:3128", true),
        ("http://s3.testbed:9000", false),
        ("proxy:3128", false),
    ] {
        assert_eq!(is_loopback(address), is, "{address}");
    }
}
