//! Golden cases: each folder of `tests/golden` is a namespace, or a few, as an API server returns
//! them, with what Ferry makes of it on the way to another cluster (`tests/golden/README.md`).
//!
//! `BLESS=1 cargo test --test it golden` writes the expected files anew; the diff is then for review.

mod case;
mod draw;
mod server;

use crate::support::root;

/// One test for each case, and one that no case is forgotten.
macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                case::check(stringify!($name)).await;
            }
        )*

        #[test]
        fn every_folder_is_a_case() {
            let known = [$(stringify!($name)),*].map(case::folder);
            let known: Vec<_> = known.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
            for entry in std::fs::read_dir(root().join("tests/golden")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_owned();
                assert!(
                    known.contains(&name) || !path.join("objects.yaml").exists(),
                    "{} is no case: add it to the list",
                    path.display()
                );
            }
        }
    };
}

cases! {
    cert_manager
    cnpg
    cron_jobs
    cross_namespace
    plain_web
    prometheus
    rbac_heavy
    stateful_ordinals
}
