//! Host names and wildcard domains.

use std::fmt;

/// The longest name DNS accepts.
const LONGEST: usize = 253;

/// A host name, or every name directly or indirectly below a domain (`*.apps.example.com`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    /// The name, or the domain below the star, in lower case.
    pub name: String,
    /// Whether it stands for everything below `name`.
    pub wildcard: bool,
}

impl HostPattern {
    /// Reads `host` or `*.domain`. The error is an instruction.
    ///
    /// # Errors
    /// When it is not a DNS name: with a scheme, port, path, a star elsewhere, or a bad label.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err("write the host only, without scheme and path".into());
        }
        if text.contains(':') {
            return Err("leave the port out; it stays as it is".into());
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        let name = name.to_ascii_lowercase();
        if !is_dns_name(&name) {
            return Err(
                "write labels of letters, digits and `-`, joined by dots; a star only as the whole \
                 first label"
                    .into(),
            );
        }
        Ok(Self { name, wildcard })
    }

    /// The host on B, if this pattern is about `host`. Case is ignored, as DNS does.
    ///
    /// A wildcard host such as `*.apps.a` in an Ingress is matched by the same wildcard pattern.
    pub fn moved(&self, to: &Self, host: &str) -> Option<String> {
        let host = host.to_ascii_lowercase();
        if !self.wildcard {
            return (host == self.name).then(|| to.to_string());
        }
        let label = host.strip_suffix(&self.name)?.strip_suffix('.')?;
        (!label.is_empty()).then(|| format!("{label}.{}", to.name))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        f.write_str(&self.name)
    }
}

/// Whether the text is a lower-case DNS name (RFC 1123).
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= LONGEST && text.split('.').all(is_dns_label)
}

/// Whether the text is a lower-case DNS label (RFC 1123), as names of namespaces are.
pub fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(from: &str, to: &str, host: &str) -> Option<String> {
        HostPattern::parse(from)
            .unwrap()
            .moved(&HostPattern::parse(to).unwrap(), host)
    }

    #[test]
    fn t_5_a_host_is_matched_whole() {
        assert_eq!(moved("a.x", "b.x", "A.x").as_deref(), Some("b.x"));
        assert_eq!(moved("a.x", "b.x", "aa.x"), None);
        assert_eq!(moved("a.x", "b.x", "www.a.x"), None);
    }

    #[test]
    fn t_5_a_wildcard_moves_everything_below_its_domain() {
        let map = |host| moved("*.apps.a", "*.apps.b", host);
        assert_eq!(map("shop.apps.a").as_deref(), Some("shop.apps.b"));
        assert_eq!(map("x.y.apps.a").as_deref(), Some("x.y.apps.b"));
        assert_eq!(map("*.apps.a").as_deref(), Some("*.apps.b"));
        assert_eq!(map("apps.a"), None);
        assert_eq!(map("shopapps.a"), None);
    }

    #[test]
    fn what_is_not_a_host_is_refused_with_an_instruction() {
        assert!(
            HostPattern::parse("https://a.x")
                .unwrap_err()
                .contains("scheme")
        );
        assert!(HostPattern::parse("a.x:8080").unwrap_err().contains("port"));
        assert!(HostPattern::parse("a.*.x").is_err());
        assert!(HostPattern::parse("a..x").is_err());
    }
}
