//! Control groups, controller by controller: a group is made where a launch would make it, given a
//! limit, and removed.

use std::path::Path;

use super::Probe;
use super::remedy::Remedy;
use super::stop::Stop;
use crate::launch::cgroup::{Cgroup, Held, Hierarchies};
use crate::policy::Limits;

/// A controller: its name, the limit that the trial sets, and whether a group holds it.
type Controller = (&'static str, Limits, fn(Held) -> bool);

pub(super) fn probes() -> Vec<Probe> {
    let none = Limits::default();
    let controllers: [Controller; 3] = [
        (
            "memory",
            Limits {
                memory: Some(64 << 20),
                ..none
            },
            |held| held.memory,
        ),
        (
            "pids",
            Limits {
                pids: Some(64),
                ..none
            },
            |held| held.pids,
        ),
        (
            "cpu",
            Limits {
                cpus: Some(1.0),
                ..none
            },
            |held| held.cpus,
        ),
    ];
    controllers
        .into_iter()
        .map(|(name, limits, held)| {
            let remedy = Remedy::new("mkdir and openat", "Linux with CONFIG_CGROUPS and this controller")
                .otherwise(
                    "run as root, or have a control group delegated to this user (systemd-run --user --scope \
                     -p Delegate=yes buntime ...; in a container mount /sys/fs/cgroup writable)",
                );
            let needed_for = match name {
                "memory" => "--memory, limits.memory; the default policy has one",
                "pids" => "--pids, limits.pids; the default policy has one",
                _ => "--cpus, limits.cpus",
            };
            Probe::new("control groups", format!("{name} controller"), needed_for, remedy, move |_| {
                limited(&limits, held)
            })
        })
        .collect()
}

fn limited(limits: &Limits, holds: fn(Held) -> bool) -> Result<(), Stop> {
    let own = Hierarchies::of_this_process()
        .map_err(|error| Stop::untried(format!("finding the own control group: {error}")))?;
    let group = Cgroup::create(&own, limits)
        .map_err(|error| Stop::NoEffect(format!("{}: {error}", own.describe())))?;
    let Some(group) = group else {
        return Err(Stop::NoEffect(no_group(&own)));
    };
    let held = holds(group.held());
    group
        .remove()
        .map_err(|error| Stop::untried(format!("removing the group again: {error}")))?;
    match held {
        true => Ok(()),
        false => Err(Stop::NoEffect(format!(
            "{}: the group has no limit of this kind",
            own.describe()
        ))),
    }
}

/// Why no group can be made, as far as it can be told.
fn no_group(own: &Hierarchies) -> String {
    let places = own.places();
    if places.is_empty() {
        return "no hierarchy of control groups is mounted here".to_owned();
    }
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for place in &places {
        let (why, place) = (reason(place), place.display().to_string());
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, with)) => with.push(place),
            None => reasons.push((why, vec![place])),
        }
    }
    let listed: Vec<String> = reasons
        .into_iter()
        .map(|(why, places)| format!("{} ({why})", places.join(", ")))
        .collect();
    let layout = own.describe();
    format!(
        "{layout}: no group with this limit can be made below {}",
        listed.join("; ")
    )
}

fn reason(place: &Path) -> String {
    use rustix::fs::{Access, access};
    match access(place, Access::WRITE_OK) {
        Ok(()) => "the controller is not there".to_owned(),
        Err(errno) => super::stop::named(errno.raw_os_error()),
    }
}
