"""containerd: its client ctr, which says on each run which runtime is to be used."""

import json
import os

import enclosure

from . import images, inside
from .answers import Scenarios
from .command import run, until
from .terminal import Session

PACKAGES = ["containerd"]
SCENARIOS = Scenarios()
expects = SCENARIOS.expects
NAMESPACE = "default"


class Caller:
    """The daemon, and the runtime that is asked at the moment."""

    def __init__(self, runtimes):
        self.runtimes = runtimes
        self.runtime = None
        self.folder = os.path.join(enclosure.STATE, "containerd")
        os.makedirs(self.folder)
        self.address = os.path.join(self.folder, "containerd.sock")
        self.number = 0

    def __enter__(self):
        self.daemon = enclosure.Daemon(
            "containerd", ["containerd", "--config", "/dev/null", "--root", self.folder + "/root",
                           "--state", self.folder + "/state", "--address", self.address],
            lambda: self("version").status == 0)
        self("images", "import", images.busybox(self.folder)).whole()
        return self

    def __exit__(self, *_):
        self.daemon.stop()

    def use(self, runtime):
        self.runtime = runtime

    def clear(self):
        for name in self("tasks", "ls", "--quiet").whole().split():
            self("tasks", "rm", "--force", name)
        for name in self("containers", "ls", "--quiet").whole().split():
            self("containers", "rm", name).whole()

    def command(self, *arguments):
        return ["ctr", "--address", self.address, "--namespace", NAMESPACE, *arguments]

    def __call__(self, *arguments, stdin="", timeout=60):
        return run(self.command(*arguments), stdin, timeout)

    def name(self):
        self.number += 1
        return f"c{self.number}"

    def flags(self, arguments):
        """Arguments of `ctr run` up to the image; the name of the container is the last."""
        *flags, name = arguments
        # What ctr keeps of the runtime's own state is beside that of other runtimes.
        return ["run", "--runc-binary", self.runtimes[self.runtime], "--runc-root", self.state(),
                "--cgroup", self.group(name), *flags, images.IMAGE, name]

    def group(self, name):
        return enclosure.group("containerd") + "/" + name

    def state(self):
        return os.path.join(self.folder, "runtime-" + self.runtime)

    def run(self, *arguments, stdin=""):
        """`ctr run --rm` with flags, and a script for the shell or a command as the last argument."""
        *flags, command = arguments
        command = command if isinstance(command, list) else ["sh", "-c", command]
        return self(*self.flags(["--rm", *flags, self.name()]), *command, stdin=stdin)

    def start(self, *arguments):
        *flags, command = arguments
        name = self.name()
        self(*self.flags(["--detach", *flags, name]), "sh", "-c", command).whole()
        return name

    def exec(self, container, *command):
        return self("tasks", "exec", "--exec-id", self.name(), container, *command)

    def left(self):
        """What the runtime kept of containers that are gone: files of its state."""
        return [os.path.join(folder, name) for folder, folders, names in os.walk(self.state())
                for name in folders + names if folder != self.state() or name != NAMESPACE]

    def status(self, container):
        for line in self("tasks", "ls").whole().splitlines():
            if line.split()[0] == container:
                return line.split()[2]
        return "gone"


@expects("0 hello; 42; 0 5")
def run_and_exit_code(ctr):
    said = [ctr.run(["echo", "hello"]), ctr.run("exit 42"), ctr.run("head -c 5 | wc -c", stdin="12345")]
    return "; ".join(map(str, said))


@expects("1 no such file; 1 permission denied")
def what_cannot_be_executed(ctr):
    return (f"{ctr.run(['/does/not/exist']).says('no such file')}; "
            f"{ctr.run(['/srv/plain']).says('permission denied')}")


@expects("0 yes /tmp A")
def environment_and_folder(ctr):
    return ctr.run("--env", "X=A", "--cwd", "/tmp", "echo $FROM_IMAGE $(pwd) $X")


@expects("5 /dev/pts/0\n33 97")
def terminal(ctr):
    status, text = Session(ctr.command(*ctr.flags(["--rm", "--tty", ctr.name()]), "sh", "-c",
                                       inside.TERMINAL + "exit 5")).finish()
    return f"{status} {text}"


@expects("0 from exec; 3; 0 1000; 9 /dev/pts/0\n33 97")
def exec(ctr):
    container = ctr.start("sleep 60")
    said = [ctr.exec(container, "echo", "from exec"), ctr.exec(container, "sh", "-c", "exit 3")]
    said.append(ctr("tasks", "exec", "--exec-id", ctr.name(), "--user", "1000", container, "id", "-u"))
    status, text = Session(ctr.command(
        "tasks", "exec", "--tty", "--exec-id", ctr.name(), container, "sh", "-c",
        inside.TERMINAL + "exit 9")).finish()
    return "; ".join(map(str, said)) + f"; {status} {text}"


@expects("STOPPED; gone")
def kill(ctr):
    container = ctr.start("sleep 60")
    ctr("tasks", "kill", "--signal", "SIGKILL", container).whole()
    until(lambda: ctr.status(container) == "STOPPED", "it has stopped")
    status = ctr.status(container)
    ctr("tasks", "rm", container)
    return f"{status}; {ctr.status(container)}"


@expects("STOPPED, and it listened")
def term(ctr):
    folder = os.path.join(ctr.folder, "marks")
    os.makedirs(folder, exist_ok=True)
    container = ctr.start("--mount", f"type=bind,src={folder},dst=/marks,options=rbind:rw",
                          "trap 'echo listened > /marks/end; exit 7' TERM; touch /tmp/ready; "
                          "while :; do sleep 0.1; done")
    until(lambda: ctr.exec(container, "test", "-e", "/tmp/ready").status == 0, "it is ready")
    ctr("tasks", "kill", container).whole()
    until(lambda: ctr.status(container) == "STOPPED", "it has stopped")
    with open(os.path.join(folder, "end")) as file:
        said = file.read().strip()
    os.unlink(os.path.join(folder, "end"))
    return f"{ctr.status(container)}, and it {said}"


@expects("PAUSED; 1; RUNNING; 0 still here")
def pause_and_resume(ctr):
    container = ctr.start("sleep 60")
    ctr("tasks", "pause", container).whole()
    said = [ctr.status(container), str(ctr.exec(container, "true").status)]
    ctr("tasks", "resume", container).whole()
    said += [ctr.status(container), str(ctr.exec(container, "echo", "still here"))]
    return "; ".join(said)


@expects("sleep 61, sleep 62")
def processes_are_listed(ctr):
    container = ctr.start("sleep 61 & exec sleep 62")

    def listed():
        numbers = [line.split()[0] for line in ctr("tasks", "ps", container).whole().splitlines()[1:]]
        names = []
        for number in numbers:
            try:
                with open(f"/proc/{number}/cmdline") as file:
                    names.append(file.read().strip("\0").replace("\0", " "))
            except (FileNotFoundError, ProcessLookupError):
                return ""
        return ", ".join(sorted(names)) if len(names) == 2 and all("sleep" in n for n in names) else ""
    return until(listed, "two processes are listed")


@expects("2 processes, memory is counted")
def metrics(ctr):
    container = ctr.start("sleep 61 & exec sleep 62")

    def counted():
        said = json.loads(ctr("tasks", "metrics", "--format", "json", container).whole())
        memory = "is counted" if said["memory"]["usage"]["usage"] > 0 else "is not counted"
        return said["pids"]["current"] == 2 and f"{said['pids']['current']} processes, memory {memory}"
    return until(counted, "two processes are counted")


@expects("0 33554432 50000")
def limits(ctr):
    container = ctr.start("--memory-limit", "33554432", "--cpus", "0.5", "sleep 60")
    said = []
    for controller, name, v2 in (("memory", "memory.limit_in_bytes", "memory.max"),
                                 ("cpu", "cpu.cfs_quota_us", "cpu.max")):
        paths = [f"{top}{ctr.group(container)}/{file}"
                 for top in enclosure.hierarchies() for file in (name, v2)]
        path = next((path for path in paths if os.path.exists(path)), None)
        with open(path) as file:
            said.append(file.read().split()[0])
    return "0 " + " ".join(said)


@expects("0 read-only; 0 file; 1 not permitted; 0 1; 0 0; 0 2")
def confinement(ctr):
    folder = os.path.join(ctr.folder, "bound")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "file"), "w"):
        pass
    privileges = "grep NoNewPrivs /proc/self/status | cut -f2"
    said = [ctr.run("--read-only", "touch /x 2>&1 | grep -io read-only || true"),
            ctr.run("--mount", f"type=bind,src={folder},dst=/b,options=rbind:ro", "ls /b"),
            ctr.run("--cap-drop", "CAP_CHOWN", "chown 1:1 /srv/plain").says("not permitted"),
            ctr.run(privileges), ctr.run("--allow-new-privs", privileges),
            ctr.run("--seccomp", "grep Seccomp: /proc/self/status | cut -f2")]
    said[0] = str(said[0]).lower()
    return "; ".join(map(str, said))


@expects("0 0 100000 65536 0; 0 0")
def user_namespace(ctr):
    maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    done = ctr(*ctr.flags(["--rm", *maps, ctr.name()]), "sh", "-c",
               "echo $(id -u) $(cat /proc/self/uid_map | sed 's/^ *0//') $(id -g)")
    other = ctr(*ctr.flags(["--rm", *maps, ctr.name()]), "sh", "-c", "stat -c %u /")
    return f"{' '.join(str(done).split())}; {other}"


@expects("same")
def namespace_joined(ctr):
    holder = ctr.start("sleep 60")
    tasks = ctr("tasks", "ls").whole().splitlines()
    number = next(line.split()[1] for line in tasks if line.startswith(holder + " "))
    held = ctr.exec(holder, "readlink", "/proc/self/ns/uts").whole()
    joined = ctr.run("--with-ns", f"uts:/proc/{number}/ns/uts", "readlink /proc/self/ns/uts").whole()
    return "same" if held == joined else f"{held} is not {joined}"


@expects(None)
def mounts(ctr):
    return inside.mounts(ctr.run(inside.MOUNTS).whole())


@expects(None)
def process_status(ctr):
    return ctr.run(inside.STATUS + "; " + inside.DEVICES)


@expects("nothing")
def what_is_left(ctr):
    ctr.run("true")
    container = ctr.start("sleep 60")
    ctr.exec(container, "true").whole()
    ctr.clear()
    return "\n".join(enclosure.left_behind("containerd", ctr.left)) or "nothing"
