//! Counts what a run could leave on the host. A count taken before is subtracted, so that
//! what the host had anyway does not matter.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::eventually;

/// Everything of the host that a run could leave behind, each as a line that can be read.
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Looks at the host as it is now.
    pub fn now() -> Leftovers {
        let mut found = BTreeSet::new();
        processes(&mut found);
        mounts(&mut found);
        cgroups(Path::new("/sys/fs/cgroup"), 0, &mut found);
        sockets(&mut found);
        files(&mut found);
        shared_memory(&mut found);
        Leftovers(found)
    }

    /// What is there now and was not there before.
    pub fn new_since(&self) -> Vec<String> {
        Leftovers::now().0.difference(&self.0).cloned().collect()
    }

    /// Waits until nothing new is left, since the kernel takes namespaces down later.
    #[track_caller]
    pub fn none_new(&self, deadline: Duration) {
        eventually(deadline, || match self.new_since() {
            new if new.is_empty() => Ok(()),
            new => Err(format!(
                "{} things stay behind:\n{}",
                new.len(),
                new.join("\n")
            )),
        });
    }
}

/// Processes of Buntime, and processes in namespaces that are not this test's.
fn processes(found: &mut BTreeSet<String>) {
    const KINDS: [&str; 7] = ["pid", "mnt", "net", "user", "ipc", "uts", "cgroup"];
    let own: Vec<_> = KINDS
        .iter()
        .map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")))
        .collect();
    for pid in numbers(Path::new("/proc")) {
        let folder = format!("/proc/{pid}");
        // A process may end at any line of this.
        let Ok(stat) = fs::read_to_string(format!("{folder}/stat")) else {
            continue;
        };
        let state = stat.rsplit(')').next().unwrap_or("").trim();
        let (started, zombie) = (
            state.split(' ').nth(19).unwrap_or("").to_owned(),
            state.starts_with('Z'),
        );
        let exe = fs::read_link(format!("{folder}/exe")).unwrap_or_default();
        let name = exe
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let comm = stat.split(['(', ')']).nth(1).unwrap_or("").to_owned();
        if name.starts_with("buntime") || (zombie && comm.starts_with("buntime")) {
            // A zombie runs no more; it waits for whoever has adopted it.
            let what = if zombie { "zombie" } else { "process" };
            found.insert(format!("{what} {pid} started {started}: {}", exe.display()));
        }
        for (kind, own) in KINDS.iter().zip(&own) {
            let Ok(its) = fs::read_link(format!("{folder}/ns/{kind}")) else {
                continue;
            };
            if own.as_ref().is_ok_and(|own| *own != its) {
                found.insert(format!(
                    "namespace {} of process {pid} ({comm})",
                    its.display()
                ));
            }
        }
    }
}

fn numbers(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn mounts(found: &mut BTreeSet<String>) {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo can be read");
    found.extend(text.lines().map(|line| format!("mount {line}")));
}

/// Groups that carry Buntime's name, at any depth that a session or a container lies at.
fn cgroups(folder: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains("buntime") {
            found.insert(format!("cgroup {}", entry.path().display()));
        }
        if depth < 8 {
            cgroups(&entry.path(), depth + 1, found);
        }
    }
}

fn sockets(found: &mut BTreeSet<String>) {
    let text = fs::read_to_string("/proc/net/unix").expect("the list of sockets can be read");
    let named = text.lines().filter(|line| line.contains("buntime"));
    found.extend(named.map(|line| format!("socket {line}")));
}

fn files(found: &mut BTreeSet<String>) {
    let mut places = vec![
        "/tmp".to_owned(),
        "/var/tmp".to_owned(),
        "/run".to_owned(),
        "/dev/shm".to_owned(),
    ];
    places.extend(
        numbers(Path::new("/run/user"))
            .iter()
            .map(|uid| format!("/run/user/{uid}")),
    );
    for place in places {
        let Ok(entries) = fs::read_dir(&place) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Everything in shared memory counts; elsewhere the name tells.
            if place == "/dev/shm" || name.contains("buntime") {
                let inode = entry.metadata().map(|data| data.ino()).unwrap_or(0);
                found.insert(format!("file {place}/{name} (inode {inode})"));
            }
        }
    }
}

fn shared_memory(found: &mut BTreeSet<String>) {
    for kind in ["shm", "sem", "msg"] {
        let text = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        found.extend(
            text.lines()
                .skip(1)
                .map(|line| format!("System V {kind} {line}")),
        );
    }
}
