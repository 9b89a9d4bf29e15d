//! The way from the other cluster to a depot: found by trying, before anything is written there.
//!
//! A port on the nodes costs nothing and is tried first; a load balancer is asked for only where that does not work.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bodies::Bodies;
use super::raise::{Site, at};
use super::reach::Pass;
use super::{Depot, DepotError, NAME, PORT, is_same};
use crate::cluster::Cluster;
use crate::data::DataError;
use crate::data::api::{NAMESPACE, NODE, POD, SECRET, SERVICE};
use crate::data::names::{self, REACHED};
use crate::event::Events;
use crate::mover::JOB;
use crate::object::Object;

const POLL: Duration = Duration::from_millis(200);
/// How long a cloud may take to give a load balancer an address.
const BALANCER: Duration = Duration::from_secs(90);
/// How long its name may take to lead anywhere.
const NEW_NAME: Duration = Duration::from_secs(150);
/// How long a node may take until it forwards to a pod that is new.
const NEW_PORT: Duration = Duration::from_secs(12);
/// How long the pod that tries may run.
const SCOUT: Duration = Duration::from_secs(240);
/// Nodes tried: each forwards to all.
const NODES: usize = 4;
/// Who tries, in messages.
const SCOUT_POD: &str = "the attempt to reach the depot";

/// What a pod is to try.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempt {
    pass: Pass,
    /// As `host:port`, the best first.
    addresses: Vec<String>,
    /// Seconds until it gives up.
    patience: u64,
}

/// What came of each address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts(Vec<(String, Option<String>)>);

impl Attempt {
    /// Tries all addresses at once, again and again, until one answers or the patience is over.
    pub(crate) async fn run(&self) -> Attempts {
        let end = Instant::now() + Duration::from_secs(self.patience);
        loop {
            let tries = self
                .addresses
                .iter()
                .map(|address| async { (address.clone(), self.pass.obstacle(address).await) });
            let attempts = Attempts(futures::future::join_all(tries).await);
            if attempts.good().is_some() || Instant::now() >= end {
                return attempts;
            }
            sleep(POLL * 10).await;
        }
    }
}

impl Attempts {
    /// The first address that works.
    fn good(&self) -> Option<&str> {
        let good = self.0.iter().find(|(_, obstacle)| obstacle.is_none());
        good.map(|(address, _)| address.as_str())
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it has no address that could be tried");
        }
        for (place, (address, obstacle)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let obstacle = obstacle.as_deref().unwrap_or("works");
            write!(f, "{comma}{address} ({obstacle})")?;
        }
        Ok(())
    }
}

impl Depot {
    /// Finds the address at which pods of another cluster reach this depot, by trying from there, and keeps it.
    /// `given` is the user's, and then the only one.
    ///
    /// # Errors
    /// [`DepotError::Unreachable`] with all that was tried; when a cluster refuses.
    pub async fn open_to(
        &mut self,
        source: &Cluster,
        image: &str,
        given: Option<&str>,
        events: &Events,
    ) -> Result<(), DepotError> {
        if is_same(source.identity(), self.cluster.identity()) {
            return Ok(());
        }
        let scout = Scout {
            depot: self,
            source,
            image,
            events,
        };
        let tried = match given {
            Some(given) => scout.send(vec![given.to_owned()], NEW_PORT).await?,
            None => scout.look().await?,
        };
        let Some(good) = tried.good().map(str::to_owned) else {
            return Err(DepotError::Unreachable {
                from: source.name().into(),
                to: self.cluster.name().into(),
                tried,
            });
        };
        let site = Site::new(&self.cluster, &self.name);
        let patch = json!({"metadata": {"annotations": {REACHED: good}}});
        let kept = site.api.merge(&SERVICE, Some(&site.namespace), NAME, patch);
        site.ok(kept.await)?;
        self.access.outside = Some(good);
        Ok(())
    }
}

/// One search for a way.
struct Scout<'a> {
    depot: &'a Depot,
    source: &'a Cluster,
    image: &'a str,
    events: &'a Events,
}

impl Scout<'_> {
    /// The nodes' port, then a load balancer.
    async fn look(&self) -> Result<Attempts, DepotError> {
        let home = Site::new(&self.depot.cluster, &self.depot.name);
        let mut addresses: Vec<String> = self.depot.access.outside.iter().cloned().collect();
        addresses.extend(home.ok(nodes(&home).await)?);
        let tried = match addresses.is_empty() {
            true => Attempts::default(),
            false => self.send(addresses, NEW_PORT).await?,
        };
        if tried.good().is_some() {
            return Ok(tried);
        }
        self.events.notice(format!(
            "pods of {} do not reach the nodes of {}: asking there for a load balancer",
            self.source.name(),
            self.depot.cluster.name(),
        ));
        let through = match home.ok(balancer(&home).await)? {
            Some(balancer) => self.send(vec![balancer], NEW_NAME).await?,
            None => Attempts(vec![(
                "a load balancer".into(),
                Some(format!("none came for {} s", BALANCER.as_secs())),
            )]),
        };
        Ok(Attempts([through.0, tried.0].concat()))
    }

    /// Lets a pod on the other cluster try addresses, and removes it.
    async fn send(
        &self,
        addresses: Vec<String>,
        patience: Duration,
    ) -> Result<Attempts, DepotError> {
        let site = Site::new(self.source, &self.depot.name);
        let tried = self.tried(&site, addresses, patience).await;
        let removed = site.remove(&NAMESPACE, &site.namespace).await;
        let on_source = |error| DepotError::on(self.source.name(), SCOUT_POD, error);
        let tried = tried.map_err(on_source)?;
        removed.map_err(on_source)?;
        Ok(tried)
    }

    async fn tried(
        &self,
        site: &Site,
        addresses: Vec<String>,
        patience: Duration,
    ) -> Result<Attempts, DataError> {
        let bodies = Bodies {
            name: &self.depot.name,
            image: self.image,
        };
        let attempt = Attempt {
            pass: self.depot.access.pass.clone(),
            addresses,
            patience: patience.as_secs(),
        };
        let text = serde_json::to_string(&attempt)
            .map_err(|error| site.api.unusable(error.to_string()))?;
        site.live_namespace(bodies).await?;
        // A kubelet that knows an immutable Secret of this name would hand out the last one's content.
        let name = names::secret("reach");
        site.api
            .ensure(&SECRET, bodies.secret(&name, JOB, &text))
            .await?;
        site.pod(|home| bodies.scout(&name, home)).await?;
        site.follower(&name, self.events).started().await?;
        let started = Instant::now();
        loop {
            let pod = site.api.get(&POD, Some(&site.namespace), &name).await?;
            let words = pod.as_ref().and_then(last_words);
            if let Some(words) = words {
                return serde_json::from_str(words).map_err(|_| site.api.unusable(words.trim()));
            }
            if started.elapsed() > SCOUT {
                return Err(site.api.unusable("it said nothing"));
            }
            sleep(POLL).await;
        }
    }
}

fn last_words(pod: &Object) -> Option<&str> {
    pod.text("/status/containerStatuses/0/state/terminated/message")
}

/// The depot's port on some nodes, those with addresses of the outside first.
async fn nodes(home: &Site) -> Result<Vec<String>, DataError> {
    let service = home.api.get(&SERVICE, Some(&home.namespace), NAME).await?;
    let port = service
        .as_ref()
        .and_then(|service| service.pointer("/spec/ports/0/nodePort"));
    let Some(port) = port
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
    else {
        return Ok(Vec::new());
    };
    // Who may not list nodes has the load balancer, or names an address.
    let Ok(nodes) = home.api.list(&NODE, None, None).await else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for wanted in ["ExternalIP", "InternalIP"] {
        let addresses = nodes.iter().filter_map(|node| address(node, wanted));
        found.extend(addresses.take(NODES).map(|host| at(host, port)));
    }
    Ok(found)
}

fn address<'a>(node: &'a Object, wanted: &str) -> Option<&'a str> {
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    let found = addresses.iter().find(|address| address["type"] == wanted)?;
    found["address"].as_str()
}

/// Asks for a load balancer; `None` when the cluster has none to give.
async fn balancer(home: &Site) -> Result<Option<String>, DataError> {
    let space = Some(home.namespace.as_str());
    let patch = json!({"spec": {"type": "LoadBalancer"}});
    home.api.merge(&SERVICE, space, NAME, patch).await?;
    let started = Instant::now();
    while started.elapsed() < BALANCER {
        let service = home.api.get(&SERVICE, space, NAME).await?;
        let ingress = |field: &str| {
            let pointer = format!("/status/loadBalancer/ingress/0/{field}");
            service.as_ref()?.text(&pointer).map(str::to_owned)
        };
        if let Some(host) = ingress("ip").or_else(|| ingress("hostname")) {
            return Ok(Some(at(&host, PORT)));
        }
        sleep(POLL * 5).await;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_that_works_is_taken_and_all_are_told() {
        let refused = || Some("Connection refused".to_owned());
        let tried = Attempts(vec![
            ("10.0.0.1:30001".into(), refused()),
            ("[fd00::1]:30001".into(), None),
            ("10.0.0.3:30001".into(), None),
        ]);
        assert_eq!(tried.good(), Some("[fd00::1]:30001"));
        let none = Attempts(tried.0[..1].to_vec());
        assert_eq!(none.good(), None);
        assert_eq!(none.to_string(), "10.0.0.1:30001 (Connection refused)");
        assert!(Attempts::default().to_string().contains("no address"));
    }

    #[test]
    fn external_addresses_come_before_internal_ones_and_ipv6_gets_brackets() {
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n"},
                {"type": "InternalIP", "address": "fd00::2"},
            ]},
        });
        let node = Object::new(node).unwrap();
        assert_eq!(address(&node, "ExternalIP"), None);
        let host = address(&node, "InternalIP").unwrap();
        assert_eq!(at(host, 30001), "[fd00::2]:30001");
    }

    #[tokio::test]
    async fn who_tries_gives_up_when_nothing_answers() {
        let secrets = super::super::serve::Secrets::random().unwrap();
        let attempt = Attempt {
            pass: Pass {
                key: secrets.key.public().unwrap(),
                token: secrets.token,
            },
            addresses: vec!["127.0.0.1:9".into()],
            patience: 0,
        };
        // As it crosses in a Secret.
        let text = serde_json::to_string(&attempt).unwrap();
        let attempt: Attempt = serde_json::from_str(&text).unwrap();
        assert_eq!(attempt.run().await.good(), None);
    }
}
