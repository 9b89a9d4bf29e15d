//! Route → Ingress or HTTPRoute.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Gateway, Routes, lost, metadata, put};
use crate::object::Object;
use crate::transform::work::{Part, Work};

/// Annotations that only OpenShift's router reads.
const ROUTER: [&str; 3] = [
    "haproxy.router.openshift.io/",
    "router.openshift.io/",
    "openshift.io/host.generated",
];

/// The router marks hosts it made up itself.
const GENERATED: &str = "openshift.io/host.generated";

/// What a Route says, read once.
struct Said {
    host: Option<String>,
    path: String,
    /// Services and their weights, the first one first.
    backends: Vec<(String, u64)>,
    port: Option<Value>,
    tls: Option<Value>,
}

/// Puts an Ingress or HTTPRoute in the place of a Route.
pub(super) fn convert(work: &mut Work<'_>, index: usize, routes: &Routes, part: Part) {
    let object = work.objects()[index].clone();
    let said = read(&object);
    if said
        .tls
        .as_ref()
        .is_some_and(|tls| tls["termination"] == "passthrough")
    {
        lost(
            work,
            index,
            "/spec/tls/termination",
            "TLS that is passed through to the pods has no counterpart here; the route stays as it is",
            "expose it by a Service of type LoadBalancer or a TLSRoute of your own, and leave the route out",
        );
        return;
    }
    let generated = work
        .source
        .raw(index)
        .is_some_and(|raw| raw.annotation(GENERATED) == Some("true"));
    if said.host.is_none() || generated {
        lost(
            work,
            index,
            "/spec/host",
            "the host was chosen by A's router",
            "map it with `host`, or set it with a patch",
        );
    }
    for key in metadata(&object, &ROUTER).1 {
        if key != GENERATED {
            let message = format!("the router's setting `{key}` stays behind");
            lost(
                work,
                index,
                "/metadata/annotations",
                message,
                "say it in the words of B's controller",
            );
        }
    }
    tls_losses(work, index, &said);
    match routes {
        Routes::Ingress(class) => ingress(work, index, &object, &said, class.as_deref(), part),
        Routes::HttpRoute(gateway) => http_route(work, index, &object, &said, gateway, part),
    }
}

fn read(object: &Object) -> Said {
    let text = |path: &str| object.text(path).filter(|text| !text.is_empty());
    let host = text("/spec/host").map(|host| match text("/spec/wildcardPolicy") {
        Some("Subdomain") => match host.split_once('.') {
            Some((_, domain)) => format!("*.{domain}"),
            None => host.to_owned(),
        },
        _ => host.to_owned(),
    });
    let others = object
        .pointer("/spec/alternateBackends")
        .and_then(Value::as_array);
    let to = object.pointer("/spec/to");
    let backends = to.into_iter().chain(others.into_iter().flatten());
    let backends = backends.filter_map(|backend| {
        let weight = backend["weight"].as_u64().unwrap_or(100);
        Some((backend["name"].as_str()?.to_owned(), weight))
    });
    Said {
        host,
        path: text("/spec/path").unwrap_or("/").to_owned(),
        backends: backends.collect(),
        port: object.pointer("/spec/port/targetPort").cloned(),
        tls: object
            .pointer("/spec/tls")
            .cloned()
            .filter(Value::is_object),
    }
}

fn tls_losses(work: &mut Work<'_>, index: usize, said: &Said) {
    let Some(tls) = &said.tls else { return };
    if tls["termination"] == "reencrypt" {
        lost(
            work,
            index,
            "/spec/tls",
            "the router spoke TLS to the pods and checked their certificate",
            "tell B's controller to do so: a BackendTLSPolicy, or its own annotation",
        );
    }
    let policy = tls["insecureEdgeTerminationPolicy"]
        .as_str()
        .unwrap_or_default();
    if !policy.is_empty() {
        lost(
            work,
            index,
            "/spec/tls/insecureEdgeTerminationPolicy",
            format!("what becomes of plain HTTP (`{policy}`) is for B's controller to say"),
            "look at its redirect settings",
        );
    }
}

/// The port of a Service that a Route means: a name, or the number of the pods' port. Without one the
/// Service's only port.
fn service_port(
    work: &Work<'_>,
    index: usize,
    service: &str,
    port: Option<&Value>,
) -> Option<Value> {
    let namespace = work.objects()[index].namespace();
    let service = work.objects().iter().find(|object| {
        object.is("", "Service") && object.name() == service && object.namespace() == namespace
    })?;
    let ports = service.pointer("/spec/ports")?.as_array()?;
    let found = match port {
        None => ports.first(),
        Some(Value::String(name)) => ports.iter().find(|one| one["name"] == name.as_str()),
        Some(number) => ports.iter().find(|one| {
            one["targetPort"] == *number || (one["targetPort"].is_null() && one["port"] == *number)
        }),
    }?;
    found.get("port").cloned()
}

/// The backend's port as a number, or what is known of it.
fn port_of(
    work: &mut Work<'_>,
    index: usize,
    service: &str,
    port: Option<&Value>,
) -> Option<Value> {
    let found = service_port(work, index, service, port);
    if found.is_none() {
        lost(
            work,
            index,
            "/spec/port",
            format!("it is not known which port of the Service {service} is meant"),
            "capture the Service too, or set the port with a patch",
        );
    }
    found
}

fn ingress(
    work: &mut Work<'_>,
    index: usize,
    object: &Object,
    said: &Said,
    class: Option<&str>,
    part: Part,
) {
    let Some((service, _)) = said.backends.first() else {
        return;
    };
    if said.backends.len() > 1 {
        lost(
            work,
            index,
            "/spec/alternateBackends",
            "an Ingress has one Service per path; the other backends stay behind",
            "use `routes: {to: HTTPRoute}`, which has weights",
        );
    }
    let backend_port = match port_of(work, index, service, said.port.as_ref()) {
        Some(number) => json!({"number": number}),
        None => match &said.port {
            Some(Value::String(name)) => json!({"name": name}),
            Some(number) => json!({"number": number}),
            None => json!({"number": 80}),
        },
    };
    let path = json!({
        "path": said.path, "pathType": "Prefix",
        "backend": {"service": {"name": service, "port": backend_port}},
    });
    let mut rule = Map::new();
    if let Some(host) = &said.host {
        rule.insert("host".into(), host.as_str().into());
    }
    rule.insert("http".into(), json!({"paths": [path]}));
    let mut spec = Map::new();
    if let Some(class) = class {
        spec.insert("ingressClassName".into(), class.into());
    }
    spec.insert("rules".into(), json!([rule]));
    if let Some(tls) = &said.tls {
        let mut entry = Map::new();
        if let Some(host) = &said.host {
            entry.insert("hosts".into(), json!([host]));
        }
        if let Some(secret) = tls_secret(work, index, object, tls, part) {
            entry.insert("secretName".into(), secret.into());
        }
        spec.insert("tls".into(), json!([entry]));
    }
    let (metadata, _) = metadata(object, &ROUTER);
    put(
        work,
        index,
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}),
        part,
    );
}

/// The Secret with the route's certificate: the one it names, or one made of what it holds itself.
fn tls_secret(
    work: &mut Work<'_>,
    index: usize,
    object: &Object,
    tls: &Value,
    part: Part,
) -> Option<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    if let Some(name) = tls
        .pointer("/externalCertificate/name")
        .and_then(Value::as_str)
    {
        return Some(name.to_owned());
    }
    let (Some(certificate), Some(key)) = (tls["certificate"].as_str(), tls["key"].as_str()) else {
        lost(
            work,
            index,
            "/spec/tls",
            "A's router has the certificate, or it was scrubbed; B's controller shows its default one",
            "name a Secret in `spec.tls[].secretName` with a patch, or let cert-manager make one",
        );
        return None;
    };
    let chain = match tls["caCertificate"].as_str() {
        Some(authority) => format!("{}\n{authority}", certificate.trim_end()),
        None => certificate.to_owned(),
    };
    let name = format!("{}-tls", object.name());
    let data: BTreeMap<&str, String> = [
        ("tls.crt", STANDARD.encode(chain)),
        ("tls.key", STANDARD.encode(key)),
    ]
    .into();
    let secret = Object::new(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": object.namespace()}, "data": data,
    }));
    if let Ok(secret) = secret {
        work.add(secret, "convert", part);
    }
    Some(name)
}

fn http_route(
    work: &mut Work<'_>,
    index: usize,
    object: &Object,
    said: &Said,
    gateway: &Gateway,
    part: Part,
) {
    let mut backends = Vec::new();
    for (service, weight) in &said.backends {
        let port = port_of(work, index, service, said.port.as_ref());
        let mut backend = Map::new();
        backend.insert("name".into(), service.as_str().into());
        if let Some(port) = port {
            backend.insert("port".into(), port);
        }
        if said.backends.len() > 1 {
            backend.insert("weight".into(), (*weight).into());
        }
        backends.push(Value::Object(backend));
    }
    if said.tls.is_some() {
        lost(
            work,
            index,
            "/spec/tls",
            "certificates belong to the Gateway's listeners, not to routes",
            "give the listener of the Gateway a certificate for this host",
        );
    }
    let mut parent = Map::new();
    parent.insert("name".into(), gateway.name.as_str().into());
    for (key, value) in [
        ("namespace", &gateway.namespace),
        ("sectionName", &gateway.listener),
    ] {
        if let Some(value) = value {
            parent.insert(key.into(), value.as_str().into());
        }
    }
    let mut spec = Map::new();
    spec.insert("parentRefs".into(), json!([parent]));
    if let Some(host) = &said.host {
        spec.insert("hostnames".into(), json!([host]));
    }
    spec.insert(
        "rules".into(),
        json!([{
            "matches": [{"path": {"type": "PathPrefix", "value": said.path}}],
            "backendRefs": backends,
        }]),
    );
    let (metadata, _) = metadata(object, &ROUTER);
    put(
        work,
        index,
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": metadata, "spec": spec,
        }),
        part,
    );
}
