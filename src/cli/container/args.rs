//! The flags of the container verbs, in the dialects that their callers speak.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use super::policy::PolicyArgs;
use crate::oci::container::{CreateInput, ExecInput, ProcessInput, is_ordinary_user};

/// The flags before the verb.
#[derive(Debug, Args, Default)]
pub(in crate::cli) struct Globals {
    /// Directory for the state of containers [default: /run/buntime, or $XDG_RUNTIME_DIR/buntime]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Write messages to this file as well
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How messages are written to the file
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: Option<LogFormat>,
    /// Say what is done
    #[arg(long)]
    pub debug: bool,
    /// Have systemd make the control groups
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who makes the control groups
    #[arg(long, value_name = "WHO")]
    pub cgroup_manager: Option<CgroupManager>,
    /// Whether what an ordinary user lacks is taken as not asked for
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    pub rootless: Option<Rootless>,
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Taken for the sake of callers; checkpoints are not carried out
    #[arg(long, hide = true, value_name = "PATH")]
    pub criu: Option<PathBuf>,
}

/// The forms of messages in a file.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(in crate::cli) enum LogFormat {
    /// One line of `key=value` pairs each
    Text,
    /// One JSON object each
    Json,
}

/// The makers of control groups.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(in crate::cli) enum CgroupManager {
    /// This runtime, in the file system
    Cgroupfs,
    /// systemd
    Systemd,
    /// Nobody: the container stays in its caller's, and limits are refused
    Disabled,
}

/// The answers to a question that can be left open.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(in crate::cli) enum Rootless {
    /// Yes
    True,
    /// No
    False,
    /// When the caller is not root
    Auto,
}

impl Globals {
    pub(super) fn wants_systemd(&self) -> bool {
        self.systemd_cgroup || self.cgroup_manager == Some(CgroupManager::Systemd)
    }

    pub(super) fn wants_no_group(&self) -> bool {
        !self.systemd_cgroup && self.cgroup_manager == Some(CgroupManager::Disabled)
    }

    pub(super) fn is_rootless(&self) -> bool {
        match self.rootless {
            Some(Rootless::True) => true,
            Some(Rootless::False) => false,
            _ => is_ordinary_user(),
        }
    }
}

/// The operations that the specification has, which are what every launch is made of.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Operation {
    /// Creates a container from a bundle; its process waits for start
    #[command(after_help = "Example:\n  buntime create --bundle /path/to/bundle web1")]
    Create(CreateArgs),
    /// Starts the process of a created container
    Start(IdArgs),
    /// Prints the state of a container as JSON
    State(IdArgs),
    /// Sends a signal to the process of a container
    #[command(
        after_help = "Examples:\n  buntime kill web1\n  buntime kill web1 KILL\n  buntime kill --all web1 9"
    )]
    Kill(KillArgs),
    /// Removes a container that has ended, or with --force any
    Delete(DeleteArgs),
}

/// What an OCI runtime does.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    #[command(flatten)]
    Operation(Operation),
    /// Runs a further process in a container
    #[command(after_help = "Example:\n  buntime exec --tty web1 sh")]
    Exec(ExecArgs),
    /// Lists the containers
    List(ListArgs),
    /// Lists the processes of a container
    Ps(PsArgs),
    /// Freezes every process of a container
    Pause(IdArgs),
    /// Lets the processes of a paused container go on
    Resume(IdArgs),
    /// Changes the resource limits of a container
    #[command(
        after_help = "Examples:\n  buntime update --memory 256M web1\n  buntime update --resources - web1 < resources.json"
    )]
    Update(UpdateArgs),
    /// Prints statistics and events of a container as JSON
    Events(EventsArgs),
    /// Prints what this runtime can do as JSON
    Features,
    /// Stands beside a container that has a policy; `create` starts it
    #[command(hide = true)]
    Supervise(IdArgs),
    /// Writes a configuration to start from
    Spec(SpecArgs),
    /// Refused: containers cannot be checkpointed
    #[command(hide = true)]
    Checkpoint(Refused),
    /// Refused: containers cannot be restored
    #[command(hide = true)]
    Restore(Refused),
}

/// Whatever was said to a verb that is refused.
#[derive(Debug, Args)]
pub(in crate::cli) struct Refused {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _words: Vec<String>,
}

/// A verb that takes a container and nothing else.
#[derive(Debug, Args)]
pub(in crate::cli) struct IdArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// The bundle's directory
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// The configuration, where it is not the bundle's config.json
    #[arg(long, short = 'f', value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A Unix socket that takes the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// A file that takes the process's pid
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Enter the root without pivot_root(2)
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// How many descriptors after the standard ones the process keeps
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub preserve_fds: u32,
}

impl CreateArgs {
    /// Paths mean what they mean where the caller is.
    pub(super) fn input(&self) -> anyhow::Result<CreateInput> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        Ok(CreateInput {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            config: absolute(&self.config)?,
            console_socket: absolute(&self.console_socket)?,
            pid_file: absolute(&self.pid_file)?,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
        })
    }
}

/// `run` of a container.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub create: CreateArgs,
    /// Leave it running
    #[arg(long, short)]
    pub detach: bool,
    /// Keep the container when its process has ended
    #[arg(long)]
    pub keep: bool,
    /// Let orphans of the container go to another process
    #[arg(long)]
    pub no_subreaper: bool,
}

/// `kill`.
#[derive(Debug, Args)]
pub(in crate::cli) struct KillArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// The signal by its number or name [default: TERM]
    #[arg(value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Send it to every process of the container
    #[arg(long, short)]
    pub all: bool,
}

/// `delete`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Kill it first; no error where there is none
    #[arg(long, short)]
    pub force: bool,
    /// Remove every container whose id matches ID, a regular expression
    #[arg(long, short)]
    pub regex: bool,
}

/// `exec`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExecArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// The program and its arguments
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "process"
    )]
    pub command: Vec<String>,
    /// A file that has the specification's `process`
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Add a variable to the environment
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// User id and group id
    #[arg(long, short, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Add supplementary group ids
    #[arg(long, short = 'g', value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// Leave it running
    #[arg(long, short)]
    pub detach: bool,
    /// A Unix socket that takes the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// A file that takes the process's pid
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// The AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Let no execve(2) give privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(long, short, value_name = "CAP")]
    pub cap: Vec<String>,
    /// How many descriptors after the standard ones the process keeps
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Run in a control group below the container's
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Join a container that is paused
    #[arg(long)]
    pub ignore_paused: bool,
}

impl ExecArgs {
    pub(super) fn input(self) -> anyhow::Result<ExecInput> {
        let absolute = |path: Option<PathBuf>| path.map(std::path::absolute).transpose();
        let process = ProcessInput {
            file: self.process,
            args: self.command,
            cwd: self.cwd,
            env: self.env,
            terminal: self.tty,
            user: self.user.as_deref().map(user).transpose()?,
            additional_gids: self.additional_gids,
            capabilities: self.cap,
            apparmor: self.apparmor,
            selinux: self.process_label,
            no_new_privileges: self.no_new_privs,
        };
        Ok(ExecInput {
            id: self.id,
            process,
            detach: self.detach,
            console_socket: absolute(self.console_socket)?,
            pid_file: absolute(self.pid_file)?,
            preserve_fds: self.preserve_fds,
            cgroups: self.cgroup,
            ignore_paused: self.ignore_paused,
            no_new_keyring: false,
        })
    }
}

fn user(text: &str) -> anyhow::Result<(u32, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let number = |text: &str| {
        text.parse()
            .with_context(|| format!("--user {text}: ids are numbers, as UID or UID:GID"))
    };
    Ok((number(uid)?, gid.map(number).transpose()?))
}

/// The forms of lists.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(in crate::cli) enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// `list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// How it is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Print ids only
    #[arg(long, short)]
    pub quiet: bool,
}

/// `ps`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PsArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// How it is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Options for ps(1) [default: -ef]
    #[arg(
        value_name = "OPTIONS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub options: Vec<String>,
}

/// `update`. Sizes in bytes, or with a suffix such as M.
#[derive(Debug, Args, Default)]
pub(in crate::cli) struct UpdateArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// A file that has the specification's `resources`, or - for standard input
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Weight of input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// Period of processor time in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Processor time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Processor time that can be saved up in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<u64>,
    /// Share of processor time beside others
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    /// Period of real-time scheduling in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// Real-time scheduling in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<i64>,
    /// Processors to use, as 0-2,5
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use, as 0-2,5
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// 1: run only when nothing else does
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// Taken and ignored, as the kernel does
    #[arg(long, hide = true, value_name = "SIZE", allow_hyphen_values = true)]
    pub kernel_memory: Option<String>,
    /// Taken and ignored, as the kernel does
    #[arg(long, hide = true, value_name = "SIZE", allow_hyphen_values = true)]
    pub kernel_memory_tcp: Option<String>,
    /// Limit of memory
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory that is left to it when the host is short of it
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Limit of memory and swap together; -1 for none
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Limit of processes; -1 for none
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
}

/// `events`.
#[derive(Debug, Args)]
pub(in crate::cli) struct EventsArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Time between two statistics
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Print the statistics once
    #[arg(long)]
    pub stats: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time such as 500ms, 5s or 1m");
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|interval| !interval.is_zero())
        .ok_or_else(bad)
}

/// `spec`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SpecArgs {
    /// The bundle's directory
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// For a caller that is not root
    #[arg(long)]
    pub rootless: bool,
}
