//! An error with its causes in one line, for places that keep text and not errors.

use std::error::Error;

/// `failed to x: no route to host`.
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some libraries repeat their source in their own text; say it once.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read the plan")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_their_error_after_a_colon() {
        let error = Outer(std::io::Error::other("the disk is gone"));
        assert_eq!(
            in_one_line(&error),
            "failed to read the plan: the disk is gone"
        );
    }
}
