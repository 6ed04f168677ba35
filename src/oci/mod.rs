//! From what is to run to a complete launch request: bundles, interpreters, and the snapshot of
//! the world that the policy is compiled against.
//!
//! Reads the host (paths, ELF headers, bundles) and trusts it as far as its files' owners are
//! trusted; a bundle's configuration is parsed strictly and what it asks for and cannot have is
//! refused by name. Never starts or mounts anything.

mod aliases;
mod bare;
mod bundle;
pub mod container;
mod degraded;
mod directories;
mod error;
mod grants;
mod interpreter;
mod mounts;
mod named;
mod network;
mod prepare;
mod program;
mod proxy;
mod requests;
mod root;
pub mod secrets;
mod settings;
mod skeleton;
mod standing;
mod trust;
mod world;

pub use error::OciError;
pub use network::Network;
pub use prepare::{PrepareInput, Prepared, Target, WorkerFiles, prepare};
pub use skeleton::write_python;
pub use standing::Standing;
