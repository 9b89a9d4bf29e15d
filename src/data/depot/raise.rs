//! Making a depot, finding it again, and removing it. Every step may be repeated after a kill.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bodies::{Bodies, CONTAINER, last};
use super::reach::Pass;
use super::serve::Secrets;
use super::{Depot, DepotAccess, DepotError, NAME, PORT, namespace};
use crate::cluster::Cluster;
use crate::data::DataError;
use crate::data::api::{Api, CLAIM, Kind, NAMESPACE, POD, SECRET, SERVICE, STORAGE_CLASS};
use crate::data::follow::Follower;
use crate::data::names::REACHED;
use crate::event::{Direction, Events};
use crate::mover::DEPOT_SECRETS;
use crate::object::Object;

const POLL: Duration = Duration::from_millis(200);
/// How long a pod that runs may take to serve: it opens a folder.
const READY: Duration = Duration::from_secs(60);
/// How long a new namespace may take until it takes pods.
const SETTLE: Duration = Duration::from_secs(20);
/// How long a namespace may take to go.
const GONE: Duration = Duration::from_secs(180);
/// On a class that is the one for claims that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// For whom a pod works, in messages about it.
pub(super) const DEPOT_POD: &str = "the depot";

/// What a new depot shall be like.
#[derive(Clone, Debug)]
pub struct DepotWish {
    /// Ferry's image, as B's nodes pull it.
    pub image: String,
    /// Size of its claim, as Kubernetes writes it; `None` when there is one already, whose size is right.
    pub size: Option<String>,
    /// The claim's class; `None` for the cluster's default.
    pub class: Option<String>,
}

impl Depot {
    /// Whether a depot of that name holds anything: it has a claim.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn exists(cluster: &Cluster, name: &str) -> Result<bool, DepotError> {
        let site = Site::new(cluster, name);
        let claim = site.api.get(&CLAIM, Some(&site.namespace), NAME).await;
        Ok(site.ok(claim)?.is_some_and(|claim| !claim.is_going()))
    }

    /// Whether a depot could get its claim, asked before anything is made.
    ///
    /// # Errors
    /// [`DepotError::NoClass`].
    pub async fn would_fit(cluster: &Cluster, class: Option<&str>) -> Result<(), DepotError> {
        let site = Site::new(cluster, "");
        // Who may not look finds out when the claim does not bind.
        let Ok(classes) = site.api.list(&STORAGE_CLASS, None, None).await else {
            return Ok(());
        };
        let fits = |found: &Object| match class {
            Some(class) => found.name() == class,
            None => found.annotation(DEFAULT_CLASS) == Some("true"),
        };
        match classes.iter().any(fits) {
            true => Ok(()),
            false => Err(DepotError::NoClass {
                cluster: cluster.name().into(),
                class: class.map(str::to_owned),
                known: classes
                    .iter()
                    .map(|class| class.name().to_owned())
                    .collect(),
            }),
        }
    }

    /// Makes a depot, or what is missing of it, and waits until it serves.
    ///
    /// # Errors
    /// When the cluster refuses any of it, or its pod does not come to work.
    pub async fn raise(
        cluster: &Cluster,
        name: &str,
        wish: &DepotWish,
        events: &Events,
    ) -> Result<Self, DepotError> {
        let site = Site::new(cluster, name);
        let bodies = Bodies {
            name,
            image: &wish.image,
        };
        site.ok(site.live_namespace(bodies).await)?;
        let secrets = Secrets::random().map_err(DepotError::Keys)?;
        let text =
            serde_json::to_string(&secrets).map_err(|error| DepotError::Keys(error.into()))?;
        let made = async {
            site.api
                .ensure(&SECRET, bodies.secret(NAME, DEPOT_SECRETS, &text))
                .await?;
            site.claim(bodies, wish).await?;
            site.api.ensure(&SERVICE, bodies.service()).await?;
            // One that does not serve is of no use to anybody, and what it is made from may have been what was wrong.
            let pod = site.api.get(&POD, Some(&site.namespace), NAME).await?;
            if pod.is_some_and(|pod| !ready(&pod)) {
                site.remove(&POD, NAME).await?;
            }
            site.pod(|home| bodies.pod(home)).await?;
            // The one knows what keeps a pod from its start, the other what it said before it ended.
            let follower = site.follower(NAME, events);
            tokio::try_join!(follower.started(), site.serving()).map(drop)
        };
        site.ok(made.await)?;
        Self::find(cluster, name).await
    }

    /// Finds a depot that serves.
    ///
    /// # Errors
    /// [`DepotError::None`], or why it does not serve.
    pub async fn find(cluster: &Cluster, name: &str) -> Result<Self, DepotError> {
        let site = Site::new(cluster, name);
        let found = async {
            let space = Some(site.namespace.as_str());
            let secret = site.api.get(&SECRET, space, NAME).await?;
            let service = site.api.get(&SERVICE, space, NAME).await?;
            let pod = site.api.get(&POD, space, NAME).await?;
            Ok((secret, service, pod))
        };
        let (Some(secret), Some(service), pod) = site.ok(found.await)? else {
            return Err(DepotError::None {
                name: name.into(),
                cluster: cluster.name().into(),
            });
        };
        if !pod.is_some_and(|pod| ready(&pod)) {
            return Err(DepotError::Pod {
                what: DEPOT_POD,
                cluster: cluster.name().into(),
                reason: "it is not running; `ferry migrate --direct` with the same options starts it anew"
                    .into(),
            });
        }
        let inside = service.text("/spec/clusterIP").unwrap_or_default();
        let access = DepotAccess {
            home: cluster.identity().clone(),
            pass: pass(&secret).map_err(DepotError::Keys)?,
            inside: at(inside, PORT),
            outside: service.annotation(REACHED).map(str::to_owned),
        };
        Ok(Self {
            cluster: cluster.clone(),
            name: name.into(),
            access,
        })
    }

    /// Removes a depot with all it holds, and waits until it is gone.
    ///
    /// # Errors
    /// When the cluster refuses, or it does not go.
    pub async fn remove(cluster: &Cluster, name: &str) -> Result<(), DepotError> {
        let site = Site::new(cluster, name);
        let space = site.namespace.clone();
        let removed = async {
            let claim = site.api.get(&CLAIM, Some(&space), NAME).await?;
            if let Some(claim) = claim {
                crate::data::access::goes_with_claim(&site.api, &claim).await?;
            }
            site.remove(&NAMESPACE, &space).await
        };
        site.ok(removed.await)
    }
}

/// Where a depot, or one who looks for it, is.
pub(super) struct Site {
    pub(super) api: Api,
    pub(super) namespace: String,
}

impl Site {
    pub(super) fn new(cluster: &Cluster, name: &str) -> Self {
        Self {
            api: Api::new(cluster, format!("(depot {name})")),
            namespace: namespace(name),
        }
    }

    pub(super) fn ok<T>(&self, result: Result<T, DataError>) -> Result<T, DepotError> {
        result.map_err(|error| DepotError::on(self.api.cluster.name(), DEPOT_POD, error))
    }

    pub(super) fn follower<'a>(&'a self, pod: &'a str, events: &'a Events) -> Follower<'a> {
        Follower {
            api: &self.api,
            namespace: &self.namespace,
            pod,
            container: CONTAINER.into(),
            mounts: NAME,
            doubtful: false,
            direction: Direction::Save,
            events,
        }
    }

    /// The namespace; one that is on its way out is waited for.
    pub(super) async fn live_namespace(&self, bodies: Bodies<'_>) -> Result<(), DataError> {
        self.api.live_namespace(bodies.namespace(), GONE).await
    }

    /// The claim, grown if that was asked for.
    async fn claim(&self, bodies: Bodies<'_>, wish: &DepotWish) -> Result<(), DataError> {
        let space = Some(self.namespace.as_str());
        let found = self.api.get(&CLAIM, space, NAME).await?;
        match (found, &wish.size) {
            (None, Some(size)) => {
                let body = bodies.claim(size, wish.class.as_deref());
                self.api.ensure(&CLAIM, body).await.map(drop)
            }
            (None, None) => Err(self.api.unusable("its claim is gone")),
            (Some(claim), Some(size)) if claim.text(STORAGE) != Some(size) => {
                let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
                self.api.merge(&CLAIM, space, NAME, patch).await.map(drop)
            }
            (Some(_), _) => Ok(()),
        }
    }

    /// Makes a pod. A new namespace takes none for a moment: it has no service account yet, or no users to choose from.
    pub(super) async fn pod(&self, body: impl Fn(&Value) -> Value) -> Result<(), DataError> {
        let started = Instant::now();
        loop {
            let home = self.api.get(&NAMESPACE, None, &self.namespace).await?;
            let home = home.map_or(Value::Null, Object::into_value);
            match self.api.ensure(&POD, body(&home)).await {
                Err(DataError::Cluster { source, .. })
                    if too_early(&source.to_string()) && started.elapsed() < SETTLE =>
                {
                    sleep(POLL).await;
                }
                made => return made.map(drop),
            }
        }
    }

    /// Waits until the depot's container serves; one that ends does not.
    async fn serving(&self) -> Result<(), DataError> {
        let mut running: Option<Instant> = None;
        loop {
            let pod = self.api.get(&POD, Some(&self.namespace), NAME).await?;
            let pod = pod.ok_or_else(|| self.api.unusable("it was deleted meanwhile"))?;
            if ready(&pod) {
                return Ok(());
            }
            let status = "/status/containerStatuses/0";
            if pod.pointer(&format!("{status}/state/running")).is_some() {
                running.get_or_insert_with(Instant::now);
            }
            let words = ["state", "lastState"]
                .iter()
                .find_map(|state| pod.text(&format!("{status}/{state}/terminated/message")));
            if let Some(words) = words {
                return Err(self.api.unusable(words.trim()));
            }
            if pod.has_ended() || running.is_some_and(|since| since.elapsed() > READY) {
                let reason = format!("it does not serve after {} s", READY.as_secs());
                return Err(self.api.unusable(reason));
            }
            sleep(POLL).await;
        }
    }

    /// Removes one object and waits until it is gone.
    pub(super) async fn remove(&self, kind: &Kind, name: &str) -> Result<(), DataError> {
        let space = kind.namespaced.then_some(self.namespace.as_str());
        self.api.delete(kind, space, name).await?;
        self.gone(kind, name).await
    }

    async fn gone(&self, kind: &Kind, name: &str) -> Result<(), DataError> {
        let space = kind.namespaced.then_some(self.namespace.as_str());
        let started = Instant::now();
        while self.api.get(kind, space, name).await?.is_some() {
            if started.elapsed() > GONE {
                let kind = &kind.kind;
                return Err(self
                    .api
                    .unusable(format!("{kind} {name} does not go; see its finalizers")));
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// Where a claim says how large it shall be.
const STORAGE: &str = "/spec/resources/requests/storage";

fn too_early(answer: &str) -> bool {
    ["serviceaccount", "security context constraint"]
        .iter()
        .any(|reason| answer.contains(reason))
}

fn ready(pod: &Object) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    !pod.is_going() && conditions.into_iter().flatten().any(ready)
}

/// What the depot's Secret lets one do.
fn pass(secret: &Object) -> std::io::Result<Pass> {
    use base64::Engine as _;
    let encoded = secret.text(&format!("/data/{}", last(DEPOT_SECRETS)));
    let plain = base64::engine::general_purpose::STANDARD.decode(encoded.unwrap_or_default());
    let plain = plain.map_err(std::io::Error::other)?;
    let secrets: Secrets = serde_json::from_slice(&plain)?;
    Ok(Pass {
        key: secrets.key.public()?,
        token: secrets.token,
    })
}

/// `host:port`, with the brackets that IPv6 needs.
pub(super) fn at(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
