//! What a person hears of a session's decisions once it is over.

use std::collections::BTreeMap;

use super::{Gate, Remark};
use crate::audit::{Answer, Operation};
use crate::policy::{RuleRef, Verdict};

impl Gate {
    /// Whether a denial of this has been said.
    pub(in crate::supervisor) fn has_said(&self, operation: Operation, target: &str) -> bool {
        let known = &self.denials.known;
        known.contains(&(operation, target.to_owned()))
    }

    /// For each rule that warns or asks, how often it did.
    pub(in crate::supervisor) fn summary(&self) -> Vec<Remark> {
        let mut counts: BTreeMap<(RuleRef, Verdict), (u64, u64)> = BTreeMap::new();
        for counted in self.tally.counted() {
            let is_warned = counted.verdict == Verdict::Warn && !self.policy.learns();
            if is_warned || counted.verdict == Verdict::Ask {
                let key = (counted.rule.clone(), counted.verdict);
                let (allowed, denied) = counts.entry(key).or_default();
                match counted.answer {
                    Answer::Allowed | Answer::Held => *allowed += counted.count,
                    Answer::Denied | Answer::Killed => *denied += counted.count,
                }
            }
        }
        let counts = counts.into_iter();
        counts
            .map(|((rule, verdict), (allowed, denied))| Remark::Counted {
                rule,
                verdict,
                allowed,
                denied,
            })
            .collect()
    }
}
