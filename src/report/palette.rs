//! Meanings and their colours. Streams strip the colours where the terminal or `NO_COLOR` says so.

use anstyle::{AnsiColor, Effects, Style};

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Went well, or added.
    Good,
    /// Failed, or removed.
    Bad,
    /// Needs attention, or changed.
    Warn,
    /// A hint or a command to type.
    Hint,
    /// A heading.
    Heading,
    /// Of little weight.
    Dim,
    /// A name the user may copy.
    Name,
}

/// The text in the colour of its meaning.
pub fn paint(role: Role, text: impl std::fmt::Display) -> String {
    let style = match role {
        Role::Good => AnsiColor::Green.on_default(),
        Role::Bad => AnsiColor::Red.on_default(),
        Role::Warn => AnsiColor::Yellow.on_default(),
        Role::Hint => AnsiColor::Cyan.on_default(),
        Role::Heading => Style::new().effects(Effects::BOLD),
        Role::Dim => Style::new().effects(Effects::DIMMED),
        Role::Name => AnsiColor::Blue.on_default(),
    };
    format!("{style}{text}{style:#}")
}
