//! The head of a request, by the letter of RFC 9112.
//!
//! Whatever two servers could take for two things is refused, before another parser sees it: none of the
//! liberties that a recipient may take is taken. What passes has one length, and one host is looked for in
//! it by [`host_of`](super::message::host_of).

use std::str::from_utf8;

/// How much content a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Pieces that each say their size.
    Chunks,
}

/// What a head says of the bytes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub method: String,
    pub framing: Framing,
    /// Whether it wants to go on as something else: what comes behind it is then no request.
    pub goes_on: bool,
}

/// Why something is refused.
pub(super) type Why = &'static str;

/// The most fields that a head has.
const FIELDS: usize = 100;

/// Digits of a length, which fits into a signed number of 64 bits then.
const DIGITS: usize = 18;

/// Fields on which it depends where a request ends and for whom it is.
const OF_MESSAGE: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// Reads a head with the empty line behind it. Each of its lines ends as [`line`] says.
///
/// # Errors
/// It could be read in two ways.
pub(super) fn head(bytes: &[u8]) -> Result<Head, Why> {
    let mut lines = Lines(bytes);
    let (method, is_old) = request_line(lines.next().ok_or("it has no first line")??)?;
    let mut seen = Seen::default();
    let mut count = 0;
    for text in lines {
        let text = text?;
        if text.is_empty() {
            break;
        }
        count += 1;
        if count > FIELDS {
            return Err("it has too many fields");
        }
        seen.take(&field(text)?)?;
    }
    let framing = match (seen.length, seen.is_chunked) {
        (Some(_), true) => return Err("it says its length, and that it is in chunks"),
        (_, true) if is_old => return Err("HTTP/1.0 knows no chunks"),
        (_, true) => Framing::Chunks,
        (length, false) => Framing::Length(length.unwrap_or(0)),
    };
    let is_empty = framing == Framing::Length(0);
    if seen.length.or(seen.is_chunked.then_some(0)).is_some()
        && matches!(method, "CONNECT" | "TRACE")
    {
        return Err("its method has no content");
    }
    Ok(Head {
        method: method.to_owned(),
        framing,
        goes_on: method == "CONNECT" || (method == "GET" && is_empty && seen.wants_websocket),
    })
}

/// The end of the line that begins at `from`, without what ends it; `None` where more is to come.
///
/// # Errors
/// Something in it ends it for some servers, or is seen as nothing by some.
pub(super) fn line(bytes: &[u8], from: usize) -> Result<Option<usize>, Why> {
    let rest = bytes.get(from..).unwrap_or_default();
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    let Some(at) = rest.iter().position(is_control) else {
        return Ok(None);
    };
    match &rest[at..] {
        [b'\r', b'\n', ..] => Ok(Some(from + at)),
        [b'\r'] => Ok(None),
        [b'\r' | b'\n', ..] => Err("a line in it ends otherwise than by CR and LF"),
        _ => Err("it has a control character in it"),
    }
}

/// A field behind chunks: it may say nothing about the message, which is over.
///
/// # Errors
/// It does, or is none.
pub(super) fn trailer(text: &[u8]) -> Result<(), Why> {
    let name = field(text)?.name;
    match OF_MESSAGE.contains(&&*name) || name == "connection" {
        true => Err("it says behind its content how long it is or for whom"),
        false => Ok(()),
    }
}

/// The size of a chunk, without what may be said of it, which is left out.
///
/// # Errors
/// It is no plain number.
pub(super) fn chunk(text: &[u8]) -> Result<u64, Why> {
    let why = "a chunk of it has no plain size";
    let end = text.iter().position(|byte| *byte == b';');
    let size = &text[..end.unwrap_or(text.len())];
    let is_plain = !size.is_empty() && size.len() <= 15 && size.iter().all(u8::is_ascii_hexdigit);
    let size = from_utf8(size).ok().filter(|_| is_plain).ok_or(why)?;
    u64::from_str_radix(size, 16).map_err(|_| why)
}

/// The lines of a head.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Why>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = match line(self.0, 0) {
            Ok(Some(end)) => end,
            Ok(None) => return None,
            Err(why) => return Some(Err(why)),
        };
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[2..];
        Some(Ok(text))
    }
}

/// The method, and whether the version is the older one.
fn request_line(text: &[u8]) -> Result<(&str, bool), Why> {
    let mut words = text.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("its first line is no method, target and version");
    };
    let is_old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err("its version is neither HTTP/1.1 nor HTTP/1.0"),
    };
    if !is_token(method) || method == b"PRI" {
        return Err("its method is none");
    }
    // A fragment, which some programs say to a proxy, is left out when it is written anew.
    if target.is_empty() || target.starts_with(b"#") {
        return Err("its target is none");
    }
    if target == b"*" && method != b"OPTIONS" {
        return Err("its target is for OPTIONS alone");
    }
    from_utf8(method)
        .map(|method| (method, is_old))
        .map_err(|_| "its method is none")
}

/// One field.
struct Field<'a> {
    /// In small letters.
    name: String,
    value: &'a [u8],
}

fn field(text: &[u8]) -> Result<Field<'_>, Why> {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Err("a line in it goes on with the one before");
    }
    let colon = text.iter().position(|byte| *byte == b':');
    let (name, value) = text.split_at(colon.ok_or("a field in it has no colon")?);
    if !is_token(name) {
        return Err("the name of a field in it is none");
    }
    let name: String = name
        .iter()
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect();
    let is_dash = |letter: char| !letter.is_ascii_alphanumeric();
    let seen = name.replace(is_dash, "-");
    if seen != name && OF_MESSAGE.contains(&&*seen) {
        return Err("some servers take a field in it for another");
    }
    Ok(Field {
        name,
        value: value[1..].trim_ascii(),
    })
}

/// What the fields so far say of their message.
#[derive(Debug, Default)]
struct Seen {
    length: Option<u64>,
    is_chunked: bool,
    has_host: bool,
    wants_websocket: bool,
}

impl Seen {
    fn take(&mut self, Field { name, value }: &Field<'_>) -> Result<(), Why> {
        match name.as_str() {
            "content-length" if self.length.is_some() => return Err("it says its length twice"),
            "content-length" => self.length = Some(length(value)?),
            "transfer-encoding" if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") => {
                return Err("its content is encoded otherwise than in chunks");
            }
            "transfer-encoding" => self.is_chunked = true,
            "host" if self.has_host => return Err("it does not say for which one host it is"),
            "host" => self.has_host = true,
            "connection" => connection(value)?,
            "expect" if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err("it expects something else than to be let go on");
            }
            "upgrade" => self.wants_websocket |= value.eq_ignore_ascii_case(b"websocket"),
            _ => {}
        }
        Ok(())
    }
}

fn length(value: &[u8]) -> Result<u64, Why> {
    let why = "its length is no plain number";
    let is_plain = (1..=DIGITS).contains(&value.len())
        && value.iter().all(u8::is_ascii_digit)
        && (value[0] != b'0' || value.len() == 1);
    let value = from_utf8(value).ok().filter(|_| is_plain).ok_or(why)?;
    value.parse().map_err(|_| why)
}

/// What is only about one connection cannot be what the message depends on.
fn connection(value: &[u8]) -> Result<(), Why> {
    let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_of_message = |name: &[u8]| {
        OF_MESSAGE
            .iter()
            .any(|of| name.eq_ignore_ascii_case(of.as_bytes()))
    };
    match names.any(is_of_message) {
        true => Err("it has a field left out on which it depends where it ends"),
        false => Ok(()),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(word: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> Result<Head, Why> {
        head(format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn a_request_has_one_length() {
        for (fields, framing) in [
            ("", Framing::Length(0)),
            ("Content-Length: 0\r\n", Framing::Length(0)),
            ("content-LENGTH:\t12 \r\n", Framing::Length(12)),
            (
                "Content-Length: 999999999999999999\r\n",
                Framing::Length(999_999_999_999_999_999),
            ),
            ("Transfer-Encoding: Chunked\r\n", Framing::Chunks),
            ("X_Y: 1\r\nX-Content-Length: 7\r\n", Framing::Length(0)),
        ] {
            let head = of(fields).unwrap_or_else(|why| panic!("{fields:?}: {why}"));
            assert_eq!(head.framing, framing, "{fields:?}");
        }
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 03\r\n",
            "Content-Length: 0x3\r\n",
            "Content-Length: \r\n",
            "Content-Length: 1000000000000000000\r\n",
            "Content-Length : 3\r\n",
            "Content_Length: 3\r\n",
            "Transfer.Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: \u{b}chunked\r\n",
            "Transfer-Encoding: chunked;q=1\r\n",
            "Connection: close, Content-Length\r\n",
            "Expect: 200-ok\r\n",
            "Host: a.example\r\n",
            "X: y\r\n z\r\n",
            "X: y\n",
            "X: y\rz\r\n",
            "X\r\n",
            ": x\r\n",
            "X: \0\r\n",
        ] {
            assert!(of(fields).is_err(), "{fields:?}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(head(old).is_err());
    }

    #[test]
    fn a_request_has_one_first_line() {
        for (line, goes_on) in [
            ("GET / HTTP/1.0", false),
            ("OPTIONS * HTTP/1.1", false),
            ("GET /x#a HTTP/1.1", false),
            ("CONNECT a.example:1 HTTP/1.1", true),
            ("GET /\u{e9} HTTP/1.1", false),
        ] {
            let head = head(format!("{line}\r\n\r\n").as_bytes());
            assert_eq!(head.map(|head| head.goes_on), Ok(goes_on), "{line:?}");
        }
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "GET / HTTP/1.2",
            "GET /a b HTTP/1.1",
            "GET #a HTTP/1.1",
            "GET * HTTP/1.1",
            "GET /",
            "PRI * HTTP/1.1",
            "G(T / HTTP/1.1",
            "",
        ] {
            assert!(
                head(format!("{line}\r\n\r\n").as_bytes()).is_err(),
                "{line:?}"
            );
        }
        let framed = b"CONNECT a.example:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        assert!(head(framed).is_err());
    }

    #[test]
    fn a_chunk_has_a_plain_size() {
        for (text, size) in [("0", 0), ("fF", 255), ("3;a=b", 3), ("00a", 10)] {
            assert_eq!(chunk(text.as_bytes()), Ok(size), "{text}");
        }
        for text in [
            "",
            ";a",
            "0x3",
            "+3",
            "3 ",
            " 3",
            "1_0",
            "-1",
            "g",
            "0000000000000003",
        ] {
            assert!(chunk(text.as_bytes()).is_err(), "{text}");
        }
        assert!(trailer(b"X: y").is_ok());
        for text in [
            "Content-Length: 3",
            "transfer-encoding: chunked",
            "Host: b.example",
            " x",
        ] {
            assert!(trailer(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_stop_it(bytes: Vec<u8>, at in 0_usize..80) {
            let mut whole = b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\n".to_vec();
            whole.splice(at.min(whole.len()).., bytes.iter().copied());
            for bytes in [&bytes, &whole] {
                let _any = (head(bytes), line(bytes, at), chunk(bytes), trailer(bytes));
            }
        }
    }
}
