//! The only door to YAML, set to read as `kubectl` reads and to write what `kubectl` reads back.
//!
//! ```text
//! text ──parse──▶ serde_json::Value ──emit──▶ text      parse(emit(v)) = v, for kubectl's parser too
//! ```
//!
//! `kubectl` speaks YAML 1.1: `yes` is true and `0644` is 420. A reader or writer with another opinion
//! changes values without a word, so both directions are fixed here (docs/design/0001) and nothing
//! else in Ferry names the YAML crate. Duplicate keys, infinities and alias bombs are refused.

mod json;
pub mod located;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why text is not the YAML that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The text is not well-formed, holds a key twice in one map, or is unreasonably large.
    #[error("read YAML")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// The text holds more or fewer documents than the one expected.
    #[error("expected one YAML document, found {0}")]
    Documents(usize),
    /// The values do not have the expected form.
    #[error("read the YAML value at {path}")]
    Shape {
        /// Where, as in `rows[3].path`.
        path: String,
        /// What is wrong there.
        #[source]
        cause: serde_json::Error,
    },
    /// The value cannot be written.
    #[error("write YAML")]
    Emit(#[source] Box<serde_saphyr::ser::Error>),
}

/// How much a text may hold before it is refused.
#[derive(Clone, Copy)]
enum Budget {
    /// A file a person wrote.
    User,
    /// What Ferry itself stored, sealed: as large as a cluster.
    Stored,
}

/// Reads the one document of a file a person wrote.
///
/// # Errors
/// When the text is not well-formed, or does not hold exactly one document that is not empty.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    one(documents(text, Budget::User)?)
}

/// Reads every document of a file a person wrote; empty documents are left out.
///
/// # Errors
/// When the text is not well-formed.
pub fn parse_all(text: &str) -> Result<Vec<Value>, YamlError> {
    documents(text, Budget::User)
}

/// Reads every document of a text Ferry wrote, however large; empty documents are left out.
///
/// # Errors
/// When the text is not well-formed.
pub fn parse_stored(text: &str) -> Result<Vec<Value>, YamlError> {
    documents(text, Budget::Stored)
}

/// Reads one document into a type, naming the place of the first value that does not fit.
///
/// # Errors
/// When the text is not one well-formed document of that type.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let value = one(documents(text, Budget::Stored)?)?;
    serde_path_to_error::deserialize(value).map_err(|error| YamlError::Shape {
        path: error.path().to_string(),
        cause: error.into_inner(),
    })
}

/// Writes one document, with a newline at its end.
///
/// # Errors
/// When the value cannot be written as YAML; no JSON value is known that cannot.
pub fn emit(value: &Value) -> Result<String, YamlError> {
    let options = serde_saphyr::ser_options! {
        // A folded line moves when a word changes before it; diffs must stay line by line.
        folded_wrap_chars: usize::MAX,
        prefer_block_scalars: !begins_with_tab(value),
    };
    let mut text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| YamlError::Emit(Box::new(error)))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Whether a text of several lines in the value begins with a tab: as a block it would be refused by
/// `kubectl`, whose parser finds the block's indentation out from its first line and takes no tab for it.
fn begins_with_tab(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.contains('\n') && text.trim_start_matches(['\n', ' ']).starts_with('\t')
        }
        Value::Array(items) => items.iter().any(begins_with_tab),
        Value::Object(map) => map.values().any(begins_with_tab),
        _ => false,
    }
}

/// Writes several documents, separated by `---`.
///
/// # Errors
/// When a value cannot be written as YAML.
pub fn emit_all<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<String, YamlError> {
    let mut text = String::new();
    for value in values {
        text.push_str("---\n");
        text.push_str(&emit(value)?);
    }
    Ok(text)
}

fn one(mut documents: Vec<Value>) -> Result<Value, YamlError> {
    match (documents.pop(), documents.len()) {
        (Some(value), 0) => Ok(value),
        (None, _) => Err(YamlError::Documents(0)),
        (Some(_), before) => Err(YamlError::Documents(before + 1)),
    }
}

fn documents(text: &str, budget: Budget) -> Result<Vec<Value>, YamlError> {
    if let Some(value) = json::parse(text) {
        return Ok(vec![value]);
    }
    let mut documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options(budget))
        .map_err(|error| YamlError::Syntax(Box::new(error)))?;
    documents.retain(|value| !value.is_null());
    Ok(documents)
}

fn options(budget: Budget) -> serde_saphyr::Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        emit_comments: false,
        budget: match budget {
            Budget::User => Some(serde_saphyr::Budget::default()),
            // A capture of 100,000 objects of 100 nodes each, ten times over.
            Budget::Stored => serde_saphyr::budget! {
                max_reader_input_bytes: None,
                max_events: usize::MAX,
                max_nodes: usize::MAX,
                max_documents: 1_000_000,
                max_total_scalar_bytes: usize::MAX,
                max_depth: 256,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Strings that some reader takes for something else, or some writer breaks.
    fn awkward() -> Vec<String> {
        serde_json::from_str(include_str!("../tests/fixtures/awkward-strings.json")).unwrap()
    }

    #[test]
    fn reads_what_kubectl_reads() {
        let text = "a: yes\nb: 0644\nc: 'yes'\nd: ~\ne: 1e3\nf: 0x1F\ng: off\nh: 0o17\ni: n\n";
        assert_eq!(
            parse(text).unwrap(),
            json!({"a": true, "b": 420, "c": "yes", "d": null, "e": 1000.0, "f": 31,
                   "g": false, "h": 15, "i": false}),
        );
    }

    #[test]
    fn a_number_of_many_digits_is_the_same_one_in_json_and_in_yaml() {
        for number in [
            "44444444444444444444444444444444441",
            "1.2345678901234567890123e30",
        ] {
            let json: Value = serde_json::from_str(number).unwrap();
            assert_eq!(parse(&format!("a: {number}")).unwrap()["a"], json);
            assert_eq!(json.as_f64(), number.parse().ok());
        }
    }

    #[test]
    fn awkward_strings_come_back_as_values_and_as_keys() {
        let list = json!(awkward());
        assert_eq!(parse(&emit(&list).unwrap()).unwrap(), list);
        let map: serde_json::Map<_, _> = awkward()
            .into_iter()
            .map(|text| (text.clone(), json!(text)))
            .collect();
        let map = Value::Object(map);
        assert_eq!(parse(&emit(&map).unwrap()).unwrap(), map);
    }

    #[test]
    fn a_long_line_stays_one_line() {
        let value = json!({"text": "word ".repeat(60)});
        assert_eq!(emit(&value).unwrap().lines().count(), 1);
    }

    #[test]
    fn documents_are_counted_and_empty_ones_left_out() {
        let text = "---\n---\na: 1\n---\n# nothing\n---\nb: 2\n";
        assert_eq!(parse_all(text).unwrap(), [json!({"a": 1}), json!({"b": 2})]);
        assert!(matches!(parse(text), Err(YamlError::Documents(2))));
        assert!(matches!(parse(""), Err(YamlError::Documents(0))));
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        assert!(matches!(parse("a: 1\na: 2\n"), Err(YamlError::Syntax(_))));
    }

    #[test]
    fn a_misfit_names_its_place() {
        let error = read::<Vec<std::collections::BTreeMap<String, u8>>>("- a: 1\n- b: x\n");
        assert_eq!(
            error.unwrap_err().to_string(),
            "read the YAML value at [1].b"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
            "[ \\n\\t:#-]{0,6}[a-z\\n ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let wrapped = json!({"value": value});
            prop_assert_eq!(parse(&emit(&wrapped).unwrap()).unwrap(), wrapped);
        }
    }
}
