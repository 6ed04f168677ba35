"""Line 10. Reaches control groups, a release agent, and the other programs that the kernel starts outside."""

KINDS = ("cgroup", "cgroup2")


def mounted():
    """The hierarchies that can be seen, as (path, type)."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, after = line.split(" - ")
            kind = after.split()[0]
            if kind in KINDS:
                found.append((before.split()[4], kind))
    return found


def hierarchies():
    """The controllers of each hierarchy of version 1."""
    with open("/proc/self/cgroup") as file:
        return [line.split(":")[1] for line in file if line.split(":")[1]]


def opened(paths):
    """Opens the first that can be written to, and writes nothing."""
    last = FileNotFoundError(errno.ENOENT, "there is none")
    for path in paths:
        try:
            os.close(syscall("openat", AT_FDCWD, path.encode(), os.O_WRONLY, 0))
            return
        except OSError as error:
            last = error
    raise last


def at(place, file):
    """Mounts nothing that is not there already: every hierarchy is one of the kernel's own."""
    try:
        opened([f"{place}/{file}"])
    finally:
        LIBC.umount2(place.encode(), 2)
        os.rmdir(place)


def place():
    path = mine("groups")
    os.mkdir(path)
    return path


@attempt
def raw_release_agent_of_a_mount():
    names = hierarchies()
    if not names:
        raise NotReached("no hierarchy of version 1")
    path = place()
    try:
        syscall("mount", b"x", path.encode(), b"cgroup", 0, names[0].encode())
    except OSError:
        os.rmdir(path)
        raise
    at(path, "release_agent")


@attempt
def raw_groups_of_a_mount():
    path = place()
    try:
        syscall("mount", b"x", path.encode(), b"cgroup2", 0, None)
    except OSError:
        os.rmdir(path)
        raise
    at(path, "cgroup.procs")


@attempt
def raw_groups_that_are_seen():
    """In a namespace of control groups, if one can be had, in which whoever has made it may mount them."""
    LIBC.unshare(0x2000000)
    path = place()
    try:
        syscall("mount", b"x", path.encode(), b"cgroup2", 0, None)
        os.stat(f"{path}/cgroup.procs")
    finally:
        LIBC.umount2(path.encode(), 2)
        os.rmdir(path)


@attempt
def raw_groups_by_fsopen():
    context = syscall("fsopen", b"cgroup2", 0)
    syscall("fsconfig", context, 6, None, None, 0)
    tree = syscall("fsmount", context, 0, 0)
    os.close(os.open("cgroup.procs", os.O_WRONLY, dir_fd=tree))


@attempt
def raw_release_agent():
    opened(f"{path}/release_agent" for path, kind in mounted() if kind == "cgroup")


@attempt
def raw_groups_of_others():
    opened(f"{path}/cgroup.procs" for path, _ in mounted())


@attempt
def raw_groups_at_the_usual_place():
    top = "/sys/fs/cgroup"
    opened([f"{top}/cgroup.procs"] + [f"{top}/{name}/cgroup.procs" for name in os.listdir(top)])


@attempt
def raw_own_limits():
    paths = []
    with open("/proc/self/cgroup") as file:
        own = [line.rstrip("\n").split(":")[2] for line in file]
    for path, _ in mounted():
        for group in own:
            paths += [f"{path}{group}/{name}" for name in ("memory.max", "memory.limit_in_bytes", "pids.max",
                                                            "cgroup.procs", "tasks")]
    opened(paths)


@attempt
def raw_program_of_crashes():
    opened(["/proc/sys/kernel/core_pattern"])


@attempt
def raw_program_that_loads_modules():
    opened(["/proc/sys/kernel/modprobe"])


@attempt
def raw_program_of_devices():
    opened(["/sys/kernel/uevent_helper", "/proc/sys/kernel/hotplug"])


@attempt
def raw_keys_of_the_console():
    opened(["/proc/sysrq-trigger"])
