//! What a worker names, made safe to print.

/// The text of `bytes` with everything escaped that could move the cursor, hide
/// or reorder what stands around it: control and format characters, line and
/// paragraph separators, the marks of bidirectional text, and what is not UTF-8.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if misleads(character) {
                text.extend(character.escape_unicode());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The same in quotation marks, which it cannot end, and with a backslash that is one told from one
/// that escapes.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for piece in bytes.split_inclusive(|byte| matches!(byte, b'"' | b'\\')) {
        match piece.split_last() {
            Some((end @ (b'"' | b'\\'), before)) => {
                text.push_str(&printable(before));
                text.push('\\');
                text.push(char::from(*end));
            }
            _ => text.push_str(&printable(piece)),
        }
    }
    text.push('"');
    text
}

fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mislead_a_reader_is_escaped() {
        assert_eq!(printable("/tmp/größe".as_bytes()), "/tmp/größe");
        assert_eq!(printable(b"/a\x1b[2K\r\n"), "/a\\u{1b}[2K\\u{d}\\u{a}");
        assert_eq!(
            printable("/\u{202e}fdp.exe".as_bytes()),
            "/\\u{202e}fdp.exe"
        );
        assert_eq!(printable(b"/\xff\xfe"), "/\\xff\\xfe");
    }

    #[test]
    fn a_quotation_ends_where_it_ends() {
        assert_eq!(quoted(b"/a \" b"), r#""/a \" b""#);
        assert_eq!(quoted(b"/\\u{1b}\x1b"), r#""/\\u{1b}\u{1b}""#);
        assert_eq!(quoted("/größe ".as_bytes()), "\"/größe \"");
        assert_eq!(quoted(b""), "\"\"");
    }
}
