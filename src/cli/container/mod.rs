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
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub(super) use args::Verb;
use args::{Globals, Operation, RunArgs};
pub(super) use meant::{is_container_run, is_meant};

use super::{told, usage};
use crate::oci::container::{self, RunInput, Runtime, Store, VerbError};

/// Exit status of a verb that failed, as callers know it.
const FAILED: u8 = 1;
/// Exit status of an exec that failed, which no program's is likely to be.
const EXEC_FAILED: u8 = 255;

/// The verbs that join a container's namespaces. A call of one is sealed as the first thing that is
/// done, since what was done before is done again then.
const JOINING: [&str; 2] = ["create", "exec"];

/// The verbs of [`Operation`].
const OPERATIONS: [&str; 5] = ["create", "delete", "kill", "start", "state"];

/// What `-v` says: callers of runc look for the lines of the specification and of the version, those
/// of crun for what is built in.
pub(super) const VERSION: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    "\nspec: 1.2.1\n+APPARMOR +CAP +EBPF +LANDLOCK +SECCOMP +SELINUX +SYSTEMD"
);

/// The verbs of an OCI runtime with the flags before them.
#[derive(Debug, Parser)]
#[command(
    name = "buntime",
    version = VERSION,
    args_override_self = true,
    disable_version_flag = true
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    verb: Verb,
}

/// Some of the verbs, without the time that it takes to describe the flags of all others.
#[derive(Debug, Parser)]
#[command(name = "buntime", version = VERSION, args_override_self = true)]
struct Few<V: clap::Subcommand> {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: V,
}

/// `run` of a container, whose name another verb has too.
#[derive(Debug, clap::Subcommand)]
enum RunVerb {
    /// Creates a container, starts it, waits for it and deletes it
    Run(RunArgs),
}

/// Does what the arguments say and returns the exit status.
#[must_use]
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let verb = meant::verb(arguments);
    let sealed = verb
        .filter(|verb| JOINING.contains(verb))
        .map(|_| container::seal());
    // What this does not understand is told of in the words of the whole.
    if verb.is_some_and(|verb| OPERATIONS.contains(&verb))
        && let Ok(Few { globals, verb }) = Few::try_parse_from(arguments)
    {
        return finish(&globals, Verb::Operation(verb), sealed);
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => finish(&cli.globals, cli.verb, sealed),
        Err(error) => failed_usage(error),
    }
}

/// The same for `run`.
#[must_use]
pub(super) fn main_of_run(arguments: &[OsString]) -> ExitCode {
    let sealed = container::seal();
    match Few::try_parse_from(arguments) {
        Ok(Few {
            globals,
            verb: RunVerb::Run(args),
        }) => {
            log::begin(&globals);
            let runtime = sealed.map_err(Into::into).and_then(|()| runtime(&globals));
            let how = RunInput {
                detach: args.detach,
                keep: args.keep,
                no_subreaper: args.no_subreaper,
            };
            let status = runtime.and_then(|runtime| Ok(runtime.run(&args.create.input()?, how)?));
            end(&globals, status, FAILED)
        }
        Err(error) => failed_usage(error),
    }
}

fn failed_usage(mut error: clap::Error) -> ExitCode {
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && meant::is_global(flag)
    {
        let tip = format!("{flag} stands before the verb").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => usage(&error),
        _ => {
            usage(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// `sealed` is the answer of [`container::seal`], where it has been asked.
fn finish(globals: &Globals, verb: Verb, sealed: Option<Result<(), VerbError>>) -> ExitCode {
    log::begin(globals);
    let failure = match verb {
        Verb::Exec(_) => EXEC_FAILED,
        _ => FAILED,
    };
    let sealed = match verb {
        Verb::Operation(Operation::Create(_)) | Verb::Exec(_) => {
            sealed.unwrap_or_else(container::seal)
        }
        _ => Ok(()),
    };
    let status = sealed
        .map_err(Into::into)
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

fn runtime(globals: &Globals) -> anyhow::Result<Runtime> {
    let root = globals.root.clone().unwrap_or_else(Runtime::default_root);
    Ok(Runtime {
        store: Store::at(&std::path::absolute(root)?),
        systemd_cgroup: globals.wants_systemd(),
        no_cgroup: globals.wants_no_group(),
        rootless: globals.is_rootless(),
        policy: globals.policy.choice()?,
    })
}

fn operate(runtime: &Runtime, operation: Operation) -> anyhow::Result<()> {
    match operation {
        Operation::Create(args) => {
            runtime.create(&args.input()?)?;
        }
        Operation::Start(args) => runtime.start(&args.id)?,
        Operation::State(args) => writeln!(std::io::stdout(), "{}", runtime.state(&args.id)?)?,
        Operation::Kill(args) => {
            let signal = container::parse_signal(args.signal.as_deref().unwrap_or("TERM"))?;
            runtime.kill(&args.id, signal, args.all)?;
        }
        Operation::Delete(args) if args.regex => runtime.delete_matching(&args.id, args.force)?,
        Operation::Delete(args) => runtime.delete(&args.id, args.force)?,
    }
    Ok(())
}

fn obey(runtime: &Runtime, verb: Verb) -> anyhow::Result<u8> {
    let mut out = std::io::stdout().lock();
    match verb {
        Verb::Operation(operation) => {
            drop(out);
            operate(runtime, operation)?;
        }
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
        // The id is there for those who look at the list of processes.
        Verb::Supervise(_) => crate::supervisor::container::supervise()?,
        Verb::Checkpoint(_) | Verb::Restore(_) => anyhow::bail!(
            "checkpoint and restore are not carried out: they need CRIU, which this runtime \
             does not drive"
        ),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    #[test]
    fn an_operation_means_the_same_among_all_verbs() {
        let few = Operation::augment_subcommands(clap::Command::new("few"));
        let mut names: Vec<&str> = few.get_subcommands().map(clap::Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(names, OPERATIONS);
        for line in [
            "buntime create web",
            "buntime --root /x --log=/l --log-format json create -b /b --pid-file /p --no-pivot web",
            "buntime --policy strict --policy p.json --egress host --allow-degraded create --preserve-fds 2 web",
            "buntime --systemd-cgroup --debug start --root /y web",
            "buntime --root /x --root /y state web",
            "buntime kill --all web 9",
            "buntime delete --force --regex web.*",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let few = Few::<Operation>::try_parse_from(&words).unwrap();
            let whole = Cli::try_parse_from(&words).unwrap();
            assert_eq!(
                format!("{:?} Operation({:?})", few.globals, few.verb),
                format!("{:?} {:?}", whole.globals, whole.verb),
                "{line}"
            );
        }
    }
}
