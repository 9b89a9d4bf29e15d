//! What these tests make objects of, and how they look at what came out.

use super::*;

pub(super) fn all(values: Vec<Value>) -> Vec<Object> {
    let objects = values.into_iter().map(Object::new);
    objects.map(|object| object.unwrap()).collect()
}

pub(super) fn deployment(pod: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}},
    })
}

pub(super) fn config(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data})
}

pub(super) fn secret(kind: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": "s", "namespace": "n"}, "data": data})
}

pub(super) fn at<'o>(done: &'o Transformed, index: usize, path: &str) -> &'o Value {
    done.objects[index].pointer(path).unwrap_or(&Value::Null)
}

pub(super) fn messages(done: &Transformed) -> Vec<&str> {
    done.findings
        .iter()
        .map(|one| one.message.as_str())
        .collect()
}
