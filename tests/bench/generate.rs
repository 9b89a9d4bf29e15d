//! Namespaces as teams fill them: the objects the speed figures are taken with.
//!
//! Deterministic: one seed, one set, whatever the machine. The mix follows what namespaces hold in
//! practice, where ConfigMaps, Secrets, accounts and rights outnumber workloads: an application is one
//! workload with what it mounts, what leads to it and who it is; twenty of them share a namespace.
//! Objects look as `kubectl get -o yaml` shows them, stripped of what the server writes.

use serde_json::{Value, json};

/// Applications in one namespace.
const APPS: usize = 20;

/// SplitMix64: small, known, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `times`.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    /// Base64-like text of some length.
    fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..length)
            .map(|_| LETTERS[self.below(64) as usize] as char)
            .collect()
    }
}

/// Exactly `count` objects, one namespace after the other: a million at once would not fit in memory.
pub(crate) fn namespaces(count: usize) -> impl Iterator<Item = Vec<Value>> {
    let mut random = Random(42);
    let (mut number, mut left) = (0, count);
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let mut all = namespace(number, &mut random);
        number += 1;
        all.truncate(left);
        left -= all.len();
        Some(all)
    })
}

fn namespace(number: usize, random: &mut Random) -> Vec<Value> {
    let namespace = format!("team-{number:05}");
    let mut all = vec![json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {"team": namespace, "stage": "prod"}}})];
    for app in 0..APPS {
        let kind = random.pick(&["api", "web", "worker", "cache", "billing", "search", "mail"]);
        let app = App {
            namespace: &namespace,
            name: format!("{kind}-{app:02}"),
            before: format!(
                "http://svc-{:02}.{namespace}.svc:8080",
                app.saturating_sub(1)
            ),
        };
        app.objects(random, &mut all);
    }
    all
}

struct App<'a> {
    namespace: &'a str,
    name: String,
    before: String,
}

impl App<'_> {
    fn objects(&self, random: &mut Random, all: &mut Vec<Value>) {
        let stateful = random.one_in(6);
        let claim = !stateful && random.one_in(4);
        all.push(self.workload(random, stateful, claim));
        all.push(self.service());
        self.configuration(random, all);
        self.rights(all);
        if claim {
            all.push(self.object(
                "v1",
                "PersistentVolumeClaim",
                "data",
                json!({"spec": claim_spec()}),
            ));
        }
        if random.one_in(2) {
            all.push(self.ingress());
            all.push(self.autoscaler());
        }
        all.push(self.object(
            "policy/v1",
            "PodDisruptionBudget",
            "",
            json!({"spec": {
            "minAvailable": 1, "selector": {"matchLabels": self.labels()}}}),
        ));
        if random.one_in(3) {
            all.push(self.object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                "",
                json!({"spec": {
                "podSelector": {"matchLabels": self.labels()}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"stage": "prod"}}}],
                    "ports": [{"port": 8080, "protocol": "TCP"}]}]}}),
            ));
        }
        if random.one_in(5) {
            all.push(self.cron_job());
        }
        if random.one_in(4) {
            all.push(self.object(
                "cert-manager.io/v1",
                "Certificate",
                "",
                json!({"spec": {
                "secretName": format!("{}-tls", self.name), "dnsNames": [self.host()],
                "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"}}}),
            ));
        }
        if random.one_in(8) {
            // A kind no rule knows: its references are guessed.
            all.push(self.object(
                "shop.example.com/v1",
                "Queue",
                "",
                json!({"spec": {
                "credentialsSecret": format!("{}-login", self.name), "replicas": 3,
                "storage": {"size": "10Gi", "retain": true},
                "config": {"configMapRef": {"name": format!("{}-config", self.name)}},
                "limits": {"messages": 10000, "bytes": "1Gi"}}}),
            ));
        }
    }

    fn object(&self, version: &str, kind: &str, suffix: &str, rest: Value) -> Value {
        let name = match suffix {
            "" => self.name.clone(),
            suffix => format!("{}-{suffix}", self.name),
        };
        let mut value = json!({"apiVersion": version, "kind": kind, "metadata": {
            "name": name, "namespace": self.namespace, "labels": {
                "app.kubernetes.io/name": self.name, "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/managed-by": "Helm"}}});
        if let (Some(value), Value::Object(rest)) = (value.as_object_mut(), rest) {
            value.extend(rest);
        }
        value
    }

    fn labels(&self) -> Value {
        json!({"app.kubernetes.io/name": self.name})
    }

    fn host(&self) -> String {
        format!("{}.{}.apps.a.example.com", self.name, self.namespace)
    }

    fn pod(&self, random: &mut Random, claim: bool) -> Value {
        let probe = json!({"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10});
        let mut volumes = vec![
            json!({"name": "config", "configMap": {"name": format!("{}-config", self.name)}}),
            json!({"name": "tls", "secret": {"secretName": format!("{}-tls", self.name)}}),
        ];
        let mut mounts = vec![
            json!({"name": "config", "mountPath": "/etc/app"}),
            json!({"name": "tls", "mountPath": "/etc/tls", "readOnly": true}),
        ];
        if claim {
            let claim = format!("{}-data", self.name);
            volumes.push(json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}}));
            mounts.push(json!({"name": "data", "mountPath": "/var/lib/app"}));
        }
        let login = format!("{}-login", self.name);
        let secret = |key: &str| json!({"secretKeyRef": {"name": login, "key": key}});
        let mut containers = vec![json!({
            "name": "app",
            "image": format!("registry.a.example.com/shop/{}:1.{}.{}", self.name, random.below(40), random.below(9)),
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [{"name": "USER", "valueFrom": secret("user")},
                    {"name": "PASSWORD", "valueFrom": secret("password")},
                    {"name": "UPSTREAM", "value": self.before}],
            "envFrom": [{"configMapRef": {"name": format!("{}-env", self.name)}}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
            "readinessProbe": probe, "volumeMounts": mounts,
        })];
        if random.one_in(3) {
            containers.push(
                json!({"name": "metrics", "image": "quay.io/prometheus/statsd-exporter:v0.26",
                "ports": [{"name": "metrics", "containerPort": 9102}]}),
            );
        }
        json!({"metadata": {"labels": self.labels()}, "spec": {
            "serviceAccountName": self.name, "containers": containers, "volumes": volumes,
            "imagePullSecrets": [{"name": login}], "terminationGracePeriodSeconds": 30}})
    }

    fn workload(&self, random: &mut Random, stateful: bool, claim: bool) -> Value {
        let mut spec = json!({"replicas": 1 + random.below(4), "selector": {"matchLabels": self.labels()},
            "template": self.pod(random, claim)});
        if stateful {
            spec["serviceName"] = self.name.as_str().into();
            spec["volumeClaimTemplates"] =
                json!([{"metadata": {"name": "data"}, "spec": claim_spec()}]);
            return self.object("apps/v1", "StatefulSet", "", json!({"spec": spec}));
        }
        self.object("apps/v1", "Deployment", "", json!({"spec": spec}))
    }

    fn service(&self) -> Value {
        self.object(
            "v1",
            "Service",
            "",
            json!({"spec": {"type": "ClusterIP", "selector": self.labels(),
            "ports": [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}]}}),
        )
    }

    fn configuration(&self, random: &mut Random, all: &mut Vec<Value>) {
        let address = format!("http://{}.{}.svc:8080/", self.name, self.namespace);
        all.push(self.object("v1", "ConfigMap", "config", json!({"data": {
            "app.yaml": format!("server:\n  port: 8080\n  public: https://{}/\nupstream: {}\nlog: info\n", self.host(), self.before),
            "rules.txt": random.text(200)}})));
        all.push(self.object(
            "v1",
            "ConfigMap",
            "env",
            json!({"data": {
            "LOG_LEVEL": "info", "SELF": address, "REGION": "eu-1", "FEATURES": "a,b,c"}}),
        ));
        all.push(self.object(
            "v1",
            "Secret",
            "login",
            json!({"type": "Opaque", "data": {
            "user": random.text(12), "password": random.text(32)}}),
        ));
        all.push(self.object(
            "v1",
            "Secret",
            "tls",
            json!({"type": "kubernetes.io/tls", "data": {
            "tls.crt": random.text(1200), "tls.key": random.text(800)}}),
        ));
    }

    fn rights(&self, all: &mut Vec<Value>) {
        all.push(self.object("v1", "ServiceAccount", "", json!({})));
        let rbac = "rbac.authorization.k8s.io";
        let version = format!("{rbac}/v1");
        all.push(self.object(&version, "Role", "", json!({"rules": [
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list", "watch"]}]})));
        all.push(self.object(&version, "RoleBinding", "", json!({
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": self.name},
            "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}]})));
    }

    fn ingress(&self) -> Value {
        let backend = json!({"service": {"name": self.name, "port": {"name": "http"}}});
        let mut value = self.object(
            "networking.k8s.io/v1",
            "Ingress",
            "",
            json!({"spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": self.host(), "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": backend}]}}],
            "tls": [{"hosts": [self.host()], "secretName": format!("{}-tls", self.name)}]}}),
        );
        value["metadata"]["annotations"] = json!({"cert-manager.io/cluster-issuer": "letsencrypt"});
        value
    }

    fn autoscaler(&self) -> Value {
        self.object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "",
            json!({"spec": {
            "minReplicas": 1, "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
        )
    }

    fn cron_job(&self) -> Value {
        self.object(
            "batch/v1",
            "CronJob",
            "report",
            json!({"spec": {"schedule": "5 4 * * *",
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
                "serviceAccountName": self.name,
                "containers": [{"name": "report",
                    "image": "registry.a.example.com/shop/report:2.1",
                    "envFrom": [{"secretRef": {"name": format!("{}-login", self.name)}}]}]}}}}}}),
        )
    }
}

fn claim_spec() -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
        "resources": {"requests": {"storage": "10Gi"}}})
}
