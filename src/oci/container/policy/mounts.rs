//! What config.json mounts, as a policy sees it: the container's own, or the host's.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::makes;
use crate::launch::container::Given;

/// Files that engines make for one container and bind into it, as much a part of it as its image.
const MADE_FOR_IT: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// File systems whose files the kernel makes.
const OF_THE_KERNEL: [&str; 5] = ["proc", "sysfs", "cgroup", "cgroup2", "devpts"];

/// What is mounted where, as far as it makes a difference.
pub(super) fn given(spec: &Spec) -> Vec<Given> {
    spec.mounts().iter().flatten().filter_map(of).collect()
}

fn of(mount: &Mount) -> Option<Given> {
    let target: PathBuf = Path::new("/").join(mount.destination());
    let kind = mount.typ().as_deref().unwrap_or_default();
    let is_bind = kind == "bind" || has(mount, &["bind", "rbind"]);
    let below = |place: &str| target.starts_with(place);
    if target == Path::new("/dev/shm") || kind == "mqueue" {
        return Some(Given::Private(target));
    }
    if is_bind {
        let made = MADE_FOR_IT.iter().any(|known| target == Path::new(known));
        let of_the_kernel = below("/proc") || below("/sys");
        return (!made && !of_the_kernel).then_some(Given::Volume(target));
    }
    if target == Path::new("/dev") || OF_THE_KERNEL.contains(&kind) {
        return None;
    }
    match kind {
        "tmpfs" | "ramfs" => Some(Given::Private(target)),
        _ => Some(Given::Volume(target)),
    }
}

fn has(mount: &Mount, names: &[&str]) -> bool {
    let mut options = mount.options().iter().flatten();
    options.any(|option| names.contains(&option.as_str()))
}

/// Refuses what would carry a mask to the host, or has no place for one.
pub(super) fn check(spec: &Spec) -> Result<(), String> {
    if !makes(spec, LinuxNamespaceType::Mount) {
        return Err(
            "a policy needs a mount namespace of the container's own: add one of type mount to \
             linux.namespaces"
                .to_owned(),
        );
    }
    const SHARED: [&str; 2] = ["shared", "rshared"];
    let shared = spec
        .mounts()
        .iter()
        .flatten()
        .find(|mount| has(mount, &SHARED));
    if let Some(mount) = shared {
        return Err(format!(
            "the mount on {} is shared with the host, where what the policy hides would be hidden \
             too: use private or slave",
            mount.destination().display()
        ));
    }
    let linux = spec.linux().as_ref();
    let root = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
    if root.is_some_and(|root| SHARED.contains(&root)) {
        return Err("linux.rootfsPropagation is shared: use private or slave".to_owned());
    }
    Ok(())
}
