//! What this host can enforce, found by doing it: each mechanism is used for real in a throwaway
//! process, as the user who asks, and its effect is looked at.
//!
//! Trusts the effect and nothing else: no version of anything, no list of features, no setting.
//! Settings are read only to say what could be changed. Never leaves anything behind, never waits
//! for longer than [`PATIENCE`] for one trial, and never calls available what could not be tried.

mod files;
mod groups;
mod landlock;
mod mounts;
mod namespaces;
mod network;
mod place;
mod processes;
mod remedy;
mod seccomp;
mod stop;

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::sys::signal::HeldSignals;
use crate::sys::throwaway::{self, Fate};
use place::Place;
use remedy::{Host, Remedy};
use stop::Stop;

/// The longest that one trial may take. Each takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a mechanism is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It was used, and its effect was seen.
    Available,
    /// The kernel refused it, or took it without effect.
    Missing,
    /// It could not be tried.
    Unknown,
}

/// What was found out about one mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The family that it belongs to: `namespaces`, `landlock`, ...
    pub area: &'static str,
    /// The mechanism.
    pub name: String,
    /// Whether it is there.
    pub state: Presence,
    /// Where it is not: the step that failed and the kernel's reason, by name and in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What in Buntime needs it.
    pub needed_for: &'static str,
    /// Where it is not: what to change on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// What runs in the throwaway process.
type Trial = Box<dyn Fn(&Place) -> Result<(), Stop>>;

/// One mechanism and how it is tried.
struct Probe {
    area: &'static str,
    name: String,
    needed_for: &'static str,
    remedy: Remedy,
    trial: Trial,
}

impl Probe {
    fn new(
        area: &'static str,
        name: impl Into<String>,
        needed_for: &'static str,
        remedy: Remedy,
        trial: impl Fn(&Place) -> Result<(), Stop> + 'static,
    ) -> Probe {
        Probe {
            area,
            name: name.into(),
            needed_for,
            remedy,
            trial: Box::new(trial),
        }
    }
}

/// Tries every mechanism. The calling process must have one thread; with more, everything is unknown.
///
/// # Errors
/// The folder for the trials could not be removed, or signals not be held back.
pub fn examine() -> io::Result<Vec<Finding>> {
    // An impatient person must not leave a folder behind.
    let held = HeldSignals::hold()?;
    let place = Place::make();
    let host = Host::look();
    let findings = probes()
        .into_iter()
        .map(|probe| attempt(probe, &place, &host))
        .collect();
    place.remove()?;
    drop(held);
    Ok(findings)
}

/// Runs `body` in a throwaway process for at most `patience`, and gives what it told.
///
/// # Errors
/// Why nothing was told, in words.
pub fn in_a_child(patience: Duration, body: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, String> {
    words(throwaway::run(patience, body), patience)
}

fn words(fate: io::Result<Fate>, patience: Duration) -> Result<Vec<u8>, String> {
    match fate {
        Ok(Fate::Told(bytes)) => Ok(bytes),
        Ok(Fate::Killed(signal)) => Err(format!("signal {signal} ended the trial")),
        Ok(Fate::Mute(status)) => Err(format!("the trial ended by itself with status {status}")),
        Ok(Fate::Late) => Err(format!(
            "the trial did not end within {} s",
            patience.as_secs()
        )),
        Err(error) => Err(format!("no process for the trial: {error}")),
    }
}

fn probes() -> Vec<Probe> {
    [
        namespaces::probes(),
        landlock::probes(),
        seccomp::probes(),
        mounts::probes(),
        groups::probes(),
        files::probes(),
        processes::probes(),
        network::probes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn attempt(probe: Probe, place: &Place, host: &Host) -> Finding {
    let Probe {
        area,
        name,
        needed_for,
        remedy,
        trial,
    } = probe;
    let fate = throwaway::run(PATIENCE, || Stop::told(&trial(place)));
    let (state, stop) = match judged(fate) {
        Ok(()) => (Presence::Available, None),
        Err(stop @ (Stop::Refused { .. } | Stop::Fatal(_) | Stop::NoEffect(_))) => {
            (Presence::Missing, Some(stop))
        }
        Err(stop @ Stop::Untried(_)) => (Presence::Unknown, Some(stop)),
    };
    let change = match (&state, &stop) {
        (Presence::Missing, Some(stop)) => Some(remedy.change(stop, host)),
        _ => None,
    };
    Finding {
        area,
        name,
        state,
        why: stop.map(|stop| stop.to_string()),
        needed_for,
        change,
    }
}

fn judged(fate: io::Result<Fate>) -> Result<(), Stop> {
    match fate {
        // A filter that kills answers no: whoever makes this call does not live on.
        Ok(Fate::Killed(libc::SIGSYS)) => Err(Stop::Fatal(
            "a system call filter killed the process that tried it (SIGSYS)".to_owned(),
        )),
        fate => Stop::heard(&words(fate, PATIENCE).map_err(Stop::Untried)?),
    }
}

#[cfg(test)]
mod tests;
