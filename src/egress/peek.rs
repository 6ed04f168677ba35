//! What a stream is, by its first bytes, and for which host, where its protocol says that in the clear
//! before anything else.

use super::tls::{self, Hello};

/// What HTTP/2 begins with where nothing has been agreed before (RFC 9113 section 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What the first bytes of a stream say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Too few to tell.
    Partial,
    /// Neither TLS nor HTTP.
    Other,
    /// HTTP/1: each of its requests names its host.
    Requests,
    /// TLS that names no host.
    Unnamed,
    /// TLS for this host.
    Host(String),
    /// More than one answer, or none that can be trusted.
    Ambiguous,
}

/// Reads the beginning of a stream.
pub(super) fn said(stream: &[u8]) -> Said {
    match tls::hello(stream) {
        Hello::Other => http(stream),
        Hello::Partial => Said::Partial,
        Hello::Unnamed => Said::Unnamed,
        Hello::Named(name) => Said::Host(name),
        Hello::Malformed => Said::Ambiguous,
    }
}

/// The same of all that a stream had. What could have become a request or a greeting is neither now, but
/// where it has begun to say so: there are servers that take the end for the rest.
pub(super) fn said_at_end(stream: &[u8]) -> Said {
    match said(stream) {
        Said::Partial if !tls::begins(stream) && !is_of_http(stream) => Said::Other,
        Said::Partial => Said::Ambiguous,
        whole => whole,
    }
}

/// The same of a stream to a host that spoke first, which none does that is waiting for HTTP/1. What is not
/// known yet is not waited for where it cannot be one of the others.
pub(super) fn said_in_answer(stream: &[u8]) -> Said {
    match said(stream) {
        Said::Partial if !tls::begins(stream) && !HTTP_2.starts_with(stream) => Said::Other,
        Said::Requests => Said::Ambiguous,
        known => known,
    }
}

/// How a stream goes on that is neither TLS nor HTTP as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Later {
    /// Its first line may still say that it is a request.
    Unknown,
    /// It says so.
    Request,
    /// It does not, or is none.
    Other,
}

/// Bytes of a first line that are looked at: servers have read no longer one by far.
const LONGEST_LINE: usize = 16 << 10;

/// Looks at a first line that was not whole when it was clear that no request begins so that keeps to the
/// rules: servers are lenient about methods too.
pub(super) fn later(stream: &[u8]) -> Later {
    let (_, is_whole) = first_line(stream);
    match (is_of_http(stream), is_whole || stream.len() > LONGEST_LINE) {
        (true, _) => Later::Request,
        (false, true) => Later::Other,
        (false, false) => Later::Unknown,
    }
}

fn http(stream: &[u8]) -> Said {
    if stream.starts_with(HTTP_2) {
        return Said::Ambiguous;
    }
    if HTTP_2.starts_with(stream) {
        return Said::Partial;
    }
    let (line, is_whole) = first_line(stream);
    match (is_of_http(stream), is_whole || !could_be_request(line)) {
        (true, _) => Said::Requests,
        (false, true) => Said::Other,
        (false, false) => Said::Partial,
    }
}

/// The first line that has something in it, without what stands before, and whether it has its end. A CR
/// alone is none: there are servers that take it for a blank (RFC 9112 section 2.2).
fn first_line(stream: &[u8]) -> (&[u8], bool) {
    let mut rest = stream.trim_ascii_start();
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return (rest, false);
        };
        if !rest[..end].iter().all(is_nothing) {
            return (&rest[..end], true);
        }
        rest = rest[end + 1..].trim_ascii_start();
    }
}

/// What some servers take for a blank, so that a line of nothing else is empty to them.
fn is_nothing(byte: &u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7f | 0x85 | 0xa0)
}

/// Whether a line could still become that of a request: a method (RFC 9110 section 5.6.2) and what servers
/// take for the blanks behind it.
fn could_be_request(line: &[u8]) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0xb | 0xc);
    let method = line.iter().position(is_blank).unwrap_or(line.len());
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    line[..method].iter().all(is_token)
        && line[method..]
            .iter()
            .all(|byte| *byte >= b' ' || is_blank(byte))
}

/// Whether its first line says that it is a request, well formed or not: servers are lenient.
fn is_of_http(stream: &[u8]) -> bool {
    let (line, _) = first_line(stream);
    let mut words = line.windows(VERSION.len());
    words.any(|word| word.eq_ignore_ascii_case(VERSION))
}

/// What the version of a request begins with (RFC 9112 section 2.3).
const VERSION: &[u8] = b"HTTP/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_first_line() {
        for (stream, says) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Said::Requests),
            ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", Said::Requests),
            ("GET / HTTP/1.", Said::Requests),
            ("\r\n\r\nGET / HTTP/1.1\r\n", Said::Requests),
            ("GET / HTTP/1.1 \r\n", Said::Requests),
            ("GET\u{b}/\u{b}http/1.1\r\n", Said::Requests),
            ("POST /s\ren HTTP/1.1\r\n", Said::Requests),
            ("POST\r/s\r", Said::Partial),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Said::Ambiguous),
            (" \r\nGET  / HTTP/1.1\r\n", Said::Requests),
            ("\u{b}\r\n\u{1}\nGET / HTTP/1.1\r\n", Said::Requests),
            ("\u{b}\r\n", Said::Partial),
            ("GET /", Said::Partial),
            ("\r\n", Said::Partial),
            ("GET  ", Said::Partial),
            ("GET\u{b}/\u{b}", Said::Partial),
            ("GET /\r\n", Said::Other),
            ("PR", Said::Partial),
            ("", Said::Partial),
            ("SSH-2.0-OpenSSH_9.2\r\n", Said::Other),
            ("EHLO a.example\r\n", Said::Other),
            ("*1\r\n$4\r\nPING\r\n", Said::Other),
            ("\u{1}\u{0}\u{2}", Said::Other),
        ] {
            assert_eq!(said(stream.as_bytes()), says, "{stream:?}");
        }
    }

    #[test]
    fn a_first_line_is_looked_at_to_its_end() {
        for (stream, says) in [
            ("G:T / HTTP", Later::Unknown),
            ("G:T / HTTP/1.1\r\n", Later::Request),
            ("{\"a\": 1}", Later::Unknown),
            ("{\"a\": 1}\nGET / HTTP/1.1\r\n", Later::Other),
            ("\u{b}\r\nG:T / http/1.1", Later::Request),
        ] {
            assert_eq!(later(stream.as_bytes()), says, "{stream:?}");
        }
        assert_eq!(later(&vec![b'{'; LONGEST_LINE + 1]), Later::Other);
    }

    #[test]
    fn who_answers_is_not_waited_for() {
        for (stream, says) in [
            ("still", Said::Other),
            ("P", Said::Partial),
            ("PRI * HTTP/2.0\r\n", Said::Ambiguous),
            ("GET / HTTP/1.1\r\n", Said::Ambiguous),
            ("\u{16}", Said::Partial),
            ("EHLO a.example\r\n", Said::Other),
        ] {
            assert_eq!(said_in_answer(stream.as_bytes()), says, "{stream:?}");
        }
    }

    #[test]
    fn what_has_ended_is_whole() {
        for (stream, says) in [
            ("", Said::Other),
            ("and back", Said::Other),
            ("GET /", Said::Other),
            ("GET / HTTP/1.1\r\nHost: a.example\r\n", Said::Requests),
            ("\u{16}", Said::Ambiguous),
        ] {
            assert_eq!(said_at_end(stream.as_bytes()), says, "{stream:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_stop_it(bytes: Vec<u8>, length in 0_usize..60) {
            let _any = said(&bytes);
            let mut stream = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec();
            stream.truncate(length);
            stream.extend(&bytes);
            let _any = said(&stream);
        }
    }
}
