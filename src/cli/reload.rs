//! `buntime policy reload`: another policy for a run that goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::TypedValueParser;
use serde_json::json;

use super::completions::PolicyName;
use super::plan::sources;
use super::policy::vars;
use super::voice::say;
use crate::supervisor::{PolicySource, ReloadError, Reloaded, reload};

const HELP: &str = "\
Examples:
  buntime run --name job --policy policy.json script.py
  buntime policy reload job
  buntime policy reload job narrower.json
  buntime policy reload --json job policy.json more.json

The policies take the place of those that the run was given by --policy; its flags and
what its project narrows stay. What is decided as each call is made changes at once, for
all of the run's processes. What mounts, Landlock, the filter and limits were made for at
the start cannot change: a policy that needs more or less of that is refused as a whole,
rule by rule, and the former one holds. What was approved before is asked for again.";

/// Which run, and which policy.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ReloadArgs {
    /// The run: its --name, or the `id` of its session-start event.
    id: String,
    /// Files, or names of shipped policies; without any, those of the run are read again.
    #[arg(value_name = "FILE|NAME", value_parser = PolicyName.map(PathBuf::from), hide_possible_values = true)]
    policies: Vec<PathBuf>,
    /// As JSON, on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(asked: &ReloadArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut policies = sources(&asked.policies);
    for policy in &mut policies {
        if let PolicySource::File(path) = policy {
            *path = absolute(path)?;
        }
    }
    match reload(&asked.id, &policies, &vars()?) {
        Ok(reloaded) if asked.json => {
            writeln!(out, "{}", serde_json::to_string_pretty(&reloaded)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(reloaded) => {
            tell(&reloaded, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_refusal() => refused(asked, &error, out),
        Err(error) => Err(error.into()),
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))
}

fn tell(reloaded: &Reloaded, out: &mut dyn Write) -> anyhow::Result<()> {
    let Reloaded {
        id,
        generation,
        layers,
        notes,
        ..
    } = reloaded;
    let layers = layers.join(", ");
    writeln!(out, "{id}: policy number {generation} holds ({layers})")?;
    for note in notes {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

fn refused(
    asked: &ReloadArgs,
    error: &ReloadError,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let error = error.to_string();
    say(&error);
    if asked.json {
        let document = json!({ "id": asked.id, "error": error });
        writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?;
    }
    Ok(ExitCode::from(1))
}
