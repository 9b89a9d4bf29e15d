//! T-11: addresses outside the clusters, as text names them: `db.prod.example:5432` becomes
//! `db.staging.example:5432`.

use std::fmt;

use super::host::is_dns_name;
use super::text::replace;

/// A host or address outside, and perhaps one port of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name or IP address, in lower case.
    pub host: String,
    /// The port; `None` for every port.
    pub port: Option<u16>,
}

impl Endpoint {
    /// Reads `host` or `host:port`. The error is an instruction.
    ///
    /// # Errors
    /// When it is neither a DNS name nor an IPv4 address, or the port is no number.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err("write the host and its port only, without scheme and path".into());
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => return Err("write the port as a number, as in `db.example:5432`".into()),
            },
            None => (text, None),
        };
        let host = host.to_ascii_lowercase();
        match is_dns_name(&host) {
            true => Ok(Self { host, port }),
            false => Err("write a DNS name or an IPv4 address".into()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Replaces endpoints in a text, whole words only. `rename` gives what an endpoint becomes; a line
/// with the port counts before one without.
pub(super) fn endpoints(
    text: &str,
    rename: &mut dyn FnMut(&Endpoint) -> Option<Endpoint>,
) -> Option<String> {
    replace(text, &mut |word, place| {
        let host = word.to_ascii_lowercase();
        let after = &text[place.end..];
        let digits = after.strip_prefix(':').map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_digit());
            &rest[..end.unwrap_or(rest.len())]
        });
        let port = digits.and_then(|digits| digits.parse().ok());
        if port.is_some() {
            let named = Endpoint {
                host: host.clone(),
                port,
            };
            if let Some(to) = rename(&named) {
                // The port's own digits follow in the text.
                let length = digits.map_or(0, |digits| digits.len() + 1);
                return Some((to.to_string(), length));
            }
        }
        let to = rename(&Endpoint { host, port: None })?;
        Some((to.to_string(), 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(text: &str) -> String {
        let map = [
            ("db.prod:5432", "db.staging:6432"),
            ("db.prod", "db.test"),
            ("10.0.0.7", "10.1.0.7"),
        ]
        .map(|(from, to)| (Endpoint::parse(from).unwrap(), Endpoint::parse(to).unwrap()));
        let mut find = |endpoint: &Endpoint| {
            let mut map = map.iter();
            map.find_map(|(from, to)| (from == endpoint).then(|| to.clone()))
        };
        endpoints(text, &mut find).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn t_11_an_endpoint_with_a_port_counts_before_the_host_alone() {
        assert_eq!(
            moved("jdbc:postgresql://db.prod:5432/x,db.prod:1/y db.prod"),
            "jdbc:postgresql://db.staging:6432/x,db.test:1/y db.test"
        );
        assert_eq!(
            moved("10.0.0.7:80 and 10.0.0.70"),
            "10.1.0.7:80 and 10.0.0.70"
        );
        assert_eq!(
            moved("my-db.prod, db.production"),
            "my-db.prod, db.production"
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_an_instruction() {
        assert!(Endpoint::parse("http://a").unwrap_err().contains("scheme"));
        assert!(Endpoint::parse("a:b").unwrap_err().contains("number"));
    }
}
