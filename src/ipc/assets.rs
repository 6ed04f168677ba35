//! What a worker is made of, carried inside this program.

/// The Python worker's source.
pub const WORKER_PY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/worker.py"));
/// The start of the Python worker, for `python3 -I -c BOOTSTRAP SOCKET SEGMENT`.
/// It looks for the worker's other files in the directory of the socket. SOCKET is its path, or
/// `@N` in its place for a worker that has the connection already, as descriptor N. As a file,
/// started by `python3 -I FILE SOCKET SEGMENT stdin`, it looks beside itself.
pub const BOOTSTRAP_PY: &str = include_str!("../../worker/python/bootstrap.py");
/// The Python worker compiled by the build host's interpreter, if it had one. Its
/// first four bytes are that interpreter's magic number; the bootstrap uses it where
/// they are the worker's interpreter's own.
pub const WORKER_PYC: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/worker_pyc.rs"));
/// The native end of the channel, a shared library for the build host's C library.
pub const NATIVE_LIB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libbuntime_worker.so"));
