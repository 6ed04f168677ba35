//! A limit as it is written: a value, or `unlimited`.

use std::time::Duration;

use crate::policy::{Flags, parse_duration, parse_size};

/// Longer than any run, and short enough to be added to any clock.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ceiling<T> {
    /// So much.
    At(T),
    /// As much as there is.
    Unlimited,
}

fn ceiling<T>(
    text: &str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Ceiling<T>, String> {
    match text {
        "unlimited" => Ok(Ceiling::Unlimited),
        _ => parse(text)
            .map(Ceiling::At)
            .ok_or_else(|| format!("expected {expected}, or unlimited")),
    }
}

/// Bytes, at least one.
pub(super) fn size(text: &str) -> Result<Ceiling<u64>, String> {
    let expected = "a size such as 512M or 2G that is not 0";
    ceiling(text, expected, |text| parse_size(text).filter(|&n| n > 0))
}

/// Bytes, none being a limit too.
pub(super) fn output(text: &str) -> Result<Ceiling<u64>, String> {
    ceiling(text, "a size such as 64K or 256M", parse_size)
}

/// A number of things, at least one.
pub(super) fn count(text: &str) -> Result<Ceiling<u64>, String> {
    let expected = "a number from 1";
    ceiling(text, expected, |text| {
        text.parse().ok().filter(|&n: &u64| n > 0)
    })
}

/// A number of processors.
pub(super) fn cpus(text: &str) -> Result<Ceiling<f64>, String> {
    let expected = "a number of processors such as 0.5 or 2";
    ceiling(text, expected, |text| {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        text.parse()
            .ok()
            .filter(|&n: &f64| plain && n > 0.0 && n.is_finite())
    })
}

/// A time from the start.
pub(super) fn duration(text: &str) -> Result<Ceiling<Duration>, String> {
    let expected = "a time such as 30, 500ms, 5m or 2h that is not 0 and at most 100 years";
    ceiling(text, expected, |text| {
        parse_duration(text).filter(|time| !time.is_zero() && *time <= LONGEST)
    })
}

/// The limits, as far as they were given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Ceilings {
    pub memory: Option<Ceiling<u64>>,
    pub cpus: Option<Ceiling<f64>>,
    pub pids: Option<Ceiling<u64>>,
    pub wall: Option<Ceiling<Duration>>,
    pub output: Option<Ceiling<u64>>,
    pub files: Option<Ceiling<u64>>,
    pub connections: Option<Ceiling<u64>>,
    pub bandwidth: Option<Ceiling<u64>>,
}

fn at<T>(ceiling: Option<Ceiling<T>>) -> Option<T> {
    match ceiling {
        Some(Ceiling::At(value)) => Some(value),
        Some(Ceiling::Unlimited) | None => None,
    }
}

fn is_lifted<T>(ceiling: &Option<Ceiling<T>>) -> bool {
    matches!(ceiling, Some(Ceiling::Unlimited))
}

impl Ceilings {
    /// These where there are some, the other's elsewhere.
    pub(super) fn or(self, other: Ceilings) -> Ceilings {
        Ceilings {
            memory: self.memory.or(other.memory),
            cpus: self.cpus.or(other.cpus),
            pids: self.pids.or(other.pids),
            wall: self.wall.or(other.wall),
            output: self.output.or(other.output),
            files: self.files.or(other.files),
            connections: self.connections.or(other.connections),
            bandwidth: self.bandwidth.or(other.bandwidth),
        }
    }

    /// These where the other has none.
    pub(super) fn except(self, other: &Ceilings) -> Ceilings {
        Ceilings {
            memory: self.memory.filter(|_| other.memory.is_none()),
            cpus: self.cpus.filter(|_| other.cpus.is_none()),
            pids: self.pids.filter(|_| other.pids.is_none()),
            wall: self.wall.filter(|_| other.wall.is_none()),
            output: self.output.filter(|_| other.output.is_none()),
            files: self.files.filter(|_| other.files.is_none()),
            connections: self.connections.filter(|_| other.connections.is_none()),
            bandwidth: self.bandwidth.filter(|_| other.bandwidth.is_none()),
        }
    }

    /// The first limit that is `unlimited`, by the name of its flag.
    pub(super) fn lifted(&self) -> Option<&'static str> {
        [
            ("memory", is_lifted(&self.memory)),
            ("cpus", is_lifted(&self.cpus)),
            ("pids", is_lifted(&self.pids)),
            ("timeout", is_lifted(&self.wall)),
            ("max-output", is_lifted(&self.output)),
            ("files", is_lifted(&self.files)),
            ("connections", is_lifted(&self.connections)),
            ("bandwidth", is_lifted(&self.bandwidth)),
        ]
        .into_iter()
        .find_map(|(name, lifted)| lifted.then_some(name))
    }

    /// Writes the limits into the policy's flags.
    pub(super) fn set(&self, flags: &mut Flags) {
        flags.limits.memory = at(self.memory);
        flags.limits.cpus = at(self.cpus);
        flags.limits.pids = at(self.pids);
        flags.limits.wall = at(self.wall);
        flags.limits.output = at(self.output);
        flags.limits.files = at(self.files);
        flags.limits.connections = at(self.connections);
        flags.limits.bandwidth = at(self.bandwidth);
        flags.lifted.memory = is_lifted(&self.memory);
        flags.lifted.cpus = is_lifted(&self.cpus);
        flags.lifted.pids = is_lifted(&self.pids);
        flags.lifted.wall = is_lifted(&self.wall);
        flags.lifted.output = is_lifted(&self.output);
        flags.lifted.files = is_lifted(&self.files);
        flags.lifted.connections = is_lifted(&self.connections);
        flags.lifted.bandwidth = is_lifted(&self.bandwidth);
    }
}
