//! Credentials that are put into requests on their way.
//!
//! A program has a word in the place of each. Where a request says that word to a host that the credential
//! is for, over TLS, it goes out with the credential; whoever has the policy decides that, and hears of it
//! first. What a host says is searched for the credentials too, and none is handed on.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Uri};

/// What the credentials of a user and a password begin with (RFC 7617).
const BASIC: &[u8] = b"Basic ";

/// A credential, and the word that stands for it.
#[derive(Clone)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// What programs have in its place. Nobody can guess it.
    pub placeholder: String,
    /// Visible characters of ASCII.
    pub value: String,
}

impl fmt::Debug for Secret {
    /// Without what it is.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Those of one run.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    pub(super) fn new(secrets: Vec<Secret>) -> Secrets {
        Secrets(secrets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of those for which a request has a word.
    pub(super) fn named_in<B>(&self, request: &Request<B>) -> Vec<String> {
        let stands_in = |secret: &&Secret| {
            let word = &secret.placeholder;
            let target = request.uri().to_string();
            let headers = request.headers();
            target.contains(word) || headers.iter().any(|(name, value)| holds(name, value, word))
        };
        let named = self.0.iter().filter(stands_in);
        named.map(|secret| secret.name.clone()).collect()
    }

    /// Puts those of these names into a request, for their words; `None` where it cannot be said so.
    pub(super) fn put<B>(&self, request: &mut Request<B>, names: &[String]) -> Option<()> {
        let named = self.0.iter().filter(|secret| names.contains(&secret.name));
        for secret in named {
            let (word, value) = (&secret.placeholder, &secret.value);
            let mut put = HeaderMap::with_capacity(request.headers().len());
            for (name, said) in request.headers() {
                let said = match holds(name, said, word) {
                    true => with(name, said, word, value)?,
                    false => said.clone(),
                };
                put.append(name.clone(), said);
            }
            *request.headers_mut() = put;
            let target = request.uri().path_and_query()?.as_str();
            if target.contains(word) {
                let target: PathAndQuery = target.replace(word, value).parse().ok()?;
                *request.uri_mut() = Uri::from(target);
            }
            // A host that says it again can be heard.
            let plain = HeaderValue::from_static("identity");
            request.headers_mut().insert(header::ACCEPT_ENCODING, plain);
        }
        Some(())
    }

    /// Whether these headers say one of them.
    pub(super) fn are_told_in(&self, headers: &HeaderMap) -> bool {
        let told = |value: &HeaderValue| self.find(value.as_bytes());
        headers.values().any(told)
    }

    /// Whether one of them is in these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|secret| {
            let value = secret.value.as_bytes();
            bytes.windows(value.len()).any(|window| window == value)
        })
    }

    /// How many of the last bytes could be the beginning of one.
    pub(super) fn begun_in(&self, bytes: &[u8]) -> usize {
        let begun = |secret: &Secret| {
            let value = secret.value.as_bytes();
            let longest = bytes.len().min(value.len() - 1);
            (1..=longest)
                .rev()
                .find(|length| bytes.ends_with(&value[..*length]))
        };
        self.0.iter().filter_map(begun).max().unwrap_or(0)
    }
}

/// A user and a password, as they are in the credentials of a request.
fn decoded(name: &HeaderName, value: &HeaderValue) -> Option<Vec<u8>> {
    if name != header::AUTHORIZATION {
        return None;
    }
    let (scheme, rest) = value.as_bytes().split_at_checked(BASIC.len())?;
    let is_basic = scheme.eq_ignore_ascii_case(BASIC);
    is_basic
        .then(|| STANDARD.decode(rest.trim_ascii()).ok())
        .flatten()
}

fn holds(name: &HeaderName, value: &HeaderValue, word: &str) -> bool {
    contains(value.as_bytes(), word)
        || decoded(name, value).is_some_and(|text| contains(&text, word))
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

fn with(name: &HeaderName, value: &HeaderValue, word: &str, secret: &str) -> Option<HeaderValue> {
    let text = match decoded(name, value) {
        Some(text) if contains(&text, word) => {
            let text = String::from_utf8(text).ok()?.replace(word, secret);
            format!("Basic {}", STANDARD.encode(text))
        }
        _ => value.to_str().ok()?.replace(word, secret),
    };
    let mut put = HeaderValue::try_from(text).ok()?;
    put.set_sensitive(true);
    Some(put)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let one = |name: &str, value: &str| Secret {
            name: name.to_owned(),
            placeholder: format!("word-of-{name}"),
            value: value.to_owned(),
        };
        Secrets::new(vec![one("a", "abcabd"), one("b", "xyz")])
    }

    #[test]
    fn a_word_becomes_what_it_stands_for() {
        let basic = STANDARD.encode("user:word-of-b");
        let request = Request::builder()
            .uri("/x?key=word-of-a")
            .header("Authorization", format!("Basic {basic}"))
            .header("X-Own", "Bearer word-of-a")
            .header("X-Own", "other");
        let mut request = request.body(()).expect("a request");
        let secrets = secrets();
        let names = secrets.named_in(&request);
        assert_eq!(names, ["a", "b"]);
        secrets.put(&mut request, &names).expect("it can be said");
        assert_eq!(request.uri(), "/x?key=abcabd");
        let headers = request.headers();
        let said = format!("Basic {}", STANDARD.encode("user:xyz"));
        assert_eq!(headers["authorization"], said);
        let own: Vec<_> = headers.get_all("x-own").iter().collect();
        assert_eq!(own, ["Bearer abcabd", "other"]);
        assert_eq!(secrets.named_in(&request), [""; 0]);
    }

    #[test]
    fn what_could_become_one_is_seen() {
        let secrets = secrets();
        for (bytes, begun) in [
            ("", 0),
            ("abcab", 5),
            ("..abcabc", 3),
            ("xy", 2),
            ("q", 0),
            ("abx", 1),
        ] {
            assert_eq!(secrets.begun_in(bytes.as_bytes()), begun, "{bytes}");
        }
        assert!(secrets.find(b"..abcabd"));
        assert!(!secrets.find(b"abcab d"));
    }
}
