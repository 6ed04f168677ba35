//! How much of what a launch applies has to hold before the program may start.

use std::fmt;

use super::enforced::{Enforced, Mechanism, State};

/// The least that has to hold. Each level asks for what the ones before it ask for, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Require {
    /// Every rule and limit of the policy is carried, by whatever carries it here.
    #[default]
    Policy,
    /// And the program is in namespaces of its own.
    Namespaces,
    /// And every mechanism of the launch is whole.
    Full,
}

impl Require {
    /// The level as flags and configurations name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Require::Policy => "policy",
            Require::Namespaces => "namespaces",
            Require::Full => "full",
        }
    }

    /// # Errors
    /// Every mechanism of `enforced` that is less than this level asks for.
    pub fn check(self, enforced: &Enforced) -> Result<(), Less> {
        let asked = |one: &&Mechanism| match self {
            Require::Policy => false,
            Require::Namespaces => one.mechanism == NAMESPACES,
            Require::Full => true,
        };
        let lacking = enforced.0.iter().filter(|one| one.state != State::Full);
        let less: Vec<Mechanism> = lacking.filter(asked).cloned().collect();
        match less.is_empty() {
            true => Ok(()),
            false => Err(Less { level: self, less }),
        }
    }
}

/// The mechanism that a launch without namespaces reports as absent.
pub const NAMESPACES: &str = "namespaces";

/// Mechanisms that are less than was required. Nothing runs then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Less {
    /// What was required.
    pub level: Require,
    /// At least one.
    pub less: Vec<Mechanism>,
}

impl Less {
    /// A line for each mechanism, and what to do.
    #[must_use]
    pub fn reasons(&self) -> String {
        let mut text = String::new();
        for Mechanism {
            mechanism,
            state,
            detail,
        } in &self.less
        {
            text.push_str(&format!("\n  {mechanism}: {}: {detail}", state.name()));
        }
        text.push_str(
            "\ngive this host what is missing (buntime doctor says what to change), or require less",
        );
        text
    }
}

impl fmt::Display for Less {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, reasons) = (self.level.name(), self.reasons());
        write!(out, "hold what --require {level} asks for:{reasons}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforced(list: &[(&str, State)]) -> Enforced {
        let mut enforced = Enforced::default();
        for (name, state) in list {
            enforced.note(name, *state, "because");
        }
        enforced
    }

    #[test]
    fn each_level_asks_for_more_than_the_one_before() {
        let whole = enforced(&[("landlock", State::Full), ("seccomp", State::Full)]);
        let partly = enforced(&[("landlock", State::Partial), ("seccomp", State::Full)]);
        let bare = enforced(&[(NAMESPACES, State::None), ("landlock", State::Full)]);
        for (level, expected) in [
            (Require::Policy, [true, true, true]),
            (Require::Namespaces, [true, true, false]),
            (Require::Full, [true, false, false]),
        ] {
            let found = [&whole, &partly, &bare].map(|one| level.check(one).is_ok());
            assert_eq!(found, expected, "{level:?}");
        }
        assert!(Require::Policy < Require::Namespaces && Require::Namespaces < Require::Full);
    }

    #[test]
    fn a_refusal_names_what_is_less_and_nothing_else() {
        let partly = enforced(&[("landlock", State::Partial), ("seccomp", State::Full)]);
        let text = Require::Full.check(&partly).unwrap_err().to_string();
        assert!(text.contains("--require full"), "{text}");
        assert!(text.contains("landlock: partial: because"), "{text}");
        assert!(!text.contains("seccomp"), "{text}");
    }
}
