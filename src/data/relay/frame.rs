//! The unit that travels: a length, what it is, where it belongs, and a keyed digest over all of it.
//!
//! ```text
//! length u32 ‖ kind u8 ‖ sequence u64 ‖ request u64 ‖ body ‖ blake3 keyed digest (32)
//! ```

use super::link::LinkError;

/// Bytes in front of a body.
pub(super) const HEAD: usize = 4 + 1 + 8 + 8;
/// Bytes after it.
pub(super) const TAG: usize = 32;
/// Largest body: large enough that digests and system calls do not matter, small enough that a
/// stalled link is noticed within one.
pub(super) const BODY: usize = 1 << 20;

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The mover asks for something.
    Ask = 1,
    /// The CLI's answer, or its refusal in the middle of data.
    Answer = 2,
    /// A piece of an object or of a list.
    Data = 3,
    /// The data is complete: its size and digest.
    End = 4,
    /// Are you there.
    Ping = 5,
    /// Yes.
    Pong = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Ask,
            Self::Answer,
            Self::Data,
            Self::End,
            Self::Ping,
            Self::Pong,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A frame whose digest was found right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) request: u64,
    pub(super) body: Vec<u8>,
}

/// Appends a frame to `out`.
pub(super) fn write(
    out: &mut Vec<u8>,
    key: &[u8; 32],
    (kind, sequence, request): (Kind, u64, u64),
    body: &[u8],
) {
    let start = out.len();
    // Callers cut at BODY, far below what the field can say.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend(length.to_le_bytes());
    out.push(kind as u8);
    out.extend(sequence.to_le_bytes());
    out.extend(request.to_le_bytes());
    out.extend(body);
    let tag = blake3::keyed_hash(key, &out[start..]);
    out.extend(tag.as_bytes());
}

/// The length of the body that follows a head.
pub(super) fn body_length(head: &[u8; HEAD]) -> Result<usize, LinkError> {
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if length > BODY {
        Err(LinkError::Garbled("a frame is too long"))
    } else {
        Ok(length)
    }
}

/// Checks the digest and the place of a frame, given as all its bytes.
pub(super) fn parse(frame: &[u8], key: &[u8; 32], expected: u64) -> Result<Frame, LinkError> {
    let (signed, tag) = frame
        .len()
        .checked_sub(TAG)
        .filter(|signed| *signed >= HEAD)
        .map(|signed| frame.split_at(signed))
        .ok_or(LinkError::Garbled("a frame is too short"))?;
    // blake3::Hash compares in constant time.
    let mut digest = [0; TAG];
    digest.copy_from_slice(tag);
    if blake3::keyed_hash(key, signed) != blake3::Hash::from_bytes(digest) {
        return Err(LinkError::Garbled("a frame's digest is wrong"));
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&signed[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if number(5) != expected {
        return Err(LinkError::Garbled("a frame is missing or came twice"));
    }
    let kind = Kind::of(signed[4]).ok_or(LinkError::Garbled("a frame of an unknown kind"))?;
    Ok(Frame {
        kind,
        request: number(13),
        body: signed[HEAD..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn frame() -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &KEY, (Kind::Data, 3, 9), b"some bytes");
        out
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let parsed = parse(&frame(), &KEY, 3).unwrap();
        assert_eq!(
            parsed,
            Frame {
                kind: Kind::Data,
                request: 9,
                body: b"some bytes".to_vec()
            }
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for byte in 0..frame().len() {
            for bit in 0..8 {
                let mut changed = frame();
                changed[byte] ^= 1 << bit;
                assert!(parse(&changed, &KEY, 3).is_err(), "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_out_of_order_or_with_another_key_is_refused() {
        assert!(parse(&frame(), &KEY, 2).is_err());
        assert!(parse(&frame(), &KEY, 4).is_err());
        assert!(parse(&frame(), &[8; 32], 3).is_err());
        assert!(parse(&[0; 10], &KEY, 3).is_err());
    }
}
