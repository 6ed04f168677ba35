//! A kernel in small: mounts, masks and a Landlock ruleset, as the plan says them, and beside it an
//! interceptor that asks the oracle.

use std::path::Path;

use buntime::policy::*;

pub struct Kernel<'k> {
    plan: &'k Plan,
    world: &'k World,
    oracle: &'k Policy,
}

/// What makes something appear in a directory.
const MAKES: PermSet = PermSet::of(&[
    Perm::MakeDir,
    Perm::MakeReg,
    Perm::MakeSock,
    Perm::MakeFifo,
    Perm::MakeSym,
]);

impl<'k> Kernel<'k> {
    pub fn new(plan: &'k Plan, world: &'k World, oracle: &'k Policy) -> Kernel<'k> {
        Kernel {
            plan,
            world,
            oracle,
        }
    }

    /// What the interceptor answers for.
    pub fn live(&self) -> PermSet {
        let intercept = self.plan.intercept.as_ref();
        intercept.map_or(PermSet::NONE, |intercept| intercept.perms)
    }

    fn entry(&self, path: &Path) -> Option<&Entry> {
        self.world
            .entries
            .get(path)
            .filter(|entry| entry.real == path)
    }

    fn kind(&self, path: &Path) -> EntryKind {
        self.entry(path)
            .map_or(EntryKind::Missing, |entry| entry.kind)
    }

    fn bind(&self, path: &Path) -> Option<&Bind> {
        self.plan
            .binds
            .iter()
            .rev()
            .find(|bind| path.starts_with(&bind.path))
    }

    fn private(&self, path: &Path) -> Option<&Path> {
        let place = self
            .world
            .private
            .iter()
            .find(|place| path.starts_with(place))?;
        let bound = self
            .bind(path)
            .is_some_and(|bind| bind.path.starts_with(place) && bind.path != *place);
        (!bound).then_some(place)
    }

    /// Whether something is at the path, or could be made there by the worker.
    pub fn visible(&self, path: &Path) -> bool {
        self.shown(path) || self.makeable(path)
    }

    fn shown(&self, path: &Path) -> bool {
        if let Some(place) = self.private(path) {
            return path == place;
        }
        let there = self.kind(path) != EntryKind::Missing;
        let shown =
            || self.bind(path).is_some() || self.entry(path).is_some_and(|entry| entry.in_bundle);
        there && (!self.world.namespaces || shown())
    }

    /// Whether the worker can make the path, and perhaps the directories on the way to it.
    pub fn makeable(&self, path: &Path) -> bool {
        let Some(parent) = path.parent().filter(|_| !self.shown(path)) else {
            return false;
        };
        // What the host has where the worker's own place is: nobody sees it.
        let free = self.kind(path) == EntryKind::Missing || self.private(path).is_some();
        let holds = self.is_dir(parent) || !self.shown(parent);
        let link = self
            .world
            .entries
            .get(path)
            .is_some_and(|entry| entry.real != path);
        free && holds
            && !link
            && self.visible(parent)
            && MAKES.iter().any(|perm| self.allows(parent, perm))
    }

    pub fn is_file(&self, path: &Path) -> bool {
        self.private(path).is_some_and(|place| place != path) || self.kind(path) == EntryKind::File
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.private(path).is_some() || self.kind(path) == EntryKind::Dir
    }

    pub fn has_meaning(&self, path: &Path, perm: Perm) -> bool {
        self.is_dir(path) || self.makeable(path) || PermSet::FILE.contains(perm)
    }

    fn landlock(&self, path: &Path) -> PermSet {
        let covering = self
            .plan
            .landlock
            .iter()
            .filter(|grant| path.starts_with(&grant.path));
        covering.fold(PermSet::NONE, |all, grant| all.union(grant.perms))
    }

    fn masks(&self, path: &Path) -> impl Iterator<Item = MaskKind> {
        self.plan
            .masks
            .iter()
            .filter(move |mask| path.starts_with(&mask.path))
            .map(|mask| mask.kind)
    }

    /// What the mounts let happen, whatever Landlock says.
    fn mounts(&self, path: &Path) -> PermSet {
        self.masks(path)
            .fold(PermSet::ALL, |left, kind| match kind {
                MaskKind::Hidden => PermSet::NONE,
                MaskKind::ReadOnly => left.difference(PermSet::CHANGE),
                MaskKind::NoExec => left.without(Perm::Execute),
            })
    }

    fn writable(&self, path: &Path) -> bool {
        if !self.world.namespaces || self.private(path).is_some() {
            return true;
        }
        self.bind(path).is_some_and(|bind| bind.writable)
    }

    /// Whether the path is on a mount of the bundle's own, or on a bind in its place: only a
    /// rule that names it makes such a mount writable or executable, and no default does.
    pub fn is_bundle(&self, path: &Path) -> bool {
        let shown = |path: &Path| self.entry(path).is_some_and(|entry| entry.in_bundle);
        let command = self.world.command.as_deref();
        let replaced = self
            .bind(path)
            .is_none_or(|bind| shown(&bind.path) || Some(&*bind.path) == command);
        self.world.namespaces && self.private(path).is_none() && (shown(path) || replaced)
    }

    /// Whether it can be done: by the worker itself, or by the interceptor for it.
    pub fn allows(&self, path: &Path, perm: Perm) -> bool {
        let live = self.live().contains(perm) && perm != Perm::Execute;
        let granted = match live {
            true => self.oracle.decide(&Request::Fs { path, perm }).verdict != Verdict::Deny,
            false => self.landlock(path).contains(perm),
        };
        let open = granted && self.mounts(path).contains(perm);
        match perm {
            Perm::Execute => open && self.executable(path),
            perm if PermSet::CHANGE.contains(perm) => open && self.writable(path),
            _ => open,
        }
    }

    pub fn maps_code(&self, path: &Path) -> bool {
        let mounts = self.mounts(path);
        let readable = self.allows(path, Perm::ReadFile);
        readable && mounts.contains(Perm::Execute) && self.executable(path)
    }

    fn executable(&self, path: &Path) -> bool {
        if !self.world.namespaces {
            return true;
        }
        if let Some(place) = self.private(path) {
            return self
                .plan
                .private_executable
                .iter()
                .any(|open| open == place);
        }
        match self.bind(path) {
            Some(bind) => bind.executable,
            // The bundle's libraries; a link shows where they are.
            None => path.starts_with("/lib"),
        }
    }
}
