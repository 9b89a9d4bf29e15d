//! What the tests of the restore engine share: a namespace on B that a plan makes, a store, and a
//! stand-in for movers that only notes what it was asked; the real movers have tests of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferry::capture::{Capture, Captured, Owner, Proof, SavedVolume, Volume, VolumeMode};
use ferry::cluster::{Cluster, ConnectOptions, probe, survey};
use ferry::data::{DataError, Loaded, Movers};
use ferry::event::{Direction, Events};
use ferry::graph::{self, Edge, GraphInput, Strength};
use ferry::journal::RunFiles;
use ferry::knowledge::Knowledge;
use ferry::object::{GroupKind, Object, ObjectId};
use ferry::plan::{self, Plan, PlanInput, Unprivileged, VolumeMove};
use ferry::restore::{self, RunContext, RunOptions, RunReport, UndoOptions};
use ferry::store::{Password, Store};
use ferry::surface::Surface;
use ferry::transform::Transformed;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Namespace, kubectl, unique};

pub struct Bench {
    pub space: Namespace,
    pub cluster: Cluster,
    pub surface: Surface,
    pub store: Store,
    pub folder: tempfile::TempDir,
    pub movers: Noting,
    pub objects: Vec<Object>,
    pub edges: Vec<Edge>,
    pub volumes: Vec<Volume>,
    pub owners: BTreeMap<ObjectId, Vec<Owner>>,
    pub options: RunOptions,
}

/// Movers that carry nothing and note what they were asked, with B's replicas of `db` at that time.
#[derive(Default)]
pub struct Noting {
    pub asked: Mutex<Vec<String>>,
    pub fail_load: std::sync::atomic::AtomicBool,
}

pub fn proof() -> Proof {
    Proof {
        files: 3,
        bytes: 42,
        digest: "d1".into(),
    }
}

impl Noting {
    pub fn note(&self, verb: &str, volume: &VolumeMove) {
        let line = format!("{verb} {}", volume.target.name);
        self.asked.lock().unwrap().push(line);
    }

    /// `load a b` of those that one mover carries.
    fn note_all(&self, verb: &str, party: &[&VolumeMove]) {
        let names: Vec<&str> = party
            .iter()
            .map(|volume| volume.target.name.as_str())
            .collect();
        let line = format!("{verb} {}", names.join(" "));
        self.asked.lock().unwrap().push(line);
    }

    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Movers for Noting {
    async fn snapshot(&self, volume: &VolumeMove) -> Result<(), DataError> {
        self.note("snapshot", volume);
        Ok(())
    }

    async fn save(&self, party: &[&VolumeMove]) -> Vec<Result<SavedVolume, DataError>> {
        self.note_all("save", party);
        let saved = |volume: &&VolumeMove| {
            Ok(SavedVolume {
                held: None,
                snapshot: "00".into(),
                consistency: volume.consistency,
                proof: proof(),
                added: 0,
            })
        };
        party.iter().map(saved).collect()
    }

    async fn load(&self, party: &[(&VolumeMove, &SavedVolume)]) -> Vec<Result<Loaded, DataError>> {
        let volumes: Vec<&VolumeMove> = party.iter().map(|(volume, _)| *volume).collect();
        self.note_all("load", &volumes);
        let fails = self.fail_load.load(Ordering::Relaxed);
        let load = |(volume, saved): &(&VolumeMove, &SavedVolume)| match fails {
            true => Err(DataError::Claim {
                claim: volume.target.name.to_string(),
                reason: "told to fail".into(),
            }),
            false => Ok(Loaded {
                proof: saved.proof.clone(),
                instead: None,
            }),
        };
        party.iter().map(load).collect()
    }

    async fn stand_by(&self, _: &[&VolumeMove], _: Direction) -> Result<(), DataError> {
        Ok(())
    }

    async fn stand_down(&self) -> Result<(), DataError> {
        Ok(())
    }

    fn took(&self, _: &VolumeMove, _: Direction) -> Option<Duration> {
        None
    }

    async fn tidy(&self, _: &VolumeMove, _: Direction) -> Result<(), DataError> {
        Ok(())
    }

    async fn clean(&self) -> Result<(), DataError> {
        self.asked.lock().unwrap().push("clean".into());
        Ok(())
    }
}

impl Bench {
    pub async fn new(topic: &str) -> Self {
        ferry::install_crypto();
        let cluster = Cluster::connect(&ConnectOptions::context("b"))
            .await
            .unwrap();
        let surface = survey(&cluster, &Events::silent()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        Self {
            space: Namespace::reserve("b", topic),
            cluster,
            surface,
            store,
            folder,
            movers: Noting::default(),
            objects: Vec::new(),
            edges: Vec::new(),
            volumes: Vec::new(),
            owners: BTreeMap::new(),
            options: RunOptions {
                patience: Some(Duration::from_secs(60)),
                ..RunOptions::default()
            },
        }
    }

    /// Looks at the cluster again until it serves a kind whose definition was just installed.
    pub async fn until_served(&mut self, kind: &GroupKind) {
        let started = std::time::Instant::now();
        while self.surface.resource(kind, None).is_none() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{kind} is not served"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.surface = survey(&self.cluster, &Events::silent()).await.unwrap();
        }
    }

    /// Adds an object to what travels.
    pub fn add(&mut self, api_version: &str, kind: &str, name: &str, rest: Value) -> ObjectId {
        let mut value = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "namespace": self.space.name}});
        json_patch::merge(&mut value, &rest);
        let object = Object::new(value).unwrap();
        let id = object.id();
        self.objects.push(object);
        id
    }

    pub fn deployment(&mut self, name: &str, replicas: i64) -> ObjectId {
        let spec = workload(name, replicas);
        self.add("apps/v1", "Deployment", name, json!({"spec": spec}))
    }

    pub fn config(&mut self, name: &str) -> ObjectId {
        self.add("v1", "ConfigMap", name, json!({"data": {"key": "value"}}))
    }

    /// A claim whose data travels.
    pub fn claim(&mut self, name: &str) -> ObjectId {
        let id = self.add(
            "v1",
            "PersistentVolumeClaim",
            name,
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast-late",
                "resources": {"requests": {"storage": "16Mi"}}}}),
        );
        self.volumes.push(Volume {
            claim: id.clone(),
            mode: VolumeMode::Filesystem,
            capacity: 16 << 20,
            storage_class: None,
            driver: None,
            access_modes: Vec::new(),
            node: None,
            mounted_by: Vec::new(),
            pods: Vec::new(),
            user: None,
            together: None,
            saved: None,
        });
        id
    }

    pub fn edge(&mut self, from: &ObjectId, to: &ObjectId, strength: Strength) {
        self.edges.push(Edge {
            from: from.clone(),
            to: to.clone(),
            strength,
            rule: "E-test".into(),
            path: "".into(),
        });
    }

    pub async fn plan(&self) -> Plan {
        let capture = Capture {
            id: "20260101-000000-abcd".into(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            namespaces: vec![self.space.name.clone()],
            objects: self
                .objects
                .iter()
                .map(|object| Captured {
                    object: object.clone(),
                    raw: object.clone(),
                    owners: self.owners.get(&object.id()).cloned().unwrap_or_default(),
                })
                .collect(),
            findings: Vec::new(),
            dropped: Vec::new(),
            volumes: self.volumes.clone(),
            surface: self.surface.clone(),
        };
        let transformed = Transformed {
            origins: (0..self.objects.len()).map(Some).collect(),
            objects: self.objects.clone(),
            ..Transformed::default()
        };
        let events = Events::silent();
        let target = probe(&self.cluster, &self.surface, &self.objects, &events)
            .await
            .unwrap();
        let mut graph = graph::build(&GraphInput {
            objects: &self.objects,
            crds: &[],
            produced: &[],
            owners: &self.owners,
            on_b: &BTreeSet::new(),
            knowledge: Knowledge::builtin(),
        })
        .unwrap();
        graph.edges.extend(self.edges.clone());
        plan::build(&PlanInput {
            capture: &capture,
            transformed: &transformed,
            recipes: &[],
            graph: &graph.into(),
            surface: &self.surface,
            target: &target,
            findings: &[],
            knowledge: Knowledge::builtin(),
            purpose: plan::Purpose::Move,
            unprivileged: Unprivileged::default(),
            switch_hosts: false,
            grouping: plan::Grouping::default(),
            shared_storage: false,
        })
    }

    pub fn context<'a>(
        &'a self,
        run: &'a str,
        events: &'a Events,
        cancel: &CancellationToken,
    ) -> RunContext<'a, Noting> {
        RunContext {
            run,
            target: &self.cluster,
            source: None,
            files: self.files(),
            movers: &self.movers,
            knowledge: Knowledge::builtin(),
            events,
            cancel: cancel.clone(),
            options: self.options.clone(),
        }
    }

    pub fn files(&self) -> Arc<dyn RunFiles> {
        Arc::new(self.store.clone())
    }

    pub async fn execute(&self, run: &str) -> RunReport {
        let plan = self.plan().await;
        self.execute_plan(run, &plan).await
    }

    pub async fn execute_plan(&self, run: &str, plan: &Plan) -> RunReport {
        let (events, cancel) = (Events::silent(), CancellationToken::new());
        restore::execute(plan, &self.context(run, &events, &cancel))
            .await
            .unwrap()
    }

    pub async fn resume(&self, run: &str) -> RunReport {
        let (events, cancel) = (Events::silent(), CancellationToken::new());
        restore::resume(&self.context(run, &events, &cancel))
            .await
            .unwrap()
    }

    pub async fn undo(&self, run: &str, delete_data: bool) -> restore::UndoReport {
        let options = UndoOptions {
            delete_data,
            ..UndoOptions::default()
        };
        self.undo_with(run, options).await
    }

    pub async fn undo_with(&self, run: &str, options: UndoOptions) -> restore::UndoReport {
        let (events, cancel) = (Events::silent(), CancellationToken::new());
        restore::undo(&self.context(run, &events, &cancel), options)
            .await
            .unwrap()
    }

    /// A file of the test's own, by its path.
    pub fn store_file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", self.space.name.as_str()];
        all.extend(args);
        kubectl("b", &all)
    }

    pub fn live(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(&["get", kind, name, "-o", "json", "--show-managed-fields"]);
        serde_json::from_str(&text).unwrap()
    }

    /// Name and resource version of everything the tests make.
    pub fn versions(&self) -> String {
        self.kubectl(&[
            "get",
            "configmaps,deployments,persistentvolumeclaims,cronjobs",
            "-o",
            "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}",
        ])
    }
}

async fn store(folder: &Path) -> Store {
    let url = folder.join("store").to_string_lossy().into_owned();
    Store::init(&url, &Password::new("test")).await.unwrap()
}

pub fn workload(name: &str, replicas: i64) -> Value {
    json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "ferry.test/pause:1"}]}}})
}

pub fn run_name() -> String {
    format!("run-{}", unique())
}

pub fn of(plan: &Plan, kind: &str, word: &str) -> usize {
    plan.steps
        .iter()
        .filter(|step| step.object.kind == kind && step.action.word() == word)
        .count()
}
