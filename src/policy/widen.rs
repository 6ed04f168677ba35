//! Flags over files: a flag that asks for more than the files give is an error, so that
//! nobody believes to have been granted it. The meet of the layers holds in any case.

use super::layer::Layer;
use super::limits::Limits;
use super::merge::{MergeError, Policy};
use super::net::NetPattern;
use super::perm::Perm;
use super::request::{Decision, Request, RuleRef, Verdict};

/// Checks every allow and every limit of a layer of flags.
pub(super) fn check(flags: &Layer, files: &Policy) -> Result<(), MergeError> {
    for rule in flags.fs.iter().filter(|rule| rule.action == Verdict::Allow) {
        let Some(path) = rule.pattern.as_literal() else {
            continue;
        };
        let chief = [Perm::WriteFile, Perm::ReadFile]
            .into_iter()
            .find(|perm| rule.perms.contains(*perm));
        let Some(perm) = chief else { continue };
        let verb = if perm == Perm::WriteFile {
            "writing"
        } else {
            "reading"
        };
        let decision = files.decide(&Request::Fs { path: &path, perm });
        refuse(&rule.rule, format!("{verb} {}", path.display()), decision)?;
    }
    for rule in flags
        .exec
        .iter()
        .filter(|rule| rule.action == Verdict::Allow)
    {
        let Some(path) = rule.pattern.as_literal() else {
            continue;
        };
        let decision = files.decide(&Request::Exec {
            path: &path,
            sha256: None,
        });
        refuse(&rule.rule, format!("running {}", path.display()), decision)?;
    }
    for rule in flags
        .net
        .iter()
        .filter(|rule| rule.action == Verdict::Allow)
    {
        refuse(
            &rule.rule,
            "that connection".into(),
            best(&rule.pattern, files),
        )?;
    }
    limits(&flags.limits, files)
}

fn refuse(flag: &RuleRef, what: String, decision: Decision) -> Result<(), MergeError> {
    if decision.verdict != Verdict::Deny {
        return Ok(());
    }
    Err(MergeError::Widens {
        flag: flag.what.clone(),
        what,
        rule: decision.rule,
    })
}

/// The mildest answer of the files to anything that the flag covers: the flag is an error only
/// when the files leave nothing of it.
fn best(flag: &NetPattern, files: &Policy) -> Decision {
    let rules = files
        .layers
        .iter()
        .flat_map(|layer| layer.net.iter().map(|rule| &rule.pattern));
    let mut best: Option<Decision> = None;
    for pattern in std::iter::once(flag).chain(rules) {
        for (host, addr) in [flag.example(), pattern.example()] {
            for port in [flag.first_port(), pattern.first_port()] {
                for proto in [super::Proto::Tcp, super::Proto::Udp] {
                    let request = Request::Net {
                        proto,
                        host: host.as_deref(),
                        addr,
                        port,
                    };
                    let decision = files.decide(&request);
                    if flag.covers_request(proto, host.as_deref(), addr, port)
                        && best
                            .as_ref()
                            .is_none_or(|best| decision.verdict < best.verdict)
                    {
                        best = Some(decision);
                    }
                }
            }
        }
    }
    // Nothing is covered only when the flag covers nothing; the default then speaks.
    best.unwrap_or_else(|| {
        files.decide(&Request::Net {
            proto: super::Proto::Tcp,
            host: None,
            addr: None,
            port: 0,
        })
    })
}

fn limits(flags: &Limits, files: &Policy) -> Result<(), MergeError> {
    let held = files.limits();
    let seconds = |wall: Option<std::time::Duration>| wall.map(|wall| wall.as_secs_f64());
    let number = |count: Option<u64>| count.map(|count| count as f64);
    let table = [
        (
            "--memory",
            "memory",
            number(flags.memory),
            number(held.memory),
        ),
        ("--cpus", "cpus", flags.cpus, held.cpus),
        ("--pids", "pids", number(flags.pids), number(held.pids)),
        ("--timeout", "wall", seconds(flags.wall), seconds(held.wall)),
        (
            "--max-output",
            "output",
            number(flags.output),
            number(held.output),
        ),
        ("--files", "files", number(flags.files), number(held.files)),
        (
            "--connections",
            "connections",
            number(flags.connections),
            number(held.connections),
        ),
        (
            "--bandwidth",
            "bandwidth",
            number(flags.bandwidth),
            number(held.bandwidth),
        ),
    ];
    for (flag, name, asked, held) in table {
        if let (Some(asked), Some(held)) = (asked, held)
            && asked > held
        {
            let layer = files
                .layers
                .first()
                .map_or("the policy", |layer| &layer.name);
            return Err(MergeError::Widens {
                flag: flag.into(),
                what: format!("{asked} where the limit is {held}"),
                rule: RuleRef::named(layer, format!("limits.{name}")),
            });
        }
    }
    Ok(())
}
