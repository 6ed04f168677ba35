//! What a worker names, made safe to print.

/// The text of `bytes` with everything escaped that could move the cursor, hide
/// or reorder what stands around it, or that nobody sees: control and format characters, spaces
/// other than the usual one, fillers and selectors (Default_Ignorable_Code_Point of Unicode), line
/// and paragraph separators, the marks of bidirectional text, and what is not UTF-8.
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
            '\u{00a0}' | '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
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
        assert_eq!(
            printable("/a\u{3164}\u{fe0f}\u{034f}b\u{00a0}".as_bytes()),
            "/a\\u{3164}\\u{fe0f}\\u{34f}b\\u{a0}"
        );
    }

    #[test]
    fn a_quotation_ends_where_it_ends() {
        assert_eq!(quoted(b"/a \" b"), r#""/a \" b""#);
        assert_eq!(quoted(b"/\\u{1b}\x1b"), r#""/\\u{1b}\u{1b}""#);
        assert_eq!(quoted("/größe ".as_bytes()), "\"/größe \"");
        assert_eq!(quoted(b""), "\"\"");
    }
}
