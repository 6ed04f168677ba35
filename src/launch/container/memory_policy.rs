//! `linux.memoryPolicy`: from which nodes a container's memory comes (set_mempolicy(2)).

use oci_spec::runtime::{MemoryPolicyFlagType, MemoryPolicyModeType, Spec};

use super::ContainerError;
use super::attributes::numbers;
use crate::launch::Failure;
use crate::sys::scheduling::{self, NODES};

/// See the module.
#[derive(Debug)]
pub struct MemoryPolicy {
    /// A mode of `linux/mempolicy.h` and its flags.
    mode: i32,
    nodes: Vec<usize>,
}

impl MemoryPolicy {
    pub(super) fn of(spec: &Spec) -> Result<Option<MemoryPolicy>, ContainerError> {
        let linux = spec.linux().as_ref();
        let Some(asked) = linux.and_then(|linux| linux.memory_policy().as_ref()) else {
            return Ok(None);
        };
        let flags = asked.flags().iter().flatten().fold(0, |flags, flag| {
            flags
                | match flag {
                    MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
                    MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                    MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                }
        });
        let mode = match asked.mode() {
            MemoryPolicyModeType::MpolDefault => 0,
            MemoryPolicyModeType::MpolPreferred => 1,
            MemoryPolicyModeType::MpolBind => 2,
            MemoryPolicyModeType::MpolInterleave => 3,
            MemoryPolicyModeType::MpolLocal => 4,
            MemoryPolicyModeType::MpolPreferredMany => 5,
            MemoryPolicyModeType::MpolWeightedInterleave => 6,
        };
        let listed = asked.nodes().as_ref().filter(|list| !list.is_empty());
        let nodes = listed.map(|list| {
            numbers(list, NODES).ok_or_else(|| {
                ContainerError::invalid(
                    "linux.memoryPolicy.nodes",
                    format!("{list:?} is no list of nodes such as \"0-2,5\" below {NODES}"),
                )
            })
        });
        Ok(Some(MemoryPolicy {
            mode: mode | flags,
            nodes: nodes.transpose()?.unwrap_or_default(),
        }))
    }

    pub(super) fn apply(&self) -> Result<(), Failure> {
        scheduling::set_memory_policy(self.mode, &self.nodes)
            .map_err(|cause| Failure::new("set", "linux.memoryPolicy", cause))
    }
}
