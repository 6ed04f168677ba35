"""A corner of the machine that ends with the program that made it.

Everything runs in a network, mount and process namespace of its own: a daemon can neither touch
the host's interfaces nor leave a mount, a file below /run or a process behind, whatever kills it.
Only control groups outlive that. They all lie below one group, which is swept at the end.
"""

import ctypes
import glob
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

import layouts

# Names the group of a program that runs inside.
INSIDE = "BUNTIME_INTEGRATION_GROUP"
# Names the file with other groups to sweep.
OTHERS = "BUNTIME_INTEGRATION_OTHER_GROUPS"
# What the daemons and their network plugins use without being asked where.
HIDDEN = ["/run", "/dev/shm", "/var/lib/cni", "/var/lib/containers", "/etc/cni"]
STATE = "/run/integration"
CLONE_NEWCGROUP = 0x02000000


def group(caller=""):
    """Path of the parent of all control groups, or of all of one caller's, as a runtime is told it:
    from the hierarchy's root."""
    return os.environ[INSIDE] + (f"/{caller}" if caller else "")


def hierarchies():
    """Where the control groups are mounted: one folder on v2, one per controller on v1."""
    with open("/proc/self/mounts") as file:
        mounts = [line.split() for line in file]
    return [mount[1] for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def groups(below):
    """All control groups below the one named, without itself, the innermost first."""
    found = []
    for hierarchy in hierarchies():
        for folder, names, _ in os.walk(hierarchy + below, topdown=False):
            found += [os.path.join(folder, name) for name in names]
    return found


def left_behind(caller, files, seconds=20):
    """What does not go of a caller's containers: what `files` lists, and groups. Daemons and the
    kernel let go of them by and by.

    Podman's monitors have a group of their own, which stays.
    """
    def left():
        return files() + [path for path in groups(group(caller)) if not path.endswith("/conmon")]

    deadline = time.monotonic() + seconds
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    return left()


def sweep(name):
    """Ends what is left in the group and below it, and removes it."""
    tops = [hierarchy + name for hierarchy in hierarchies()]
    deadline = time.monotonic() + 20
    while any(map(os.path.isdir, tops)):
        # All hierarchies in one round: what is frozen in one does not leave the others.
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                empty(folder)
        if time.monotonic() > deadline:
            print(f"the control groups {name} could not be removed", file=sys.stderr)
            return
        time.sleep(0.02)


def thaw(folder):
    for frozen, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if os.path.exists(os.path.join(folder, frozen)):
            with open(os.path.join(folder, frozen), "w") as file:
                file.write(thawed)


def sweep_too(name):
    """Has a group swept at the end that a caller makes without being asked, if nobody made it before."""
    if not any(os.path.isdir(hierarchy + name) for hierarchy in hierarchies()):
        with open(os.environ[OTHERS], "a") as file:
            file.write(name + "\n")


def empty(folder):
    """Takes one step towards removing a group: what is frozen cannot die, what runs is ended."""
    try:
        thaw(folder)
        with open(os.path.join(folder, "cgroup.procs")) as file:
            for process in file.read().split():
                os.kill(int(process), signal.SIGKILL)
        os.rmdir(folder)
    except OSError:
        # A process that is still dying, or a group that went by itself: the next round sees.
        return


def outside(arguments, output=None, seconds=None):
    """Runs this program with other arguments inside, ends all of it, and answers its status.

    Its output goes to a file, if one is given. A run that takes longer is ended: the status is 124.
    """
    name = f"/integration-{os.getpid()}"
    command = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork",
               "--kill-child=SIGKILL", "--mount-proc", sys.executable, sys.argv[0], *arguments]
    with tempfile.NamedTemporaryFile("r") as others:
        child = subprocess.Popen(command, env={**os.environ, INSIDE: name, OTHERS: others.name},
                                 stdout=output, stderr=output)

        def end(number, _):
            child.kill()
            raise SystemExit(128 + number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            child.kill()
            child.wait()
            for group_of_caller in [name, *others.read().split()]:
                sweep(group_of_caller)


def reap(rooted):
    """Makes this process the first of its namespace, which reaps, and goes on in a child.

    A daemon looks whether a process is alive with kill(2), to which an unreaped one answers.
    """
    worker = os.fork()
    if worker == 0:
        return
    while True:
        process, status = os.wait()
        if process == worker:
            # The namespace does not end before its last process, and a frozen one does not.
            for hierarchy in hierarchies():
                for folder, _, _ in os.walk(hierarchy if rooted else hierarchy + group()):
                    try:
                        thaw(folder)
                    except OSError as error:
                        print(f"{folder}: {error}", file=sys.stderr)
            sys.stdout.flush()
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def furnish(layout, hidden, rooted):
    """Hides the host's state and brings the loopback interface up."""
    if layout:
        subprocess.run(["sh", "-c", "set -e; " + layouts.LAYOUTS[layout], "sh", "true"], check=True)
    if not os.path.exists(layouts.CONTROL_GROUPS + "/cgroup.procs"):
        show_hierarchies_alone()
        if rooted:
            root_groups()
    for folder in [*HIDDEN, *hidden]:
        os.makedirs(folder, exist_ok=True)
        mode = "mode=1777" if folder in ("/dev/shm", "/tmp") else "mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", mode, "integration", folder], check=True)
    if rooted:
        own_null()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for folder in (STATE, "/run/lock", "/run/netns"):
        os.makedirs(folder)
    tempfile.tempdir = STATE
    # A monitor of Podman leaves files where it was started.
    os.chdir(STATE)


def own_null():
    """Puts a node of the enclosure's own over /dev/null: some runtimes give it to a container's user,
    and some tests look whether it was given away."""
    node = "/run/null"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(node, 0o666)
    subprocess.run(["mount", "--bind", node, "/dev/null"], check=True)


def real_time(place, folder):
    """Gives a group the time for real-time processes that a root group has. A group starts with none,
    and all groups of one parent share its time: another enclosure may have it at the moment."""
    name = "cpu.rt_runtime_us"
    if os.path.exists(f"{place}/{name}"):
        try:
            shutil.copyfile(f"{place}/{name}", f"{folder}/{name}")
        except OSError as error:
            print(f"no time for real-time processes: {error}", file=sys.stderr)


def show_hierarchies_alone():
    """Leaves outside whatever lies beside the hierarchies: Podman takes each folder for one of them."""
    top, held = layouts.CONTROL_GROUPS, "/mnt"
    entries = list(os.scandir(top))
    if all(entry.is_symlink() or os.path.ismount(entry.path) for entry in entries):
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", held], check=True)
    for entry in entries:
        place = os.path.join(held, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif os.path.ismount(entry.path):
            os.mkdir(place)
            subprocess.run(["mount", "--rbind", entry.path, place], check=True)
    subprocess.run(["umount", "--recursive", top], check=True)
    subprocess.run(["mount", "--move", held, top], check=True)


def root_groups():
    """Makes the enclosure's group of each hierarchy the root of what is seen of it inside.

    So whatever groups are made inside, by whatever name, they are swept at the end.
    """
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    mounts = [(line[4], line[line.index("-") + 1], line[-1]) for line in lines
              if line[line.index("-") + 1] in ("cgroup", "cgroup2")]
    for place, _, _ in mounts:
        folder = place + group()
        os.makedirs(folder, exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{place}/{name}"):
                shutil.copyfile(f"{place}/{name}", f"{folder}/{name}")
        real_time(place, folder)
        with open(folder + "/cgroup.procs", "w") as file:
            file.write("0")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWCGROUP) != 0:
        raise OSError(ctypes.get_errno(), "no namespace of control groups could be made")
    for place, kind, options in mounts:
        controllers = ",".join(option for option in options.split(",") if option not in ("rw", "ro"))
        subprocess.run(["umount", place], check=True)
        named = ["-o", controllers] if kind == "cgroup" else []
        subprocess.run(["mount", "-t", kind, *named, kind, place], check=True)


def enclose(arguments=None, layout=None, hidden=(), rooted=False):
    """Returns inside of the enclosure only; outside, the program ends with the status of the inside.

    `layout` is a control group layout to be seen there, `hidden` are more folders to be empty, and
    `rooted` makes the enclosure's own groups the root of all groups.
    """
    if INSIDE not in os.environ:
        if os.geteuid() != 0:
            raise SystemExit(f"{sys.argv[0]}: only root can start these daemons")
        sys.exit(outside(sys.argv[1:] if arguments is None else arguments))
    if os.getpid() == 1:
        reap(rooted)
    furnish(layout, hidden, rooted)


class Daemon:
    """One daemon, its output in a file, and an end by its process number."""

    def __init__(self, name, command, ready, environment=None):
        self.name = name
        self.log = os.path.join(STATE, name + ".log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(environment or {})})
        self.wait(ready)

    def wait(self, ready):
        deadline = time.monotonic() + 60
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not start:\n{self.tail()}")
            time.sleep(0.1)

    def tail(self):
        with open(self.log, errors="replace") as file:
            return "".join(file.readlines()[-20:])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def processes_of(program):
    """The processes in this namespace whose executable has that path."""
    found = []
    for link in glob.glob("/proc/[0-9]*/exe"):
        try:
            if os.readlink(link) == program:
                found.append(int(link.split("/")[2]))
        except OSError:
            continue
    return found


def processes_of_command(words):
    """The processes in this namespace whose command line starts with these words, NUL between them."""
    found = []
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(name) as file:
                if file.read().startswith(words):
                    found.append(int(name.split("/")[2]))
        except OSError:
            continue
    return found
