//! Builds what the program carries inside it: the worker's native library and
//! the Python worker, as source and, where this machine has a Python, compiled.
//!
//! The library is built by a cargo of its own, because a build script cannot ask
//! for the artifact of another package. It uses the same lock file, and fetches
//! the crates that only the library needs as the outer build has fetched its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The parts of the Python worker, in the order in which they form one file.
const PYTHON_PARTS: [&str; 5] = ["channel.py", "native.py", "hook.py", "bundle.py", "run.py"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=worker");
    println!("cargo::rerun-if-changed=Cargo.lock");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = variable("CARGO_MANIFEST_DIR")?;
    let out = variable("OUT_DIR")?;
    native_library(&root, &out)?;
    python_worker(&root, &out)
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo did not set {name}"))
}

/// Puts `libbuntime_worker.so` into the output directory. It is built for this
/// host's C library, whatever the program itself is built for: it is loaded by
/// this host's interpreters.
fn native_library(root: &Path, out: &Path) -> Result<(), String> {
    let target = out.join("worker");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(root);
    cargo.args(["build", "--package", "buntime-worker", "--lib", "--release"]);
    cargo
        .args(["--locked", "--quiet", "--target-dir"])
        .arg(&target);
    // What the outer cargo, clippy or rustdoc told its own compilers is not for this one.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_another_build) {
            cargo.env_remove(&name);
        }
    }
    // Panics abort, so that none crosses into the interpreter.
    cargo.env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    let output = cargo
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " | ");
        return Err(format!("cannot build the worker's native library: {said}"));
    }
    let built = target.join("release/libbuntime_worker.so");
    let library = out.join("libbuntime_worker.so");
    fs::copy(&built, &library)
        .map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    Ok(())
}

/// Whether a variable is about a build, and not about where crates come from.
fn is_of_another_build(name: &str) -> bool {
    const BUILD: [&str; 6] = ["CARGO_", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_", "DEP_"];
    const SOURCE: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    let starts = |prefix: &&str| name.starts_with(*prefix);
    BUILD.iter().any(starts) && !SOURCE.iter().any(starts)
}

/// Puts `worker.py` and, if a Python is found, `worker.pyc` into the output
/// directory, and says how the program is to include them.
fn python_worker(root: &Path, out: &Path) -> Result<(), String> {
    let mut source = String::new();
    for part in PYTHON_PARTS {
        let path = root.join("worker/python").join(part);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        source.push_str(&text);
        source.push_str("\n\n");
    }
    let worker = out.join("worker.py");
    fs::write(&worker, source)
        .map_err(|error| format!("cannot write {}: {error}", worker.display()))?;
    let compiled = out.join("worker.pyc");
    let constant = if compile_python(&worker, &compiled) {
        "Some(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/worker.pyc\")))"
    } else {
        println!("cargo::warning=no python3 here: each worker will compile its own start");
        "None"
    };
    fs::write(out.join("worker_pyc.rs"), constant)
        .map_err(|error| format!("cannot write worker_pyc.rs: {error}"))
}

/// Compiles without assertions, docstrings and columns, to be small and quick to load.
fn compile_python(source: &Path, compiled: &Path) -> bool {
    const COMPILE: &str = "import py_compile, sys\n\
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH\n\
        py_compile.compile(sys.argv[1], cfile=sys.argv[2], dfile='/run/buntime/worker.py', \
        doraise=True, optimize=2, invalidation_mode=mode)";
    ["/usr/bin/python3", "python3"].into_iter().any(|python| {
        Command::new(python)
            .args(["-I", "-X", "no_debug_ranges", "-c", COMPILE])
            .args([source, compiled])
            .status()
            .is_ok_and(|status| status.success())
    })
}
