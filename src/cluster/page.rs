//! One page of a list, read straight into objects.
//!
//! API servers write a list's metadata, and in it the token that asks for the next page, before its
//! items. It is handed on as soon as it is read, so that the next page is on its way while the objects
//! of this one are still parsed. Nothing depends on that order: a token that comes last is handed on last.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::object::Object;
use crate::surface::ApiResource;

/// What lists of built-in kinds leave out of their items.
#[derive(Clone, Debug)]
pub(super) struct ItemType {
    api_version: String,
    kind: String,
}

impl ItemType {
    pub(super) fn of(resource: &ApiResource) -> Self {
        Self {
            api_version: resource.api_version(),
            kind: resource.kind.clone(),
        }
    }

    fn complete(&self, mut item: Map<String, Value>) -> Map<String, Value> {
        for (key, text) in [("apiVersion", &self.api_version), ("kind", &self.kind)] {
            item.entry(key).or_insert_with(|| text.as_str().into());
        }
        item
    }
}

/// Reads a page. The token of the next one goes to `next`; a last page drops it unused.
///
/// # Errors
/// When the body is no list of objects.
pub(super) fn read(
    body: &[u8],
    items: &ItemType,
    next: oneshot::Sender<String>,
) -> Result<Vec<Object>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let page = Page {
        items,
        next: Some(next),
    };
    let objects = page.deserialize(&mut reader)?;
    reader.end()?;
    Ok(objects)
}

struct Page<'a> {
    items: &'a ItemType,
    next: Option<oneshot::Sender<String>>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Page<'_> {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Page<'_> {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut list: M) -> Result<Self::Value, M::Error> {
        let mut objects = None;
        while let Some(key) = list.next_key::<String>()? {
            match key.as_str() {
                "metadata" => {
                    let meta: Option<ListMeta> = list.next_value()?;
                    let token = meta.and_then(|meta| meta.token);
                    let token = token.filter(|token| !token.is_empty());
                    if let (Some(token), Some(next)) = (token, self.next.take()) {
                        // Nobody waits for it when the listing was given up.
                        drop(next.send(token));
                    }
                }
                "items" => objects = Some(list.next_value_seed(Items(self.items))?),
                _ => drop(list.next_value::<IgnoredAny>()?),
            }
        }
        objects.ok_or_else(|| M::Error::missing_field("items"))
    }
}

struct Items<'a>(&'a ItemType);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    /// Some servers write an empty list so.
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Self::Value, S::Error> {
        let mut objects = Vec::new();
        while let Some(item) = items.next_element()? {
            let item = Value::Object(self.0.complete(item));
            let object = Object::new(item).map_err(S::Error::custom)?;
            // Everything after asks for its name; here its values are still in the processor's cache,
            // and the next page is on its way meanwhile.
            object.id();
            objects.push(object);
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> (Result<Vec<Object>, serde_json::Error>, Option<String>) {
        let items = ItemType {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
        };
        let (next, mut token) = oneshot::channel();
        let objects = read(body.as_bytes(), &items, next);
        (objects, token.try_recv().ok())
    }

    #[test]
    fn items_are_whole_and_the_next_page_is_named_wherever_the_metadata_stands() {
        for body in [
            r#"{"kind":"List","metadata":{"continue":"two","x":1},"items":[{"metadata":{"name":"a"}}]}"#,
            r#"{"items":[{"metadata":{"name":"a"}}],"metadata":{"continue":"two"},"more":[{}]}"#,
        ] {
            let (objects, token) = page(body);
            assert_eq!(objects.unwrap()[0].id().to_string(), "ConfigMap a");
            assert_eq!(token.as_deref(), Some("two"));
        }
    }

    #[test]
    fn an_item_that_says_what_it_is_keeps_its_word() {
        let (objects, _) = page(
            r#"{"metadata":{},"items":[{"apiVersion":"a.b/v2","kind":"C","metadata":{"name":"a"}}]}"#,
        );
        assert_eq!(objects.unwrap()[0].id().to_string(), "C.a.b a");
    }

    #[test]
    fn a_last_page_names_none_and_may_be_empty() {
        for body in [
            r#"{"metadata":{"continue":""},"items":null}"#,
            r#"{"metadata":{},"items":[]}"#,
            r#"{"metadata":null,"items":[]}"#,
            r#"{"items":[]}"#,
        ] {
            let (objects, token) = page(body);
            assert_eq!((objects.unwrap().len(), token), (0, None));
        }
    }

    #[test]
    fn what_is_no_list_of_objects_is_refused() {
        for body in [
            "<html>",
            "[]",
            r#"{"metadata":{}}"#,
            r#"{"items":[7]}"#,
            r#"{"items":[{}]}"#,
            r#"{"items":[]} {}"#,
            r#"{"items":[{"metadata":{"name":"a"}}"#,
        ] {
            assert!(page(body).0.is_err(), "{body}");
        }
    }
}
