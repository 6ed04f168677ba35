//! What flags and the two configuration files have in common, and how they are
//! put together.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::limit::Ceilings;
use super::said::{Ask, Level, LogLevel, RunArgs, Tty};
use crate::policy::Flags;

/// Everything that a flag or a configuration file can set.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Files or names of policies.
    pub policies: Vec<OsString>,
    /// The lists; their limits are in `ceilings`.
    pub lists: Flags,
    pub ceilings: Ceilings,
    /// `NAME` or `NAME=VALUE`.
    pub env: Vec<OsString>,
    pub workdir: Option<PathBuf>,
    pub python: Option<PathBuf>,
    pub venv: Option<PathBuf>,
    pub events: Option<PathBuf>,
    pub tty: Option<Tty>,
    pub ask: Option<Ask>,
    pub quiet: Option<bool>,
    pub require: Option<Level>,
    pub allow_degraded: Option<bool>,
    pub log_level: Option<LogLevel>,
}

impl Settings {
    /// What the flags say. `search` is the PATH in which programs are looked up.
    pub(super) fn from_flags(said: &RunArgs, search: Option<&OsStr>) -> anyhow::Result<Settings> {
        let policy = &said.policy;
        let lists = Flags {
            allow_read: paths("--allow-read", &policy.allow_read)?,
            deny_read: paths("--deny-read", &policy.deny_read)?,
            allow_write: paths("--allow-write", &policy.allow_write)?,
            deny_write: paths("--deny-write", &policy.deny_write)?,
            allow_net: hosts("--allow-net", &policy.allow_net)?,
            deny_net: hosts("--deny-net", &policy.deny_net)?,
            allow_run: programs("--allow-run", &policy.allow_run, search)?,
            deny_run: programs("--deny-run", &policy.deny_run, search)?,
            ..Flags::default()
        };
        let ceilings = Ceilings {
            memory: said.limits.memory,
            cpus: said.limits.cpus,
            pids: said.limits.pids,
            wall: said.limits.timeout,
            output: said.limits.max_output,
            files: said.limits.files,
            connections: said.limits.connections,
            bandwidth: said.limits.bandwidth,
        };
        Ok(Settings {
            policies: policy.policy.clone(),
            lists,
            ceilings,
            env: said.surroundings.env.clone(),
            workdir: said.surroundings.workdir.clone(),
            python: said.surroundings.python.clone(),
            venv: said.surroundings.venv.clone(),
            events: said.output.events.clone(),
            tty: said.output.tty,
            ask: said.output.ask,
            quiet: said.output.quiet.then_some(true),
            require: policy.require,
            allow_degraded: policy.allow_degraded.then_some(true),
            log_level: said.output.log_level,
        })
    }

    /// These settings where there are some, the other's elsewhere. Variables are
    /// added up, and these come last, where they win.
    pub(super) fn over(self, other: Settings) -> Settings {
        let (mine, below) = (self.lists, other.lists);
        Settings {
            policies: if self.policies.is_empty() {
                other.policies
            } else {
                self.policies
            },
            lists: Flags {
                allow_read: mine.allow_read.or(below.allow_read),
                deny_read: mine.deny_read.or(below.deny_read),
                allow_write: mine.allow_write.or(below.allow_write),
                deny_write: mine.deny_write.or(below.deny_write),
                allow_net: mine.allow_net.or(below.allow_net),
                deny_net: mine.deny_net.or(below.deny_net),
                allow_run: mine.allow_run.or(below.allow_run),
                deny_run: mine.deny_run.or(below.deny_run),
                ..Flags::default()
            },
            ceilings: self.ceilings.or(other.ceilings),
            env: other.env.into_iter().chain(self.env).collect(),
            workdir: self.workdir.or(other.workdir),
            python: self.python.or(other.python),
            venv: self.venv.or(other.venv),
            events: self.events.or(other.events),
            tty: self.tty.or(other.tty),
            ask: self.ask.or(other.ask),
            quiet: self.quiet.or(other.quiet),
            require: self.require.or(other.require),
            allow_degraded: self.allow_degraded.or(other.allow_degraded),
            log_level: self.log_level.or(other.log_level),
        }
    }
}

/// A list of a flag: nothing when it was not given, empty when it means everything.
fn list(name: &str, values: &[OsString]) -> anyhow::Result<Option<Vec<OsString>>> {
    if values.is_empty() {
        return Ok(None);
    }
    let mut items = Vec::new();
    let mut everything = false;
    for value in values {
        for item in value.as_bytes().split(|byte| *byte == b',') {
            // An empty variable of a shell must not turn into everything.
            ensure!(
                !item.is_empty(),
                "{name}={} has an empty item; leave out the = to mean everything",
                value.display()
            );
            match item {
                b"*" => everything = true,
                _ => items.push(OsString::from_vec(item.to_vec())),
            }
        }
    }
    Ok(Some(if everything { Vec::new() } else { items }))
}

/// A list of paths.
pub(super) fn paths(name: &str, values: &[OsString]) -> anyhow::Result<Option<Vec<PathBuf>>> {
    list(name, values)?
        .map(|items| {
            items
                .iter()
                .map(|item| written(item).with_context(|| format!("{name}={}", item.display())))
                .collect()
        })
        .transpose()
}

/// A path as people write it after a flag's `=`, where no shell expands `~` or a pattern.
fn written(item: &OsStr) -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = match item.to_str() {
        Some(text) => expand_home(text, home.as_deref())?,
        None => PathBuf::from(item),
    };
    let pattern = item.as_bytes().iter().any(|byte| b"*?[".contains(byte));
    ensure!(
        !pattern || matches!(path.try_exists(), Ok(true)),
        "a pattern names files that are not there yet, and the kernel's rules cannot; name the \
         files, or the folder that they are in"
    );
    Ok(path)
}

/// A list of hosts.
pub(super) fn hosts(name: &str, values: &[OsString]) -> anyhow::Result<Option<Vec<String>>> {
    let text = |item: OsString| {
        item.into_string()
            .map_err(|item| anyhow::anyhow!("{name}={}: not the name of a host", item.display()))
    };
    list(name, values)?
        .map(|items| items.into_iter().map(text).collect())
        .transpose()
}

/// A list of programs, those without a slash looked up in `search`.
pub(super) fn programs(
    name: &str,
    values: &[OsString],
    search: Option<&OsStr>,
) -> anyhow::Result<Option<Vec<PathBuf>>> {
    let found = |item: OsString| {
        look_up(&item, search).with_context(|| format!("{name}={}", item.display()))
    };
    list(name, values)?
        .map(|items| items.into_iter().map(found).collect())
        .transpose()
}

/// The program that a shell would start. An empty or relative entry of the PATH would
/// mean whatever directory we are started in, and is passed over.
pub(super) fn look_up(item: &OsStr, search: Option<&OsStr>) -> anyhow::Result<PathBuf> {
    if item.as_bytes().contains(&b'/') {
        return written(item);
    }
    let directories = search.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let executable = |path: &PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(directories)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(item))
        .find(executable)
        .context("no such program in the PATH; give its path")
}

/// Variables as they were asked for: the last of a name wins, and one without a
/// value is the caller's, or absent like the caller's.
pub(super) fn environment(
    asked: &[OsString],
    own: impl Fn(&OsStr) -> Option<OsString>,
) -> anyhow::Result<Vec<(OsString, OsString)>> {
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    for variable in asked {
        let bytes = variable.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (
                OsStr::from_bytes(&bytes[..at]),
                Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()),
            ),
            None => (variable.as_os_str(), own(variable)),
        };
        if name.is_empty() || bytes.contains(&0) {
            bail!("--env {}: expected NAME or NAME=VALUE", variable.display());
        }
        variables.retain(|(known, _)| known != name);
        if let Some(value) = value {
            variables.push((name.to_owned(), value));
        }
    }
    Ok(variables)
}

/// A path below the home directory where it is `~` or starts with `~/`.
///
/// # Errors
/// There is no home directory: any other in its place would be somebody else's.
pub(super) fn expand_home(path: &str, home: Option<&Path>) -> anyhow::Result<PathBuf> {
    let rest = match path.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    let Some(rest) = rest else {
        return Ok(PathBuf::from(path));
    };
    let home =
        home.with_context(|| format!("{path}: there is no HOME; set it, or write the path"))?;
    Ok(match rest {
        "" => home.to_owned(),
        rest => home.join(rest),
    })
}
