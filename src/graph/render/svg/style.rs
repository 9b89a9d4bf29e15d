//! What colours and lines mean.

use crate::graph::{Phase, Strength};
use crate::object::ObjectId;

/// What sort of thing an object is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Access,
    Config,
    Storage,
    Workload,
    Network,
    Custom,
    Cluster,
}

/// All of them, in the order of the legend.
pub(super) const FAMILIES: [Family; 7] = [
    Family::Workload,
    Family::Config,
    Family::Storage,
    Family::Network,
    Family::Access,
    Family::Cluster,
    Family::Custom,
];

impl Family {
    /// The family of an object. Kubernetes' and OpenShift's own kinds are sorted by what they do;
    /// whatever they do not define is custom.
    pub(super) fn of(id: &ObjectId) -> Self {
        match (id.group.as_str(), id.kind.as_str()) {
            ("", "ConfigMap" | "Secret") => Self::Config,
            ("", "PersistentVolumeClaim" | "PersistentVolume")
            | ("storage.k8s.io" | "snapshot.storage.k8s.io", _) => Self::Storage,
            ("", "Service" | "Endpoints")
            | (
                "networking.k8s.io"
                | "discovery.k8s.io"
                | "route.openshift.io"
                | "gateway.networking.k8s.io",
                _,
            ) => Self::Network,
            ("", "ServiceAccount")
            | (
                "rbac.authorization.k8s.io"
                | "authorization.openshift.io"
                | "security.openshift.io",
                _,
            ) => Self::Access,
            ("", "Pod" | "PodTemplate" | "ReplicationController")
            | ("apps" | "batch" | "autoscaling" | "policy" | "apps.openshift.io", _) => {
                Self::Workload
            }
            ("", _)
            | (
                "apiextensions.k8s.io"
                | "scheduling.k8s.io"
                | "node.k8s.io"
                | "admissionregistration.k8s.io"
                | "apiregistration.k8s.io",
                _,
            ) => Self::Cluster,
            _ => Self::Custom,
        }
    }

    /// In the legend.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Config => "configuration",
            Self::Storage => "storage",
            Self::Workload => "workload",
            Self::Network => "network",
            Self::Custom => "custom resource",
            Self::Cluster => "cluster and policy",
        }
    }

    /// Line and fill.
    pub(super) fn colours(self) -> (&'static str, &'static str) {
        match self {
            Self::Workload => ("#0969da", "#ddf4ff"),
            Self::Config => ("#9a6700", "#fff8c5"),
            Self::Storage => ("#8250df", "#fbefff"),
            Self::Network => ("#1a7f37", "#dafbe1"),
            Self::Access => ("#bf3989", "#ffeff7"),
            Self::Custom => ("#bc4c00", "#fff1e5"),
            Self::Cluster => ("#57606a", "#f3f4f6"),
        }
    }
}

/// Line and fill of what is missing.
pub(super) const MISSING: (&str, &str) = ("#cf222e", "#ffebe9");

/// Line and fill of what is on the target.
pub(super) const ON_TARGET: (&str, &str) = ("#8c959f", "#eceff2");

/// The class of a line of some strength, as the style sheet knows it.
pub(super) fn class(strength: Strength) -> &'static str {
    match strength {
        Strength::H => "h",
        Strength::R => "r",
        Strength::S => "s",
        Strength::N => "n",
        Strength::P => "p",
    }
}

/// Strengths and what the legend says about them.
pub(super) const STRENGTHS: [(Strength, &str); 5] = [
    (Strength::H, "must be ready first"),
    (Strength::R, "needed to run"),
    (Strength::S, "soft order"),
    (Strength::N, "refers to, no order"),
    (Strength::P, "its controller makes it"),
];

/// What a phase is called.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Cluster => "cluster",
        Phase::Skeleton => "skeleton",
        Phase::Storage => "storage",
        Phase::Workload => "workload",
        Phase::Release => "release",
        Phase::Exposure => "exposure",
    }
}

/// The style sheet. Nothing in it is fetched from anywhere.
pub(super) const SHEET: &str = "\
text{font-family:'Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif;fill:#1f2328}\
.title{font-size:18px;font-weight:700}.sub{font-size:12px;fill:#57606a}\
.phase{font-size:12px;font-weight:700;fill:#57606a;letter-spacing:.04em}.wave{font-size:10px;fill:#6e7781}\
.band{font-size:12px;font-weight:700;fill:#57606a}\
.kind{font-size:9.5px;fill:#57606a}.name{font-size:12px;font-weight:700}.key{font-size:11px;fill:#424a53}\
.e{fill:none;stroke-linecap:round}.h{stroke-width:2.2}.r{stroke-width:1.2}\
.s{stroke-width:1.3;stroke-dasharray:6 4}.n{stroke-width:1.2;stroke-dasharray:.5 4;opacity:.75}\
.p{stroke-width:1.3;stroke-dasharray:2 3}\
.e:hover{stroke-width:3.5;opacity:1}";
