//! From what was said, on the command line and in the configuration files, to what
//! was meant.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use super::config::{self, Caller, Owner};
use super::said::{Ask, LogLevel, RunArgs, Tty};
use super::settings::{Settings, environment};
use crate::policy::{Flags, shipped_names};
use crate::supervisor::{
    AskChoice, Network, PolicyChoice, PolicySource, Program, Require, RunOptions, Surroundings,
    TerminalChoice,
};

/// One run and how it is talked about.
#[derive(Debug)]
pub(super) struct Meant {
    pub options: RunOptions,
    /// Whether the person wants one JSON object.
    pub json: bool,
    /// Whether denials and limits are kept quiet.
    pub quiet: bool,
    /// How much is logged.
    pub log_level: LogLevel,
    /// What was asked for and is not there, in words.
    pub absent: Vec<String>,
}

/// What is to be run, before code is read from standard input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `-c CODE`.
    Code(OsString, Vec<OsString>),
    /// `-`.
    StandardInput(Vec<OsString>),
    /// A file.
    Script(PathBuf, Vec<OsString>),
    /// `-- CMD`.
    Command(OsString, Vec<OsString>),
    /// `--bundle DIR` and nothing more.
    OfBundle,
}

/// `raw` is the whole command line, of which the words are the end: the parser keeps
/// no note of the `--` that makes the words a command.
pub(super) fn asked(said: &RunArgs, raw: &[OsString]) -> anyhow::Result<Asked> {
    if let Some((code, args)) = said.code.as_deref().and_then(<[OsString]>::split_first) {
        return Ok(Asked::Code(code.clone(), args.to_vec()));
    }
    let Some((first, args)) = said.words.split_first() else {
        if said.surroundings.bundle.is_some() {
            return Ok(Asked::OfBundle);
        }
        bail!("nothing to run: give -c CODE, FILE.py, - or -- CMD (see buntime run --help)");
    };
    let args = args.to_vec();
    let before = raw.len().checked_sub(said.words.len() + 1);
    let escaped = before
        .and_then(|at| raw.get(at))
        .is_some_and(|word| word == "--");
    Ok(match (escaped, first.to_str()) {
        (true, _) => Asked::Command(first.clone(), args),
        (false, Some("-")) => Asked::StandardInput(args),
        (false, _) => Asked::Script(PathBuf::from(first), args),
    })
}

/// What the person wants, all files taken into account.
pub(super) fn meant(said: RunArgs, program: Program, caller: &Caller) -> anyhow::Result<Meant> {
    let user = match caller.user_file() {
        Some(path) => config::read(&path, Owner::User, caller)?,
        None => Settings::default(),
    };
    let project = config::read(Path::new(config::PROJECT), Owner::Project, caller)?;
    together(said, program, caller, user, project)
}

/// Flags before the project's file before the user's.
pub(super) fn together(
    said: RunArgs,
    program: Program,
    caller: &Caller,
    user: Settings,
    project: Settings,
) -> anyhow::Result<Meant> {
    let flags = Settings::from_flags(&said, caller.search.as_deref())?;
    // A limit that was typed is the person's word over the project's. Its denies and
    // its policy stay: they were not spoken of.
    let project_ceilings = project.ceilings.except(&flags.ceilings);
    let misspelt = misspelt(&flags.lists);
    let settings = flags.over(user);
    if let (false, Some(limit)) = (settings.policies.is_empty(), settings.ceilings.lifted()) {
        bail!(
            "--{limit}=unlimited: with --policy, flags can only narrow; change the policy's limit"
        );
    }
    ensure!(
        said.surroundings.bundle.is_none() || said.surroundings.rootfs.is_none(),
        "--bundle and --rootfs: a bundle has its own root; give one of them"
    );
    let own_root = said.surroundings.bundle.is_some() || said.surroundings.rootfs.is_some();
    let absent = if own_root {
        Vec::new()
    } else {
        let mut absent = absent(&settings.lists);
        absent.extend(misspelt);
        absent
    };
    let allow_degraded = settings.allow_degraded.unwrap_or(false);
    ensure!(
        !(allow_degraded && settings.require.max(project.require).is_some()),
        "--allow-degraded lets less hold than a configuration file requires; leave it out, or take \
         \"require\" out of the file"
    );
    let env = environment(&settings.env, |name| std::env::var_os(name))?;
    let mut own = Flags {
        over_policy: !settings.policies.is_empty(),
        ..settings.lists
    };
    settings.ceilings.set(&mut own);
    let mut narrowing = Flags {
        over_policy: true,
        ..project.lists
    };
    project_ceilings.set(&mut narrowing);
    let options = RunOptions {
        program,
        policy: PolicyChoice {
            policies: settings.policies.iter().map(|name| source(name)).collect(),
            narrowing: project.policies.iter().map(|name| source(name)).collect(),
            flags: own,
            project: narrowing,
            learn: said.policy.learn,
        },
        surroundings: Surroundings {
            env,
            workdir: settings.workdir,
            python: settings.python,
            venv: settings.venv,
            out: said.surroundings.out,
            out_keep: said.surroundings.out_keep,
            network: said.surroundings.network.map(Network::from),
            proxy_port: said.surroundings.proxy_port,
            bundle: said.surroundings.bundle,
            rootfs: said.surroundings.rootfs,
        },
        terminal: terminal(settings.tty, said.output.json)?,
        ask: match settings.ask {
            Some(Ask::Never) => AskChoice::Never,
            Some(Ask::Auto) | None => AskChoice::Auto,
        },
        allow_degraded,
        // A project asks for more than the person, or for nothing.
        require: settings
            .require
            .max(project.require)
            .map(Require::from)
            .unwrap_or_default(),
        report: said.output.report,
        name: said.output.name,
        events: settings.events,
        capture: said.output.json,
    };
    Ok(Meant {
        options,
        json: said.output.json,
        quiet: settings.quiet.unwrap_or(false),
        log_level: settings.log_level.unwrap_or(LogLevel::Error),
        absent,
    })
}

/// The program's own places, where a path need not be on the host.
const PRIVATE: [&str; 3] = ["/tmp", "/dev", "/proc"];

/// Only what is there can be shown, and a misspelt path should not look like a denial.
fn absent(lists: &Flags) -> Vec<String> {
    missing([("read", &lists.allow_read), ("write", &lists.allow_write)])
        .map(|(flag, path)| {
            let path = path.display();
            format!(
                "warning: --allow-{flag}={path} allows nothing, because {path} is not there; \
                 make it, or allow the directory that it is in"
            )
        })
        .collect()
}

/// A rule that takes nothing away of what is there is most likely meant to. A configuration may name
/// what only some machines have, so this is about the command line alone.
fn misspelt(lists: &Flags) -> Vec<String> {
    missing([("read", &lists.deny_read), ("write", &lists.deny_write)])
        .map(|(flag, path)| {
            let path = path.display();
            format!(
                "warning: --deny-{flag}={path} denies only what comes there later, because {path} is not there"
            )
        })
        .collect()
}

/// The paths of two lists that are neither on the host nor below the program's own places.
fn missing<'l>(
    lists: [(&'static str, &'l Option<Vec<PathBuf>>); 2],
) -> impl Iterator<Item = (&'static str, &'l PathBuf)> {
    lists
        .into_iter()
        .flat_map(|(flag, list)| list.iter().flatten().map(move |path| (flag, path)))
        .filter(|(_, path)| !PRIVATE.iter().any(|place| path.starts_with(place)))
        .filter(|(_, path)| matches!(path.try_exists(), Ok(false)))
}

/// A shipped policy by its name; a word that can be no file is a misspelt name.
pub(super) fn source(name: &OsStr) -> PolicySource {
    match name.to_str() {
        Some(text)
            if shipped_names().contains(&text)
                || (!text.contains(['/', '.']) && !Path::new(text).exists()) =>
        {
            PolicySource::Shipped(text.to_owned())
        }
        _ => PolicySource::File(PathBuf::from(name)),
    }
}

fn terminal(tty: Option<Tty>, json: bool) -> anyhow::Result<TerminalChoice> {
    match (tty, json) {
        (Some(Tty::Always), true) => {
            bail!("--json keeps the output, and --tty always shows it; give one of them")
        }
        (_, true) | (Some(Tty::Never), _) => Ok(TerminalChoice::Never),
        (Some(Tty::Always), false) => Ok(TerminalChoice::Always),
        (Some(Tty::Auto) | None, false) => Ok(TerminalChoice::Auto),
    }
}
