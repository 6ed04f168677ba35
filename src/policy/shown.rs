//! A plan for people: each rule with what it says and what carries it, then what the launch does.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::layer::{ExecRule, FsRule, HttpRule, NetRule};
use super::merge::Policy;
use super::plan::{Absent, ExecPlan, Intercept, MaskKind, NetPlan, Plan};
use super::request::RuleRef;
use super::secrets::Secret;

/// One rule of a plan, with what it says.
#[derive(Debug, Clone, Serialize)]
pub struct ShownRule {
    /// Where it stands.
    pub rule: RuleRef,
    /// What it says, as `buntime policy show` has it.
    pub says: String,
    /// How it is enforced.
    pub mechanism: String,
}

/// A plan and the rules that it comes from. It is shown as a table.
#[derive(Debug, Clone, Serialize)]
pub struct ShownPlan {
    /// Every rule of every layer.
    pub rules: Vec<ShownRule>,
    /// What the launch has to do.
    pub plan: Plan,
    /// The system calls that are held until they are decided about.
    pub calls: Vec<String>,
}

impl Policy {
    /// The plan with what its rules say. `calls` are those that its interceptor holds.
    #[must_use]
    pub fn shown(&self, plan: Plan, calls: Vec<String>) -> ShownPlan {
        let rules = plan.mechanisms.iter().map(|carried| ShownRule {
            rule: carried.rule.clone(),
            says: self.says(&carried.rule).unwrap_or_default(),
            mechanism: carried.mechanism.clone(),
        });
        ShownPlan {
            rules: rules.collect(),
            plan,
            calls,
        }
    }

    /// Whether something that the policy `before` let happen, about files or programs, may not happen
    /// under this one, as far as their rules tell: what is written differently may mean the same.
    #[must_use]
    pub fn narrows(&self, before: &Policy) -> bool {
        let gone = |one: &Policy, other: &Policy, permits: bool| {
            let there = other.lines(permits);
            one.lines(permits).iter().any(|line| !there.contains(line))
        };
        gone(before, self, true) || gone(self, before, false)
    }

    /// What its layers say about files and programs, where that permits something or keeps it back.
    fn lines(&self, permits: bool) -> BTreeSet<(usize, String)> {
        let layers = self.layers.iter().enumerate();
        let lines = layers.flat_map(|(number, layer)| {
            let files = layer.fs.iter().map(|rule| (rule.action, rule.says()));
            let programs = layer.exec.iter().map(|rule| (rule.action, rule.says()));
            let defaults = layer.fs_defaults.iter().chain(&layer.exec_default);
            let defaults = defaults.map(|default| {
                let says = format!("{} {} by default", default.verdict, default.perms);
                (default.verdict, says)
            });
            let lines = files.chain(programs).chain(defaults);
            lines.map(move |(verdict, says)| (verdict, (number, says)))
        });
        let kept = lines.filter(|(verdict, _)| verdict.permits() == permits);
        kept.map(|(_, line)| line).collect()
    }

    fn says(&self, rule: &RuleRef) -> Option<String> {
        self.layers.iter().find_map(|layer| {
            let files = layer.fs.iter().find(|it| it.rule == *rule);
            let files = files.map(FsRule::says);
            let programs = layer.exec.iter().find(|it| it.rule == *rule);
            let programs = programs.map(ExecRule::says);
            let net = layer.net.iter().find(|it| it.rule == *rule);
            let net = net.map(NetRule::says);
            let defaults = [
                ("fs", layer.fs_defaults.iter().find(|it| it.rule == *rule)),
                (
                    "exec",
                    layer.exec_default.iter().find(|it| it.rule == *rule),
                ),
                ("net", layer.net_default.iter().find(|it| it.rule == *rule)),
            ];
            let defaults = defaults.into_iter().find_map(|(section, default)| {
                default.map(|default| format!("{section} {} by default", default.verdict))
            });
            let calls = (layer.syscalls_rule == *rule)
                .then(|| format!("syscall deny {}", layer.deny_syscalls.join(",")));
            let requests = layer.http.iter().find(|it| it.rule == *rule);
            let requests = requests.map(HttpRule::says);
            let secrets = layer.secrets.iter().find(|it| it.rule == *rule);
            let requests = requests.or_else(|| secrets.map(Secret::says));
            files
                .or(programs)
                .or(net)
                .or(requests)
                .or(defaults)
                .or(calls)
        })
    }
}

impl fmt::Display for ShownPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "rules")?;
        for shown in &self.rules {
            let ShownRule {
                rule,
                says,
                mechanism,
            } = shown;
            writeln!(out, "  {} ({})", rule.what, rule.location())?;
            writeln!(out, "    {says}\n    by {mechanism}")?;
        }
        let plan = &self.plan;
        writeln!(out, "binds")?;
        for bind in &plan.binds {
            let access = match (bind.writable, bind.executable) {
                (false, false) => "read-only, noexec",
                (false, true) => "read-only",
                (true, false) => "writable, noexec",
                (true, true) => "writable",
            };
            line(out, &bind.path, access)?;
        }
        for link in &plan.links {
            line(
                out,
                &link.path,
                &format!("link to {}", link.target.display()),
            )?;
        }
        writeln!(out, "masks")?;
        for mask in &plan.masks {
            let how = match mask.kind {
                MaskKind::Hidden => "hidden",
                MaskKind::ReadOnly => "read-only",
                MaskKind::NoExec => "noexec",
            };
            line(out, &mask.path, &format!("{how}, for {}", mask.rule))?;
        }
        for Absent { path, rule } in &plan.absent {
            line(
                out,
                path,
                &format!("nothing; it ends when something is, for {rule}"),
            )?;
        }
        writeln!(out, "landlock")?;
        for grant in &plan.landlock {
            line(out, &grant.path, &grant.perms.to_string())?;
        }
        self.rest(out)
    }
}

impl ShownPlan {
    fn rest(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        match &plan.exec {
            ExecPlan::Once => writeln!(out, "exec: the command, once")?,
            ExecPlan::Programs(programs) => {
                writeln!(out, "exec: the command, and")?;
                for program in programs {
                    writeln!(out, "  {}", program.display())?;
                }
            }
            ExecPlan::Any => writeln!(out, "exec: every visible program")?,
        }
        match plan.net {
            NetPlan::None => writeln!(out, "net: its own loopback")?,
            NetPlan::Sealed => writeln!(out, "net: none")?,
            NetPlan::Egress => {
                let with = if plan.datagrams { ", UDP too" } else { "" };
                writeln!(
                    out,
                    "net: its own loopback, and out by the egress plane{with}"
                )?;
            }
        }
        match &plan.intercept {
            None => writeln!(out, "interceptor: none")?,
            Some(intercept) => {
                let Intercept { perms, linked, .. } = intercept;
                writeln!(out, "interceptor: {perms}")?;
                if intercept.decides_executions() {
                    writeln!(out, "  each execution is looked at")?;
                }
                for path in linked {
                    line(out, path, "known under every name")?;
                }
                writeln!(out, "  holds {}", self.calls.join(", "))?;
            }
        }
        if !plan.deny_syscalls.is_empty() {
            writeln!(
                out,
                "denied system calls: {}",
                plan.deny_syscalls.join(", ")
            )?;
        }
        let limits = plan.limits;
        let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
        let limits = [
            ("memory", number(limits.memory)),
            ("cpus", limits.cpus.map(|cpus| cpus.to_string())),
            ("pids", number(limits.pids)),
            (
                "wall",
                limits.wall.map(|wall| format!("{} s", wall.as_secs_f64())),
            ),
            ("output", number(limits.output)),
            ("files", number(limits.files)),
            ("connections", number(limits.connections)),
            ("bandwidth", number(limits.bandwidth)),
        ];
        let set =
            |(name, limit): (&str, Option<String>)| limit.map(|limit| format!("{name} {limit}"));
        let limits: Vec<String> = limits.into_iter().filter_map(set).collect();
        write!(out, "limits: {}", limits.join(", "))
    }
}

fn line(out: &mut fmt::Formatter<'_>, path: &Path, what: &str) -> fmt::Result {
    writeln!(out, "  {}  {what}", path.display())
}
