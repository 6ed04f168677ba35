//! Everything together: policy, plan, root and program become one launch request.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::bare;
use super::bundle::{Bundle, OwnProcess};
use super::degraded;
use super::directories::{existing_directory, out_directory};
use super::error::{OciError, drawn};
use super::grants::bundle_grants;
use super::interpreter::Interpreter;
use super::mounts::Mounted;
use super::named;
use super::network::{self, Network};
use super::program::{PATH, Place};
use super::proxy;
use super::root::{command_pieces, every_program, interpreter_pieces};
use super::standing::{Ground, Standing};
use super::{root, trust, world};
use crate::launch::{
    ChannelRequest, Features, LaunchRequest, Piece, Program, Require, StdioRequest,
};
use crate::policy::{CHANNEL, Degraded, Layer, Perm, Policy, Request, Verdict};

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
    pub files: Vec<(String, Cow<'static, [u8]>)>,
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
    /// The interfaces, in the place of what the bundle chooses.
    pub network: Option<Network>,
    /// The port inside of the proxy, 8080 unless given; 0 for none.
    pub proxy_port: Option<u16>,
    /// What programs trust where requests are read, in PEM.
    pub trusted: Option<String>,
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
    /// Why there are no namespaces, when the policy is to be carried without.
    pub bare: Option<String>,
    /// What has to hold before the program may start.
    pub require: Require,
    /// Whether what cannot be carried exactly is carried more strictly, or left out, and said.
    pub allow_degraded: bool,
}

/// A policy and the launch that carries it.
#[derive(Debug)]
pub struct Prepared {
    /// The merged policy, with its paths resolved: the oracle for everything decided live.
    pub policy: Policy,
    /// The launch.
    pub request: LaunchRequest,
    /// The rules that are not carried as they stand, by the person's leave.
    pub degraded: Vec<Degraded>,
    /// What another policy is compared with while it runs, or why none can be.
    pub standing: Result<Standing, &'static str>,
}

pub(super) const HOSTNAME: &str = "buntime";

/// What is found out before the policy is compiled.
pub(super) struct Draft {
    pub pieces: Vec<Piece>,
    pub programs: Vec<PathBuf>,
    pub loaders: Vec<PathBuf>,
    pub program: Program,
    pub real: PathBuf,
    pub channel: Option<ChannelRequest>,
    pub umask: Option<u32>,
}

/// Prepares a launch. Touches nothing but the output directory, which it makes if it is not there.
///
/// # Errors
/// What cannot be found, used, merged or enforced, by name.
pub fn prepare(input: PrepareInput) -> Result<Prepared, OciError> {
    let bundle = match &input.bundle {
        Some(dir) => Bundle::load(dir)?,
        None => Bundle::python()?,
    };
    // What the bundle shows depends on the person's layers alone, and not on what it shows.
    let own = Policy::merge(input.layers.clone(), Vec::new())?;
    let may_read = |path: &Path| {
        [Perm::ReadFile, Perm::ReadDir].into_iter().all(|perm| {
            let request = Request::Fs { path, perm };
            own.decide(&request).verdict == Verdict::Allow
        })
    };
    let root = match &input.rootfs {
        Some(path) => Some(
            path.canonicalize()
                .map_err(OciError::io("open the root", path))?,
        ),
        None => bundle.real_root(&may_read)?,
    };
    if let Some(why) = &input.bare {
        bare::check(why, root.as_deref().or(input.bundle.as_deref()))?;
    }
    let mut place = Place::at(root.clone().unwrap_or_else(|| PathBuf::from("/")));
    let mounted = match &input.bundle {
        Some(_) => bundle.mounted(&mut place, &may_read)?,
        None => Mounted::default(),
    };
    let every = own.lets_every_program_run();
    let mut draft = draft(&input, &bundle, &place, &mounted, root.is_some())?;
    if every && root.is_none() {
        every_program(&place, &mut draft.pieces);
    }
    let out = input
        .out
        .as_deref()
        .map(|path| out_directory(path, input.out_keep))
        .transpose()?;
    named::add(&mut draft, (&place, root.is_some()), &own, out.as_deref());
    let bare = match &input.bare {
        Some(why) => Some(bare::adapt(&mut draft, &input, why)?),
        None => None,
    };
    let grants = match &bare {
        Some(bare) => bare::bundle_grants(&draft, bare, out.as_deref()),
        None => grants(&draft, out.as_deref()),
    };
    let ground = Ground {
        place,
        pieces: draft.pieces.clone(),
        command: draft.real.clone(),
        loaders: draft.loaders.clone(),
        grants,
        landlock_abi: input.features.landlock_abi,
        namespaces: bare.is_none(),
    };
    let compile = |layers: Vec<Layer>| ground.compile(layers);
    let ((policy, mut plan), degraded) = match input.allow_degraded {
        true => degraded::carried(input.layers, compile)?,
        false => (compile(input.layers)?, Vec::new()),
    };
    let standing = settled(input.bundle.is_some(), !degraded.is_empty())
        .map(|()| Standing::new(ground, plan.clone(), out.clone()));

    let Draft {
        mut pieces,
        mut program,
        channel,
        umask,
        ..
    } = draft;
    pieces.push(Piece::Dir {
        path: program.cwd.clone(),
    });
    pieces.extend(out.map(written));
    for piece in &mut pieces {
        set_executable(piece, &plan.private_executable);
    }
    let asked = input.network.or(bundle.network);
    let link = network::link(asked, plan.net, bare.is_none())?;
    let proxy = proxy::port(plan.net, input.proxy_port);
    let told = proxy::variables(proxy, link, &program.env);
    program.env.extend(told);
    if input.trusted.is_some() {
        trust::tell(&mut program.env);
    }
    plan.limits = plan.limits.meet(bundle.limits);
    plan.deny_syscalls.extend(bundle.deny_syscalls);
    let mut remarks = bundle.remarks;
    remarks.extend(mounted.remarks);
    remarks.extend(degraded.iter().map(degraded::remark));
    let request = LaunchRequest {
        oracle: plan.intercept.is_some().then(|| policy.clone()),
        plan,
        pieces,
        program,
        channel,
        proxy,
        link,
        stdio: input.stdio,
        features: input.features,
        hostname: bundle.hostname.unwrap_or_else(|| HOSTNAME.to_owned()),
        umask: umask.unwrap_or(input.umask),
        masked_paths: bundle.masked,
        readonly_paths: bundle.readonly,
        rlimits: bundle.rlimits,
        remarks,
        require: input.require,
        allow_degraded: input.allow_degraded,
        bare,
    };
    Ok(Prepared {
        policy,
        request,
        degraded,
        standing,
    })
}

/// Says of a private file system whether programs run from it.
fn set_executable(piece: &mut Piece, private_executable: &[PathBuf]) {
    if let Piece::Tmpfs {
        path, executable, ..
    } = piece
    {
        *executable = private_executable.contains(path);
    }
}

/// The folder of the host that may be written.
fn written(path: PathBuf) -> Piece {
    Piece::Bind {
        source: path.clone(),
        path,
        dir: true,
        writable: true,
        executable: false,
        optional: false,
    }
}

/// Whether what the launch fixes can be compared with another policy later, or why not.
fn settled(has_bundle: bool, is_degraded: bool) -> Result<(), &'static str> {
    match (has_bundle, is_degraded) {
        (true, _) => {
            Err("its bundle's mounts were let by the policy of its start; a restart is needed")
        }
        (false, true) => {
            Err("it was started with rules that are not carried here; a restart is needed")
        }
        (false, false) => Ok(()),
    }
}

fn draft(
    input: &PrepareInput,
    bundle: &Bundle,
    place: &Place,
    mounted: &Mounted,
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
    pieces.extend(root::own_places(mounted.tmp_bytes, mounted.shm_bytes));
    pieces.extend(mounted.pieces.iter().cloned());
    pieces.extend(input.trusted.as_deref().map(trust::piece));
    let mut umask = None;
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
            let mut search = OsString::from(PATH);
            args = match name {
                Some(name) => std::iter::once(name).chain(given).cloned().collect(),
                None => {
                    let process = own_process(bundle, input)?;
                    let path = process.env.iter().find(|(name, _)| name == "PATH");
                    search = path.map_or(search, |(_, value)| value.clone());
                    env = process.env;
                    umask = process.umask;
                    if input.cwd.is_none() {
                        cwd = process.cwd;
                    }
                    process.args
                }
            };
            let name = args.first().map(OsString::as_os_str).unwrap_or_default();
            let found = place.find(name, if own_root { &cwd } else { &here }, &search)?;
            if !own_root {
                command_pieces(&found, place, &mut pieces);
            }
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
        umask,
    })
}

/// The bundle's own process, of which the command line may say where it starts.
fn own_process(bundle: &Bundle, input: &PrepareInput) -> Result<OwnProcess, OciError> {
    let refuse = |cause: &str| OciError::Bundle {
        path: input.bundle.clone().unwrap_or_default(),
        cause: cause.to_owned(),
    };
    let mut process = bundle
        .process
        .clone()
        .ok_or_else(|| refuse("it names no process; give a command after --"))?;
    if process.args.is_empty() {
        return Err(refuse("its process.args is empty; give a command after --"));
    }
    if matches!(input.stdio, StdioRequest::Terminal { .. })
        && !process.env.iter().any(|(name, _)| name == "TERM")
    {
        process.env.push(terminal_kind());
    }
    Ok(process)
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

fn grants(draft: &Draft, out: Option<&Path>) -> Vec<crate::policy::Grant> {
    let channel: Vec<&Path> = draft
        .channel
        .iter()
        .flat_map(|asked| [asked.segment.as_path(), asked.socket.as_path()])
        .collect();
    bundle_grants(
        &draft.pieces,
        draft.programs.iter().cloned(),
        world::private(&draft.pieces)
            .into_iter()
            .chain(out.map(Path::to_owned)),
        &channel,
    )
}

fn channel_request(segment_bytes: u64) -> Result<ChannelRequest, OciError> {
    let random = drawn("the socket's name")?;
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
        env.push(terminal_kind());
    }
    env
}

fn terminal_kind() -> (OsString, OsString) {
    let kind = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into());
    ("TERM".into(), kind)
}

/// The ids that the worker will have inside, for the curated /etc.
pub(super) fn worker_ids() -> (u32, u32) {
    let own = |id: u32| if id == 0 { 1000 } else { id };
    (
        own(rustix::process::getuid().as_raw()),
        own(rustix::process::getgid().as_raw()),
    )
}
