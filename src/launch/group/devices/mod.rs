//! Which devices a container may make, read and write: `linux.resources.devices`.
//!
//! The list is read as the specification has it: nothing is allowed at first, and for each of the
//! three accesses to a device the last rule that names both decides. On v1 that is folded into the
//! controller's exceptions, on v2 into a program; what one of them cannot say exactly is refused.
//!
//! Trusts: the kernel's answer to each write. Never: allows more than the list does.

mod attach;
mod exceptions;
mod program;
mod rule;
#[cfg(test)]
mod tests;

pub(super) use attach::apply as apply_v2;
pub(super) use exceptions::{apply as apply_v1, for_systemd};
pub(super) use rule::{Rule, rules};
