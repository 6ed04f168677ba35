//! Which system call filter a launch asks for.

use std::path::Path;

use super::request::{LaunchRequest, Piece};
use super::seccomp::SeccompRequest;
use super::start::SYSTEM_FOLDERS;
use crate::policy::{ExecPlan, Intercept, MaskKind, NetPlan, Perm, PermSet};

/// The filter that carries the plan of `request`.
pub(super) fn seccomp_request(request: &LaunchRequest) -> SeccompRequest {
    let intercept = request.plan.intercept.as_ref();
    let intercept = intercept.map_or(PermSet::NONE, |intercept| intercept.perms);
    SeccompRequest {
        exec_once: request.plan.exec == ExecPlan::Once,
        deny_memfd: matches!(request.plan.exec, ExecPlan::Programs(_)),
        network: request.plan.net != NetPlan::Sealed,
        interfaces: request.link.is_some(),
        unix: unix_sockets(request),
        deny: request.plan.deny_syscalls.clone(),
        exec_at: None,
        kill: false,
        stacked: false,
        intercept,
        alone: None,
    }
}

/// Whether sockets with names may be made: where each call that takes a name is decided by itself,
/// which needs Landlock, and otherwise only where no folder of the host is shown read-only. A
/// read-only mount does not keep a socket in it from being connected to, and Landlock has no right
/// for that; so what could hold a socket of the host, which no rule lets the program write to,
/// takes the means away. The system's own folders hold none, and a socket that is shown by itself
/// is refused where it is opened ([`Source::open`]).
pub(super) fn unix_sockets(request: &LaunchRequest) -> bool {
    let intercept = request.plan.intercept.as_ref();
    if intercept.is_some_and(Intercept::decides_named_sockets) {
        return request.features.landlock_abi > 0;
    }
    let grants = &request.plan.landlock;
    let written = |path: &Path| {
        let mut of_path = grants.iter().filter(|grant| grant.path == path);
        of_path.any(|grant| grant.perms.contains(Perm::WriteFile))
    };
    let of_policy = request.plan.binds.iter().all(|bind| {
        !bind.dir || is_of_the_system(&bind.path) || bind.writable && written(&bind.path)
    });
    let of_bundle = request.pieces.iter().all(|piece| match piece {
        Piece::Bind {
            source,
            dir: true,
            writable: false,
            ..
        } => is_of_the_system(source),
        _ => true,
    });
    let mut masks = request.plan.masks.iter();
    of_policy && of_bundle && masks.all(|mask| mask.kind != MaskKind::ReadOnly)
}

fn is_of_the_system(path: &Path) -> bool {
    let mut folders = SYSTEM_FOLDERS.iter().chain(&["/etc"]);
    folders.any(|folder| path.starts_with(folder))
}
