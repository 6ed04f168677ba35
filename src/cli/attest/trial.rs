//! One attack, outside and inside, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::catalogue::{Attack, CARELESS, Control, HARNESS, PRELUDE, Policies, WAYS, WORLD};
use super::ground::Ground;
use super::running::{Ended, ended};
use crate::supervisor::Ending;

/// How long a program may take, inside and outside. Races have their own clock, which is shorter.
const PATIENCE: Duration = Duration::from_secs(150);
/// The same for races in their long form.
const LONG_PATIENCE: Duration = Duration::from_secs(900);
/// What Buntime ends with when it refuses a start.
const REFUSED: i32 = 125;
/// What it ends with when a limit has ended the program: 128 and SIGKILL.
const ENDED: i32 = 137;
/// What a program outside ends with when it got no namespaces to throw away.
const NO_THROWAWAY: i32 = 77;
/// What the prelude prints of an attempt whose process was killed.
const KILLED: &str = "BROKEN killed by signal 9";
/// How the prelude begins what it prints of an attempt for which something is missing.
const MISSING: &str = "NOT ATTEMPTED ";
/// A variable and an open file of the caller's, which must not come in.
const LEAKING: &str = "exec 9<\"$GROUND/outside/secret\"; exec \"$@\"";

/// What all attacks run with.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) binary: PathBuf,
    pub(super) python: PathBuf,
    pub(super) scratch: PathBuf,
    pub(super) rounds: u32,
    /// The name of the control groups that attacks make for themselves.
    pub(super) group: String,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Denied,
    Succeeded,
    NotApplicable,
    /// It was made, and its end cannot be read as a denial.
    Unclear,
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Outcome::Denied => "denied",
            Outcome::Succeeded => "SUCCEEDED",
            Outcome::NotApplicable => "not applicable",
            Outcome::Unclear => "UNCLEAR",
        }
    }
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) outside: String,
    pub(super) inside: String,
}

#[derive(Debug)]
pub(super) struct Trial {
    pub(super) attack: &'static Attack,
    pub(super) outcome: Outcome,
    /// Why it does not apply, what was reached, or how it was refused; empty for plain denials.
    pub(super) reason: String,
    pub(super) attempts: Vec<Attempt>,
    pub(super) took: Duration,
}

/// Makes an attack.
pub(super) fn of(attack: &'static Attack, setting: &Setting) -> anyhow::Result<Trial> {
    let began = Instant::now();
    let made = |outcome, reason, attempts| Trial {
        attack,
        outcome,
        reason,
        attempts,
        took: began.elapsed(),
    };
    // Each has files and processes of its own.
    let (outside, inside) = std::thread::scope(|threads| {
        let outside = threads.spawn(|| outside(attack, setting));
        let inside = inside(attack, setting);
        (outside.join(), inside)
    });
    let outside = match outside {
        Ok(outside) => outside?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let (inside, changed) = inside?;
    let reached = outside.attempts();
    if !reached.values().any(|end| end == "SUCCEEDED") {
        let reason = match outside.code() {
            Some(NO_THROWAWAY) => format!(
                "outside, no namespaces to try it in: {}",
                outside.out.trim()
            ),
            _ => match reached.iter().next() {
                Some((name, end)) => format!("outside, {name}: {end}"),
                None => format!("outside: {}", outside.said()),
            },
        };
        return Ok(made(
            Outcome::NotApplicable,
            reason,
            judged(&reached, &BTreeMap::new(), false),
        ));
    }
    let ends = inside.attempts();
    let is_ended = inside.code() == Some(ENDED);
    let may_end = attack.ends && (is_ended || ends.values().any(|end| end == KILLED));
    let attempts = judged(&reached, &ends, may_end);
    if !changed.is_empty() {
        return Ok(made(Outcome::Succeeded, changed.join(", "), attempts));
    }
    if inside.code() == Some(REFUSED) && ends.is_empty() {
        let reason = format!("the start is refused: {}", inside.said());
        return Ok(made(Outcome::NotApplicable, reason, Vec::new()));
    }
    let (outcome, reason) = whole(&attempts, &inside);
    Ok(made(outcome, reason, attempts))
}

/// What the attempts come to together.
fn whole(attempts: &[Attempt], inside: &Ended) -> (Outcome, String) {
    for wrong in [Outcome::Succeeded, Outcome::Unclear] {
        let names: Vec<String> = attempts
            .iter()
            .filter(|attempt| attempt.outcome == wrong)
            .map(|attempt| format!("{} ({})", attempt.name, attempt.inside))
            .collect();
        if !names.is_empty() {
            let said = match wrong {
                Outcome::Unclear => format!("; {}", inside.said()),
                _ => String::new(),
            };
            return (wrong, format!("{}{said}", names.join(", ")));
        }
    }
    let absent = |attempt: &&Attempt| attempt.outcome == Outcome::NotApplicable;
    let why = |attempt: &Attempt| match attempt.inside.strip_prefix(MISSING) {
        Some(why) => format!("{} (not attempted: {why})", attempt.name),
        None => format!("{} (outside {})", attempt.name, attempt.outside),
    };
    let absent: Vec<String> = attempts.iter().filter(absent).map(why).collect();
    let outcome = match absent.len() == attempts.len() {
        true => Outcome::NotApplicable,
        false => Outcome::Denied,
    };
    let reason = match absent.is_empty() {
        true => String::new(),
        false => format!("not applicable: {}", absent.join(", ")),
    };
    (outcome, reason)
}

/// Each attempt by both ends. One that did not succeed outside shows nothing when it fails inside, and
/// everything when it succeeds there. `ends`: it is a denial too that the program, or the process of
/// the attempt, was killed.
fn judged(
    outside: &BTreeMap<String, String>,
    inside: &BTreeMap<String, String>,
    ends: bool,
) -> Vec<Attempt> {
    let names: std::collections::BTreeSet<&String> = outside.keys().chain(inside.keys()).collect();
    let judge = |name: &&String| {
        let end = |ends: &BTreeMap<String, String>| ends.get(*name).cloned().unwrap_or_default();
        let (outside, inside) = (end(outside), end(inside));
        let outcome = if inside == "SUCCEEDED" {
            Outcome::Succeeded
        } else if outside != "SUCCEEDED" || inside.starts_with(MISSING) {
            Outcome::NotApplicable
        } else if inside.starts_with("denied ") || (ends && (inside.is_empty() || inside == KILLED))
        {
            Outcome::Denied
        } else {
            Outcome::Unclear
        };
        Attempt {
            name: (*name).clone(),
            outcome,
            outside,
            inside,
        }
    };
    names.iter().map(judge).collect()
}

fn program(attack: &Attack, ground: &Ground, setting: &Setting, before: &str) -> String {
    let mut text = format!("{PRELUDE}\n{before}\n{}\nmain()\n", attack.program);
    for (place, value) in attack.places {
        text = text.replace(&format!("@{place}@"), value);
    }
    let text = text.replace("@ROUNDS@", &setting.rounds.to_string());
    ground.fill_in(&text)
}

/// An attack on a runtime: Buntime, or the one without fences where there is none.
fn on_runtime(
    attack: &Attack,
    ground: &Ground,
    setting: &Setting,
    runtime: Option<&Path>,
) -> anyhow::Result<Command> {
    let name = runtime.map_or_else(String::new, |path| path.display().to_string());
    if runtime.is_none() {
        let path = ground.path().join("careless.py");
        fs::write(&path, CARELESS).with_context(|| format!("make {}", path.display()))?;
    }
    let before = format!("throwaway()\n{HARNESS}")
        .replace("@BUNTIME@", &name)
        .replace("@GROUP@", &setting.group);
    let program = program(attack, ground, setting, &before);
    let mut command = command(attack, ground, &setting.python);
    command.args(["-I", "-c", &program]);
    Ok(command)
}

/// An attack on the network: in a network of its own, where its program runs by Buntime, or as it is.
fn in_a_world(
    attack: &Attack,
    ground: &Ground,
    setting: &Setting,
    runtime: Option<&Path>,
) -> anyhow::Result<Command> {
    let name = runtime.map_or_else(String::new, |path| path.display().to_string());
    let path = ground.path().join("program.py");
    fs::write(&path, program(attack, ground, setting, WAYS))
        .with_context(|| format!("make {}", path.display()))?;
    let policies = ground.fill_in(&attack.policies.map_or_else(String::new, Policies::as_json));
    let world = WORLD
        .replace("@BUNTIME@", &name)
        .replace("@GROUP@", &setting.group)
        .replace("@POLICIES@", &policies);
    let world = ground.fill_in(&format!(
        "{PRELUDE}\nthrowaway(0x40000000)\n{WAYS}\n{world}"
    ));
    let mut command = command(attack, ground, &setting.python);
    command.args(["-I", "-c", &world]);
    Ok(command)
}

fn outside(attack: &'static Attack, setting: &Setting) -> anyhow::Result<Ended> {
    let ground = ground_of(attack, setting, "outside")?;
    let before = match attack.control {
        Control::Plain => "",
        Control::Throwaway => "throwaway()",
        Control::Runtime => {
            let command = on_runtime(attack, &ground, setting, None)?;
            return to_its_end(command, &ground, attack, setting);
        }
        Control::World => {
            let command = in_a_world(attack, &ground, setting, None)?;
            return to_its_end(command, &ground, attack, setting);
        }
    };
    let program = program(attack, &ground, setting, before);
    let mut command = command(attack, &ground, &setting.python);
    // What a careless caller hands on must be able to arrive.
    if !attack.careless {
        command.arg("-I");
    }
    command.args(["-c", &program]);
    to_its_end(command, &ground, attack, setting)
}

fn inside(attack: &'static Attack, setting: &Setting) -> anyhow::Result<(Ended, Vec<String>)> {
    let mut ground = ground_of(attack, setting, "inside")?;
    let command = match attack.control {
        Control::Runtime => on_runtime(attack, &ground, setting, Some(&setting.binary))?,
        Control::World => in_a_world(attack, &ground, setting, Some(&setting.binary))?,
        Control::Plain | Control::Throwaway => in_a_run(attack, &ground, setting),
    };
    let ended = to_its_end(command, &ground, attack, setting)?;
    let changed = ground.changed();
    Ok((ended, changed))
}

fn in_a_run(attack: &Attack, ground: &Ground, setting: &Setting) -> Command {
    let program = program(attack, ground, setting, "");
    let mut command = command(attack, ground, &setting.binary);
    command
        .args(["run", "--quiet", "--python"])
        .arg(&setting.python);
    let patience = patience(attack, setting).as_secs().to_string();
    command.args(["--timeout", &patience]);
    command.args(attack.flags.iter().map(|flag| ground.fill_in(flag)));
    command.args(["-c", &program]);
    command
}

fn ground_of(attack: &Attack, setting: &Setting, side: &str) -> anyhow::Result<Ground> {
    let path = setting
        .scratch
        .join(format!("{side}-{}", attack.name.replace(' ', "-")));
    Ground::new(path, attack.victims, &setting.python)
}

fn command(attack: &Attack, ground: &Ground, program: &Path) -> Command {
    let mut command;
    if attack.careless {
        command = Command::new("/bin/sh");
        command.args(["-c", LEAKING, "sh"]).arg(program);
        command.env("SECRET", ground.fill_in("environment-@MARK@"));
        command.env("PYTHONPATH", ground.path().join("outside"));
    } else {
        command = Command::new(program);
        command.env_remove("PYTHONPATH");
    }
    command
        .env("GROUND", ground.path())
        .env("TMPDIR", ground.path().join("tmp"))
        .env("HOME", ground.path().join("home"))
        .env("XDG_CONFIG_HOME", ground.path().join("home/.config"))
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir(ground.path())
        .stdin(Stdio::null())
        .process_group(0);
    command
}

fn patience(attack: &Attack, setting: &Setting) -> Duration {
    let is_long = attack.program.contains("@ROUNDS@") && setting.rounds == super::ROUNDS[1];
    if is_long { LONG_PATIENCE } else { PATIENCE }
}

fn to_its_end(
    command: Command,
    ground: &Ground,
    attack: &Attack,
    setting: &Setting,
) -> anyhow::Result<Ended> {
    // Buntime's own time limit comes first.
    let limit = patience(attack, setting) + PATIENCE / 2;
    ended(command, ground.path(), limit, &setting.ending)
}
