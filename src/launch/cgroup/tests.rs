//! Layouts are parsed from text; limits are hit for real, in groups of this machine's kernel.

use std::os::fd::AsFd;
use std::time::Instant;

use super::*;
use crate::sys::forked::{self, Child, Ended};

/// Whether this is root. Where tests must not be passed over, anything else is a failure.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "{test} needs root"
    );
    if !root {
        writeln!(io::stderr(), "{test}: not tested, because it needs root").unwrap();
    }
    root
}

fn create(limits: Limits) -> Cgroup {
    Cgroup::create(&own(), &limits)
        .unwrap()
        .expect("root can make control groups here")
}

/// The directories of a group, which must all be gone afterwards.
fn directories(group: &Cgroup) -> Vec<PathBuf> {
    match &group.tree {
        Tree::V1(groups) => groups.paths(),
        Tree::V2(group) => vec![group.path().to_owned()],
    }
}

fn remove(group: &Cgroup) {
    let directories = directories(group);
    assert!(directories.iter().all(|path| path.exists()));
    group.remove().unwrap();
    assert!(directories.iter().all(|path| !path.exists()));
}

/// Starts `body` in a child inside the group, as the launch does on either version.
fn start_inside(group: &Cgroup, body: impl FnOnce() -> i32) -> Child {
    Child::start(|| match group.dir_fd() {
        None => {
            group.enter().unwrap();
            body()
        }
        Some(dir) => match crate::sys::clone::clone(0, Some(dir)).unwrap() {
            crate::sys::clone::Cloned::Child => crate::sys::clone::exit_now(body()),
            crate::sys::clone::Cloned::Parent { pid, .. } => match Child(pid).wait() {
                Ended::Exited(status) => status,
                Ended::Killed(signal) => 128 + signal,
            },
        },
    })
}

/// Waits until a group's directory lists so many processes.
fn await_members(path: &Path, count: usize) {
    let begun = Instant::now();
    loop {
        let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap();
        if listed.lines().count() == count {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{count} processes are expected, these are there: {listed:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run_inside(group: &Cgroup, body: impl FnOnce() -> i32) -> i32 {
    match start_inside(group, body).wait() {
        Ended::Exited(status) => status,
        Ended::Killed(signal) => 128 + signal,
    }
}

/// Touches `mib` MiB page by page.
fn take(mib: usize) -> i32 {
    let mut hoard = Vec::new();
    for _ in 0..mib {
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
    0
}

fn own() -> Hierarchies {
    Hierarchies::of_this_process().unwrap()
}

#[test]
fn a_memory_hog_is_killed_and_the_limit_is_named() {
    if !is_root("a_memory_hog_is_killed_and_the_limit_is_named") {
        return;
    }
    let group = create(Limits {
        memory: Some(32 << 20),
        ..Limits::default()
    });
    let held = group.held();
    assert_eq!((held.memory, held.pids, held.cpus), (true, false, false));
    assert_eq!(run_inside(&group, || take(8)), 0);
    assert!(group.exceeded().is_empty());
    assert_eq!(run_inside(&group, || take(256)), 128 + libc::SIGKILL);
    assert_eq!(group.exceeded(), ["memory"]);
    let peak = group.usage().memory_peak.unwrap();
    assert!((8 << 20..=32 << 20).contains(&peak), "{peak}");
    remove(&group);
    assert_eq!(Child::start(|| take(256)).wait(), Ended::Exited(0));
}

#[test]
fn forks_end_at_the_limit_and_it_is_named() {
    if !is_root("forks_end_at_the_limit_and_it_is_named") {
        return;
    }
    let group = create(Limits {
        pids: Some(7),
        ..Limits::default()
    });
    let forked = run_inside(&group, || {
        let mut children = 0;
        for _ in 0..64 {
            match crate::sys::clone::fork() {
                Ok(0) => {
                    std::thread::sleep(Duration::from_secs(30));
                    crate::sys::clone::exit_now(0);
                }
                Ok(_) => children += 1,
                Err(_) => break,
            }
        }
        children
    });
    // The limit, one more for init, less the one that forked.
    assert_eq!(forked, 7);
    assert_eq!(group.exceeded(), ["pids"]);
    assert!(matches!(rmdir_now(&group), Err(libc::EBUSY)));
    group.kill().unwrap();
    remove(&group);
}

fn rmdir_now(group: &Cgroup) -> Result<(), i32> {
    fs::remove_dir(&directories(group)[0]).map_err(|error| error.raw_os_error().unwrap())
}

#[test]
fn processor_time_is_counted_out() {
    if !is_root("processor_time_is_counted_out") {
        return;
    }
    let group = create(Limits {
        cpus: Some(0.2),
        ..Limits::default()
    });
    assert!(group.held().cpus);
    // In hundredths of a second.
    let spun = || {
        run_inside(&group, || {
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                std::hint::black_box(0);
            }
            let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            i32::try_from(used.tv_nsec / 10_000_000 + used.tv_sec * 100).unwrap()
        })
    };
    // A fifth of a second, and a period more for the edges. What an emulated or a starved processor
    // does between two ticks of its clock is taken back only later, so one of several tries must do.
    let mut tries = Vec::new();
    while tries.last().is_none_or(|spun| *spun > 35) {
        assert!(tries.len() < 8, "{tries:?} hundredths of a second");
        tries.push(spun());
    }
    remove(&group);
}

#[test]
fn kill_ends_a_fork_bomb() {
    if !is_root("kill_ends_a_fork_bomb") {
        return;
    }
    let limits = Limits {
        memory: Some(64 << 20),
        pids: Some(100),
        ..Limits::default()
    };
    let group = create(limits);
    let bomb = start_inside(&group, || {
        loop {
            // Children and grandchildren alike go on forking.
            crate::sys::clone::fork().ok();
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    group.kill().unwrap();
    assert!(matches!(
        bomb.wait(),
        Ended::Killed(libc::SIGKILL) | Ended::Exited(137)
    ));
    remove(&group);
}

#[test]
fn limits_that_need_no_group_make_none() {
    let limits = Limits {
        wall: Some(Duration::from_secs(1)),
        files: Some(10),
        output: Some(10),
        ..Limits::default()
    };
    assert!(Cgroup::create(&own(), &limits).unwrap().is_none());
}

#[test]
fn where_no_group_may_be_made_there_is_none() {
    let limits = Limits {
        memory: Some(64 << 20),
        pids: Some(10),
        ..Limits::default()
    };
    let answer = forked::ask(|| {
        if rustix::process::geteuid().is_root() {
            crate::sys::process::become_ids(65_534, 65_534).unwrap();
        }
        format!(
            "{:?}",
            Cgroup::create(&own(), &limits)
                .unwrap()
                .map(|group| group.remove())
        )
    });
    // A user's session may be delegated; then the group was made and removed again.
    assert!(
        answer == "None" || !rustix::process::geteuid().is_root(),
        "{answer}"
    );
}

#[test]
fn sweeping_takes_what_the_dead_left_and_nothing_else() {
    if !is_root("sweeping_takes_what_the_dead_left_and_nothing_else") {
        return;
    }
    let limits = Limits {
        memory: Some(64 << 20),
        pids: Some(10),
        ..Limits::default()
    };
    let living = create(limits);
    let places = Hierarchies::of_this_process().unwrap().places();
    let foreign = places[0].join("not-buntime-1-2-3-4");
    let unreadable = places[0].join("buntime-something-else");
    fs::create_dir(&foreign).unwrap();
    fs::create_dir(&unreadable).unwrap();

    // The owner dies with a process of its sandbox still running.
    let left = forked::ask(|| {
        let group = create(limits);
        let sleeper = start_inside(&group, || {
            std::thread::sleep(Duration::from_secs(60));
            0
        });
        for path in directories(&group) {
            await_members(&path, 1);
        }
        let paths = directories(&group)
            .iter()
            .map(|p| p.display().to_string())
            .collect::<Vec<_>>();
        format!("{} {}", sleeper.0, paths.join(" "))
    });
    let mut left = left.split(' ');
    let sleeper: i32 = left.next().unwrap().parse().unwrap();
    let left: Vec<&Path> = left.map(Path::new).collect();
    assert!(!left.is_empty() && left.iter().all(|path| path.exists()));

    assert!(sweep(&own()).unwrap() >= left.len());
    assert!(left.iter().all(|path| !path.exists()));
    let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        rustix::process::test_kill_process(sleeper).is_err()
            || fs::read_to_string(format!("/proc/{sleeper}/stat")).is_ok_and(|s| s.contains(") Z"))
    });
    assert!(gone, "the sleeper lives");

    assert!(foreign.exists() && unreadable.exists());
    fs::remove_dir(&foreign).unwrap();
    fs::remove_dir(&unreadable).unwrap();
    remove(&living);
}

#[test]
fn a_group_of_cgroup2_is_entered_by_the_clone_and_killed_at_once() {
    if !is_root("a_group_of_cgroup2_is_entered_by_the_clone_and_killed_at_once") {
        return;
    }
    let own = Hierarchies::of_this_process().unwrap();
    let unified = own.unified.expect("a cgroup2 mount, alone or beside v1");
    let name = name::fresh().unwrap();
    let group = v2::Group::create_in(&unified, &name, &Limits::default(), Held::default());
    let group = Cgroup {
        tree: Tree::V2(group.unwrap().unwrap()),
    };
    let sleeper = start_inside(&group, || {
        std::thread::sleep(Duration::from_secs(60));
        0
    });
    await_members(&unified.join(&name), 1);
    assert!(
        group
            .dir_fd()
            .is_some_and(|dir| rustix::fs::fstat(dir.as_fd()).is_ok())
    );
    group.kill().unwrap();
    assert_eq!(sleeper.wait(), Ended::Exited(128 + libc::SIGKILL));
    remove(&group);
}

/// `swapaccount=0` on the kernel's command line takes a group's files for swap away.
#[test]
fn swap_that_is_not_counted_is_told() {
    let scratch = std::env::temp_dir().join(format!("swaps-{}", std::process::id()));
    fs::create_dir(&scratch).unwrap();
    let list = |name: &str, text: &str| {
        let path = scratch.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let titles = "Filename\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    let none = list("none", titles);
    let some = list("some", &format!("{titles}/dev/sda2  partition 1 0 -2\n"));
    assert!(swaps_freely(&scratch, "limit", &some));
    assert!(!swaps_freely(&scratch, "limit", &none));
    // No list is a kernel without swap; one that cannot be read is no word about it.
    assert!(!swaps_freely(&scratch, "limit", &format!("{none}-at-all")));
    assert!(swaps_freely(&scratch, "limit", scratch.to_str().unwrap()));
    list("limit", "");
    assert!(!swaps_freely(&scratch, "limit", &some));
    fs::remove_dir_all(&scratch).unwrap();
}

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn parse(membership: &str, mounts: &str) -> Hierarchies {
    Hierarchies::parse(membership, mounts)
}

#[test]
fn hybrid_hosts_are_read() {
    let own = parse("5:memory:/a/b\n4:pids:/\n3:cpu,cpuacct:/c\n0::/d\n", HYBRID);
    assert_eq!(own.memory, Some("/sys/fs/cgroup/memory/a/b".into()));
    assert_eq!(own.pids, Some("/sys/fs/cgroup/pids".into()));
    assert_eq!(own.cpu, Some("/sys/fs/cgroup/cpu,cpuacct/c".into()));
    assert_eq!(own.unified, Some("/sys/fs/cgroup/unified/d".into()));
    assert_eq!(own.describe(), "hybrid");
}

#[test]
fn pure_v2_hosts_and_containers_are_read() {
    let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    let own = parse("0::/user.slice/user-1000.slice/session-1.scope\n", v2);
    let scope = "/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope";
    assert_eq!(own.unified, Some(scope.into()));
    let slice = "/sys/fs/cgroup/user.slice/user-1000.slice";
    assert_eq!(own.places(), [PathBuf::from(slice), scope.into()]);
    assert_eq!(own.describe(), "v2");
    // In the root group there is nothing of the kernel's above.
    assert_eq!(parse("0::/\n", v2).places(), [Path::new("/sys/fs/cgroup")]);

    // A container without a cgroup namespace: the mount shows the container's group as its root.
    let inside = "50 40 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let own = parse("5:memory:/docker/abc/x\n", inside);
    assert_eq!(own.memory, Some("/sys/fs/cgroup/memory/x".into()));
    // A mount that shows another part of the tree is of no use.
    assert_eq!(parse("5:memory:/docker/def\n", inside).memory, None);
    // Outside of the cgroup namespace.
    let escaped = "50 40 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    assert_eq!(parse("5:memory:/../other\n", escaped).memory, None);
}

#[test]
fn odd_lines_are_passed_over() {
    let blank = "35 31 0:32 / /mnt/with\\040blank rw - cgroup cgroup rw,memory\n";
    assert_eq!(
        parse("5:memory:/\n", blank).memory,
        Some("/mnt/with blank".into())
    );
    for (membership, mounts) in [
        ("", ""),
        ("x", "y - cgroup"),
        ("::", " - cgroup2 "),
        ("0::", ""),
    ] {
        assert_eq!(parse(membership, mounts), Hierarchies::default());
    }
    assert_eq!(parse("", "").describe(), "none");
}

#[test]
fn names_tell_whose_a_group_is() {
    let fresh = name::fresh().unwrap();
    assert_ne!(fresh, name::fresh().unwrap());
    let stale = |name: &str| name::is_stale(name.as_ref());
    assert!(!stale(&fresh));
    let fields: Vec<&str> = fresh.split('-').collect();
    let with =
        |namespace: &str, pid: &str, start: &str| format!("buntime-{namespace}-{pid}-{start}-0");
    // The same pid with another start time is another process; a pid that is not there is none.
    assert!(stale(&with(fields[1], fields[2], "1")));
    assert!(stale(&with(fields[1], "2147483647", fields[3])));
    assert!(
        !stale(&with("1", fields[2], "1")),
        "of another pid namespace"
    );
    for odd in [
        "buntime-",
        "buntime-1-2-3",
        "buntime-a-b-c-d",
        "buntime-1-0-1-1",
        "x",
        "",
    ] {
        assert!(!stale(odd), "{odd}");
    }
}

#[test]
fn quotas_are_what_the_kernel_takes() {
    assert_eq!(cpu_quota_us(1.5), 150_000);
    assert_eq!(cpu_quota_us(0.0), 1_000);
    assert_eq!(cpu_quota_us(f64::NAN), 1_000);
    assert_eq!(cpu_quota_us(-4.0), 1_000);
    assert_eq!(cpu_quota_us(f64::INFINITY), u64::MAX);
}
