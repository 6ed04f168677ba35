"""Podman: no daemon, but a monitor beside each container that calls the runtime; as root and as a user."""

import json
import os

import enclosure

from .. import images
from ..answers import Scenarios
from ..command import run
from ..terminal import Session

PACKAGES = ["podman", "conmon", "crun", "netavark", "aardvark-dns", "uidmap", "fuse-overlayfs",
            "slirp4netns", "gcc", "libc6-dev"]
SCENARIOS = Scenarios()
USER = 1000
SETTINGS = """
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "{pause}"
infra_command = "/pause"
runtime_supports_json = [{names}]
[engine.runtimes]
{runtimes}
"""


class Caller:
    """Podman's settings, with every runtime registered, and the one that is asked at the moment."""

    def __init__(self, runtimes):
        self.runtimes = runtimes
        self.runtime = None
        self.folder = os.path.join(enclosure.STATE, "podman")
        os.makedirs(self.folder)
        os.chmod(enclosure.STATE, 0o755)

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        names = ["under-test-" + name for name in self.runtimes]
        lines = [f'under-test-{name} = ["{path}"]' for name, path in self.runtimes.items()]
        with open(self.path("containers.conf"), "w") as file:
            file.write(SETTINGS.format(pause=images.PAUSE, names=", ".join(f'"{name}"' for name in names),
                                       runtimes="\n".join(lines)))
        with open(self.path("storage.conf"), "w") as file:
            file.write('[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\n'
                       'graphroot = "/var/lib/containers/storage"\n')
        # Podman's own parent of groups, where it is not told another: what it makes is swept.
        enclosure.sweep_too("/libpod_parent")
        self.archives = [images.busybox(self.folder), images.pause(self.folder)]
        for archive in self.archives:
            self("load", "--input", archive).whole()
        return self

    def __exit__(self, *_):
        self.clear()

    def use(self, runtime):
        self.runtime = runtime

    def clear(self):
        self("pod", "rm", "--force", "--all", "--time", "0").whole()
        self("rm", "--force", "--all", "--volumes", "--time", "0").whole()

    def environment(self):
        return {**os.environ, "CONTAINERS_CONF": self.path("containers.conf"),
                "CONTAINERS_STORAGE_CONF": self.path("storage.conf")}

    def command(self, *arguments):
        runtime = ["--runtime", "under-test-" + self.runtime] if self.runtime else []
        return ["podman", *runtime, *arguments]

    def __call__(self, *arguments, stdin="", timeout=60):
        return run(self.command(*arguments), stdin, timeout, self.environment())

    def flags(self, arguments):
        return ["run", "--cgroup-parent", enclosure.group("podman"), *arguments]

    def run(self, *arguments, stdin=""):
        """`podman run --rm` with flags, and a script for the shell or a command as the last."""
        *flags, command = arguments
        command = command if isinstance(command, list) else ["sh", "-c", command]
        return self(*self.flags(["--rm", *flags, images.IMAGE, *command]), stdin=stdin)

    def start(self, *arguments):
        *flags, command = arguments
        command = command if isinstance(command, list) else ["sh", "-c", command]
        return self(*self.flags(["--detach", *flags, images.IMAGE, *command])).whole()

    def inspect(self, container, form):
        return self("inspect", "--format", form, container).whole()

    def terminal(self, *arguments):
        return Session(self.command(*arguments), self.environment())

    def left(self):
        """What the runtimes kept in their default state folders."""
        return [os.path.join(folder, name) for folder in ("/run/runc", "/run/crun", "/run/buntime")
                if os.path.isdir(folder) for name in os.listdir(folder)]


def settings_of(podman, pod):
    return json.loads(podman("pod", "inspect", pod).whole())


from . import confinement, life, pods, rootless  # noqa: E402, F401  They register their scenarios.
