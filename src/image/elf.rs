//! Enough of ELF to know whether a binary will run in an empty image, and where.

/// Program header type of a segment that names the dynamic loader.
const INTERPRETER: u32 = 3;

/// The architecture an ELF executable is for, in the words of image specifications.
///
/// # Errors
/// When it is not a 64-bit little-endian ELF file, is for a machine Ferry is not built for, or asks
/// for a dynamic loader; the text says which and what to do.
pub(super) fn architecture(binary: &[u8]) -> Result<&'static str, String> {
    let header = binary.get(..64).ok_or("it is too short for a program")?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err("it is not a 64-bit Linux executable".into());
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let architecture = match half(18) {
        62 => "amd64",
        183 => "arm64",
        other => return Err(format!("ELF machine {other} is neither amd64 nor arm64")),
    };
    let mut offset = [0; 8];
    offset.copy_from_slice(&header[32..40]);
    let (size, count) = (u64::from(half(54)), u64::from(half(56)));
    for number in 0..count {
        let start = u64::from_le_bytes(offset).checked_add(number * size);
        let start = start.and_then(|start| usize::try_from(start).ok());
        let kind = start.and_then(|start| binary.get(start..start.checked_add(4)?));
        let kind = kind.ok_or("its program headers lie outside of it")?;
        if kind == INTERPRETER.to_le_bytes() {
            return Err(
                "it is linked dynamically and the image holds no libraries; \
                        build it with target-feature=+crt-static or for a musl target"
                    .into(),
            );
        }
    }
    Ok(architecture)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest file that passes for an executable, with program headers of the given types.
    pub(in crate::image) fn executable(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        for segment in segments {
            file.extend(segment.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    #[test]
    fn a_static_binary_is_known_by_its_machine() {
        assert_eq!(architecture(&executable(62, &[1, 1])), Ok("amd64"));
        assert_eq!(architecture(&executable(183, &[])), Ok("arm64"));
        assert!(
            architecture(&executable(3, &[]))
                .unwrap_err()
                .contains("ELF machine 3")
        );
    }

    #[test]
    fn a_binary_that_asks_for_a_loader_is_refused() {
        assert!(
            architecture(&executable(62, &[1, 3]))
                .unwrap_err()
                .contains("dynamically")
        );
    }

    #[test]
    fn what_is_no_program_or_is_cut_short_is_refused() {
        assert!(architecture(b"#!/bin/sh\n").is_err());
        assert!(architecture(&[0; 64]).is_err());
        let mut cut = executable(62, &[1]);
        cut.truncate(64);
        assert!(architecture(&cut).unwrap_err().contains("outside"));
    }
}
