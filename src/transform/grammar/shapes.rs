//! The table: every map of a recipe, and what each of its keys says.

use super::chosen as more;
use super::{Form, Key, Need, Shape};
use crate::transform::hooks;
use crate::transform::parse::{API_VERSION, KIND, OPERATIONS};
use crate::transform::variables::Kind;

pub(super) const TEXTS: Form = Form::List(&Form::Text);
pub(super) const TEXT_OR_TEXTS: Form = Form::Either(&[Form::Text, TEXTS]);
pub(super) const PAIRS: Form = Form::Map(&Form::Text);

/// A key that must be there.
pub(super) const fn must(name: &'static str, form: Form, about: &'static str) -> Key {
    key(name, Need::Must, form, about)
}

/// A key that may be absent.
pub(super) const fn may(name: &'static str, form: Form, about: &'static str) -> Key {
    key(name, Need::May, form, about)
}

pub(super) const fn key(name: &'static str, need: Need, form: Form, about: &'static str) -> Key {
    Key {
        name,
        need,
        form,
        about,
    }
}

/// A transform of an entry.
const fn transform(name: &'static str, shape: &'static Shape, about: &'static str) -> Key {
    key(name, Need::One, Form::Shape(shape), about)
}

pub(in crate::transform) static RECIPE: Shape = Shape {
    id: "recipe",
    what: "a recipe",
    keys: &[
        must(
            "apiVersion",
            Form::Word(|| vec![API_VERSION]),
            "The version of the format.",
        ),
        must("kind", Form::Word(|| vec![KIND]), "What the file is."),
        must(
            "metadata",
            Form::Shape(&METADATA),
            "What the recipe is called.",
        ),
        may(
            "variables",
            Form::Map(&Form::Shape(&VARIABLE)),
            "Values the user gives; `${name}` stands for one.",
        ),
        key(
            "include",
            Need::Some,
            Form::List(&Form::Either(&[Form::Text, Form::Shape(&INCLUDE)])),
            "Recipes that act together with this one: files as seen from it, or `builtin:NAME`.",
        ),
        key(
            "transforms",
            Need::Some,
            Form::List(&Form::Shape(&ENTRY)),
            "What must be different on the target.",
        ),
        key(
            "hooks",
            Need::Some,
            Form::List(&Form::Shape(&HOOK)),
            "Commands in the application's own containers.",
        ),
    ],
};

pub(in crate::transform) static HOOK: Shape = Shape {
    id: "hook",
    what: "a hook",
    keys: &[
        must(
            "name",
            Form::Text,
            "What it is called in plans and journals.",
        ),
        must(
            "when",
            Form::Word(|| names(&hooks::MOMENTS)),
            "On the source before its workloads are held, or on the target after its own are released.",
        ),
        must(
            "select",
            Form::Shape(&SELECT),
            "The workloads in whose pods it runs, as they are on the source.",
        ),
        may(
            "pods",
            Form::Word(|| names(&hooks::PODS)),
            "All pods of the workload, or the first in order of name; all when absent.",
        ),
        may(
            "container",
            Form::Text,
            "The container; the pod's default, else its first, when absent.",
        ),
        must(
            "command",
            TEXTS,
            "The program and its arguments; no shell reads them.",
        ),
        may(
            "timeout",
            Form::Text,
            "How long it may take in one pod, as in 5m; 30s when absent.",
        ),
        may(
            "onError",
            Form::Word(|| names(&hooks::ON_ERROR)),
            "Whether a failure stops what comes after it; fail when absent.",
        ),
        may(
            "waitFor",
            Form::Word(|| names(&hooks::WAIT_FOR)),
            "On the target, whether the workload is ready before or the container only runs; ready when absent.",
        ),
        may(
            "optional",
            Form::Flag,
            "Whether it may select nothing; false when absent.",
        ),
    ],
};

/// The words of a list.
fn names<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

pub(in crate::transform) static METADATA: Shape = Shape {
    id: "metadata",
    what: "metadata",
    keys: &[
        must(
            "name",
            Form::Text,
            "The recipe's name, in changes and errors.",
        ),
        may("description", Form::Text, "What it is for."),
    ],
};

pub(in crate::transform) static VARIABLE: Shape = Shape {
    id: "variable",
    what: "a variable",
    keys: &[
        must(
            "type",
            Form::Word(|| Kind::NAMES.iter().map(|(name, _)| *name).collect()),
            "What it may hold.",
        ),
        may(
            "default",
            Form::Any,
            "What it holds when nobody says otherwise; without it a value must be given.",
        ),
        may("description", Form::Text, "What it is for."),
    ],
};

pub(in crate::transform) static INCLUDE: Shape = Shape {
    id: "include",
    what: "an include",
    keys: &[
        must(
            "recipe",
            Form::Text,
            "A file as seen from this one, or `builtin:NAME`.",
        ),
        may(
            "values",
            Form::Map(&Form::Any),
            "Values for its variables; the user's win over them.",
        ),
    ],
};

pub(in crate::transform) static ENTRY: Shape = Shape {
    id: "entry",
    what: "a transform",
    keys: &[
        may(
            "name",
            Form::Text,
            "What the entry is called in changes and errors.",
        ),
        may(
            "optional",
            Form::Flag,
            "Whether it may match nothing; false when absent.",
        ),
        may(
            "override",
            Form::Flag,
            "Whether it may set again what another entry set; false when absent.",
        ),
        transform(
            "storageClass",
            &more::STORAGE_CLASS,
            "T-1: names of storage classes.",
        ),
        transform(
            "volumeSnapshotClass",
            &more::SNAPSHOT_CLASS,
            "T-1: names of volume snapshot classes.",
        ),
        transform(
            "volumeAttributesClass",
            &more::ATTRIBUTES_CLASS,
            "T-1: names of volume attributes classes.",
        ),
        transform("registry", &more::REGISTRY, "T-2: where images are."),
        transform(
            "names",
            &more::NAMES,
            "T-3: names of objects, and everything that refers to them.",
        ),
        transform(
            "namespace",
            &NAMESPACE,
            "T-4: names of namespaces, and everything that refers to them.",
        ),
        transform("host", &HOST, "T-5: names of hosts."),
        transform(
            "ingressClass",
            &more::INGRESS_CLASS,
            "T-6: names of ingress classes.",
        ),
        transform(
            "gatewayClass",
            &more::GATEWAY_CLASS,
            "T-6: names of gateway classes.",
        ),
        transform(
            "priorityClass",
            &more::PRIORITY_CLASS,
            "T-6: names of priority classes.",
        ),
        transform(
            "runtimeClass",
            &more::RUNTIME_CLASS,
            "T-6: names of runtime classes.",
        ),
        transform(
            "secretStore",
            &more::SECRET_STORE,
            "T-10: names of cluster secret stores.",
        ),
        transform("scheduling", &more::SCHEDULING, "T-6: where pods may run."),
        transform(
            "exposure",
            &more::EXPOSURE,
            "T-6: how Services are reached from outside.",
        ),
        transform("scale", &more::SCALE, "T-7: numbers of replicas."),
        transform(
            "resources",
            &more::RESOURCES,
            "T-7: what containers ask for.",
        ),
        transform("volumes", &more::VOLUMES, "T-8: sizes and modes of claims."),
        transform("text", &more::TEXT, "T-9: configuration text."),
        transform(
            "secrets",
            &more::SECRETS,
            "T-10: secrets to scrub and to set.",
        ),
        transform(
            "endpoint",
            &more::ENDPOINT,
            "T-11: addresses outside the clusters.",
        ),
        transform(
            "clusterDomain",
            &more::CLUSTER_DOMAIN,
            "T-11: the clusters' own DNS domains.",
        ),
        transform("labels", &LABELS, "T-12: labels to set and to remove."),
        transform(
            "annotations",
            &ANNOTATIONS,
            "T-12: annotations to set and to remove.",
        ),
        transform(
            "cloneGuard",
            &more::CLONE_GUARD,
            "T-13: a copy that can do no harm.",
        ),
        transform(
            "convert",
            &more::CONVERT,
            "OpenShift's kinds as those of plain Kubernetes.",
        ),
        transform(
            "leaveOut",
            &more::LEAVE_OUT,
            "Objects that stay on the source.",
        ),
        transform("patch", &PATCH, "Anything else, by hand."),
    ],
};

pub(in crate::transform) static NAMESPACE: Shape = Shape {
    id: "namespace",
    what: "namespace",
    keys: &[must(
        "map",
        PAIRS,
        "Namespaces of the source, and what they become.",
    )],
};

pub(in crate::transform) static HOST: Shape = Shape {
    id: "host",
    what: "host",
    keys: &[must(
        "map",
        PAIRS,
        "Hosts, or `*.domain`, and what they become.",
    )],
};

pub(in crate::transform) static LABELS: Shape = Shape {
    id: "labels",
    what: "labels",
    keys: MARKS,
};

pub(in crate::transform) static ANNOTATIONS: Shape = Shape {
    id: "annotations",
    what: "annotations",
    keys: MARKS,
};

const MARKS: &[Key] = &[
    may(
        "select",
        Form::Shape(&SELECT),
        "Which objects; all when absent.",
    ),
    key("set", Need::Some, PAIRS, "Keys and the values they get."),
    key("remove", Need::Some, TEXTS, "Keys to remove."),
    may(
        "pods",
        Form::Flag,
        "Whether pod templates get them too; false when absent.",
    ),
];

pub(in crate::transform) static PATCH: Shape = Shape {
    id: "patch",
    what: "patch",
    keys: &[
        must(
            "select",
            Form::Shape(&SELECT),
            "Which objects; the patch must fit each of them.",
        ),
        key(
            "jsonPatch",
            Need::One,
            Form::List(&Form::Shape(&OPERATION)),
            "Operations of RFC 6902.",
        ),
        key(
            "merge",
            Need::One,
            Form::Map(&Form::Any),
            "A merge patch of RFC 7386: null removes.",
        ),
        key(
            "strategic",
            Need::One,
            Form::Map(&Form::Any),
            "A strategic merge patch: lists of known kinds merge by their keys.",
        ),
    ],
};

pub(in crate::transform) static OPERATION: Shape = Shape {
    id: "operation",
    what: "an operation",
    keys: &[
        must("op", Form::Word(|| OPERATIONS.to_vec()), "What to do."),
        must(
            "path",
            Form::Text,
            "Where: an RFC 6901 pointer, or a pattern such as /spec/ports[]/port.",
        ),
        may("from", Form::Text, "Where from, for `move` and `copy`."),
        may(
            "value",
            Form::Any,
            "The value, for `add`, `replace` and `test`.",
        ),
    ],
};

pub(in crate::transform) static SELECT: Shape = Shape {
    id: "select",
    what: "select",
    keys: &[
        key(
            "group",
            Need::Some,
            TEXT_OR_TEXTS,
            "API groups; '' is the core group.",
        ),
        key(
            "kind",
            Need::Some,
            TEXT_OR_TEXTS,
            "Kinds, as in Deployment.",
        ),
        key(
            "name",
            Need::Some,
            TEXT_OR_TEXTS,
            "Names; * stands for any characters, ? for one.",
        ),
        key(
            "namespace",
            Need::Some,
            TEXT_OR_TEXTS,
            "Namespaces on the source, with the same signs.",
        ),
        key(
            "labels",
            Need::Some,
            PAIRS,
            "Labels with these very values.",
        ),
        key(
            "fields",
            Need::Some,
            Form::Map(&FIELD),
            "Paths, and what must stand there.",
        ),
        key(
            "cel",
            Need::Some,
            Form::Text,
            "An expression of `object` and `vars` that must be true.",
        ),
    ],
};

/// What must stand in a field: this value, one of these, or as the test says.
const FIELD: Form = Form::Either(&[Form::Shape(&FIELD_TEST), Form::List(&Form::Any), Form::Any]);

pub(in crate::transform) static FIELD_TEST: Shape = Shape {
    id: "fieldTest",
    what: "the test of a field",
    keys: &[
        may("in", Form::List(&Form::Any), "One of these must be there."),
        may(
            "notIn",
            Form::List(&Form::Any),
            "None of these may be there.",
        ),
        may("exists", Form::Flag, "Whether the field is there at all."),
    ],
};
