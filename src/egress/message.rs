//! Messages of HTTP/1 as a proxy reads and hands them on (RFC 9110, RFC 9112).

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use super::guarded::Guarded;

/// A message's content: what arrives, or what we say.
pub(super) type Body = Either<Guarded, Full<Bytes>>;

/// What is said in the response of a proxy about why it made it (RFC 9209).
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Headers that are about one connection (RFC 9110 section 7.6.1), beside those that `Connection` names.
const OF_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Why a request is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The code of the response.
    pub status: StatusCode,
    /// The type of the error (RFC 9209 section 2.3).
    pub error: &'static str,
    /// For a person.
    pub why: String,
}

impl Refusal {
    pub(super) fn malformed(why: &str) -> Refusal {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            error: "http_request_error",
            why: why.to_owned(),
        }
    }

    /// The response that says it, and ends the connection.
    pub(super) fn response(self) -> Response<Body> {
        let Refusal { status, error, why } = self;
        let text = format!("buntime: {why}\n");
        let mut response = Response::new(Either::Right(Full::from(text)));
        *response.status_mut() = status;
        let said = HeaderValue::try_from(format!("buntime; error={error}"));
        let headers = response.headers_mut();
        if let Ok(said) = said {
            headers.insert(PROXY_STATUS, said);
        }
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// For which host a request is, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub host: String,
    /// The port, where it says one.
    pub port: Option<u16>,
}

/// The port of `http`.
pub(super) const WEB: u16 = 80;

/// The host for which a request is: that of its Host header and that of an absolute target are one.
/// `None` for an old request that names none.
///
/// # Errors
/// More than one answer, or none that can be trusted.
pub(super) fn host_of<B>(request: &Request<B>) -> Result<Option<Named>, Refusal> {
    let ambiguous = || Refusal::malformed("it does not say for which one host it is");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let of_header = hosts.next().map(HeaderValue::to_str);
    if hosts.next().is_some() {
        return Err(ambiguous());
    }
    let of_header = of_header.transpose().map_err(|_| ambiguous())?;
    let uri = request.uri();
    let of_target = uri.authority().map(|target| target.as_str());
    if of_target.is_some() && uri.scheme_str() != Some("http") {
        return Err(Refusal::malformed("its target is none of http"));
    }
    let names = [of_header.filter(|name| !name.is_empty()), of_target];
    let names = names.into_iter().flatten();
    let mut names = names.map(|name| named(name).ok_or_else(ambiguous));
    let name = names.next().transpose()?;
    let other = names.next().transpose()?;
    let is_one = |(name, other): (&Named, &Named)| {
        name.host.eq_ignore_ascii_case(&other.host)
            && name.port.unwrap_or(WEB) == other.port.unwrap_or(WEB)
    };
    match name {
        None if request.version() == Version::HTTP_10 => Ok(None),
        Some(name) if other.is_none_or(|other| is_one((&name, &other))) => Ok(Some(name)),
        _ => Err(ambiguous()),
    }
}

/// Reads `HOST[:PORT]`; `None` when it is something else.
fn named(authority: &str) -> Option<Named> {
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
    // Servers differ about zeros before a number.
    let is_number = |port: &&str| {
        let is_plain = *port == "0" || !port.starts_with('0');
        is_plain && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(port) => Some(Some(port).filter(is_number)?.parse().ok()?),
        None => return None,
    };
    let host = host.to_owned();
    Some(Named { host, port }).filter(|named| !named.host.is_empty())
}

/// Makes a request one to its server, in the form that servers know. Gives whether it wants to go on as
/// a WebSocket (RFC 6455).
pub(super) fn to_server<B>(request: &mut Request<B>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let upgrade = upgrade.filter(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let upgrade = upgrade.filter(|_| request.method() == Method::GET);
    let host = request.headers_mut().remove(header::HOST);
    let host = host.filter(|host| !host.is_empty());
    let of_target = request.uri().authority().map(|host| host.as_str().parse());
    end_connection_headers(request.headers_mut());
    // It has been answered, as whoever sends the content reads of it.
    request.headers_mut().remove(header::EXPECT);
    // Whatever was to be left out: each server hears for which host it is (RFC 9112 section 3.2.2).
    let host = host.or_else(|| of_target.and_then(Result::ok));
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    // As text it has a path, which is `/` where none is said (RFC 9112 section 3.2.1).
    let target = request.uri().path_and_query().map(ToString::to_string);
    if let Some(Ok(target)) = target.map(PathAndQuery::try_from) {
        *request.uri_mut() = Uri::from(target);
    }
    let wants = upgrade.is_some();
    if let Some(to) = upgrade {
        go_on_as(request.headers_mut(), to);
    }
    wants
}

/// Whether a response says in one way how much content it has. Whoever serves has said it so, and a program
/// that hears it otherwise could take a part of one response for another.
///
/// # Errors
/// It does not, for this reason.
pub(super) fn has_one_length<B>(response: &mut Response<B>) -> Result<(), &'static str> {
    let has_none =
        response.status() == StatusCode::NO_CONTENT || response.status().is_informational();
    let headers = response.headers_mut();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some() || coding.is_some_and(|coding| !is_plain(coding)) {
        return Err("the host encodes its content otherwise than in chunks");
    }
    let is_chunked = coding.is_some();
    let said = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths: Vec<&str> = Vec::new();
    for value in said {
        let value = value
            .to_str()
            .map_err(|_| "the length that the host says is none")?;
        lengths.extend(value.split(',').map(|one| one.trim_matches([' ', '\t'])));
    }
    lengths.dedup();
    let length = match lengths[..] {
        [] => None,
        [length] if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => Some(
            length
                .parse::<u64>()
                .map_err(|_| "the length that the host says is none")?,
        ),
        _ => return Err("the length that the host says is none"),
    };
    match length {
        Some(_) if is_chunked => Err("the host says a length, and that its content is in chunks"),
        _ if has_none && (is_chunked || length.is_some_and(|length| length != 0)) => {
            Err("the host says a length where there is no content")
        }
        Some(length) if !has_none => {
            headers.insert(header::CONTENT_LENGTH, length.into());
            Ok(())
        }
        _ => {
            headers.remove(header::CONTENT_LENGTH);
            Ok(())
        }
    }
}

/// Nothing comes on the connection of a response behind it.
pub(super) fn last(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Makes a response one to the program. Of a response that goes on as a WebSocket it stays said, and is given.
pub(super) fn to_program<B>(response: &mut Response<B>) -> bool {
    let upgrade = response.headers().get(header::UPGRADE).cloned();
    let upgrade = upgrade.filter(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let closes = names(response.headers()).any(|name| name == "close");
    end_connection_headers(response.headers_mut());
    if closes {
        last(response.headers_mut());
    }
    match upgrade.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(to) => {
            go_on_as(response.headers_mut(), to);
            true
        }
        None => false,
    }
}

fn go_on_as(headers: &mut HeaderMap, to: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, to);
}

fn end_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<String> = names(headers).collect();
    for name in named {
        headers.remove(name.as_str());
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

/// What `Connection` names, in lower case.
fn names(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    let values = headers.get_all(header::CONNECTION).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    names.map(|name| name.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, hosts: &[&str], version: Version) -> Request<()> {
        let mut request = Request::builder().uri(target).version(version);
        for host in hosts {
            request = request.header("Host", *host);
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn the_host_of_a_request_is_said_once() {
        for (target, hosts, host, port) in [
            ("/", &["a.example"][..], "a.example", None),
            ("/", &["A.example:8080"], "A.example", Some(8080)),
            ("/", &["[::1]:8080"], "[::1]", Some(8080)),
            (
                "http://a.example/x",
                &["A.example:80"],
                "a.example",
                Some(80),
            ),
            ("http://a.example:81/x", &[], "a.example", Some(81)),
        ] {
            let request = request(target, hosts, Version::HTTP_11);
            let found = host_of(&request).expect("one").expect("a host");
            assert!(
                found.host.eq_ignore_ascii_case(host),
                "{found:?}: {request:?}"
            );
            assert_eq!(found.port, port, "{request:?}");
        }
        for (target, hosts) in [
            ("/", &[][..]),
            ("/", &[""]),
            ("/", &["a.example", "b.example"]),
            ("/", &["a.example", "a.example"]),
            ("/", &["u@a.example"]),
            ("/", &["a.example:x"]),
            ("/", &["a.example:"]),
            ("/", &["a.example:080"]),
            ("/", &["a.example:65536"]),
            ("a.example:80", &["a.example:80"]),
            ("https://a.example/", &["a.example"]),
            ("http://a.example:81/x", &["a.example"]),
            ("/", &["[::1"]),
            ("/", &["[::1]x"]),
            ("http://b.example/x", &["a.example"]),
            ("http://u@a.example/x", &["a.example"]),
        ] {
            let request = request(target, hosts, Version::HTTP_11);
            assert!(host_of(&request).is_err(), "{request:?}");
        }
        let old = request("/", &[], Version::HTTP_10);
        assert_eq!(host_of(&old), Ok(None));
    }

    #[test]
    fn a_response_has_one_length() {
        let of = |status: u16, headers: &[(&str, &str)]| {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            let mut response = response.body(()).expect("a response");
            let framed = has_one_length(&mut response);
            let length = response.headers().get("content-length");
            framed.map(|()| length.map(|length| length.to_str().expect("text").to_owned()))
        };
        let (length, coding) = ("Content-Length", "Transfer-Encoding");
        for (status, headers, says) in [
            (200, &[][..], None),
            (200, &[(length, "3")], Some("3")),
            (200, &[(length, "3"), (length, "3")], Some("3")),
            (200, &[(coding, "Chunked")], None),
            (204, &[(length, "0")], None),
            (304, &[(length, "3")], Some("3")),
        ] {
            assert_eq!(
                of(status, headers),
                Ok(says.map(str::to_owned)),
                "{headers:?}"
            );
        }
        for (status, headers) in [
            (200, &[(length, "3"), (length, "4")][..]),
            (200, &[(length, "3, 4")]),
            (200, &[(length, "+3")]),
            (200, &[(length, "")]),
            (200, &[(length, "99999999999999999999")]),
            (200, &[(length, "3"), (coding, "chunked")]),
            (200, &[(coding, "gzip, chunked")]),
            (200, &[(coding, "chunked"), (coding, "chunked")]),
            (200, &[(coding, "identity")]),
            (204, &[(length, "3")]),
            (204, &[(coding, "chunked")]),
        ] {
            assert!(of(status, headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn what_is_about_one_connection_stays_there() {
        let mut request = request("http://a.example/x?y", &["a.example"], Version::HTTP_11);
        let headers = request.headers_mut();
        for (name, value) in [
            ("connection", "keep-alive, X-Own, Host"),
            ("x-own", "1"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-other", "2"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert!(!to_server(&mut request));
        assert_eq!(request.uri(), "/x?y");
        let mut left: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-other"]);
        request
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        assert!(to_server(&mut request));
        assert_eq!(request.headers()[header::CONNECTION], "upgrade");
    }

    #[test]
    fn a_target_has_a_path() {
        for (said, sent) in [
            ("http://a.example", "/"),
            ("http://a.example#b", "/"),
            ("http://a.example?b", "/?b"),
            ("/b?c", "/b?c"),
            ("*", "*"),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = said.parse().expect("a URI");
            to_server(&mut request);
            assert_eq!(request.uri().to_string(), sent, "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_stops_it(host: Vec<u8>, target in "[/:@.a-z0-9\\[\\]]{0,30}") {
            let known = ["a.example", "http://a.example", "/"];
            let targets = known.iter().map(|known| format!("{known}{target}"));
            for target in targets.chain([target.clone()]) {
                let (Ok(host), Ok(uri)) = (HeaderValue::from_bytes(&host), target.parse::<Uri>()) else {
                    continue;
                };
                let request = Request::builder().uri(uri).header("Host", host);
                let mut request = request.body(()).expect("a request");
                if let Ok(Some(named)) = host_of(&request) {
                    assert!(!named.host.is_empty() && !named.host.contains('@'));
                }
                let _any = to_server(&mut request);
            }
        }
    }
}
