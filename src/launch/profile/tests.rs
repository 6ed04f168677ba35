//! Profiles are compiled for both machines and run by an interpreter, by libseccomp's word and by
//! the kernel.

mod accepted;
mod hostile;
mod kernel;
mod libseccomp;
mod oracle;
mod refused;
mod samples;
