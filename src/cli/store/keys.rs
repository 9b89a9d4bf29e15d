//! `ferry store keys`, `unlock` and `cat`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Context, Exit, Failure, Role, StoreArgs, paint};
use crate::report::table::{Cell, render};
use crate::report::units::plural;
use crate::repository::{KeyInfo, ObjectKind};

/// Passwords: several may open one store
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// List the keys; each is one password
    ///
    /// Example: `ferry store keys list`
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Add a key for a new password
    ///
    /// Example: `ferry store keys add --new-password-file new`
    Add {
        #[command(flatten)]
        new: NewPassword,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Remove a key; not the one that opens the store for this command
    ///
    /// Example: `ferry store keys remove 4f3a`
    Remove {
        /// The key's id, or a beginning of it
        key: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Change the password: adds a key, then removes the one in use
    ///
    /// Example: `ferry store keys passwd --new-password-file new`
    Passwd {
        #[command(flatten)]
        new: NewPassword,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Where the new password is.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct NewPassword {
    /// File whose first line is the new password; or set FERRY_NEW_PASSWORD
    #[arg(long, value_name = "FILE", env = "FERRY_NEW_PASSWORD_FILE")]
    new_password_file: Option<PathBuf>,
}

impl NewPassword {
    fn read(&self) -> Result<String, Failure> {
        let text = match &self.new_password_file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Failure::input(
                    format!("cannot read the password file {}: {error}", path.display()),
                    "name a readable file with --new-password-file",
                )
            })?,
            None => std::env::var("FERRY_NEW_PASSWORD").unwrap_or_default(),
        };
        match text.lines().next() {
            Some(first) if !first.is_empty() => Ok(first.to_owned()),
            _ => Err(Failure::input(
                "no new password was given",
                "set FERRY_NEW_PASSWORD or name a file with --new-password-file",
            )),
        }
    }
}

#[derive(Serialize)]
struct Changed {
    key: String,
}

impl KeysCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let (said, key) = match self {
            Self::List { store } => {
                let opened = store.open(context).await?;
                let keys = opened.with(|repository| repository.keys()).await?;
                context.report.data(&keys, || list(&keys));
                return Ok(Exit::Done);
            }
            Self::Add { new, store } => {
                let password = new.read()?;
                let opened = store.open(context).await?;
                let key = opened.with(move |one| one.add_key(&password)).await?;
                ("added", key)
            }
            Self::Remove { key, store } => {
                let opened = store.open(context).await?;
                let key = opened.with(move |one| one.remove_key(&key)).await?;
                ("removed", key)
            }
            Self::Passwd { new, store } => {
                let password = new.read()?;
                let opened = store.open(context).await?;
                let key = opened
                    .with(move |one| one.change_password(&password))
                    .await?;
                ("takes the place of the one in use", key)
            }
        };
        let changed = Changed {
            key: key.to_string(),
        };
        context.report.data(&changed, || {
            let key = paint(Role::Name, key.short());
            format!("{} key {key} {said}", paint(Role::Good, "✓"))
        });
        Ok(Exit::Done)
    }
}

fn list(keys: &[KeyInfo]) -> String {
    let row = |key: &KeyInfo| -> Vec<Cell> {
        vec![
            if key.current { "*" } else { "" }.into(),
            Cell::new(Role::Name, key.id.short()),
            key.user.clone().into(),
            key.host.clone().into(),
            key.created.chars().take(19).collect::<String>().into(),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    render(&["", "KEY", "USER", "HOST", "MADE"], &rows)
}

pub(super) async fn unlock(
    context: &Context,
    args: &StoreArgs,
    all: bool,
) -> Result<Exit, Failure> {
    let opened = args.open(context).await?;
    let removed = opened.with(move |one| one.unlock(all)).await?;
    context.report.data(&removed, || {
        let locks = plural(removed, "lock");
        format!("{} {locks} removed", paint(Role::Good, "✓"))
    });
    Ok(Exit::Done)
}

/// What is printed.
#[derive(Debug, Args)]
pub(in crate::cli) struct CatArgs {
    /// What it is
    kind: ObjectKind,
    /// Its id, or a beginning of it; a blob's whole id; nothing for the config
    #[arg(default_value = "", hide_default_value = true)]
    id: String,
    #[command(flatten)]
    store: StoreArgs,
}

impl CatArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { kind, id, store } = self;
        let opened = store.open(context).await?;
        let plain = opened.with(move |one| one.cat(kind, &id)).await?;
        match serde_json::from_slice::<serde_json::Value>(&plain) {
            Ok(json) => context.report.data(&json, || {
                serde_json::to_string_pretty(&json).unwrap_or_default()
            }),
            Err(_) => context.report.bytes(&plain),
        }
        Ok(Exit::Done)
    }
}
