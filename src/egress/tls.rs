//! The name in the first message of TLS (RFC 8446 section 4.1.2, RFC 6066 section 3), read from as
//! much of a stream as there is.

/// The most bytes of a first message that are waited for.
pub(super) const LONGEST: usize = 1 << 16;

const HANDSHAKE: u8 = 22;
/// The other kinds of record that there are: servers pass over some that come first.
const OTHER_RECORDS: [u8; 3] = [20, 21, 23];
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What a stream begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hello {
    /// It is no TLS.
    Other,
    /// There has to be more of it.
    Partial,
    /// A first message that names no host.
    Unnamed,
    /// A first message for this host.
    Named(String),
    /// A record of TLS that is no proper first message.
    Malformed,
}

/// Whether it is TLS, if it is anything.
pub(super) fn begins(stream: &[u8]) -> bool {
    stream.first() == Some(&HANDSHAKE)
}

/// Whether it is the greeting of SSL version 2 (RFC 5246 appendix E.2), by which servers of TLS are greeted
/// too. It names no host.
fn is_of_version_2(stream: &[u8]) -> bool {
    matches!(stream, [first, _, CLIENT_HELLO, 0 | 3, ..] if first & 0x80 != 0)
}

/// Reads the beginning of a stream.
pub(super) fn hello(stream: &[u8]) -> Hello {
    match stream {
        [] | [HANDSHAKE] => return Hello::Partial,
        [HANDSHAKE, 3, ..] => {}
        [first] if OTHER_RECORDS.contains(first) => return Hello::Partial,
        [first, 3, ..] if OTHER_RECORDS.contains(first) => return Hello::Malformed,
        [first] | [first, _] | [first, _, CLIENT_HELLO] if first & 0x80 != 0 => {
            return Hello::Partial;
        }
        _ if is_of_version_2(stream) => return Hello::Malformed,
        _ => return Hello::Other,
    }
    let mut message = Vec::new();
    let mut rest = stream;
    loop {
        if let [CLIENT_HELLO, a, b, c, body @ ..] = &message[..] {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > LONGEST {
                return Hello::Malformed;
            }
            if let Some(body) = body.get(..length) {
                return named(body);
            }
        } else if !message.is_empty() && message[0] != CLIENT_HELLO {
            return Hello::Malformed;
        }
        let [kind, major, _, high, low, after @ ..] = rest else {
            return Hello::Partial;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if (*kind, *major) != (HANDSHAKE, 3) || length == 0 || length > 1 << 14 {
            return Hello::Malformed;
        }
        let Some(part) = after.get(..length) else {
            return Hello::Partial;
        };
        message.extend(part);
        rest = &after[length..];
    }
}

fn named(body: &[u8]) -> Hello {
    match server_name(body) {
        Some(Some(name)) => Hello::Named(name),
        Some(None) => Hello::Unnamed,
        None => Hello::Malformed,
    }
}

/// `None` for a message that is not as it has to be.
fn server_name(body: &[u8]) -> Option<Option<String>> {
    let mut hello = Reader(body);
    // Version and random.
    hello.take(2 + 32)?;
    hello.short_list()?;
    hello.list()?;
    hello.short_list()?;
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(hello.list()?);
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let value = extensions.list()?;
        if kind != SERVER_NAME {
            continue;
        }
        let mut value = Reader(value);
        let mut names = Reader(value.list()?);
        let [kind] = names.take(1)? else { return None };
        let name = names.list()?;
        // One name, of the one kind that there is, once.
        if *kind != HOST_NAME || !names.0.is_empty() || !value.0.is_empty() || found.is_some() {
            return None;
        }
        found = Some(String::from_utf8(name.to_vec()).ok()?);
    }
    Some(found)
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let two = self.take(2)?;
        Some(u16::from_be_bytes(two.try_into().ok()?))
    }

    /// What comes after its length in two bytes.
    fn list(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    /// What comes after its length in one byte.
    fn short_list(&mut self) -> Option<&'b [u8]> {
        let [length] = self.take(1)? else { return None };
        self.take((*length).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &counted(&[0x13, 1]),
            &[1, 0],
            &counted(extensions),
        ]
        .concat();
        [
            &[CLIENT_HELLO],
            &(body.len() as u32).to_be_bytes()[1..],
            &body,
        ]
        .concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &counted(part)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn for_host(name: &str) -> Vec<u8> {
        let entry = [&[HOST_NAME][..], &counted(name.as_bytes())].concat();
        [&SERVER_NAME.to_be_bytes()[..], &counted(&counted(&entry))].concat()
    }

    #[test]
    fn the_name_is_found_however_it_comes() {
        let message = message(&[&[0, 43, 0, 1, 0][..], &for_host("a.example")].concat());
        for size in [1, 7, 1 << 14] {
            let stream = records(&message, size);
            assert_eq!(hello(&stream), Hello::Named("a.example".to_owned()));
            for end in 0..stream.len() {
                assert_eq!(
                    hello(&stream[..end]),
                    Hello::Partial,
                    "{end} of {}",
                    stream.len()
                );
            }
        }
    }

    #[test]
    fn what_is_no_first_message_is_not_taken_for_one() {
        assert_eq!(hello(b"GET / HTTP/1.1\r\n"), Hello::Other);
        assert_eq!(hello(&[HANDSHAKE, 2]), Hello::Other);
        // An alert before the greeting, and the greeting of an older version.
        assert_eq!(hello(&[21, 3, 1, 0, 2, 1, 90]), Hello::Malformed);
        assert_eq!(hello(&[0x80, 46, 1, 3, 1]), Hello::Malformed);
        assert_eq!(hello(&[0x80, 46, 1, 7]), Hello::Other);
        assert_eq!(hello(&records(&message(&[]), 99)), Hello::Unnamed);
        let twice = [for_host("a.example"), for_host("b.example")].concat();
        assert_eq!(hello(&records(&message(&twice), 999)), Hello::Malformed);
        assert_eq!(hello(&[HANDSHAKE, 3, 1, 0, 0]), Hello::Malformed);
        assert_eq!(hello(&[HANDSHAKE, 3, 1, 0, 1, 2]), Hello::Malformed);
        let mut cut = message(&for_host("a.example"));
        cut[3] -= 1;
        assert_eq!(hello(&records(&cut, 999)), Hello::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_stop_it(bytes: Vec<u8>, length in 0_usize..300) {
            let _any = hello(&bytes);
            let mut stream = records(&message(&for_host("a.example")), 50);
            stream.truncate(length);
            stream.extend(&bytes);
            let _any = hello(&stream);
        }
    }
}
