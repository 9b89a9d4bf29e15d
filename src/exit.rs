//! The exit codes, one meaning each; scripts rely on them.

/// What `ferry` tells the shell when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A defect of Ferry's own.
    Internal = 1,
    /// Changes are pending (`plan`, `diff`).
    Changes = 2,
    /// Findings block the plan.
    Blocked = 3,
    /// A run ended with failures and can be resumed.
    Incomplete = 4,
    /// The user's input is wrong.
    Input = 5,
    /// A cluster or a store cannot be reached, or refuses.
    Refused = 6,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
