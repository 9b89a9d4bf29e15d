//! `ferry store import-velero`: another tool's backups, listed and made into captures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::context::{Context, StoreArgs, password_of};
use super::super::select::SelectArgs;
use super::super::{Failure, capture, data, watch};
use crate::capture::{Capture, Data, VolumeMode};
use crate::event::Direction;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::mover::engine::{self, Source};
use crate::object::ObjectId;
use crate::report::palette::Role;
use crate::report::table::{Cell, render};
use crate::report::units::plural;
use crate::store::Store;
use crate::store::velero::{
    Backup, Bucket, Held, Kept, Kopia, KopiaSnapshot, Scratch, VeleroError,
};

#[derive(Debug, Args)]
pub(in super::super) struct ImportVeleroArgs {
    /// Bucket and prefix of the BackupStorageLocation, as s3://bucket/prefix, or a folder with a copy of it
    #[arg(value_name = "URL")]
    from: String,
    /// The backup to import; without it, the backups are listed
    backup: Option<String>,
    /// Namespace to import; may be given several times. All that are in the backup without this
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    #[command(flatten)]
    select: SelectArgs,
    /// Import the objects and leave the volumes' data behind
    #[arg(long, conflicts_with = "kopia")]
    objects_only: bool,
    /// The kopia binary to read volumes' data with
    #[arg(long, value_name = "FILE", env = "FERRY_KOPIA")]
    kopia: Option<PathBuf>,
    /// File whose first line is the password of Velero's kopia repositories; without it, Velero's own default
    #[arg(long, value_name = "FILE")]
    kopia_password_file: Option<PathBuf>,
    /// Folder in which volumes are unpacked on their way, one at a time; without it, the system's own
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// The store to import into; a listing needs none
    #[arg(long, value_name = "URL", env = "FERRY_STORE")]
    store: Option<String>,
    /// File whose first line is the store's password; or set FERRY_PASSWORD
    #[arg(long, value_name = "FILE", env = "FERRY_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
}

impl ImportVeleroArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let bucket = Bucket::open(&self.from)?;
        match &self.backup {
            Some(name) => self.import(context, &bucket, name).await?,
            None => {
                let backups = watch::unless_stopped(context, bucket.backups()).await?;
                context.report.data(&backups, || list(&backups));
            }
        }
        Ok(Exit::Done)
    }

    async fn import(&self, context: &Context, bucket: &Bucket, name: &str) -> Result<(), Failure> {
        let Some(store) = self.store.clone() else {
            return Err(Failure::input(
                "no store was named to import into",
                "name it with --store or FERRY_STORE",
            ));
        };
        let store = StoreArgs {
            store,
            password_file: self.password_file.clone(),
        };
        let parent = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = Scratch::below(&parent)?;
        let reading = self.read(context, bucket, name, &scratch);
        let (mut capture, found, kopia) = watch::unless_stopped(context, reading).await?;
        let store = store.open(context).await?;
        if let Some(kopia) = kopia {
            fill(context, &store, &mut capture, &found, &kopia, &scratch).await?;
        }
        capture::keep(context, &store, &capture).await
    }

    /// Everything but the volumes' data. What could keep that from being imported is found here.
    async fn read(
        &self,
        context: &Context,
        bucket: &Bucket,
        name: &str,
        scratch: &Scratch,
    ) -> Result<(Capture, BTreeMap<ObjectId, KopiaSnapshot>, Option<Kopia>), Failure> {
        let backup = bucket.backup(name).await?;
        if !backup.is_whole() {
            let Backup { name, phase, .. } = backup;
            return Err(VeleroError::Unfinished { name, phase }.into());
        }
        let (data, found) = match self.objects_only {
            true => (Data::default(), BTreeMap::new()),
            false => sorted(bucket.volumes(&backup).await?),
        };
        let archive = bucket.archive(&backup, scratch.path()).await?;
        let selection = self.select.clone().within(self.namespaces.clone());
        let archive = archive.with_data(data).taken(backup.started);
        let capture = archive.capture(&selection, Knowledge::builtin(), &context.events)?;
        let kopia = self.kopia(bucket, &capture, &found, scratch).await?;
        Ok((capture, found, kopia))
    }

    /// What reads the volumes, if there are any; what could keep it from doing so is found now.
    async fn kopia(
        &self,
        bucket: &Bucket,
        capture: &Capture,
        found: &BTreeMap<ObjectId, KopiaSnapshot>,
        scratch: &Scratch,
    ) -> Result<Option<Kopia>, Failure> {
        let wanted = capture.volumes.iter().map(|volume| &found[&volume.claim]);
        let Some(needed) = wanted.map(|found| found.bytes).max() else {
            return Ok(None);
        };
        let mut devices = capture.volumes.iter();
        if let Some(device) = devices.find(|volume| volume.mode == VolumeMode::Block) {
            return Err(Failure::input(
                format!(
                    "{} is a raw block volume; those are not imported",
                    device.claim
                ),
                "leave it out with --exclude, or all data with --objects-only",
            ));
        }
        let Some(program) = &self.kopia else {
            let volumes = plural(capture.volumes.len(), "volume");
            return Err(Failure::input(
                format!(
                    "the data of {volumes} is in Velero's kopia repositories, and no kopia was named to read it"
                ),
                "name kopia's binary with --kopia, or leave the data behind with --objects-only",
            ));
        };
        scratch.takes(needed)?;
        let password = self.kopia_password_file.as_deref().map(password_of);
        let password = password.transpose()?;
        let kopia = Kopia::new(program, bucket.location(), password, scratch.path()).await?;
        for namespace in &capture.namespaces {
            let mut claims = capture.volumes.iter().map(|volume| &volume.claim);
            if claims.any(|claim| claim.namespace.as_deref() == Some(namespace)) {
                kopia.connect(namespace).await?;
            }
        }
        Ok(Some(kopia))
    }
}

/// What is in Velero's repositories, and what is not.
fn sorted(volumes: Vec<Kept>) -> (Data, BTreeMap<ObjectId, KopiaSnapshot>) {
    let (mut data, mut there) = (Data::default(), BTreeMap::new());
    for Kept { claim, held } in volumes {
        match held {
            Held::Kopia(snapshot) => {
                data.at_hand.insert(claim.clone());
                there.insert(claim, snapshot);
            }
            Held::Elsewhere(reason) => {
                data.elsewhere.insert(claim, reason);
            }
        }
    }
    (data, there)
}

/// Brings the data of every volume into the store, one after the other: each is unpacked, saved and removed.
async fn fill(
    context: &Context,
    store: &Store,
    capture: &mut Capture,
    found: &BTreeMap<ObjectId, KopiaSnapshot>,
    kopia: &Kopia,
    scratch: &Scratch,
) -> Result<(), Failure> {
    let (host, tag) = (
        capture.surface.cluster.name.clone(),
        format!("capture={}", capture.id),
    );
    for volume in &mut capture.volumes {
        let namespace = volume.claim.namespace.as_deref().unwrap_or_default();
        let claim = format!("{namespace}/{}", volume.claim.name);
        let from = &found[&volume.claim];
        let target = scratch.path().join("volume");
        context
            .events
            .notice(format!("{claim}: unpacking it from Velero's repository"));
        let unpacking = kopia.restore(namespace, &from.id, &target);
        watch::unless_stopped(context, unpacking).await?;
        let tags = [tag.clone(), format!("pvc={claim}")];
        let (repository, host, path) = (store.repository().clone(), host.clone(), target.clone());
        let consistency = from.consistency;
        let saved = data::watched(context, &claim, Direction::Save, move |progress| {
            let source = Source {
                path: &path,
                mode: VolumeMode::Filesystem,
                consistency,
                host: &host,
                tags: &tags,
                accept_torn: false,
                frozen: None,
            };
            engine::save(&repository, &source, progress)
        })
        .await?;
        volume.saved = Some(saved.volume);
        remove(&target).await?;
    }
    Ok(())
}

async fn remove(folder: &Path) -> Result<(), VeleroError> {
    let removed = tokio::fs::remove_dir_all(folder).await;
    removed.map_err(|source| VeleroError::Scratch {
        path: folder.into(),
        source,
    })
}

fn list(backups: &[Backup]) -> String {
    let row = |backup: &Backup| -> Vec<Cell> {
        let role = match backup.is_whole() {
            true => Role::Good,
            false => Role::Warn,
        };
        let started = backup.started.map(|at| at.strftime("%F %T").to_string());
        vec![
            Cell::new(Role::Name, &backup.name),
            Cell::new(role, &backup.phase),
            started.unwrap_or_default().into(),
            backup.namespaces.join(",").into(),
            backup.items.to_string().into(),
            backup.errors.to_string().into(),
        ]
    };
    let header = [
        "BACKUP",
        "PHASE",
        "STARTED (UTC)",
        "NAMESPACES",
        "OBJECTS",
        "ERRORS",
    ];
    render(&header, &backups.iter().map(row).collect::<Vec<_>>())
}
