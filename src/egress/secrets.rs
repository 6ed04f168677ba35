//! Credentials that are put into requests on their way.
//!
//! A program has a word in the place of each. Where a request says that word to a host that the credential
//! is for, over TLS, it goes out with the credential; whoever has the policy decides that, and hears of it
//! first. What a host says is searched for the credentials too, and none is handed on.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};

use crate::policy::Secret as Granted;

/// What the credentials of a user and a password begin with (RFC 7617).
const BASIC: &[u8] = b"Basic ";

/// A credential, and the word that stands for it.
#[derive(Clone)]
pub struct Secret {
    /// What it is for.
    pub granted: Granted,
    /// What programs have in its place. Nobody can guess it.
    pub placeholder: String,
    /// Visible characters of ASCII.
    pub value: String,
}

impl fmt::Debug for Secret {
    /// Without what it is.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secret")
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}

/// Those of one run.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<Secret>);

/// What a request has of words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The names of those for which they stand.
    pub names: Vec<String>,
    /// One that stands where it is not said.
    pub misplaced: Option<String>,
}

impl Secrets {
    pub(super) fn new(secrets: Vec<Secret>) -> Secrets {
        Secrets(secrets)
    }

    /// What must not be handed on of what a host says: those that are for it, in the forms in which they are
    /// said to it. `None` where none is.
    pub(super) fn kept_from(&self, host: &str) -> Option<Arc<Kept>> {
        let kept = self.0.iter().filter(|one| one.granted.is_for_host(host));
        let forms: Vec<Vec<u8>> = kept.flat_map(|one| forms(one.value.as_bytes())).collect();
        let longest = forms.iter().map(Vec::len).max()?;
        Some(Arc::new(Kept { forms, longest }))
    }

    /// The words in a request.
    pub(super) fn words_in<B>(&self, request: &Request<B>) -> Words {
        let mut words = Words::default();
        if self.0.is_empty() {
            return words;
        }
        let target = request.uri().to_string();
        for secret in &self.0 {
            let (name, word) = (secret.granted.name(), &secret.placeholder);
            let mut is_there = target.contains(word);
            let mut is_misplaced = is_there;
            for (header, value) in request.headers() {
                let in_value = holds(header, value, word);
                let in_name = header.as_str().contains(word);
                is_there |= in_value || in_name;
                let says = secret.granted.headers();
                is_misplaced |=
                    in_name || in_value && !says.iter().any(|said| header.as_str() == said);
            }
            if is_there {
                words.names.push(name.to_owned());
            }
            if is_misplaced {
                words.misplaced = Some(name.to_owned());
            }
        }
        words
    }

    /// Puts those of these names into the headers of a request, for their words; `None` where it cannot be
    /// said so.
    pub(super) fn put<B>(&self, request: &mut Request<B>, names: &[String]) -> Option<()> {
        let is_named = |one: &&Secret| names.iter().any(|name| name == one.granted.name());
        for secret in self.0.iter().filter(is_named) {
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
        }
        Some(())
    }
}

/// What is kept back of what one host says.
#[derive(Debug)]
pub(super) struct Kept {
    forms: Vec<Vec<u8>>,
    longest: usize,
}

impl Kept {
    /// Has the host say everything in a form in which it can be searched.
    pub(super) fn asks_plainly<B>(request: &mut Request<B>) {
        let headers = request.headers_mut();
        let plain = HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, plain);
        for part in [header::RANGE, header::IF_RANGE] {
            headers.remove(part);
        }
    }

    /// Whether the head of a response may be handed on, and what comes after it be searched.
    pub(super) fn passes<B>(&self, response: &mut Response<B>) -> bool {
        // What it says beside its number is said by nobody who is read.
        response
            .extensions_mut()
            .remove::<hyper::ext::ReasonPhrase>();
        let headers = response.headers();
        let encoded = headers.get_all(header::CONTENT_ENCODING).iter();
        let mut encoded = encoded.filter(|form| form.as_bytes() != b"identity");
        encoded.next().is_none() && !self.is_in(headers)
    }

    /// Whether one of them is in these headers.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let in_name = |name: &HeaderName| {
            let name = name.as_str().as_bytes();
            let is_there = |form: &Vec<u8>| {
                let mut windows = name.windows(form.len());
                windows.any(|window| window.eq_ignore_ascii_case(form))
            };
            self.forms.iter().any(is_there)
        };
        headers.values().any(|value| self.is_said(value.as_bytes())) || headers.keys().any(in_name)
    }

    /// Whether one of them is in these bytes.
    pub(super) fn is_said(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(bytes, form))
    }

    /// How many of the last bytes wait for those behind them, whatever they are: who learns which bytes wait
    /// would learn how one begins.
    pub(super) fn waiting(&self) -> usize {
        self.longest - 1
    }
}

/// A credential as it is said, and as a part of what is said in base64, wherever it begins there.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    for before in 0..3 {
        let bits = 8 * (before + value.len());
        let text = STANDARD_NO_PAD.encode([&[0; 2][..before], value].concat());
        // Letters that are of the credential alone.
        let of_it = text[(8 * before).div_ceil(6)..bits / 6].to_owned();
        let of_urls = of_it.replace('+', "-").replace('/', "_");
        forms.extend([of_it, of_urls].map(String::into_bytes));
    }
    forms.sort();
    forms.dedup();
    forms
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
    contains(value.as_bytes(), word.as_bytes())
        || decoded(name, value).is_some_and(|text| contains(&text, word.as_bytes()))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn with(name: &HeaderName, value: &HeaderValue, word: &str, secret: &str) -> Option<HeaderValue> {
    let text = match decoded(name, value) {
        Some(text) if contains(&text, word.as_bytes()) => {
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
    use crate::policy::{Layer, Vars};

    fn secrets() -> Secrets {
        let vars = Vars::of("/".into(), Some("/".into()));
        let text = r#"{"version": 1, "http": {"secrets": [
            {"name": "a", "host": "a.example", "from": {"env": "A"}},
            {"name": "b", "host": "*.example", "from": {"env": "B"}, "headers": ["X-Own", "Authorization"]}
        ]}}"#;
        let layer = Layer::parse(text.as_bytes(), "p.json", &vars).expect("a policy");
        let of = |(granted, value): (&Granted, &str)| Secret {
            granted: granted.clone(),
            placeholder: format!("word-of-{}", granted.name()),
            value: value.to_owned(),
        };
        let values = ["abcabd-0123", "xyz-987654?"];
        Secrets::new(layer.secrets().iter().zip(values).map(of).collect())
    }

    #[test]
    fn a_word_becomes_what_it_stands_for() {
        let basic = STANDARD.encode("user:word-of-a");
        let request = Request::builder()
            .uri("/x?key")
            .header("Authorization", format!("Basic {basic}"))
            .header("X-Own", "Bearer word-of-b")
            .header("X-Own", "other");
        let mut request = request.body(()).expect("a request");
        let secrets = secrets();
        let words = secrets.words_in(&request);
        assert_eq!(words.names, ["a", "b"]);
        assert_eq!(words.misplaced, None);
        secrets
            .put(&mut request, &words.names)
            .expect("it can be said");
        let headers = request.headers();
        let said = format!("Basic {}", STANDARD.encode("user:abcabd-0123"));
        assert_eq!(headers["authorization"], said);
        let own: Vec<_> = headers.get_all("x-own").iter().collect();
        assert_eq!(own, ["Bearer xyz-987654?", "other"]);
        assert_eq!(secrets.words_in(&request), Words::default());
    }

    #[test]
    fn a_word_stands_where_it_is_said() {
        for (target, header) in [
            ("/word-of-a", "Accept"),
            ("/?word-of-a", "Accept"),
            ("/", "X-Own"),
        ] {
            let request = Request::builder().uri(target).header(header, "word-of-a");
            let words = secrets().words_in(&request.body(()).expect("a request"));
            assert_eq!(words.misplaced.as_deref(), Some("a"), "{target} {header}");
        }
    }

    #[test]
    fn what_is_said_of_one_is_seen() {
        let kept = secrets().kept_from("b.example").expect("one is for it");
        assert!(secrets().kept_from("b.test").is_none());
        for before in ["", "1", "22", "333"] {
            let text = format!("{before}xyz-987654?tail");
            let coded = STANDARD.encode(&text);
            for said in [&text, &coded, &coded.replace('+', "-").replace('/', "_")] {
                assert!(kept.is_said(said.as_bytes()), "{said}");
            }
        }
        assert!(!kept.is_said(b"xyz-987654 abcabd-0123"));
        let mut headers = HeaderMap::new();
        headers.insert("x-xyz-987654", HeaderValue::from_static("1"));
        assert!(!kept.is_in(&headers));
        let kept = secrets().kept_from("a.example").expect("both are for it");
        headers.insert("x-ABCABD-0123-x", HeaderValue::from_static("1"));
        assert!(kept.is_in(&headers));
    }
}
