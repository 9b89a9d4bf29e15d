//! Telling: the only module that writes to the terminal.
//!
//! stdout carries data and nothing else, stderr carries talk; with `--output json` the data is one
//! JSON document and the talk is JSON lines. Callers name meanings ([`palette::Role`]), one palette maps
//! them to colours, and everything reads well without colour.

pub mod diagnostic;
pub mod diff_view;
pub mod palette;
pub mod plain;
pub mod plan_view;
pub mod progress;
pub mod table;
pub mod units;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::event::Events;

/// What the user asked the output to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Tables, colours where the terminal has them, progress bars.
    #[default]
    Human,
    /// One JSON document on stdout, JSON lines on stderr.
    Json,
}

/// Owns the two streams.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    output: Output,
}

impl Report {
    /// Chooses how to speak.
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// Whether the user asked for JSON.
    pub fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// Where the pipeline's events go: bars on a terminal, else lines, or JSON lines.
    pub fn events(self) -> Events {
        match self.output {
            Output::Json => plain::json_lines(),
            Output::Human if std::io::stderr().is_terminal() => progress::bars(),
            Output::Human => plain::lines(),
        }
    }

    /// Writes the command's result: text for people, or the value as JSON.
    pub fn data<T: Serialize>(self, value: &T, human: impl FnOnce() -> String) {
        let text = match self.output {
            Output::Human => human(),
            Output::Json => serde_json::to_string_pretty(value)
                .unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")),
        };
        self.text(&text);
    }

    /// Writes text to stdout as it is, with one newline at its end.
    pub fn text(self, text: &str) {
        let mut stdout = anstream::stdout().lock();
        let end = if text.ends_with('\n') || text.is_empty() {
            ""
        } else {
            "\n"
        };
        note(write!(stdout, "{text}{end}").and_then(|()| stdout.flush()));
    }

    /// Writes bytes to stdout as they are.
    pub fn bytes(self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        note(stdout.write_all(bytes).and_then(|()| stdout.flush()));
    }

    /// Says something to the person at the terminal; silent in JSON.
    pub fn say(self, text: &str) {
        if !self.is_json() {
            talk(text);
        }
    }

    /// Asks a yes-or-no question on the terminal. `None` when there is nobody to ask.
    pub fn ask(self, question: &str) -> Option<bool> {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return None;
        }
        let mut stderr = anstream::stderr().lock();
        drop(write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }
}

/// Why stdout did not take everything, if it did not.
static LOST: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// Keeps what went wrong on stdout for [`lost`]. A closed pipe is no fault: `ferry plan … | head` has what it wanted.
fn note(written: std::io::Result<()>) {
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(error);
    }
}

/// Why stdout did not take everything that was written to it, as on a full disk; `None` when it did.
pub fn lost() -> Option<std::io::Error> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Writes one line to stderr.
pub(crate) fn talk(text: &str) {
    let mut stderr = anstream::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}
