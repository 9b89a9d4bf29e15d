//! Backups as Velero writes them, and as an attacker would.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::*;

type Tar = Builder<GzEncoder<Vec<u8>>>;

fn tarball(fill: impl FnOnce(&mut Tar)) -> tempfile::NamedTempFile {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    fill(&mut tar);
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let mut file = tempfile::Builder::new()
        .prefix("nightly")
        .suffix(".tar.gz")
        .tempfile()
        .unwrap();
    file.write_all(&bytes).unwrap();
    file
}

/// Writes a header as it is told, with a name no honest writer would take.
fn raw(tar: &mut Tar, kind: EntryType, name: &[u8], size: u64, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(size);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn put(tar: &mut Tar, name: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
}

fn object(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": format!("{kind}-{name}")}})
}

fn start(tar: &mut Tar) {
    put(tar, "metadata/version", b"1.1.0\n");
}

fn refused(fill: impl FnOnce(&mut Tar)) -> String {
    let file = tarball(|tar| {
        start(tar);
        fill(tar);
    });
    Archive::velero(file.path()).unwrap_err().to_string()
}

#[track_caller]
fn refuses(reason: &str, fill: impl FnOnce(&mut Tar)) {
    let said = refused(fill);
    assert!(said.contains(reason), "{reason:?} is not in: {said}");
}

#[test]
fn each_object_is_read_once_and_the_version_folders_tell_what_a_served() {
    let file = tarball(|tar| {
        start(tar);
        raw(tar, EntryType::Directory, b"resources/", 0, b"");
        let web = object("apps/v1", "Deployment", "web").to_string();
        let places = ["", "v1-preferredversion/"];
        for place in places {
            let path = format!("resources/deployments.apps/{place}namespaces/shop/web.json");
            put(tar, &path, web.as_bytes());
        }
        let old = object("apps/v1beta2", "Deployment", "web").to_string();
        put(
            tar,
            "resources/deployments.apps/v1beta2/namespaces/shop/web.json",
            old.as_bytes(),
        );
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "system:x"}});
        let path = "resources/clusterroles.rbac.authorization.k8s.io/cluster/system:x.json";
        put(tar, path, role.to_string().as_bytes());
        // 201 bytes: the name travels in an extension.
        let long = "n".repeat(150);
        let path = format!("resources/configmaps/namespaces/shop/{long}.json");
        put(
            tar,
            &path,
            object("v1", "ConfigMap", &long).to_string().as_bytes(),
        );
    });
    let archive = Archive::velero(file.path()).unwrap();
    assert!(archive.name.starts_with("nightly") && !archive.name.contains('.'));
    let ids: Vec<String> = archive
        .objects
        .iter()
        .map(|(one, _)| one.id().to_string())
        .collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(
        archive
            .objects
            .iter()
            .any(|(one, _)| one.api_version() == "apps/v1")
    );
    let served: Vec<String> = archive
        .resources
        .iter()
        .map(|one| format!("{} {} {}", one.plural, one.version, one.preferred))
        .collect();
    assert_eq!(served, ["deployments v1 true", "deployments v1beta2 false"]);
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for name in [
        &b"../../etc/passwd"[..],
        b"/etc/passwd",
        b"resources/../x",
        b"resources//x",
        b"a\\b",
        b"\xff\xfe",
    ] {
        let said = refused(|tar| raw(tar, EntryType::Regular, name, 2, b"{}"));
        assert!(said.contains("cannot be trusted"), "{name:?}: {said}");
    }
    refuses("is not where Velero puts anything", |tar| {
        put(tar, "resources/x.json", b"{}")
    });
    refuses("is not where Velero puts anything", |tar| {
        put(tar, "resources/a/b/c/d/e/f.json", b"{}")
    });
}

#[test]
fn links_devices_and_pipes_are_refused() {
    refuses("is a link", |tar| {
        raw(tar, EntryType::Symlink, b"resources/x", 0, b"")
    });
    refuses("is a link", |tar| {
        raw(tar, EntryType::Link, b"resources/x", 0, b"")
    });
    refuses("is a device", |tar| {
        raw(tar, EntryType::Block, b"resources/x", 0, b"")
    });
    refuses("is a device", |tar| {
        raw(tar, EntryType::Char, b"resources/x", 0, b"")
    });
    refuses("is a pipe", |tar| {
        raw(tar, EntryType::Fifo, b"resources/x", 0, b"")
    });
    refuses("neither a file nor a folder", |tar| {
        raw(tar, EntryType::GNUSparse, b"resources/x", 0, b"")
    });
}

#[test]
fn entries_and_names_longer_than_any_object_are_refused_before_they_are_read() {
    refuses("may have 4194304", |tar| {
        raw(tar, EntryType::Regular, b"resources/x", 1 << 40, b"")
    });
    refuses("may have 65536", |tar| {
        raw(tar, EntryType::GNULongName, b"x", 1 << 40, b"")
    });
    refuses("may have 65536", |tar| {
        raw(tar, EntryType::XHeader, b"x", 1 << 40, b"")
    });
    refuses("sets size", |tar| {
        raw(tar, EntryType::XHeader, b"x", 17, b"17 size=10000000\n")
    });
}

#[test]
fn what_swells_a_thousand_times_is_refused() {
    refuses("may unpack to", |tar| {
        let zeros = vec![b' '; 4 << 20];
        for count in 0..20 {
            put(tar, &format!("later/{count}"), &zeros);
        }
    });
}

#[test]
fn an_object_twice_and_an_object_in_anothers_place_are_refused() {
    let secret = || object("v1", "Secret", "db").to_string();
    refuses("is there twice", |tar| {
        put(
            tar,
            "resources/secrets/namespaces/shop/db.json",
            secret().as_bytes(),
        );
        put(
            tar,
            "resources/secrets/namespaces/shop/db.json",
            secret().as_bytes(),
        );
    });
    for path in [
        "resources/secrets/namespaces/other/db.json",
        "resources/secrets/namespaces/shop/other.json",
        "resources/secrets.apps/namespaces/shop/db.json",
        "resources/secrets/v2-preferredversion/namespaces/shop/db.json",
        "resources/secrets/cluster/db.json",
    ] {
        refuses("holds Secret shop/db of v1", |tar| {
            put(tar, path, secret().as_bytes())
        });
    }
}

#[test]
fn deep_and_broken_json_is_refused() {
    let path = "resources/secrets/namespaces/shop/db.json";
    refuses("is no JSON: recursion limit", |tar| {
        put(tar, path, "[".repeat(100_000).as_bytes())
    });
    refuses("is no JSON", |tar| put(tar, path, b"\xff"));
    refuses("is no Kubernetes object", |tar| put(tar, path, b"{}"));
}

#[test]
fn what_is_no_backup_is_refused() {
    let none =
        |file: &tempfile::NamedTempFile| Archive::velero(file.path()).unwrap_err().to_string();
    assert!(none(&tarball(|tar| put(tar, "a", b"x"))).contains("it has no metadata/version"));
    assert!(
        none(&tarball(|tar| put(tar, "metadata/version", b"2.0.0")))
            .contains("its format is 2.0.0")
    );
    let mut plain = tempfile::NamedTempFile::new().unwrap();
    plain.write_all(b"not compressed").unwrap();
    assert!(none(&plain).contains("cannot read"));
    let whole = tarball(|tar| {
        start(tar);
        let secret = object("v1", "Secret", "db").to_string();
        put(
            tar,
            "resources/secrets/namespaces/shop/db.json",
            secret.as_bytes(),
        );
    });
    assert_eq!(Archive::velero(whole.path()).unwrap().objects.len(), 1);
    let bytes = std::fs::read(whole.path()).unwrap();
    for length in [bytes.len() - 1, bytes.len() - 8, bytes.len() / 2] {
        let mut cut = tempfile::NamedTempFile::new().unwrap();
        cut.write_all(&bytes[..length]).unwrap();
        assert!(Archive::velero(cut.path()).is_err(), "cut to {length}");
    }
}
