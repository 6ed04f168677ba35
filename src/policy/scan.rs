//! Strict JSON with positions: what serde_json forgets, a policy needs for its messages.
//!
//! Refused besides what JSON refuses: a name given twice in one object, nesting deeper than
//! [`MAX_DEPTH`], documents longer than [`MAX_BYTES`].

use std::borrow::Cow;

/// The deepest nesting of objects and lists.
pub(super) const MAX_DEPTH: usize = 64;
/// The longest document, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// A place in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u32,
    pub line: u32,
}

/// A value and where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node<'t> {
    pub at: Place,
    pub value: Value<'t>,
}

/// A JSON value; text borrows from the document where it can.
#[derive(Debug, Clone)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

/// A named value of an object.
#[derive(Debug, Clone)]
pub(super) struct Member<'t> {
    pub name: Cow<'t, str>,
    pub at: Place,
    pub node: Node<'t>,
}

impl Value<'_> {
    /// What it is, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// Why the text is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanError {
    pub at: Place,
    pub message: String,
}

/// Reads one document.
pub(super) fn scan(text: &str) -> Result<Node<'_>, ScanError> {
    let mut scanner = Scanner {
        text,
        position: 0,
        line: 1,
    };
    if text.len() > MAX_BYTES {
        return Err(scanner.error(format!("the document is longer than {MAX_BYTES} bytes")));
    }
    let node = scanner.node(0)?;
    scanner.skip_space();
    match scanner.peek() {
        None => Ok(node),
        Some(_) => Err(scanner.error("something follows the end of the document")),
    }
}

struct Scanner<'t> {
    text: &'t str,
    position: usize,
    line: u32,
}

impl<'t> Scanner<'t> {
    fn place(&self) -> Place {
        Place {
            offset: self.position as u32,
            line: self.line,
        }
    }

    fn error(&self, message: impl Into<String>) -> ScanError {
        ScanError {
            at: self.place(),
            message: message.into(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.position += 1;
        }
    }

    fn expect(&mut self, byte: u8, context: &str) -> Result<(), ScanError> {
        self.skip_space();
        if self.peek() != Some(byte) {
            return Err(self.unexpected(context));
        }
        self.position += 1;
        Ok(())
    }

    fn unexpected(&self, context: &str) -> ScanError {
        match self.text[self.position..].chars().next() {
            None => self.error(format!("the document ends where {context} should be")),
            Some(found) => self.error(format!("{found:?} where {context} should be")),
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node<'t>, ScanError> {
        self.skip_space();
        let at = self.place();
        let value = match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
            }
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { at, value })
    }

    fn word(&mut self) -> Result<Value<'t>, ScanError> {
        let rest = &self.text[self.position..];
        let words = [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ];
        for (word, value) in words {
            if rest.starts_with(word) {
                self.position += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'t>, ScanError> {
        self.position += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.node(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b']') => {
                    self.position += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.unexpected("\",\" or \"]\"")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'t>, ScanError> {
        self.position += 1;
        let mut members: Vec<Member<'t>> = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let at = self.place();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a name in double quotes"));
            }
            let name = self.string()?;
            self.expect(b':', "\":\"")?;
            let node = self.node(depth + 1)?;
            members.push(Member { name, at, node });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b'}') => {
                    self.position += 1;
                    no_duplicates(&members)?;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.unexpected("\",\" or \"}\"")),
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'t, str>, ScanError> {
        self.position += 1;
        let start = self.position;
        let mut owned: Option<String> = None;
        let mut piece = start;
        loop {
            match self.peek() {
                None => return Err(self.error("the document ends inside a string")),
                Some(b'"') => {
                    let tail = &self.text[piece..self.position];
                    self.position += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(tail),
                        Some(text) => Cow::Owned(text + tail),
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_with(String::new);
                    text.push_str(&self.text[piece..self.position]);
                    let escaped = self.escape()?;
                    text.push(escaped);
                    piece = self.position;
                }
                Some(0..=0x1f) => {
                    return Err(self.error("a control character inside a string; write it as \\u"));
                }
                Some(_) => self.position += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, ScanError> {
        self.position += 1;
        let Some(byte) = self.peek() else {
            return Err(self.error("the document ends inside a string"));
        };
        self.position += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => {
                self.position -= 1;
                return Err(self.unexpected("an escape that JSON has"));
            }
        })
    }

    fn unicode_escape(&mut self) -> Result<char, ScanError> {
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.text[self.position..].starts_with("\\u") {
                return Err(self.error("half of a surrogate pair"));
            }
            self.position += 2;
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.error("half of a surrogate pair"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.error("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, ScanError> {
        let digits = self.text.as_bytes().get(self.position..self.position + 4);
        let valid = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(code) = valid
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        else {
            return Err(self.error("four hexadecimal digits should follow \\u"));
        };
        self.position += 4;
        Ok(code)
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected("a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.position += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'t>, ScanError> {
        let at = self.place();
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.error("a number does not start with 0"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits()?;
        }
        match self.text[start..self.position].parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Number(number)),
            _ => Err(ScanError {
                at,
                message: "a number too large to be held".into(),
            }),
        }
    }
}

/// Objects are small or sorted: a document of a million names must not cost a million squared.
fn no_duplicates(members: &[Member<'_>]) -> Result<(), ScanError> {
    let mut order: Vec<&Member<'_>> = members.iter().collect();
    order.sort_by(|one, other| one.name.cmp(&other.name));
    let twice = order.windows(2).filter(|pair| pair[0].name == pair[1].name);
    match twice.min_by_key(|pair| pair[1].at.offset) {
        None => Ok(()),
        Some(pair) => Err(ScanError {
            at: pair[1].at,
            message: format!(
                "{:?} stands here again, after line {}",
                pair[1].name, pair[0].at.line
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u32, String) {
        let error = scan(text).expect_err(text);
        (error.at.line, error.message)
    }

    #[test]
    fn values_and_their_lines() {
        let node =
            scan("{\n \"a\": [1, -2.5e1, \"x\\u00e9\\ud83d\\ude00\", true, null]\n}").unwrap();
        let Value::Object(members) = node.value else {
            panic!()
        };
        assert_eq!((members[0].name.as_ref(), members[0].at.line), ("a", 2));
        let Value::List(items) = &members[0].node.value else {
            panic!()
        };
        assert!(matches!(items[1].value, Value::Number(number) if number == -25.0));
        assert!(matches!(&items[2].value, Value::Text(text) if text == "xé😀"));
    }

    #[test]
    fn what_json_refuses_is_refused() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "1e",
            "tru",
            "'a'",
            "\"\\x\"",
            "\"\t\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "1 2",
            "{a:1}",
            "NaN",
            "1e999",
            "\u{feff}1",
            "\"\\u12\"",
            "// c\n1",
        ] {
            assert!(scan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn twice_is_refused_where_it_stands_again() {
        let (line, message) = refused("{\n\"a\":1,\n\"b\":2,\n\"\\u0061\":3}");
        assert_eq!(line, 4);
        assert!(message.contains("after line 2"), "{message}");
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(scan(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
        assert!(refused(&"[".repeat(65)).1.contains("64 levels"));
        assert!(refused(&" ".repeat(MAX_BYTES + 1)).1.contains("longer"));
    }
}
