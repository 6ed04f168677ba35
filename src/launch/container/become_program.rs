//! The last steps of every process of a container: from a child of the runtime that is in its
//! place to the program, with the ids, capabilities and filter that it is to have.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};

use super::confinement::Confinement;
use super::label;
use super::process::{ProcessPlan, texts};
use super::word::tell_of_listener;
use crate::launch::{Failure, FailureKind};
use crate::sys::secret::SecretCall;
use crate::sys::{capabilities, clone, keyring, process, terminal};

/// A program that can be executed: all that is left is the call.
pub(super) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    /// The one execution that a policy permits, where it permits one.
    only: Option<SecretCall>,
}

fn step<E: ToString>(operation: &'static str, object: &'static str) -> impl Fn(E) -> Failure {
    move |cause| Failure::new(operation, object, cause)
}

/// What is read of the new root while it is still the root's own right to read it.
pub(super) fn home_of(plan: &mut ProcessPlan) {
    if plan.variable("HOME").is_some_and(|home| !home.is_empty()) {
        return;
    }
    plan.env.retain(|entry| !entry.starts_with("HOME="));
    let home = home_in_passwd(plan.uid).unwrap_or_else(|| "/".to_owned());
    plan.env.push(format!("HOME={home}"));
}

/// The home of `uid` as the container's own /etc/passwd has it, which is nobody's but the image's.
fn home_in_passwd(uid: u32) -> Option<String> {
    const LONGEST: u64 = 1 << 20;
    // Without waiting: an image can have a FIFO there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open("/etc/passwd", flags, Mode::empty()).ok()?;
    let file = std::fs::File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, LONGEST), &mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id: u32 = fields.nth(2)?.parse().ok()?;
        let home = fields.nth(2)?;
        (id == uid && !home.is_empty()).then(|| home.to_owned())
    })
}

/// Leaves the caller's keys behind. A kernel without keyrings has none to leave.
pub(super) fn join_keyring(id: &str) -> Result<(), Failure> {
    let name = CString::new(format!("_ses.{id}")).map_err(step("name", "the session keyring"))?;
    match keyring::join_session(&name) {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => {
            Err(Failure::new("join", "a session keyring", error))
        }
        _ => Ok(()),
    }
}

/// Takes the terminal's slave as descriptors 0 to 2 and as the controlling terminal.
pub(super) fn take_terminal(slave: &OwnedFd) -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    for number in 0..3 {
        process::duplicate_onto(slave.as_raw_fd(), number)
            .map_err(step("connect", "the terminal"))?;
    }
    terminal::make_controlling(io::stdin().as_fd()).map_err(step("take", "the terminal"))
}

/// Restricts the calling process for good and finds the program. `tell_ready` is called once
/// nothing of ours can fail any more, with what a policy holds; a listener of the filter goes to
/// `words` when there is one. Of all descriptors beside the program's own, `words` and those of
/// `gate` are left: whatever else the caller owns is closed and must not be dropped.
pub(super) fn restrict(
    plan: &mut ProcessPlan,
    mut confinement: Option<Confinement>,
    words: BorrowedFd<'_>,
    gate: &[BorrowedFd<'_>],
    tell_ready: impl FnOnce(Option<&Confinement>) -> Result<(), Failure>,
) -> Result<Program, Failure> {
    if confinement.as_ref().is_some_and(Confinement::has_interface) {
        plan.may_not_administer_networks();
    }
    let_go_of_descriptors(plan, words, gate)?;
    // While every path can be opened.
    let fence = confinement.as_ref().map(Confinement::open).transpose()?;
    rustix::process::umask(Mode::from_raw_mode(plan.umask.unwrap_or(0o022)));
    if let Some(profile) = &plan.apparmor {
        libcontainer::apparmor::apply_profile(profile)
            .map_err(|cause| Failure::new("apply", "the AppArmor profile", chain(&cause)))?;
    }
    if let Some(text) = &plan.selinux {
        label::set(text).map_err(step("apply", "process.selinuxLabel"))?;
    }
    if let Some(domain) = plan.personality {
        process::set_personality(domain).map_err(step("set", "linux.personality"))?;
    }
    plan.attributes.apply()?;
    if let Some(policy) = &plan.memory_policy {
        policy.apply()?;
    }
    if plan.no_new_privileges {
        process::set_no_new_privs().map_err(step("set", "no_new_privs"))?;
    }
    give_stdio(plan.uid)?;
    // As root first: the directory may be closed to the user, or open to the user alone.
    let entered = enter_directory(plan)?;
    // Without no_new_privs the filter takes a capability that goes in the next step. What comes
    // after it is as little as can be: a filter may deny or not know any call.
    if !plan.no_new_privileges {
        filter(plan, words)?;
    }
    become_user(plan)?;
    if entered.is_err() {
        let object = || plan.cwd.display().to_string();
        enter_directory(plan)?.map_err(|cause| Failure::new("enter", object(), cause))?;
    }
    verify(plan)?;
    let mut program = find_program(plan)?;
    process::reset_signals().map_err(step("reset", "signals"))?;
    // The runtime is about to leave.
    process::set_parent_death_signal(0).map_err(step("clear", "the parent death signal"))?;
    if let (Some(confinement), Some(fence)) = (&mut confinement, fence) {
        if confinement.is_once() {
            program.only = Some(program.place()?);
        }
        let execution = program.only.as_ref().map(SecretCall::addresses);
        confinement.enforce(fence, execution)?;
    }
    if plan.no_new_privileges {
        filter(plan, words)?;
    }
    tell_ready(confinement.as_ref())?;
    Ok(program)
}

/// A link of the image's can lead through the name that a descriptor has in /proc, and execve(2)
/// closes what is marked only after it has found its file by such a path. So nothing of the host's
/// is open any more when the first path of the container's is looked up to be run.
fn let_go_of_descriptors(
    plan: &ProcessPlan,
    words: BorrowedFd<'_>,
    gate: &[BorrowedFd<'_>],
) -> Result<(), Failure> {
    let kept = &plan.preserved_fds;
    process::close_all_but(kept, &[&[words], gate].concat())
        .and_then(|()| process::close_on_exec_but(kept))
        .map_err(step("close", "the runtime's descriptors"))
}

/// Puts the filter in force. Its listener is on its way before this process makes another call,
/// which may wait for whoever gets it.
fn filter(plan: &ProcessPlan, words: BorrowedFd<'_>) -> Result<(), Failure> {
    let Some(profile) = &plan.profile else {
        return Ok(());
    };
    const PROFILE: &str = "the seccomp profile";
    if profile.listener().is_none() {
        let listener = profile.install().map_err(step("apply", PROFILE))?;
        let cause = "it has a listener, and nobody to send it to";
        return match listener {
            None => Ok(()),
            Some(_) => Err(Failure::new("apply", PROFILE, cause)),
        };
    }
    let words = words
        .try_clone_to_owned()
        .map_err(step("duplicate", "the way to the runtime"))?;
    profile
        .install_and_hand_over(move |listener| tell_of_listener(words.as_fd(), &listener))
        .map_err(step("apply", PROFILE))
}

fn become_user(plan: &ProcessPlan) -> Result<(), Failure> {
    capabilities::limit_bounding(plan.capabilities.bounding)
        .map_err(step("limit", "the bounding set of capabilities"))?;
    set_groups(plan)?;
    process::become_ids(plan.uid, plan.gid).map_err(|cause| {
        let ids = format!("user {} and group {}", plan.uid, plan.gid);
        match cause.raw_os_error() {
            Some(libc::EINVAL) => {
                let why = "linux.uidMappings or linux.gidMappings has no such id: add it there";
                Failure::new("become", ids, why)
            }
            _ => Failure::new("become", ids, cause),
        }
    })?;
    capabilities::apply(&plan.capabilities).map_err(step("set", "capabilities"))
}

fn set_groups(plan: &ProcessPlan) -> Result<(), Failure> {
    let Some(groups) = &plan.groups else {
        return Ok(());
    };
    match process::set_groups(groups) {
        Ok(()) => Ok(()),
        // A user namespace that one user made for itself denies it; without groups to set there
        // is nothing to be had or lost.
        Err(error)
            if error.raw_os_error() == Some(libc::EPERM)
                && groups.is_empty()
                && are_groups_denied() =>
        {
            Ok(())
        }
        Err(error) => Err(Failure::new("set", "the supplementary groups", error)),
    }
}

fn are_groups_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").map_or(true, |text| text.trim() == "deny")
}

/// Lets the user open its own standard descriptors again by their names in /proc.
fn give_stdio(uid: u32) -> Result<(), Failure> {
    for stdio in [
        io::stdin().as_fd(),
        io::stdout().as_fd(),
        io::stderr().as_fd(),
    ] {
        let Ok(found) = rustix::fs::fstat(stdio) else {
            continue;
        };
        let is_null = found.st_rdev == rustix::fs::makedev(1, 3);
        if found.st_uid == uid || is_null {
            continue;
        }
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        match rustix::fs::fchown(stdio, owner, None) {
            Ok(())
            // Not ours to give: another's file, a read-only file system, an id without a map.
            | Err(
                rustix::io::Errno::INVAL
                | rustix::io::Errno::PERM
                | rustix::io::Errno::ROFS
                | rustix::io::Errno::OPNOTSUPP,
            ) => {}
            Err(cause) => return Err(Failure::new("give", "a standard descriptor", cause)),
        }
    }
    Ok(())
}

/// Enters the working directory. The inner error is that it does not let this process in.
fn enter_directory(plan: &ProcessPlan) -> Result<rustix::io::Result<()>, Failure> {
    match rustix::process::chdir(plan.cwd.as_path()) {
        Ok(()) => is_inside().map(Ok),
        refused => Ok(refused),
    }
}

/// A directory that was entered through a descriptor of the host's is above no root of ours.
fn is_inside() -> Result<(), Failure> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) => Err(Failure::new(
            "enter",
            "the working directory",
            "it is outside of the container",
        )),
        Err(cause) => Err(Failure::new("verify", "the working directory", cause)),
    }
}

/// Asks the kernel whether what was asked for holds.
fn verify(plan: &ProcessPlan) -> Result<(), Failure> {
    let wrong = |object: &str, cause: &str| Failure::new("verify", object, cause);
    let held = capabilities::permitted().map_err(step("verify", "capabilities"))?;
    if held & !plan.capabilities.permitted != 0 {
        return Err(wrong("capabilities", "more are permitted than asked for"));
    }
    if rustix::process::getuid().as_raw() != plan.uid
        || rustix::process::geteuid().as_raw() != plan.uid
    {
        return Err(wrong("the user id", "it did not change"));
    }
    if plan.no_new_privileges && !process::no_new_privs().is_ok_and(|set| set) {
        return Err(wrong("no_new_privs", "it is not set"));
    }
    Ok(())
}

fn find_program(plan: &ProcessPlan) -> Result<Program, Failure> {
    let name = plan.args.first().map(String::as_str).unwrap_or_default();
    let failed =
        |cause: &str, kind| Failure::new("execute", format!("{name:?}"), cause).of_kind(kind);
    let path = look_up(plan, name)?;
    let text = |path: &Path| {
        use std::os::unix::ffi::OsStrExt;
        CString::new(path.as_os_str().as_bytes()).ok()
    };
    match (text(&path), texts(&plan.args), texts(&plan.env)) {
        (Some(path), Some(args), Some(env)) => Ok(Program {
            path,
            args,
            env,
            only: None,
        }),
        _ => Err(failed("a text has a NUL byte", FailureKind::NotExecutable)),
    }
}

/// As a shell does: a name with a slash is a path, any other is looked for along PATH. The words
/// of the errors are those that callers look for to tell 126 from 127.
fn look_up(plan: &ProcessPlan, name: &str) -> Result<PathBuf, Failure> {
    let failed =
        |cause: String, kind| Failure::new("execute", format!("{name:?}"), cause).of_kind(kind);
    let denied = |cause: rustix::io::Errno| {
        let (words, kind) = match cause {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
                ("no such file or directory", FailureKind::NotFound)
            }
            rustix::io::Errno::ACCESS => ("permission denied", FailureKind::NotExecutable),
            rustix::io::Errno::ISDIR => ("is a directory", FailureKind::NotExecutable),
            other => return failed(other.to_string(), FailureKind::NotExecutable),
        };
        failed(words.to_owned(), kind)
    };
    if name.contains('/') {
        return executable(Path::new(name))
            .map(|()| PathBuf::from(name))
            .map_err(denied);
    }
    let mut refused = None;
    for folder in plan.variable("PATH").unwrap_or_default().split(':') {
        let path = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(rustix::io::Errno::ACCESS) => refused = Some(rustix::io::Errno::ACCESS),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(cause) => denied(cause),
        None => failed(
            "executable file not found in $PATH".to_owned(),
            FailureKind::NotFound,
        ),
    })
}

fn executable(path: &Path) -> rustix::io::Result<()> {
    let found = rustix::fs::stat(path)?;
    if rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Directory {
        return Err(rustix::io::Errno::ISDIR);
    }
    // By the effective ids, which are the ones that execve(2) asks for.
    rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

impl Program {
    fn place(&self) -> Result<SecretCall, Failure> {
        SecretCall::place(&self.path, self.args.clone(), self.env.clone())
            .map_err(step("place", "the only execution"))
    }

    /// Becomes the program; returns only with the reason why not.
    pub(super) fn execute(&self) -> Failure {
        let error = match &self.only {
            Some(only) => only.execute(),
            None => clone::execve(&self.path, &self.args, &self.env),
        };
        let kind = match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => FailureKind::NotFound,
            _ => FailureKind::NotExecutable,
        };
        let path = self.path.to_string_lossy();
        Failure::new("execute", format!("{path:?}"), words(&error)).of_kind(kind)
    }
}

fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".to_owned(),
        Some(libc::EACCES) => "permission denied".to_owned(),
        Some(libc::ENOEXEC) => "exec format error".to_owned(),
        _ => error.to_string(),
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
