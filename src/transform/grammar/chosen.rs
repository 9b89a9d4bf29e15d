//! The table's second half: transforms that choose for the objects they select, and the classes.

use super::shapes::{PAIRS, SELECT, TEXT_OR_TEXTS, TEXTS, key, may, must};
use super::{Form, Key, Need, Shape};

/// Which objects an entry is about.
const WHICH: Key = may(
    "select",
    Form::Shape(&SELECT),
    "Which objects; all when absent.",
);

/// A transform that is one map.
const fn class(id: &'static str, keys: &'static [Key]) -> Shape {
    Shape { id, what: id, keys }
}

const NAMES_OF_CLASSES: &[Key] = &[must(
    "map",
    PAIRS,
    "Classes of the source, and what they become; '' is no storage class.",
)];

pub(in crate::transform) static STORAGE_CLASS: Shape = class("storageClass", NAMES_OF_CLASSES);
pub(in crate::transform) static SNAPSHOT_CLASS: Shape =
    class("volumeSnapshotClass", NAMES_OF_CLASSES);
pub(in crate::transform) static ATTRIBUTES_CLASS: Shape =
    class("volumeAttributesClass", NAMES_OF_CLASSES);
pub(in crate::transform) static INGRESS_CLASS: Shape = class("ingressClass", NAMES_OF_CLASSES);
pub(in crate::transform) static GATEWAY_CLASS: Shape = class("gatewayClass", NAMES_OF_CLASSES);
pub(in crate::transform) static PRIORITY_CLASS: Shape = class("priorityClass", NAMES_OF_CLASSES);
pub(in crate::transform) static RUNTIME_CLASS: Shape = class("runtimeClass", NAMES_OF_CLASSES);
pub(in crate::transform) static SECRET_STORE: Shape = class(
    "secretStore",
    &[must(
        "map",
        PAIRS,
        "Cluster secret stores of the source, and what they become.",
    )],
);

pub(in crate::transform) static ENDPOINT: Shape = class(
    "endpoint",
    &[must(
        "map",
        PAIRS,
        "Hosts outside, or host:port, and what they become in text.",
    )],
);

pub(in crate::transform) static CLUSTER_DOMAIN: Shape = class(
    "clusterDomain",
    &[must(
        "map",
        PAIRS,
        "DNS domains of clusters, as in cluster.local, and what they become in text.",
    )],
);

pub(in crate::transform) static REGISTRY: Shape = class(
    "registry",
    &[
        key(
            "map",
            Need::Some,
            PAIRS,
            "Registries, or registries and the beginning of a path, and what they become.",
        ),
        key(
            "digests",
            Need::Some,
            PAIRS,
            "Digests of images that are others after they were copied.",
        ),
    ],
);

pub(in crate::transform) static NAMES: Shape = class(
    "names",
    &[
        WHICH,
        must("map", PAIRS, "Names on the source, and what they become."),
    ],
);

pub(in crate::transform) static SCALE: Shape = class(
    "scale",
    &[
        WHICH,
        key(
            "replicas",
            Need::Some,
            Form::Number,
            "How many replicas they get.",
        ),
        key(
            "autoscaler",
            Need::Some,
            Form::Shape(&AUTOSCALER),
            "Bounds of the autoscalers of these workloads.",
        ),
    ],
);

pub(in crate::transform) static AUTOSCALER: Shape = class(
    "autoscaler",
    &[
        key("min", Need::Some, Form::Number, "The fewest replicas."),
        key("max", Need::Some, Form::Number, "The most replicas."),
    ],
);

const QUANTITY: Form = Form::Either(&[Form::Text, Form::Number]);

pub(in crate::transform) static RESOURCES: Shape = class(
    "resources",
    &[
        WHICH,
        may(
            "containers",
            TEXT_OR_TEXTS,
            "Names of containers, * and ? allowed; all when absent.",
        ),
        key(
            "requests",
            Need::Some,
            Form::Map(&Form::Any),
            "Requests to set, as in {cpu: 100m}; null removes.",
        ),
        key(
            "limits",
            Need::Some,
            Form::Map(&Form::Any),
            "Limits to set; null removes.",
        ),
        key(
            "max",
            Need::Some,
            Form::Map(&QUANTITY),
            "What neither a request nor a limit may exceed.",
        ),
        key(
            "quotas",
            Need::Some,
            Form::Flag,
            "Whether ResourceQuotas follow what their namespaces ask for; false when absent.",
        ),
    ],
);

pub(in crate::transform) static SCHEDULING: Shape = class(
    "scheduling",
    &[
        WHICH,
        key(
            "nodeLabels",
            Need::Some,
            PAIRS,
            "Labels of nodes, key or key=value, in selectors, affinity and topology.",
        ),
        key(
            "taints",
            Need::Some,
            PAIRS,
            "Keys of taints that pods tolerate.",
        ),
        key("schedulerName", Need::Some, PAIRS, "Names of schedulers."),
        key(
            "remove",
            Need::Some,
            TEXTS,
            "Fields of pods to take out, as in nodeSelector.",
        ),
    ],
);

pub(in crate::transform) static EXPOSURE: Shape = class(
    "exposure",
    &[
        WHICH,
        key(
            "type",
            Need::Some,
            PAIRS,
            "Types of Services, and what they become.",
        ),
        key(
            "cloud",
            Need::Some,
            Form::Shape(&CLOUD),
            "Annotations of one cloud go; another's take their place.",
        ),
    ],
);

pub(in crate::transform) static CLOUD: Shape = class(
    "cloud",
    &[
        must("from", Form::Text, "Whose annotations go."),
        may(
            "to",
            Form::Text,
            "Who reads what takes their place; nobody when absent.",
        ),
    ],
);

pub(in crate::transform) static VOLUMES: Shape = class(
    "volumes",
    &[
        WHICH,
        key(
            "size",
            Need::Some,
            Form::Either(&[Form::Text, Form::Shape(&SIZE)]),
            "The size of claims, or bounds of it.",
        ),
        key(
            "accessModes",
            Need::Some,
            PAIRS,
            "Access modes, and what they become.",
        ),
        key("volumeMode", Need::Some, Form::Text, "Filesystem or Block."),
    ],
);

pub(in crate::transform) static SIZE: Shape = class(
    "size",
    &[
        key("min", Need::Some, Form::Text, "No smaller than this."),
        key("max", Need::Some, Form::Text, "No larger than this."),
    ],
);

pub(in crate::transform) static TEXT: Shape = class(
    "text",
    &[
        WHICH,
        may(
            "in",
            TEXTS,
            "config, env, args, secrets; without it and `paths` the first three.",
        ),
        may("paths", TEXTS, "More places, by path."),
        must(
            "replace",
            Form::List(&Form::Shape(&REPLACEMENT)),
            "What becomes what, all at once.",
        ),
    ],
);

pub(in crate::transform) static REPLACEMENT: Shape = Shape {
    id: "replacement",
    what: "a replacement",
    keys: &[
        key("find", Need::One, Form::Text, "Text, taken as it is."),
        key("regex", Need::One, Form::Text, "A regular expression."),
        must(
            "with",
            Form::Text,
            "What takes its place; $1 is a group of a regular expression.",
        ),
        may(
            "max",
            Form::Number,
            "How often it may be found in all; more is a mistake.",
        ),
    ],
};

pub(in crate::transform) static SECRETS: Shape = class(
    "secrets",
    &[
        WHICH,
        may(
            "keys",
            TEXT_OR_TEXTS,
            "Which keys, * and ? allowed; all when absent.",
        ),
        key(
            "scrub",
            Need::Some,
            Form::Word(|| crate::transform::secrets::MODES.to_vec()),
            "What every value becomes.",
        ),
        may(
            "seed",
            VALUE,
            "What `random` and `hash` are derived from; keep it secret.",
        ),
        key(
            "set",
            Need::Some,
            Form::Map(&GIVEN),
            "Keys of Secrets, and the values they get.",
        ),
    ],
);

/// A value, or where the target's own operator finds it.
const GIVEN: Form = Form::Either(&[Form::Text, Form::Shape(&SENSITIVE), Form::Shape(&ELSEWHERE)]);

pub(in crate::transform) static ELSEWHERE: Shape = Shape {
    id: "elsewhere",
    what: "a value in a store of secrets",
    keys: &[must(
        "externalSecret",
        Form::Shape(&EXTERNAL),
        "Where the External Secrets operator of the target reads it.",
    )],
};

pub(in crate::transform) static EXTERNAL: Shape = Shape {
    id: "externalSecret",
    what: "externalSecret",
    keys: &[
        must("store", Form::Text, "The name of the store."),
        may(
            "kind",
            Form::Word(|| crate::transform::secrets::STORES.to_vec()),
            "What the store is; ClusterSecretStore when absent.",
        ),
        must(
            "key",
            Form::Text,
            "The secret in the store, as in apps/shop.",
        ),
        may("property", Form::Text, "One value of that secret."),
    ],
};

/// A text, or where one comes from.
const VALUE: Form = Form::Either(&[Form::Text, Form::Shape(&SENSITIVE)]);

pub(in crate::transform) static SENSITIVE: Shape = Shape {
    id: "sensitive",
    what: "a value",
    keys: &[
        key("value", Need::One, Form::Text, "The value itself."),
        key(
            "env",
            Need::One,
            Form::Text,
            "A variable of the environment.",
        ),
        key(
            "file",
            Need::One,
            Form::Text,
            "A file, as seen from the recipe.",
        ),
    ],
};

pub(in crate::transform) static CLONE_GUARD: Shape = class(
    "cloneGuard",
    &[
        WHICH,
        may("except", TEXTS, "Precautions that are not taken."),
        may(
            "allow",
            TEXTS,
            "Networks that pods may reach, as in 10.0.0.0/8.",
        ),
    ],
);

pub(in crate::transform) static CONVERT: Shape = class(
    "convert",
    &[
        WHICH,
        key(
            "routes",
            Need::Some,
            Form::Shape(&ROUTES),
            "What routes become.",
        ),
        key(
            "deploymentConfigs",
            Need::Some,
            Form::Shape(&CONVERTED),
            "What deployment configs become.",
        ),
        key(
            "imageStreams",
            Need::Some,
            Form::Shape(&CONVERTED),
            "What references to image streams become.",
        ),
    ],
);

pub(in crate::transform) static CONVERTED: Shape = Shape {
    id: "converted",
    what: "a conversion",
    keys: &[must(
        "to",
        Form::Text,
        "Deployment for deployment configs, image for image streams.",
    )],
};

pub(in crate::transform) static ROUTES: Shape = class(
    "routes",
    &[
        must(
            "to",
            Form::Word(|| vec!["Ingress", "HTTPRoute"]),
            "The kind they become.",
        ),
        may("ingressClass", Form::Text, "The class of an Ingress."),
        may(
            "gateway",
            Form::Shape(&GATEWAY),
            "The Gateway of an HTTPRoute.",
        ),
    ],
);

pub(in crate::transform) static GATEWAY: Shape = class(
    "gateway",
    &[
        must("name", Form::Text, "Its name."),
        may(
            "namespace",
            Form::Text,
            "Its namespace; the route's when absent.",
        ),
        may("listener", Form::Text, "One listener of it."),
    ],
);

pub(in crate::transform) static LEAVE_OUT: Shape = class(
    "leaveOut",
    &[must(
        "select",
        Form::Shape(&SELECT),
        "Which objects stay on the source.",
    )],
);
