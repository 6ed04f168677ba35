//! What a host cannot enforce exactly, rule by rule.

use std::fmt;

use serde::Serialize;

use super::request::RuleRef;

/// One rule without an exact mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The rule.
    pub rule: RuleRef,
    /// What is missing, and why the rule needs it.
    pub missing: String,
    /// What the person can change.
    pub change: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.rule.line {
            write!(
                out,
                "{} (line {line}): {}; {}",
                self.rule, self.missing, self.change
            )
        } else {
            write!(out, "{}: {}; {}", self.rule, self.missing, self.change)
        }
    }
}

/// The policy cannot be enforced exactly here: every rule that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Refused {
    /// At least one.
    pub rules: Vec<Refusal>,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(
            out,
            "this host cannot enforce the policy exactly:",
            &self.rules,
        )
    }
}

/// A run cannot go over to the policy while it lives: every rule that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct RestartNeeded {
    /// At least one.
    pub rules: Vec<Refusal>,
}

impl fmt::Display for RestartNeeded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(out, "the policy needs a restart:", &self.rules)
    }
}

fn listed(out: &mut fmt::Formatter<'_>, head: &str, rules: &[Refusal]) -> fmt::Result {
    out.write_str(head)?;
    for refusal in rules {
        write!(out, "\n  {refusal}")?;
    }
    Ok(())
}
