//! Requests of HTTP to hosts that rules name: by which method, and for which path.
//!
//! Where a layer has a rule about a host, a request to it needs one that permits it, in each such layer.
//! About other hosts nothing is said here: whether there is a connection is for rules about the network.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::layer::{HttpRule, Layer};
use super::matching::covers;
use super::merge::Policy;
use super::names::Names;
use super::net::{NameBuffer, NetQuery};
use super::request::{Decision, Proto, RuleRef, Verdict};

/// One request of HTTP, as it will be sent to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpRequest<'a> {
    /// The name of the host.
    pub host: &'a str,
    /// The method, in its own case (RFC 9110 section 9.1).
    pub method: &'a str,
    /// The path and the query: the target in origin form (RFC 9112 section 3.2.1).
    pub target: &'a str,
}

/// What is in the place of a rule where servers could read a request in more than one way.
pub const AMBIGUOUS: &str = "its method or its path can be read in more than one way";

impl Policy {
    /// Whether some rule or credential is about the requests to this host, so that each has to be read.
    #[must_use]
    pub fn reads_requests_to(&self, host: &str) -> bool {
        let mut buffer = NameBuffer::new();
        let name = canonical(host, &mut buffer);
        name.is_some_and(|name| {
            let mut layers = self.layers.iter();
            layers.any(|layer| layer.reads_requests_to(name))
        })
    }

    /// Whether the requests to some host are read.
    #[must_use]
    pub fn reads_requests(&self) -> bool {
        self.layers.iter().any(Layer::reads_requests)
    }

    /// The answer to one request; that there may be a connection to its host is another decision.
    ///
    /// In a layer with a rule about the host: deny > ask > warn > allow > deny, over all rules that match.
    /// Over layers: the most severe. A path that servers read in different ways is denied.
    pub fn decide_request(&self, request: &HttpRequest<'_>) -> Decision {
        let mut buffer = NameBuffer::new();
        let Some(name) = canonical(request.host, &mut buffer) else {
            return denied("no host name");
        };
        let layers = self.layers.iter().filter(|layer| layer.is_about(name));
        let mut worst: Option<Decision> = None;
        for layer in layers {
            let Some(path) = plain_path(request.target) else {
                return denied(AMBIGUOUS);
            };
            // There are servers that make them capitals.
            if request.method.bytes().any(|byte| byte.is_ascii_lowercase()) {
                return denied(AMBIGUOUS);
            }
            let says = layer.says_of(name, request.method, &path);
            if worst
                .as_ref()
                .is_none_or(|worst| says.verdict > worst.verdict)
            {
                worst = Some(says);
            }
        }
        worst.unwrap_or_else(|| Decision {
            verdict: Verdict::Allow,
            rule: RuleRef::named("no policy", "no rule about requests"),
        })
    }
}

impl Layer {
    /// Whether some rule or credential of it is about requests.
    #[must_use]
    pub fn reads_requests(&self) -> bool {
        !self.http.is_empty() || !self.secrets.is_empty()
    }

    /// Whether some rule or credential of it is about the requests to this host.
    pub(super) fn reads_requests_to(&self, name: &str) -> bool {
        self.is_about(name) || self.secrets.iter().any(|secret| secret.host.is_about(name))
    }

    fn is_about(&self, name: &str) -> bool {
        self.http.iter().any(|rule| rule.host.is_about(name))
    }

    fn says_of(&self, name: &str, method: &str, path: &[u8]) -> Decision {
        let matching = self.http.iter().filter(|rule| {
            rule.host.is_about(name) && rule.names_method(method) && rule.names_path(path)
        });
        let mut severest: Option<&HttpRule> = None;
        for rule in matching {
            if severest.is_none_or(|severest| rule.action > severest.action) {
                severest = Some(rule);
            }
        }
        match severest {
            Some(rule) => Decision {
                verdict: rule.action,
                rule: rule.rule.clone(),
            },
            None => Decision {
                verdict: Verdict::Deny,
                rule: self.http_rule.clone(),
            },
        }
    }
}

impl HttpRule {
    fn names_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|named| **named == *method)
    }

    fn names_path(&self, path: &[u8]) -> bool {
        let Some(pattern) = &self.path else {
            return true;
        };
        let path = Path::new(OsStr::from_bytes(path));
        Names::of(path).is_some_and(|names| covers(pattern.components(), names.as_slice()))
    }
}

fn denied(why: &str) -> Decision {
    Decision {
        verdict: Verdict::Deny,
        rule: RuleRef::named(why, why),
    }
}

/// The name in its one form; `None` for an address and for what is no name.
pub(super) fn canonical<'b>(host: &str, buffer: &'b mut NameBuffer) -> Option<&'b str> {
    NetQuery::of(Proto::Tcp, Some(host), None, 0, buffer)?.name
}

/// The path of a target without its query, decoded (RFC 3986 section 2.1): `None` where servers differ
/// about what it is. These are `.` and `..`, in whatever spelling, names that are empty or have
/// parameters, and a `/`, `\`, `?`, `#`, `%` or control character that stands there by its number or by itself;
/// nor is what is no text.
fn plain_path(target: &str) -> Option<Vec<u8>> {
    let path = target.split('?').next()?.as_bytes();
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => (hexadecimal(*high, *low)?, after),
            (b'%', _) => return None,
            (byte, after) => (*byte, after),
        };
        let is_coded = *first == b'%';
        match byte {
            b'/' | b'?' if is_coded => return None,
            b'\\' | b'%' | b';' | b'#' | 0..0x20 | 0x7f => return None,
            byte => decoded.push(byte),
        }
        rest = after;
    }
    std::str::from_utf8(&decoded).ok()?;
    let names = decoded.strip_prefix(b"/")?;
    let mut names = names.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let is_last = names.peek().is_none();
        if name.is_empty() && !is_last || matches!(name, b"." | b"..") {
            return None;
        }
    }
    Some(decoded)
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::layer::Vars;
    use crate::policy::{Request, UNREAD};

    fn policy(documents: &[&str]) -> Policy {
        let vars = Vars {
            home: "/home".into(),
            pwd: "/".into(),
            workspace: "/".into(),
        };
        let layers = documents.iter().map(|rules| {
            let text = format!(r#"{{"version": 1, "http": {{"rules": [{rules}]}}}}"#);
            Layer::parse(text.as_bytes(), "p.json", &vars).expect("a policy")
        });
        Policy::merge(layers.collect(), Vec::new()).expect("it merges")
    }

    fn verdict(policy: &Policy, method: &str, host: &str, target: &str) -> Verdict {
        let request = HttpRequest {
            host,
            method,
            target,
        };
        policy.decide_request(&request).verdict
    }

    #[test]
    fn a_request_needs_a_rule_where_one_is_about_its_host() {
        let policy = policy(&[r#"
            {"action": "allow", "host": "api.example", "methods": ["GET"], "path": "/v1"},
            {"action": "warn", "host": "*.example", "methods": ["POST"], "path": "/v1/*/notes"},
            {"action": "deny", "host": "api.example", "path": "/v1/secret"}"#]);
        for (method, host, target, wanted) in [
            ("GET", "api.example", "/v1", Verdict::Allow),
            ("GET", "API.example.", "/v1/a/b?x=/../y", Verdict::Allow),
            ("GET", "api.example", "/v1/%61?", Verdict::Allow),
            ("GET", "api.example", "/v1/", Verdict::Allow),
            ("GET", "api.example", "/v10", Verdict::Deny),
            ("GET", "api.example", "/", Verdict::Deny),
            ("get", "api.example", "/v1", Verdict::Deny),
            ("delete", "b.example", "/v1/7/notes", Verdict::Deny),
            ("HEAD", "api.example", "/v1", Verdict::Deny),
            ("GET", "api.example", "/v1/secret", Verdict::Deny),
            ("GET", "api.example", "/v1/%73ecret/x", Verdict::Deny),
            ("POST", "api.example", "/v1/7/notes", Verdict::Warn),
            ("POST", "b.example", "/v1/7/notes/1", Verdict::Warn),
            ("POST", "b.example", "/v1/notes", Verdict::Deny),
            ("POST", "example", "/v1/notes", Verdict::Allow),
            ("DELETE", "other.test", "/", Verdict::Allow),
        ] {
            let found = verdict(&policy, method, host, target);
            assert_eq!(found, wanted, "{method} {host} {target}");
        }
        assert!(policy.reads_requests_to("b.Example"));
        assert!(!policy.reads_requests_to("example"));
        assert!(!policy.reads_requests_to("192.0.2.1"));
    }

    #[test]
    fn a_path_that_is_read_in_two_ways_is_denied() {
        let policy = policy(&[r#"{"action": "allow", "host": "a.example"}"#]);
        for target in [
            "/a/../b",
            "/a/./b",
            "/..",
            "/a//b",
            "//a",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a\\b",
            "/a%5cb",
            "/a;x/b",
            "/a/..;/b",
            "/a%3bx",
            "/a%00",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%252e",
            "/a%3fb",
            "/a%23b",
            "/a%c0%af",
            "*",
            "",
            "a",
            "http://b/",
        ] {
            let found = verdict(&policy, "GET", "a.example", target);
            assert_eq!(found, Verdict::Deny, "{target}");
        }
        for target in ["/", "/a", "/a/", "/a.b/...", "/%7euser", "/a?b/../c;d%2f"] {
            let found = verdict(&policy, "GET", "a.example", target);
            assert_eq!(found, Verdict::Allow, "{target}");
        }
    }

    #[test]
    fn a_layer_narrows_what_another_permits() {
        let policy = policy(&[
            r#"{"action": "allow", "host": "a.example"}"#,
            r#"{"action": "ask", "host": "a.example", "path": "/x"}"#,
            r#"{"action": "deny", "host": "b.example"}"#,
        ]);
        assert_eq!(verdict(&policy, "GET", "a.example", "/x/y"), Verdict::Ask);
        assert_eq!(verdict(&policy, "GET", "a.example", "/y"), Verdict::Deny);
        assert_eq!(verdict(&policy, "GET", "b.example", "/"), Verdict::Deny);
    }

    /// By HTTP/3 a host could be asked unread.
    #[test]
    fn no_datagram_goes_to_a_host_to_whom_requests_are_read() {
        let vars = Vars {
            home: "/home".into(),
            pwd: "/".into(),
            workspace: "/".into(),
        };
        let open = r#"{"version": 1, "defaults": {"net": "allow"}}"#;
        let rule =
            r#"{"version": 1, "http": {"rules": [{"action": "allow", "host": "*.a.example"}]}}"#;
        let secret = r#"{"version": 1, "http": {"secrets": [
            {"name": "TOKEN", "host": "b.example", "from": {"env": "TOKEN"}}]}}"#;
        let layers = [open, rule, secret]
            .map(|text| Layer::parse(text.as_bytes(), "p.json", &vars).expect("a policy"));
        let policy = Policy::merge(layers.into(), Vec::new()).expect("it merges");
        let decided = |proto, host| {
            let addr = Some([8, 8, 8, 8].into());
            let request = Request::Net {
                proto,
                host: Some(host),
                addr,
                port: 443,
            };
            policy.decide(&request)
        };
        for host in ["x.a.example", "X.A.EXAMPLE.", "b.example"] {
            assert_eq!(decided(Proto::Tcp, host).verdict, Verdict::Allow, "{host}");
            let decision = decided(Proto::Udp, host);
            assert_eq!(decision.verdict, Verdict::Deny, "{host}");
            assert_eq!(decision.rule.what, UNREAD);
        }
        for host in ["a.example", "c.example", "8.8.8.8"] {
            assert_eq!(decided(Proto::Udp, host).verdict, Verdict::Allow, "{host}");
        }
    }
}
