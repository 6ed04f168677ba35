//! What a worker is made of, carried inside this program.

/// The Python worker's source.
pub const WORKER_PY: &[u8] = include_bytes!("../../worker/python/worker.py");
/// The start of the Python worker, for `python3 -I -c BOOTSTRAP SOCKET SEGMENT`.
pub const BOOTSTRAP_PY: &str = include_str!("../../worker/python/bootstrap.py");
/// The Python worker compiled by the build host's interpreter, if it had one.
/// The bootstrap uses it where its magic number is the interpreter's own.
pub const WORKER_PYC: Option<&[u8]> = None;
/// The native end of the channel, a shared library for the build host's target.
pub const NATIVE_LIB: &[u8] = &[];
