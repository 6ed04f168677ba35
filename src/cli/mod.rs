//! The command line: one file per verb, and the only place that prints and
//! decides on an exit status.
//!
//! It trusts the person who types: flags, environment and the user's configuration
//! file mean what they say. It does not trust the directory that it is started in:
//! a project's `.buntime.json` can only narrow. It never enforces anything itself,
//! and it never runs a program but through the supervisor.
//!
//! `said` is what was typed, `config` what the configuration files say, and `meant`
//! what both together ask for.

mod attest;
mod bundle;
mod completions;
mod config;
mod container;
mod doctor;
mod limit;
mod meant;
mod plan;
pub mod policy;
mod reload;
mod run;
mod said;
mod settings;
#[cfg(test)]
mod tests;
mod voice;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

/// Exit status of Buntime's own failures, wrong usage among them.
const FAILED: u8 = 125;

const EXAMPLES: &str = "\
Examples:
  buntime run -c 'print(6*7)'
  buntime run script.py a b
  buntime run --allow-read=data --out result script.py
  buntime run -- /usr/bin/sort < words
  buntime policy explain --policy strict ~/.ssh/id_rsa
  buntime doctor
  buntime attest

Flags of containers stand before the verb (--root, --log, --systemd-cgroup, --policy, ...);
buntime --debug --help describes them.

Network: every policy or flag that allows it is refused today; a program sees a
loopback of its own and nothing else.

Exit status: the program's own; 124 when the time limit ended it; 125 when Buntime
failed or refused; 126 and 127 when the program cannot be executed or is not there;
128+n when signal n ended it.";

/// Runs programs that nobody trusts, under a policy that the kernel enforces
#[derive(Debug, Parser)]
#[command(name = "buntime", version = container::VERSION, after_help = EXAMPLES, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Runs Python code, a script or any other program in a sandbox
    Run(Box<said::RunArgs>),
    /// Checks, shows, compares and explains policies
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Writes a policy file from flags
    InitPolicy(policy::InitPolicy),
    /// Attacks the sandbox on this host, and shows what held
    Attest(attest::AttestArgs),
    /// Writes the built-in bundle
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Tries what this host can enforce, and says what to change
    Doctor(doctor::DoctorArgs),
    #[command(flatten)]
    Container(container::Verb),
    /// Prints a completion script for a shell
    #[command(
        after_help = "Example:\n  buntime completions bash > ~/.local/share/bash-completion/completions/buntime"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Does what the arguments say, the program's own name first, and returns the
/// exit status. Whatever goes wrong is printed on standard error as `buntime: ...`.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    if container::is_meant(&arguments) {
        return container::main(&arguments);
    }
    if container::is_container_run(&arguments) {
        return container::main_of_run(&arguments);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match obey(cli.verb, &arguments) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            voice::say(&told(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// An error and its causes, without those that an outer one has in its own text.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.to_lowercase().contains(&cause.to_lowercase()) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn obey(verb: Verb, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match verb {
        Verb::Run(said) => {
            // The run copies to standard output by its descriptor.
            drop(out);
            run::run(*said, arguments)
        }
        Verb::Policy(command) => policy::run(command, &mut Answer(&mut out)),
        Verb::InitPolicy(asked) => policy::init(asked, &mut Answer(&mut out)),
        Verb::Attest(asked) => attest::run(&asked, &mut Answer(&mut out)),
        Verb::Bundle(command) => bundle::run(command, &mut Answer(&mut out)),
        Verb::Doctor(asked) => doctor::run(&asked, &mut Answer(&mut out)),
        // Those were recognised before.
        Verb::Container(_) => {
            drop(out);
            Ok(container::main(arguments))
        }
        Verb::Completions { shell } => {
            // Written at once, so that a closed pipe is an error and not a panic.
            let script = completions::script(shell, Cli::command());
            Answer(&mut out).write_all(script.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Standard output, whose failures say what they are about.
struct Answer<'a>(&'a mut dyn Write);

impl Write for Answer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unwritten)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("write to standard output: {error}"))
}

/// Help and version are answers; everything else that the parser says is a failure
/// of ours like any other.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        voice::print_help(&text);
        return ExitCode::from(FAILED);
    }
    if error.use_stderr() {
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        voice::say(text);
        return ExitCode::from(FAILED);
    }
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            voice::say(&format!("write to standard output: {failure}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Nobody reads what we print any more, which is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
