//! `ferry migrate --direct`: without a store of the user's. The data goes over TLS from the movers of one cluster to a
//! depot on the other, which lives as long as the migration.
//!
//! ```text
//! plan ─▶ asked ─▶ depot on B ─▶ reached from A? ─▶ run ─▶ all proven? ─▶ depot removed
//! ```
//!
//! A depot that is there already is an earlier attempt's: its run is gone on with.

use std::collections::BTreeMap;

use clap::Args;

use super::Failure;
use super::context::Context;
use super::journey::{Ends, JourneyArgs, Looked};
use super::run::{self, Parts};
use super::standing;
use crate::causes::in_one_line;
use crate::cluster::Cluster;
use crate::data::{Depot, DepotError, DepotWish};
use crate::exit::Exit;
use crate::object::quantity::Quantity;
use crate::pipeline::Choices;
use crate::plan::{Plan, VolumeMove};
use crate::report::palette::{Role, paint};
use crate::store::{Location, Password, Store, StoreError};

/// Stands for the store's address when none is needed.
pub(super) const NO_STORE: &str = "direct";
/// What a depot needs beside volumes: objects, plans and journals, and a file system's own.
const FLOOR: u64 = 1 << 30;

/// Options of a migration without a store.
#[derive(Debug, Args)]
pub(super) struct DirectArgs {
    /// Without a store: the data goes straight to the target cluster, over TLS, where Ferry keeps it on a claim of its own
    /// until all has arrived. What was stopped is finished by the same command
    #[arg(long)]
    pub(super) direct: bool,
    /// Where pods of the first cluster reach the second, if Ferry does not find out by itself: an address that leads to
    /// the NodePort of Service `depot`, or to port 7448 of its pod
    #[arg(long, requires = "direct", value_name = "HOST:PORT", value_parser = host_and_port)]
    direct_address: Option<String>,
    /// Size of the claim that keeps the data, as in 20Gi; without it, that of all claims that move
    #[arg(long, requires = "direct", value_name = "SIZE", value_parser = size)]
    direct_size: Option<Quantity>,
    /// Storage class of that claim; without it, the target's default
    #[arg(long, requires = "direct", value_name = "CLASS")]
    direct_storage_class: Option<String>,
    /// Keep the data and the journal on the target when all is done, so that the run can be undone
    #[arg(long, requires = "direct")]
    keep_depot: bool,
}

fn size(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text)
        .filter(|size| *size > Quantity::NONE)
        .ok_or_else(|| format!("{text:?} is no size, as 20Gi is"))
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        _ => Err(format!("{text:?} is not HOST:PORT")),
    }
}

impl DirectArgs {
    pub(super) async fn run(
        self,
        context: &Context,
        ends: Ends,
        journey: JourneyArgs,
        choices: Choices,
    ) -> Result<Exit, Failure> {
        refuse(&journey)?;
        let recipes = journey.recipes.load()?;
        let image = journey.mover.image().map(str::to_owned);
        let password = match journey.dry_run {
            true => None,
            false => Some((journey.store.password()?, image.ok_or(DepotError::NoImage)?)),
        };
        let (source, target) = context.ends(&ends).await?;
        let looked = async |source, target| {
            let clusters = (source, target);
            Looked::at(context, &ends, &journey, &recipes, choices, clusters, None).await
        };
        let Some((password, image)) = password else {
            let end = looked(&source, &target).await?.end;
            return Ok(end.unwrap_or(Exit::Changes));
        };
        let way = Way {
            context,
            name: Depot::name_for(source.identity(), target.identity(), &ends.namespaces),
            password,
            image,
            wanted: self,
            yes: journey.yes,
        };
        let store = match Depot::exists(&target, &way.name).await? {
            true => Some(way.enter(&source, &target, None).await?),
            false => None,
        };
        if let Some(store) = &store
            && let Some(run) = standing::newest_unfinished(store).await?
        {
            let parts = journey.parts(source, target, store.clone());
            return way.go_on(&parts, &run).await;
        }
        let Looked { capture, plan, end } = looked(&source, &target).await?;
        match (end, store) {
            // Perhaps all had arrived, and an earlier process was killed before it had cleared up.
            (Some(end), Some(store)) => way.leave(&target, store.location(), Ok(end)).await,
            (Some(end), None) => Ok(end),
            (None, store) => {
                Depot::would_fit(&target, way.wanted.direct_storage_class.as_deref()).await?;
                if !run::confirmed(context, store.as_ref(), &plan, way.yes).await? {
                    return Ok(Exit::Changes);
                }
                let store = match store {
                    Some(store) => store,
                    None => way.enter(&source, &target, Some(&plan)).await?,
                };
                let parts = journey.parts(source, target, store);
                let ended = run::start(context, &parts, &plan, capture, None).await;
                way.leave(&parts.target, parts.store.location(), ended)
                    .await
            }
        }
    }
}

/// Refuses what does not go together.
fn refuse(journey: &JourneyArgs) -> Result<(), Failure> {
    let named = journey.store.store.as_str();
    let from_environment = std::env::var("FERRY_STORE").is_ok_and(|store| store == named);
    if named != NO_STORE && !from_environment {
        return Err(Failure::input(
            "--direct needs no store, and one was named",
            "leave out --store, or --direct",
        ));
    }
    if journey.mover.relays() {
        return Err(Failure::input(
            "--relay carries the data through this machine, --direct past it",
            "leave out one of them; --relay goes with --store",
        ));
    }
    if journey.privileges.choice().anywhere() {
        return Err(Failure::blocked(
            "--direct keeps the data in a namespace of Ferry's own, and --unprivileged makes none",
            "leave out one of them; without privileges, use a store: --store",
        ));
    }
    Ok(())
}

/// A migration without a store.
struct Way<'a> {
    context: &'a Context,
    name: String,
    password: Password,
    image: String,
    wanted: DirectArgs,
    yes: bool,
}

impl Way<'_> {
    /// Makes the depot, or what is missing of it, sees that both clusters reach it, and opens the store in it. With a
    /// plan it is new; then one that cannot be reached is of no use, and removed.
    async fn enter(
        &self,
        source: &Cluster,
        target: &Cluster,
        plan: Option<&Plan>,
    ) -> Result<Store, Failure> {
        let events = &self.context.events;
        let size = self.wanted.direct_size.or_else(|| Some(needed(plan?)));
        let wish = DepotWish {
            image: self.image.clone(),
            size: size.map(|size| size.to_string()),
            class: self.wanted.direct_storage_class.clone(),
        };
        let reached = async {
            let mut depot = Depot::raise(target, &self.name, &wish, events).await?;
            let address = self.wanted.direct_address.as_deref();
            depot.open_to(source, &self.image, address, events).await?;
            Ok::<_, DepotError>(depot)
        };
        let depot = match reached.await {
            Ok(depot) => depot,
            Err(error) => {
                if plan.is_some()
                    && let Err(left) = Depot::remove(target, &self.name).await
                {
                    events.warning(in_one_line(&left));
                }
                return Err(error.into());
            }
        };
        match Store::open_depot(&depot, &self.password).await {
            // New, or killed before it was made.
            Err(StoreError::NotARepository { .. }) => {
                let made = Store::init_depot(&depot, &self.password).await?;
                let way = match depot.reached_at() {
                    Some(address) => format!("; pods of {} reach it at {address}", source.name()),
                    None => String::new(),
                };
                self.context.report.say(&format!(
                    "the data is kept at {} until all has arrived{way}",
                    paint(Role::Name, made.location())
                ));
                Ok(self.context.attending(made))
            }
            opened => Ok(self.context.attending(opened?)),
        }
    }

    /// Goes on with an earlier attempt's run.
    async fn go_on(&self, parts: &Parts, run: &str) -> Result<Exit, Failure> {
        let question = format!(
            "Go on with run {} of an earlier attempt, as it was planned then?",
            paint(Role::Name, run)
        );
        if !self.context.agreed(self.yes, &question, "the run", "")? {
            return Ok(Exit::Changes);
        }
        let ended = run::resume(self.context, parts, run).await;
        self.leave(&parts.target, parts.store.location(), ended)
            .await
    }

    /// Removes the depot when all has arrived; else says where it is and what to do with it.
    async fn leave(
        &self,
        target: &Cluster,
        at: &Location,
        ended: Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let done = matches!(ended, Ok(Exit::Done));
        if done && !self.wanted.keep_depot {
            Depot::remove(target, &self.name).await?;
            return ended;
        }
        let next = match done {
            true => "",
            false => {
                "; the same command goes on with it, with a larger --direct-size if there was no room"
            }
        };
        self.context.report.say(&format!(
            "data and journal are kept at {at}{next}\n  other commands find them with {}\n  remove them with: {}",
            paint(Role::Hint, format!("--store {at}")),
            paint(Role::Hint, format!("ferry store remove --store {at}")),
        ));
        ended
    }
}

/// The size of the claims that move: more than their packs will need, as those are compressed.
fn needed(plan: &Plan) -> Quantity {
    let moves = plan.steps.iter().filter_map(|step| step.action.volume());
    let sizes: BTreeMap<_, u64> = moves
        .map(|volume: &VolumeMove| (&volume.source, volume.capacity))
        .collect();
    let all = sizes
        .values()
        .fold(FLOOR, |all, one| all.saturating_add(*one));
    // Whole megabytes: an odd number of bytes is refused by some storage.
    let megabytes = all.div_ceil(1 << 20);
    Quantity::parse("1Mi")
        .unwrap_or(Quantity::NONE)
        .times(megabytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_and_sizes_are_quantities() {
        assert!(host_and_port("b.example.com:30001").is_ok());
        assert!(host_and_port("[::1]:30001").is_ok());
        for wrong in ["b.example.com", ":30001", "b:port", "b:99999"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("20Gi").unwrap().to_string(), "20Gi");
        for wrong in ["", "much", "0", "-1Gi"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
