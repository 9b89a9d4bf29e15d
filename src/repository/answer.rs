//! What a store answered, in its own words.
//!
//! `object_store` wraps an answer three times and prints it in every wrapping, markup included. Here it is said once:
//! an S3 or Azure server's code and message, or what kept the request from being answered.

use std::error::Error as StdError;
use std::fmt;

/// A failed request to a store.
#[derive(Debug)]
pub struct Answer(object_store::Error);

impl Answer {
    /// As the library has it.
    pub fn error(&self) -> &object_store::Error {
        &self.0
    }

    /// Whether the keys may not do what was asked. S3 answers a deletion with a list of what became of each object.
    pub(super) fn is_refusal(&self) -> bool {
        use object_store::Error::{PermissionDenied, Unauthenticated};
        matches!(self.0, PermissionDenied { .. } | Unauthenticated { .. })
            || self.0.to_string().contains("(code: AccessDenied)")
    }
}

impl From<object_store::Error> for Answer {
    fn from(error: object_store::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match words(&text) {
            Some(words) => f.write_str(&words),
            None => f.write_str(text.trim_end_matches([':', ' '])),
        }
    }
}

impl StdError for Answer {
    /// The first cause that is not in the text already.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let text = self.0.to_string();
        if words(&text).is_some() {
            return None;
        }
        let mut cause = self.0.source();
        while let Some(error) = cause {
            if !text.contains(&error.to_string()) {
                return Some(error);
            }
            cause = error.source();
        }
        None
    }
}

/// The code and the message of a server's answer. After its first line, Azure's has numbers for its own people.
fn words(text: &str) -> Option<String> {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>"))
            .map(|(inner, _)| inner)
    };
    let (code, message) = (between("Code")?, between("Message")?.lines().next()?);
    let message = message.replace("&#39;", "'").replace("&amp;", "&");
    let message = message.trim_end_matches('.');
    Some(format!("the server says {code}: {message}"))
}

/// The server's words, or the innermost cause alone, without requests and retries around it.
pub(crate) fn reason(error: &object_store::Error) -> String {
    if let Some(words) = words(&error.to_string()) {
        return words;
    }
    let mut cause: &dyn StdError = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string().trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_servers_answer_is_its_code_and_message() {
        let answer = |text: &str| {
            Answer(object_store::Error::Generic {
                store: "S3",
                source: text.into(),
            })
        };
        let said = answer(
            "Error performing PUT http://s3/b/k: <Error><Code>SlowDown</Code><Message>It&#39;s busy.</Message></Error>",
        );
        assert_eq!(said.to_string(), "the server says SlowDown: It's busy");
        assert!(said.source().is_none());
        let said = answer("403 Forbidden: ");
        assert_eq!(said.to_string(), "Generic S3 error: 403 Forbidden");
        assert!(said.source().is_none(), "its cause is in its text");
    }
}
