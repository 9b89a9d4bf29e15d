//! What must hold for every case, and for cases nobody wrote.

use std::collections::{BTreeMap, BTreeSet};

use ferry::capture::{Capture, Captured, sanitise};
use ferry::check::{self, CheckInput};
use ferry::cluster;
use ferry::event::Events;
use ferry::finding::{Finding, Verdict};
use ferry::graph::{self, GraphInput, Strength};
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::plan::{self, Action, Class, Plan, PlanInput, Unprivileged};
use ferry::surface::Surface;
use ferry::target::{NamespaceState, TargetState};
use ferry::transform::Transformed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::case::Case;
use super::server;
use crate::support::root;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A plan but for its capture's name, which is made of the time.
fn bytes(mut plan: Plan) -> String {
    plan.capture = String::new();
    serde_json::to_string(&plan).unwrap()
}

#[test]
fn a_plan_is_the_same_to_the_byte_in_whatever_order_the_objects_come() {
    let runtime = runtime();
    let case = (0..super::NAMES.len(), any::<u64>());
    let config = Config {
        cases: 10,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&case, |(index, seed)| {
            let mut case = Case::read(super::NAMES[index]);
            let plan = |case: &Case| {
                runtime.block_on(async { case.prepare(case.capture().await).await.plan })
            };
            let expected = bytes(plan(&case));
            shuffle(&mut case.objects, seed);
            shuffle(&mut case.crds, seed.rotate_left(7));
            prop_assert_eq!(bytes(plan(&case)), expected, "{}", super::NAMES[index]);
            Ok(())
        })
        .unwrap();
}

fn shuffle<T>(list: &mut [T], mut seed: u64) {
    for i in (1..list.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        list.swap(i, usize::try_from(seed >> 33).unwrap() % (i + 1));
    }
}

#[test]
fn sanitising_twice_is_sanitising_once_whatever_is_left_of_an_object() {
    let table = &Knowledge::builtin().sanitize;
    let cases: Vec<Case> = super::NAMES.iter().map(|name| Case::read(name)).collect();
    let all: Vec<&Object> = cases
        .iter()
        .flat_map(|case| case.objects.iter().chain(&case.crds))
        .collect();
    for object in &all {
        let once = sanitise(object, table);
        assert_eq!(sanitise(&once, table), once, "{}", object.id());
    }
    let cut = (
        0..all.len(),
        prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    );
    let config = Config {
        cases: 400,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&cut, |(index, cuts)| {
            let mut value = all[index].value().clone();
            for cut in cuts {
                let places = places(&value);
                if !places.is_empty() {
                    remove(&mut value, &places[cut.index(places.len())]);
                }
            }
            let once = sanitise(&Object::new(value).unwrap(), table);
            prop_assert_eq!(sanitise(&once, table), once);
            Ok(())
        })
        .unwrap();
}

/// Every place in an object but those that make it one.
fn places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), value)];
    while let Some((at, value)) = open.pop() {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => {
                let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
                map.iter()
                    .map(|(key, child)| (format!("{at}/{}", escaped(key)), child))
                    .collect()
            }
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(index, child)| (format!("{at}/{index}"), child))
                .collect(),
            _ => Vec::new(),
        };
        let identity = [
            "/apiVersion",
            "/kind",
            "/metadata",
            "/metadata/name",
            "/metadata/namespace",
        ];
        found.extend(
            children
                .iter()
                .map(|(at, _)| at.clone())
                .filter(|at| !identity.contains(&at.as_str())),
        );
        open.extend(children);
    }
    found
}

fn remove(value: &mut Value, at: &str) {
    let (parent, last) = at.rsplit_once('/').unwrap();
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&last.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(list)) => drop(list.remove(last.parse().unwrap())),
        _ => {}
    }
}

/// Claims cloned from one another (an H edge each), and workloads that mount them.
#[derive(Clone, Debug)]
struct Clones {
    /// The claim each claim is filled from, one before it.
    sources: Vec<Option<usize>>,
    /// The claim each workload mounts.
    mounted: Vec<usize>,
}

fn clones() -> impl Strategy<Value = Clones> {
    let sources = prop::collection::vec(
        prop::option::weighted(0.7, any::<prop::sample::Index>()),
        1..9,
    );
    (
        sources,
        prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    )
        .prop_map(|(sources, mounted)| {
            let count = sources.len();
            let before = |(n, source): (usize, Option<prop::sample::Index>)| {
                source.filter(|_| n > 0).map(|index| index.index(n))
            };
            Clones {
                sources: sources.into_iter().enumerate().map(before).collect(),
                mounted: mounted
                    .into_iter()
                    .map(|index| index.index(count))
                    .collect(),
            }
        })
}

impl Clones {
    fn objects(&self) -> Vec<Object> {
        let claim = |(n, source): (usize, &Option<usize>)| {
            let source = source.map(
                |source| json!({"kind": "PersistentVolumeClaim", "name": format!("c{source}")}),
            );
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": format!("c{n}"), "namespace": "shop"}, "spec": {"dataSource": source}})
        };
        let workload = |(n, claim): (usize, &usize)| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": format!("d{n}"), "namespace": "shop"},
                "spec": {"template": {"spec": {"containers": [],
                    "volumes": [{"name": "c", "persistentVolumeClaim": {"claimName": format!("c{claim}")}}]}}}})
        };
        let claims = self.sources.iter().enumerate().map(claim);
        let all = claims.chain(self.mounted.iter().enumerate().map(workload));
        all.map(|value| Object::new(value).unwrap()).collect()
    }

    /// The claims filled from one, from those, and so on.
    fn descendants(&self, of: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::from([of]);
        for (n, source) in self.sources.iter().enumerate() {
            if source.is_some_and(|source| found.contains(&source)) {
                found.insert(n);
            }
        }
        found.remove(&of);
        found.into_iter().map(|n| format!("c{n}")).collect()
    }
}

fn planned(objects: Vec<Object>, surface: &Surface) -> Plan {
    let knowledge = Knowledge::builtin();
    let graph = graph::build(&GraphInput {
        objects: &objects,
        crds: &[],
        produced: &[],
        owners: &BTreeMap::new(),
        on_b: &BTreeSet::new(),
        knowledge,
    });
    let graph = graph.unwrap();
    let whole = |object: &Object| Captured {
        object: object.clone(),
        raw: object.clone(),
        owners: Vec::new(),
    };
    let capture = Capture {
        id: String::new(),
        created: "2026-01-01T00:00:00Z".parse().unwrap(),
        namespaces: vec!["shop".into()],
        objects: objects.iter().map(whole).collect(),
        dropped: Vec::new(),
        volumes: Vec::new(),
        surface: surface.clone(),
        findings: Vec::new(),
    };
    let transformed = Transformed {
        objects,
        ..Transformed::default()
    };
    let target = TargetState {
        namespaces: BTreeMap::from([("shop".into(), NamespaceState::Empty)]),
        ..TargetState::default()
    };
    let findings = check::run(&CheckInput {
        capture: &capture,
        transformed: &transformed,
        graph: &graph,
        surface,
        target: &target,
        knowledge,
        lacking: &[],
    });
    plan::build(&PlanInput {
        capture: &capture,
        transformed: &transformed,
        recipes: &[],
        graph: &graph.into(),
        surface,
        target: &target,
        findings: &findings,
        knowledge,
        purpose: plan::Purpose::Move,
        unprivileged: Unprivileged::default(),
        switch_hosts: false,
        grouping: plan::Grouping::default(),
        shared_storage: false,
    })
}

#[test]
fn removing_what_must_come_first_blocks_exactly_what_descends_from_it() {
    let surface = runtime().block_on(async {
        let classes = super::case::objects(&root().join("tests/golden/b.yaml"));
        let cluster = server::serve("b", classes).await;
        cluster::survey(&cluster, &Events::silent()).await.unwrap()
    });
    let config = Config {
        cases: 64,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(
            &(clones(), any::<prop::sample::Index>()),
            |(clones, gone)| {
                let whole = planned(clones.objects(), &surface);
                let order: BTreeMap<&ObjectId, (u32, u32)> = whole
                    .steps
                    .iter()
                    .map(|step| (&step.object, (step.wave, step.number)))
                    .collect();
                for edge in whole
                    .graph
                    .edges
                    .iter()
                    .filter(|edge| edge.strength == Strength::H)
                {
                    if let (Some(from), Some(to)) = (order.get(&edge.from), order.get(&edge.to)) {
                        prop_assert!(
                            to.0 < from.0 && to.1 < from.1,
                            "{} before {}",
                            edge.to,
                            edge.from
                        );
                    }
                }
                prop_assert_eq!(blocked(&whole), BTreeSet::new());

                let gone = gone.index(clones.sources.len());
                let mut objects = clones.objects();
                objects.remove(gone);
                prop_assert_eq!(
                    blocked(&planned(objects, &surface)),
                    clones.descendants(gone)
                );
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn what_is_blocked_blocks_its_descendants_along_h_and_nothing_else_in_every_case() {
    let runtime = runtime();
    for name in super::NAMES {
        let case = Case::read(name);
        let prepared = runtime.block_on(async { case.prepare(case.capture().await).await });
        let graph = &prepared.plan.graph;
        let travels = graph.order().into_iter().map(|node| &node.id);
        let travels: BTreeSet<&ObjectId> = travels.collect();
        let hard: Vec<(&ObjectId, &ObjectId)> = graph
            .edges
            .iter()
            .filter(|edge| edge.strength == Strength::H)
            .map(|edge| (&edge.from, &edge.to))
            .filter(|(from, to)| travels.contains(from) && travels.contains(to))
            .collect();
        let targets: BTreeSet<&ObjectId> = hard.iter().map(|(_, to)| *to).collect();
        for target in targets {
            let finding = Finding::new(Verdict::Block, "C-0", "is refused").on(target.clone());
            let plan = plan::build(&PlanInput {
                capture: &prepared.capture,
                transformed: &prepared.transformed,
                recipes: &[],
                graph,
                surface: &prepared.capture.surface,
                target: &TargetState::default(),
                findings: &[finding],
                knowledge: Knowledge::builtin(),
                purpose: plan::Purpose::Move,
                unprivileged: Unprivileged::default(),
                switch_hosts: false,
                grouping: plan::Grouping::default(),
                shared_storage: false,
            });
            let mut expected = BTreeSet::from([target]);
            while let Some((from, _)) = hard
                .iter()
                .find(|(from, to)| expected.contains(to) && !expected.contains(from))
            {
                expected.insert(from);
            }
            let found: BTreeSet<&ObjectId> = refused(&plan).collect();
            assert_eq!(found, expected, "{name}: {target}");
        }
    }
}

/// What a plan does not apply.
fn refused(plan: &Plan) -> impl Iterator<Item = &ObjectId> {
    let refused = |step: &&ferry::plan::Step| {
        matches!(
            step.action,
            Action::Apply {
                class: Class::Blocked,
                ..
            }
        )
    };
    plan.steps.iter().filter(refused).map(|step| &step.object)
}

/// The names of what a plan does not apply.
fn blocked(plan: &Plan) -> BTreeSet<String> {
    refused(plan)
        .map(|object| object.name.to_string())
        .collect()
}
