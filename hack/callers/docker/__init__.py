"""Docker: dockerd on a containerd of its own, and Debian's client."""

import json
import os
import re

import enclosure

from .. import images
from ..answers import Scenarios
from ..command import run
from ..terminal import Session

PACKAGES = ["docker.io", "containerd", "tini", "procps"]
CLIENT = "/usr/bin/docker"
SCENARIOS = Scenarios()


class Caller:
    """The daemon with every runtime registered, and the one that is asked at the moment."""

    def __init__(self, runtimes):
        self.runtimes = runtimes
        self.runtime = None
        self.folder = os.path.join(enclosure.STATE, "docker")
        os.makedirs(self.folder)
        self.socket = self.path("docker.sock")

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        address = self.path("containerd.sock")
        self.containerd = enclosure.Daemon(
            "docker-containerd",
            ["containerd", "--config", "/dev/null", "--root", self.path("containerd"),
             "--state", self.path("containerd-state"), "--address", address],
            lambda: run(["ctr", "--address", address, "version"]).status == 0)
        settings = {
            "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": enclosure.group("docker"), "data-root": self.path("data"),
            "exec-root": self.path("exec"), "pidfile": self.path("docker.pid"),
            "containerd": address, "hosts": ["unix://" + self.socket], "shutdown-timeout": 5,
            # "runc" itself is a name that the daemon keeps for its own.
            "runtimes": {"under-test-" + name: {"path": path} for name, path in self.runtimes.items()},
        }
        with open(self.path("daemon.json"), "w") as file:
            json.dump(settings, file)
        self.daemon = enclosure.Daemon(
            "dockerd", ["dockerd", "--config-file", self.path("daemon.json")],
            lambda: self("version").status == 0)
        self("load", "--input", images.busybox(self.folder)).whole()
        return self

    def __exit__(self, *_):
        self.daemon.stop()
        self.containerd.stop()

    def use(self, runtime):
        self.runtime = runtime

    def clear(self):
        """Removes every container and volume of the last scenario."""
        left = self("ps", "--all", "--quiet").whole().split()
        if left:
            self("rm", "--force", "--volumes", *left).whole()

    def command(self, *arguments):
        return [CLIENT, "--host", "unix://" + self.socket, *arguments]

    def __call__(self, *arguments, stdin="", timeout=60):
        return run(self.command(*arguments), stdin, timeout)

    def flags(self, arguments):
        """The arguments of `docker run`, up to the image, with the runtime before them."""
        return ["run", "--runtime", "under-test-" + self.runtime, *arguments]

    def run(self, *arguments, image_at=None, stdin="", timeout=60):
        """`docker run ARGUMENTS IMAGE COMMAND`: the last argument is a script for the shell, or,
        as a list, the command."""
        *flags, command = arguments
        command = command if isinstance(command, list) else ["sh", "-c", command]
        return self(*self.flags(["--rm", *flags, "bb:1", *command]), stdin=stdin, timeout=timeout)

    def start(self, *arguments):
        """`docker run --detach`, with the last argument as in `run`: the container's id."""
        *flags, command = arguments
        command = command if isinstance(command, list) else ["sh", "-c", command]
        return self(*self.flags(["--detach", *flags, "bb:1", *command])).whole()

    def inspect(self, container, form):
        return self("inspect", "--format", form, container).whole()

    def terminal(self, *arguments):
        return Session(self.command(*arguments))

    def left(self):
        """What a runtime kept of containers that are gone: files of its state."""
        places = [os.path.join(folder, name)
                  for folder, folders, names in os.walk(self.path("exec")) for name in folders + names
                  if f"runtime-under-test-{self.runtime}/" in folder + "/"]
        return sorted(re.sub(r".*/runtime-under-test-[^/]*/", "", place) for place in places)


from . import confinement, life  # noqa: E402, F401  They register their scenarios.
