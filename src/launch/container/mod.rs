//! OCI containers: from a configuration to a first process that waits for its start, and further
//! processes in a container that runs.
//!
//! Trusts the caller and its configuration, and nothing that is inside of the container: its root,
//! its processes, its mounts. Never resolves a path of the container's but below a descriptor of
//! its root, and never runs anything of it outside of it.

mod attributes;
mod become_program;
mod confinement;
mod console;
mod create;
mod error;
mod exec;
mod gate;
mod hooks;
mod init;
mod limits;
mod listener;
mod maps;
mod masks;
mod namespaces;
mod policy;
mod process;
mod word;

pub use confinement::Confinement;
pub use console::connect as connect_console;
pub use create::{Creation, Isolation, Steps, create};
pub use error::ContainerError;
pub use exec::{Execution, execute};
pub use gate::{Gate, is_closed, open_gate};
pub use hooks::{HookError, run_hooks};
pub use maps::IdMaps;
pub use policy::{ContainerPolicy, Given};
pub use process::{ProcessPlan, capability_names};
