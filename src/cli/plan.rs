//! `buntime policy plan`: how a policy would be carried.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::TypedValueParser;

use super::completions::PolicyName;
use super::meant::source;
use crate::policy::ShownPlan;
use crate::supervisor::{PolicyChoice, PolicySource, Program, RunError, foresee};

/// Which policy, for which program.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// A file, or the name of a shipped policy; several are merged. Without one the flags are the policy.
    #[arg(
        long = "policy",
        value_name = "FILE|NAME",
        value_parser = PolicyName.map(PathBuf::from),
        hide_possible_values = true
    )]
    policies: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    lists: super::policy::Lists,
    /// The program, instead of Python.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The policies that are meant, as `buntime run` takes them.
pub(super) fn sources(policies: &[PathBuf]) -> Vec<PolicySource> {
    let names = policies.iter().map(|policy| policy.as_os_str());
    names.map(source).collect()
}

/// The plan of these policies for Python code.
pub(super) fn of_python(policies: &[PathBuf]) -> Result<ShownPlan, RunError> {
    let choice = PolicyChoice {
        policies: sources(policies),
        ..PolicyChoice::default()
    };
    foresee(&choice, &python())
}

fn python() -> Program {
    Program::Code {
        code: Vec::new(),
        name: "-c".into(),
        args: Vec::new(),
    }
}

pub(super) fn run(asked: PlanArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let choice = PolicyChoice {
        policies: sources(&asked.policies),
        flags: asked.lists.flags()?,
        ..PolicyChoice::default()
    };
    let mut words = asked.command.into_iter();
    let program = words.next().map_or_else(python, |name| Program::Command {
        name,
        args: words.collect(),
    });
    let shown = foresee(&choice, &program)?;
    if asked.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    } else {
        writeln!(out, "{shown}")?;
    }
    Ok(())
}
