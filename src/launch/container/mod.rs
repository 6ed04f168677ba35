//! OCI containers: from a configuration to a first process that waits for its start, and further
//! processes in a container that runs.
//!
//! Trusts the caller and its configuration, and nothing that is inside of the container: its root,
//! its processes, its mounts. Never resolves a path of the container's but below a descriptor of
//! its root, and never runs anything of it outside of it.

mod attributes;
mod become_program;
mod channel;
mod confinement;
mod console;
mod create;
mod error;
mod exec;
mod folder;
mod gate;
mod hooks;
mod init;
mod interfaces;
mod label;
mod limits;
mod listener;
mod maps;
mod masks;
mod memory_policy;
mod namespaces;
mod network;
mod oracle;
mod policy;
mod process;
mod trust;
mod word;

pub use channel::{
    ChannelEnds, SEGMENT as CHANNEL_SEGMENT, SEGMENT_BYTES, SOCKET as CHANNEL_SOCKET,
};
pub use confinement::{Confinement, Masked};
pub use console::connect as connect_console;
pub use create::{Creation, Ends, Isolation, Steps, create};
pub use error::ContainerError;
pub use exec::{Execution, execute};
pub use gate::{Gate, is_closed, open_gate};
pub use hooks::{HookError, run_every_hook};
pub use interfaces::check_interfaces;
pub use maps::IdMaps;
pub use network::{RESOLV_CONF, WayOut, WayOutShape};
pub use oracle::Oracle;
pub use policy::{ContainerPolicy, Given};
pub use process::{ProcessPlan, capability_names};
pub use trust::{MOST_OF_IMAGE, TRUSTED, Trust, TrustEnds};
