//! A layer written down again: as a document of the language, and as one line for each thing
//! that it says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::layer::{self, DefaultRule, Layer};
use super::limits::{Approval, Audit, Limits, OnViolation, Plugins, Scope};
use super::net::Target;
use super::perm::{Perm, PermSet};
use super::request::{Proto, Verdict};
use super::secrets::Secret;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    plugins: Plugins,
    #[serde(skip_serializing_if = "Defaults::is_empty")]
    defaults: Defaults,
    #[serde(skip_serializing_if = "Section::is_empty")]
    fs: Section<FsRule>,
    #[serde(skip_serializing_if = "Section::is_empty")]
    net: Section<NetRule>,
    #[serde(skip_serializing_if = "Section::is_empty")]
    exec: Section<ExecRule>,
    #[serde(skip_serializing_if = "Requests::is_empty")]
    http: Requests,
    #[serde(skip_serializing_if = "AntiEscape::is_empty")]
    anti_escape: AntiEscape,
    audit: Audit,
    limits: WrittenLimits,
    on_violation: OnViolation,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<WrittenApproval>,
}

#[derive(Serialize)]
struct Defaults {
    #[serde(skip_serializing_if = "Option::is_none")]
    fs: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    net: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec: Option<Verdict>,
}

impl Defaults {
    fn is_empty(&self) -> bool {
        self.fs.is_none() && self.net.is_none() && self.exec.is_none()
    }
}

#[derive(Serialize)]
struct Section<T> {
    rules: Vec<T>,
}

impl<T> Section<T> {
    fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[derive(Serialize)]
struct FsRule {
    action: Verdict,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    perms: Option<Vec<&'static str>>,
}

#[derive(Serialize)]
struct NetRule {
    action: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    proto: Option<Proto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<String>,
}

#[derive(Serialize)]
struct ExecRule {
    action: Verdict,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// What is said about requests.
#[derive(Serialize)]
struct Requests {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<HttpRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<WrittenSecret>,
}

impl Requests {
    fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.secrets.is_empty()
    }
}

#[derive(Serialize)]
struct WrittenSecret {
    name: String,
    host: String,
    from: BTreeMap<&'static str, serde_json::Value>,
    headers: Vec<String>,
}

fn secret(secret: &Secret) -> WrittenSecret {
    WrittenSecret {
        name: secret.name.clone(),
        host: secret.host.to_string(),
        from: BTreeMap::from([secret.source.written()]),
        headers: secret.headers.clone(),
    }
}

#[derive(Serialize)]
struct HttpRule {
    action: Verdict,
    host: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AntiEscape {
    deny_syscalls: Vec<String>,
}

impl AntiEscape {
    fn is_empty(&self) -> bool {
        self.deny_syscalls.is_empty()
    }
}

/// What a layer says about approval, without what it leaves out.
#[derive(Serialize)]
struct WrittenApproval {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<Scope>>,
}

impl WrittenApproval {
    fn of(approval: &Approval) -> Option<WrittenApproval> {
        let (timeout, scopes) = approval.said();
        (!approval.is_silent()).then(|| WrittenApproval {
            timeout: timeout.map(|timeout| timeout.as_secs_f64()),
            scopes: scopes.map(<[Scope]>::to_vec),
        })
    }
}

/// Limits without the absent ones, which a document leaves out.
#[derive(Serialize)]
pub(super) struct WrittenLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth: Option<u64>,
}

impl From<Limits> for WrittenLimits {
    fn from(limits: Limits) -> WrittenLimits {
        WrittenLimits {
            memory: limits.memory,
            cpus: limits.cpus,
            pids: limits.pids,
            wall: limits.wall.map(|wall| wall.as_secs_f64()),
            output: limits.output,
            files: limits.files,
            connections: limits.connections,
            bandwidth: limits.bandwidth,
        }
    }
}

/// The permissions as a rule names them: `write_dir` in the place of its parts, and nothing
/// for all.
pub(super) fn perms(perms: PermSet) -> Option<Vec<&'static str>> {
    if perms == PermSet::ALL {
        return None;
    }
    if perms.is_superset(PermSet::WRITE_DIR) {
        let rest = perms.difference(PermSet::WRITE_DIR).with(Perm::WriteDir);
        return Some(rest.names());
    }
    Some(perms.names())
}

fn net_rule(rule: &super::layer::NetRule) -> NetRule {
    let (cidr, host) = match &rule.pattern.target {
        Target::Any => (None, None),
        Target::Cidr(network) => (Some(network.to_string()), None),
        Target::Host(host) => (None, Some(host.to_string())),
        Target::Below(suffix) => (None, Some(format!("*{suffix}"))),
    };
    let ports = (!rule.pattern.ports.is_all()).then(|| rule.pattern.ports.to_string());
    NetRule {
        action: rule.action,
        proto: rule.pattern.proto,
        cidr,
        host,
        ports,
    }
}

fn http_rule(rule: &layer::HttpRule) -> HttpRule {
    HttpRule {
        action: rule.action,
        host: rule.host.to_string(),
        methods: rule.methods.iter().map(ToString::to_string).collect(),
        path: rule.path.as_ref().map(ToString::to_string),
    }
}

impl layer::HttpRule {
    /// The rule in a line.
    pub(super) fn says(&self) -> String {
        let rule = http_rule(self);
        let methods = match rule.methods.is_empty() {
            true => "every method".to_owned(),
            false => rule.methods.join(","),
        };
        let path = rule.path.as_deref().unwrap_or("/");
        format!("http {} {methods} {}{path}", rule.action, rule.host)
    }
}

impl layer::FsRule {
    /// The rule in a line.
    pub(super) fn says(&self) -> String {
        let perms = perms(self.perms).map_or("everything".to_owned(), |perms| perms.join(","));
        format!("fs {} {} {perms}", self.action, self.pattern)
    }
}

impl layer::NetRule {
    /// The rule in a line.
    pub(super) fn says(&self) -> String {
        format!("net {} {}", self.action, self.pattern)
    }
}

impl layer::ExecRule {
    /// The rule in a line.
    pub(super) fn says(&self) -> String {
        let digest = self.sha256.iter();
        let digest: String = digest.map(|digest| format!(" sha256 {digest}")).collect();
        format!("exec {} {}{digest}", self.action, self.pattern)
    }
}

impl Layer {
    /// The layer as a document of the language, with everything expanded: what
    /// [`Layer::parse`] reads back to the same policy. Rules about risk are not written.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let verdict = |default: &DefaultRule| default.verdict;
        let document = Document {
            version: 1,
            description: self.description.clone(),
            plugins: self.plugins,
            defaults: Defaults {
                fs: self.fs_defaults.first().map(verdict),
                net: self.net_default.as_ref().map(verdict),
                exec: self.exec_default.as_ref().map(verdict),
            },
            fs: Section {
                rules: self
                    .fs
                    .iter()
                    .map(|rule| FsRule {
                        action: rule.action,
                        path: rule.pattern.to_string(),
                        perms: perms(rule.perms),
                    })
                    .collect(),
            },
            net: Section {
                rules: self.net.iter().map(net_rule).collect(),
            },
            exec: Section {
                rules: self
                    .exec
                    .iter()
                    .map(|rule| ExecRule {
                        action: rule.action,
                        path: rule.pattern.to_string(),
                        sha256: rule.sha256.as_deref().map(str::to_owned),
                    })
                    .collect(),
            },
            http: Requests {
                rules: self.http.iter().map(http_rule).collect(),
                secrets: self.secrets.iter().map(secret).collect(),
            },
            anti_escape: AntiEscape {
                deny_syscalls: self.deny_syscalls.clone(),
            },
            audit: self.audit.clone(),
            limits: self.limits.into(),
            on_violation: self.on_violation,
            approval: WrittenApproval::of(&self.approval),
        };
        serde_json::to_string_pretty(&document)
    }

    /// One line for each thing that the layer says, in the order of its sections.
    pub fn statements(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, required) in [
            ("namespaces", self.plugins.namespaces),
            ("landlock", self.plugins.landlock),
            ("seccomp", self.plugins.seccomp),
        ] {
            lines.extend(required.then(|| format!("requires {name}")));
        }
        let fs = self.fs_defaults.first();
        let defaults = [
            ("fs", fs),
            ("net", self.net_default.as_ref()),
            ("exec", self.exec_default.as_ref()),
        ];
        for (name, default) in defaults {
            lines.extend(default.map(|default| format!("{name} {} by default", default.verdict)));
        }
        lines.extend(self.fs.iter().map(layer::FsRule::says));
        lines.extend(self.net.iter().map(layer::NetRule::says));
        lines.extend(self.exec.iter().map(layer::ExecRule::says));
        lines.extend(self.http.iter().map(layer::HttpRule::says));
        lines.extend(self.secrets.iter().map(Secret::says));
        lines.extend(
            self.deny_syscalls
                .iter()
                .map(|name| format!("syscall deny {name}")),
        );
        lines.extend(
            self.risk
                .iter()
                .map(|rule| format!("risk rule {} (line {})", rule.what, rule.line.unwrap_or(0))),
        );
        self.other_statements(&mut lines);
        lines
    }

    fn other_statements(&self, lines: &mut Vec<String>) {
        let limits = [
            (
                "memory",
                self.limits.memory.map(|bytes| format!("{bytes} bytes")),
            ),
            ("cpus", self.limits.cpus.map(|cpus| cpus.to_string())),
            ("pids", self.limits.pids.map(|pids| pids.to_string())),
            (
                "wall",
                self.limits
                    .wall
                    .map(|wall| format!("{} s", wall.as_secs_f64())),
            ),
            (
                "output",
                self.limits.output.map(|bytes| format!("{bytes} bytes")),
            ),
            ("files", self.limits.files.map(|files| files.to_string())),
            (
                "connections",
                self.limits.connections.map(|most| most.to_string()),
            ),
            (
                "bandwidth",
                self.limits
                    .bandwidth
                    .map(|bytes| format!("{bytes} bytes in a second")),
            ),
        ];
        for (name, limit) in limits {
            lines.extend(limit.map(|limit| format!("limit {name} {limit}")));
        }
        if self.audit.enabled {
            let events = if self.audit.events.is_empty() {
                "everything".into()
            } else {
                self.audit.events.join(",")
            };
            lines.push(format!("audit {events}"));
        }
        if !self.approval.is_silent() {
            let scopes = self.approval.scopes().iter().map(|scope| scope.name());
            lines.push(format!(
                "approval within {} s, for {}",
                self.approval.timeout().as_secs_f64(),
                scopes.collect::<Vec<_>>().join(",")
            ));
        }
        if self.on_violation == OnViolation::Kill {
            lines.push("violation kills the worker".into());
        }
    }
}

impl std::fmt::Display for super::net::NetPattern {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.proto {
            Some(Proto::Tcp) => out.write_str("tcp ")?,
            Some(Proto::Udp) => out.write_str("udp ")?,
            None => {}
        }
        self.target.fmt(out)?;
        if self.ports.is_all() {
            Ok(())
        } else {
            write!(out, " ports {}", self.ports)
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Any => out.write_str("everywhere"),
            Target::Cidr(network) => network.fmt(out),
            Target::Host(host) => out.write_str(host),
            Target::Below(suffix) => write!(out, "*{suffix}"),
        }
    }
}
