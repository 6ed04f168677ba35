//! What a run may use, what is recorded of it, and what the host must offer.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// The most that one run may use. `None` is no limit; over layers the smaller wins.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Limits {
    /// Memory of all its processes together, in bytes.
    pub memory: Option<u64>,
    /// Processor time for each second of wall time, in processors.
    pub cpus: Option<f64>,
    /// Processes and threads at one time.
    pub pids: Option<u64>,
    /// Wall time from start to end. Serialised in seconds.
    #[serde(serialize_with = "seconds")]
    pub wall: Option<Duration>,
    /// Bytes written to standard output and standard error together.
    pub output: Option<u64>,
    /// Open descriptors of one process.
    pub files: Option<u64>,
    /// Connections out of the sandbox at one time.
    pub connections: Option<u64>,
    /// Bytes that may leave and arrive in a second, together.
    pub bandwidth: Option<u64>,
}

fn seconds<S: Serializer>(wall: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    wall.map(|wall| wall.as_secs_f64()).serialize(out)
}

impl Limits {
    /// The smaller of each limit.
    #[must_use]
    pub fn meet(self, other: Limits) -> Limits {
        Limits {
            memory: smaller(self.memory, other.memory),
            cpus: smaller(self.cpus, other.cpus),
            pids: smaller(self.pids, other.pids),
            wall: smaller(self.wall, other.wall),
            output: smaller(self.output, other.output),
            files: smaller(self.files, other.files),
            connections: smaller(self.connections, other.connections),
            bandwidth: smaller(self.bandwidth, other.bandwidth),
        }
    }

    /// The greater of each limit; none is the greatest.
    #[must_use]
    pub fn join(self, other: Limits) -> Limits {
        Limits {
            memory: greater(self.memory, other.memory),
            cpus: greater(self.cpus, other.cpus),
            pids: greater(self.pids, other.pids),
            wall: greater(self.wall, other.wall),
            output: greater(self.output, other.output),
            files: greater(self.files, other.files),
            connections: greater(self.connections, other.connections),
            bandwidth: greater(self.bandwidth, other.bandwidth),
        }
    }

    /// The other's limits where it has some, these elsewhere.
    #[must_use]
    pub fn overridden_by(self, other: Limits) -> Limits {
        Limits {
            memory: other.memory.or(self.memory),
            cpus: other.cpus.or(self.cpus),
            pids: other.pids.or(self.pids),
            wall: other.wall.or(self.wall),
            output: other.output.or(self.output),
            files: other.files.or(self.files),
            connections: other.connections.or(self.connections),
            bandwidth: other.bandwidth.or(self.bandwidth),
        }
    }
}

fn smaller<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn greater<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    let (one, other) = (one?, other?);
    Some(if other > one { other } else { one })
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audit {
    /// Whether anything is.
    pub enabled: bool,
    /// The kinds of events asked for, sorted; empty is all that can be had.
    pub events: Vec<String>,
}

/// How far one answer to an `ask` may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The one operation.
    Once,
    /// The same operation on what is at the same path, for as long as the worker lives.
    Path,
    /// Everything that the same rule asks about, for as long as the worker lives.
    Session,
}

impl Scope {
    /// Every scope, the narrowest first.
    pub const ALL: [Scope; 3] = [Scope::Once, Scope::Path, Scope::Session];

    /// The name in a policy file.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Once => "once",
            Scope::Path => "path",
            Scope::Session => "session",
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// How an `ask` is answered. What a layer leaves out it leaves to the others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Approval {
    /// How long the operation waits. Serialised in seconds.
    #[serde(serialize_with = "seconds")]
    timeout: Option<Duration>,
    /// What may be answered.
    scopes: Option<Vec<Scope>>,
}

impl Approval {
    /// How long an operation waits where no layer says it.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// With what one layer says.
    pub(super) fn new(timeout: Option<Duration>, mut scopes: Option<Vec<Scope>>) -> Approval {
        if let Some(scopes) = &mut scopes {
            scopes.sort_unstable();
            scopes.dedup();
        }
        Approval { timeout, scopes }
    }

    /// How long an operation waits for its answer, before it is denied.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Approval::TIMEOUT)
    }

    /// How far an answer that allows may reach, the narrowest first; all where no layer says it.
    /// Where nothing is left, no answer allows, and whatever would be asked is denied.
    pub fn scopes(&self) -> &[Scope] {
        self.scopes.as_deref().unwrap_or(&Scope::ALL)
    }

    /// Whether nothing is said.
    pub(super) fn is_silent(&self) -> bool {
        *self == Approval::default()
    }

    /// What is said, and not filled in.
    pub(super) fn said(&self) -> (Option<Duration>, Option<&[Scope]>) {
        (self.timeout, self.scopes.as_deref())
    }

    /// The shorter time, and the scopes that both have.
    #[must_use]
    pub fn meet(self, other: &Approval) -> Approval {
        let scopes = match (self.scopes, &other.scopes) {
            (Some(mut own), Some(other)) => {
                own.retain(|scope| other.contains(scope));
                Some(own)
            }
            (own, other) => own.or_else(|| other.clone()),
        };
        Approval {
            timeout: smaller(self.timeout, other.timeout),
            scopes,
        }
    }
}

/// What happens to a worker that does what is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnViolation {
    /// The operation fails with EACCES.
    #[default]
    Deny,
    /// The worker is killed.
    Kill,
}

/// The isolation that a policy requires: start fails without it. What is not required is
/// applied where the host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Plugins {
    /// User, mount, pid, network, IPC, UTS and cgroup namespaces.
    pub namespaces: bool,
    /// Landlock.
    pub landlock: bool,
    /// seccomp filters.
    pub seccomp: bool,
}

impl Plugins {
    /// What either requires.
    #[must_use]
    pub const fn union(self, other: Plugins) -> Plugins {
        Plugins {
            namespaces: self.namespaces || other.namespaces,
            landlock: self.landlock || other.landlock,
            seccomp: self.seccomp || other.seccomp,
        }
    }
}

/// A size in bytes: `1024`, `64K`, `512M`, `1.5G`, `2GiB`; the units are powers of 1024.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit = unit
        .strip_suffix("iB")
        .or_else(|| unit.strip_suffix('B'))
        .unwrap_or(unit);
    let factor: u64 = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (bytes.is_finite() && bytes < 9e18).then_some(bytes as u64)
}

/// A duration: `30s`, `500ms`, `5m`, `2h`, or a number of seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}

/// The leading digits of a text and the rest; a sign or an exponent is refused.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|byte: char| !byte.is_ascii_digit() && byte != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let starts_with_digit = number.starts_with(|byte: char| byte.is_ascii_digit());
    (starts_with_digit && !number.ends_with('.')).then_some((number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("512M"), Some(512 << 20));
        assert_eq!(parse_size("1.5GiB"), Some(3 << 29));
        assert_eq!(parse_size("64kB"), Some(64 << 10));
        assert_eq!(parse_size("7"), Some(7));
        for bad in [
            "",
            "M",
            "-1",
            "1e9",
            "1..5",
            "5.",
            "5X",
            "99999999999T",
            "1 M",
            "٣",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5"), Some(Duration::from_millis(1500)));
        for bad in [
            "",
            "s",
            "-1s",
            "1d",
            "1e3",
            "inf",
            "NaN",
            "99999999999999999999999h",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_is_waited_for_as_long_as_every_layer_wants_and_reaches_no_further() {
        let silent = Approval::default();
        assert_eq!(silent.timeout(), Duration::from_secs(60));
        assert_eq!(silent.scopes(), Scope::ALL);
        let long = Approval::new(
            Some(Duration::from_secs(90)),
            Some(vec![Scope::Path, Scope::Once]),
        );
        assert_eq!(silent.clone().meet(&long), long);
        let short = Approval::new(Some(Duration::from_secs(5)), Some(vec![Scope::Path]));
        let both = long.clone().meet(&short).meet(&silent);
        assert_eq!(both.timeout(), Duration::from_secs(5));
        assert_eq!(both.scopes(), [Scope::Path]);
        let none = both.meet(&Approval::new(None, Some(vec![Scope::Session])));
        assert!(none.scopes().is_empty());
    }

    #[test]
    fn the_smaller_limit_wins() {
        let one = Limits {
            memory: Some(5),
            pids: None,
            ..Limits::default()
        };
        let other = Limits {
            memory: Some(9),
            pids: Some(3),
            ..Limits::default()
        };
        let both = one.meet(other);
        assert_eq!(
            (both.memory, both.pids, both.wall),
            (Some(5), Some(3), None)
        );
    }
}
