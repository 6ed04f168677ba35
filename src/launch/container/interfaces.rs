//! `linux.netDevices`: interfaces of the caller's network namespace that become the container's.
//!
//! The kernel takes an interface's addresses from it when it moves; those that are there for good are
//! given to it again. When the namespace ends, a device of hardware comes back to the host's, and one
//! of software is gone: that too is the kernel's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use oci_spec::runtime::Spec;

use super::ContainerError;
use crate::sys::namespace;
use crate::sys::route::Route;

const FIELD: &str = "linux.netDevices";

/// Interfaces by their names here and in the container.
#[derive(Debug, Default)]
pub(super) struct Interfaces(Vec<(String, String)>);

/// The interfaces of `spec` in the order of their names.
///
/// # Errors
/// A name that none can have, or that two would have.
pub fn check_interfaces(spec: &Spec) -> Result<(), ContainerError> {
    Interfaces::of(spec).map(|_| ())
}

impl Interfaces {
    pub(super) fn of(spec: &Spec) -> Result<Interfaces, ContainerError> {
        let linux = spec.linux().as_ref();
        let listed = linux.and_then(|linux| linux.net_devices().as_ref());
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, device) in listed.into_iter().flatten() {
            let own = device.name().clone().filter(|own| !own.is_empty());
            let inside = own.unwrap_or_else(|| name.clone());
            for name in [name, &inside] {
                check_name(name)?;
            }
            if pairs.iter().any(|(_, taken)| *taken == inside) {
                let cause = format!("two interfaces would be named {inside:?}; rename one");
                return Err(ContainerError::invalid(FIELD, cause));
            }
            pairs.push((name.clone(), inside));
        }
        pairs.sort();
        Ok(Interfaces(pairs))
    }

    /// Moves them to the namespace of the process `pid`, or to `joined` where it will join that.
    pub(super) fn hand_over(&self, pid: i32, joined: Option<&File>) -> Result<(), ContainerError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let failed = ContainerError::system("enter", "the container's network namespace");
        let opened = match joined {
            Some(handle) => handle.try_clone(),
            None => File::open(format!("/proc/{pid}/ns/net")),
        };
        let (theirs, mut inside) = opened
            .and_then(|theirs| Ok((tables_of(&theirs)?, theirs)))
            .map(|(tables, theirs)| (theirs, tables))
            .map_err(failed)?;
        let mut outside =
            Route::open().map_err(ContainerError::system("open", "the table of interfaces"))?;
        for (name, own) in &self.0 {
            let moved = hand_over(&mut outside, name, &theirs, &mut inside, own);
            moved.map_err(ContainerError::system(
                "move to the container",
                format!("the network interface {name}"),
            ))?;
        }
        Ok(())
    }
}

/// The tables of another namespace, which are opened in it.
fn tables_of(theirs: &File) -> io::Result<Route> {
    let kind = super::namespaces::kind::NETWORK;
    let own = File::open("/proc/self/ns/net")?;
    namespace::enter(theirs.as_fd(), kind)?;
    let tables = Route::open();
    namespace::enter(own.as_fd(), kind)?;
    tables
}

fn hand_over(
    outside: &mut Route,
    name: &str,
    theirs: &File,
    inside: &mut Route,
    own: &str,
) -> io::Result<()> {
    let index = outside.index(name)?;
    let addresses = outside.addresses(index)?;
    outside.hand_over(index, theirs.as_fd(), own)?;
    // It may have got another number.
    let index = inside.index(own)?;
    for address in &addresses {
        inside.add_address(index, address)?;
    }
    inside.bring_up(index)
}

/// As `dev_valid_name` of the kernel has it.
fn check_name(name: &str) -> Result<(), ContainerError> {
    let is_odd = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(is_odd) {
        let cause = format!("{name:?} is no name of an interface: up to 15 bytes, without / and :");
        return Err(ContainerError::invalid(FIELD, cause));
    }
    Ok(())
}
