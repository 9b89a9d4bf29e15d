//! Lines of a mover's log: each numbered, each with a digest of all before it.
//!
//! A pod's log is rotated, cut, and mixed with whatever else the process wrote, and its end says
//! nothing. So a reader believes a line only by its own digest. An outcome that says that all went well was left in
//! the store before; what went wrong is told by the pod's last words.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::event::VolumeProgress;

/// What a mover tells while it works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// How far it is.
    Progress(VolumeProgress),
    /// Its store is away; why.
    Away(String),
    /// How it ended. The last line.
    Outcome(Outcome),
}

/// A line with its number and digest.
#[derive(Serialize, Deserialize)]
struct Framed {
    n: u64,
    /// Digest over the number and the text of the line.
    sum: String,
    line: serde_json::Value,
}

fn sum(number: u64, line: &serde_json::Value) -> String {
    let digest = blake3::Hasher::new()
        .update(&number.to_le_bytes())
        .update(line.to_string().as_bytes())
        .finalize();
    hex::encode(&digest.as_bytes()[..8])
}

/// Writes lines.
pub(super) struct Writer<W> {
    out: W,
    next: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, next: 0 }
    }

    /// Writes one line. A log nobody can write is no reason to stop moving data.
    pub(super) fn line(&mut self, line: &Line) {
        let Ok(line) = serde_json::to_value(line) else {
            return;
        };
        let framed = Framed {
            n: self.next,
            sum: sum(self.next, &line),
            line,
        };
        self.next += 1;
        let Ok(mut text) = serde_json::to_string(&framed) else {
            return;
        };
        text.push('\n');
        if let Err(error) = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush())
        {
            tracing::debug!(%error, "the log cannot be written");
        }
    }
}

/// Reads one line with its number; `None` for anything that is not one, or not all of one.
pub(crate) fn read_line(text: &str) -> Option<(u64, Line)> {
    let framed: Framed = serde_json::from_str(text.trim()).ok()?;
    if framed.sum != sum(framed.n, &framed.line) {
        return None;
    }
    Some((framed.n, serde_json::from_value(framed.line).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn lines_come_back_numbered_and_a_damaged_one_does_not() {
        let mut log = Vec::new();
        let mut writer = Writer::new(&mut log);
        let progress = VolumeProgress {
            files_done: 7,
            ..VolumeProgress::default()
        };
        writer.line(&Line::Progress(progress));
        writer.line(&Line::Outcome(Outcome::failed(
            Exit::Refused,
            "the bucket is gone",
        )));
        let text = String::from_utf8(log).unwrap();
        let lines: Vec<_> = text.lines().map(|line| read_line(line).unwrap()).collect();
        assert_eq!(lines[0], (0, Line::Progress(progress)));
        assert_eq!(lines[1].0, 1);
        let first = text.lines().next().unwrap();
        assert_eq!(read_line(&first.replace('7', "8")), None);
        assert_eq!(read_line(&first[..first.len() - 3]), None);
        assert_eq!(read_line("2026-11-21 WARN something else"), None);
    }
}
