//! Inputs of a launch, and questions about what it was prepared to.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use buntime::launch::{Features, Piece, StdioRequest};
use buntime::oci::{OciError, PrepareInput, Prepared, Target, WorkerFiles, prepare};
use buntime::policy::{Flags, Layer, Vars};

/// A directory that is gone at the end of its test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        // Not below /tmp, where a worker has a place of its own.
        let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let base = if built.starts_with("/tmp") {
            Path::new("/var/tmp")
        } else {
            built
        };
        let path = base.join(format!("oci-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

pub fn vars() -> Vars {
    let pwd = std::env::current_dir().unwrap();
    Vars {
        home: "/home/nobody".into(),
        workspace: pwd.clone(),
        pwd,
    }
}

pub fn flags(flags: Flags) -> Vec<Layer> {
    vec![Layer::from_flags(&flags, &vars()).unwrap()]
}

pub fn python() -> Target {
    Target::Python {
        python: None,
        venv: None,
        script: None,
    }
}

pub fn command(words: &[&str]) -> Target {
    Target::Command {
        name: words.first().map(OsString::from),
        args: words.iter().skip(1).map(OsString::from).collect(),
    }
}

pub fn worker() -> WorkerFiles {
    WorkerFiles {
        bootstrap: "BOOTSTRAP".into(),
        files: vec![("worker.py".into(), b"pass".as_slice().into())],
        segment_bytes: 1 << 20,
    }
}

pub fn input(target: Target, layers: Vec<Layer>) -> PrepareInput {
    PrepareInput {
        layers,
        target,
        worker: Some(worker()),
        env: Vec::new(),
        cwd: Some("/tmp".into()),
        out: None,
        out_keep: false,
        network: None,
        proxy_port: None,
        trusted: None,
        bundle: None,
        rootfs: None,
        stdio: StdioRequest::Pipes,
        features: Features::probe(),
        umask: 0o022,
        bare: None,
        require: buntime::launch::Require::Policy,
        allow_degraded: false,
    }
}

pub fn prepared(target: Target, asked: Flags) -> Prepared {
    prepare(input(target, flags(asked))).unwrap_or_else(|error| panic!("{error}"))
}

pub fn refused(target: Target) -> OciError {
    prepare(input(target, flags(Flags::default())))
        .map(|_| ())
        .unwrap_err()
}

pub fn place(piece: &Piece) -> &Path {
    match piece {
        Piece::Dir { path }
        | Piece::Link { path, .. }
        | Piece::File { path, .. }
        | Piece::Bind { path, .. }
        | Piece::Tmpfs { path, .. }
        | Piece::Proc { path }
        | Piece::Dev { path, .. }
        | Piece::Mqueue { path } => path,
    }
}

/// Whether code can be mapped from a path: the last mount over it decides.
pub fn mapped(prepared: &Prepared, path: &Path) -> bool {
    let pieces = prepared
        .request
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Bind {
                path, executable, ..
            } => Some((path, *executable)),
            _ => None,
        });
    let binds = prepared
        .request
        .plan
        .binds
        .iter()
        .map(|bind| (&bind.path, bind.executable));
    let over: Vec<bool> = pieces
        .chain(binds)
        .filter(|(place, _)| path.starts_with(place))
        .map(|(_, executable)| executable)
        .collect();
    over.last().copied().unwrap_or(false)
}

pub fn real(path: &str) -> PathBuf {
    Path::new(path).canonicalize().unwrap()
}
