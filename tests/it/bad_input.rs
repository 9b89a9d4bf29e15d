//! What cannot work is refused with a reason, a hint and an exit code, before anything is written.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{apply, kubectl, run, testbed};
use crate::trip::Trip;

/// The testbed's kubeconfig, changed, as a file of the trip.
fn kubeconfig(trip: &Trip, change: impl FnOnce(&mut Value)) -> String {
    let text = kubectl("a", &["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    change(&mut config);
    trip.write("kubeconfig", &config.to_string())
        .display()
        .to_string()
}

/// An entry of a kubeconfig's list by its name.
fn entry<'a>(config: &'a mut Value, list: &str, name: &str) -> &'a mut Value {
    let entries = config[list].as_array_mut().expect("a list");
    let found = entries.iter_mut().find(|entry| entry["name"] == name);
    found.expect("the testbed's kubeconfig has it")
}

#[test]
fn a_context_that_does_not_exist_is_told_with_those_that_do() {
    let trip = Trip::objects("context");
    for (from, to) in [("nowhere", "b"), ("a", "nowhere")] {
        run(&mut trip.migrate_between(from, to, &[]))
            .exits(5)
            .says("there is no context \"nowhere\"")
            .says("hint: use one of the contexts there: a, b");
    }
    trip.assert_nothing_written();
}

#[test]
fn an_api_server_that_does_not_answer_is_told_with_its_address() {
    let trip = Trip::objects("closed");
    let file = kubeconfig(&trip, |config| {
        let cluster = entry(config, "contexts", "b")["context"]["cluster"].clone();
        let cluster = cluster.as_str().expect("a name").to_owned();
        entry(config, "clusters", &cluster)["cluster"]["server"] = "https://127.0.0.1:1".into();
    });
    run(&mut trip.migrate(&["--kubeconfig", &file]))
        .exits(6)
        .says("cannot reach cluster b at https://127.0.0.1:1")
        .says("Connection refused")
        .says("hint: check that `kubectl --context b version` answers");
    trip.assert_nothing_written();
}

#[test]
fn a_namespace_that_does_not_exist_is_told_as_such() {
    let mut trip = Trip::objects("space");
    trip.recipe("");
    trip.from = "no-such-namespace".into();
    run(&mut trip.migrate(&[]))
        .exits(5)
        .says("cluster a has no namespace no-such-namespace")
        .says("hint: `kubectl --context a get namespaces`");
    trip.assert_nothing_written();
}

#[test]
fn all_mistakes_of_a_recipe_are_told_with_their_places() {
    let trip = Trip::objects("recipe");
    trip.recipe("- storageClas: {map: {cow: fast}}\n- host: {map: {shop.test: 5}}\n");
    run(&mut trip.migrate(&[]))
        .exits(5)
        .says("has 2 mistakes")
        .says("unknown key `storageClas`")
        .says("recipe.yaml:7:3]")
        .says("did you mean `storageClass`?")
        .says("expected a string, found a number")
        .says("recipe.yaml:8:27]")
        .says("hint: nothing was changed");
    trip.assert_nothing_written();
}

#[test]
fn a_rule_that_matches_nothing_is_a_mistake() {
    let trip = Trip::objects("rule");
    trip.recipe("- storageClass: {map: {cow: fast, caw: fast}}\n");
    run(&mut trip.migrate(&[]))
        .exits(5)
        .says("`caw` matches nothing")
        .says("recipe.yaml:7:")
        .says("optional: true");
    trip.assert_nothing_written();
}

#[test]
fn a_store_that_is_none_or_does_not_open_is_told_apart() {
    let trip = Trip::objects("store");
    let none = format!("{}-none", trip.store);
    run(&mut trip.migrate(&["--store", &none]))
        .exits(5)
        .says(&format!("there is no store at {none}"))
        .says(&format!(
            "hint: make one with `ferry store init --store {none}`"
        ));
    let other = trip.write("other/file", "something else");
    let other = other.parent().expect("a folder").display().to_string();
    run(&mut trip.migrate(&["--store", &other]))
        .exits(5)
        .says("there is no store at");
    run(trip.migrate(&[]).env("FERRY_PASSWORD", "wrong"))
        .exits(5)
        .says("the password does not open the store")
        .says("hint: give the password the store was made with");
    run(trip.migrate(&[]).env_remove("FERRY_PASSWORD"))
        .exits(5)
        .says("needs a password")
        .says("FERRY_PASSWORD");
    run(trip.migrate(&[]).env("AWS_SECRET_ACCESS_KEY", "wrong"))
        .exits(6)
        .says("refuses access")
        .says("caused by: the server says SignatureDoesNotMatch")
        .says("hint: the secret is not that of the key");
    run(trip
        .migrate(&[])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"))
    .exits(6)
    .says("cannot reach the store")
    .says("hint: check AWS_ENDPOINT_URL");
    trip.assert_nothing_written();
}

#[test]
fn a_target_namespace_with_other_things_in_it_blocks_and_stays_as_it_is() {
    let trip = Trip::objects("taken");
    kubectl("b", &["create", "namespace", &trip.to.name]);
    kubectl(
        "b",
        &[
            "-n",
            &trip.to.name,
            "create",
            "configmap",
            "theirs",
            "--from-literal=a=b",
        ],
    );
    let look = || {
        let kinds = "configmaps,secrets,persistentvolumeclaims,services";
        kubectl("b", &["-n", &trip.to.name, "get", kinds, "-o", "name"])
    };
    let before = look();
    run(&mut trip.migrate(&[]))
        .exits(3)
        .shows("C-52")
        .shows(&format!(
            "namespace {} on the target cluster is not empty",
            trip.to.name
        ));
    assert_eq!(look(), before);
}

#[test]
fn a_user_who_may_not_list_secrets_is_told_what_to_ask_for() {
    let trip = Trip::objects("rights");
    apply("a", &POOR.replace("NAMESPACE", &trip.from));
    let token = kubectl("a", &["-n", &trip.from, "create", "token", "poor"]);
    let file = kubeconfig(&trip, |config| {
        let cluster = entry(config, "contexts", "a")["context"]["cluster"].clone();
        let (users, user) = (
            "users",
            serde_json::json!({"name": "poor", "user": {"token": token.trim()}}),
        );
        config[users].as_array_mut().expect("a list").push(user);
        let context =
            serde_json::json!({"name": "poor", "context": {"cluster": cluster, "user": "poor"}});
        config["contexts"]
            .as_array_mut()
            .expect("a list")
            .push(context);
    });
    run(&mut trip.migrate_between("poor", "b", &["--kubeconfig", &file]))
        .exits(6)
        .says(&format!("list secrets in namespace {}", trip.from))
        .says("ask an administrator of cluster poor")
        .says(&format!("kubectl -n {} create role", trip.from));
    trip.assert_nothing_written();
}

/// May read whatever a namespace has, but no Secrets.
const POOR: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: poor, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: poor, namespace: NAMESPACE}
rules:
- {apiGroups: [''], resources: [namespaces, configmaps, persistentvolumeclaims, services, pods], verbs: [get, list]}
- {apiGroups: [apps, batch], resources: ['*'], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: poor, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: poor}
subjects: [{kind: ServiceAccount, name: poor, namespace: NAMESPACE}]
";

#[test]
fn a_storage_class_the_target_lacks_blocks_with_those_it_has() {
    let trip = Trip::objects("class");
    trip.recipe("- storageClass: {map: {cow: faster}}\n");
    run(&mut trip.migrate(&[]))
        .exits(3)
        .shows("C-40")
        .shows("the target cluster has no storage class faster")
        .shows("seen it has fast, fast-ext4, fast-late, fast-shared, fast-shared-ext4, standard")
        .shows("map the class in a recipe");
    trip.assert_nothing_written();
}

#[test]
fn data_without_an_image_to_carry_it_is_refused_before_anything_is_written() {
    let trip = Trip::objects("image");
    run(trip.migrate(&[]).env_remove("FERRY_MOVER_IMAGE"))
        .exits(5)
        .says("no image was named to move them with")
        .says("ferry mover push");
    trip.assert_nothing_written();
}

#[test]
fn an_image_no_node_can_pull_ends_the_run_where_it_can_be_resumed() {
    let trip = Trip::objects("pull");
    let missing = format!("{}/it/none:such", testbed("FERRY_TESTBED_REGISTRY"));
    run(&mut trip.migrate(&["--mover-image", &missing]))
        .exits(4)
        .shows(&format!("cannot pull image {missing}"))
        .shows("ferry runs resume");
    run(&mut trip.ferry(&["runs", "resume", "latest"])).exits(0);
}

#[test]
fn a_store_on_a_full_disk_is_told_as_such_and_the_run_goes_on_when_there_is_room() {
    let disk = Disk::new("48m");
    let trip = Trip::application("full", 100).in_folder(&disk.path().join("store"));
    let run_ended = run(&mut trip.migrate(&[]));
    assert!([4, 6].contains(&run_ended.code), "{run_ended:?}");
    let said = format!("{}{}", run_ended.stdout, run_ended.stderr);
    assert!(said.contains("is full"), "{said}");
    assert!(said.contains("free space"), "{said}");
    disk.grow("400m");
    run(&mut trip.ferry(&["runs", "resume", "latest"]))
        .exits(0)
        .shows("digest");
    assert_eq!(trip.data("b"), trip.data("a"));
    trip.assert_clean(&trip.newest_run().0);
}

/// A file system of a given size, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let disk = Self(tempfile::tempdir().expect("a folder"));
        let options = format!("size={size}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "ferry"])
            .arg(disk.path()))
        .exits(0);
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        run(Command::new("mount")
            .args(["-o", &options])
            .arg(self.path()))
        .exits(0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.path()).status());
    }
}
