//! Groups that systemd makes: scopes.
//!
//! [`Scope::start`] has systemd make the scope around a process of ours that only holds the place,
//! so that limits stand before the container's first process is born into it. Everything else that a
//! group can do goes by the kernel's files, as without systemd, which hands the scope's group over
//! (`Delegate=`); limits are told to systemd besides.
//!
//! Trusts: systemd. Never: touches a unit other than the container's own.

mod annotation;
mod bus;
mod holder;
mod limits;
#[cfg(test)]
mod tests;
mod unit;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::layout::{Layout, is_cgroup2_alone};
use super::{GroupError, GroupRequest, devices};
use bus::{Bus, BusError, Whose};
pub(super) use holder::Holder;
use unit::Unit;
use wire::{Property, Value};

/// The scope of a container's group, for its state file.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ScopeRecord {
    /// The unit's name.
    pub name: String,
    /// Whether it is of the user's own systemd.
    #[serde(default)]
    pub user: bool,
}

/// A scope that was just made.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) record: ScopeRecord,
    /// The group's path in every hierarchy, below the root that the mounts show.
    pub(super) path: PathBuf,
    /// Keeps the scope until a process of the container is in it.
    pub(super) holder: Holder,
}

impl Scope {
    /// Has systemd make the scope that `request` asks for, with its limits.
    pub(super) fn start(request: &GroupRequest<'_>) -> Result<Scope, GroupError> {
        let user = request.rootless;
        let unit = Unit::of(request.path, request.id, user)?;
        let v2 = is_cgroup2_alone();
        if user && !v2 {
            return Err(GroupError::Systemd {
                operation: "making".to_owned(),
                unit: unit.name,
                why: "hands no groups to users on cgroup v1: leave out --systemd-cgroup".to_owned(),
            });
        }
        let given = request
            .annotations
            .map(annotation::properties)
            .transpose()?;
        let record = ScopeRecord {
            name: unit.name.clone(),
            user,
        };
        let mut systemd = Systemd::of(&record);
        let limits = systemd.limits(request.resources, None, v2, true)?;
        let holder = Holder::start().map_err(|source| GroupError::Io {
            operation: "starting a process that holds the place in",
            path: (&*unit.name).into(),
            source,
        })?;
        let mut properties = usual(&unit, request.id, holder.pid(), v2);
        properties.extend(given.unwrap_or_default());
        properties.extend(limits);
        systemd.start(&properties)?;
        let path = group_of(holder.pid())?;
        Ok(Scope {
            record,
            path,
            holder,
        })
    }
}

/// What every scope of ours has.
fn usual(unit: &Unit, id: &str, pid: i32, v2: bool) -> Vec<Property> {
    let text = |name, text: &str| Property::new(name, Value::Text(text.to_owned()));
    let switch = |name, on| Property::new(name, Value::Bool(on));
    vec![
        text("Description", &format!("buntime container {id}")),
        text("Slice", &unit.slice),
        Property::new("PIDs", Value::Numbers(vec![pid.cast_unsigned()])),
        switch("Delegate", true),
        switch("DefaultDependencies", false),
        // Without these a controller may be missing, or come too late for what is in the group.
        switch("CPUAccounting", true),
        switch("MemoryAccounting", true),
        switch("TasksAccounting", true),
        switch(
            if v2 {
                "IOAccounting"
            } else {
                "BlockIOAccounting"
            },
            true,
        ),
    ]
}

/// Where systemd has put the process: below the root that the mounts show, the same everywhere.
fn group_of(pid: i32) -> Result<PathBuf, GroupError> {
    let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = fs::read_to_string(&file).map_err(GroupError::io("reading", &file))?;
    Layout::path_under_systemd(&text).ok_or_else(|| {
        GroupError::io("finding systemd's hierarchy in", &file)(std::io::ErrorKind::NotFound.into())
    })
}

/// Tells systemd about changed limits; `dir` is the group's directory on v2.
pub(super) fn update(
    scope: &ScopeRecord,
    resources: &LinuxResources,
    dir: Option<&Path>,
) -> Result<(), GroupError> {
    let mut systemd = Systemd::of(scope);
    let properties = systemd.limits(Some(resources), dir, dir.is_some(), false)?;
    if properties.is_empty() {
        return Ok(());
    }
    systemd.change(&properties)
}

/// Has systemd put a process of another group into the scope's, or into the group `below` it.
pub(super) fn attach(scope: &ScopeRecord, below: &Path, pid: i32) -> Result<(), GroupError> {
    let below = format!("/{}", below.display());
    let mut systemd = Systemd::of(scope);
    let attached = systemd
        .bus()?
        .manager("AttachProcessesToUnit", "ssau", |to| {
            to.string(&scope.name);
            to.string(&below);
            to.array(4, |to| to.u32(pid.cast_unsigned()));
        });
    let error = systemd.error(&format!("error adding pid {pid} to cgroups:"));
    attached.map(|_| ()).map_err(error)
}

/// Has systemd end the scope and forget it. One that is gone is no error.
pub(super) fn stop(scope: &ScopeRecord) -> Result<(), GroupError> {
    let mut systemd = Systemd::of(scope);
    let stopped = systemd.bus()?.job("StopUnit", "ss", |to| {
        to.string(&scope.name);
        to.string("replace");
    });
    match stopped {
        Err(error) if !error.is("NoSuchUnit") => return Err(systemd.error("stopping")(error)),
        _ => {}
    }
    systemd.forget()
}

/// The conversation about one scope, begun when there is something to say.
struct Systemd<'a> {
    scope: &'a ScopeRecord,
    bus: Option<Bus>,
}

impl<'a> Systemd<'a> {
    fn of(scope: &'a ScopeRecord) -> Systemd<'a> {
        Systemd { scope, bus: None }
    }

    fn error(&self, operation: &str) -> impl FnOnce(BusError) -> GroupError + use<> {
        let (operation, unit) = (operation.to_owned(), self.scope.name.clone());
        move |error| GroupError::Systemd {
            operation,
            unit,
            why: error.to_string(),
        }
    }

    fn bus(&mut self) -> Result<&mut Bus, GroupError> {
        let bus = match self.bus.take() {
            Some(bus) => bus,
            None => {
                let whose = if self.scope.user {
                    Whose::User
                } else {
                    Whose::System
                };
                Bus::open(whose).map_err(self.error("asking for"))?
            }
        };
        Ok(self.bus.insert(bus))
    }

    /// systemd's version; one that cannot be read is old.
    fn version(&mut self) -> Result<u32, GroupError> {
        let text = self
            .bus()?
            .property("Version")
            .map_err(self.error("asking for"))?;
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        Ok(digits[..end].parse().unwrap_or(0))
    }

    /// The properties that hold `resources`, and on v1 also its device rules, which systemd would
    /// lift there.
    fn limits(
        &mut self,
        resources: Option<&LinuxResources>,
        dir: Option<&Path>,
        v2: bool,
        new: bool,
    ) -> Result<Vec<Property>, GroupError> {
        let mut known = None;
        let mut version = || match known {
            Some(version) => Ok(version),
            None => Ok(*known.insert(self.version()?)),
        };
        if v2 {
            return match resources {
                Some(resources) => limits::of_v2(resources, dir, &mut version),
                None => Ok(Vec::new()),
            };
        }
        let mut found = match resources {
            Some(resources) => limits::of_v1(resources, &mut version)?,
            None => Vec::new(),
        };
        let list = resources.and_then(|resources| resources.devices().as_deref());
        if new || list.is_some() {
            let rules = devices::rules(list.unwrap_or_default())?;
            let allowed = devices::for_systemd(&rules)?;
            let policy = if allowed.is_some() { "strict" } else { "auto" };
            found.push(Property::new("DeviceAllow", Value::Pairs(Vec::new())));
            found.push(Property::new(
                "DevicePolicy",
                Value::Text(policy.to_owned()),
            ));
            found.push(Property::new(
                "DeviceAllow",
                Value::Pairs(allowed.unwrap_or_default()),
            ));
        }
        Ok(found)
    }

    /// Starts the scope. One of the same name that failed is forgotten first.
    fn start(&mut self, properties: &[Property]) -> Result<(), GroupError> {
        let name = self.scope.name.clone();
        let start = |bus: &mut Bus| {
            bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", |to| {
                to.string(&name);
                to.string("replace");
                to.properties(properties);
                to.array(8, |_| {});
            })
        };
        let mut started = start(self.bus()?);
        if started.as_ref().is_err_and(|error| error.is("UnitExists")) {
            self.forget()?;
            started = start(self.bus()?);
        }
        let failed = self.error("making");
        started.map_err(failed).inspect_err(|_| {
            // The failure to start is what the caller learns.
            self.forget().err();
        })
    }

    fn change(&mut self, properties: &[Property]) -> Result<(), GroupError> {
        let name = self.scope.name.clone();
        let changed = self.bus()?.manager("SetUnitProperties", "sba(sv)", |to| {
            to.string(&name);
            to.bool(true);
            to.properties(properties);
        });
        changed.map(|_| ()).map_err(self.error("changing"))
    }

    /// A unit that failed stays until somebody has seen it.
    fn forget(&mut self) -> Result<(), GroupError> {
        let name = self.scope.name.clone();
        let forgotten = self
            .bus()?
            .manager("ResetFailedUnit", "s", |to| to.string(&name));
        match forgotten {
            Err(error) if !error.is("NoSuchUnit") => Err(self.error("forgetting")(error)),
            _ => Ok(()),
        }
    }
}
