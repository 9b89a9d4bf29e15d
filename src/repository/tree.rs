//! Directories as blobs: `{"nodes":[…]}`, sorted by name, written and read as a stream.
//!
//! A directory may have a million entries, hundreds of megabytes of JSON. The writer keeps a small one as it is
//! and turns a large one into zstd and SHA-256 state as it grows; the reader never holds more than one window
//! of it plus the compressed bytes.

use std::io::{self, Cursor, Read, Write as _};

use super::Repository;
use super::error::{Error, Result};
use super::id::{Hasher, Id};
use super::node::Node;
use super::text;
use super::writer::Packer;

/// Beyond this many bytes of JSON a directory is compressed while it is written.
const STREAM_ABOVE: usize = 1 << 20;
const START: &[u8] = b"{\"nodes\":[";
const END: &[u8] = b"]}\n";
/// Largest block of a zstd frame.
const ZSTD_BLOCK: usize = 128 << 10;
/// A node larger than this is an attack: 1 TiB in the smallest blobs is 140 MB.
const NODE_LIMIT: usize = 512 << 20;

/// A directory being written.
pub(super) struct TreeWriter {
    buffer: Vec<u8>,
    first: bool,
    stream: Option<Stream>,
}

/// A directory too large to be held plain.
struct Stream {
    hasher: Hasher,
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    plain: u64,
}

impl Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.plain += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }
}

fn codec(error: io::Error) -> Error {
    Error::damaged("a new directory", error)
}

impl TreeWriter {
    pub(super) fn new() -> Self {
        TreeWriter {
            buffer: START.to_vec(),
            first: true,
            stream: None,
        }
    }

    /// Appends nodes already in JSON, separated by commas. The caller keeps the order of names.
    pub(super) fn add_json(&mut self, nodes: &[u8]) -> Result<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        if !self.first {
            self.buffer.push(b',');
        }
        self.first = false;
        self.buffer.extend_from_slice(nodes);
        if self.buffer.len() < STREAM_ABOVE {
            return Ok(());
        }
        if self.stream.is_none() {
            let encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).map_err(codec)?;
            self.stream = Some(Stream {
                hasher: Hasher::new(),
                encoder,
                plain: 0,
            });
        }
        if let Some(stream) = &mut self.stream {
            stream.write(&self.buffer).map_err(codec)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Appends one node.
    pub(super) fn add(&mut self, node: &Node) -> Result<()> {
        let mut json = Vec::new();
        node.write_json(&mut json);
        self.add_json(&json)
    }

    /// Stores the directory as it is now, with one more node in JSON if there is one, and returns the id of that. It goes
    /// on as if nothing had happened.
    pub(super) fn store_so_far(&mut self, more: &[u8], packer: &mut Packer) -> Result<Id> {
        let comma: &[u8] = match more.is_empty() || self.first {
            true => b"",
            false => b",",
        };
        let end = [comma, more, END].concat();
        let Some(stream) = &mut self.stream else {
            return packer
                .store(&[&self.buffer, &*end].concat())
                .map(|(id, _)| id);
        };
        stream.write(&self.buffer).map_err(codec)?;
        self.buffer.clear();
        stream.encoder.flush().map_err(codec)?;
        let mut hasher = stream.hasher.clone();
        hasher.update(&end);
        let id = hasher.finish();
        let frame = [&**stream.encoder.get_ref(), &last_blocks(&end)];
        packer.store_compressed(id, &frame, stream.plain + end.len() as u64)?;
        Ok(id)
    }

    /// Stores the directory and returns its id.
    pub(super) fn finish(mut self, packer: &mut Packer) -> Result<Id> {
        self.buffer.extend_from_slice(END);
        let Some(mut stream) = self.stream else {
            return packer.store(&self.buffer).map(|(id, _)| id);
        };
        stream.write(&self.buffer).map_err(codec)?;
        let Stream {
            hasher,
            encoder,
            plain,
        } = stream;
        let id = hasher.finish();
        packer.store_compressed(id, &[&encoder.finish().map_err(codec)?], plain)?;
        Ok(id)
    }
}

/// `content` as the end of a zstd frame: blocks that are not compressed, the last of them marked (RFC 8878, 3.1.1.2).
fn last_blocks(content: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(content.len() + 3);
    let count = content.len().div_ceil(ZSTD_BLOCK);
    for (number, block) in (1..).zip(content.chunks(ZSTD_BLOCK)) {
        let header = (block.len() << 3) | usize::from(number == count);
        blocks.extend_from_slice(&header.to_le_bytes()[..3]);
        blocks.extend_from_slice(block);
    }
    blocks
}

enum Source {
    Whole,
    Stream(
        Box<zstd::stream::read::Decoder<'static, io::BufReader<Cursor<Vec<u8>>>>>,
        Box<Hasher>,
    ),
}

/// A directory being read, node by node.
pub(super) struct TreeReader {
    id: Id,
    source: Source,
    buffer: Vec<u8>,
    position: usize,
    started: bool,
    ended: bool,
}

impl TreeReader {
    /// Reads tree `id`. Its authenticity is proven before the first node is returned; of a large one, its hash at the end.
    pub(super) fn open(repository: &Repository, id: &Id) -> Result<Self> {
        let (body, uncompressed) = repository.read_sealed(id)?;
        let mut reader = Self::whole(*id, Vec::new());
        if uncompressed as usize > 4 * STREAM_ABOVE {
            let decoder = zstd::stream::read::Decoder::new(Cursor::new(body))
                .map_err(|error| reader.damaged(error))?;
            reader.source = Source::Stream(Box::new(decoder), Box::new(Hasher::new()));
        } else {
            reader.buffer = super::read::plain_of(id, body, uncompressed)?;
        }
        Ok(reader)
    }

    /// Reads a tree whose plain bytes are at hand.
    pub(super) fn whole(id: Id, plain: Vec<u8>) -> Self {
        TreeReader {
            id,
            source: Source::Whole,
            buffer: plain,
            position: 0,
            started: false,
            ended: false,
        }
    }

    fn damaged(&self, what: impl ToString) -> Error {
        Error::damaged(format!("tree {}", self.id), what)
    }

    /// Reads more JSON into the window; false at its end.
    fn fill(&mut self) -> Result<bool> {
        let Source::Stream(decoder, hasher) = &mut self.source else {
            return Ok(false);
        };
        self.buffer.drain(..self.position);
        self.position = 0;
        let start = self.buffer.len();
        let more = (256 << 10).max(start);
        if start > NODE_LIMIT {
            return Err(Error::damaged(
                format!("tree {}", self.id),
                "a node without end",
            ));
        }
        self.buffer.resize(start + more, 0);
        let count = decoder
            .read(&mut self.buffer[start..])
            .map_err(|error| Error::damaged(format!("tree {}", self.id), error))?;
        self.buffer.truncate(start + count);
        hasher.update(&self.buffer[start..]);
        Ok(count > 0)
    }

    /// The JSON of the next node, or `None` after the last.
    pub(super) fn next_raw(&mut self) -> Result<Option<&[u8]>> {
        if self.ended {
            return Ok(None);
        }
        if !self.started {
            while self.buffer.len() < START.len() && self.fill()? {}
            self.position =
                header_length(&self.buffer).ok_or_else(|| self.damaged("not a tree"))?;
            self.started = true;
        }
        loop {
            let window = &self.buffer[self.position..];
            let skip = window
                .iter()
                .take_while(|b| matches!(b, b',' | b' ' | b'\n'))
                .count();
            match window.get(skip) {
                Some(b'{') => {
                    if let Some(length) = object_length(&window[skip..]) {
                        let start = self.position + skip;
                        self.position = start + length;
                        return Ok(Some(&self.buffer[start..start + length]));
                    }
                }
                Some(b']') => {
                    self.finish()?;
                    return Ok(None);
                }
                Some(_) => return Err(self.damaged("not a list of nodes")),
                None => {}
            }
            if !self.fill()? {
                return Err(self.damaged("it ends inside a node"));
            }
        }
    }

    /// At the end of a stream its hash must be its name.
    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        self.position = self.buffer.len();
        while self.fill()? {
            self.position = self.buffer.len();
        }
        if let Source::Stream(_, hasher) = std::mem::replace(&mut self.source, Source::Whole)
            && hasher.finish() != self.id
        {
            return Err(Error::Tampered {
                object: format!("tree {}", self.id),
            });
        }
        Ok(())
    }

    /// The next node, parsed and with a name that cannot leave its directory.
    pub(super) fn next_node(&mut self) -> Result<Option<Node>> {
        let id = self.id;
        let damaged = |what: String| Error::damaged(format!("tree {id}"), what);
        let Some(json) = self.next_raw()? else {
            return Ok(None);
        };
        let node = Node::parse(json).map_err(damaged)?;
        if !safe_name(&node.name) {
            return Err(damaged(format!(
                "a name no file can have: {:?}",
                text::quote(&node.name)
            )));
        }
        Ok(Some(node))
    }
}

impl Iterator for TreeReader {
    type Item = Result<Node>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_node().transpose()
    }
}

/// Whether `name` is one component that stays inside its directory.
pub(super) fn safe_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, b'/' | 0))
}

/// Length of `{"nodes":[` with any white space in it; `{"nodes":null` is Go's empty list.
fn header_length(json: &[u8]) -> Option<usize> {
    json.starts_with(START).then_some(START.len())
}

/// Length of the JSON object `json` starts with, if all of it is there.
fn object_length(json: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut position) = (0usize, false, 0);
    while let Some(&byte) = json.get(position) {
        match (quoted, byte) {
            (true, b'\\') => position += 1,
            (_, b'"') => quoted = !quoted,
            (false, b'{') => depth += 1,
            (false, b'}') => {
                depth -= 1;
                if depth == 0 {
                    return Some(position + 1);
                }
            }
            _ => {}
        }
        position += 1;
    }
    None
}

/// The name in a node's JSON without parsing the rest; `None` if the name is not its first field.
pub(super) fn peek_name(json: &[u8]) -> Option<Vec<u8>> {
    let rest = json.strip_prefix(b"{\"name\":")?;
    let mut end = 1;
    while *rest.get(end)? != b'"' {
        end += if rest[end] == b'\\' { 2 } else { 1 };
    }
    let plain = rest.get(1..end)?;
    if !plain.contains(&b'\\') {
        return Some(plain.to_vec());
    }
    let quoted: String = serde_json::from_slice(&rest[..=end]).ok()?;
    text::unquote(&quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_delimited_whatever_their_strings_hold() {
        let json = br#"{"name":"a}\"{\\","x":{"y":["}"]}},{"name":"b"}"#;
        let length = object_length(json).unwrap();
        assert_eq!(&json[length..], br#",{"name":"b"}"#);
        assert_eq!(object_length(&json[..length - 1]), None);
        assert_eq!(
            peek_name(br#"{"name":"a\\xff\\\"","type":"file"}"#).unwrap(),
            b"a\xff\""
        );
        assert_eq!(peek_name(br#"{"type":"file","name":"a"}"#), None);
    }

    #[test]
    fn names_that_would_escape_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"/"] {
            assert!(!safe_name(name));
        }
        assert!(safe_name(b"..a") && safe_name(b"\xff"));
    }
}
