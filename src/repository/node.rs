//! One entry of a directory, exactly as restic writes it, plus what restic has no field for.
//!
//! Names, link targets and attribute names are bytes. What the format cannot say lies under the key `ferry`, which
//! restic's readers pass over: holes of sparse files and attribute names that are not UTF-8.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::text;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl NodeKind {
    /// restic's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::File => "file",
            NodeKind::Directory => "dir",
            NodeKind::Symlink => "symlink",
            NodeKind::BlockDevice => "dev",
            NodeKind::CharDevice => "chardev",
            NodeKind::Fifo => "fifo",
            NodeKind::Socket => "socket",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        use NodeKind::{BlockDevice, CharDevice, Directory, Fifo, File, Socket, Symlink};
        let all = [
            File,
            Directory,
            Symlink,
            BlockDevice,
            CharDevice,
            Fifo,
            Socket,
        ];
        all.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The type bits of Go's file mode.
    fn go_bits(self) -> u32 {
        match self {
            NodeKind::File => 0,
            NodeKind::Directory => 1 << 31,
            NodeKind::Symlink => 1 << 27,
            NodeKind::BlockDevice => 1 << 26,
            NodeKind::CharDevice => 1 << 26 | 1 << 21,
            NodeKind::Fifo => 1 << 25,
            NodeKind::Socket => 1 << 24,
        }
    }
}

/// A point in time with nanoseconds, in any year the format can write (0 to 9999).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// Seconds of the years 0 and 9999: Go refuses to write any other, and restic clamps to them.
const YEAR_ZERO: i64 = -62_167_219_200;
const YEAR_9999: i64 = 253_402_207_200;

impl Time {
    fn to_text(self) -> String {
        let seconds = self.seconds.clamp(YEAR_ZERO, YEAR_9999);
        let nanoseconds = if seconds == self.seconds {
            self.nanoseconds
        } else {
            0
        };
        // The nanoseconds of jiff count away from zero, so a time before 1970 is built from its parts.
        let start = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = start + jiff::SignedDuration::new(0, nanoseconds as i32);
        time.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let time: Timestamp = text.parse().ok()?;
        let nanoseconds = time.as_nanosecond();
        Some(Time {
            seconds: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?,
            nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
        })
    }
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name with its namespace, such as `user.comment`.
    pub name: Vec<u8>,
    /// The value, any bytes.
    pub value: Vec<u8>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name within its directory.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky, as in `chmod` (12 bits).
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Time,
    /// Last read.
    pub atime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, where the repository has one; numbers decide.
    pub user: String,
    /// Group's name.
    pub group: String,
    /// Inode number at the source.
    pub inode: u64,
    /// Device at the source; set for files with several links only. Links of one file agree in it and in the inode.
    pub device_id: u64,
    /// Length of a file in bytes.
    pub size: u64,
    /// Number of hard links at the source, 0 where it does not matter.
    pub links: u64,
    /// Target of a symbolic link.
    pub link_target: Vec<u8>,
    /// Extended attributes, sorted by name; ACLs and capabilities are among them.
    pub xattrs: Vec<Xattr>,
    /// Number of a device node.
    pub device: u64,
    /// The blobs of a file, in order.
    pub content: Vec<Id>,
    /// The tree of a directory.
    pub subtree: Option<Id>,
    /// Holes of a sparse file: offset and length in bytes, ascending.
    pub holes: Vec<(u64, u64)>,
    /// For the directory that stands for a block device: the device's size in bytes. Otherwise 0.
    pub device_size: u64,
}

impl Node {
    /// A node with no metadata beyond its name, kind and mode.
    pub fn new(name: impl Into<Vec<u8>>, kind: NodeKind, mode: u32) -> Self {
        Node {
            name: name.into(),
            kind,
            mode,
            mtime: Time::default(),
            atime: Time::default(),
            ctime: Time::default(),
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            xattrs: Vec::new(),
            device: 0,
            content: Vec::new(),
            subtree: None,
            holes: Vec::new(),
            device_size: 0,
        }
    }

    /// Takes from the node what tells whether the entry is still the same: every later backup looks at it anew. For what
    /// was read and may not be what is there.
    pub(super) fn distrust(&mut self) {
        self.ctime = Time::default();
    }

    /// The same file's node after it changed while it was read: `fresh` is what it is now. What was found out about it
    /// is kept, distrust as well.
    pub(super) fn changed(self, mut fresh: Node) -> Node {
        if !self.is_trusted() {
            fresh.distrust();
        }
        Node {
            xattrs: self.xattrs,
            holes: self.holes,
            content: self.content,
            ..fresh
        }
    }

    /// Whether the entry may be recognised by its times.
    pub(super) fn is_trusted(&self) -> bool {
        self.ctime != Time::default()
    }

    /// Appends the node's JSON.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        let written = serde_json::to_writer(out, &NodeJson::of(self));
        written.expect("a node always has a JSON form and a vector takes it");
    }

    /// Reads a node's JSON; the error says what is wrong with it.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let parsed: NodeJson<'_> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        parsed.into_node()
    }
}

/// Go's mode bits above the permissions.
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

fn to_go_mode(kind: NodeKind, mode: u32) -> u32 {
    let mut go = kind.go_bits() | mode & 0o777;
    for (bit, flag) in [
        (0o4000, GO_SETUID),
        (0o2000, GO_SETGID),
        (0o1000, GO_STICKY),
    ] {
        if mode & bit != 0 {
            go |= flag;
        }
    }
    go
}

fn from_go_mode(go: u32) -> u32 {
    let mut mode = go & 0o777;
    for (bit, flag) in [
        (0o4000, GO_SETUID),
        (0o2000, GO_SETGID),
        (0o1000, GO_STICKY),
    ] {
        if go & flag != 0 {
            mode |= bit;
        }
    }
    mode
}

fn zero(number: &u64) -> bool {
    *number == 0
}

/// The fields in restic's order and spelling. Unknown ones are ignored, as the format asks.
#[derive(Serialize, Deserialize)]
struct NodeJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(default, borrow)]
    mtime: Cow<'a, str>,
    #[serde(default, borrow)]
    atime: Cow<'a, str>,
    #[serde(default, borrow)]
    ctime: Cow<'a, str>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    user: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    group: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "zero")]
    inode: u64,
    #[serde(default, skip_serializing_if = "zero")]
    device_id: u64,
    #[serde(default, skip_serializing_if = "zero")]
    size: u64,
    #[serde(default, skip_serializing_if = "zero")]
    links: u64,
    #[serde(default, borrow, skip_serializing_if = "str::is_empty")]
    linktarget: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linktarget_raw: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extended_attributes: Option<Vec<XattrJson>>,
    #[serde(default, skip_serializing_if = "zero")]
    device: u64,
    #[serde(default)]
    content: Option<Cow<'a, [Id]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subtree: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ferry: Option<Extension<'a>>,
}

#[derive(Serialize, Deserialize)]
struct XattrJson {
    name: String,
    /// Go writes an empty value as null.
    value: Option<String>,
}

/// What restic's nodes have no field for.
#[derive(Serialize, Deserialize)]
struct Extension<'a> {
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    holes: Cow<'a, [(u64, u64)]>,
    /// Attributes whose names are not UTF-8; the names are base64 here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    raw_xattrs: Vec<XattrJson>,
    #[serde(default, skip_serializing_if = "zero")]
    device_size: u64,
}

impl<'a> NodeJson<'a> {
    fn of(node: &'a Node) -> Self {
        let mut plain = Vec::new();
        let mut raw = Vec::new();
        for xattr in &node.xattrs {
            let value = Some(STANDARD.encode(&xattr.value));
            match std::str::from_utf8(&xattr.name) {
                Ok(name) => plain.push(XattrJson {
                    name: name.to_owned(),
                    value,
                }),
                Err(_) => raw.push(XattrJson {
                    name: STANDARD.encode(&xattr.name),
                    value,
                }),
            }
        }
        let target = String::from_utf8_lossy(&node.link_target);
        let target_raw =
            matches!(target, Cow::Owned(_)).then(|| STANDARD.encode(&node.link_target));
        let extends = !node.holes.is_empty() || !raw.is_empty() || node.device_size > 0;
        let extension = extends.then(|| Extension {
            holes: Cow::Borrowed(&node.holes),
            raw_xattrs: raw,
            device_size: node.device_size,
        });
        NodeJson {
            name: text::quote(&node.name).into(),
            kind: node.kind.as_str().into(),
            mode: to_go_mode(node.kind, node.mode),
            mtime: node.mtime.to_text().into(),
            atime: node.atime.to_text().into(),
            ctime: node.ctime.to_text().into(),
            uid: node.uid,
            gid: node.gid,
            user: Cow::Borrowed(&node.user),
            group: Cow::Borrowed(&node.group),
            inode: node.inode,
            device_id: node.device_id,
            size: node.size,
            links: node.links,
            linktarget: target,
            linktarget_raw: target_raw,
            extended_attributes: (!plain.is_empty()).then_some(plain),
            device: node.device,
            // A file without content has an empty list; for anything else the list is null.
            content: (node.kind == NodeKind::File).then_some(Cow::Borrowed(&node.content)),
            subtree: node.subtree,
            ferry: extension,
        }
    }

    fn into_node(self) -> Result<Node, String> {
        let name = text::unquote(&self.name).ok_or_else(|| format!("bad name {:?}", self.name))?;
        let kind =
            NodeKind::parse(&self.kind).ok_or_else(|| format!("unknown type {:?}", self.kind))?;
        let time = |text: &str| match text {
            "" => Ok(Time::default()),
            text => Time::parse(text).ok_or_else(|| format!("bad time {text:?}")),
        };
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
        let link_target = match &self.linktarget_raw {
            Some(raw) => decode(raw)?,
            None => self.linktarget.into_owned().into_bytes(),
        };
        let mut xattrs = Vec::new();
        for XattrJson { name, value } in self.extended_attributes.unwrap_or_default() {
            let value = decode(&value.unwrap_or_default())?;
            xattrs.push(Xattr {
                name: name.into_bytes(),
                value,
            });
        }
        let (mut holes, mut device_size) = (Vec::new(), 0);
        if let Some(extension) = self.ferry {
            for XattrJson { name, value } in extension.raw_xattrs {
                let value = decode(&value.unwrap_or_default())?;
                xattrs.push(Xattr {
                    name: decode(&name)?,
                    value,
                });
            }
            holes = extension.holes.into_owned();
            device_size = extension.device_size;
        }
        xattrs.sort();
        Ok(Node {
            name,
            kind,
            mode: from_go_mode(self.mode),
            mtime: time(&self.mtime)?,
            atime: time(&self.atime)?,
            ctime: time(&self.ctime)?,
            uid: self.uid,
            gid: self.gid,
            user: self.user.into_owned(),
            group: self.group.into_owned(),
            inode: self.inode,
            device_id: self.device_id,
            size: self.size,
            links: self.links,
            link_target,
            xattrs,
            device: self.device,
            content: self.content.map(Cow::into_owned).unwrap_or_default(),
            subtree: self.subtree,
            holes,
            device_size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Node {
        Node {
            mtime: Time {
                seconds: 10_413_792_000,
                nanoseconds: 1,
            },
            atime: Time {
                seconds: -1,
                nanoseconds: 500_000_000,
            },
            ctime: Time {
                seconds: 1_700_000_000,
                nanoseconds: 123_456_789,
            },
            uid: 1000,
            gid: 2000,
            inode: 12,
            device_id: 3,
            size: 5,
            links: 2,
            xattrs: vec![
                Xattr {
                    name: b"user.a".to_vec(),
                    value: b"\0\xff".to_vec(),
                },
                Xattr {
                    name: b"user.\xff".to_vec(),
                    value: Vec::new(),
                },
            ],
            content: vec![Id([7; 32])],
            holes: vec![(4096, 8192)],
            ..Node::new(*b"n\xff\"\\", NodeKind::File, 0o6755)
        }
    }

    fn json(node: &Node) -> String {
        let mut out = Vec::new();
        node.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_node_survives_json_and_the_json_is_golden() {
        let node = full();
        assert_eq!(Node::parse(json(&node).as_bytes()).unwrap(), node);
        let golden = concat!(
            r#"{"name":"n\\xff\\\"\\\\","type":"file","mode":12583405,"mtime":"2300-01-01T00:00:00.000000001Z","#,
            r#""atime":"1969-12-31T23:59:59.5Z","ctime":"2023-11-14T22:13:20.123456789Z","uid":1000,"gid":2000,"#,
            r#""inode":12,"device_id":3,"size":5,"links":2,"#,
            r#""extended_attributes":[{"name":"user.a","value":"AP8="}],"#,
            r#""content":["0707070707070707070707070707070707070707070707070707070707070707"],"#,
            r#""ferry":{"holes":[[4096,8192]],"raw_xattrs":[{"name":"dXNlci7/","value":""}]}}"#,
        );
        assert_eq!(json(&node), golden);
        let link = Node {
            link_target: b"to/\xfe".to_vec(),
            ..Node::new("l", NodeKind::Symlink, 0o777)
        };
        assert_eq!(Node::parse(json(&link).as_bytes()).unwrap(), link);
        assert!(
            json(&link).contains("\"linktarget\":\"to/\u{fffd}\",\"linktarget_raw\":\"dG8v/g==\"")
        );
    }

    #[test]
    fn a_node_written_by_restic_is_read() {
        let text = r#"{"name":"a\\xffb","type":"chardev","mode":69206454,"mtime":"2024-02-29T12:00:00.5+02:00",
            "atime":"1969-12-31T23:59:59.75Z","ctime":"2024-02-29T12:00:00+02:00","uid":0,"gid":6,"user":"root",
            "inode":1,"links":1,"device":261,"content":null,"generic_attributes":{"x":1}}"#;
        let node = Node::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (node.name.as_slice(), node.kind),
            (&b"a\xffb"[..], NodeKind::CharDevice)
        );
        assert_eq!(
            node.mtime,
            Time {
                seconds: 1_709_200_800,
                nanoseconds: 500_000_000
            }
        );
        assert_eq!(
            node.atime,
            Time {
                seconds: -1,
                nanoseconds: 750_000_000
            }
        );
        assert_eq!(node.device, 261);
    }

    #[test]
    fn times_out_of_range_are_clamped_as_restic_does() {
        assert_eq!(
            Time {
                seconds: i64::MAX,
                nanoseconds: 5
            }
            .to_text(),
            "9999-12-30T22:00:00Z"
        );
        assert_eq!(
            Time {
                seconds: i64::MIN,
                nanoseconds: 5
            }
            .to_text(),
            "0000-01-01T00:00:00Z"
        );
    }
}
