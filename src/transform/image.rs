//! Image references, parsed: `nginx` and `docker.io/library/nginx` are one image.
//!
//! Rewriting by substring changes what it should not and misses short names. A reference is taken
//! apart as container engines do: the first component is a registry when it has a dot, a colon, or is
//! `localhost`; otherwise the registry is Docker Hub, and a name of one component is in `library`.

use std::fmt;

/// Where short names live.
const HUB: &str = "docker.io";

/// The longest repository name engines accept.
const LONGEST: usize = 255;

/// A parsed image reference. Tag and digest are kept as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// Registry host and optional port.
    pub registry: String,
    /// Repository in that registry, `library/` included.
    pub repository: String,
    /// `:tag` and `@digest` as written; empty when there is neither.
    pub suffix: String,
    /// Whether the text named its registry.
    pub explicit: bool,
}

impl ImageRef {
    /// Takes a reference apart; `None` when the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) if is_digest(digest) => (name, format!("@{digest}")),
            Some(_) => return None,
            None => (text, String::new()),
        };
        let (path, tag) = match name.rsplit_once(':') {
            // A colon before the last slash belongs to a port.
            Some((path, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return None;
                }
                (path, format!(":{tag}"))
            }
            _ => (name, String::new()),
        };
        let (registry, repository, explicit) = split(path)?;
        Some(Self {
            registry,
            repository,
            suffix: format!("{tag}{digest}"),
            explicit,
        })
    }

    /// The reference under another prefix, if this one is under `from`.
    pub fn moved(&self, from: &Prefix, to: &Prefix) -> Option<String> {
        let rest = from.rest(self)?;
        let path: Vec<&str> = [to.path.as_str(), rest]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        (!path.is_empty()).then(|| format!("{}/{}{}", to.registry, path.join("/"), self.suffix))
    }
}

/// A registry, or a registry and the beginning of a repository path, cut at a slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// Registry host and optional port.
    pub registry: String,
    /// Leading components of the repository; empty for the whole registry.
    pub path: String,
}

impl Prefix {
    /// Reads a prefix. The error says what is wrong with it and is an instruction.
    ///
    /// # Errors
    /// When it has a scheme, a tag or digest, an upper-case letter, or does not name its registry.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("leave the scheme (`https://`) out".into());
        }
        if text.contains('@') {
            return Err("leave the digest out; it stays as it is".into());
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let (registry, path) = text.split_once('/').unwrap_or((text, ""));
        if !is_registry(registry) {
            return Err(format!(
                "name the registry too, as in `{HUB}/{text}` or `{HUB}/library/{text}`"
            ));
        }
        if path.contains(':') {
            return Err("leave the tag out; it stays as it is".into());
        }
        if !path.is_empty() && !is_repository(path) {
            return Err(
                "use lower-case letters, digits and `.`, `_`, `-` between them in each part".into(),
            );
        }
        Ok(Self {
            registry: canonical(registry),
            path: path.into(),
        })
    }

    /// Length in components' characters: of two prefixes that fit, the longer one counts.
    pub fn weight(&self) -> usize {
        self.registry.len() + self.path.len()
    }

    /// What of the repository comes after this prefix; `None` when the image is not under it.
    pub fn rest<'a>(&self, image: &'a ImageRef) -> Option<&'a str> {
        if self.registry != image.registry {
            return None;
        }
        if self.path.is_empty() {
            return Some(&image.repository);
        }
        match image.repository.strip_prefix(&self.path)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.registry)?;
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        Ok(())
    }
}

fn split(path: &str) -> Option<(String, String, bool)> {
    let (registry, repository, explicit) = match path.split_once('/') {
        Some((first, rest)) if is_registry(first) => (canonical(first), rest.to_owned(), true),
        Some(_) => (HUB.to_owned(), path.to_owned(), false),
        None => (HUB.to_owned(), format!("library/{path}"), false),
    };
    let repository = match registry.as_str() {
        HUB if !repository.contains('/') => format!("library/{repository}"),
        _ => repository,
    };
    is_repository(&repository).then_some((registry, repository, explicit))
}

/// Docker Hub answers to several names.
fn canonical(registry: &str) -> String {
    match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => HUB.into(),
        other => other.to_ascii_lowercase(),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "1"));
    let named = text.contains('.') || text.contains(':') || text == "localhost";
    named
        && port.parse::<u16>().is_ok()
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn is_repository(text: &str) -> bool {
    text.len() <= LONGEST
        && text.split('/').all(|part| {
            let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
            edge(part.bytes().next())
                && edge(part.bytes().last())
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
                })
        })
}

fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(image: &str, from: &str, to: &str) -> Option<String> {
        ImageRef::parse(image)?.moved(&Prefix::parse(from).unwrap(), &Prefix::parse(to).unwrap())
    }

    #[test]
    fn t_2_a_short_name_is_in_docker_hubs_library() {
        assert_eq!(
            moved("nginx", "docker.io", "r.b:5000/hub").as_deref(),
            Some("r.b:5000/hub/library/nginx")
        );
        assert_eq!(
            moved("bitnami/redis:7", "index.docker.io/bitnami", "r.b/x").as_deref(),
            Some("r.b/x/redis:7")
        );
    }

    #[test]
    fn t_2_tag_and_digest_are_kept() {
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(
            moved(
                &format!("r.a:5000/shop/web:1@{digest}"),
                "r.a:5000/shop",
                "r.b/s"
            ),
            Some(format!("r.b/s/web:1@{digest}"))
        );
    }

    #[test]
    fn t_2_a_prefix_ends_at_a_slash() {
        assert_eq!(moved("r.a/shopping/web", "r.a/shop", "r.b"), None);
        assert_eq!(moved("r.ab/shop", "r.a", "r.b"), None);
    }

    #[test]
    fn t_2_a_prefix_may_be_the_whole_repository() {
        assert_eq!(
            moved("r.a/shop/web:1", "r.a/shop/web", "r.b/front").as_deref(),
            Some("r.b/front:1")
        );
    }

    #[test]
    fn what_is_not_an_image_is_left_alone() {
        for text in [
            "",
            "Hello World",
            "http://r.a/x",
            "r.a/Shop",
            "a=b",
            "r.a/x@sha256:12",
            "-x",
        ] {
            assert_eq!(ImageRef::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_prefix_must_name_its_registry_and_nothing_more() {
        assert!(
            Prefix::parse("nginx")
                .unwrap_err()
                .contains("docker.io/nginx")
        );
        assert!(Prefix::parse("https://r.a").unwrap_err().contains("scheme"));
        assert!(Prefix::parse("r.a/web:1").unwrap_err().contains("tag"));
        assert!(Prefix::parse("r.a/Web").is_err());
        assert!(Prefix::parse("localhost:5000").is_ok());
    }
}
