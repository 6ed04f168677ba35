//! The verbs of an OCI runtime: real containers of a static busybox, each test in a state directory
//! and a control group of its own, of which nothing may stay.

mod confinement;
mod crash;
mod exec;
mod hooks;
mod life;
mod mutations;
mod namespaces;
mod policy;
mod yard;
