//! What each name may become, and what speaks for it.

use std::collections::BTreeMap;

use super::{Line, Section};
use crate::object::Object;
use crate::report::units::plural;
use crate::surface::Surface;
use crate::transform::class::Class;
use crate::transform::found::Counts;

/// How a class's objects are found, and where they say who serves them.
struct ClassKind {
    group: &'static str,
    kind: &'static str,
    served_by: &'static str,
    /// What that place says, in a word.
    server: &'static str,
    /// Annotation of the one that counts where none is named.
    default: Option<&'static str>,
}

impl ClassKind {
    fn of(class: Class) -> Self {
        let kind = |group, kind, (served_by, server), default| Self {
            group,
            kind,
            served_by,
            server,
            default,
        };
        let storage = "storageclass.kubernetes.io/is-default-class";
        let snapshot = "snapshot.storage.kubernetes.io/is-default-class";
        let ingress = "ingressclass.kubernetes.io/is-default-class";
        match class {
            Class::Storage => kind(
                "storage.k8s.io",
                "StorageClass",
                ("/provisioner", "provisioner"),
                Some(storage),
            ),
            Class::VolumeSnapshot => kind(
                "snapshot.storage.k8s.io",
                "VolumeSnapshotClass",
                ("/driver", "driver"),
                Some(snapshot),
            ),
            Class::VolumeAttributes => kind(
                "storage.k8s.io",
                "VolumeAttributesClass",
                ("/driverName", "driver"),
                None,
            ),
            Class::Ingress => kind(
                "networking.k8s.io",
                "IngressClass",
                ("/spec/controller", "controller"),
                Some(ingress),
            ),
            Class::Gateway => kind(
                "gateway.networking.k8s.io",
                "GatewayClass",
                ("/spec/controllerName", "controller"),
                None,
            ),
            Class::Priority => kind(
                "scheduling.k8s.io",
                "PriorityClass",
                ("/value", "value"),
                None,
            ),
            Class::Runtime => kind("node.k8s.io", "RuntimeClass", ("/handler", "handler"), None),
            Class::SecretStore => kind(
                "external-secrets.io",
                "ClusterSecretStore",
                ("/spec/provider/vault/server", "server"),
                None,
            ),
        }
    }

    fn is_default(&self, class: &Object) -> bool {
        let mark = self.default.and_then(|mark| class.annotation(mark));
        mark == Some("true")
    }

    /// `gp3 (ebs.csi.aws.com, default)`.
    fn shown(&self, class: &Object) -> String {
        let served_by = class.pointer(self.served_by).map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let default = self.is_default(class).then(|| "default".to_owned());
        let facts: Vec<String> = served_by.into_iter().chain(default).collect();
        format!("{} ({})", class.name(), facts.join(", "))
    }
}

/// A section for every sort of class that the capture names.
pub(super) fn classes(
    found: &BTreeMap<Class, Counts>,
    source: &Surface,
    target: Option<&Surface>,
) -> Vec<Section> {
    let section = |(class, names): (&Class, &Counts)| {
        let kind = ClassKind::of(*class);
        let offered: Vec<&Object> = target
            .map(|target| target.of_kind(kind.group, kind.kind).collect())
            .unwrap_or_default();
        let mut about = vec![sentence(class.plural(), "that the objects name.")];
        if let Some(target) = target {
            let shown: Vec<String> = offered.iter().map(|class| kind.shown(class)).collect();
            about.push(match shown.is_empty() {
                true => format!("{} has none.", target.cluster.name),
                false => format!("{} has {}.", target.cluster.name, shown.join(", ")),
            });
        }
        let mut lines = Vec::new();
        for (name, count) in names.iter().filter(|(name, _)| !name.is_empty()) {
            match choice(&kind, name, source, &offered) {
                Choice::Same => about.push(format!("{name} is there too and keeps its name.")),
                Choice::This(to, why) => lines.push(Line {
                    from: name.clone(),
                    to,
                    why: format!("{}; {why}", in_objects(*count)),
                    active: true,
                }),
                Choice::Yours(to, why) => lines.push(Line {
                    from: name.clone(),
                    to,
                    why: format!("{}; {why}", in_objects(*count)),
                    active: false,
                }),
            }
        }
        Section {
            key: class.key(),
            about,
            lines,
        }
    };
    found.iter().map(section).collect()
}

enum Choice {
    /// B has one of this name.
    Same,
    /// This one of B's, because.
    This(String, String),
    /// Perhaps this one, but the user must say so, because.
    Yours(String, String),
}

/// What one class becomes. B's default is not taken where others share the provider with it: on A the user
/// chose among them too, for what they cost or keep.
fn choice(kind: &ClassKind, name: &str, source: &Surface, offered: &[&Object]) -> Choice {
    if offered.iter().any(|class| class.name() == name) {
        return Choice::Same;
    }
    let served_by = source
        .find(kind.group, kind.kind, name)
        .and_then(|class| class.pointer(kind.served_by));
    let alike: Vec<&Object> = offered
        .iter()
        .copied()
        .filter(|class| served_by.is_some() && class.pointer(kind.served_by) == served_by)
        .collect();
    let same = kind.server;
    match alike[..] {
        [] => {}
        [class] => {
            let why = format!("the only one there with the same {same}");
            return Choice::This(class.name().to_owned(), why);
        }
        _ => {
            let names: Vec<&str> = alike.iter().map(|class| class.name()).collect();
            let default = alike.iter().find(|class| kind.is_default(class));
            let to = default.map_or("NAME", |class| class.name());
            let why = format!("choose: {} have the same {same}", names.join(" and "));
            return Choice::Yours(to.to_owned(), why);
        }
    }
    let mut defaults = offered.iter().filter(|class| kind.is_default(class));
    match (defaults.next(), defaults.next()) {
        (Some(class), None) => {
            let why = match served_by {
                Some(_) => format!("the default there; none has the same {same}"),
                None => "the default there".into(),
            };
            Choice::This(class.name().to_owned(), why)
        }
        _ => Choice::Yours("NAME".into(), "choose one".into()),
    }
}

/// Two parts as a sentence of its own.
fn sentence(start: &str, rest: &str) -> String {
    let mut letters = start.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    format!("{}{} {rest}", String::from_iter(first), letters.as_str())
}

/// Registries: only the user knows where images are copied to.
pub(super) fn registries(names: &Counts) -> Section {
    waiting(
        "registry",
        names,
        "Registries that images come from. Map those the target cannot pull from; copy the images first.",
        |name| format!("REGISTRY/{}", name.split(['.', ':']).next().unwrap_or(name)),
    )
}

/// Hosts; OpenShift's domain of applications is known on both sides.
pub(super) fn hosts(names: &Counts, source: &Surface, target: Option<&Surface>) -> Section {
    let domain = |surface: &Surface| {
        let config = surface.find("config.openshift.io", "Ingress", "cluster")?;
        Some(config.pointer("/spec/domain")?.as_str()?.to_owned())
    };
    let about = "Host names of the applications. While both clusters run, a name can lead to one of them only.";
    let mut section = waiting("host", names, about, |name| format!("NEW.{name}"));
    if let Some((from, to)) = domain(source).zip(target.and_then(domain)) {
        let below = format!(".{from}");
        let count = names.keys().filter(|name| name.ends_with(&below)).count();
        if count > 0 && from != to {
            section.lines.retain(|line| !line.from.ends_with(&below));
            let line = Line {
                from: format!("*.{from}"),
                to: format!("*.{to}"),
                why: format!(
                    "{}; the application domains of both clusters",
                    plural(count, "host")
                ),
                active: true,
            };
            section.lines.insert(0, line);
        }
    }
    section
}

/// Namespaces: a name that is taken on B is for the user to judge.
pub(super) fn namespaces(names: &Counts, target: Option<&Surface>) -> Section {
    let about = "Namespaces. Those that are not mapped keep their names.";
    let mut section = waiting("namespace", names, about, |name| format!("{name}-new"));
    for line in &mut section.lines {
        if let Some(target) = target {
            line.why
                .push_str(match target.find("", "Namespace", &line.from) {
                    Some(_) => "; there is one of this name on the target",
                    None => "; the name is free on the target",
                });
        }
    }
    section
}

/// A section of lines that wait for the user.
fn waiting(key: &'static str, names: &Counts, about: &str, to: impl Fn(&str) -> String) -> Section {
    let line = |(name, count): (&String, &usize)| Line {
        from: name.clone(),
        to: to(name),
        why: in_objects(*count),
        active: false,
    };
    let lines: Vec<Line> = names.iter().map(line).collect();
    let about = match lines.is_empty() {
        true => Vec::new(),
        false => vec![about.to_owned()],
    };
    Section { key, about, lines }
}

fn in_objects(count: usize) -> String {
    format!("in {}", plural(count, "object"))
}
