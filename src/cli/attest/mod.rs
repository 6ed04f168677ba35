//! `buntime attest`: the attacks of `tests/attacks`, run on this host.
//!
//! Each attack runs twice. Outside, where every attempt must reach its aim, in namespaces that
//! are thrown away or on files and processes that were made for it; and inside, by this very
//! program's `run`, where every attempt must be denied and what was made must be as before. Attacks on
//! the runtime itself are made from outside, on one without fences and on this very program's verbs.
//! What does not reach its aim outside shows nothing about the fences, and is said not to apply here.
//!
//! It trusts the kernel, the interpreter that it is given, and its own embedded programs; what those
//! print is parsed and nothing more. It never touches anything of the host's but a folder of its own, and
//! never counts an attack that could not be made as one that was denied.

mod catalogue;
mod ground;
mod groups;
mod running;
mod table;
mod trial;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use super::voice;
use crate::supervisor::{Ending, killed_by};
use catalogue::{Attack, attacks};
use running::Interrupted;
use trial::{Outcome, Setting, Trial};

/// Exit status when an attack succeeded, or it is not clear that it did not.
const BROKEN: u8 = 1;
/// Attempts of a race, in the short form and in the long one.
const ROUNDS: [u32; 2] = [10_000, 1_000_000];

/// Attacks the sandbox on this host, and shows what held
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "buntime attest [OPTIONS] [LINE|NAME]...",
    after_help = "\
Examples:
  buntime attest
  buntime attest --list
  buntime attest 17 ptrace
  buntime attest --json 43-51 > files.json

Each attack runs outside, where it must reach its aim: in namespaces that are thrown away, or on
files and processes made for it. It also runs inside, where each attempt must be denied. The attacks on
lines 1 to 11 are mostly made on the runtime and its containers: outside on a runtime without fences,
inside on this one. Those on lines 28 to 42 are made in a network of their own, which leads nowhere:
outside also by a proxy without fences, inside by this one's. What does not succeed outside, or needs what is missing here, is not applicable,
which is no pass: as root more of them apply than as an ordinary user.

It makes a folder below --scratch, and in it files, bundles and the state of containers; processes and
namespaces; as root, control groups of the folder's name. All of it is removed when it ends, also by
Ctrl-C or SIGTERM. It changes nothing else: where an attack aims at the host, it opens what it could
change, and leaves it as it is. Where an attack asks for a family of sockets, the kernel may load
the module that has it.

Exit status: 0 when no attack succeeded; 1 when one did, or could not be judged; 125 when
Buntime failed, or no attack at all could be made here."
)]
pub(super) struct AttestArgs {
    /// Only these: a line's number, several (43-51), or a part of a name
    #[arg(value_name = "LINE|NAME")]
    chosen: Vec<String>,
    /// Show what there is, and run nothing
    #[arg(long)]
    list: bool,
    /// As JSON, with every attempt
    #[arg(long)]
    json: bool,
    /// Show every attempt
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
    /// Races of a million attempts, or as many as go into a minute or two each
    #[arg(long)]
    long: bool,
    /// The Python interpreter
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Where the folder for files of the attacks is made, and removed again; not below /tmp, which is
    /// private inside
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    scratch: PathBuf,
}

pub(super) fn run(asked: &AttestArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let attacks = choose(&asked.chosen)?;
    if asked.list {
        let listed = match asked.json {
            true => table::listed_as_json(&attacks)?,
            false => table::listed(&attacks),
        };
        out.write_all(listed.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let ending = Ending::listen().context("listen for signals")?;
    let scratch = ground::Scratch::new(&asked.scratch)?;
    let setting = Setting {
        binary: std::env::current_exe().context("find this program's own file")?,
        python: interpreter(asked.python.as_ref())?,
        scratch: scratch.path().to_path_buf(),
        rounds: ROUNDS[usize::from(asked.long)],
        group: scratch.name(),
        ending,
    };
    let began = Instant::now();
    let made = make(&attacks, &setting);
    progress_ends();
    // Whatever has become of the attacks, nothing of theirs stays.
    let cleared = groups::remove(&setting.group).and(scratch.remove());
    let trials = match made.map_err(anyhow::Error::downcast::<Interrupted>) {
        Ok(trials) => trials,
        Err(Ok(signal)) => {
            cleared?;
            return Ok(interrupted(&signal));
        }
        Err(Err(error)) => return Err(error),
    };
    cleared?;
    let told = match asked.json {
        true => table::as_json(&trials, began.elapsed())?,
        false => table::readable(&trials, began.elapsed(), asked.verbose),
    };
    out.write_all(told.as_bytes())?;
    out.flush()?;
    status(&trials)
}

/// Makes one attack after the other.
fn make(attacks: &[&'static Attack], setting: &Setting) -> anyhow::Result<Vec<Trial>> {
    let mut trials = Vec::with_capacity(attacks.len());
    for (number, attack) in attacks.iter().enumerate() {
        progress(number + 1, attacks.len(), attack.name);
        trials.push(trial::of(attack, setting)?);
    }
    Ok(trials)
}

/// Says so, and ends as somebody who was ended by that signal.
fn interrupted(signal: &Interrupted) -> ExitCode {
    voice::say(&format!(
        "{signal}: the attacks were not finished, and nothing of theirs was left behind"
    ));
    ExitCode::from(killed_by(signal.0))
}

/// Success only where something was shown and nothing went wrong.
fn status(trials: &[Trial]) -> anyhow::Result<ExitCode> {
    let any = |outcome| trials.iter().any(|trial| trial.outcome == outcome);
    if any(Outcome::Succeeded) || any(Outcome::Unclear) {
        return Ok(ExitCode::from(BROKEN));
    }
    if !any(Outcome::Denied) {
        bail!(
            "no attack could be made here, so nothing is shown: see the reasons above; run it as root, \
             or where user namespaces are permitted"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn choose(words: &[String]) -> anyhow::Result<Vec<&'static Attack>> {
    for word in words {
        ensure!(
            attacks().any(|attack| is_meant(attack, word)),
            "no attack has the line or the name {word}: see buntime attest --list"
        );
    }
    let wanted =
        |attack: &&Attack| words.is_empty() || words.iter().any(|word| is_meant(attack, word));
    let mut chosen: Vec<&Attack> = attacks().filter(wanted).collect();
    chosen.sort_by_key(|attack| attack.lines[0]);
    Ok(chosen)
}

/// Whether a word of the command line names an attack.
fn is_meant(attack: &Attack, word: &str) -> bool {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    match (from.parse::<u8>(), to.parse::<u8>()) {
        (Ok(from), Ok(to)) => attack.lines.iter().any(|line| (from..=to).contains(line)),
        _ => attack.name.contains(word),
    }
}

/// The interpreter that was named, or the system's.
fn interpreter(named: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    let usual = ["/usr/bin/python3", "/usr/local/bin/python3", "/bin/python3"];
    let mut candidates = named.cloned().map_or_else(
        || usual.iter().map(PathBuf::from).collect(),
        |path| vec![path],
    );
    candidates.retain(|path| path.is_file());
    candidates.into_iter().next().with_context(|| match named {
        Some(path) => format!("{} is no file", path.display()),
        None => {
            "the attacks are Python programs, and there is no /usr/bin/python3: install it, or \
                 name one with --python"
                .to_owned()
        }
    })
}

/// Which attack it is at, on a terminal alone.
fn progress(number: usize, all: usize, name: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal()
        && write!(err, "\r\x1b[K{number}/{all} {name}")
            .and_then(|()| err.flush())
            .is_err()
    {
        tracing::debug!("standard error is closed");
    }
}

fn progress_ends() {
    let mut err = io::stderr().lock();
    if err.is_terminal() && write!(err, "\r\x1b[K").is_err() {
        tracing::debug!("standard error is closed");
    }
}
