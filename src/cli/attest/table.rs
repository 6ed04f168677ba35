//! What came of the attacks, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::voice::harmless;
use super::catalogue::Attack;
use super::trial::{Outcome, Trial};

/// Columns that a reason is cut at in the table; the whole of it is in the JSON.
const REASON: usize = 300;

fn lines(attack: &Attack) -> String {
    let numbers: Vec<String> = attack.lines.iter().map(ToString::to_string).collect();
    numbers.join(" ")
}

/// The first sentence of what a program says about itself, without its lines.
fn aim(attack: &Attack) -> String {
    let text = attack.program.trim_start_matches('"');
    let text = text.split("\"\"\"").next().unwrap_or_default();
    let text = text.split_once(". ").map_or(text, |(_, rest)| rest);
    let first = text.split_once(". ").map_or(text, |(first, _)| first);
    first
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .trim_end_matches('.')
        .to_owned()
}

pub(super) fn listed(attacks: &[&Attack]) -> String {
    let mut text = format!("{:<9} {:<24} attempt\n", "lines", "name");
    for attack in attacks {
        line(
            &mut text,
            format_args!("{:<9} {:<24} {}", lines(attack), attack.name, aim(attack)),
        );
    }
    text
}

pub(super) fn listed_as_json(attacks: &[&Attack]) -> anyhow::Result<String> {
    let list: Vec<Value> = attacks
        .iter()
        .map(|attack| {
            json!({"lines": attack.lines, "name": attack.name, "attempt": aim(attack),
                   "fence": attack.fence})
        })
        .collect();
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

pub(super) fn readable(trials: &[Trial], took: Duration, verbose: bool) -> String {
    let mut text = format!(
        "{:<9} {:<24} {:<15} {:<9} fence\n",
        "lines", "name", "outcome", "attempts"
    );
    for trial in trials {
        let attack = trial.attack;
        let denied = count(trial, Outcome::Denied);
        let of = format!("{denied} of {}", trial.attempts.len());
        let attempts = if trial.attempts.is_empty() {
            "-".to_owned()
        } else {
            of
        };
        line(
            &mut text,
            format_args!(
                "{:<9} {:<24} {:<15} {attempts:<9} {}",
                lines(attack),
                attack.name,
                trial.outcome.word(),
                attack.fence
            ),
        );
        if !trial.reason.is_empty() {
            let reason: String = trial.reason.chars().take(REASON).collect();
            let more = if reason.len() < trial.reason.len() {
                " ..."
            } else {
                ""
            };
            line(
                &mut text,
                format_args!("{:10}{}{more}", "", harmless(&reason)),
            );
        }
        for attempt in trial.attempts.iter().filter(|_| verbose) {
            line(
                &mut text,
                format_args!(
                    "{:10}{:<36} outside {}, inside {}",
                    "",
                    harmless(&attempt.name),
                    harmless(&attempt.outside),
                    harmless(&attempt.inside)
                ),
            );
        }
    }
    let sum = summary(trials, took);
    line(
        &mut text,
        format_args!(
            "\n{} attacks of {} attempts in {:.1} s: {} denied, {} succeeded, {} not applicable here, {} unclear",
            trials.len(),
            sum["attempts"],
            took.as_secs_f64(),
            sum["denied"],
            sum["succeeded"],
            sum["not_applicable"],
            sum["unclear"]
        ),
    );
    text
}

/// Writing into memory does not fail.
fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    if writeln!(text, "{words}").is_err() {
        text.push('\n');
    }
}

fn count(trial: &Trial, outcome: Outcome) -> usize {
    trial
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome == outcome)
        .count()
}

/// Attacks by what came of them.
fn summary(trials: &[Trial], took: Duration) -> Value {
    let of = |outcome| {
        trials
            .iter()
            .filter(|trial| trial.outcome == outcome)
            .count()
    };
    json!({
        "attacks": trials.len(),
        "attempts": trials.iter().map(|trial| trial.attempts.len()).sum::<usize>(),
        "denied": of(Outcome::Denied),
        "succeeded": of(Outcome::Succeeded),
        "not_applicable": of(Outcome::NotApplicable),
        "unclear": of(Outcome::Unclear),
        "seconds": took.as_secs_f64(),
    })
}

pub(super) fn as_json(trials: &[Trial], took: Duration) -> anyhow::Result<String> {
    let attacks: Vec<Value> = trials
        .iter()
        .map(|trial| {
            let attempts: Vec<Value> = trial
                .attempts
                .iter()
                .map(|attempt| {
                    json!({"name": attempt.name, "outcome": attempt.outcome,
                           "outside": attempt.outside, "inside": attempt.inside})
                })
                .collect();
            json!({"lines": trial.attack.lines, "name": trial.attack.name,
                   "outcome": trial.outcome, "reason": trial.reason,
                   "fence": trial.attack.fence, "seconds": trial.took.as_secs_f64(),
                   "attempts": attempts})
        })
        .collect();
    let whole = json!({"attacks": attacks, "summary": summary(trials, took)});
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}
