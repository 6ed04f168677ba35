//! What holds every process of a container that has a policy: found out by the first one, kept
//! beside the container, and the same for those that join it later.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::become_program::chain;
use super::oracle::Oracle;
use crate::launch::landlock::{self, Ends, Fence};
use crate::launch::seccomp::{Filters, SeccompRequest};
use crate::launch::{Failure, Mechanism, State, link};
use crate::policy::{Absent, Grant, Perm, PermSet};
use crate::sys::process;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confinement {
    /// The Landlock rules.
    pub(super) grants: Vec<Granted>,
    pub(super) landlock_abi: u32,
    pub(super) scopes: Scopes,
    /// Whether sockets with names may be made.
    pub(super) unix_sockets: bool,
    /// Whether there is a network, with a way out that is held to the policy.
    #[serde(default)]
    pub network: bool,
    /// The address of an interface beside the loopback, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<Ipv4Addr>,
    /// Whether some UDP may leave.
    #[serde(default)]
    pub(super) datagrams: bool,
    /// System calls that are denied by name.
    pub(super) deny: Vec<String>,
    /// Whether nothing runs but one program.
    pub(super) once: bool,
    /// Whether what the filter denies by the policy's own word kills.
    pub(super) kill: bool,
    /// What is taken away by mounts.
    pub masks: Vec<Masked>,
    /// Names at which nothing may come to be.
    pub absent: Vec<Absent>,
    /// What holds, as the first process has seen it.
    pub mechanisms: Vec<Mechanism>,
    /// What the supervisor decides by where the container has a channel; it takes this away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<Oracle>,
}

/// A path that is taken away by a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masked {
    /// In the container's root, without links.
    pub path: PathBuf,
    /// The rule that asks for it.
    pub rule: String,
}

/// What ends at the container because no namespace ends it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Scopes {
    pub signals: bool,
    pub abstract_sockets: bool,
}

/// One Landlock rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Granted {
    path: PathBuf,
    perms: Vec<String>,
}

impl From<&Grant> for Granted {
    fn from(grant: &Grant) -> Granted {
        Granted {
            path: grant.path.clone(),
            perms: grant.perms.names().into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Granted {
    pub(super) fn grant(&self) -> Result<Grant, Failure> {
        let perm = |name: &String| {
            Perm::from_name(name).ok_or_else(|| {
                let cause = format!("{name:?} is no permission");
                Failure::new("read", "the container's confinement", cause)
            })
        };
        Ok(Grant {
            path: self.path.clone(),
            perms: self
                .perms
                .iter()
                .map(perm)
                .collect::<Result<PermSet, _>>()?,
        })
    }
}

impl Confinement {
    pub(super) fn note(&mut self, mechanism: &str, state: State, detail: impl Into<String>) {
        self.mechanisms.push(Mechanism {
            mechanism: mechanism.to_owned(),
            state,
            detail: detail.into(),
        });
    }

    /// Whether something in the container's root is to be watched: a mask, or a name at which nothing is.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        !self.masks.is_empty() || !self.absent.is_empty()
    }

    /// Whether there is an interface beside the loopback: nobody may have CAP_NET_ADMIN then.
    pub(super) fn has_interface(&self) -> bool {
        self.link.is_some()
    }

    /// Whether the program is the only one that runs.
    pub(super) fn is_once(&self) -> bool {
        self.once
    }

    /// Opens the paths of the Landlock rules in the root of the calling process, while it may still
    /// open them all. A path that the container has taken away or led elsewhere since is granted
    /// no more.
    pub(super) fn open(&self) -> Result<Fence, Failure> {
        let mut grants = Vec::new();
        for granted in &self.grants {
            let grant = granted.grant()?;
            if is_there(&grant.path)? {
                grants.push(grant);
            }
        }
        let ends = Ends {
            deny_tcp: false,
            signals: self.scopes.signals,
            abstract_sockets: self.scopes.abstract_sockets,
            links: false,
        };
        landlock::prepare(&grants, self.landlock_abi, ends)
            .map_err(|error| Failure::new("prepare", "Landlock", chain(&error)))
    }

    /// Holds the calling process to the rules and to a filter of ours; `execution` is where the one
    /// execution lies, if there is to be no other.
    pub(super) fn enforce(
        &mut self,
        fence: Fence,
        execution: Option<[u64; 3]>,
    ) -> Result<(), Failure> {
        let held = fence
            .enforce()
            .map_err(|error| Failure::new("enforce", "Landlock", chain(&error)))?;
        let request = SeccompRequest {
            network: self.network,
            interfaces: self.has_interface(),
            unix: self.unix_sockets,
            deny: self.deny.clone(),
            exec_at: execution,
            kill: self.kill,
            stacked: true,
            ..SeccompRequest::default()
        };
        let failed = |error: &dyn std::error::Error| {
            Failure::new("install", "the policy's filter", chain(error))
        };
        let filters = Filters::compile(&request).map_err(|error| failed(&error))?;
        filters.install().map_err(|error| failed(&error))?;
        if !process::seccomp_mode().is_ok_and(|mode| mode == FILTERED) {
            let cause = "it was installed and is not in force";
            return Err(Failure::new("verify", "the policy's filter", cause));
        }
        self.report(&held, filters.instructions());
        Ok(())
    }

    fn report(&mut self, held: &landlock::LandlockStatus, instructions: usize) {
        let (state, mut detail) = match held.missing.is_empty() {
            true => (State::Full, String::new()),
            false => (
                State::Partial,
                format!("; without {}", held.missing.join(", ")),
            ),
        };
        detail.insert_str(0, &format!("ABI {}, {} rules", held.abi, held.rules));
        self.note("landlock", state, detail);
        let detail = format!("{instructions} instructions, below config.json's own profile");
        self.note("seccomp", State::Full, detail);
        let detail = match (self.network, self.link) {
            (true, None) => format!("{WITHIN}; sockets of TCP, UDP and AF_UNIX, and no others"),
            (true, Some(address)) => format!(
                "{WITHIN}, and {}; sockets of TCP, UDP, AF_UNIX and rtnetlink(7), which tells of interfaces, and no \
                 others; no CAP_NET_ADMIN, whatever config.json gives",
                link::described(address)
            ),
            (false, _) => "no sockets of AF_INET and AF_INET6, and none but AF_UNIX".to_owned(),
        };
        self.note("network", State::Full, detail);
        let detail = match self.once {
            true => "one program for each process that the runtime starts, and none after it",
            false => "every program that can be seen, by Landlock and masks",
        };
        self.note("exec", State::Full, detail);
        if self.kill {
            let detail = "the filter kills for a second program where one is all that runs, and \
                          for a system call that the policy names; what else is denied fails";
            self.note("onViolation", State::Partial, detail);
        }
        if !self.unix_sockets {
            let detail = "none that has a name: a volume is shown that may not be written";
            self.note("unix sockets", State::Full, detail);
        }
        self.note("no_new_privs", State::Full, "set and seen to be set");
    }
}

/// The network of a container that something leaves.
const WITHIN: &str = "a namespace within the container's, with a loopback and the egress plane, which decides about each \
                      connection, and where nothing from outside arrives";

/// SECCOMP_MODE_FILTER of linux/seccomp.h.
const FILTERED: i32 = 2;

fn is_there(path: &Path) -> Result<bool, Failure> {
    use rustix::io::Errno;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(error) => Err(Failure::new("open", path.display().to_string(), error)),
    }
}
