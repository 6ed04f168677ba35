//! The verbs of an OCI runtime, as other programs and people call them: the same flags, the same
//! shapes of JSON and the same words in errors as callers of runc know.
//!
//! Trusts the caller, who is root's own or the user's. Never takes part in what a verb does: it
//! reads the flags, hands them down, and prints.

mod args;
mod log;
mod meant;
mod policy;
mod show;
mod update;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub(super) use args::Verb;
use args::{Globals, RunArgs};
pub(super) use meant::{is_container_run, is_meant};

use super::{told, usage};
use crate::oci::container::{self, RunInput, Runtime, Store};

/// Exit status of a verb that failed, as callers know it.
const FAILED: u8 = 1;
/// Exit status of an exec that failed, which no program's is likely to be.
const EXEC_FAILED: u8 = 255;

/// The verbs of an OCI runtime with the flags before them.
#[derive(Debug, Parser)]
#[command(name = "buntime", version, args_override_self = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// `run` of a container, whose name another verb has too.
#[derive(Debug, Parser)]
#[command(name = "buntime", version, args_override_self = true)]
struct RunCli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: RunVerb,
}

#[derive(Debug, clap::Subcommand)]
enum RunVerb {
    /// Creates a container, starts it, waits for it and deletes it
    Run(RunArgs),
}

/// Does what the arguments say and returns the exit status.
#[must_use]
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => finish(&cli.globals, cli.verb),
        Err(error) => failed_usage(&error),
    }
}

/// The same for `run`.
#[must_use]
pub(super) fn main_of_run(arguments: &[OsString]) -> ExitCode {
    match RunCli::try_parse_from(arguments) {
        Ok(RunCli {
            globals,
            verb: RunVerb::Run(args),
        }) => {
            log::begin(&globals);
            let runtime = sealed(true).and_then(|()| runtime(&globals));
            let how = RunInput {
                detach: args.detach,
                keep: args.keep,
                no_subreaper: args.no_subreaper,
            };
            let status = runtime.and_then(|runtime| Ok(runtime.run(&args.create.input()?, how)?));
            end(&globals, status, FAILED)
        }
        Err(error) => failed_usage(&error),
    }
}

fn failed_usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => usage(error),
        _ => {
            usage(error);
            ExitCode::from(FAILED)
        }
    }
}

fn finish(globals: &Globals, verb: Verb) -> ExitCode {
    log::begin(globals);
    let failure = match verb {
        Verb::Exec(_) => EXEC_FAILED,
        _ => FAILED,
    };
    let joins = matches!(verb, Verb::Create(_) | Verb::Exec(_));
    let status = sealed(joins)
        .and_then(|()| runtime(globals))
        .and_then(|runtime| obey(&runtime, verb));
    end(globals, status, failure)
}

fn end(globals: &Globals, status: anyhow::Result<u8>, failure: u8) -> ExitCode {
    match status {
        Ok(status) => ExitCode::from(status),
        Err(error) if super::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            log::fail(globals, &told(&error));
            ExitCode::from(failure)
        }
    }
}

fn sealed(joins: bool) -> anyhow::Result<()> {
    if joins {
        container::seal()?;
    }
    Ok(())
}

fn runtime(globals: &Globals) -> anyhow::Result<Runtime> {
    let root = globals.root.clone().unwrap_or_else(Runtime::default_root);
    Ok(Runtime {
        store: Store::at(&std::path::absolute(root)?),
        systemd_cgroup: globals.wants_systemd(),
        rootless: globals.is_rootless(),
        policy: globals.policy.choice()?,
    })
}

fn obey(runtime: &Runtime, verb: Verb) -> anyhow::Result<u8> {
    let mut out = std::io::stdout().lock();
    match verb {
        Verb::Create(args) => {
            runtime.create(&args.input()?)?;
        }
        Verb::Start(args) => runtime.start(&args.id)?,
        Verb::State(args) => show::pretty(&mut out, &runtime.state(&args.id)?)?,
        Verb::Kill(args) => {
            let signal = container::parse_signal(args.signal.as_deref().unwrap_or("TERM"))?;
            runtime.kill(&args.id, signal, args.all)?;
        }
        Verb::Delete(args) => runtime.delete(&args.id, args.force)?,
        Verb::Exec(args) => {
            drop(out);
            return Ok(runtime.exec(&args.input()?)?);
        }
        Verb::List(args) => show::list(&mut out, &runtime.list()?, &args)?,
        Verb::Ps(args) => show::processes(&mut out, &runtime.processes(&args.id)?, &args)?,
        Verb::Pause(args) => runtime.pause(&args.id)?,
        Verb::Resume(args) => runtime.resume(&args.id)?,
        Verb::Update(args) => runtime.update(&args.id, &update::resources(&args)?)?,
        Verb::Events(args) => {
            runtime.events(&args.id, args.interval, args.stats, &mut |event| {
                serde_json::to_writer(&mut out, event)?;
                out.write_all(b"\n")?;
                out.flush()
            })?;
        }
        Verb::Features => show::pretty(&mut out, &container::features())?,
        Verb::Spec(args) => show::spec(&args)?,
        Verb::Checkpoint(_) | Verb::Restore(_) => anyhow::bail!(
            "checkpoint and restore are not carried out: they need CRIU, which this runtime \
             does not drive"
        ),
    }
    Ok(0)
}
