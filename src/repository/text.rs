//! Go's quoted form of names, which restic's trees use so that any bytes fit into JSON.

/// Appends `bytes` in the form of Go's `strconv.Quote`, without the quotes. Bytes that are no UTF-8 become `\xNN`.
/// Unlike Go we leave unusual but valid characters as they are; its reader takes both.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f => push_hex(&mut text, c as u8),
                // Go writes the byte order mark and the replacement character escaped; its reader would take them raw.
                c => text.push(c),
            }
        }
        for &byte in chunk.invalid() {
            push_hex(&mut text, byte);
        }
    }
    text
}

fn push_hex(text: &mut String, byte: u8) {
    text.push_str("\\x");
    for digit in [byte >> 4, byte & 15] {
        text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
}

/// The bytes of a quoted name; `None` when it is not one.
pub(super) fn unquote(text: &str) -> Option<Vec<u8>> {
    if !text.contains('\\') {
        return Some(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.next()?;
        let number = |radix: u32, count: usize, rest: &mut std::str::Chars<'_>| -> Option<u32> {
            (0..count).try_fold(0, |value, _| {
                Some(value * radix + rest.next()?.to_digit(radix)?)
            })
        };
        match escape {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' | '"' | '\'' => bytes.push(escape as u8),
            'x' => bytes.push(number(16, 2, &mut rest)? as u8),
            'u' | 'U' => {
                let count = if escape == 'u' { 4 } else { 8 };
                let character = char::from_u32(number(16, count, &mut rest)?)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='3' => {
                let high = escape.to_digit(8)?;
                bytes.push((high * 64 + number(8, 2, &mut rest)?) as u8);
            }
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives() {
        for name in [
            &b"plain"[..],
            b"with \"quotes\" and \\ and 'single'",
            b"\xff\xfe latin \xe9",
            b"\x01\x7f\n\r\t\x07",
            "grün 文件 \u{feff}\u{fffd}".as_bytes(),
            b"",
        ] {
            assert_eq!(unquote(&quote(name)).unwrap(), name);
        }
        assert_eq!(quote(b"a\xffb\n"), r"a\xffb\n");
    }

    #[test]
    fn every_escape_go_writes_is_read() {
        let all = unquote(r#"\a\b\f\n\r\t\v\\\"\x41\u00e9\U0001F600\101"#).unwrap();
        assert_eq!(all, b"\x07\x08\x0c\n\r\t\x0b\\\"A\xc3\xa9\xf0\x9f\x98\x80A");
        for broken in [r"\", r"\x4", r"\q", r"\u12", r"\ud800"] {
            assert_eq!(unquote(broken), None);
        }
    }
}
