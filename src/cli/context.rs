//! What commands share: the report, the kubeconfig, and the ways to open a store and a cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::journey::Ends;
use crate::cluster::{Cluster, ConnectOptions};
use crate::data::{ClusterMovers, Depot, MoverSettings, MoverStore};
use crate::event::Events;
use crate::object::ObjectId;
use crate::plan::{Action, Grouping, Plan, Unprivileged, VolumeMove};
use crate::report::Report;
use crate::report::units::plural;
use crate::repository::LossClass;
use crate::store::{Location, Password, Store};
use crate::transform::{self, Recipe, Values};

/// Handed to every command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) report: Report,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    kubeconfig: Option<PathBuf>,
}

/// Where the store is and what opens it.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// The store: a folder, or s3://, az:// or gs://bucket/prefix with its cloud's usual variables; cluster:// for what
    /// `migrate --direct` keeps
    #[arg(long, value_name = "URL", env = "FERRY_STORE")]
    pub(crate) store: String,
    /// File whose first line is the store's password; or set FERRY_PASSWORD
    #[arg(long, value_name = "FILE", env = "FERRY_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

impl StoreArgs {
    /// The password, from the file or the environment.
    pub(crate) fn password(&self) -> Result<Password, Failure> {
        match &self.password_file {
            Some(path) => password_of(path),
            None => match std::env::var("FERRY_PASSWORD") {
                Ok(text) => first_line(&text),
                Err(_) => Err(Failure::input(
                    "the store needs a password and none was given",
                    "set FERRY_PASSWORD or name a file with --password-file",
                )),
            },
        }
    }

    /// Opens the store.
    pub(crate) async fn open(&self, context: &Context) -> Result<Store, Failure> {
        let password = self.password()?;
        let store = match Location::parse(&self.store)? {
            Location::Depot { context: at, name } => {
                let depot = Depot::find(&context.cluster(&at).await?, &name).await?;
                Store::open_depot(&depot, &password).await?
            }
            _ => Store::open(&self.store, &password).await?,
        };
        Ok(context.attending(store))
    }
}

/// The password in the first line of a file.
pub(crate) fn password_of(path: &Path) -> Result<Password, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::input(
            format!("cannot read the password file {}: {error}", path.display()),
            "name a readable file with --password-file",
        )
    })?;
    first_line(&text)
}

fn first_line(text: &str) -> Result<Password, Failure> {
    match text.lines().next() {
        Some(first) if !first.is_empty() => Ok(Password::new(first)),
        _ => Err(Failure::input(
            "the store's password is empty",
            "put the password in the first line of the file, or in FERRY_PASSWORD",
        )),
    }
}

/// The recipes of a command.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecipeArgs {
    /// Recipe file, or one of Ferry's own as builtin:NAME; may be given several times
    #[arg(long = "recipe", short, value_name = "FILE")]
    recipes: Vec<String>,
    #[command(flatten)]
    values: ValueArgs,
}

impl RecipeArgs {
    /// Reads every recipe, and tells the mistakes of all of them.
    pub(crate) fn load(&self) -> Result<Vec<Recipe>, Failure> {
        Ok(transform::load(&self.recipes, &self.values.read()?)?)
    }
}

/// What recipes' variables hold.
#[derive(Clone, Debug, Args)]
pub(crate) struct ValueArgs {
    /// YAML file with values for the recipes' variables; later files win
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Value of one variable of the recipes; wins over files
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl ValueArgs {
    /// Reads the values.
    pub(crate) fn read(&self) -> Result<Values, Failure> {
        Ok(Values::read(&self.values, &self.set)?)
    }
}

/// On which clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sides {
    /// The cluster moved from.
    Source,
    /// The cluster moved to.
    Target,
    /// Both.
    Both,
}

/// What movers may do. It is part of the plan, which is then executed as it is.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PrivilegeArgs {
    /// Movers without privileges, in the application's namespaces, for users who may not make privileged ones: they
    /// run as the workload's user at Pod Security level `restricted`. A file that this user cannot read ends the
    /// save; owners other than it, setuid bits of their files, devices, file capabilities and trusted attributes
    /// are lost, and refused unless accepted with --accept-loss; a volume's root directory keeps its time
    #[arg(
        long,
        value_enum,
        value_name = "SIDE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "both"
    )]
    unprivileged: Option<Sides>,
    /// User, and group, that movers without privileges run as; without it, those of the workload that mounts the
    /// claim, and 65532 where none is known or it is root
    #[arg(long, value_name = "UID[:GID]", requires = "unprivileged", value_parser = user_and_group)]
    mover_user: Option<(u32, u32)>,
}

impl PrivilegeArgs {
    pub(crate) fn choice(self) -> Unprivileged {
        let is = |side| {
            matches!(self.unprivileged, Some(Sides::Both)) || self.unprivileged == Some(side)
        };
        Unprivileged {
            source: is(Sides::Source),
            target: is(Sides::Target),
            user: self.mover_user,
        }
    }
}

/// `UID` or `UID:GID`; the group is the user's number where it is not given.
fn user_and_group(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| {
        let number: u32 = text
            .parse()
            .map_err(|_| format!("{text:?} is no number of a user or group"))?;
        Ok::<_, String>(number)
    };
    match number(user)? {
        0 => Err("a mover without privileges cannot be root".into()),
        user => Ok((user, number(group)?)),
    }
}

/// What moment the data of several volumes shows. It is part of the plan too.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FreezeArgs {
    /// Claims that one driver holds in a namespace are frozen at one moment where it can: `auto`, if labels they
    /// have choose exactly them, or they are all claims of the namespace; `label`, else by a label of Ferry's that
    /// is on them for that moment; `off`, never, one snapshot is taken after another
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = GroupSnapshots::Auto)]
    group_snapshots: GroupSnapshots,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GroupSnapshots {
    Auto,
    Label,
    Off,
}

impl FreezeArgs {
    pub(crate) fn choice(self) -> Grouping {
        match self.group_snapshots {
            GroupSnapshots::Auto => Grouping::Auto,
            GroupSnapshots::Label => Grouping::Label,
            GroupSnapshots::Off => Grouping::Off,
        }
    }
}

/// How volumes are carried.
#[derive(Clone, Debug, Args)]
pub(crate) struct MoverArgs {
    /// Ferry's image as the clusters' nodes pull it; made by `ferry mover push`
    #[arg(long, value_name = "IMAGE", env = "FERRY_MOVER_IMAGE")]
    mover_image: Option<String>,
    /// Carry the store's traffic through this machine, for a store that pods cannot reach
    #[arg(long)]
    relay: bool,
    /// Volumes on their way at one time
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    parallel_volumes: usize,
    /// Save files of a live volume that change while they are read as they were found; without it,
    /// they fail the save
    #[arg(long)]
    accept_torn: bool,
    /// Leave the snapshots that are taken of the source's volumes where they are, for you to delete
    #[arg(long)]
    keep_snapshots: bool,
    /// What the target's storage may lose of the files' attributes; may be given several times
    #[arg(long = "accept-loss", value_name = "CLASS")]
    accept_losses: Vec<LossClass>,
}

impl MoverArgs {
    /// The image, if one was named.
    pub(crate) fn image(&self) -> Option<&str> {
        self.mover_image.as_deref()
    }

    /// Whether the data is to go through this machine.
    pub(crate) fn relays(&self) -> bool {
        self.relay
    }

    /// Refuses a plan that moves data when there is no image to move it with: better now than after
    /// the first write.
    pub(crate) fn suffice(&self, plan: &Plan) -> Result<(), Failure> {
        let moves = plan.steps.iter().any(|step| step.action.moves_data());
        if moves && self.mover_image.is_none() {
            return Err(Failure::input(
                "the plan moves volumes, and no image was named to move them with",
                "push Ferry's own with `ferry mover push REGISTRY/REPO:TAG` to a registry that both \
                 clusters pull from, and name it with --mover-image or FERRY_MOVER_IMAGE",
            ));
        }
        let loads = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Load(volume) => Some::<&VolumeMove>(volume),
            _ => None,
        });
        accepted(loads, &self.accept_losses)
    }

    /// The settings of one run's movers.
    pub(crate) fn settings(
        &self,
        run: &str,
        capture: &str,
        namespaces: &[String],
        moves: &[&VolumeMove],
    ) -> MoverSettings {
        let beside = |user: fn(&VolumeMove) -> bool, claim: fn(&VolumeMove) -> &ObjectId| {
            let claims = moves.iter().filter(|volume| user(volume));
            let namespaces: BTreeSet<String> = claims
                .filter_map(|volume| Some(claim(volume).namespace.as_deref()?.to_owned()))
                .collect();
            namespaces.into_iter().collect()
        };
        MoverSettings {
            run: run.to_owned(),
            capture: capture.to_owned(),
            image: self.mover_image.clone(),
            relay: self.relay,
            namespaces: namespaces.to_vec(),
            beside_source: beside(|volume| volume.reads_as.is_some(), |volume| &volume.source),
            beside_target: beside(|volume| volume.writes_as.is_some(), |volume| &volume.target),
            parallel: self.parallel_volumes,
            accept_torn: self.accept_torn,
            keep_snapshots: self.keep_snapshots,
            accept_losses: self.accept_losses.clone(),
        }
    }
}

/// What the target's storage is known to lose has to be accepted before anything is written.
fn accepted<'a>(
    loads: impl Iterator<Item = &'a VolumeMove>,
    accept: &[LossClass],
) -> Result<(), Failure> {
    let mut claims = BTreeSet::new();
    let mut classes = BTreeSet::new();
    for volume in loads {
        for class in volume.loses.iter().filter(|class| !accept.contains(class)) {
            claims.insert(&volume.target);
            classes.insert(*class);
        }
    }
    let Some(first) = claims.first() else {
        return Ok(());
    };
    let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
    Err(Failure::blocked(
        format!(
            "on the target's storage the files of {} would lose their {}: {first} for one",
            plural(claims.len(), "claim"),
            classes.join(" and "),
        ),
        format!(
            "map the storage class to one that keeps that, or accept it with --accept-loss {}",
            classes.join(" --accept-loss ")
        ),
    ))
}

impl Context {
    /// Whether the user wants what cannot be taken back lightly: said by `--yes`, or asked on the terminal.
    pub(crate) fn agreed(
        &self,
        yes: bool,
        question: &str,
        what: &str,
        once: &str,
    ) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        self.report.ask(question).ok_or_else(|| {
            Failure::input(
                format!("nobody is there to confirm {what}"),
                format!("run it on a terminal, or pass --yes{once}"),
            )
        })
    }

    /// `resumable`: whether a first Ctrl-C asks to stop where one can go on, instead of ending the process as it
    /// does by itself.
    pub(super) fn new(report: Report, kubeconfig: Option<PathBuf>, resumable: bool) -> Self {
        Self {
            report,
            events: report.events(),
            cancel: match resumable {
                true => cancel_on_signals(),
                false => CancellationToken::new(),
            },
            kubeconfig,
        }
    }

    /// Tells from now on when that store is away, and waits for it only until the user asks to stop.
    pub(super) fn attending(&self, store: Store) -> Store {
        store.attend_outages(self.events.clone(), self.cancel.clone());
        store
    }

    /// The pods that carry volumes between two clusters and a store.
    pub(crate) fn movers(
        &self,
        store: &Store,
        source: Option<Cluster>,
        target: Option<Cluster>,
        settings: MoverSettings,
    ) -> ClusterMovers {
        let store = MoverStore {
            objects: store.objects(),
            repository: store.repository().clone(),
            url: store.location().to_string(),
            access: store.for_movers().clone(),
        };
        ClusterMovers::new(
            source,
            target,
            store,
            settings,
            self.events.clone(),
            self.cancel.clone(),
        )
    }

    /// Connects to both ends of a journey.
    pub(super) async fn ends(&self, ends: &Ends) -> Result<(Cluster, Cluster), Failure> {
        tokio::try_join!(self.cluster(&ends.from), self.cluster(&ends.to))
    }

    /// Connects to the cluster of a kubeconfig context.
    pub(crate) async fn cluster(&self, context: &str) -> Result<Cluster, Failure> {
        let options = ConnectOptions {
            context: Some(context.to_owned()),
            kubeconfig: self.kubeconfig.clone(),
        };
        Ok(Cluster::connect(&options).await?)
    }
}

/// The first Ctrl-C or SIGTERM asks the pipeline to stop where it can be resumed; the second ends it.
fn cancel_on_signals() -> CancellationToken {
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        if interrupted().await {
            crate::report::talk("stopping where the run can be resumed; once more to stop at once");
            asked.cancel();
        }
        if interrupted().await {
            std::process::exit(130);
        }
    });
    token
}

/// Waits for Ctrl-C or SIGTERM; false when signals cannot be watched.
async fn interrupted() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return false;
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.is_ok(),
        received = terminated.recv() => received.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Consistency, VolumeMode};
    use crate::exit::Exit;

    #[test]
    fn a_user_for_movers_is_a_number_with_its_group_and_never_root() {
        assert_eq!(user_and_group("1000"), Ok((1000, 1000)));
        assert_eq!(user_and_group("1000:0"), Ok((1000, 0)));
        assert!(user_and_group("0").unwrap_err().contains("root"));
        assert!(user_and_group("postgres").unwrap_err().contains("postgres"));
    }

    #[test]
    fn what_storage_loses_is_accepted_class_by_class_or_nothing_begins() {
        let load = VolumeMove {
            source: ObjectId::namespaced("", "PersistentVolumeClaim", "shop", "data"),
            target: ObjectId::namespaced("", "PersistentVolumeClaim", "shop", "data"),
            mode: VolumeMode::Filesystem,
            capacity: 1,
            consistency: Consistency::Live,
            together: None,
            saved: None,
            shares: false,
            placement: serde_json::Value::Null,
            with: Vec::new(),
            synced: false,
            loses: vec![LossClass::Owner, LossClass::Mode],
            reads_as: None,
            writes_as: None,
        };
        let loads = || std::iter::once(&load);
        let refused = accepted(loads(), &[LossClass::Owner]).unwrap_err();
        assert_eq!(refused.exit, Exit::Blocked);
        let help = refused.error.help().unwrap().to_string();
        assert!(help.ends_with("with --accept-loss mode"), "{help}");
        assert!(
            refused
                .error
                .to_string()
                .contains("1 claim would lose their mode")
        );
        accepted(loads(), &[LossClass::Mode, LossClass::Owner]).unwrap();
    }
}
