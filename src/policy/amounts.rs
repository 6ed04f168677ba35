//! What a policy file says in amounts: limits, and how long an answer is waited for.

use std::time::Duration;

use super::limits::{Approval, Limits, Scope, parse_duration, parse_size};
use super::read::{Reader, field};
use super::scan::{Node, Value};

impl Reader<'_> {
    pub fn limits(&mut self, node: &Node<'_>) -> Limits {
        const FIELDS: &[&str] = &[
            "memory",
            "cpus",
            "pids",
            "wall",
            "output",
            "files",
            "connections",
            "bandwidth",
        ];
        let members = self.object(node, "limits", FIELDS);
        let mut limits = Limits::default();
        for member in members {
            let node = &member.node;
            match &*member.name {
                "memory" => limits.memory = self.size(node, "memory"),
                "output" => limits.output = self.size(node, "output"),
                "pids" => limits.pids = self.count(node, "pids"),
                "files" => limits.files = self.count(node, "files"),
                "connections" => limits.connections = self.count(node, "connections"),
                "bandwidth" => limits.bandwidth = self.size(node, "bandwidth"),
                "cpus" => limits.cpus = self.cpus(node),
                "wall" => limits.wall = self.duration(node, "wall"),
                _ => {}
            }
        }
        limits
    }

    fn count(&mut self, node: &Node<'_>, what: &str) -> Option<u64> {
        match whole(&node.value) {
            Some(number) => Some(number),
            None => {
                self.problem(node.at, format!("{what} should be a whole number from 1"));
                None
            }
        }
    }

    fn cpus(&mut self, node: &Node<'_>) -> Option<f64> {
        match node.value {
            Value::Number(number) if number > 0.0 => Some(number),
            _ => {
                self.problem(
                    node.at,
                    "cpus should be a number of processors above 0, such as 0.5",
                );
                None
            }
        }
    }

    fn size(&mut self, node: &Node<'_>, what: &str) -> Option<u64> {
        let size = match &node.value {
            Value::Text(text) => parse_size(text).filter(|size| *size > 0),
            value => whole(value),
        };
        if size.is_none() {
            self.problem(
                node.at,
                format!("{what} should be a size such as \"512M\", or a number of bytes from 1"),
            );
        }
        size
    }

    fn duration(&mut self, node: &Node<'_>, what: &str) -> Option<Duration> {
        let duration = match &node.value {
            Value::Text(text) => parse_duration(text),
            Value::Number(number) => Duration::try_from_secs_f64(*number).ok(),
            _ => None,
        };
        let duration = duration.filter(|duration| !duration.is_zero());
        if duration.is_none() {
            self.problem(node.at, format!("{what} should be a time above 0 such as \"30s\" or \"500ms\", or a number of seconds"));
        }
        duration
    }

    pub fn approval(&mut self, node: &Node<'_>) -> Approval {
        let members = self.object(node, "approval", &["timeout", "scopes"]);
        let timeout = field(members, "timeout").and_then(|time| self.duration(time, "timeout"));
        let names = Scope::ALL.map(Scope::name);
        let scopes = field(members, "scopes").map(|list| {
            let items = self.list(list, "approval.scopes").iter();
            let scope = |item| {
                let name = self.word(item, "scope", &names)?;
                Scope::from_name(name)
            };
            items.filter_map(scope).collect()
        });
        Approval::new(timeout, scopes)
    }
}

/// A whole number from 1 that a double holds exactly.
fn whole(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Number(number) if number.fract() == 0.0 && (1.0..=9e15).contains(number) => {
            Some(*number as u64)
        }
        _ => None,
    }
}
