//! Golden cases: each folder of `tests/golden` is a namespace, or a few, as an API server returns
//! them, with what Ferry makes of it on the way to another cluster (`tests/golden/README.md`).
//!
//! `BLESS=1 cargo test --test it golden` writes the expected files anew; the diff is then for review.

mod case;
mod draw;
mod pair;
mod properties;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ferry::graph::{self, GraphInput};
use ferry::knowledge::Knowledge;

use crate::support::root;

/// One test for each case, and one that no case is forgotten.
macro_rules! cases {
    ($($name:ident)*) => {
        /// Every case.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[tokio::test]
            async fn $name() {
                case::check(stringify!($name)).await;
            }
        )*

        #[test]
        fn every_folder_is_a_case() {
            let known: Vec<_> = NAMES.iter().map(|name| case::folder(name)).collect();
            for entry in fs::read_dir(root().join("tests/golden")).unwrap() {
                let path = entry.unwrap().path();
                assert!(
                    known.contains(&path) || !path.join("objects.yaml").exists(),
                    "{} is no case: add it to the list",
                    path.display()
                );
            }
        }
    };
}

cases! {
    agents
    argo_cd
    argo_rollouts
    cert_manager
    cnpg
    cron_jobs
    cross_namespace
    eck
    external_secrets
    flux
    gateway_api
    istio
    keda
    knative
    kubevirt
    openshift_app
    openshift_builds
    operator_missing
    percona_mongodb
    percona_mysql
    plain_web
    prometheus
    rabbitmq
    rbac_heavy
    stateful_ordinals
    strimzi
    tekton
    traefik
    zalando_postgres
}

#[test]
fn the_example_is_drawn_as_before() {
    let shop = root().join("examples/shop");
    let mut files: Vec<PathBuf> = ["crds", "cluster", "manifests"]
        .iter()
        .flat_map(|folder| fs::read_dir(shop.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let objects: Vec<_> = files.iter().flat_map(|file| case::objects(file)).collect();
    let graph = graph::build(&GraphInput {
        objects: &objects,
        crds: &[],
        produced: &[],
        owners: &BTreeMap::new(),
        on_b: &BTreeSet::new(),
        knowledge: Knowledge::builtin(),
    });
    let file = root().join("tests/golden/shop-graph.txt");
    let wrong = case::compare(&file, &draw::graph(&graph.unwrap()));
    assert!(
        wrong.is_none(),
        "BLESS=1 writes it anew:\n{}",
        wrong.unwrap()
    );
}
