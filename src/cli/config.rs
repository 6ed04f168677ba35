//! The configuration files: the user's, which has defaults for flags, and the
//! project's, which comes with files that nobody trusts and can only narrow.

use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::ValueEnum;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::limit;
use super::settings::{Settings, expand_home, hosts, paths, programs};

/// The name of a project's file.
pub(super) const PROJECT: &str = ".buntime.json";
/// More than any configuration needs.
const MAX_BYTES: u64 = 256 * 1024;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The person who runs Buntime.
    User,
    /// Whoever wrote the files of the working directory.
    Project,
}

/// The keys that only a user's file may have: each of them gives something.
pub(super) const WIDENING: [&str; 14] = [
    "allow-degraded",
    "allow-read",
    "allow-write",
    "allow-net",
    "allow-run",
    "env",
    "python",
    "venv",
    "workdir",
    "events",
    "tty",
    "ask",
    "quiet",
    "log-level",
];
pub(super) const NARROWING: [&str; 14] = [
    "policy",
    "deny-read",
    "deny-write",
    "deny-net",
    "deny-run",
    "timeout",
    "memory",
    "cpus",
    "pids",
    "max-output",
    "files",
    "connections",
    "bandwidth",
    "require",
];

/// What the reading of a file needs to know of the caller.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    /// The home directory.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// The PATH.
    pub search: Option<OsString>,
}

impl Caller {
    /// Where the user's file is; the XDG Base Directory Specification passes over
    /// relative paths.
    pub(super) fn user_file(&self) -> Option<PathBuf> {
        let given = self.config_home.clone().filter(|path| path.is_absolute());
        let directory = given.or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(directory.join("buntime/config.json"))
    }
}

/// Reads a file; one that is not there says nothing.
pub(super) fn read(path: &Path, owner: Owner, caller: &Caller) -> anyhow::Result<Settings> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Settings::default());
        }
        // A home that is closed to us has no configuration for us.
        Err(error) if owner == Owner::User && error.kind() == ErrorKind::PermissionDenied => {
            return Ok(Settings::default());
        }
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot read {}, which could narrow this run; make it readable, or change to \
                     another directory",
                    path.display()
                )
            });
        }
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        text.len() as u64 <= MAX_BYTES,
        "{}: longer than {MAX_BYTES} bytes",
        path.display()
    );
    parse(&text, path, owner, caller)
}

/// Opens a file, and nothing that could make us wait: a project may bring a named pipe.
fn open_regular(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        let cause = "it is no regular file";
        Err(std::io::Error::new(ErrorKind::InvalidInput, cause))
    }
}

/// What a file's text says.
pub(super) fn parse(
    text: &[u8],
    path: &Path,
    owner: Owner,
    caller: &Caller,
) -> anyhow::Result<Settings> {
    let Pairs(pairs) = serde_json::from_slice(text)
        .with_context(|| format!("{}: not a configuration", path.display()))?;
    let mut settings = Settings::default();
    for (key, value) in &pairs {
        let file = File { path, caller };
        permitted(key, owner)
            .and_then(|()| file.set(&mut settings, key, value))
            .with_context(|| format!("{}: {key:?}", path.display()))?;
    }
    if owner == Owner::Project
        && let Some(limit) = settings.ceilings.lifted()
    {
        bail!(
            "{}: {limit:?}: a project can only narrow, and unlimited widens",
            path.display()
        );
    }
    Ok(settings)
}

fn permitted(key: &str, owner: Owner) -> anyhow::Result<()> {
    match owner {
        _ if NARROWING.contains(&key) => Ok(()),
        Owner::User if WIDENING.contains(&key) => Ok(()),
        Owner::Project if WIDENING.contains(&key) => bail!(
            "a project can only narrow; give it as the flag --{key} or in your own configuration"
        ),
        Owner::User => bail!(
            "unknown; there are: {}, {}",
            NARROWING.join(", "),
            WIDENING.join(", ")
        ),
        Owner::Project => bail!("unknown; there are: {}", NARROWING.join(", ")),
    }
}

/// The members of an object in their order, each name once: of two denies the
/// first must not get lost.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(String, Value)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom(format!("{key:?} is there twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Members)
    }
}

struct File<'f> {
    path: &'f Path,
    caller: &'f Caller,
}

impl File<'_> {
    fn set(&self, settings: &mut Settings, key: &str, value: &Value) -> anyhow::Result<()> {
        let lists = &mut settings.lists;
        let ceilings = &mut settings.ceilings;
        let search = self.caller.search.as_deref();
        match key {
            "policy" => settings.policies = self.policies(value)?,
            "allow-read" => lists.allow_read = paths(key, &self.items(value)?)?,
            "deny-read" => lists.deny_read = paths(key, &self.items(value)?)?,
            "allow-write" => lists.allow_write = paths(key, &self.items(value)?)?,
            "deny-write" => lists.deny_write = paths(key, &self.items(value)?)?,
            "allow-net" => lists.allow_net = hosts(key, &self.items(value)?)?,
            "deny-net" => lists.deny_net = hosts(key, &self.items(value)?)?,
            "allow-run" => lists.allow_run = programs(key, &self.items(value)?, search)?,
            "deny-run" => lists.deny_run = programs(key, &self.items(value)?, search)?,
            "timeout" => ceilings.wall = Some(limit::duration(&number(value)?).map_err(said)?),
            "memory" => ceilings.memory = Some(limit::size(&number(value)?).map_err(said)?),
            "cpus" => ceilings.cpus = Some(limit::cpus(&number(value)?).map_err(said)?),
            "pids" => ceilings.pids = Some(limit::count(&number(value)?).map_err(said)?),
            "max-output" => ceilings.output = Some(limit::output(&number(value)?).map_err(said)?),
            "files" => ceilings.files = Some(limit::count(&number(value)?).map_err(said)?),
            "connections" => {
                ceilings.connections = Some(limit::count(&number(value)?).map_err(said)?);
            }
            "bandwidth" => ceilings.bandwidth = Some(limit::size(&number(value)?).map_err(said)?),
            "env" => settings.env = strings(value)?.into_iter().map(OsString::from).collect(),
            "workdir" => settings.workdir = Some(self.path(value)?),
            "python" => settings.python = Some(self.path(value)?),
            "venv" => settings.venv = Some(self.path(value)?),
            "events" => settings.events = Some(self.path(value)?),
            "tty" => settings.tty = Some(choice(value)?),
            "ask" => settings.ask = Some(choice(value)?),
            "allow-degraded" => {
                settings.allow_degraded = Some(value.as_bool().context("expected true or false")?);
            }
            "require" => settings.require = Some(choice(value)?),
            "quiet" => settings.quiet = Some(value.as_bool().context("expected true or false")?),
            "log-level" => settings.log_level = Some(choice(value)?),
            // `permitted` has the same keys; a test puts each of them to both.
            _ => bail!("unknown"),
        }
        Ok(())
    }

    /// A list as a flag would have it: `true` is everything.
    fn items(&self, value: &Value) -> anyhow::Result<Vec<OsString>> {
        if value == &Value::Bool(true) {
            return Ok(vec!["*".into()]);
        }
        let items = strings(value).context("expected true or a list of strings")?;
        ensure!(
            !items.is_empty(),
            "the list is empty; true means everything"
        );
        let home = self.caller.home.as_deref();
        items
            .iter()
            .map(|item| Ok(expand_home(item, home)?.into_os_string()))
            .collect()
    }

    fn path(&self, value: &Value) -> anyhow::Result<PathBuf> {
        let text = value.as_str().context("expected a path")?;
        expand_home(text, self.caller.home.as_deref())
    }

    /// Policies by name, or by a path that is relative to this file.
    fn policies(&self, value: &Value) -> anyhow::Result<Vec<OsString>> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let named = |item: String| match item.contains(['/', '.']) {
            true => {
                let path = expand_home(&item, self.caller.home.as_deref())?;
                Ok(directory.join(path).into_os_string())
            }
            false => Ok(OsString::from(item)),
        };
        strings(value)?.into_iter().map(named).collect()
    }
}

fn said(message: String) -> anyhow::Error {
    anyhow!(message)
}

/// A string, or a list of strings.
fn strings(value: &Value) -> anyhow::Result<Vec<String>> {
    let one = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .context("expected a string")
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

/// A limit, with a unit or without.
fn number(value: &Value) -> anyhow::Result<String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.clone()),
        _ => bail!("expected a number or a string"),
    }
}

fn choice<T: ValueEnum>(value: &Value) -> anyhow::Result<T> {
    let text = value.as_str().context("expected a string")?;
    T::from_str(text, false).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        anyhow!("expected one of: {}", names.join(", "))
    })
}

/// The caller as the environment describes it.
pub(super) fn caller(variable: impl Fn(&str) -> Option<OsString>) -> Caller {
    let path = |name| variable(name).filter(|value: &OsString| !value.is_empty());
    Caller {
        home: path("HOME").map(PathBuf::from),
        config_home: path("XDG_CONFIG_HOME").map(PathBuf::from),
        search: variable("PATH"),
    }
}
