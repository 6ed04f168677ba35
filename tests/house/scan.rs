//! Reads Rust source as text that can be searched: comments and literals are
//! blanked, test modules are cut away, and byte positions and lines stay as they were.

/// Replaces the inside of comments, strings and character literals with spaces,
/// so that a word found afterwards is code. Lengths and line breaks are kept.
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end > at {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).expect("whole literals were replaced by spaces")
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    // `br"..."` is a literal too; every other word before the `r` makes it a name.
    match at.checked_sub(1).map(|before| bytes[before]) {
        Some(b'b') => at >= 2 && is_word(bytes[at - 2]),
        Some(before) => is_word(before),
        None => false,
    }
}

/// Whether a byte can stand in a Rust name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |n| at + n)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < bytes.len() {
        match &bytes[here..here + 2] {
            b"/*" => {
                depth += 1;
                here += 2;
            }
            b"*/" => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut here = at + 1;
    while here < bytes.len() {
        match bytes[here] {
            b'\\' => here += 2,
            b'"' => return here + 1,
            _ => here += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    bytes[open + 1..]
        .windows(close.len())
        .position(|window| window == close)
        .map(|n| open + 1 + n + close.len())
}

/// The end of a character literal, or None for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|b| *b == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    let text = std::str::from_utf8(&bytes[at + 1..(at + 6).min(bytes.len())]);
    let valid = match &text {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[at + 1..at + 1 + error.valid_up_to()]).ok()?,
    };
    let close = at + 1 + valid.chars().next()?.len_utf8();
    (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
}

/// Blanks every item marked `#[cfg(test)]`, in text that [`code_only`] has cleaned.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(start) = code[from..].find(MARK).map(|n| from + n) {
        let end = item_end(code.as_bytes(), start + MARK.len());
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8(out).expect("whole items were replaced by spaces")
}

/// Where the item that starts at `at` ends: at its closing brace, or at a semicolon.
fn item_end(bytes: &[u8], at: usize) -> usize {
    for (offset, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b';' => return at + offset + 1,
            b'{' => return block_end(bytes, at + offset),
            _ => {}
        }
    }
    bytes.len()
}

/// The position after the brace that closes the one at `open`.
pub fn block_end(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in bytes[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return open + offset + 1;
                }
            }
            _ => {}
        }
    }
    bytes.len()
}

/// Positions where `word` stands alone, not as a part of a longer name.
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| {
            let before = at.checked_sub(1).is_none_or(|n| !is_word(bytes[n]));
            let after = bytes.get(at + word.len()).is_none_or(|b| !is_word(*b));
            before && after
        })
        .collect()
}

/// The line, counted from 1, of a byte position.
pub fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
        + 1
}

/// The names that directly follow `prefix::`, also out of a `{a, b::c}` group.
pub fn names_after(code: &str, at: usize) -> Vec<String> {
    let rest = code[at..].trim_start();
    let Some(rest) = rest.strip_prefix("::") else {
        return Vec::new();
    };
    let rest = rest.trim_start();
    if !rest.starts_with('{') {
        return first_name(rest).into_iter().collect();
    }
    let group = &rest[1..block_end(rest.as_bytes(), 0).saturating_sub(1)];
    let mut depth = 0;
    let mut names = Vec::new();
    let mut expect = true;
    for (offset, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => expect = true,
            c if expect && !c.is_whitespace() => {
                names.extend(first_name(&group[offset..]));
                expect = false;
            }
            _ => {}
        }
    }
    names
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// How many inline `mod name { … }` blocks enclose a position.
pub fn inline_depth(code: &str, at: usize) -> usize {
    words(code, "mod")
        .into_iter()
        .filter(|start| {
            let end = item_end(code.as_bytes(), *start);
            *start < at && at < end && code.as_bytes()[end - 1] == b'}'
        })
        .count()
}

/// Every function with a body: its name, its first line and the number of its lines.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    words(code, "fn")
        .into_iter()
        .filter_map(|at| {
            let name = first_name(code[at + 2..].trim_start())?;
            let end = item_end(code.as_bytes(), at);
            let first = line_of(code, at);
            (code.as_bytes()[end - 1] == b'}')
                .then(|| (name, first, line_of(code, end) - first + 1))
        })
        .collect()
}
