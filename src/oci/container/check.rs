//! What a configuration asks for and this runtime or this host does not carry out, refused by name
//! before anything is made.

use oci_spec::runtime::Spec;

use super::VerbError;
use crate::launch::container::{ContainerError, Isolation, check_interfaces};

/// Refuses `spec` where it cannot be carried out.
pub(super) fn check(spec: &Spec, isolation: &Isolation) -> Result<(), VerbError> {
    version(spec.version())?;
    let missing = |field: &str, namespace: &str| {
        ContainerError::invalid(
            field,
            format!(
                "it needs a {namespace} namespace of the container's own: add one to linux.namespaces"
            ),
        )
    };
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    if named(spec.hostname()) && !isolation.has_uts_namespace() {
        return Err(missing("hostname", "uts").into());
    }
    if named(spec.domainname()) && !isolation.has_uts_namespace() {
        return Err(missing("domainname", "uts").into());
    }
    for (field, other) in [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
    ] {
        if other {
            let cause = "it is for another platform; this runtime makes Linux containers";
            return Err(ContainerError::invalid(field, cause).into());
        }
    }
    check_hooks(spec)?;
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let devices = linux.net_devices().as_ref();
    if devices.is_some_and(|devices| !devices.is_empty()) && !isolation.has_network_namespace() {
        return Err(missing("linux.netDevices", "network").into());
    }
    check_interfaces(spec)?;
    if linux.intel_rdt().is_some() {
        let cause = "resource control by Intel RDT is not carried out, whether or not the host has it \
                     (a file system resctrl); take it out";
        return Err(ContainerError::invalid("linux.intelRdt", cause).into());
    }
    Ok(())
}

/// A name without a folder would be another program for every caller.
fn check_hooks(spec: &Spec) -> Result<(), VerbError> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    for (kind, listed) in [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ] {
        let mut paths = listed.iter().flatten().map(oci_spec::runtime::Hook::path);
        if let Some(at) = paths.position(|path| !path.is_absolute()) {
            let field = format!("hooks.{kind}[{at}].path");
            return Err(ContainerError::invalid(field, "a hook's path is an absolute one").into());
        }
    }
    Ok(())
}

/// Any version of the first major one is the same contract.
fn version(version: &str) -> Result<(), VerbError> {
    let is_known = version
        .split_once('.')
        .is_some_and(|(major, _)| major == "1");
    if is_known {
        return Ok(());
    }
    let cause = format!("{version:?} is no version that is known here; it is 1.0.0 to 1.2.x");
    Err(ContainerError::invalid("ociVersion", cause).into())
}
