//! An evaluator for structural schemas, as CustomResourceDefinitions carry them.
//!
//! They are a dialect of their own: `nullable`, int-or-string, pruning of what no schema names,
//! defaults filled in on create. So an evaluator for JSON Schema would judge wrongly. This one tells
//! what the API server would say to one instance; `x-kubernetes-validations` (C-22) is left to the
//! dry run.

use regex::Regex;
use serde_json::Value;

use crate::object::pointer;

/// One thing the API server would object to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the instance, as an RFC 6901 pointer.
    pub path: String,
    /// What sort of objection.
    pub kind: ViolationKind,
    /// The words, a sentence without a full stop.
    pub message: String,
}

/// The sorts, each with its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ViolationKind {
    /// C-14: a required field is absent and has no default.
    Required,
    /// C-15: a value outside the enum.
    Enum,
    /// C-16: another type.
    Type,
    /// C-17: a limit on length, size, range or form.
    Limit,
    /// C-21: what a set or a list map may hold once is there twice.
    Duplicate,
    /// C-18: a field no schema names; it is dropped on create.
    Pruned,
}

impl ViolationKind {
    /// The rule's id.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Required => "C-14",
            Self::Enum => "C-15",
            Self::Type => "C-16",
            Self::Limit => "C-17",
            Self::Duplicate => "C-21",
            Self::Pruned => "C-18",
        }
    }
}

/// Judges a whole custom resource by the schema of its version. `apiVersion`, `kind`, `metadata` and
/// `status` are the server's business and are not looked at.
pub fn evaluate(instance: &Value, schema: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    let Value::Object(map) = instance else {
        return found;
    };
    let body: serde_json::Map<String, Value> = map
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    node(&Value::Object(body), schema, "", false, &mut found);
    found.retain(|violation| {
        // The server fills these in itself.
        !matches!(
            violation.path.as_str(),
            "/apiVersion" | "/kind" | "/metadata" | "/status"
        )
    });
    found
}

fn add(found: &mut Vec<Violation>, path: &str, kind: ViolationKind, message: String) {
    found.push(Violation {
        path: path.to_owned(),
        kind,
        message,
    });
}

/// `preserved`: an ancestor keeps unknown fields.
fn node(value: &Value, schema: &Value, path: &str, preserved: bool, found: &mut Vec<Violation>) {
    if value.is_null() {
        let nullable = schema["nullable"] == true || schema.get("type").is_none();
        // The server replaces a null by the default, or drops it where it may be absent.
        if !nullable && schema.get("default").is_none() {
            let wanted = schema["type"].as_str().unwrap_or_default();
            add(
                found,
                path,
                ViolationKind::Type,
                format!("null is not a value of type {wanted}"),
            );
        }
        return;
    }
    if !is_type(value, schema) {
        let wanted = match schema["x-kubernetes-int-or-string"] == true {
            true => "integer or string",
            false => schema["type"].as_str().unwrap_or_default(),
        };
        let message = format!("{} is not of type {wanted}", shown(value));
        add(found, path, ViolationKind::Type, message);
        return;
    }
    choices(value, schema, path, found);
    limits(value, schema, path, found);
    match value {
        Value::Object(map) => object(map, schema, path, preserved, found),
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    node(item, schema, &format!("{path}/{index}"), false, found);
                }
            }
        }
        _ => {}
    }
    combined(value, schema, path, found);
}

fn is_type(value: &Value, schema: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return is_integer(value) || value.is_string();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => is_integer(value),
        Some("number") => value.is_number(),
        _ => true,
    }
}

/// `1.0` is an integer too.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn choices(value: &Value, schema: &Value, path: &str, found: &mut Vec<Violation>) {
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let choices: Vec<String> = choices.iter().map(shown).collect();
        let message = format!("{} is not one of {}", shown(value), choices.join(", "));
        add(found, path, ViolationKind::Enum, message);
    }
}

fn object(
    map: &serde_json::Map<String, Value>,
    schema: &Value,
    path: &str,
    preserved: bool,
    found: &mut Vec<Violation>,
) {
    let keeps = preserved || schema["x-kubernetes-preserve-unknown-fields"] == true;
    let properties = schema["properties"].as_object();
    required(map, schema, path, found);
    for (key, child) in map {
        let path = pointer::join(path, key);
        let known = properties.and_then(|properties| properties.get(key));
        match (known, schema.get("additionalProperties")) {
            (Some(schema), _) => node(child, schema, &path, false, found),
            (None, Some(Value::Object(schema))) => {
                node(child, &Value::Object(schema.clone()), &path, false, found);
            }
            (None, Some(Value::Bool(true))) => {}
            (None, _) if keeps || embedded(schema, key) => {}
            (None, _) => add(
                found,
                &path,
                ViolationKind::Pruned,
                "no schema names this field; it would be dropped".into(),
            ),
        }
    }
}

/// An embedded object has these whether the schema says so or not.
fn embedded(schema: &Value, key: &str) -> bool {
    schema["x-kubernetes-embedded-resource"] == true
        && matches!(key, "apiVersion" | "kind" | "metadata")
}

fn required(
    map: &serde_json::Map<String, Value>,
    schema: &Value,
    path: &str,
    found: &mut Vec<Violation>,
) {
    for key in schema["required"].as_array().into_iter().flatten() {
        let Some(key) = key.as_str() else { continue };
        let default = schema["properties"][key].get("default");
        if !map.contains_key(key) && default.is_none() {
            let path = pointer::join(path, key);
            let message = "a value is required and there is no default".into();
            add(found, &path, ViolationKind::Required, message);
        }
    }
}

fn limits(value: &Value, schema: &Value, path: &str, found: &mut Vec<Violation>) {
    let mut refuse = |message: String| add(found, path, ViolationKind::Limit, message);
    let limit = |key: &str| schema[key].as_u64();
    let mut count = |size: usize, what: &str, least: &str, most: &str| {
        let size = size as u64;
        if let Some(least) = limit(least).filter(|least| size < *least) {
            refuse(format!("has {size} {what}, at least {least} are needed"));
        }
        if let Some(most) = limit(most).filter(|most| size > *most) {
            refuse(format!("has {size} {what}, at most {most} are allowed"));
        }
    };
    match value {
        Value::String(text) => {
            count(text.chars().count(), "characters", "minLength", "maxLength");
            patterns(text, schema, &mut refuse);
        }
        Value::Array(items) => count(items.len(), "elements", "minItems", "maxItems"),
        Value::Object(map) => count(map.len(), "entries", "minProperties", "maxProperties"),
        Value::Number(_) => range(value, schema, &mut refuse),
        _ => {}
    }
    // The server allows uniqueItems: false only; sets and maps say so otherwise.
    let items = value.as_array();
    if let Some(double) = items.and_then(|items| duplicate(items, schema)) {
        let message = format!("has {double} twice");
        add(found, path, ViolationKind::Duplicate, message);
    }
}

fn range(value: &Value, schema: &Value, refuse: &mut dyn FnMut(String)) {
    let Some(number) = value.as_f64() else { return };
    if let Some(least) = schema["minimum"].as_f64() {
        let exclusive = schema["exclusiveMinimum"] == true;
        if number < least || (exclusive && number <= least) {
            refuse(format!(
                "{value} is below the minimum {}",
                schema["minimum"]
            ));
        }
    }
    if let Some(most) = schema["maximum"].as_f64() {
        let exclusive = schema["exclusiveMaximum"] == true;
        if number > most || (exclusive && number >= most) {
            refuse(format!(
                "{value} is above the maximum {}",
                schema["maximum"]
            ));
        }
    }
    if let Some(step) = schema["multipleOf"].as_f64().filter(|step| *step > 0.0) {
        let parts = number / step;
        if (parts - parts.round()).abs() > 1e-9 {
            refuse(format!(
                "{value} is not a multiple of {}",
                schema["multipleOf"]
            ));
        }
    }
}

fn patterns(text: &str, schema: &Value, refuse: &mut dyn FnMut(String)) {
    let Some(pattern) = schema["pattern"].as_str() else {
        return;
    };
    // Go's syntax and Rust's differ in corners; what does not compile here is left to the dry run.
    if let Ok(regex) = Regex::new(pattern)
        && !regex.is_match(text)
    {
        refuse(format!(
            "{} does not match {pattern}",
            shown(&Value::from(text))
        ));
    }
}

/// C-21: an element a set or a list map holds twice.
fn duplicate(items: &[Value], schema: &Value) -> Option<String> {
    let keys: Vec<&str> = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Vec::new(),
        Some("map") => schema["x-kubernetes-list-map-keys"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect(),
        _ => return None,
    };
    let name = |item: &Value| match keys.is_empty() {
        true => item.to_string(),
        false => {
            let parts: Vec<String> = keys.iter().map(|key| item[*key].to_string()).collect();
            parts.join(", ")
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    items
        .iter()
        .map(name)
        .find(|name| !seen.insert(name.clone()))
}

/// `allOf`, `anyOf`, `oneOf` and `not` hold value checks only; fields are named outside of them.
fn combined(value: &Value, schema: &Value, path: &str, found: &mut Vec<Violation>) {
    let fits = |schema: &Value| {
        let mut inner = Vec::new();
        node(value, schema, path, true, &mut inner);
        inner.retain(|violation| violation.kind != ViolationKind::Pruned);
        inner
    };
    for schema in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(fits(schema));
    }
    let alternatives = |key: &str| schema[key].as_array().filter(|list| !list.is_empty());
    // int-or-string nodes carry an anyOf of the two types, which `is_type` judged already.
    if let Some(any) = alternatives("anyOf")
        && schema["x-kubernetes-int-or-string"] != true
        && !any.iter().any(|schema| fits(schema).is_empty())
    {
        add(
            found,
            path,
            ViolationKind::Limit,
            "fits none of the allowed forms (anyOf)".into(),
        );
    }
    if let Some(one) = alternatives("oneOf") {
        let count = one.iter().filter(|schema| fits(schema).is_empty()).count();
        if count != 1 {
            let message = format!("fits {count} of the allowed forms (oneOf), must fit one");
            add(found, path, ViolationKind::Limit, message);
        }
    }
    if let Some(not) = schema.get("not")
        && fits(not).is_empty()
    {
        add(
            found,
            path,
            ViolationKind::Limit,
            "has the form that is not allowed (not)".into(),
        );
    }
}

/// A value in a message: short, on one line.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(spec: Value, schema: Value) -> Vec<(String, &'static str)> {
        let schema = json!({"type": "object", "properties": {"spec": schema}});
        evaluate(
            &json!({"apiVersion": "x/v1", "kind": "X", "metadata": {}, "spec": spec}),
            &schema,
        )
        .into_iter()
        .map(|violation| (violation.path, violation.kind.rule()))
        .collect()
    }

    fn at(path: &str, rule: &'static str) -> Vec<(String, &'static str)> {
        vec![(path.to_owned(), rule)]
    }

    #[test]
    fn c_14_a_required_field_must_be_there_or_have_a_default() {
        let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string"}, "b": {"type": "string", "default": "x"},
            "c": {"type": "object", "required": ["d"], "properties": {"d": {"type": "string"}}}}});
        assert_eq!(judge(json!({}), schema.clone()), at("/spec/a", "C-14"));
        // Required inside an optional parent that is absent is fine; inside a present one it is not.
        assert_eq!(
            judge(json!({"a": "x", "c": {}}), schema),
            at("/spec/c/d", "C-14")
        );
    }

    #[test]
    fn c_15_a_value_outside_the_enum_is_refused() {
        let schema = json!({"type": "string", "enum": ["a", "b"]});
        assert_eq!(judge(json!("a"), schema.clone()), []);
        assert_eq!(judge(json!("c"), schema), at("/spec", "C-15"));
    }

    #[test]
    fn c_16_types_are_the_servers() {
        assert_eq!(judge(json!(1.0), json!({"type": "integer"})), []);
        assert_eq!(
            judge(json!("1"), json!({"type": "integer"})),
            at("/spec", "C-16")
        );
        let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
        assert_eq!(judge(json!("1"), either.clone()), []);
        assert_eq!(judge(json!(true), either), at("/spec", "C-16"));
        assert_eq!(
            judge(json!(null), json!({"type": "string"})),
            at("/spec", "C-16")
        );
        assert_eq!(
            judge(json!(null), json!({"type": "string", "nullable": true})),
            []
        );
        assert_eq!(
            judge(json!(null), json!({"type": "string", "default": "x"})),
            []
        );
    }

    #[test]
    fn c_17_limits_are_evaluated_on_the_instance() {
        let cases = [
            (json!("abc"), json!({"type": "string", "maxLength": 2})),
            (json!("abc"), json!({"type": "string", "pattern": "^a$"})),
            (
                json!([1, 2]),
                json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
            ),
            (
                json!({"a": 1}),
                json!({"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}}),
            ),
            (json!(5), json!({"type": "integer", "maximum": 4})),
            (
                json!(5),
                json!({"type": "integer", "minimum": 5, "exclusiveMinimum": true}),
            ),
            (json!(5), json!({"type": "integer", "multipleOf": 2})),
            (
                json!({"a": 1, "b": 1}),
                json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            ),
        ];
        for (value, schema) in cases {
            assert_eq!(judge(value.clone(), schema), at("/spec", "C-17"), "{value}");
        }
    }

    #[test]
    fn c_18_and_c_19_unknown_fields_are_dropped_unless_kept() {
        let schema = json!({"type": "object", "properties": {
            "known": {"type": "string"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"strict": {"type": "object", "properties": {}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}}}});
        let value = json!({"known": "x", "new": 1, "map": {"any": "x"},
            "free": {"any": {"thing": 1}, "strict": {"no": 1}}});
        let mut found = judge(value, schema);
        found.sort();
        assert_eq!(
            found,
            [
                ("/spec/free/strict/no".to_owned(), "C-18"),
                ("/spec/new".to_owned(), "C-18")
            ]
        );
    }

    #[test]
    fn c_21_what_a_list_map_or_a_set_holds_twice_is_refused() {
        let map = json!({"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
            "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}});
        let named = |two: &str| json!([{"name": "a", "value": "1"}, {"name": two, "value": "2"}]);
        assert_eq!(judge(named("b"), map.clone()), []);
        let twice = judge(named("a"), map);
        assert_eq!(
            twice.iter().map(|(_, rule)| *rule).collect::<Vec<_>>(),
            ["C-21"]
        );
        let set = json!({"type": "array", "x-kubernetes-list-type": "set",
            "items": {"type": "string"}});
        assert_eq!(judge(json!(["a", "b"]), set.clone()), []);
        assert_eq!(judge(json!(["a", "a"]), set).len(), 1);
    }
}
