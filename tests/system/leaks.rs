//! The counts of what stays behind, put to the test: each kind of thing is left by hand and must
//! be noticed. And runs in a room of their own, where everything that is new is theirs.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::leftovers::Leftovers;
use crate::support::{Child, PATIENCE, Scratch, alone, buntime, eventually, is_root};

#[test]
fn each_kind_is_noticed() {
    let _alone = alone();
    if !is_root("each_kind_is_noticed") {
        return;
    }
    let scratch = Scratch::new();
    let before = Leftovers::now();
    let groups = seen_of_a_run(&before);
    for group in groups {
        let left = group.with_file_name("buntime-left");
        fs::create_dir(&left).expect("a control group can be made");
        noticed(&before, "cgroup", &left.display().to_string());
        fs::remove_dir(&left).expect("an empty control group can be removed");
    }
    for place in ["/tmp", "/var/tmp", "/run", "/dev/shm"] {
        let left = format!("{place}/buntime-left");
        fs::write(&left, "").expect("a file can be left");
        noticed(&before, "file", &left);
        fs::remove_file(&left).expect("the file can be removed");
    }
    let socket = scratch.entry("buntime.sock");
    let listener = UnixListener::bind(&socket).expect("a socket can be bound");
    noticed(&before, "socket", &socket);
    drop(listener);

    let place = scratch.file("place", b"");
    tool("mount", &["--bind", &place, &place]);
    noticed(&before, "mount", &place);
    tool("umount", &[&place]);
    // A namespace that outlives its processes is held by a mount.
    tool("unshare", &[&format!("--net={place}"), "true"]);
    noticed(&before, "mount", "net:[");
    tool("umount", &[&place]);

    let mut sleeper = Child::new("unshare")
        .args(["--ipc", "sleep", "300"])
        .start();
    noticed(&before, "namespace", "ipc:[");
    sleeper.kill();
    let named = scratch.entry("buntime-left");
    fs::copy("/usr/bin/sleep", &named).expect("a program can be copied");
    let mut sleeper = Child::new(&named).arg("300").start();
    noticed(&before, "process", &named);
    sleeper.kill();

    let told = Child::new("ipcmk").args(["-M", "4096"]).run().expect(0);
    let told = told.stdout();
    let id = told.trim().rsplit(' ').next().unwrap_or("").to_owned();
    noticed(&before, "System V shm", &id);
    tool("ipcrm", &["-m", &id]);
    before.none_new(PATIENCE);
}

/// Looks at a run while it lives, which is what a run would leave that did not end. Returns its
/// control groups.
fn seen_of_a_run(before: &Leftovers) -> Vec<PathBuf> {
    let mut running = buntime(["run", "-c", "import time; time.sleep(300)"]).start();
    let seen = eventually(PATIENCE, || {
        let seen = before.new_since();
        let missing: Vec<_> = ["process ", "namespace pid", "namespace net", "cgroup "]
            .into_iter()
            .filter(|kind| !seen.iter().any(|line| line.starts_with(kind)))
            .collect();
        if missing.is_empty() {
            Ok(seen)
        } else {
            Err(format!("no {missing:?} among {seen:?}"))
        }
    });
    running.signal(rustix::process::Signal::TERM);
    running.wait(PATIENCE).expect("a run ends when it is told");
    before.none_new(PATIENCE);
    seen.iter()
        .filter_map(|line| line.strip_prefix("cgroup "))
        .map(PathBuf::from)
        .collect()
}

#[track_caller]
fn noticed(before: &Leftovers, kind: &str, what: &str) {
    eventually(PATIENCE, || {
        let new = before.new_since();
        let is_it = |line: &String| line.starts_with(kind) && line.contains(what);
        if new.iter().any(is_it) {
            Ok(())
        } else {
            Err(format!("{kind} {what} is not noticed: {new:?}"))
        }
    });
}

#[track_caller]
fn tool(name: &str, args: &[&str]) {
    Child::new(name).args(args).run().expect(0);
}

/// Runs `$1` in namespaces where what it makes can be told from what there was, does `$2`, and
/// prints what is left: below the places where files are left, among the mounts, the named
/// sockets and System V's segments.
const ROOM: &str = r#"
set -eu
mount -t tmpfs none /mnt
for place in tmp var/tmp run dev/shm; do
  mkdir -p "/mnt/$place/new" "/mnt/$place/work"
  mount -t overlay -o "lowerdir=/$place,upperdir=/mnt/$place/new,workdir=/mnt/$place/work" none "/$place"
done
cut -d' ' -f3- /proc/self/mountinfo >/mnt/mounts
for i in 1 2 3 4 5; do
  "$1" run -c 'open("/tmp/x", "w").write("1")'
done
for delay in 0.005 0.01 0.02 0.04 0.1; do
  "$1" run -c 'import time; time.sleep(300)' & victim=$!
  sleep "$delay"
  kill -9 "$victim"
  wait "$victim" 2>/dev/null || true
done
"$1" run -c pass
eval "$2"
find /mnt/*/new /mnt/*/*/new -mindepth 1
cut -d' ' -f3- /proc/self/mountinfo | diff /mnt/mounts - || true
awk 'NR > 1 && NF > 7' /proc/net/unix
tail -q -n +2 /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg
"#;

#[test]
fn nothing_of_any_name_stays() {
    let _alone = alone();
    if !is_root("nothing_of_any_name_stays") {
        return;
    }
    let scratch = Scratch::new();
    let binary = scratch.binary();
    let home = scratch.home();
    let left = |leak: &str| {
        let room = Child::new("unshare")
            .args(["--mount", "--net", "--ipc", "--propagation", "private"])
            .args(["sh", "-c", ROOM, "sh", &binary, leak])
            .env("HOME", &home)
            .current_dir(Path::new("/"))
            .clean_path();
        room.run().expect(0).stdout()
    };
    assert_eq!(left(""), "");
    for (leak, seen) in [
        ("touch /tmp/any", "/mnt/tmp/new/any"),
        ("touch /var/tmp/any", "/mnt/var/tmp/new/any"),
        ("mkdir -p /run/any", "/mnt/run/new/any"),
        ("touch /dev/shm/any", "/mnt/dev/shm/new/any"),
        ("touch \"$HOME/any\"", "/home/any"),
        ("mount -t tmpfs none /media", "/media"),
        ("ipcmk -Q >/dev/null", "0"),
    ] {
        let told = left(leak);
        assert!(told.contains(seen), "{leak} is not noticed: {told:?}");
    }
}
