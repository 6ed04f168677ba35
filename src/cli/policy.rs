//! `buntime policy` and `buntime init-policy`: looking at policies and writing them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::builder::TypedValueParser;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::completions::PolicyName;
use super::voice::harmless;
use super::{settings, told};
use crate::policy::{
    Explanation, Flags, Layer, Policy, SCHEMA, Url, Vars, schema_violations, shipped_names,
};

fn names() -> impl TypedValueParser<Value = PathBuf> {
    PolicyName.map(PathBuf::from)
}

/// What can be done with policies.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Checks policy files: exit 0, or 1 with every problem and its place on stderr
    #[command(
        after_help = "Examples:\n  buntime policy check policy.json\n  buntime policy check policies/*.json\n\nWhat this host cannot enforce is found when a policy is run."
    )]
    Check {
        /// Policy files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// As JSON, on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Shows what a policy says, with everything expanded
    #[command(
        after_help = "Examples:\n  buntime policy show default\n  buntime policy show --json policy.json"
    )]
    Show {
        /// A file, or the name of a shipped policy.
        #[arg(value_name = "FILE|NAME", value_parser = names(), hide_possible_values = true)]
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
        #[arg(value_name = "FILE|NAME", value_parser = names(), hide_possible_values = true)]
        one: PathBuf,
        /// Another.
        #[arg(value_name = "FILE|NAME", value_parser = names(), hide_possible_values = true)]
        other: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows the verdict and the deciding rule for paths, programs, hosts and requests
    #[command(
        after_help = "Examples:\n  buntime policy explain --policy default /etc/passwd\n  buntime policy explain --policy policy.json example.org:443 git ./data\n  buntime policy explain --policy policy.json https://api.example.org/v1/notes\n\nWhat the bundle itself allows (its interpreter and libraries) is not part of a policy and not shown."
    )]
    Explain {
        /// A file, or the name of a shipped policy; several are merged.
        #[arg(
            long = "policy",
            value_name = "FILE|NAME",
            default_value = "default",
            value_parser = names(),
            hide_possible_values = true
        )]
        policies: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// A path with a slash, HOST:PORT, a URL of http: or https:, or the name of a program.
        #[arg(required = true, value_name = "PATH|HOST:PORT|URL|PROGRAM")]
        subjects: Vec<String>,
    },
    /// Shows how a policy would be carried on this host, rule by rule
    #[command(
        after_help = "Examples:\n  buntime policy plan --policy strict\n  buntime policy plan --json --policy policy.json\n  buntime policy plan --allow-read=data -- /usr/bin/sort"
    )]
    Plan(super::plan::PlanArgs),
    /// Has a run that goes on obey another policy: exit 1 when only a restart could
    Reload(super::reload::ReloadArgs),
    /// Lists the policies inside the program
    #[command(after_help = "Example:\n  buntime policy list")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
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
    #[command(flatten)]
    lists: Lists,
}

/// What the flags allow and deny.
#[derive(Debug, clap::Args)]
pub(super) struct Lists {
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
        PolicyCommand::Check { files, json } => return check(&files, json, out),
        PolicyCommand::Show { policy, json } => show(&policy, json, out)?,
        PolicyCommand::Diff { one, other, json } => return diff(&one, &other, json, out),
        PolicyCommand::Explain {
            policies,
            json,
            subjects,
        } => {
            explain(&policies, json, &subjects, out)?;
        }
        PolicyCommand::Plan(asked) => super::plan::run(asked, out)?,
        PolicyCommand::Reload(asked) => return super::reload::run(&asked, out),
        PolicyCommand::List { json } => list(json, out)?,
        PolicyCommand::Schema => out.write_all(SCHEMA.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Lists {
    /// The programs are looked up as `buntime run` does it.
    pub(super) fn flags(self) -> anyhow::Result<Flags> {
        let programs = |list: Option<Vec<PathBuf>>| {
            list.map(|list| list.into_iter().map(look_up).collect::<anyhow::Result<_>>())
                .transpose()
        };
        Ok(Flags {
            allow_read: self.allow_read,
            deny_read: self.deny_read,
            allow_write: self.allow_write,
            deny_write: self.deny_write,
            allow_net: self.allow_net,
            deny_net: self.deny_net,
            allow_run: programs(self.allow_run)?,
            deny_run: programs(self.deny_run)?,
            ..Flags::default()
        })
    }
}

/// Runs `buntime init-policy ...`.
pub fn init(asked: InitPolicy, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    for path in [
        &asked.lists.allow_read,
        &asked.lists.deny_read,
        &asked.lists.allow_write,
        &asked.lists.deny_write,
    ]
    .into_iter()
    .chain([&asked.lists.allow_run, &asked.lists.deny_run])
    .flatten()
    .flatten()
    {
        // JSON is text, and another name put in its place would be another file.
        ensure!(
            path.to_str().is_some(),
            "{}: a policy file cannot name it, because it is not UTF-8; name its directory",
            path.display()
        );
    }
    let flags = asked.lists.flags()?;
    let mut layer = Layer::from_flags(&flags, &vars()?)?;
    layer.set_description("Written by buntime init-policy.");
    writeln!(out, "{}", layer.to_json()?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn vars() -> anyhow::Result<Vars> {
    let pwd = std::env::current_dir()
        .context("cannot find the working directory; change to one that is there")?;
    Ok(Vars::of(pwd, std::env::var_os("HOME")))
}

fn check(files: &[PathBuf], json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let vars = vars()?;
    let mut sound = true;
    let mut checked = Vec::new();
    for file in files {
        let error = problems(file, &vars).err().map(|error| told(&error));
        sound &= error.is_none();
        if json {
            let file = file.display().to_string();
            checked.push(json!({ "file": file, "ok": error.is_none(), "error": error }));
        } else if let Some(error) = error {
            eprintln!("{}", harmless(&error));
        } else {
            writeln!(out, "{}: ok", file.display())?;
        }
    }
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&checked)?)?;
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

fn diff(one: &Path, other: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (left, right) = (named(one)?, named(other)?);
    let (before, after) = (left.statements(), right.statements());
    let gone: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    let same = gone.is_empty() && new.is_empty();
    if json {
        let document = json!({
            "one": left.name(), "other": right.name(), "only_one": gone, "only_other": new,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?;
        return Ok(ExitCode::from(u8::from(!same)));
    }
    if same {
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
    let mut explained: Vec<Explanation> = subjects
        .iter()
        .map(|subject| explanation(&policy, subject))
        .collect::<Result<_, _>>()?;
    // What cannot be carried here has no mechanism; a run says why.
    if let Ok(shown) = super::plan::of_python(policies) {
        for explanation in &mut explained {
            explanation.carried_by(&shown.plan.mechanisms);
        }
    }
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
    if subject.contains("://") {
        let url = Url::parse(subject).with_context(|| {
            format!("{subject}: it is no URL of http: or https: with a host, without a user")
        })?;
        return Ok(policy.explain_url(&url));
    }
    if let Some((host, port)) = subject.rsplit_once(':')
        && !subject.contains('/')
    {
        let port = port
            .parse()
            .with_context(|| format!("{subject}: {port:?} is no port"))?;
        return Ok(policy.explain_host(host, port));
    }
    ensure!(
        !subject.is_empty(),
        "an empty word is no path, no program and no HOST:PORT"
    );
    let path = match subject.strip_prefix("~/") {
        Some(rest) => vars()?.home.join(rest),
        None if subject.contains('/') || subject.starts_with('.') => PathBuf::from(subject),
        None => look_up(subject.into())?,
    };
    let path = resolved(&path)?;
    let sha256 = match policy.compares_digest_of(&path) {
        true => digest(&path)?,
        false => None,
    };
    Ok(policy.explain_path(&path, sha256.as_deref()))
}

/// The SHA-256 of the file that is there; `None` where no regular file is.
fn digest(path: &Path) -> anyhow::Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let read = || format!("cannot read {}, whose digest a rule names", path.display());
    let mut file = std::fs::File::open(path).with_context(read)?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).with_context(read)?;
    let bytes = hasher.finalize();
    Ok(Some(
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// A program by its name, found as `buntime run` finds it.
fn look_up(name: PathBuf) -> anyhow::Result<PathBuf> {
    let search = std::env::var_os("PATH");
    settings::look_up(name.as_os_str(), search.as_deref())
        .with_context(|| name.display().to_string())
}

/// The path after symbolic links, as far as it exists: a policy speaks of real paths.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    let path =
        std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?;
    for existing in path.ancestors() {
        if let Ok(real) = existing.canonicalize() {
            let rest = path.strip_prefix(existing)?;
            // Joining nothing would leave a slash at the end.
            return Ok(if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            });
        }
    }
    Ok(path)
}

fn list(json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let vars = vars()?;
    let mut listed = Vec::new();
    for name in shipped_names() {
        let layer = Layer::shipped(name, &vars)?;
        let description = layer.description().unwrap_or_default();
        if json {
            listed.push(json!({ "name": name, "description": description }));
        } else {
            writeln!(out, "{name:13} {description}")?;
        }
    }
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
    }
    Ok(())
}
