//! How a name is written at a place: rewriting the name and leaving everything around it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::convert::INTERNAL;
use super::image::ImageRef;
use crate::knowledge::targets::Form;

/// A function from a name to its new name; `None` leaves it.
pub(super) type Renamer<'a> = dyn FnMut(&str) -> Option<String> + 'a;

/// The text with its names replaced; `None` when nothing changes.
///
/// [`Form::KeyPrefix`] is about a key, not a text: see [`rekey`].
pub(super) fn rewrite(form: Form, text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    match form {
        Form::Plain | Form::Registry => rename(text),
        Form::List => items(text, rename),
        Form::Slash => slash(text, rename),
        Form::SlashList => items(text, &mut |item| slash(item, rename)),
        Form::KeyPrefix => None,
        Form::Subject => subject(text, rename),
        Form::Principal => principal(text, rename),
        Form::Url => url(text, rename),
        Form::ExplicitImage => {
            let image = ImageRef::parse(text)?;
            if image.explicit { rename(text) } else { None }
        }
        Form::DockerUrl => {
            let image = text.strip_prefix("docker://")?;
            Some(format!("docker://{}", rename(image)?))
        }
        Form::DockerConfig => docker_config(text, rename),
        Form::HostRule => quoted(text, rename),
        Form::JsonNamespace => json_namespace(text, rename),
        Form::TrackingId => {
            let (before, place) = text.rsplit_once(':')?;
            Some(format!("{before}:{}", slash(place, rename)?))
        }
        Form::UrlList => items(text, &mut |item| url(item, rename)),
        Form::InternalImage => internal(text, rename),
        Form::AfterSlash => {
            let (namespace, name) = text.split_once('/')?;
            Some(format!("{namespace}/{}", rename(name)?))
        }
        Form::Domain => Some(rename(&format!("*.{text}"))?.strip_prefix("*.")?.to_owned()),
        Form::KustomizeImage => kustomize(text, rename),
        // Not names in a text alone: see `inside`, `places` and `secrets`.
        Form::ImageSource | Form::Repository | Form::Base64 | Form::NamedValue | Form::Pem => None,
    }
}

/// The key of a map under which the name stands, and what it becomes there.
pub(super) fn inside(
    form: Form,
    map: &Map<String, Value>,
    rename: &mut Renamer<'_>,
) -> Option<(&'static str, String)> {
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    match form {
        Form::ImageSource => {
            let image = text("name").filter(|_| text("kind") == Some("DockerImage"))?;
            Some(("name", rename(image)?))
        }
        Form::KustomizeImage => Some(("newName", rename(text("newName").or(text("name"))?)?)),
        _ => None,
    }
}

/// What the sources in Git say stays on the left, what it becomes stands on the right.
fn kustomize(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    if let Some((name, image)) = text.split_once('=') {
        return Some(format!("{name}={}", rename(image)?));
    }
    let image = rename(text)?;
    let end = text.find('@').unwrap_or(text.len());
    let end = match text[..end].rfind(':') {
        // A colon before the last slash belongs to a port.
        Some(colon) if !text[colon..end].contains('/') => colon,
        _ => end,
    };
    Some(format!("{}={image}", &text[..end]))
}

/// `registry/namespace/stream…`, when the registry is OpenShift's own.
fn internal(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let registry = INTERNAL
        .iter()
        .find(|registry| text.starts_with(**registry))?;
    let (namespace, rest) = text[registry.len()..].strip_prefix('/')?.split_once('/')?;
    Some(format!("{registry}/{}/{rest}", rename(namespace)?))
}

/// The key `name.…` with its name replaced.
pub(super) fn rekey(key: &str, suffix: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let at = key.find(suffix)?;
    Some(format!("{}{}", rename(&key[..at])?, &key[at..]))
}

fn items(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let mut changed = false;
    let parts: Vec<String> = text
        .split(',')
        .map(|part| {
            let name = part.trim();
            match rename(name) {
                Some(new) => {
                    changed = true;
                    // Blanks around a name stay.
                    part.replacen(name, &new, 1)
                }
                None => part.to_owned(),
            }
        })
        .collect();
    changed.then(|| parts.join(","))
}

fn slash(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let (namespace, rest) = text.split_once('/')?;
    Some(format!("{}/{rest}", rename(namespace)?))
}

fn subject(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    if let Some(rest) = text.strip_prefix("system:serviceaccount:") {
        let (namespace, account) = rest.split_once(':')?;
        return Some(format!(
            "system:serviceaccount:{}:{account}",
            rename(namespace)?
        ));
    }
    let namespace = text.strip_prefix("system:serviceaccounts:")?;
    Some(format!("system:serviceaccounts:{}", rename(namespace)?))
}

fn principal(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let (trust, rest) = text.split_once("/ns/")?;
    let (namespace, rest) = rest.split_once('/')?;
    Some(format!("{trust}/ns/{}/{rest}", rename(namespace)?))
}

fn url(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host_from = authority.rfind('@').map_or(0, |at| at + 1);
    let host_to = authority[host_from..]
        .find(':')
        .map_or(authority.len(), |at| host_from + at);
    let new = rename(&authority[host_from..host_to])?;
    let (user, port) = (&authority[..host_from], &authority[host_to..]);
    Some(format!("{scheme}://{user}{new}{port}{path}"))
}

/// Names in back quotes, as Traefik writes them.
fn quoted(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let mut changed = false;
    let parts: Vec<String> = text
        .split('`')
        .enumerate()
        .map(|(number, part)| match number % 2 {
            1 => rename(part)
                .inspect(|_| changed = true)
                .unwrap_or_else(|| part.to_owned()),
            _ => part.to_owned(),
        })
        .collect();
    changed.then(|| parts.join("`"))
}

fn docker_config(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let mut config: Value = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
    let auths = config.get_mut("auths")?.as_object_mut()?;
    let mut changed = false;
    let renamed: Map<String, Value> = std::mem::take(auths)
        .into_iter()
        .map(|(registry, login)| match rename(&registry) {
            Some(new) => {
                changed = true;
                (new, login)
            }
            None => (registry, login),
        })
        .collect();
    *auths = renamed;
    changed.then(|| STANDARD.encode(config.to_string()))
}

fn json_namespace(text: &str, rename: &mut Renamer<'_>) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let changed = walk_namespaces(&mut value, rename);
    changed.then(|| value.to_string())
}

fn walk_namespaces(value: &mut Value, rename: &mut Renamer<'_>) -> bool {
    let mut changed = false;
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if let (true, Value::String(name)) = (key == "namespace", &*child)
                    && let Some(new) = rename(name)
                {
                    *child = Value::String(new);
                    changed = true;
                } else {
                    changed |= walk_namespaces(child, rename);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                changed |= walk_namespaces(item, rename);
            }
        }
        _ => {}
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(form: Form, text: &str) -> Option<String> {
        rewrite(form, text, &mut |name| {
            (name == "shop").then(|| "new".to_owned())
        })
    }

    #[test]
    fn each_form_changes_the_name_and_nothing_else() {
        let cases = [
            (Form::Plain, "shop", Some("new")),
            (Form::Plain, "shop2", None),
            (Form::List, "a, shop ,b", Some("a, new ,b")),
            (Form::Slash, "shop/db", Some("new/db")),
            (Form::Slash, "shop", None),
            (Form::SlashList, "x,shop/net@eth1", Some("x,new/net@eth1")),
            (
                Form::Subject,
                "system:serviceaccount:shop:web",
                Some("system:serviceaccount:new:web"),
            ),
            (
                Form::Subject,
                "system:serviceaccounts:shop",
                Some("system:serviceaccounts:new"),
            ),
            (Form::Subject, "shop", None),
            (
                Form::Principal,
                "cluster.local/ns/shop/sa/web",
                Some("cluster.local/ns/new/sa/web"),
            ),
            (
                Form::Url,
                "https://u@shop:8443/shop?a=shop",
                Some("https://u@new:8443/shop?a=shop"),
            ),
            (Form::Url, "shop/x", None),
            (Form::AfterSlash, "shop/shop", Some("shop/new")),
            (Form::AfterSlash, "shop", None),
            (
                Form::HostRule,
                "Host(`shop`) && Path(`/shop`)",
                Some("Host(`new`) && Path(`/shop`)"),
            ),
            (
                Form::JsonNamespace,
                r#"[{"from":{"namespace":"shop","name":"shop"}}]"#,
                Some(r#"[{"from":{"name":"shop","namespace":"new"}}]"#),
            ),
        ];
        for (form, before, after) in cases {
            assert_eq!(shop(form, before).as_deref(), after, "{form:?} {before}");
        }
    }

    #[test]
    fn t_2_an_image_of_a_kustomization_keeps_the_name_git_knows() {
        let mut to_b = |name: &str| name.strip_prefix("r.a").map(|rest| format!("r.b{rest}"));
        let mut moved = |text: &str| rewrite(Form::KustomizeImage, text, &mut to_b);
        assert_eq!(moved("web=r.a/web:2").as_deref(), Some("web=r.b/web:2"));
        assert_eq!(
            moved("r.a:5000/web:2").as_deref(),
            Some("r.a:5000/web=r.b:5000/web:2")
        );
        assert_eq!(
            moved("r.a/web@sha256:1").as_deref(),
            Some("r.a/web=r.b/web@sha256:1")
        );
        assert_eq!(moved("web=q.a/web"), None);
    }

    #[test]
    fn t_10_credentials_follow_their_registry() {
        let before = STANDARD.encode(r#"{"auths":{"shop":{"auth":"x"}}}"#);
        let after = shop(Form::DockerConfig, &before).unwrap();
        assert_eq!(
            STANDARD.decode(after).unwrap(),
            br#"{"auths":{"new":{"auth":"x"}}}"#
        );
        assert_eq!(shop(Form::DockerConfig, "not base64!"), None);
    }

    #[test]
    fn a_quota_key_keeps_what_follows_the_class() {
        let mut rename = |name: &str| (name == "a.b").then(|| "c".to_owned());
        assert_eq!(
            rekey(
                "a.b.storageclass.storage.k8s.io/x",
                ".storageclass.storage.k8s.io/",
                &mut rename
            )
            .as_deref(),
            Some("c.storageclass.storage.k8s.io/x")
        );
        assert_eq!(
            rekey("pods", ".storageclass.storage.k8s.io/", &mut rename),
            None
        );
    }
}
