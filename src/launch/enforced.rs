//! What was really enforced, mechanism by mechanism: the launch's answer, never its intention.

use serde::{Deserialize, Serialize};

/// How far one mechanism carries what the plan asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All that was asked for, verified.
    Full,
    /// A part; the detail names the rest.
    Partial,
    /// Nothing; the detail says why, and what carries the policy instead.
    None,
}

impl State {
    /// The word for it in messages, reports and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Full => "full",
            State::Partial => "partial",
            State::None => "none",
        }
    }
}

/// One mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mechanism {
    /// Its name: `user namespace`, `landlock`, `memory limit`, ...
    pub mechanism: String,
    /// How far it reaches.
    pub state: State,
    /// What it does here, or why it does not.
    pub detail: String,
}

/// Every mechanism of one launch, in the order in which they were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Enforced(pub Vec<Mechanism>);

impl Enforced {
    /// Notes a mechanism that holds entirely.
    pub fn full(&mut self, mechanism: &str, detail: impl Into<String>) {
        self.note(mechanism, State::Full, detail);
    }

    /// Notes a mechanism in the given state.
    pub fn note(&mut self, mechanism: &str, state: State, detail: impl Into<String>) {
        let mechanism = mechanism.to_owned();
        self.0.push(Mechanism {
            mechanism,
            state,
            detail: detail.into(),
        });
    }
}
