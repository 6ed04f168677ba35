//! Whether a sandbox has an interface beside its loopback.

use std::collections::HashMap;

use super::error::{OciError, drawn};
use crate::launch::Subnet;
use crate::policy::NetPlan;

/// The annotation by which a bundle chooses.
pub(super) const ANNOTATION: &str = "buntime.dev/network";

/// The interfaces of a sandbox. All that leaves it is decided about alike, whichever it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// Its loopback, which has every address.
    #[default]
    Loopback,
    /// An end of a pair (veth(4)) too, with addresses of its own and a default route.
    Veth,
}

/// What the annotations of a configuration choose.
///
/// # Errors
/// A choice that there is not.
pub(super) fn chosen(
    annotations: Option<&HashMap<String, String>>,
) -> Result<Option<Network>, String> {
    let asked = annotations.and_then(|annotations| annotations.get(ANNOTATION));
    match asked.map(String::as_str) {
        None => Ok(None),
        Some("loopback") => Ok(Some(Network::Loopback)),
        Some("veth") => Ok(Some(Network::Veth)),
        Some(other) => Err(format!(
            "annotations.{ANNOTATION} is {other:?}: write \"loopback\" or \"veth\""
        )),
    }
}

/// The addresses of the interface beside the loopback, where one is asked for.
///
/// # Errors
/// It would lead nowhere, or there is no namespace that could have it.
pub(super) fn link(
    asked: Option<Network>,
    net: NetPlan,
    has_namespaces: bool,
) -> Result<Option<Subnet>, OciError> {
    let refused = |cause| Err(OciError::Network { cause });
    match (asked.unwrap_or_default(), net) {
        (Network::Loopback, _) => Ok(None),
        (Network::Veth, _) if !has_namespaces => refused(
            "namespaces cannot be created here; permit user namespaces, or run with --network loopback",
        ),
        (Network::Veth, NetPlan::None | NetPlan::Sealed) => refused(
            "the policy lets nothing leave; allow something (--allow-net=HOST), or run with --network loopback",
        ),
        (Network::Veth, NetPlan::Egress) => subnet().map(Some),
    }
}

/// The addresses of one interface. What comes of nothing of the host's says nothing of it.
///
/// # Errors
/// The kernel gives no random bytes.
pub(super) fn subnet() -> Result<Subnet, OciError> {
    let drawn = drawn("the interface's addresses")?;
    Ok(Subnet::of(u32::from_ne_bytes(drawn)))
}
