//! A policy in a container's own world: the root file system with everything that is mounted in
//! it, looked at by the first process when it has entered and nothing of the container's runs.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::channel::SEGMENT;
use super::confinement::{Confinement, Masked, Scopes};
use super::masks;
use super::oracle::Oracle;
use super::trust::Trust;
use crate::launch::{Failure, State, Subnet};
use crate::policy::{
    CHANNEL, Contained, Entry, EntryKind, ExecPlan, Grant, Layer, Mask, MaskKind, NetPlan,
    OnViolation, Perm, PermSet, Plan, Policy, Request, Verdict, World,
};
use crate::sys::links::{self, Led};

/// What config.json mounts at a path, as far as a policy is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The container's own, to be written: tmpfs, shared memory, message queues.
    Private(PathBuf),
    /// The host's: nobody's but whom a rule names.
    Volume(PathBuf),
}

/// A container's policy, before its world is known.
#[derive(Debug)]
pub struct ContainerPolicy {
    /// The layers, each of which can only narrow.
    pub layers: Vec<Layer>,
    /// What config.json mounts, in its order.
    pub given: Vec<Given>,
    /// The Landlock ABI of this kernel.
    pub landlock_abi: u32,
    /// Whether the container has processes of its own.
    pub own_processes: bool,
    /// Whether it has a network of its own, and abstract Unix sockets with it.
    pub own_network: bool,
    /// Whether it is to have a channel to its supervisor.
    pub channel: bool,
    /// The addresses of an interface beside the loopback, if it is to have one. No process has CAP_NET_ADMIN then.
    pub link: Option<Subnet>,
    /// What its programs trust without us, where requests of it are read, so that they have to trust its
    /// supervisor too.
    pub trust: Option<Trust>,
}

fn failed(cause: impl ToString) -> Failure {
    Failure::new("carry out", "the policy", cause)
}

impl ContainerPolicy {
    /// Compiles the policy, and takes away by mounts what it denies below what it allows. To be
    /// called inside, as the root of the container's mount namespace.
    ///
    /// # Errors
    /// Every rule that is not carried exactly, by name, and what the kernel refused.
    pub(super) fn confine(&self) -> Result<Confinement, Failure> {
        let (grants, volumes) = self.grants()?;
        let policy = Policy::merge(self.layers.clone(), grants.clone()).map_err(failed)?;
        let world = self.world(&policy, &volumes)?;
        let plan = policy.compile(&world).map_err(failed)?;
        if self.link.is_some() && plan.net != NetPlan::Egress {
            return Err(failed(
                "there is to be an interface, and nothing leaves by it",
            ));
        }
        masks::lay(&plan.binds, &plan.masks)?;
        let mut confinement = Confinement {
            grants: plan.landlock.iter().map(Into::into).collect(),
            landlock_abi: self.landlock_abi,
            scopes: Scopes {
                signals: !self.own_processes,
                abstract_sockets: !self.own_network,
            },
            unix_sockets: unix_sockets(&plan, &volumes),
            network: plan.net == NetPlan::Egress,
            link: self.link.map(|subnet| subnet.inside().0),
            datagrams: plan.datagrams,
            deny: plan.deny_syscalls.clone(),
            once: plan.exec == ExecPlan::Once,
            kill: policy.on_violation() == OnViolation::Kill,
            masks: plan.masks.iter().map(masked).collect(),
            absent: plan.absent,
            oracle: (self.channel || plan.net == NetPlan::Egress)
                .then(|| Oracle::of(&grants, &world)),
            mechanisms: Vec::new(),
        };
        let names: Vec<String> = plan
            .masks
            .iter()
            .map(|mask| format!("{} ({})", mask.path.display(), mask.rule))
            .collect();
        let detail = match names.is_empty() {
            true => "nothing lies below what is allowed and is denied".to_owned(),
            false => names.join(", "),
        };
        confinement.note("masks", State::Full, detail);
        Ok(confinement)
    }

    /// What the container has without a rule, and the volumes.
    fn grants(&self) -> Result<(Vec<Grant>, Vec<PathBuf>), Failure> {
        // The whole image, to be read and run; what is written needs a rule.
        let grant = |path: &Path, perms| Grant {
            path: path.to_owned(),
            perms,
        };
        let mut grants = vec![
            grant(Path::new("/"), PermSet::READ.with(Perm::Execute)),
            grant(Path::new("/dev"), PermSet::READ.with(Perm::WriteFile)),
        ];
        let mut volumes = Vec::new();
        for given in &self.given {
            match given {
                Given::Private(path) => {
                    grants.push(grant(&real(path)?, PermSet::READ.union(PermSet::WRITE)));
                }
                Given::Volume(path) => volumes.push(real(path)?),
            }
        }
        if self.channel {
            let segment = Path::new(CHANNEL).join(SEGMENT);
            grants.push(grant(&real(&segment)?, PermSet::READ.with(Perm::WriteFile)));
        }
        Ok((grants, volumes))
    }

    fn world(&self, policy: &Policy, volumes: &[PathBuf]) -> Result<World, Failure> {
        let mut container = Contained {
            volumes: volumes.to_vec(),
            closed: Vec::new(),
        };
        let (mut entries, mut through) = (BTreeMap::new(), BTreeMap::new());
        for path in policy.literal_paths().into_iter().chain(volumes.to_vec()) {
            let (entry, names) = entry(&path)?;
            if is_hidden_data(policy, &path, &entry)? {
                container.closed.push(entry.real.clone());
            }
            if !names.is_empty() {
                through.insert(path.clone(), names);
            }
            entries.insert(path, entry);
        }
        Ok(World {
            entries,
            through,
            namespaces: true,
            landlock_abi: self.landlock_abi,
            container: Some(container),
            ..World::default()
        })
    }
}

fn masked(mask: &Mask) -> Masked {
    Masked {
        path: mask.path.clone(),
        rule: mask.rule.clone(),
    }
}

/// A file that nobody runs and that must not be read: nothing of what the image gives is left of
/// it, so that it can be taken away whole.
fn is_hidden_data(policy: &Policy, path: &Path, entry: &Entry) -> Result<bool, Failure> {
    if entry.kind != EntryKind::File {
        return Ok(false);
    }
    let found = std::fs::metadata(&entry.real).map_err(failed)?;
    let reading = Request::Fs {
        path,
        perm: Perm::ReadFile,
    };
    let is_program = found.permissions().mode() & 0o111 != 0;
    Ok(!is_program && policy.decide(&reading).verdict == Verdict::Deny)
}

/// The path without symbolic links; of a missing one, where it would be made.
fn real(path: &Path) -> Result<PathBuf, Failure> {
    follow(path).map(|led| led.real)
}

fn follow(path: &Path) -> Result<Led, Failure> {
    links::follow(path, links::look)
        .map_err(|error| Failure::new("look at", path.display().to_string(), error))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What is at a path, and the names that it leads through.
fn entry(path: &Path) -> Result<(Entry, Vec<PathBuf>), Failure> {
    let Led { real, through, .. } = follow(path)?;
    let (kind, links) = match std::fs::symlink_metadata(&real) {
        // The circle in which its links lead.
        Ok(found) if found.is_symlink() => (EntryKind::Missing, 0),
        Ok(found) if found.is_dir() => (EntryKind::Dir, 1),
        Ok(found) if found.is_file() => (EntryKind::File, found.nlink()),
        Ok(found) => (EntryKind::Other, found.nlink()),
        Err(error) if is_absent(&error) => (EntryKind::Missing, 0),
        Err(error) => return Err(Failure::new("look at", path.display().to_string(), error)),
    };
    let entry = Entry {
        kind,
        links,
        in_bundle: true,
        real,
    };
    Ok((entry, through))
}

/// Whether sockets with names may be made. Neither a read-only mount nor Landlock keeps a socket of
/// the host from being connected to, so a volume that is shown and not to be written takes the
/// means away.
fn unix_sockets(plan: &Plan, volumes: &[PathBuf]) -> bool {
    volumes.iter().all(|volume| {
        let hidden = plan
            .masks
            .iter()
            .any(|mask| mask.kind == MaskKind::Hidden && mask.path == *volume);
        let written = plan
            .landlock
            .iter()
            .any(|grant| grant.path == *volume && grant.perms.contains(Perm::WriteFile));
        hidden || written
    })
}
