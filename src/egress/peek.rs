//! For which host a stream is, by its first bytes, where its protocol says that in the clear.

use super::tls::{self, Hello};

/// The most headers of a request, as of most servers.
const HEADERS: usize = 100;

/// What HTTP/2 begins with where nothing has been agreed before (RFC 9113 section 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What the first bytes of a stream say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Too few to tell.
    Partial,
    /// Neither TLS nor HTTP.
    Other,
    /// TLS or HTTP that names no host.
    Unnamed,
    /// TLS or HTTP for this host.
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
        Said::Partial if !tls::begins(stream) && !is_request_line(stream) => Said::Other,
        Said::Partial => Said::Ambiguous,
        whole => whole,
    }
}

/// The same of a stream to a host that spoke first, which none does that is waiting for HTTP/1. What is not
/// known yet is not waited for where it cannot be one of the others.
pub(super) fn said_in_answer(stream: &[u8]) -> Said {
    match said(stream) {
        Said::Partial if !tls::begins(stream) && !HTTP_2.starts_with(stream) => Said::Other,
        known => known,
    }
}

fn http(stream: &[u8]) -> Said {
    if stream.starts_with(HTTP_2) {
        return Said::Ambiguous;
    }
    if HTTP_2.starts_with(stream) {
        return Said::Partial;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(stream) {
        Ok(httparse::Status::Partial) => Said::Partial,
        Ok(httparse::Status::Complete(_)) => of_request(&request),
        Err(httparse::Error::TooManyHeaders) => Said::Ambiguous,
        // Once there was a line of a request, what is wrong is wrong with a request.
        Err(_) if is_request_line(stream) => Said::Ambiguous,
        Err(_) => Said::Other,
    }
}

fn is_request_line(stream: &[u8]) -> bool {
    let line = stream
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|byte| byte.is_ascii_whitespace()).next();
    version.is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// The host of a request: that of its Host header and that of an absolute target are one.
fn of_request(request: &httparse::Request<'_, '_>) -> Said {
    let headers = request.headers.iter();
    let mut hosts = headers.filter(|header| header.name.eq_ignore_ascii_case("host"));
    let of_header = hosts.next().map(|header| std::str::from_utf8(header.value));
    if hosts.next().is_some() {
        return Said::Ambiguous;
    }
    let of_target = request.path.and_then(|target| target.split_once("://"));
    let of_target =
        of_target.map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match (of_header, of_target) {
        (Some(Err(_)), _) => Said::Ambiguous,
        (Some(Ok(header)), Some(target)) if !same(header, target) => Said::Ambiguous,
        (Some(Ok(host)), _) | (None, Some(host)) => match without_port(host) {
            Some("") => Said::Unnamed,
            Some(host) => Said::Host(host.to_owned()),
            None => Said::Ambiguous,
        },
        (None, None) => Said::Unnamed,
    }
}

fn same(one: &str, other: &str) -> bool {
    let (one, other) = (without_port(one), without_port(other));
    matches!((one, other), (Some(one), Some(other)) if one.eq_ignore_ascii_case(other))
}

/// The host of `HOST[:PORT]`; `None` when it is something else.
fn without_port(authority: &str) -> Option<&str> {
    if authority.contains('@') {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            (&authority[..end + 2], &rest[end + 1..])
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    port.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_request_is_said_once() {
        let host = |name: &str| Said::Host(name.to_owned());
        for (stream, says) in [
            (
                "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
                host("a.example"),
            ),
            (
                "GET / HTTP/1.1\r\nhost: A.example:8080\r\n\r\nrest",
                host("A.example"),
            ),
            (
                "GET http://a.example/x HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
                host("a.example"),
            ),
            ("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", host("[::1]")),
            (
                "GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
                Said::Ambiguous,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a.example\r\nHOST: b.example\r\n\r\n",
                Said::Ambiguous,
            ),
            (
                "GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n",
                Said::Ambiguous,
            ),
            (
                "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
                Said::Ambiguous,
            ),
            (
                "GET / HTTP/1.1\r\nX: y\r\n Host: a.example\r\n\r\n",
                Said::Ambiguous,
            ),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Said::Ambiguous),
            ("GET / HTTP/1.0\r\n\r\n", Said::Unnamed),
            ("GET / HTTP/1.1\r\nHost: a.ex", Said::Partial),
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
    fn who_answers_is_not_waited_for() {
        for (stream, says) in [
            ("still", Said::Other),
            ("P", Said::Partial),
            ("PRI * HTTP/2.0\r\n", Said::Ambiguous),
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
            ("GET / HTTP/1.1\r\nHost: a.example\r\n", Said::Ambiguous),
            ("GET / HTTP/1.1", Said::Ambiguous),
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
