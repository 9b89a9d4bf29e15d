//! A cluster made of files: what the golden cases are captured from and planned for.
//!
//! It answers what Ferry asks on the way to a plan, and only that: discovery, reads, the rights of the
//! user, and dry runs, which it accepts as they are. What a real API server says to the same objects
//! is tested on the pair (`super::pair`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use ferry::cluster::{Cluster, ConnectOptions};
use ferry::object::Object;
use serde_json::{Value, json};

/// One served resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Resource {
    group: String,
    version: String,
    plural: String,
    kind: String,
    namespaced: bool,
    subresources: BTreeSet<String>,
}

/// What the server knows.
struct State {
    resources: Vec<Resource>,
    objects: Vec<Object>,
}

/// Serves some objects on a port of the kernel's choice, until the test ends, and connects to it.
pub async fn serve(name: &str, objects: Vec<Object>) -> Cluster {
    ferry::install_crypto();
    let mut resources = builtin();
    resources.extend(objects.iter().flat_map(custom));
    let state = Arc::new(State { resources, objects });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || converse(stream, &state));
        }
    });
    connect(name, address).await
}

async fn connect(name: &str, address: SocketAddr) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": name, "user": {}}]});
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let options = ConnectOptions {
        context: None,
        kubeconfig: Some(path),
    };
    Cluster::connect(&options).await.unwrap()
}

/// What Kubernetes serves by itself: `GROUP/VERSION PLURAL KIND SCOPE SUBRESOURCES`.
fn builtin() -> Vec<Resource> {
    let lines = include_str!("../../golden/builtin.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut word = || words.next().unwrap_or_default();
            let (group, version) = split(word());
            Resource {
                group: group.into(),
                version: version.into(),
                plural: word().into(),
                kind: word().into(),
                namespaced: word() == "ns",
                subresources: word()
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(Into::into)
                    .collect(),
            }
        })
        .collect()
}

/// What a definition adds.
fn custom(crd: &Object) -> Vec<Resource> {
    if !crd.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return Vec::new();
    }
    let text = |at: &str| crd.text(at).unwrap_or_default().to_owned();
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let served = versions
        .into_iter()
        .flatten()
        .filter(|v| v["served"] == true);
    served
        .map(|version| Resource {
            group: text("/spec/group"),
            version: version["name"].as_str().unwrap().into(),
            plural: text("/spec/names/plural"),
            kind: text("/spec/names/kind"),
            namespaced: text("/spec/scope") == "Namespaced",
            subresources: version["subresources"]
                .as_object()
                .map(|map| map.keys().cloned().collect())
                .unwrap_or_default(),
        })
        .collect()
}

/// `apps/v1` as its group and version.
fn split(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

fn converse(stream: TcpStream, state: &State) {
    let mut reader = BufReader::new(stream);
    while let Some((method, path, body)) = request(&mut reader) {
        let (status, answer) = answer(state, &method, &path, body);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let stream = reader.get_mut();
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// Method, path without its query, and body of the next request; `None` when the client is done.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = target.split('?').next()?.to_owned();
    Some((
        method,
        path,
        serde_json::from_slice(&body).unwrap_or_default(),
    ))
}

fn answer(state: &State, method: &str, path: &str, body: Value) -> (u16, Value) {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match (method, parts.as_slice()) {
        ("GET", ["version"]) => (200, json!({"gitVersion": "v1.34.4"})),
        ("GET", ["api"]) => (200, discovery(state, true)),
        ("GET", ["apis"]) => (200, discovery(state, false)),
        ("GET", ["openapi", "v3"]) => (200, json!({"paths": {}})),
        ("POST", [.., "selfsubjectaccessreviews"]) => (201, json!({"status": {"allowed": true}})),
        ("GET", ["api", version, rest @ ..]) => read(state, "", version, rest),
        ("GET", ["apis", group, version, rest @ ..]) => read(state, group, version, rest),
        ("PATCH", _) => (200, body),
        _ => missing(path),
    }
}

fn missing(what: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound",
        "message": format!("{what} not found")});
    (404, status)
}

fn discovery(state: &State, core: bool) -> Value {
    let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<&Resource>>> = BTreeMap::new();
    let wanted = state
        .resources
        .iter()
        .filter(|one| one.group.is_empty() == core);
    for resource in wanted {
        let group = groups.entry(&resource.group).or_default();
        group.entry(&resource.version).or_default().push(resource);
    }
    let resource = |one: &&Resource| {
        let kind = json!({"group": one.group, "version": one.version, "kind": one.kind});
        let verbs = [
            "create", "delete", "get", "list", "patch", "update", "watch",
        ];
        json!({"resource": one.plural, "responseKind": kind, "verbs": verbs,
            "scope": if one.namespaced { "Namespaced" } else { "Cluster" },
            "subresources": one.subresources.iter().map(|name| json!({"subresource": name,
                "responseKind": kind, "verbs": ["get", "patch", "update"]})).collect::<Vec<_>>()})
    };
    let group = |(name, versions): (&&str, &BTreeMap<&str, Vec<&Resource>>)| {
        // The server lists the version it prefers first; here, the highest.
        let versions = versions.iter().rev().map(|(version, resources)| {
            json!({"version": version, "freshness": "Current",
                "resources": resources.iter().map(resource).collect::<Vec<_>>()})
        });
        json!({"metadata": {"name": name}, "versions": versions.collect::<Vec<_>>()})
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "items": groups.iter().map(group).collect::<Vec<_>>()})
}

/// `namespaces/NS/PLURAL/NAME`, any part but the plural left out.
fn read(state: &State, group: &str, version: &str, rest: &[&str]) -> (u16, Value) {
    let (namespace, plural, name) = match rest {
        ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
        ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
        [plural, name] => (None, *plural, Some(*name)),
        [plural] => (None, *plural, None),
        _ => return missing("the path"),
    };
    let served = |one: &&Resource| {
        (
            one.group.as_str(),
            one.version.as_str(),
            one.plural.as_str(),
        ) == (group, version, plural)
    };
    let Some(resource) = state.resources.iter().find(served) else {
        return missing(plural);
    };
    let found = state.objects.iter().filter(|object| {
        object.is(group, &resource.kind)
            && (namespace.is_none() || object.namespace() == namespace)
            && name.is_none_or(|name| object.name() == name)
    });
    // Stored at one version, served at every one.
    let mut found = found.map(|object| {
        let mut value = object.value().clone();
        let prefix = if group.is_empty() {
            String::new()
        } else {
            format!("{group}/")
        };
        value["apiVersion"] = format!("{prefix}{version}").into();
        value
    });
    match name {
        Some(name) => found
            .next()
            .map_or_else(|| missing(name), |object| (200, object)),
        None => {
            let items: Vec<Value> = found.collect();
            let list = json!({"kind": format!("{}List", resource.kind), "items": items,
                "metadata": {"resourceVersion": "1000"}});
            (200, list)
        }
    }
}
