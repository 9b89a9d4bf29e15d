//! The table as a JSON Schema: editors complete recipes with it and mark what is wrong.
//!
//! Draft 7, which every editor's YAML support understands. It knows forms and not meanings: that a
//! name is one a cluster would take, or that a path is a path, only `ferry recipe lint` tells.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Form, Need, RECIPE, Shape};

/// Stands where a variable may: `${name}` and nothing else.
const VARIABLE: &str = "variableReference";

/// The schema of recipes.
pub fn schema() -> Value {
    let mut writer = Writer::default();
    writer.shape(&RECIPE, false);
    let mut definitions: Map<String, Value> = writer.definitions.into_iter().collect();
    definitions.insert(
        VARIABLE.into(),
        json!({
            "description": "The value of a variable.",
            "type": "string",
            "pattern": r"^\$\{[A-Za-z][A-Za-z0-9_]*\}$",
        }),
    );
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Ferry recipe",
        "allOf": [reference(RECIPE.id)],
        "definitions": definitions,
    })
}

#[derive(Default)]
struct Writer {
    definitions: BTreeMap<String, Value>,
}

impl Writer {
    /// Writes a shape among the definitions, once, and refers to it.
    fn shape(&mut self, shape: &Shape, variables: bool) -> Value {
        if !self.definitions.contains_key(shape.id) {
            // Taken before it is known: a shape may hold itself.
            self.definitions.insert(shape.id.into(), Value::Null);
            let written = self.map(shape, variables);
            self.definitions.insert(shape.id.into(), written);
        }
        reference(shape.id)
    }

    fn map(&mut self, shape: &Shape, variables: bool) -> Value {
        let mut properties = Map::new();
        for key in shape.keys {
            // Variables are put in below these two and nowhere else.
            let variables = variables || ["include", "transforms"].contains(&key.name);
            let form = self.form(&key.form, variables);
            let described = json!({"description": key.about, "allOf": [form]});
            properties.insert(key.name.into(), described);
        }
        let mut map = json!({
            "type": "object",
            "additionalProperties": false,
            "required": shape.of_need(Need::Must),
            "properties": properties,
        });
        for (need, word) in [(Need::One, "oneOf"), (Need::Some, "anyOf")] {
            let names = shape.of_need(need);
            if !names.is_empty() {
                let names = names.iter().map(|name| json!({"required": [name]}));
                map[word] = names.collect();
            }
        }
        map
    }

    /// `variables`: whether `${name}` may stand for the whole.
    fn form(&mut self, form: &Form, variables: bool) -> Value {
        let written = match form {
            Form::Text => return json!({"type": "string"}),
            Form::Any => return json!({}),
            Form::Either(forms) => {
                let forms = forms.iter().map(|form| self.form(form, variables));
                return json!({"anyOf": forms.collect::<Vec<_>>()});
            }
            Form::Number => json!({"type": "integer", "minimum": 0}),
            Form::Flag => json!({"type": "boolean"}),
            Form::Word(words) => json!({"enum": words()}),
            Form::List(form) => json!({"type": "array", "items": self.form(form, variables)}),
            Form::Map(form) => {
                json!({"type": "object", "additionalProperties": self.form(form, variables)})
            }
            Form::Shape(shape) => self.shape(shape, variables),
        };
        match variables {
            true => json!({"anyOf": [written, reference(VARIABLE)]}),
            false => written,
        }
    }
}

fn reference(id: &str) -> Value {
    json!({"$ref": format!("#/definitions/{id}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BLESS=1 cargo test --lib transform::grammar` writes the file anew.
    #[test]
    fn the_committed_schema_is_current() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/docs/reference/recipe.schema.json"
        );
        let text = format!("{:#}\n", schema());
        if std::env::var_os("BLESS").is_some() {
            return std::fs::write(file, text).unwrap();
        }
        assert!(
            std::fs::read_to_string(file).unwrap() == text,
            "docs/reference/recipe.schema.json is old; BLESS=1 writes it anew"
        );
    }

    /// Whether the schema allows a recipe.
    fn allows(recipe: &Value) -> Result<(), String> {
        const URL: &str = "https://ferry.dev/recipe.schema.json";
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler.add_resource(URL, schema()).unwrap();
        let index = compiler.compile(URL, &mut schemas).unwrap();
        schemas
            .validate(recipe, index)
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_recipe_of_the_repository_validates() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = vec![root.join("examples/shop/recipe.yaml")];
        for case in std::fs::read_dir(root.join("tests/golden")).unwrap() {
            files.push(case.unwrap().path().join("recipe.yaml"));
        }
        for file in std::fs::read_dir(root.join("transforms/recipes")).unwrap() {
            let path = file.unwrap().path();
            files.extend(
                path.extension()
                    .is_some_and(|end| end == "yaml")
                    .then_some(path),
            );
        }
        for file in files.into_iter().filter(|file| file.exists()) {
            let recipe = crate::yaml::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
            allows(&recipe).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }

    #[test]
    fn what_the_parser_refuses_for_its_form_the_schema_refuses_too() {
        let head = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\n";
        let good = "transforms: [{scale: {replicas: 1}, optional: true}]";
        for (body, allowed) in [
            (good, true),
            (
                "transforms: [{scale: {replicas: '${n}'}}]\nvariables: {n: {type: integer}}",
                true,
            ),
            ("include: ['builtin:prod-to-staging']", true),
            ("transforms: [{scale: {replicas: one}}]", false),
            ("transforms: [{scale: {replica: 1}}]", false),
            ("transforms: [{optional: true}]", false),
            ("transforms: [{namespace: {}}]", false),
            (
                "transforms: [{patch: {select: {kind: A}, merge: {a: 1}, jsonPatch: []}}]",
                false,
            ),
            ("transforms: []\nvariables: {n: {type: float}}", false),
            ("{}", false),
        ] {
            let text = match body {
                "{}" => body.to_owned(),
                body => format!("{head}{body}\n"),
            };
            let recipe = crate::yaml::parse(&text).unwrap();
            assert_eq!(allows(&recipe).is_ok(), allowed, "{body}");
        }
    }
}
