#!/usr/bin/python3
"""Asks Docker and Podman, as Debian starts them under systemd, what hack/integration asks daemons
of its own, and what only this machine has: the systemd driver and AppArmor.

It runs in the full guest, as root: `hack/vm full test defaults` starts it there. Each container
takes ten seconds of emulation, so that a choice of the scenarios is asked.

usage: defaults.py NAME=PATH... [--all | WORDS]    only scenarios with these words in the name
"""

import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import enclosure  # noqa: E402
from callers import answers, docker, images  # noqa: E402
from callers.command import Patience, run, until  # noqa: E402

OWN = answers.Scenarios()
expects = OWN.expects
TOP, SETTINGS = "/sys/fs/cgroup", "/etc/docker/daemon.json"
# What of Docker's scenarios is about control groups, or different on a machine with systemd.
CHOSEN = ["run", "exit code", "out of memory", "processes", "devices", "pause", "kill", "restart",
          "exec exit codes", "top", "stats", "terminal"]


class Machine(docker.Caller):
    """The machine's own Docker, with the runtimes registered."""

    def __init__(self, runtimes):
        super().__init__(runtimes)
        self.socket = "/run/docker.sock"

    def path(self, name):
        return "/run/docker" if name == "exec" else super().path(name)

    def __enter__(self):
        os.makedirs(os.path.dirname(SETTINGS), exist_ok=True)
        with open(SETTINGS, "w") as file:
            json.dump({"runtimes": {"under-test-" + name: {"path": path}
                                    for name, path in self.runtimes.items()}}, file)
        run(["systemctl", "restart", "docker"], timeout=300).whole()
        until(lambda: self("version").status == 0, "the daemon answers", 120)
        self("load", "--input", images.busybox(self.folder)).whole()
        return self

    def __exit__(self, *_):
        run(["systemctl", "stop", "docker", "docker.socket"], timeout=300)

    def __call__(self, *arguments, stdin="", timeout=300):
        return super().__call__(*arguments, stdin=stdin, timeout=timeout)


def unit(name, *properties):
    """Properties of a unit, as systemd tells them."""
    asked = [word for key in properties for word in ("--property", key)]
    return " ".join(sorted(run(["systemctl", "show", name, *asked]).whole().split()))


def group_of(docker, container):
    """The control group of a container's first process, with its id left out."""
    number = docker.inspect(container, "{{.State.Pid}}")
    with open(f"/proc/{number}/cgroup") as file:
        return re.sub(r"[0-9a-f]{64}", "ID", file.read().strip())


@expects("0::/system.slice/docker-ID.scope; CPUQuotaPerSecUSec=500ms MemoryMax=67108864 TasksMax=42; "
         "67108864 42 50000 100000; gone")
def a_scope_with_limits(docker):
    container = docker.start("--memory", "64m", "--pids-limit", "42", "--cpus", "0.5", "sleep 600")
    place = group_of(docker, container)
    said = unit(f"docker-{container}.scope", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")
    seen = docker("exec", container, "sh", "-c",
                  "cd /sys/fs/cgroup; echo $(cat memory.max pids.max cpu.max)").whole()
    docker("rm", "--force", container).whole()
    scope = f"{TOP}/system.slice/docker-{container}.scope"
    until(lambda: not os.path.exists(scope), "the scope is gone", 60)
    return f"{place}; {said}; {seen}; gone"


@expects("MemoryMax=100663296 TasksMax=77; 100663296 77; MemoryMax=100663296 TasksMax=77")
def an_update_is_systemds_too(docker):
    """What systemd does not know of, it takes back when it looks at the unit again."""
    container = docker.start("--memory", "64m", "--memory-swap", "64m", "sleep 600")
    docker("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "77", container).whole()
    said = [unit(f"docker-{container}.scope", "MemoryMax", "TasksMax")]
    run(["systemctl", "daemon-reload"], timeout=120).whole()
    said.append(docker("exec", container, "sh", "-c",
                       "cd /sys/fs/cgroup; echo $(cat memory.max pids.max)").whole())
    return "; ".join([*said, unit(f"docker-{container}.scope", "MemoryMax", "TasksMax")])


@expects("0::/outer.slice/outer-inner.slice/docker-ID.scope; active")
def a_slice_that_was_asked_for(docker):
    container = docker.start("--cgroup-parent", "outer-inner.slice", "sleep 600")
    return f"{group_of(docker, container)}; {run(['systemctl', 'is-active', 'outer-inner.slice']).out.strip()}"


@expects("0 ok; 1 not permitted; 0 read")
def devices_survive_a_reload(docker):
    """systemd has the rules of a unit's devices, and puts its own program in place on a reload."""
    container = docker.start("--device", "/dev/vdb:/dev/disk:r", "sleep 600")
    run(["systemctl", "daemon-reload"], timeout=120).whole()
    first = docker("exec", container, "sh", "-c", "echo > /dev/null && echo ok")
    other = docker("exec", container, "sh", "-c", "mknod /srv/x b 254 0 && head -c 1 /srv/x >/dev/null")
    disk = docker("exec", container, "sh", "-c", "head -c 1 /dev/disk >/dev/null && echo read")
    return f"{first}; {other.says('not permitted')}; {disk}"


@expects("0 docker-default (enforce); 0 unconfined; 0 docker-default (enforce)")
def apparmor(docker):
    show = ["cat", "/proc/self/attr/current"]
    container = docker.start("sleep 600")
    said = [docker.run(show), docker.run("--security-opt", "apparmor=unconfined", show),
            docker("exec", container, *show)]
    return "; ".join(map(str, said))


@expects("255 denied")
def what_apparmor_denies(docker):
    return docker.run("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
                      "mount -t tmpfs x /srv").says("denied")


@expects("refused; 0 fine")
def a_profile_that_is_not_there(docker):
    done = docker.run("--security-opt", "apparmor=no-such-profile", ["echo", "ran"])
    return f"{'refused' if done.status and 'ran' not in done.out else done}; {docker.run(['echo', 'fine'])}"


@expects("0 unconfined 2097151 ok")
def privileged(docker):
    return docker.run("--privileged", "echo $(cat /proc/self/attr/current) "
                      "$((0x$(grep CapEff /proc/self/status | cut -f2) & 0x1fffff)) "
                      "$(mount -t tmpfs x /srv && echo ok)")


@expects("0 private 0::/; 0 0::/system.slice/docker-ID.scope")
def whose_control_groups_are_seen(docker):
    host = docker.run("--cgroupns", "host", ["cat", "/proc/self/cgroup"])
    own = docker.run("echo private $(cat /proc/self/cgroup)")
    return f"{own}; " + re.sub(r"[0-9a-f]{64}", "ID", str(host))


@expects("0 from an annotation")
def annotations(docker):
    return docker.run("--annotation", "org.example/word=x", ["echo", "from an annotation"])


PODMAN = answers.Scenarios()


class Podman:
    """Podman as root, which asks for scopes of systemd's."""

    def __init__(self, runtimes):
        self.runtimes, self.runtime = runtimes, None

    def __enter__(self):
        self("load", "--input", images.busybox("/run/integration")).whole()
        return self

    def __exit__(self, *_):
        self.clear()

    def use(self, runtime):
        self.runtime = runtime

    def clear(self):
        self("rm", "--all", "--force", "--time", "0")

    def __call__(self, *arguments):
        chosen = ["--runtime", self.runtimes[self.runtime]] if self.runtime else []
        return run(["podman", *chosen, *arguments], timeout=300)


@PODMAN.expects("0 hello; 42; 0 5")
def podman_runs(podman):
    alone = ["run", "--rm", "--network", "none"]
    return (f"{podman(*alone, 'bb:1', 'echo', 'hello')}; "
            f"{podman(*alone, 'bb:1', 'sh', '-c', 'exit 42').status}; "
            f"{podman(*alone, 'bb:1', 'sh', '-c', 'echo $((2+3))')}")


@PODMAN.expects("0::/machine.slice/libpod-ID.scope; 33554432 9; 137 true")
def podman_has_scopes(podman):
    container = podman("run", "--detach", "--network", "none", "--memory", "32m", "--pids-limit", "9", "bb:1",
                       "sleep", "600").whole()
    number = podman("inspect", "--format", "{{.State.Pid}}", container).whole()
    with open(f"/proc/{number}/cgroup") as file:
        place = re.sub(r"[0-9a-f]{64}", "ID", file.read().strip())
    with open(f"/proc/{number}/cgroup") as file:
        folder = TOP + file.read().strip().removeprefix("0::").removesuffix("/container")
    limits = []
    for name in ("memory.max", "pids.max"):
        with open(f"{folder}/{name}") as file:
            limits.append(file.read().strip())
    hungry = podman("run", "--detach", "--network", "none", "--memory", "16m", "--memory-swap", "16m", "bb:1",
                    "tail", "/dev/zero").whole()
    code = podman("wait", hungry).whole()
    killed = podman("inspect", "--format", "{{.State.OOMKilled}}", hungry).whole()
    return f"{place.removesuffix('/container')}; {' '.join(limits)}; {code} {killed}"


def main(words):
    runtimes = dict(word.split("=", 1) for word in words if "=" in word)
    others = [word for word in words if "=" not in word]
    everything, only = "--all" in others, " ".join(word for word in others if word != "--all")
    Patience.seconds = 240
    # No group below which a caller of its own would have its groups.
    os.environ[enclosure.INSIDE] = "/integration"
    os.makedirs(enclosure.STATE, exist_ok=True)
    known = [scenario for scenario in docker.SCENARIOS
             if everything or only or scenario.name in CHOSEN]
    asked = [(Machine, "docker", [*OWN, *known]), (Podman, "podman", PODMAN)]
    outcomes = []
    for make, name, scenarios in asked:
        scenarios = [scenario for scenario in scenarios if only in f"{name} {scenario.name}"]
        if not scenarios:
            continue
        with make(runtimes) as caller:
            outcomes += answers.ask_all(name, scenarios, caller, runtimes)
    answers.report(outcomes, runtimes)
    return answers.status(outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
