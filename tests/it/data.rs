//! Volume data between the two clusters: what left arrives, whatever happens on the way, and nothing of
//! Ferry's is left behind.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferry::capture::{Consistency, Proof, SavedVolume, Together, VolumeMode};
use ferry::cluster::{Cluster, ConnectOptions};
use ferry::data::{ClusterMovers, DataError, MoverSettings, MoverStore, Movers};
use ferry::event::{Direction, Event, Events};
use ferry::object::ObjectId;
use ferry::plan::VolumeMove;
use ferry::repository::Repository;
use ferry::store::MoverAccess;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Namespace, apply, kubectl, mover_image, own_namespace_goes, testbed, unique};

/// Every sort of entry a volume may hold that busybox can make, the root's own attributes included.
const FILL: &str = r#"
cd /data
mkdir -p plain/deep/deeper empty 'with space' && echo hello >plain/file && echo deep >plain/deep/deeper/file
head -c 3000000 /dev/urandom >plain/big
i=0; while [ $i -lt 300 ]; do echo $i >plain/deep/$i; i=$((i+1)); done
ln plain/file plain/hardlink; ln plain/file 'with space/hardlink'
ln -s file plain/symlink; ln -s /nowhere/at/all dangling
mkfifo fifo; mknod null c 1 3; mknod loop b 7 0
echo x >setuid && chown 1000:2000 setuid && chmod 6755 setuid
echo x >secret && chown 65534:65534 secret && chmod 000 secret
mkdir sticky && chmod 1777 sticky; mkdir setgid && chown 5:6 setgid && chmod 2750 setgid
truncate -s 50000000 sparse && echo end >>sparse
: >zero; printf 'x' >"$(printf 'not-utf8-\377\376')"; printf 'x' >"$(printf 'new\nline')"
echo hidden >.hidden
touch -d '1999-12-31 23:59:59' plain/file; touch -d '2001-02-03 04:05:06' empty
chown 70:71 . && chmod 2771 . && touch -d '2002-03-04 05:06:07' .
"#;

/// Says everything about every entry that a restore must bring back.
const LIST: &str = r#"
cd /data
find . -name lost+found -prune -o -type d -print0 | xargs -0 stat -c '%n %f %u %g %Y' | sort
find . ! -type d -print0 | xargs -0 stat -c '%n %f %u %g %h %s %t:%T %Y %N' | sort
find . -type f -print0 | xargs -0 sha256sum | sort
"#;

pub struct Pair {
    pub a: Cluster,
    b: Cluster,
    pub on_a: Namespace,
    pub on_b: Namespace,
    image: String,
    pub run: String,
}

impl Pair {
    pub async fn new() -> Self {
        ferry::install_crypto();
        let (on_a, on_b) = (Namespace::new("a", "data"), Namespace::new("b", "data"));
        Self {
            a: Cluster::connect(&ConnectOptions::context("a"))
                .await
                .expect("the cluster answers"),
            b: Cluster::connect(&ConnectOptions::context("b"))
                .await
                .expect("the cluster answers"),
            image: mover_image(),
            run: format!("it-data-{}", unique()),
            on_a,
            on_b,
        }
    }

    pub fn movers(&self, store: &MoverStore, events: Events) -> ClusterMovers {
        self.movers_with(store, events, &self.image, CancellationToken::new())
    }

    fn movers_with(
        &self,
        store: &MoverStore,
        events: Events,
        image: &str,
        cancel: CancellationToken,
    ) -> ClusterMovers {
        let settings = MoverSettings {
            run: self.run.clone(),
            capture: "c1".into(),
            image: Some(image.into()),
            relay: false,
            namespaces: vec![self.on_a.name.clone()],
            beside_source: Vec::new(),
            beside_target: Vec::new(),
            parallel: 0,
            accept_torn: false,
            keep_snapshots: false,
            accept_losses: Vec::new(),
        };
        let (a, b) = (Some(self.a.clone()), Some(self.b.clone()));
        ClusterMovers::new(a, b, store.clone(), settings, events, cancel)
    }

    fn volume(&self, mode: VolumeMode, consistency: Consistency) -> VolumeMove {
        let claim = |space: &Namespace| {
            ObjectId::namespaced("", "PersistentVolumeClaim", &space.name, "data")
        };
        VolumeMove {
            source: claim(&self.on_a),
            target: claim(&self.on_b),
            mode,
            capacity: 64 << 20,
            consistency,
            together: None,
            saved: None,
            shares: false,
            placement: Value::Null,
            with: Vec::new(),
            synced: false,
            loses: Vec::new(),
            reads_as: None,
            writes_as: None,
        }
    }

    /// Nothing with the run's label is on either cluster.
    pub fn assert_clean(&self) {
        let label = format!("ferry.dev/run={}", self.run);
        let kinds = "namespaces,pods,secrets,persistentvolumeclaims,persistentvolumes,\
                     volumesnapshots,volumesnapshotcontents,volumegroupsnapshots";
        for context in ["a", "b"] {
            own_namespace_goes(context, &self.run);
            let left = kubectl(context, &["get", kinds, "-A", "-l", &label, "-o", "name"]);
            assert_eq!(left, "", "left on {context}");
        }
        let name = format!("ferry-{}", self.run);
        for context in ["a", "b"] {
            let contents = kubectl(context, &["get", "volumesnapshotcontents", "-o", "yaml"]);
            assert!(!contents.contains(&name), "a snapshot is left on {context}");
        }
    }
}

/// A test that fails leaves nothing either.
impl Drop for Pair {
    fn drop(&mut self) {
        let label = format!("ferry.dev/run={}", self.run);
        for context in ["a", "b"] {
            let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
            delete.args(["--context", context, "delete", "--wait=false", "-l", &label]);
            drop(
                delete
                    .arg("namespaces,persistentvolumes,volumesnapshotcontents")
                    .output(),
            );
        }
    }
}

fn claim(context: &'static str, space: &Namespace, class: &str, mode: &str, size: &str) {
    apply(
        context,
        &format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: data, namespace: {}}}, \
             spec: {{accessModes: [ReadWriteOnce], storageClassName: {class}, volumeMode: {mode}, \
             resources: {{requests: {{storage: {size}}}}}}}}}",
            space.name
        ),
    );
}

/// A pod on the claim that stays up, as an application would.
fn pod(context: &'static str, space: &Namespace, block: bool) {
    let volume = if block {
        "volumeDevices: [{name: data, devicePath: /dev/data}]"
    } else {
        "volumeMounts: [{name: data, mountPath: /data}]"
    };
    apply(
        context,
        &format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, namespace: {}}}, \
             spec: {{terminationGracePeriodSeconds: 0, volumes: [{{name: data, \
             persistentVolumeClaim: {{claimName: data}}}}], containers: [{{name: app, \
             image: \"{}/library/busybox:1\", command: [sleep, \"3600\"], {volume}}}]}}}}",
            space.name,
            testbed("FERRY_TESTBED_REGISTRY"),
        ),
    );
    kubectl(
        context,
        &[
            "-n",
            &space.name,
            "wait",
            "--for=condition=Ready",
            "pod/app",
            "--timeout=90s",
        ],
    );
}

fn sh(context: &str, space: &Namespace, script: &str) -> String {
    kubectl(
        context,
        &["-n", &space.name, "exec", "app", "--", "sh", "-ec", script],
    )
}

/// A fresh store in the testbed's bucket, which pods reach by themselves.
pub async fn bucket() -> MoverStore {
    let prefix = format!("it-data-{}", unique());
    let (endpoint, bucket) = (
        testbed("FERRY_TESTBED_S3_ENDPOINT"),
        testbed("FERRY_TESTBED_S3_BUCKET"),
    );
    let s3 = AmazonS3Builder::from_env()
        .with_endpoint(&endpoint)
        .with_bucket_name(&bucket)
        .with_allow_http(true)
        .build()
        .unwrap();
    // By a name only pods can resolve: the mover's image holds no resolver but its own.
    let inside = "http://s3.testbed:9000".to_owned();
    let mut options = BTreeMap::from([("AWS_ENDPOINT_URL".to_owned(), inside)]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        options.insert(name.into(), testbed(name));
    }
    let url = format!("s3://{bucket}/{prefix}");
    store(Arc::new(PrefixStore::new(s3, prefix)), url, options).await
}

/// A fresh store in a folder of this machine, which no pod can reach.
async fn folder(path: &std::path::Path) -> MoverStore {
    let objects = LocalFileSystem::new_with_prefix(path).expect("the folder is there");
    store(
        Arc::new(objects),
        path.display().to_string(),
        BTreeMap::new(),
    )
    .await
}

async fn store(
    objects: Arc<dyn ObjectStore>,
    url: String,
    variables: BTreeMap<String, String>,
) -> MoverStore {
    let inner = Arc::clone(&objects);
    let init = tokio::task::spawn_blocking(move || Repository::init(inner, "secret"));
    let repository = init.await.expect("a fresh store").expect("a fresh store");
    let by_network = url.starts_with("s3://");
    MoverStore {
        objects,
        repository,
        url,
        access: MoverAccess {
            by_network,
            variables,
            ..MoverAccess::default()
        },
    }
}

/// Saves a volume that travels alone.
async fn save(movers: &ClusterMovers, volume: &VolumeMove) -> Result<SavedVolume, DataError> {
    movers.save(&[volume]).await.pop().unwrap()
}

/// Loads a volume that travels alone.
async fn load(
    movers: &ClusterMovers,
    volume: &VolumeMove,
    saved: &SavedVolume,
) -> Result<Proof, DataError> {
    let loaded = movers.load(&[(volume, saved)]).await.pop().unwrap();
    loaded.map(|loaded| loaded.proof)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_use_arrives_whole_at_a_claim_that_waits_for_its_consumer() {
    let pair = Pair::new().await;
    claim("a", &pair.on_a, "cow-late", "Filesystem", "128Mi");
    pod("a", &pair.on_a, false);
    sh("a", &pair.on_a, FILL);
    claim("b", &pair.on_b, "fast-ext4", "Filesystem", "192Mi");
    // None of these may stand in a mover's way: it does not work in this namespace.
    let restrict = "pod-security.kubernetes.io/enforce=";
    kubectl(
        "b",
        &[
            "label",
            "namespace",
            &pair.on_b.name,
            &format!("{restrict}restricted"),
        ],
    );
    let quota = [
        "create",
        "quota",
        "none",
        "--hard=pods=0,secrets=0",
        "-n",
        &pair.on_b.name,
    ];
    kubectl("b", &quota);
    let store = bucket().await;
    let told = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&told);
    let events = Events::new(move |event| {
        if let Event::VolumeFinished {
            direction: Direction::Load,
            progress,
            ..
        } = event
        {
            seen.store(progress.files_done > 300, Ordering::SeqCst);
        }
    });
    let movers = pair.movers(&store, events);
    let volume = pair.volume(VolumeMode::Filesystem, Consistency::Snapshot);
    movers.snapshot(&volume).await.unwrap();
    let before = sh("a", &pair.on_a, LIST);
    // After the instant that counts: must not arrive.
    sh("a", &pair.on_a, "echo late >/data/late; rm /data/plain/big");
    let saved = save(&movers, &volume).await.unwrap();
    assert_eq!(saved.consistency, Consistency::Snapshot);
    assert_eq!(
        save(&movers, &volume).await.unwrap(),
        saved,
        "a second save is the first"
    );
    let proof = load(&movers, &volume, &saved).await.unwrap();
    assert_eq!(proof, saved.proof);
    assert_eq!(
        load(&movers, &volume, &saved).await.unwrap(),
        proof,
        "a second load changes nothing"
    );
    kubectl(
        "b",
        &[
            "label",
            "namespace",
            &pair.on_b.name,
            &format!("{restrict}privileged"),
            "--overwrite",
        ],
    );
    kubectl("b", &["delete", "quota", "none", "-n", &pair.on_b.name]);
    pod("b", &pair.on_b, false);
    assert_same(&before, &sh("b", &pair.on_b, LIST));
    movers.clean().await.unwrap();
    assert!(told.load(Ordering::SeqCst));
    pair.assert_clean();
    let policy = kubectl(
        "b",
        &[
            "get",
            "pv",
            "-o",
            "jsonpath={.items[?(@.spec.claimRef.name==\"data\")].spec.persistentVolumeReclaimPolicy}",
        ],
    );
    assert!(
        policy.split_whitespace().all(|policy| policy == "Delete"),
        "{policy}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_volume_arrives_bit_for_bit_at_a_claim_that_is_bound() {
    let pair = Pair::new().await;
    claim("a", &pair.on_a, "cow", "Block", "64Mi");
    pod("a", &pair.on_a, true);
    sh(
        "a",
        &pair.on_a,
        "dd if=/dev/urandom of=/dev/data bs=1M seek=3 count=5 conv=notrunc; \
         echo end | dd of=/dev/data bs=1 seek=67108860 conv=notrunc; sync",
    );
    claim("b", &pair.on_b, "fast", "Block", "64Mi");
    let store = bucket().await;
    let movers = pair.movers(&store, Events::silent());
    let volume = pair.volume(VolumeMode::Block, Consistency::Snapshot);
    movers.snapshot(&volume).await.unwrap();
    let before = sh("a", &pair.on_a, "sha256sum </dev/data");
    let saved = save(&movers, &volume).await.unwrap();
    load(&movers, &volume, &saved).await.unwrap();
    pod("b", &pair.on_b, true);
    assert_eq!(sh("b", &pair.on_b, "sha256sum </dev/data"), before);
    movers.clean().await.unwrap();
    pair.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_copy_goes_through_the_cli_to_a_folder_no_pod_can_reach() {
    let pair = Pair::new().await;
    claim("a", &pair.on_a, "standard", "Filesystem", "64Mi");
    pod("a", &pair.on_a, false);
    sh("a", &pair.on_a, FILL);
    claim("b", &pair.on_b, "standard", "Filesystem", "64Mi");
    let here = tempfile::tempdir().unwrap();
    let store = folder(here.path()).await;
    let warned = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&warned);
    let events = Events::new(move |event| {
        if let Event::Warning { text } = event {
            seen.store(text.contains("live"), Ordering::SeqCst);
        }
    });
    let movers = pair.movers(&store, events);
    let volume = pair.volume(VolumeMode::Filesystem, Consistency::Live);
    movers.snapshot(&volume).await.unwrap();
    let saved = save(&movers, &volume).await.unwrap();
    assert_eq!(saved.consistency, Consistency::Live);
    load(&movers, &volume, &saved).await.unwrap();
    pod("b", &pair.on_b, false);
    assert_same(&sh("a", &pair.on_a, LIST), &sh("b", &pair.on_b, LIST));
    assert!(warned.load(Ordering::SeqCst));
    movers.clean().await.unwrap();
    pair.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn movers_that_lose_their_run_are_replaced_and_what_they_left_is_cleaned() {
    let pair = Pair::new().await;
    claim("a", &pair.on_a, "cow", "Filesystem", "256Mi");
    pod("a", &pair.on_a, false);
    sh(
        "a",
        &pair.on_a,
        "head -c 100000000 /dev/urandom >/data/big; sync",
    );
    claim("b", &pair.on_b, "fast-late", "Filesystem", "256Mi");
    let here = tempfile::tempdir().unwrap();
    let store = folder(here.path()).await;
    let volume = pair.volume(VolumeMode::Filesystem, Consistency::Snapshot);
    let mut saved = None;
    // Dropped at some moment, as a killed process would drop it: once at each of these.
    for wait in [300, 1500, 3500, 120_000] {
        let movers = pair.movers(&store, Events::silent());
        let attempt = async {
            movers.snapshot(&volume).await?;
            save(&movers, &volume).await
        };
        match tokio::time::timeout(Duration::from_millis(wait), attempt).await {
            Ok(done) => saved = Some(done.unwrap()),
            Err(_) => assert_ne!(wait, 120_000),
        }
    }
    let saved = saved.expect("the last attempt had time");
    let mut proof = None;
    for wait in [500, 2500, 4500, 120_000] {
        let movers = pair.movers(&store, Events::silent());
        let attempt = load(&movers, &volume, &saved);
        match tokio::time::timeout(Duration::from_millis(wait), attempt).await {
            Ok(done) => proof = Some(done.unwrap()),
            Err(_) => assert_ne!(wait, 120_000),
        }
    }
    assert_eq!(proof.as_ref(), Some(&saved.proof));
    pod("b", &pair.on_b, false);
    let sum = "sha256sum </data/big";
    assert_eq!(sh("b", &pair.on_b, sum), sh("a", &pair.on_a, sum));
    pair.movers(&store, Events::silent()).clean().await.unwrap();
    pair.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_a_mover_is_said_in_seconds_and_leaves_nothing() {
    let pair = Pair::new().await;
    claim("a", &pair.on_a, "cow", "Filesystem", "64Mi");
    pod("a", &pair.on_a, false);
    sh("a", &pair.on_a, "echo x >/data/x");
    let mut store = bucket().await;
    let volume = pair.volume(VolumeMode::Filesystem, Consistency::Snapshot);
    let cancel = CancellationToken::new();
    let limit = Duration::from_secs(60);

    let missing = format!("{}/it/none:such", testbed("FERRY_TESTBED_REGISTRY"));
    let movers = pair.movers_with(&store, Events::silent(), &missing, cancel.clone());
    let error = tokio::time::timeout(limit, save(&movers, &volume))
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, DataError::Start { .. }), "{error}");
    assert!(error.to_string().contains("cannot pull image"), "{error}");

    store
        .access
        .variables
        .insert("AWS_SECRET_ACCESS_KEY".into(), "wrong".into());
    let movers = pair.movers(&store, Events::silent());
    let error = tokio::time::timeout(limit, save(&movers, &volume))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.exit(), ferry::exit::Exit::Refused, "{error}");

    // A port nobody listens on, at the address that every node of this pair reaches.
    let registry = testbed("FERRY_TESTBED_REGISTRY");
    let (host, _) = registry.split_once(':').unwrap();
    store
        .access
        .variables
        .insert("AWS_ENDPOINT_URL".into(), format!("http://{host}:1"));
    let movers = pair.movers(&store, Events::silent());
    let error = tokio::time::timeout(limit, save(&movers, &volume))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.exit(), ferry::exit::Exit::Refused, "{error}");

    let movers = pair.movers(&store, Events::silent());
    let error = load(&movers, &volume, &empty()).await.unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");

    let stopped = pair.movers_with(&store, Events::silent(), &missing, cancel.clone());
    cancel.cancel();
    let error = save(&stopped, &volume).await.unwrap_err();
    assert!(matches!(error, DataError::Cancelled { .. }), "{error}");
    stopped.clean().await.unwrap();
    pair.assert_clean();
}

pub fn empty() -> SavedVolume {
    SavedVolume {
        held: None,
        snapshot: "0".repeat(64),
        consistency: Consistency::Snapshot,
        proof: Proof {
            files: 0,
            bytes: 0,
            digest: String::new(),
        },
        added: 0,
    }
}

/// Compares line by line and shows only what differs.
#[track_caller]
fn assert_same(before: &str, after: &str) {
    let differ: Vec<_> = before
        .lines()
        .map(|line| ("-", line))
        .filter(|(_, line)| !after.lines().any(|other| other == *line))
        .chain(
            after
                .lines()
                .map(|line| ("+", line))
                .filter(|(_, line)| !before.lines().any(|other| other == *line)),
        )
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
    assert!(before.lines().count() > 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_frozen_of_the_planned_claims_and_once() {
    let pair = Pair::new().await;
    let space = &pair.on_a.name;
    claim("a", &pair.on_a, "cow", "Filesystem", "64Mi");
    let store = bucket().await;
    let movers = pair.movers(&store, Events::silent());
    let mut data = pair.volume(VolumeMode::Filesystem, Consistency::Together);
    data.together = Some(Together {
        claims: ["data".to_owned(), "wal".to_owned()].into(),
        labels: Some(BTreeMap::new()),
    });
    let error = movers.snapshot(&data).await.unwrap_err().to_string();
    assert!(error.contains("have changed (wal)"), "{error}");
    assert!(error.contains("--group-snapshots off"), "{error}");

    apply(
        "a",
        &format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: wal, namespace: {space}}}, \
             spec: {{accessModes: [ReadWriteOnce], storageClassName: cow, \
             resources: {{requests: {{storage: 64Mi}}}}}}}}"
        ),
    );
    let mut wal = data.clone();
    wal.source = ObjectId::namespaced("", "PersistentVolumeClaim", space, "wal");
    let (one, other) = tokio::join!(movers.snapshot(&data), movers.snapshot(&wal));
    one.and(other).unwrap();
    let saved = save(&movers, &data).await.unwrap();
    assert_eq!(saved.consistency, Consistency::Together);
    // A new group would show another moment than what was saved.
    let group = ["delete", "volumegroupsnapshots", "--all", "--timeout=60s"];
    kubectl("a", &[&["-n", space.as_str()][..], &group].concat());
    movers.snapshot(&data).await.unwrap();
    let error = movers.snapshot(&wal).await.unwrap_err().to_string();
    assert!(error.contains("data was saved as of a moment"), "{error}");
    movers.clean().await.unwrap();
    pair.assert_clean();
}
