//! A policy that is carried as far as this host can, where the person starts all the same.

use super::OciError;
use crate::launch::{Mechanism, State};
use crate::policy::{Degraded, Layer, degrade};

/// More than any policy needs: a rule about a path is changed at most once for each folder above it.
const ROUNDS: usize = 4096;

/// Compiles `layers`, each refused rule replaced by what the host can carry, until nothing is refused.
/// Gives what came of it, and each rule that is not carried as it stands.
///
/// # Errors
/// What `compile` says, where it refuses what has nothing in its place among it.
pub(super) fn carried<T>(
    mut layers: Vec<Layer>,
    compile: impl Fn(Vec<Layer>) -> Result<T, OciError>,
) -> Result<(T, Vec<Degraded>), OciError> {
    let mut degraded: Vec<Degraded> = Vec::new();
    for _ in 0..ROUNDS {
        let refused = match compile(layers.clone()) {
            Err(OciError::Refused(refused)) => refused,
            other => return Ok((other?, degraded)),
        };
        for one in degrade(&mut layers, &refused)? {
            // What is said of a rule is what became of it in the end.
            match degraded.iter_mut().find(|known| known.rule == one.rule) {
                Some(known) => known.instead = one.instead,
                None => degraded.push(one),
            }
        }
    }
    compile(layers).map(|carried| (carried, degraded))
}

/// What the report and the log say of one rule.
pub(super) fn remark(degraded: &Degraded) -> Mechanism {
    Mechanism {
        mechanism: degraded.rule.to_string(),
        state: match degraded.stricter {
            true => State::Partial,
            false => State::None,
        },
        detail: degraded.to_string(),
    }
}
