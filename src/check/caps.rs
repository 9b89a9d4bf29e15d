//! C-55: sizes the API server refuses, some of them without a dry run noticing.

use std::io::{self, Write};

use serde_json::Value;

use crate::finding::{Finding, Verdict};
use crate::object::Object;

/// Keys and values of all annotations together.
const ANNOTATIONS: usize = 256 << 10;
/// Keys' values of a Secret or ConfigMap.
const DATA: usize = 1 << 20;
/// What etcd stores for one object; not found by a dry run.
const OBJECT: usize = 3 << 19;

pub(super) fn check(object: &Object, findings: &mut Vec<Finding>) {
    // Most objects are far from every limit, which a look at their texts shows.
    if at_most(object.value()) <= ANNOTATIONS {
        return;
    }
    let annotations: usize = object
        .annotations()
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let data = data_size(object);
    let whole = length(object.value());
    let sizes = [
        (
            "/metadata/annotations",
            "annotations",
            annotations,
            ANNOTATIONS,
        ),
        ("/data", "data", data, DATA),
        ("", "whole", whole, OBJECT),
    ];
    for (path, what, size, limit) in sizes {
        if size > limit {
            let message =
                format!("the object is too large for an API server: {what} of {size} bytes");
            findings.push(
                Finding::new(Verdict::Block, "C-55", message)
                    .on(object.id())
                    .at(path)
                    .because(format!("the limit is {limit} bytes"))
                    .remedy("split the object, or leave the large part out with a patch"),
            );
        }
    }
}

/// No fewer than the bytes of the JSON text: a letter takes six at most, a number fewer than thirty.
fn at_most(value: &Value) -> usize {
    match value {
        Value::String(text) => 6 * text.len() + 2,
        Value::Array(items) => items.iter().map(|item| at_most(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, child)| 6 * key.len() + 4 + at_most(child));
            entries.sum::<usize>() + 2
        }
        _ => 30,
    }
}

/// Bytes of the JSON text, which is not made.
fn length(value: &Value) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Maps with string keys have a JSON form, and counting takes every byte.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

fn data_size(object: &Object) -> usize {
    if !(object.is("", "Secret") || object.is("", "ConfigMap")) {
        return 0;
    }
    let size = |key: &str, number: usize, of: usize| {
        let values = object.pointer(key).and_then(Value::as_object);
        let texts = values.into_iter().flat_map(|map| map.values());
        texts
            .filter_map(Value::as_str)
            .map(|text| text.len() * number / of)
            .sum::<usize>()
    };
    // Base64 holds three bytes in four letters.
    match object.kind() {
        "Secret" => size("/data", 3, 4),
        _ => size("/data", 1, 1) + size("/binaryData", 3, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};
    use serde_json::json;

    #[test]
    fn c_55_each_limit_blocks() {
        let mut large = object("v1", "ConfigMap", "shop/a", "{}");
        large.value_mut()["data"] = json!({"x": "x".repeat((1 << 20) + 1)});
        let mut marked = object("v1", "Service", "shop/b", "{}");
        marked.value_mut()["metadata"]["annotations"] = json!({"x": "x".repeat(256 << 10)});
        Case::new(vec![large, marked]).expect(&[
            "block C-55 ConfigMap shop/a /data: the object is too large for an API server: data of 1048577 bytes",
            "block C-55 Service shop/b /metadata/annotations: the object is too large for an API server: annotations of 262145 bytes",
        ]);
    }
}
