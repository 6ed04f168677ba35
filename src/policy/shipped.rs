//! The policies inside the program.

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        pub(super) const NAMES: &[&str] = &[$($name),*];

        /// The text of a shipped policy.
        pub(super) fn text(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("../../policies/", $name, ".json"))),)*
                _ => None,
            }
        }
    };
}

shipped![
    "default",
    "networked",
    "no-network",
    "readonly",
    "strict",
    "exec-policy",
    "fs-allowlist",
    "net-egress",
    "anti-escape",
    "ebpf-audit",
    "active",
];

/// The JSON Schema of the policy language, version 1.
pub const SCHEMA: &str = include_str!("../../policies/schema.json");

/// The names that [`Layer::shipped`](super::Layer::shipped) takes, `default` first.
pub fn shipped_names() -> &'static [&'static str] {
    NAMES
}

/// The text of a shipped policy, as it was written.
pub fn shipped_text(name: &str) -> Option<&'static str> {
    text(name)
}
