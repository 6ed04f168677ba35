"""A runtime that is asked directly, for containers of busybox, and what their groups say.

It makes control groups at the top of the hierarchy and bundles in /run: for a guest, not a host.
"""

import contextlib
import glob
import json
import os
import shutil
import subprocess

from callers.command import run, until

TOP, PARENT, WORK = "/sys/fs/cgroup", "/verbs", "/run/verbs"
MIB = 1 << 20
# The emulated machine is slow.
PATIENCE = 60


def spec(script):
    """A container as small as it can be, of whose control group something can be seen."""
    kept = ["CAP_KILL", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": "1.0.2", "hostname": "inside",
        "root": {"path": f"{WORK}/root"},
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
            "args": script if isinstance(script, list) else ["sh", "-c", script],
            "capabilities": {kind: kept for kind in ("bounding", "effective", "permitted")}},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}],
        "linux": {
            "namespaces": [{"type": kind} for kind in
                           ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]}}}


class Caller:
    """The runtime that is asked at the moment, and the containers it was asked for."""

    # The number goes on over all callers, so that no id is used twice.
    number = 0

    def __init__(self, runtimes):
        self.runtimes, self.runtime = runtimes, None
        for folder in ("bin", "proc", "dev", "tmp", "sys"):
            os.makedirs(f"{WORK}/root/{folder}", exist_ok=True)
        shutil.copy("/bin/busybox", f"{WORK}/root/bin/busybox")
        for name in run(["/bin/busybox", "--list"]).whole().split():
            with contextlib.suppress(FileExistsError):
                os.symlink("busybox", f"{WORK}/root/bin/{name}")

    def spec(self, script):
        return spec(script)

    def use(self, runtime):
        self.runtime = runtime

    def clear(self):
        for folder in glob.glob(f"{WORK}/bundle-*"):
            self("delete", "--force", os.path.basename(folder).removeprefix("bundle-"))
            shutil.rmtree(folder)
        for folder, _, _ in os.walk(TOP + PARENT, topdown=False):
            for number in lines(f"{folder}/cgroup.procs"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(number), 9)
            until(lambda: removed(folder), f"{folder} can be removed", PATIENCE)

    def command(self, *words):
        return [self.runtimes[self.runtime], "--root", f"{WORK}/state-{self.runtime}", *words]

    def __call__(self, *words, stdin=""):
        return run(self.command(*words), stdin, PATIENCE)

    def bundle(self, script, **changes):
        """The id of a container, whose spec is changed by a function or by resources."""
        Caller.number += 1
        name = f"c{Caller.number}"
        made = self.spec(script)
        path = changes.pop("path", f"{PARENT}/{name}")
        if path:
            made["linux"]["cgroupsPath"] = path
        change = changes.pop("change", None)
        made["linux"]["resources"].update(changes)
        if change:
            change(made)
        os.makedirs(f"{WORK}/bundle-{name}")
        with open(f"{WORK}/bundle-{name}/config.json", "w") as file:
            json.dump(made, file)
        return name

    def create(self, script, **changes):
        """A created container: its id."""
        name = self.bundle(script, **changes)
        # What is started keeps its streams, so they are no pipes of ours.
        with open(f"{WORK}/bundle-{name}/output", "wb") as out:
            done = subprocess.run(self.command("create", "--bundle", f"{WORK}/bundle-{name}", name),
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"create: status {done.returncode}: {self.output(name)}")
        return name

    def start(self, script, **changes):
        name = self.create(script, **changes)
        self("start", name).whole()
        return name

    def run(self, script, **changes):
        """Runs a container to its end: what it did, and said."""
        name = self.bundle(script, **changes)
        return self("run", "--bundle", f"{WORK}/bundle-{name}", name)

    def output(self, name):
        with open(f"{WORK}/bundle-{name}/output", errors="replace") as file:
            return file.read().strip()

    def state(self, name):
        done = self("state", name)
        return json.loads(done.out)["status"] if done.status == 0 else "gone"

    def stopped(self, name):
        until(lambda: self.state(name) == "stopped", f"{name} has stopped", PATIENCE)
        return name


def group(name):
    return f"{TOP}{PARENT}/{name}"


def removed(folder):
    """Whether a group is gone, after an attempt."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    return not os.path.exists(folder)


def lines(path):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def values(name, *files):
    """The values of files of a container's group."""
    return " ".join(f"{file}={' '.join(lines(f'{group(name)}/{file}')) or None}" for file in files)


def groups():
    return {folder for folder, _, _ in os.walk(TOP)}
