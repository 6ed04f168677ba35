//! `buntime run` as it was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::completions::PolicyName;
use super::limit::{self, Ceiling};
use crate::supervisor::{Network, Require};

const EXAMPLES: &str = "\
Examples:
  buntime run -c 'print(6*7)'
  buntime run script.py a -x
  echo 'print(1)' | buntime run -
  buntime run -- /usr/bin/sort < words
  buntime run --allow-run -- bash
  buntime run --venv ~/env --allow-read=data --out result script.py
  buntime run --policy strict --report report.json script.py
  buntime run --learn learned.json --allow-read=data script.py
  buntime run --timeout 10s --memory 1G --files unlimited -c 'import this'

What follows the code, the script or the command goes to the program untouched.

Policy: without --policy, the shipped `default` holds and the --allow flags add to
it. With --policy, every flag can only narrow. A flag of a list without a value
means everything; values are separated by commas. Programs without a slash, and
python3, are looked for where the system keeps programs and not in your PATH: give
the path of others, and an environment that you have activated as
--venv \"$VIRTUAL_ENV\".

Learning: with --learn FILE, a program may use what every program has, all programs of
the system, and what the --allow flags name. What it did is then written to FILE as a
policy that allows it and little more; if FILE was learned before, both are in it. What
it asked for besides is said, to be allowed next time.

Standard input is handed on through a pipe, which takes up to 128 KiB more of it than
the program reads; in a loop that reads the same input, add < /dev/null.

Configuration: $XDG_CONFIG_HOME/buntime/config.json (or ~/.config/buntime/config.json)
has defaults for these flags, by their names: {\"policy\": \"strict\", \"timeout\": \"60s\"}.
./.buntime.json is a project's own and can only narrow: policy, deny-*, limits, require.
Flags come before the project's file, and that before the user's.";

const LIST: &str = "*";

/// Runs Python code, a script or any other program in a sandbox
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    args_override_self = true,
    override_usage = "buntime run [OPTIONS] -c CODE [ARGS]...\n       \
                      buntime run [OPTIONS] FILE.py [ARGS]...\n       \
                      buntime run [OPTIONS] - [ARGS]... < CODE\n       \
                      buntime run [OPTIONS] -- CMD [ARGS]..."
)]
pub(super) struct RunArgs {
    /// Run this Python code; all that follows are its arguments
    #[arg(
        short = 'c',
        value_names = ["CODE", "ARGS"],
        num_args = 1..,
        allow_hyphen_values = true,
        conflicts_with = "words"
    )]
    pub code: Option<Vec<OsString>>,

    /// A Python file, - for code on standard input, or after -- a program; and arguments
    #[arg(value_name = "FILE.py|-|-- CMD", trailing_var_arg = true)]
    pub words: Vec<OsString>,

    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub surroundings: SurroundingsArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which policy holds.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Policy")]
pub(super) struct PolicyArgs {
    /// A policy file, or a shipped policy by name; given again, each narrows the others
    #[arg(long, value_name = "FILE|NAME", value_parser = PolicyName, hide_possible_values = true)]
    pub policy: Vec<OsString>,
    /// Write to this file the narrowest policy that allows what the program does; again: adds to it
    #[arg(long, value_name = "FILE")]
    pub learn: Option<PathBuf>,
    /// Allow reading these files and directories, or all
    #[arg(long, value_name = "PATHS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub allow_read: Vec<OsString>,
    /// Deny reading these, or all
    #[arg(long, value_name = "PATHS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub deny_read: Vec<OsString>,
    /// Allow changing these files and directories, or all
    #[arg(long, value_name = "PATHS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub allow_write: Vec<OsString>,
    /// Deny changing these, or all
    #[arg(long, value_name = "PATHS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub deny_write: Vec<OsString>,
    /// Allow connections to these hosts, or all
    #[arg(long, value_name = "HOSTS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub allow_net: Vec<OsString>,
    /// Deny connections to these, or all
    #[arg(long, value_name = "HOSTS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub deny_net: Vec<OsString>,
    /// Allow starting these programs, or all that are visible
    #[arg(long, value_name = "PROGRAMS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub allow_run: Vec<OsString>,
    /// Deny starting these, or all
    #[arg(long, value_name = "PROGRAMS", num_args = 0..=1, require_equals = true, default_missing_value = LIST)]
    pub deny_run: Vec<OsString>,
    /// Refuse to start where less than this holds (policy)
    #[arg(long, value_name = "LEVEL")]
    pub require: Option<Level>,
    /// Start although a rule or a limit cannot be carried exactly here, and say which and what holds
    #[arg(long, conflicts_with = "require")]
    pub allow_degraded: bool,
}

/// The least that has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Level {
    /// Every rule and limit of the policy, by whatever carries it here
    Policy,
    /// And namespaces of the program's own
    Namespaces,
    /// And every mechanism of the launch is whole
    Full,
}

impl From<Level> for Require {
    fn from(level: Level) -> Require {
        match level {
            Level::Policy => Require::Policy,
            Level::Namespaces => Require::Namespaces,
            Level::Full => Require::Full,
        }
    }
}

/// How much it may use.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits, each a value or `unlimited`")]
pub(super) struct LimitArgs {
    /// Wall time: 30, 500ms, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = limit::duration)]
    pub timeout: Option<Ceiling<Duration>>,
    /// Memory of all processes together: 512M, 2G
    #[arg(long, value_name = "SIZE", value_parser = limit::size)]
    pub memory: Option<Ceiling<u64>>,
    /// Processor time for each second: 0.5, 2
    #[arg(long, value_name = "N", value_parser = limit::cpus)]
    pub cpus: Option<Ceiling<f64>>,
    /// Processes and threads at one time
    #[arg(long, value_name = "N", value_parser = limit::count)]
    pub pids: Option<Ceiling<u64>>,
    /// Bytes of standard output and standard error together
    #[arg(long, value_name = "SIZE", value_parser = limit::output)]
    pub max_output: Option<Ceiling<u64>>,
    /// Open files of one process
    #[arg(long, value_name = "N", value_parser = limit::count)]
    pub files: Option<Ceiling<u64>>,
    /// Connections out of the sandbox at one time
    #[arg(long, value_name = "N", value_parser = limit::count)]
    pub connections: Option<Ceiling<u64>>,
    /// Bytes that may leave and arrive in a second
    #[arg(long, value_name = "SIZE", value_parser = limit::size)]
    pub bandwidth: Option<Ceiling<u64>>,
}

/// What is around the program.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Surroundings")]
pub(super) struct SurroundingsArgs {
    /// A variable of the program's environment; without a value, yours
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// The directory that the program starts in
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// The Python interpreter
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// A virtual environment, read-only
    #[arg(long, value_name = "DIR")]
    pub venv: Option<PathBuf>,
    /// The one directory of yours that the program may write; it must be empty or new
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Let --out have contents already
    #[arg(long, requires = "out")]
    pub out_keep: bool,
    /// The interfaces inside: loopback, or veth for an eth0 too, where programs need one [default: loopback]
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    pub network: Option<Interfaces>,
    /// The port inside of the proxy that some programs like; 0 for none [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub proxy_port: Option<u16>,
    /// An OCI bundle in place of the built-in one
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// A root file system in place of one assembled from this host
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
}

/// The interfaces that a program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Interfaces {
    /// Its own loopback alone
    Loopback,
    /// An interface eth0 as well, for programs that need one
    Veth,
}

impl From<Interfaces> for Network {
    fn from(interfaces: Interfaces) -> Network {
        match interfaces {
            Interfaces::Loopback => Network::Loopback,
            Interfaces::Veth => Network::Veth,
        }
    }
}

/// What Buntime itself says.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Whether the program gets a terminal
    #[arg(long, value_name = "WHEN")]
    pub tty: Option<Tty>,
    /// Whether you are asked at the terminal where the policy says `ask`
    #[arg(long, value_name = "WHEN")]
    pub ask: Option<Ask>,
    /// Write to this file what was enforced, decided and used, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Append every decision and event to this file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// The name by which `buntime policy reload` finds this run; a random one, in --events
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// Print one JSON object with the program's output and the report
    #[arg(long)]
    pub json: bool,
    /// Say nothing about denials and limits
    #[arg(long)]
    pub quiet: bool,
    /// How much Buntime says about its own work
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// When the program gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Tty {
    /// When standard input and output are one.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// When a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Ask {
    /// Where there is a terminal, in its foreground.
    Auto,
    /// Never: it is denied.
    Never,
}

/// How much is logged on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// And what is weaker than it could be.
    Warn,
    /// And steps.
    Info,
    /// And details.
    Debug,
    /// And everything.
    Trace,
}
