//! `buntime policy` and `buntime init-policy`: looking at policies and writing them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::voice::harmless;
use crate::policy::{
    Explanation, Flags, Layer, LoadError, Policy, SCHEMA, Vars, schema_violations, shipped_names,
};

/// What can be done with policies.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Checks policy files: exit 0, or 1 with every problem and its place on stderr
    #[command(
        after_help = "Examples:\n  buntime policy check policy.json\n  buntime policy check policies/*.json"
    )]
    Check {
        /// Policy files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Shows what a policy says, with everything expanded
    #[command(
        after_help = "Examples:\n  buntime policy show default\n  buntime policy show --json policy.json"
    )]
    Show {
        /// A file, or the name of a shipped policy.
        #[arg(value_name = "FILE|NAME")]
        policy: PathBuf,
        /// As a policy file.
        #[arg(long)]
        json: bool,
    },
    /// Shows what one policy says and another does not: exit 1 when they differ
    #[command(
        after_help = "Examples:\n  buntime policy diff default strict\n  buntime policy diff old.json new.json"
    )]
    Diff {
        /// A file, or the name of a shipped policy.
        #[arg(value_name = "FILE|NAME")]
        one: PathBuf,
        /// Another.
        #[arg(value_name = "FILE|NAME")]
        other: PathBuf,
    },
    /// Shows the verdict and the deciding rule for paths, programs and hosts
    #[command(
        after_help = "Examples:\n  buntime policy explain --policy default /etc/passwd\n  buntime policy explain --policy policy.json example.org:443 git ./data\n\nWhat the bundle itself allows (its interpreter and libraries) is not part of a policy and not shown."
    )]
    Explain {
        /// A file, or the name of a shipped policy; several are merged.
        #[arg(long = "policy", value_name = "FILE|NAME", default_value = "default")]
        policies: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// A path with a slash, HOST:PORT, or the name of a program.
        #[arg(required = true, value_name = "PATH|HOST:PORT|PROGRAM")]
        subjects: Vec<String>,
    },
    /// Lists the policies inside the program
    #[command(after_help = "Example:\n  buntime policy list")]
    List,
    /// Prints the JSON Schema of the policy language
    #[command(after_help = "Example:\n  buntime policy schema > schema.json")]
    Schema,
}

/// Writes a policy file from flags.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  buntime init-policy --allow-read=data --allow-write=out > policy.json\n  buntime init-policy --allow-net=example.org:443 --allow-run=/usr/bin/git"
)]
pub struct InitPolicy {
    /// Allow reading below these paths, or everywhere
    #[arg(long, value_name = "PATHS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    allow_read: Option<Vec<PathBuf>>,
    /// Deny reading below these paths, or everywhere
    #[arg(long, value_name = "PATHS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    deny_read: Option<Vec<PathBuf>>,
    /// Allow writing below these paths, or everywhere
    #[arg(long, value_name = "PATHS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    allow_write: Option<Vec<PathBuf>>,
    /// Deny writing below these paths, or everywhere
    #[arg(long, value_name = "PATHS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    deny_write: Option<Vec<PathBuf>>,
    /// Allow connections to these hosts, or everywhere
    #[arg(long, value_name = "HOSTS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    allow_net: Option<Vec<String>>,
    /// Deny connections to these hosts, or everywhere
    #[arg(long, value_name = "HOSTS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    deny_net: Option<Vec<String>>,
    /// Allow these programs to be run, or every visible one
    #[arg(long, value_name = "PROGRAMS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    allow_run: Option<Vec<PathBuf>>,
    /// Deny these programs to be run, or every one but the command
    #[arg(long, value_name = "PROGRAMS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    deny_run: Option<Vec<PathBuf>>,
}

/// Runs `buntime policy ...`.
pub fn run(command: PolicyCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { files } => return check(&files, out),
        PolicyCommand::Show { policy, json } => show(&policy, json, out)?,
        PolicyCommand::Diff { one, other } => return diff(&one, &other, out),
        PolicyCommand::Explain {
            policies,
            json,
            subjects,
        } => {
            explain(&policies, json, &subjects, out)?;
        }
        PolicyCommand::List => list(out)?,
        PolicyCommand::Schema => out.write_all(SCHEMA.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `buntime init-policy ...`.
pub fn init(asked: InitPolicy, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let programs = |list: Option<Vec<PathBuf>>| {
        list.map(|list| list.into_iter().map(look_up).collect::<anyhow::Result<_>>())
            .transpose()
    };
    let flags = Flags {
        allow_read: asked.allow_read,
        deny_read: asked.deny_read,
        allow_write: asked.allow_write,
        deny_write: asked.deny_write,
        allow_net: asked.allow_net,
        deny_net: asked.deny_net,
        allow_run: programs(asked.allow_run)?,
        deny_run: programs(asked.deny_run)?,
        ..Flags::default()
    };
    let mut layer = Layer::from_flags(&flags, &vars()?)?;
    layer.set_description("Written by buntime init-policy.");
    writeln!(out, "{}", layer.to_json()?)?;
    Ok(ExitCode::SUCCESS)
}

fn vars() -> anyhow::Result<Vars> {
    let pwd = std::env::current_dir().context("cannot find the working directory")?;
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    Ok(Vars {
        home,
        workspace: pwd.clone(),
        pwd,
    })
}

fn check(files: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let vars = vars()?;
    let mut sound = true;
    for file in files {
        match problems(file, &vars) {
            Ok(()) => writeln!(out, "{}: ok", file.display())?,
            Err(error) => {
                sound = false;
                eprintln!("{}", harmless(&format!("{error:#}")));
            }
        }
    }
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The loader names every problem with its place; the published schema has the last word.
fn problems(file: &Path, vars: &Vars) -> anyhow::Result<()> {
    Layer::load(file, vars)?;
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let violations = schema_violations(&text)?;
    if !violations.is_empty() {
        bail!(
            "{}: the schema refuses it: {}",
            file.display(),
            violations.join("; ")
        );
    }
    Ok(())
}

fn named(policy: &Path) -> anyhow::Result<Layer> {
    Ok(Layer::named(policy, &vars()?)?)
}

fn show(policy: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let layer = named(policy)?;
    if json {
        writeln!(out, "{}", layer.to_json()?)?;
        return Ok(());
    }
    writeln!(out, "{}", layer.name())?;
    if let Some(description) = layer.description() {
        writeln!(out, "  {description}")?;
    }
    for statement in layer.statements() {
        writeln!(out, "  {statement}")?;
    }
    Ok(())
}

fn diff(one: &Path, other: &Path, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (left, right) = (named(one)?, named(other)?);
    let (before, after) = (left.statements(), right.statements());
    let gone: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    if gone.is_empty() && new.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "--- {}\n+++ {}", left.name(), right.name())?;
    for line in gone {
        writeln!(out, "-{line}")?;
    }
    for line in new {
        writeln!(out, "+{line}")?;
    }
    Ok(ExitCode::from(1))
}

fn explain(
    policies: &[PathBuf],
    json: bool,
    subjects: &[String],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let layers = policies
        .iter()
        .map(|policy| named(policy))
        .collect::<anyhow::Result<_>>()?;
    let policy = Policy::merge(layers, Vec::new())?;
    let explained: Vec<Explanation> = subjects
        .iter()
        .map(|subject| explanation(&policy, subject))
        .collect::<Result<_, _>>()?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
        return Ok(());
    }
    for explanation in explained {
        writeln!(out, "{explanation}")?;
    }
    Ok(())
}

fn explanation(policy: &Policy, subject: &str) -> anyhow::Result<Explanation> {
    if let Some((host, port)) = subject.rsplit_once(':')
        && !subject.contains('/')
    {
        let port = port
            .parse()
            .with_context(|| format!("{subject}: {port:?} is no port"))?;
        return Ok(policy.explain_host(host, port));
    }
    let path = match subject.strip_prefix("~/") {
        Some(rest) => vars()?.home.join(rest),
        None if subject.contains('/') || subject.starts_with('.') => PathBuf::from(subject),
        None => look_up(subject.into())?,
    };
    Ok(policy.explain_path(&resolved(&path)?))
}

/// A program by its name, where the system keeps programs.
fn look_up(name: PathBuf) -> anyhow::Result<PathBuf> {
    if name.components().count() != 1 || name.is_absolute() {
        return Ok(name);
    }
    ["/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(&name))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "no program {} in /usr/local/bin, /usr/bin or /bin; give its path",
                name.display()
            )
        })
}

/// The path after symbolic links, as far as it exists: a policy speaks of real paths.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    let path =
        std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?;
    for existing in path.ancestors() {
        if let Ok(real) = existing.canonicalize() {
            return Ok(real.join(path.strip_prefix(existing)?));
        }
    }
    Ok(path)
}

fn list(out: &mut dyn Write) -> anyhow::Result<()> {
    let vars = vars()?;
    for name in shipped_names() {
        let layer: Result<Layer, LoadError> = Layer::shipped(name, &vars);
        writeln!(
            out,
            "{name:13} {}",
            layer?.description().unwrap_or_default()
        )?;
    }
    Ok(())
}
