//! A scanned document becomes a layer: types, names and meanings are checked, all problems
//! are collected, each with its place.

use std::path::PathBuf;

use super::layer::{
    DefaultRule, ExecRule, FsRule, HttpRule, Layer, LoadError, NetRule, Problem, Vars,
};
use super::limits::{Approval, Audit, Limits, OnViolation, Plugins};
use super::nearest::suggestion;
use super::perm::PermSet;
use super::request::{RuleOrigin, RuleRef, Verdict};
use super::scan::{self, MAX_BYTES, Member, Node, Place, Value};
use super::secrets::Secret;

/// No more problems than this are listed; the rest mostly follows from them.
const MAX_PROBLEMS: usize = 20;

/// Where a document comes from.
pub(super) struct Source {
    pub name: String,
    pub file: Option<PathBuf>,
}

/// Reads one document.
pub(super) fn layer(text: &[u8], source: Source, vars: &Vars) -> Result<Layer, LoadError> {
    if text.len() > MAX_BYTES {
        return Err(LoadError::TooLong {
            source_name: source.name,
        });
    }
    let invalid = |problems| LoadError::Invalid {
        source_name: source.name.clone(),
        problems,
    };
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let good = &text[..error.valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count() as u32;
            let problem = Problem {
                line,
                column: 1,
                message: "the line is not UTF-8".into(),
            };
            return Err(invalid(vec![problem]));
        }
    };
    let document = scan::scan(text).map_err(|error| {
        let (line, column) = position(text, error.at);
        invalid(vec![Problem {
            line,
            column,
            message: error.message,
        }])
    })?;
    let mut reader = Reader {
        source: &source,
        vars,
        problems: Vec::new(),
    };
    let layer = reader.document(&document);
    if reader.problems.is_empty() {
        return Ok(layer);
    }
    let mut problems = reader.problems;
    problems.sort_by_key(|(at, _)| at.offset);
    problems.truncate(MAX_PROBLEMS);
    let place = |(at, message)| {
        let (line, column) = position(text, at);
        Problem {
            line,
            column,
            message,
        }
    };
    Err(invalid(problems.into_iter().map(place).collect()))
}

/// Line and column in characters, both from 1.
fn position(text: &str, at: Place) -> (u32, u32) {
    let before = text.get(..at.offset as usize).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (at.line, line.chars().count() as u32 + 1)
}

pub(super) struct Reader<'r> {
    pub source: &'r Source,
    pub vars: &'r Vars,
    problems: Vec<(Place, String)>,
}

/// What every object may have besides its own fields.
const COMMENT: &str = "$comment";

impl Reader<'_> {
    pub fn problem(&mut self, at: Place, message: impl Into<String>) {
        if !self.enough() {
            self.problems.push((at, message.into()));
        }
    }

    /// A document can have a problem every few bytes: what will not be shown is not looked at.
    fn enough(&self) -> bool {
        self.problems.len() >= 10 * MAX_PROBLEMS
    }

    pub fn rule(&self, at: Place, what: impl Into<String>) -> RuleRef {
        RuleRef::new(RuleOrigin {
            layer: self.source.name.clone(),
            what: what.into(),
            file: self.source.file.clone(),
            line: Some(at.line),
        })
    }

    fn wrong_type(&mut self, node: &Node<'_>, what: &str, wanted: &str) {
        self.problem(
            node.at,
            format!(
                "{what} is {} and should be {wanted}",
                node.value.type_name()
            ),
        );
    }

    /// The members of an object with these fields and no others.
    pub fn object<'n, 't>(
        &mut self,
        node: &'n Node<'t>,
        what: &str,
        fields: &[&str],
    ) -> &'n [Member<'t>] {
        let Value::Object(members) = &node.value else {
            self.wrong_type(node, what, "an object");
            return &[];
        };
        for member in members {
            if member.name == COMMENT {
                self.text(&member.node, COMMENT);
            } else if !fields.contains(&&*member.name) && !self.enough() {
                let near = suggestion(&member.name, fields);
                self.problem(
                    member.at,
                    format!(
                        "{:?} is no field of {what}{near} (there are: {})",
                        member.name,
                        fields.join(", ")
                    ),
                );
            }
        }
        members
    }

    pub fn list<'n, 't>(&mut self, node: &'n Node<'t>, what: &str) -> &'n [Node<'t>] {
        let Value::List(items) = &node.value else {
            self.wrong_type(node, what, "a list");
            return &[];
        };
        items
    }

    pub fn text<'n>(&mut self, node: &'n Node<'_>, what: &str) -> Option<&'n str> {
        let Value::Text(text) = &node.value else {
            self.wrong_type(node, what, "a string");
            return None;
        };
        Some(text)
    }

    fn boolean(&mut self, node: &Node<'_>, what: &str) -> bool {
        let Value::Bool(value) = node.value else {
            self.wrong_type(node, what, "true or false");
            return false;
        };
        value
    }

    /// One of some words.
    pub fn word<'w>(&mut self, node: &Node<'_>, what: &str, words: &[&'w str]) -> Option<&'w str> {
        let text = self.text(node, what)?;
        let found = words.iter().copied().find(|word| *word == text);
        if found.is_none() && !self.enough() {
            let near = suggestion(text, words);
            self.problem(
                node.at,
                format!(
                    "{text:?} is no {what}{near} (there are: {})",
                    words.join(", ")
                ),
            );
        }
        found
    }

    pub fn required<'n, 't>(
        &mut self,
        node: &Node<'_>,
        members: &'n [Member<'t>],
        what: &str,
        name: &str,
    ) -> Option<&'n Node<'t>> {
        let found = field(members, name);
        if found.is_none() && matches!(node.value, Value::Object(_)) {
            self.problem(node.at, format!("{what} has no {name:?}"));
        }
        found
    }

    fn document(&mut self, node: &Node<'_>) -> Layer {
        const FIELDS: &[&str] = &[
            "version",
            "name",
            "description",
            "plugins",
            "defaults",
            "fs",
            "net",
            "exec",
            "http",
            "antiEscape",
            "audit",
            "limits",
            "onViolation",
            "risk",
            "approval",
            "$schema",
        ];
        let members = self.object(node, "a policy", FIELDS);
        if let Some(version) = self.required(node, members, "the policy", "version")
            && !matches!(version.value, Value::Number(number) if number == 1.0)
        {
            self.problem(version.at, "the version of the policy language is 1");
        }
        for name in ["name", "$schema"] {
            field(members, name).map(|text| self.text(text, name));
        }
        let description = field(members, "description")
            .and_then(|text| self.text(text, "description"))
            .map(str::to_owned);
        let place = |name: &str| field(members, name).map_or(node.at, |section| section.at);
        let mut layer = Layer {
            name: self.source.name.clone(),
            description,
            plugins: Plugins::default(),
            plugins_rule: self.rule(place("plugins"), "plugins"),
            audit_rule: self.rule(place("audit"), "audit.events"),
            fs_defaults: Vec::new(),
            net_default: None,
            exec_default: None,
            fs: Vec::new(),
            net: Vec::new(),
            exec: Vec::new(),
            http: Vec::new(),
            http_rule: self.rule(place("http"), "http"),
            secrets: Vec::new(),
            deny_syscalls: Vec::new(),
            syscalls_rule: self.rule(place("antiEscape"), "antiEscape.denySyscalls"),
            audit: Audit::default(),
            limits: Limits::default(),
            on_violation: OnViolation::default(),
            approval: Approval::default(),
            risk: Vec::new(),
            narrows: false,
            learns: false,
        };
        for member in members {
            self.section(&mut layer, &member.name, &member.node);
        }
        self.absent_defaults(&mut layer, node.at);
        layer
    }

    fn section(&mut self, layer: &mut Layer, name: &str, node: &Node<'_>) {
        match name {
            "plugins" => layer.plugins = self.plugins(node),
            "defaults" => self.defaults(layer, node),
            "fs" => layer.fs = self.fs_rules(node),
            "net" => layer.net = self.net_rules(node),
            "exec" => layer.exec = self.exec_rules(node),
            "http" => (layer.http, layer.secrets) = self.requests(node),
            "antiEscape" => layer.deny_syscalls = self.anti_escape(node),
            "audit" => layer.audit = self.audit(node),
            "limits" => layer.limits = self.limits(node),
            "onViolation" => {
                let word = self.word(node, "onViolation", &["deny", "kill"]);
                layer.on_violation = if word == Some("kill") {
                    OnViolation::Kill
                } else {
                    OnViolation::Deny
                };
            }
            "risk" => layer.risk = self.risk(node),
            "approval" => layer.approval = self.approval(node),
            _ => {}
        }
    }

    fn plugins(&mut self, node: &Node<'_>) -> Plugins {
        let members = self.object(node, "plugins", &["namespaces", "landlock", "seccomp"]);
        let mut wanted =
            |name: &str| field(members, name).is_some_and(|value| self.boolean(value, name));
        Plugins {
            namespaces: wanted("namespaces"),
            landlock: wanted("landlock"),
            seccomp: wanted("seccomp"),
        }
    }

    fn defaults(&mut self, layer: &mut Layer, node: &Node<'_>) {
        let members = self.object(node, "defaults", &["fs", "net", "exec"]);
        for member in members {
            let what = format!("defaults.{}", member.name);
            if !["fs", "net", "exec"].contains(&&*member.name) {
                continue;
            }
            let Some(verdict) = self.verdict(&member.node, &what) else {
                continue;
            };
            let rule = self.rule(member.node.at, what);
            let default = DefaultRule {
                perms: PermSet::ALL,
                verdict,
                rule,
            };
            match &*member.name {
                "fs" => layer.fs_defaults = vec![default],
                "net" => layer.net_default = Some(default),
                _ => layer.exec_default = Some(default),
            }
        }
    }

    /// A section that grants something denies the rest.
    fn absent_defaults(&mut self, layer: &mut Layer, at: Place) {
        let closed = |rule| DefaultRule {
            perms: PermSet::ALL,
            verdict: Verdict::Deny,
            rule,
        };
        let grants = |action: Verdict| action != Verdict::Deny;
        if layer.fs_defaults.is_empty() && layer.fs.iter().any(|rule| grants(rule.action)) {
            layer.fs_defaults = vec![closed(self.rule(at, "defaults.fs"))];
        }
        if layer.net_default.is_none() && layer.net.iter().any(|rule| grants(rule.action)) {
            layer.net_default = Some(closed(self.rule(at, "defaults.net")));
        }
        if layer.exec_default.is_none() && layer.exec.iter().any(|rule| grants(rule.action)) {
            layer.exec_default = Some(closed(self.rule(at, "defaults.exec")));
        }
    }

    pub fn verdict(&mut self, node: &Node<'_>, what: &str) -> Option<Verdict> {
        Some(
            match self.word(node, what, &["allow", "warn", "ask", "deny"])? {
                "allow" => Verdict::Allow,
                "warn" => Verdict::Warn,
                "ask" => Verdict::Ask,
                _ => Verdict::Deny,
            },
        )
    }

    fn audit(&mut self, node: &Node<'_>) -> Audit {
        const EVENTS: &[&str] = &["exec", "fs", "lifecycle", "limits", "net", "syscalls"];
        let members = self.object(node, "audit", &["enabled", "events"]);
        let enabled =
            field(members, "enabled").is_some_and(|value| self.boolean(value, "audit.enabled"));
        let mut events = Vec::new();
        for item in field(members, "events").map_or(&[][..], |list| self.list(list, "audit.events"))
        {
            events.extend(
                self.word(item, "event of audit.events", EVENTS)
                    .map(str::to_owned),
            );
        }
        events.sort_unstable();
        events.dedup();
        Audit { enabled, events }
    }
}

/// The value of that name.
pub(super) fn field<'n, 't>(members: &'n [Member<'t>], name: &str) -> Option<&'n Node<'t>> {
    members
        .iter()
        .find(|member| member.name == name)
        .map(|member| &member.node)
}

/// The rules of one section.
impl Reader<'_> {
    /// The items of `rules`, each with its name such as `fs[2]`.
    pub fn rules<'n, 't>(
        &mut self,
        node: &'n Node<'t>,
        section: &str,
    ) -> Vec<(String, &'n Node<'t>)> {
        let members = self.object(node, section, &["rules"]);
        self.items(members, section, "rules", section)
    }

    /// The items of a list of a section, each with a name of its own.
    fn items<'n, 't>(
        &mut self,
        members: &'n [Member<'t>],
        section: &str,
        list: &str,
        each: &str,
    ) -> Vec<(String, &'n Node<'t>)> {
        let Some(node) = field(members, list) else {
            return Vec::new();
        };
        let items = self.list(node, &format!("{section}.{list}"));
        items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("{each}[{index}]"), item))
            .collect()
    }

    fn fs_rules(&mut self, node: &Node<'_>) -> Vec<FsRule> {
        let rules = self.rules(node, "fs");
        rules
            .into_iter()
            .filter_map(|(what, item)| self.fs_rule(what, item))
            .collect()
    }

    fn net_rules(&mut self, node: &Node<'_>) -> Vec<NetRule> {
        let rules = self.rules(node, "net");
        rules
            .into_iter()
            .filter_map(|(what, item)| self.net_rule(what, item))
            .collect()
    }

    fn requests(&mut self, node: &Node<'_>) -> (Vec<HttpRule>, Vec<Secret>) {
        let members = self.object(node, "http", &["rules", "secrets"]);
        let rules = self.items(members, "http", "rules", "http");
        let secrets = self.items(members, "http", "secrets", "http.secrets");
        let rules = rules.into_iter();
        let rules = rules.filter_map(|(what, item)| self.http_rule(what, item));
        let rules = rules.collect();
        let mut granted: Vec<Secret> = Vec::new();
        for (what, item) in secrets {
            let Some(secret) = self.secret(what, item) else {
                continue;
            };
            if granted.iter().any(|other| other.name == secret.name) {
                self.problem(item.at, format!("there are two secrets {:?}", secret.name));
            }
            granted.push(secret);
        }
        (rules, granted)
    }

    fn exec_rules(&mut self, node: &Node<'_>) -> Vec<ExecRule> {
        let rules = self.rules(node, "exec");
        rules
            .into_iter()
            .filter_map(|(what, item)| self.exec_rule(what, item))
            .collect()
    }
}
