//! What strangers' bytes in a store go through, for the fuzz targets.

use std::collections::BTreeSet;

use super::Id;
#[cfg(target_os = "linux")]
use super::backup::checkpoint::parse;
use super::config::Config;
use super::index::{Index, IndexFile};
use super::key::KeyFile;
use super::node::Node;
use super::pack::parse_header;
use super::snapshot;
use super::tree::TreeReader;

/// Reads bytes as each kind of stored object in turn, the first byte says which.
///
/// # Panics
/// When what was read does not survive being written and read again.
pub fn fuzz_stored(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind {
        b'p' => header(data),
        b't' => tree(data),
        b'i' => index(data),
        b's' => drop(snapshot::parse(Id([0; 32]), data)),
        b'c' => drop(Config::parse(data)),
        #[cfg(target_os = "linux")]
        b'w' => drop(parse(data, "state/of/tree")),
        b'k' => drop(KeyFile::parse(data, "a key")),
        _ => {}
    }
}

/// A pack's header; its size is made to fit now and then, or no header would be sound.
fn header(plain: &[u8]) {
    for size in [plain.len() as u64, header_fit(plain)] {
        if let Ok(blobs) = parse_header(plain, size) {
            let end = blobs
                .last()
                .map_or(0, |blob| u64::from(blob.offset) + u64::from(blob.length));
            assert!(end < size, "a blob beyond its pack");
        }
    }
}

/// The size the header itself describes.
fn header_fit(plain: &[u8]) -> u64 {
    let Err(message) = parse_header(plain, u64::MAX) else {
        return 0;
    };
    let mut words = message.split(' ');
    words.find_map(|word| word.parse().ok()).unwrap_or_default()
}

fn tree(data: &[u8]) {
    for node in TreeReader::whole(Id([0; 32]), data.to_vec()) {
        let Ok(node) = node else { return };
        // Nonsense, such as the content of a link, goes the first time it is written.
        let written = |node: &Node| {
            let mut json = Vec::new();
            node.write_json(&mut json);
            json
        };
        let json = written(&node);
        let again = Node::parse(&json).expect("a node that was written can be read");
        assert_eq!(written(&again), json, "a node reads back");
    }
}

fn index(data: &[u8]) {
    let Ok(file) = serde_json::from_slice::<IndexFile>(data) else {
        return;
    };
    let index = Index::new();
    let mut known = BTreeSet::new();
    for pack in &file.packs {
        index.add_pack(pack.id, &pack.blobs);
        known.extend(pack.blobs.iter().map(|blob| blob.id));
    }
    for id in known {
        let location = index.locate(&id).expect("a blob that was added");
        location.plain_length();
    }
}
