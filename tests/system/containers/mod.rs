//! The verbs of an OCI runtime: real containers of a static busybox, each test in a state directory
//! and a control group of its own, of which nothing may stay.

mod channel;
mod confinement;
mod crash;
mod devices;
mod dialects;
mod escapes;
mod exec;
mod hooks;
mod life;
mod mutations;
mod namespaces;
mod policy;
mod rootless;
mod stops;
mod supervised;
mod yard;
