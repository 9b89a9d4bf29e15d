//! Plans from small fixtures.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::capture::{Capture, Captured, Proof, Volume};
use crate::finding::{Finding, Verdict};
use crate::graph::{Edge, Node, Presence, Strength};
use crate::knowledge::Knowledge;
use crate::repository::LossClass;
use crate::surface::Surface;
use crate::target::{DryRun, NamespaceState, TargetState};
use crate::transform::Transformed;

mod clones;
mod hooks;
mod hosts;
mod party;
mod shared;
mod warm;

struct Fixture {
    capture: Capture,
    transformed: Transformed,
    graph: Graph,
    target: TargetState,
    offers: Surface,
    findings: Vec<Finding>,
    purpose: Purpose,
    grouping: Grouping,
    shared_storage: bool,
}

fn id(kind: &str, name: &str) -> ObjectId {
    let group = match kind {
        "Deployment" | "StatefulSet" => "apps",
        "CronJob" => "batch",
        "Ingress" => "networking.k8s.io",
        _ => "",
    };
    if kind == "Namespace" {
        ObjectId::cluster(group, kind, name)
    } else {
        ObjectId::namespaced(group, kind, "shop", name)
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Object {
    let id = id(kind, name);
    let version = if id.group.is_empty() {
        "v1".into()
    } else {
        format!("{}/v1", id.group)
    };
    Object::new(json!({"apiVersion": version, "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": id.namespace}}))
    .unwrap()
}

fn surface(name: &str) -> Surface {
    Surface {
        cluster: ClusterIdentity {
            name: name.into(),
            uid: name.into(),
            version: "v1.34.4".into(),
        },
        resources: Vec::new(),
        objects: Vec::new(),
        unseen: BTreeSet::new(),
        silent: BTreeSet::new(),
    }
}

/// A database with its claim, a web server that needs it, a CronJob, an Ingress and a bare Pod.
fn shop() -> Fixture {
    let pods = json!({"replicas": 2, "template": {"spec": {"nodeSelector": {"disk": "ssd"}}}});
    let objects = [
        (object("Namespace", "shop", json!({})), Phase::Skeleton),
        (object("Secret", "password", json!({})), Phase::Skeleton),
        (
            object("PersistentVolumeClaim", "data", json!({})),
            Phase::Storage,
        ),
        (object("StatefulSet", "db", pods.clone()), Phase::Workload),
        (object("Deployment", "web", pods), Phase::Workload),
        (
            object("CronJob", "report", json!({"suspend": true})),
            Phase::Workload,
        ),
        (object("CronJob", "mail", json!({})), Phase::Workload),
        (object("Pod", "probe", json!({})), Phase::Workload),
        (object("Ingress", "web", json!({})), Phase::Exposure),
    ];
    let edge = |from: (&str, &str), to: (&str, &str), strength| Edge {
        from: id(from.0, from.1),
        to: id(to.0, to.1),
        strength,
        rule: "E".into(),
        path: "".into(),
    };
    let claim = ("PersistentVolumeClaim", "data");
    let graph = Graph {
        nodes: objects
            .iter()
            .map(|(object, phase)| Node {
                id: object.id(),
                presence: Presence::Captured,
                phase: *phase,
                wave: 0,
            })
            .collect(),
        edges: vec![
            edge(("StatefulSet", "db"), claim, Strength::H),
            edge(("StatefulSet", "db"), ("Secret", "password"), Strength::R),
            edge(("Deployment", "web"), ("StatefulSet", "db"), Strength::R),
            edge(("Ingress", "web"), ("Deployment", "web"), Strength::S),
        ],
        dropped: Vec::new(),
    };
    let all: Vec<Object> = objects.iter().map(|(object, _)| object.clone()).collect();
    let volume = Volume {
        claim: id(claim.0, claim.1),
        mode: VolumeMode::Filesystem,
        capacity: 1 << 30,
        storage_class: None,
        driver: None,
        access_modes: Vec::new(),
        node: None,
        mounted_by: Vec::new(),
        pods: Vec::new(),
        user: None,
        together: None,
        saved: None,
    };
    Fixture {
        capture: Capture {
            id: "20260101-000000-abcd".into(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            namespaces: vec!["shop".into()],
            objects: all
                .iter()
                .map(|object| Captured {
                    object: object.clone(),
                    raw: object.clone(),
                    owners: Vec::new(),
                })
                .collect(),
            findings: Vec::new(),
            dropped: Vec::new(),
            volumes: vec![volume],
            surface: surface("a"),
        },
        transformed: Transformed {
            origins: (0..all.len()).map(Some).collect(),
            objects: all,
            ..Transformed::default()
        },
        graph,
        target: TargetState::default(),
        offers: surface("b"),
        findings: Vec::new(),
        purpose: Purpose::Move,
        grouping: Grouping::default(),
        shared_storage: false,
    }
}

impl Fixture {
    fn plan(&self) -> Plan {
        build(&PlanInput {
            capture: &self.capture,
            transformed: &self.transformed,
            recipes: &[],
            graph: &self.graph.clone().into(),
            surface: &self.offers,
            target: &self.target,
            findings: &self.findings,
            knowledge: Knowledge::builtin(),
            purpose: self.purpose,
            switch_hosts: self.purpose == Purpose::Cutover,
            unprivileged: Unprivileged::default(),
            grouping: self.grouping,
            shared_storage: self.shared_storage,
        })
    }

    /// B after the plan was executed: everything there, the held replicas given back through scale.
    fn migrated(mut self) -> Self {
        for step in self.plan().steps {
            let (Action::Apply { body, .. } | Action::Release { body, .. }) = step.action else {
                continue;
            };
            let mut live = Object::clone(&body);
            let extra = json!({"metadata": {"uid": "u", "resourceVersion": "1"}});
            json_patch::merge(live.value_mut(), &extra);
            self.target.live.insert(live.id(), live);
        }
        for (id, live) in &mut self.target.live {
            if id.is("", "PersistentVolumeClaim") {
                stamp::annotate(live, stamp::DATA_ANNOTATION, "digest");
            }
            let wanted = self
                .transformed
                .objects
                .iter()
                .find(|object| object.id() == *id)
                .unwrap();
            let mut answer = wanted.clone();
            if matches!(id.kind.as_str(), "Deployment" | "StatefulSet") {
                let managers = json!({"metadata": {"managedFields": [{"manager": "ferry-scale",
                    "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
                    "spec": {"replicas": 2}});
                json_patch::merge(live.value_mut(), &managers);
                json_patch::merge(answer.value_mut(), &managers);
            }
            self.target
                .dry_run
                .insert(id.clone(), DryRun::Accepted { object: answer });
        }
        self
    }
}

fn find<'a>(plan: &'a Plan, kind: &str, name: &str, word: &str) -> &'a Step {
    plan.steps
        .iter()
        .find(|step| step.object == id(kind, name) && step.action.word() == word)
        .unwrap_or_else(|| panic!("no {word} of {kind} {name}"))
}

fn needs(step: &Step, other: &Step) -> Option<Gate> {
    step.needs
        .iter()
        .find(|need| need.step == other.number)
        .map(|need| need.gate)
}

#[test]
fn w_7_workloads_are_held_until_every_volume_has_arrived() {
    let plan = shop().plan();
    let load = find(&plan, "PersistentVolumeClaim", "data", "load");
    let held: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.action.word() == "release")
        .map(|step| {
            assert_eq!(needs(step, load), Some(Gate::Done));
            step.object.to_string()
        })
        .collect();
    // The suspended CronJob is quiet by itself.
    assert_eq!(
        held,
        [
            "StatefulSet.apps shop/db",
            "CronJob.batch shop/mail",
            "Deployment.apps shop/web"
        ]
    );
    // A Pod cannot be held, so it is not made before.
    assert_eq!(
        needs(find(&plan, "Pod", "probe", "create"), load),
        Some(Gate::Done)
    );
}

#[test]
fn data_is_loaded_into_a_claim_that_exists_and_is_marked_as_pending() {
    let plan = shop().plan();
    let claim = find(&plan, "PersistentVolumeClaim", "data", "create");
    let Action::Apply { body, .. } = &claim.action else {
        panic!()
    };
    assert_eq!(
        body.annotation(stamp::DATA_ANNOTATION),
        Some(stamp::DATA_PENDING)
    );
    assert_eq!(body.annotation("ferry.dev/source"), Some("a/shop"));
    let load = find(&plan, "PersistentVolumeClaim", "data", "load");
    let save = find(&plan, "PersistentVolumeClaim", "data", "save");
    assert_eq!(
        (needs(load, claim), needs(load, save)),
        (Some(Gate::Done), Some(Gate::Done))
    );
    let Action::Load(volume) = &load.action else {
        panic!()
    };
    assert_eq!(volume.placement, json!({"nodeSelector": {"disk": "ssd"}}));
    assert_eq!(volume.consistency, Consistency::Live);
}

#[test]
fn w_4_needs_follow_strengths_and_point_backwards() {
    let plan = shop().plan();
    for (index, step) in plan.steps.iter().enumerate() {
        assert_eq!(usize::try_from(step.number).unwrap(), index);
        assert!(step.needs.iter().all(|need| need.step < step.number));
        assert!(
            step.needs
                .iter()
                .all(|need| plan.steps[need.step as usize].wave < step.wave)
        );
    }
    let namespace = find(&plan, "Namespace", "shop", "create");
    let secret = find(&plan, "Secret", "password", "create");
    let db = find(&plan, "StatefulSet", "db", "create");
    let db_release = find(&plan, "StatefulSet", "db", "release");
    let web = find(&plan, "Deployment", "web", "create");
    let web_release = find(&plan, "Deployment", "web", "release");
    assert_eq!(needs(secret, namespace), Some(Gate::Ready));
    assert_eq!(needs(db, secret), Some(Gate::Done));
    assert_eq!(needs(web, db), Some(Gate::Done));
    assert_eq!(needs(web_release, db_release), Some(Gate::Ready));
    assert_eq!(needs(db_release, secret), Some(Gate::Ready));
    assert_eq!(
        needs(find(&plan, "Ingress", "web", "create"), web),
        Some(Gate::Settled)
    );
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let fixture = shop();
    let plan = fixture.plan();
    let mut shuffled = shop();
    shuffled.capture.objects.reverse();
    shuffled.transformed.objects.reverse();
    let other = shuffled.plan();
    assert_eq!(other, plan);
}

#[test]
fn a_migrated_namespace_has_nothing_pending() {
    let plan = shop().migrated().plan();
    let pending: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.action.pending())
        .map(|step| format!("{} {}", step.action.word(), step.object))
        .collect();
    assert_eq!(pending, Vec::<String>::new());
    assert_eq!(plan.pending(), 0);
    find(&plan, "PersistentVolumeClaim", "data", "keep");
}

#[test]
fn a_run_that_stopped_before_its_data_arrived_is_planned_on() {
    let mut fixture = shop().migrated();
    let claim = fixture
        .target
        .live
        .get_mut(&id("PersistentVolumeClaim", "data"))
        .unwrap();
    stamp::annotate(claim, stamp::DATA_ANNOTATION, stamp::DATA_PENDING);
    let db = id("StatefulSet", "db");
    let live = fixture.target.live.get_mut(&db).unwrap();
    json_patch::merge(
        live.value_mut(),
        &json!({"spec": {"replicas": 0}, "metadata": {"managedFields": null,
            "annotations": {stamp::REPLICAS_ANNOTATION: "2"}}}),
    );
    let plan = fixture.plan();
    let load = find(&plan, "PersistentVolumeClaim", "data", "load");
    assert_eq!(
        needs(find(&plan, "StatefulSet", "db", "release"), load),
        Some(Gate::Done)
    );
    assert_eq!(
        plan.steps
            .iter()
            .filter(|step| step.action.word() == "release")
            .count(),
        1
    );
}

#[test]
fn a_blocked_object_blocks_what_cannot_be_made_without_it_and_nothing_else() {
    let mut fixture = shop();
    let finding = Finding::new(Verdict::Block, "C-40", "no such class")
        .on(id("PersistentVolumeClaim", "data"));
    fixture.findings.push(finding);
    let plan = fixture.plan();
    let blocked: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.action.word() == "blocked")
        .map(|step| step.object.to_string())
        .collect();
    assert_eq!(
        blocked,
        [
            "PersistentVolumeClaim shop/data",
            "StatefulSet.apps shop/db"
        ]
    );
    assert!(plan.blocked());
}

#[test]
fn saved_data_is_loaded_without_asking_a() {
    let mut fixture = shop();
    fixture.capture.volumes[0].saved = Some(SavedVolume {
        held: None,
        snapshot: "00".into(),
        consistency: Consistency::Snapshot,
        proof: Proof {
            files: 1,
            bytes: 2,
            digest: "d".into(),
        },
        added: 0,
    });
    let plan = fixture.plan();
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| matches!(step.action.word(), "save" | "snapshot"))
    );
    find(&plan, "PersistentVolumeClaim", "data", "load");
}

#[test]
fn a_csi_volume_is_snapshotted_before_anything_is_read() {
    let mut fixture = shop();
    fixture.capture.volumes[0].driver = Some("csi.example.com".into());
    let class = Object::new(json!({"apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass", "metadata": {"name": "s"}, "driver": "csi.example.com"}));
    fixture.capture.surface.objects.push(class.unwrap());
    let plan = fixture.plan();
    let snapshot = find(&plan, "PersistentVolumeClaim", "data", "snapshot");
    let save = find(&plan, "PersistentVolumeClaim", "data", "save");
    assert_eq!(needs(save, snapshot), Some(Gate::Done));
    assert_eq!(snapshot.wave, 0);
}

#[test]
fn claims_of_one_driver_are_frozen_together_where_labels_choose_them() {
    let mut fixture = shop();
    let class = Object::new(json!({"apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass", "metadata": {"name": "s"}, "driver": "csi.example.com"}));
    fixture.capture.surface.objects.push(class.unwrap());
    let volume = &mut fixture.capture.volumes[0];
    volume.driver = Some("csi.example.com".into());
    let claims = ["data".to_owned(), "wal".to_owned()].into();
    let labels = Some([("app".to_owned(), "db".to_owned())].into());
    volume.together = Some(Together { claims, labels });
    let way = |fixture: &Fixture| {
        let plan = fixture.plan();
        let step = find(&plan, "PersistentVolumeClaim", "data", "snapshot");
        let volume = step.action.volume().unwrap();
        let told = plan.findings.iter().map(|finding| finding.message.clone());
        (
            volume.consistency,
            with_others(volume),
            told.collect::<Vec<_>>(),
        )
    };
    let together = (Consistency::Together, Some("wal".to_owned()), Vec::new());
    assert_eq!(way(&fixture), together);
    fixture.grouping = Grouping::Off;
    assert_eq!(way(&fixture), (Consistency::Snapshot, None, Vec::new()));

    fixture.capture.volumes[0].together.as_mut().unwrap().labels = None;
    assert_eq!(way(&fixture), (Consistency::Snapshot, None, Vec::new()));
    fixture.grouping = Grouping::Auto;
    let (consistency, others, told) = way(&fixture);
    assert_eq!((consistency, others), (Consistency::Snapshot, None));
    assert!(
        told[0].contains("data, wal of namespace shop are frozen one after another"),
        "{told:?}"
    );
    fixture.grouping = Grouping::Label;
    let (consistency, _, told) = way(&fixture);
    assert_eq!(consistency, Consistency::Together);
    assert!(
        told[0].contains("are labelled while they are frozen together"),
        "{told:?}"
    );
}

#[test]
fn c_40_a_load_says_what_the_storage_is_known_to_lose() {
    let mut fixture = shop();
    let share = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "share",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "smb.csi.k8s.io"});
    fixture.offers.objects.push(Object::new(share).unwrap());
    let loses = |fixture: &Fixture| {
        let plan = fixture.plan();
        let load = find(&plan, "PersistentVolumeClaim", "data", "load");
        let Action::Load(volume) = &load.action else {
            panic!("{load:?}")
        };
        volume.loses.clone()
    };
    assert_eq!(loses(&fixture), [LossClass::Owner, LossClass::Mode]);
    fixture.capture.volumes[0].mode = VolumeMode::Block;
    assert_eq!(loses(&fixture), []);
}

#[test]
fn without_data_nothing_is_held() {
    let mut fixture = shop();
    fixture.capture.volumes.clear();
    let plan = fixture.plan();
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| step.action.word() == "release")
    );
}

#[test]
fn a_missing_namespace_that_did_not_travel_is_made() {
    let mut fixture = shop();
    fixture.capture.objects.remove(0);
    fixture.transformed.objects.remove(0);
    fixture.target.namespaces = BTreeMap::from([("shop".into(), NamespaceState::Absent)]);
    let plan = fixture.plan();
    let namespace = find(&plan, "Namespace", "shop", "create");
    let secret = find(&plan, "Secret", "password", "create");
    assert_eq!(needs(secret, namespace), Some(Gate::Ready));
}

#[test]
fn a_reference_from_an_earlier_phase_pulls_its_target_forward() {
    let mut fixture = shop();
    fixture.graph.edges.push(Edge {
        from: id("Secret", "password"),
        to: id("Pod", "probe"),
        strength: Strength::H,
        rule: "E".into(),
        path: "".into(),
    });
    let plan = fixture.plan();
    let pod = find(&plan, "Pod", "probe", "create");
    assert_eq!(pod.phase, Phase::Skeleton);
    assert!(pod.number < find(&plan, "Secret", "password", "create").number);
}

#[test]
fn a_plan_reads_back_as_it_was_written_and_other_bytes_do_not() {
    let plan = shop().plan();
    let bytes = file::encode(&plan).unwrap();
    assert_eq!(file::decode(&bytes).unwrap(), plan);
    assert!(matches!(
        file::decode(b"ferry"),
        Err(file::PlanFileError::NotAPlan)
    ));
}

#[tokio::test]
async fn a_plan_file_opens_only_with_the_store_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let password = crate::store::Password::new("p");
    let mine = crate::store::Store::init(&url("mine"), &password)
        .await
        .unwrap();
    let other = crate::store::Store::init(&url("other"), &password)
        .await
        .unwrap();
    let (plan, path) = (shop().plan(), folder.path().join("shop.plan"));
    file::save(&plan, &path, &mine).unwrap();
    assert_eq!(file::load(&path, &mine).unwrap(), plan);
    let error = file::load(&path, &other).unwrap_err();
    assert!(
        error.to_string().contains("not made with this store"),
        "{error}"
    );
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| format!("{} {}", step.action.word(), step.object);
    plan.steps.iter().map(word).collect()
}
