//! The command line as a layer.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::layer::{DefaultRule, ExecRule, FsRule, Layer, LoadError, NetRule, Vars};
use super::limits::{Approval, Audit, Limits, OnViolation, Plugins};
use super::matching::PathPattern;
use super::net::NetPattern;
use super::perm::{Perm, PermSet};
use super::request::{RuleRef, Verdict};

/// What the person said on the command line. Of each list: `None` when the flag was not
/// given, an empty list when it was given without one and so means everything.
///
/// Paths are literal, and relative ones are below the working directory. Programs are already
/// looked up.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--allow-read`: read files and list directories.
    pub allow_read: Option<Vec<PathBuf>>,
    /// `--deny-read`.
    pub deny_read: Option<Vec<PathBuf>>,
    /// `--allow-write`: change files and directories.
    pub allow_write: Option<Vec<PathBuf>>,
    /// `--deny-write`.
    pub deny_write: Option<Vec<PathBuf>>,
    /// `--allow-net`: `HOST`, `HOST:PORT`, `ADDRESS[/BITS]`, `[V6]:PORT`, `:PORT`.
    pub allow_net: Option<Vec<String>>,
    /// `--deny-net`.
    pub deny_net: Option<Vec<String>>,
    /// `--allow-run`: programs, and what is below directories.
    pub allow_run: Option<Vec<PathBuf>>,
    /// `--deny-run`.
    pub deny_run: Option<Vec<PathBuf>>,
    /// The limits that were given.
    pub limits: Limits,
    /// The limits of the shipped `default` that were lifted; over policy files, none can be.
    pub lifted: Lifted,
    /// Whether `--policy` files are there too. Then the flags can only narrow them; otherwise
    /// the flags are the policy, over the shipped `default`.
    pub over_policy: bool,
}

/// Limits that are not to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifted {
    /// Memory.
    pub memory: bool,
    /// Processor time.
    pub cpus: bool,
    /// Processes.
    pub pids: bool,
    /// Wall time.
    pub wall: bool,
    /// Output.
    pub output: bool,
    /// Open descriptors.
    pub files: bool,
    /// Connections.
    pub connections: bool,
    /// Bytes in a second.
    pub bandwidth: bool,
}

impl Lifted {
    /// The limits that are left.
    fn from(self, limits: Limits) -> Limits {
        Limits {
            memory: limits.memory.filter(|_| !self.memory),
            cpus: limits.cpus.filter(|_| !self.cpus),
            pids: limits.pids.filter(|_| !self.pids),
            wall: limits.wall.filter(|_| !self.wall),
            output: limits.output.filter(|_| !self.output),
            files: limits.files.filter(|_| !self.files),
            connections: limits.connections.filter(|_| !self.connections),
            bandwidth: limits.bandwidth.filter(|_| !self.bandwidth),
        }
    }
}

/// Where the system keeps its programs: what a bare `--allow-run` shows.
pub const PROGRAM_FOLDERS: [&str; 6] = [
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
];

impl Layer {
    /// The command line as a layer.
    ///
    /// Alone, the flags add to the shipped `default` and replace its limits. Over policy files,
    /// a list that allows denies what it does not name; what no flag speaks of is the files'.
    pub fn from_flags(flags: &Flags, vars: &Vars) -> Result<Layer, LoadError> {
        let mut layer = if flags.over_policy {
            silent()
        } else {
            let default = Layer::shipped("default", vars)?;
            Layer {
                limits: flags
                    .lifted
                    .from(default.limits)
                    .overridden_by(flags.limits),
                ..default
            }
        };
        if flags.over_policy {
            layer.limits = flags.limits;
        }
        paths(
            &mut layer,
            "read",
            PermSet::READ,
            &flags.allow_read,
            &flags.deny_read,
            flags,
            vars,
        )?;
        paths(
            &mut layer,
            "write",
            PermSet::WRITE,
            &flags.allow_write,
            &flags.deny_write,
            flags,
            vars,
        )?;
        connections(&mut layer, flags)?;
        programs(&mut layer, flags, vars)?;
        Ok(layer)
    }
}

fn silent() -> Layer {
    Layer {
        name: "flags".into(),
        description: None,
        plugins: Plugins::default(),
        plugins_rule: RuleRef::named("flags", "flags"),
        fs_defaults: Vec::new(),
        net_default: None,
        exec_default: None,
        fs: Vec::new(),
        net: Vec::new(),
        exec: Vec::new(),
        http: Vec::new(),
        http_rule: RuleRef::named("flags", "http"),
        secrets: Vec::new(),
        deny_syscalls: Vec::new(),
        syscalls_rule: RuleRef::named("flags", "flags"),
        audit: Audit::default(),
        audit_rule: RuleRef::named("flags", "flags"),
        limits: Limits::default(),
        on_violation: OnViolation::default(),
        approval: Approval::default(),
        risk: Vec::new(),
        narrows: true,
        learns: false,
    }
}

/// A flag's rule; over files, a list that allows denies the rest.
fn rule(flag: &str, value: Option<&OsStr>) -> RuleRef {
    match value {
        Some(value) => RuleRef::named("flags", format!("{flag}={}", value.display())),
        None => RuleRef::named("flags", flag),
    }
}

fn rest_denied(flag: &str, values: Vec<String>, perms: PermSet) -> DefaultRule {
    let text = if values.is_empty() {
        flag.to_owned()
    } else {
        format!("{flag}={}", values.join(","))
    };
    DefaultRule {
        perms,
        verdict: Verdict::Deny,
        rule: RuleRef::named("flags", text),
    }
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// The items of a list, or everything.
fn items<'l>(list: &'l [PathBuf], vars: &Vars) -> Vec<(PathBuf, Option<&'l OsStr>)> {
    if list.is_empty() {
        return vec![(PathBuf::from("/"), None)];
    }
    list.iter()
        .map(|path| (vars.pwd.join(path), Some(path.as_os_str())))
        .collect()
}

fn pattern(path: &Path, rule: &RuleRef) -> Result<PathPattern, LoadError> {
    PathPattern::literal(path).map_err(|message| LoadError::Flag {
        flag: rule.what.clone(),
        message,
    })
}

fn paths(
    layer: &mut Layer,
    verb: &str,
    perms: PermSet,
    allowed: &Option<Vec<PathBuf>>,
    denied: &Option<Vec<PathBuf>>,
    flags: &Flags,
    vars: &Vars,
) -> Result<(), LoadError> {
    for (action, list) in [(Verdict::Allow, allowed), (Verdict::Deny, denied)] {
        let Some(list) = list else { continue };
        let flag = format!("--{action}-{verb}");
        for (path, value) in items(list, vars) {
            let rule = rule(&flag, value);
            // A deny of writing means every change, devices too.
            let perms = if action == Verdict::Deny && verb == "write" {
                PermSet::CHANGE
            } else {
                perms
            };
            layer.fs.push(FsRule {
                action,
                pattern: pattern(&path, &rule)?,
                perms,
                rule,
            });
        }
        if action == Verdict::Allow && flags.over_policy {
            layer
                .fs_defaults
                .push(rest_denied(&flag, shown(list), perms));
        }
    }
    Ok(())
}

fn connections(layer: &mut Layer, flags: &Flags) -> Result<(), LoadError> {
    for (action, list) in [
        (Verdict::Allow, &flags.allow_net),
        (Verdict::Deny, &flags.deny_net),
    ] {
        let Some(list) = list else { continue };
        let flag = format!("--{action}-net");
        if list.is_empty() {
            let rule = rule(&flag, None);
            layer.net.push(NetRule {
                action,
                pattern: NetPattern::everything(),
                rule,
            });
        }
        for item in list {
            let rule = rule(&flag, Some(OsStr::new(item)));
            let pattern = NetPattern::from_flag(item).map_err(|message| LoadError::Flag {
                flag: rule.what.clone(),
                message,
            })?;
            layer.net.push(NetRule {
                action,
                pattern,
                rule,
            });
        }
        if action == Verdict::Allow && flags.over_policy {
            layer.net_default = Some(rest_denied(&flag, list.clone(), PermSet::ALL));
        }
    }
    Ok(())
}

fn programs(layer: &mut Layer, flags: &Flags, vars: &Vars) -> Result<(), LoadError> {
    for (action, list) in [
        (Verdict::Allow, &flags.allow_run),
        (Verdict::Deny, &flags.deny_run),
    ] {
        let Some(list) = list else { continue };
        let flag = format!("--{action}-run");
        for (path, value) in items(list, vars) {
            let rule = rule(&flag, value);
            layer.exec.push(ExecRule {
                action,
                pattern: pattern(&path, &rule)?,
                sha256: None,
                rule,
            });
        }
        if action == Verdict::Allow && list.is_empty() && !flags.over_policy {
            show_programs(layer, &rule(&flag, None))?;
        }
        if action == Verdict::Allow && flags.over_policy {
            layer.exec_default = Some(rest_denied(&flag, shown(list), PermSet::ALL));
        }
    }
    Ok(())
}

/// To run anything there must be something to run.
fn show_programs(layer: &mut Layer, rule: &RuleRef) -> Result<(), LoadError> {
    for directory in PROGRAM_FOLDERS {
        layer.fs.push(FsRule {
            action: Verdict::Allow,
            pattern: pattern(Path::new(directory), rule)?,
            perms: PermSet::READ.with(Perm::Execute),
            rule: rule.clone(),
        });
    }
    Ok(())
}
