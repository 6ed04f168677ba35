//! Everything together: policy, plan, root and program become one launch request.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::bundle::Bundle;
use super::directories::{existing_directory, out_directory};
use super::error::OciError;
use super::grants::{CHANNEL, bundle_grants};
use super::interpreter::Interpreter;
use super::program::{Found, PATH, Place, Way};
use super::{root, world};
use crate::launch::{ChannelRequest, Features, LaunchRequest, Piece, Program, StdioRequest};
use crate::policy::{ExecPlan, Layer, Plan, Policy, World};

/// What is to run.
#[derive(Debug, Clone)]
pub enum Target {
    /// A Python worker.
    Python {
        /// The interpreter, instead of the system's.
        python: Option<PathBuf>,
        /// A virtual environment, shown read-only.
        venv: Option<PathBuf>,
        /// A script that the worker may read.
        script: Option<PathBuf>,
    },
    /// Any program.
    Command {
        /// Its name or path; `None` takes the bundle's.
        name: Option<OsString>,
        /// Its arguments, without the name.
        args: Vec<OsString>,
    },
}

/// What a Python worker is made of.
#[derive(Debug, Clone)]
pub struct WorkerFiles {
    /// The text that the interpreter starts with.
    pub bootstrap: String,
    /// Files beside the channel: name and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Size of the segment in bytes.
    pub segment_bytes: u64,
}

/// Everything that was meant.
#[derive(Debug)]
pub struct PrepareInput {
    /// The person's layers, lowest first.
    pub layers: Vec<Layer>,
    /// What is to run.
    pub target: Target,
    /// The worker's files, for a Python target.
    pub worker: Option<WorkerFiles>,
    /// The environment beside the clean one.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory inside; the caller's unless given.
    pub cwd: Option<PathBuf>,
    /// The host directory that the program may write.
    pub out: Option<PathBuf>,
    /// Whether that may have contents already.
    pub out_keep: bool,
    /// A bundle instead of the built-in one.
    pub bundle: Option<PathBuf>,
    /// A root instead of one assembled from the host.
    pub rootfs: Option<PathBuf>,
    /// Descriptors 0 to 2.
    pub stdio: StdioRequest,
    /// What this host can do.
    pub features: Features,
    /// The program's file mode creation mask.
    pub umask: u32,
}

/// A policy and the launch that carries it.
#[derive(Debug)]
pub struct Prepared {
    /// The merged policy, with its paths resolved: the oracle for everything decided live.
    pub policy: Policy,
    /// The launch.
    pub request: LaunchRequest,
}

const HOSTNAME: &str = "buntime";

/// What is found out before the policy is compiled.
struct Draft {
    pieces: Vec<Piece>,
    programs: Vec<PathBuf>,
    loaders: Vec<PathBuf>,
    program: Program,
    real: PathBuf,
    channel: Option<ChannelRequest>,
}

/// Prepares a launch. Touches nothing.
///
/// # Errors
/// What cannot be found, used, merged or enforced, by name.
pub fn prepare(input: PrepareInput) -> Result<Prepared, OciError> {
    let bundle = match &input.bundle {
        Some(dir) => Bundle::load(dir)?,
        None => Bundle::python()?,
    };
    let root = match input.rootfs.as_ref().or(bundle.root.as_ref()) {
        Some(path) => Some(
            path.canonicalize()
                .map_err(OciError::io("open the root", path))?,
        ),
        None => None,
    };
    let place = Place::at(root.clone().unwrap_or_else(|| PathBuf::from("/")));
    // What the bundle shows depends on it, and it depends on nothing that the bundle shows.
    let every = Policy::merge(input.layers.clone(), Vec::new())?.lets_every_program_run();
    let mut draft = draft(&input, &bundle, &place, root.is_some())?;
    if every && root.is_none() {
        every_program(&place, &mut draft.pieces);
    }
    let out = input
        .out
        .as_deref()
        .map(|path| out_directory(path, input.out_keep))
        .transpose()?;
    let policy = Policy::merge(input.layers, grants(&draft, out.as_deref()))?;
    let (policy, plan) = compile(policy, &draft, &place, &input.features)?;

    let Draft {
        mut pieces,
        program,
        channel,
        ..
    } = draft;
    pieces.push(Piece::Dir {
        path: program.cwd.clone(),
    });
    pieces.extend(out.map(|path| Piece::Bind {
        source: path.clone(),
        path,
        dir: true,
        writable: true,
        executable: false,
        optional: false,
    }));
    for piece in &mut pieces {
        if let Piece::Tmpfs {
            path, executable, ..
        } = piece
        {
            *executable = plan.private_executable.contains(path);
        }
    }
    let linux = bundle.spec.linux().clone().unwrap_or_default();
    let request = LaunchRequest {
        plan,
        pieces,
        program,
        channel,
        stdio: input.stdio,
        features: input.features,
        hostname: bundle
            .spec
            .hostname()
            .clone()
            .unwrap_or_else(|| HOSTNAME.to_owned()),
        umask: input.umask,
        masked_paths: linux.masked_paths().clone().unwrap_or_default(),
        readonly_paths: linux.readonly_paths().clone().unwrap_or_default(),
    };
    Ok(Prepared { policy, request })
}

fn draft(
    input: &PrepareInput,
    bundle: &Bundle,
    place: &Place,
    own_root: bool,
) -> Result<Draft, OciError> {
    let (uid, gid) = worker_ids();
    let here = std::env::current_dir().map_err(OciError::io("find", "the working directory"))?;
    let mut env = clean_environment(matches!(input.stdio, StdioRequest::Terminal { .. }));
    let mut cwd = match &input.cwd {
        Some(dir) => std::path::absolute(dir).map_err(OciError::io("resolve", dir))?,
        None => here.clone(),
    };
    if input.cwd.is_some() && !own_root {
        existing_directory(&cwd)?;
    }
    let mut pieces = Vec::new();
    if own_root {
        pieces.extend(root::of_directory(place)?);
    } else {
        pieces.extend(root::of_host(uid, gid, HOSTNAME));
    }
    pieces.extend(root::own_places());
    if input.bundle.is_some() {
        pieces.extend(bundle.binds());
    }
    let (path, real, args, loaders, channel);
    match &input.target {
        Target::Python {
            python,
            venv,
            script,
        } => {
            let found = Interpreter::find(place, python.as_deref(), venv.as_deref())?;
            let worker = input.worker.as_ref();
            channel = worker
                .map(|files| channel_request(files.segment_bytes))
                .transpose()?;
            if !own_root {
                interpreter_pieces(&found, place, &mut pieces);
            }
            if let Some(script) = script {
                pieces.extend(root::shown(&Place::host(), script, script, false));
            }
            args = worker_command(&found, worker, channel.as_ref());
            if let Some(worker) = worker {
                pieces.extend(worker.files.iter().map(|(name, bytes)| Piece::File {
                    path: Path::new(CHANNEL).join(name),
                    bytes: bytes.clone(),
                }));
            }
            if let Some(venv) = venv {
                env.push(("VIRTUAL_ENV".into(), venv.clone().into_os_string()));
            }
            (path, real, loaders) = (found.path, found.real, found.loaders);
        }
        Target::Command { name, args: given } => {
            let (name, given) = command(name.as_ref(), given, bundle, input, &mut env, &mut cwd)?;
            let found = place.find(&name, if own_root { &cwd } else { &here })?;
            if !own_root {
                command_pieces(&found, place, &mut pieces);
            }
            args = std::iter::once(name).chain(given).collect();
            (path, real, loaders) = (found.path, found.real, found.loaders);
            channel = None;
        }
    }
    env.retain(|(key, _)| !input.env.iter().any(|(given, _)| given == key));
    env.extend(input.env.iter().cloned());
    let programs = std::iter::once(real.clone())
        .chain(loaders.iter().cloned())
        .collect();
    let program = Program {
        path,
        args,
        env,
        cwd,
    };
    Ok(Draft {
        pieces,
        programs,
        loaders,
        program,
        real,
        channel,
    })
}

/// The command line's program, or the bundle's own process with its environment and directory.
fn command(
    name: Option<&OsString>,
    given: &[OsString],
    bundle: &Bundle,
    input: &PrepareInput,
    env: &mut Vec<(OsString, OsString)>,
    cwd: &mut PathBuf,
) -> Result<(OsString, Vec<OsString>), OciError> {
    if let Some(name) = name {
        return Ok((name.clone(), given.to_vec()));
    }
    let path = || input.bundle.clone().unwrap_or_default();
    let refuse = |cause: &str| OciError::Bundle {
        path: path(),
        cause: cause.to_owned(),
    };
    let process = bundle
        .spec
        .process()
        .as_ref()
        .ok_or_else(|| refuse("it names no process"))?;
    let mut words = process.args().iter().flatten().map(OsString::from);
    let name = words
        .next()
        .ok_or_else(|| refuse("its process has no arguments"))?;
    *env = process
        .env()
        .iter()
        .flatten()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    if input.cwd.is_none() {
        process.cwd().clone_into(cwd);
    }
    Ok((name, words.collect()))
}

fn worker_command(
    found: &Interpreter,
    worker: Option<&WorkerFiles>,
    channel: Option<&ChannelRequest>,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![found.path.clone().into(), "-I".into()];
    if let (Some(worker), Some(channel)) = (worker, channel) {
        args.extend(["-c".into(), worker.bootstrap.clone().into()]);
        args.extend([
            channel.socket.clone().into(),
            channel.segment.clone().into(),
        ]);
    }
    args
}

fn interpreter_pieces(found: &Interpreter, place: &Place, pieces: &mut Vec<Piece>) {
    for path in std::iter::once(&found.real).chain(&found.parts) {
        if !covered(pieces, path) {
            pieces.extend(root::shown(place, path, path, true));
        }
    }
    lead(&found.way, pieces);
    if let Some(name) = found.real.file_name() {
        let etc = Path::new("/etc").join(name);
        pieces.extend(root::shown(place, &etc, &etc, false));
    }
}

fn command_pieces(found: &Found, place: &Place, pieces: &mut Vec<Piece>) {
    for path in std::iter::once(&found.real).chain(&found.loaders) {
        if !covered(pieces, path) {
            pieces.extend(root::shown(place, path, path, true));
        }
    }
    lead(&found.way, pieces);
}

/// Makes what the kernel goes over on its way to what is shown, where that is not shown already.
fn lead(way: &Way, pieces: &mut Vec<Piece>) {
    for dir in &way.dirs {
        if !covered(pieces, dir) {
            pieces.push(Piece::Dir { path: dir.clone() });
        }
    }
    for (path, target) in &way.links {
        let made =
            |piece: &Piece| matches!(piece, Piece::Link { path: there, .. } if there == path);
        if !covered(pieces, path) && !pieces.iter().any(made) {
            pieces.push(Piece::Link {
                path: path.clone(),
                target: target.clone(),
            });
        }
    }
}

/// Whether a host directory that is shown has the path in it.
fn covered(pieces: &[Piece], path: &Path) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Bind { path: shown, .. } if path.starts_with(shown)))
}

/// Where the system keeps programs, for policies under which every visible one may run.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Shows the programs of the host, also where they are not below /usr.
fn every_program(place: &Place, pieces: &mut Vec<Piece>) {
    let own = ["/bin", "/sbin"].map(Path::new).into_iter();
    let own = own.filter(|dir| place.real(dir).is_some_and(|real| real == *dir));
    for dir in PROGRAMS.map(Path::new).into_iter().chain(own) {
        let Some(real) = place.real(dir) else {
            continue;
        };
        pieces.retain(|piece| match piece {
            Piece::Bind { path, .. } | Piece::Link { path, .. } => !path.starts_with(&real),
            _ => true,
        });
        if !covered(pieces, &real) {
            pieces.extend(root::shown(place, &real, &real, true));
        }
    }
}

fn grants(draft: &Draft, out: Option<&Path>) -> Vec<crate::policy::Grant> {
    let readable = draft.pieces.iter().filter_map(|piece| match piece {
        Piece::Bind {
            path,
            dir,
            executable,
            ..
        } => Some((path.clone(), *dir && *executable)),
        Piece::File { path, .. } => Some((path.clone(), false)),
        _ => None,
    });
    let channel: Vec<&Path> = draft
        .channel
        .iter()
        .flat_map(|asked| [asked.segment.as_path(), asked.socket.as_path()])
        .collect();
    bundle_grants(
        readable,
        draft.programs.iter().cloned(),
        out.map(Path::to_owned).into_iter(),
        &channel,
    )
}

fn compile(
    policy: Policy,
    draft: &Draft,
    place: &Place,
    features: &Features,
) -> Result<(Policy, Plan), OciError> {
    let entries = policy
        .literal_paths()
        .into_iter()
        .map(|path| {
            let entry = world::entry(place, &draft.pieces, &path);
            (path, entry)
        })
        .collect();
    let mut world = World {
        entries,
        private: world::private(),
        namespaces: true,
        landlock_abi: features.landlock_abi,
        command: Some(draft.real.clone()),
        loaders: draft.loaders.clone(),
        helpers: Vec::new(),
    };
    let resolved = policy.resolve(&world);
    let plan = policy.compile(&world)?;
    if !matches!(plan.exec, ExecPlan::Programs(_)) {
        return Ok((resolved, plan));
    }
    // Where programs may run, those in library directories must be out of the loader's reach.
    world.helpers = world::helpers(place);
    let plan = policy.compile(&world)?;
    Ok((resolved, plan))
}

fn channel_request(segment_bytes: u64) -> Result<ChannelRequest, OciError> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(
        |errno| OciError::io("draw random bytes for", "the socket's name")(errno.into()),
    )?;
    let name = format!("{:016x}.sock", u64::from_ne_bytes(random));
    Ok(ChannelRequest {
        segment_bytes,
        segment: Path::new(CHANNEL).join("segment"),
        socket: Path::new(CHANNEL).join(name),
    })
}

fn clean_environment(terminal: bool) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), PATH.into()),
        ("HOME".into(), "/tmp".into()),
        ("TMPDIR".into(), "/tmp".into()),
        ("LANG".into(), "C.UTF-8".into()),
    ];
    if terminal {
        env.push((
            "TERM".into(),
            std::env::var_os("TERM").unwrap_or_else(|| "dumb".into()),
        ));
    }
    env
}

/// The ids that the worker will have inside, for the curated /etc.
fn worker_ids() -> (u32, u32) {
    let own = |id: u32| if id == 0 { 1000 } else { id };
    (
        own(rustix::process::getuid().as_raw()),
        own(rustix::process::getgid().as_raw()),
    )
}
