//! Golden cases: each folder of `tests/golden` is a namespace, or a few, as an API server returns
//! them, with what Ferry makes of it on the way to another cluster (`tests/golden/README.md`).
//!
//! `BLESS=1 cargo test --test it golden` writes the expected files anew; the diff is then for review.

mod case;
mod draw;
mod pair;
mod properties;
mod server;

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
            for entry in std::fs::read_dir(root().join("tests/golden")).unwrap() {
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
