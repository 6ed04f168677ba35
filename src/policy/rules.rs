//! The rules, limits and lists of a document.

use super::layer::{ExecRule, FsRule, HttpRule, NetRule};
use super::matching::PathPattern;
use super::nearest::suggestion;
use super::net::{NetPattern, Ports, Target};
use super::perm::{Perm, PermSet};
use super::read::{Reader, field};
use super::request::{Proto, RuleRef};
use super::scan::{Node, Value};
use super::secrets::{Secret, SecretSource};

impl Reader<'_> {
    pub fn fs_rule(&mut self, what: String, node: &Node<'_>) -> Option<FsRule> {
        let members = self.object(node, &what, &["action", "path", "perms", "description"]);
        self.describes(members);
        let action = self.required(node, members, &what, "action");
        let action = action.and_then(|action| self.verdict(action, "action"));
        let path = self.required(node, members, &what, "path");
        let pattern = path.and_then(|path| self.path(path));
        let perms = match field(members, "perms") {
            None => Some(PermSet::ALL),
            Some(list) => self.perms(list),
        };
        let rule = self.rule(node.at, what);
        Some(FsRule {
            action: action?,
            pattern: pattern?,
            perms: perms?,
            rule,
        })
    }

    pub fn exec_rule(&mut self, what: String, node: &Node<'_>) -> Option<ExecRule> {
        let members = self.object(node, &what, &["action", "path", "sha256", "description"]);
        self.describes(members);
        let action = self.required(node, members, &what, "action");
        let action = action.and_then(|action| self.verdict(action, "action"));
        let path = self.required(node, members, &what, "path");
        let pattern = path.and_then(|path| self.path(path));
        let sha256 = field(members, "sha256").and_then(|digest| self.digest(digest));
        let rule = self.rule(node.at, what);
        Some(ExecRule {
            action: action?,
            pattern: pattern?,
            sha256,
            rule,
        })
    }

    pub fn net_rule(&mut self, what: String, node: &Node<'_>) -> Option<NetRule> {
        const FIELDS: &[&str] = &["action", "proto", "cidr", "host", "ports", "description"];
        let members = self.object(node, &what, FIELDS);
        self.describes(members);
        let action = self.required(node, members, &what, "action");
        let action = action.and_then(|action| self.verdict(action, "action"));
        let proto = match field(members, "proto") {
            None => None,
            Some(proto) => match self.word(proto, "proto", &["tcp", "udp", "any"])? {
                "tcp" => Some(Proto::Tcp),
                "udp" => Some(Proto::Udp),
                _ => None,
            },
        };
        let target = match (field(members, "cidr"), field(members, "host")) {
            (None, None) => Some(Target::Any),
            (Some(cidr), None) => self.text(cidr, "cidr").and_then(|text| {
                Target::cidr(text)
                    .map_err(|message| self.problem(cidr.at, message))
                    .ok()
            }),
            (None, Some(host)) => self.text(host, "host").and_then(|text| {
                Target::host(text)
                    .map_err(|message| self.problem(host.at, message))
                    .ok()
            }),
            (Some(cidr), Some(host)) => {
                self.text(cidr, "cidr");
                self.problem(
                    host.at,
                    format!("{what} has a cidr and a host; write two rules"),
                );
                None
            }
        };
        let ports = match field(members, "ports") {
            None => Some(Ports::default()),
            Some(ports) => self.ports(ports),
        };
        let rule = self.rule(node.at, what);
        let pattern = NetPattern {
            proto,
            target: target?,
            ports: ports?,
        };
        Some(NetRule {
            action: action?,
            pattern,
            rule,
        })
    }

    pub fn http_rule(&mut self, what: String, node: &Node<'_>) -> Option<HttpRule> {
        const FIELDS: &[&str] = &["action", "host", "methods", "path", "description"];
        let members = self.object(node, &what, FIELDS);
        self.describes(members);
        let action = self.required(node, members, &what, "action");
        let action = action.and_then(|action| self.verdict(action, "action"));
        let host = self.required(node, members, &what, "host");
        let host = host.and_then(|host| self.named_host(host));
        let methods = match field(members, "methods") {
            None => Some(Vec::new()),
            Some(list) => self.methods(list),
        };
        let path = match field(members, "path") {
            None => Some(None),
            Some(path) => self.path_of_request(path).map(Some),
        };
        let rule = self.rule(node.at, what);
        Some(HttpRule {
            action: action?,
            host: host?,
            methods: methods?,
            path: path?,
            rule,
        })
    }

    pub fn secret(&mut self, what: String, node: &Node<'_>) -> Option<Secret> {
        let members = self.object(
            node,
            &what,
            &["name", "host", "from", "headers", "description"],
        );
        self.describes(members);
        let name = self.required(node, members, &what, "name");
        let name = name.and_then(|name| self.variable(name));
        let host = self.required(node, members, &what, "host");
        let host = host.and_then(|host| self.named_host(host));
        let source = self.required(node, members, &what, "from");
        let source = source.and_then(|from| self.secret_source(from));
        let headers = match field(members, "headers") {
            None => Some(vec![AUTHORIZATION.to_owned()]),
            Some(list) => self.headers(list),
        };
        let rule = self.rule(node.at, what);
        Some(Secret {
            name: name?,
            host: host?,
            source: source?,
            headers: headers?,
            rule,
        })
    }

    fn headers(&mut self, list: &Node<'_>) -> Option<Vec<String>> {
        let items = self.list(list, "headers");
        let mut headers = Vec::new();
        for item in items {
            let text = self.text(item, "a header")?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if text.is_empty() || !text.bytes().all(is_name) {
                self.problem(item.at, format!("{text:?} is no name of a header"));
                return None;
            }
            headers.push(text.to_ascii_lowercase());
        }
        if headers.is_empty() && matches!(list.value, Value::List(_)) {
            self.problem(
                list.at,
                "headers is empty; leave it away to mean Authorization",
            );
            return None;
        }
        Some(headers)
    }

    fn variable(&mut self, node: &Node<'_>) -> Option<String> {
        let text = self.text(node, "a variable")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = text.starts_with(|first: char| !first.is_ascii_digit());
        if begins && text.bytes().all(is_name) {
            return Some(text.to_owned());
        }
        self.problem(
            node.at,
            format!("{text:?} is no name of a variable, such as API_TOKEN"),
        );
        None
    }

    fn secret_source(&mut self, node: &Node<'_>) -> Option<SecretSource> {
        let members = self.object(node, "from", &["env", "file", "command"]);
        let (env, file) = (field(members, "env"), field(members, "file"));
        match (env, file, field(members, "command")) {
            (Some(env), None, None) => self.variable(env).map(SecretSource::Env),
            (None, Some(file), None) => {
                let pattern = self.path(file)?;
                let literal = pattern.as_literal();
                if literal.is_none() {
                    self.problem(file.at, "a secret is in one file, without wildcards");
                }
                literal.map(SecretSource::File)
            }
            (None, None, Some(command)) => {
                let words = self.list(command, "command").iter();
                let words: Option<Vec<String>> = words
                    .map(|word| self.text(word, "a word of the command").map(str::to_owned))
                    .collect();
                let words = words.filter(|words| !words.is_empty());
                if words.is_none() {
                    self.problem(command.at, "command should be a program and its arguments");
                }
                words.map(SecretSource::Command)
            }
            _ => {
                let message = "from should be one of {\"env\": \"NAME\"}, {\"file\": \"PATH\"} and {\"command\": [\"PROGRAM\"]}";
                self.problem(node.at, message);
                None
            }
        }
    }

    /// A host by name: which requests are for an address is said by nobody.
    fn named_host(&mut self, node: &Node<'_>) -> Option<Target> {
        let text = self.text(node, "host")?;
        let message = match Target::host(text) {
            Ok(host @ (Target::Host(_) | Target::Below(_))) => return Some(host),
            Ok(_address) => format!("{text:?} is an address; a rule about requests names a host"),
            Err(message) => message,
        };
        self.problem(node.at, message);
        None
    }

    fn methods(&mut self, list: &Node<'_>) -> Option<Vec<Box<str>>> {
        let items = self.list(list, "methods");
        if items.is_empty() && matches!(list.value, Value::List(_)) {
            self.problem(
                list.at,
                "methods is empty; leave it away to mean all of them",
            );
            return None;
        }
        let mut methods = Vec::new();
        for item in items {
            let text = self.text(item, "a method")?;
            let is_method = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
            if text.is_empty() || !text.bytes().all(is_method) {
                let message = format!("{text:?} is no method; they are written as GET and POST");
                self.problem(item.at, message);
                return None;
            }
            methods.push(text.into());
        }
        Some(methods)
    }

    fn path_of_request(&mut self, node: &Node<'_>) -> Option<PathPattern> {
        let text = self.text(node, "path")?;
        let message = match text {
            _ if !text.starts_with('/') => "should begin with /",
            _ if text.contains(['%', '#']) => "is written as it is once decoded, without % and #",
            _ => return self.path(node),
        };
        self.problem(node.at, format!("the path {text:?} {message}"));
        None
    }

    fn describes(&mut self, members: &[super::scan::Member<'_>]) {
        if let Some(description) = field(members, "description") {
            self.text(description, "description");
        }
    }

    fn path(&mut self, node: &Node<'_>) -> Option<PathPattern> {
        let text = self.text(node, "path")?;
        PathPattern::parse(text, self.vars)
            .map_err(|message| self.problem(node.at, message))
            .ok()
    }

    fn perms(&mut self, list: &Node<'_>) -> Option<PermSet> {
        let names: Vec<&str> = Perm::ALL.iter().map(|perm| perm.name()).collect();
        let items = self.list(list, "perms");
        if items.is_empty() {
            if matches!(list.value, Value::List(_)) {
                self.problem(list.at, "perms is empty; leave it away to mean all of them");
            }
            return None;
        }
        let mut perms = PermSet::NONE;
        for item in items {
            let perm = self
                .word(item, "permission", &names)
                .and_then(Perm::from_name)?;
            perms = match perm {
                Perm::WriteDir => perms.union(PermSet::WRITE_DIR),
                perm => perms.with(perm),
            };
        }
        Some(perms)
    }

    fn digest(&mut self, node: &Node<'_>) -> Option<Box<str>> {
        let text = self.text(node, "sha256")?;
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(text.to_ascii_lowercase().into());
        }
        self.problem(node.at, "sha256 should be 64 hexadecimal digits");
        None
    }

    fn ports(&mut self, node: &Node<'_>) -> Option<Ports> {
        match &node.value {
            Value::Number(number) if number.fract() == 0.0 && (0.0..=65535.0).contains(number) => {
                Some(Ports::one(*number as u16))
            }
            Value::Text(text) => Ports::parse(text)
                .map_err(|message| self.problem(node.at, message))
                .ok(),
            _ => {
                self.problem(
                    node.at,
                    "ports should be a port, or a string such as \"80,443\" or \"8000-9000\"",
                );
                None
            }
        }
    }

    pub fn anti_escape(&mut self, node: &Node<'_>) -> Vec<String> {
        let members = self.object(node, "antiEscape", &["denySyscalls"]);
        let mut names = Vec::new();
        let list = field(members, "denySyscalls");
        for item in list.map_or(&[][..], |list| self.list(list, "antiEscape.denySyscalls")) {
            let Some(name) = self.text(item, "a system call") else {
                continue;
            };
            if known_syscall(name) {
                names.push(name.to_owned());
                continue;
            }
            let all: Vec<&str> = syscalls::x86_64::Sysno::iter()
                .map(|known| known.name())
                .collect();
            let near = suggestion(name, &all);
            self.problem(
                item.at,
                format!("{name:?} is no system call of this program{near}"),
            );
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Only the shape is checked: nothing classifies yet, and compilation refuses these rules.
    pub fn risk(&mut self, node: &Node<'_>) -> Vec<RuleRef> {
        let mut rules = Vec::new();
        for (what, item) in self.rules(node, "risk") {
            let members = self.object(
                item,
                &what,
                &["name", "on", "pattern", "raise", "description"],
            );
            self.describes(members);
            field(members, "name").map(|name| self.text(name, "name"));
            if let Some(on) = self.required(item, members, &what, "on") {
                self.word(on, "subject", &["code", "fs", "net", "exec"]);
            }
            if let Some(raise) = self.required(item, members, &what, "raise") {
                self.word(raise, "verdict to raise to", &["warn", "ask", "deny"]);
            }
            if let Some(pattern) = self.required(item, members, &what, "pattern")
                && let Some(text) = self.text(pattern, "pattern")
                && let Err(error) = regex::Regex::new(text)
            {
                self.problem(
                    pattern.at,
                    format!("pattern is no regular expression: {error}"),
                );
            }
            rules.push(self.rule(item.at, what));
        }
        rules
    }
}

/// Where credentials are said (RFC 9110 section 11.6.2).
const AUTHORIZATION: &str = "authorization";

fn known_syscall(name: &str) -> bool {
    name.parse::<syscalls::x86_64::Sysno>().is_ok()
        || name.parse::<syscalls::aarch64::Sysno>().is_ok()
}
