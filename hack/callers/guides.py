"""The guides of docs/CONTAINERS.md, carried out as they are written, with the files that they name.

The files go where the guides have them, into copies of /etc and /usr/local/bin that nobody else sees.
What only the machine asks for (where daemons keep their state, and which groups and limits there are)
is given beside them. The runtime under test stands at the path that the files name, whichever it is.
"""

import json
import os
import re
import shutil
import subprocess

import debian
import enclosure

from . import images
from .answers import Scenarios
from .command import run, until
from .cri.client import Client, prepare  # noqa: F401  Asked for before there is no network.

PACKAGES = ["docker.io", "containerd", "podman", "conmon", "crun", "netavark", "aardvark-dns", "gcc",
            "libc6-dev", "python3-grpcio", "python3-protobuf", "protobuf-compiler"]
SCENARIOS = Scenarios()
expects = SCENARIOS.expects
FILES = os.path.join(debian.TOP, "docs", "containers")
PLACE = "/usr/local/bin/buntime"
# Of containerd 1.6 of Debian 12, where its settings name none.
PAUSE = "registry.k8s.io/pause:3.6"
# What this machine asks for: callers without CAP_SYS_RESOURCE, and no systemd.
MACHINE_OF_CONTAINERD = """
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
"""
MACHINE_OF_PODMAN = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Caller:
    """Folders as the guides want them, and the runtime that stands in them at the moment."""

    def __init__(self, runtimes):
        self.runtimes = runtimes
        self.folder = os.path.join(enclosure.STATE, "guides")
        os.makedirs(self.folder)
        self.daemons = []

    def __enter__(self):
        for number, shown in enumerate(("/etc", os.path.dirname(PLACE))):
            upper, work = self.path(f"upper{number}"), self.path(f"work{number}")
            os.makedirs(upper)
            os.makedirs(work)
            subprocess.run(["mount", "-t", "overlay", "-o",
                            f"lowerdir={shown},upperdir={upper},workdir={work}", "guides", shown], check=True)
        # Where engines have their groups when they are told nothing.
        for name in ("/docker", "/default", "/k8s.io", "/libpod_parent"):
            enclosure.sweep_too(name)
        return self

    def __exit__(self, *_):
        self.clear()

    def path(self, name):
        return os.path.join(self.folder, name)

    def use(self, runtime):
        shutil.copyfile(self.runtimes[runtime], PLACE + ".new")
        os.chmod(PLACE + ".new", 0o755)
        os.rename(PLACE + ".new", PLACE)

    def clear(self):
        while self.daemons:
            self.daemons.pop().stop()
        for name in ("containerd", "containerd-state", "docker"):
            subprocess.run(["umount", "--recursive", "--quiet", self.path(name)])
            shutil.rmtree(self.path(name), ignore_errors=True)

    def place(self, name, target):
        """Copies a file of the guides to where it belongs."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(FILES, name), target)

    def containerd(self):
        """containerd with the settings of /etc, and its client."""
        address = "/run/containerd/containerd.sock"
        self.daemons.append(enclosure.Daemon(
            "guides-containerd",
            ["containerd", "--root", self.path("containerd"), "--state", self.path("containerd-state"),
             "--address", address],
            lambda: run(["ctr", "version"]).status == 0))
        return address

    def docker(self):
        """dockerd with the settings of /etc, its containerd, and the image of the guides."""
        address = self.containerd()
        self.daemons.append(enclosure.Daemon(
            "guides-dockerd", ["dockerd", "--containerd", address, "--data-root", self.path("docker")],
            lambda: run(["docker", "version"]).status == 0))
        run(["docker", "load", "--input", self.image("busybox:latest")]).whole()

    def image(self, name):
        """The archive of busybox under a name."""
        config = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}
        return images.archive(self.path("image.tar"), name, images.busybox_layer(), config)


def written(beginning):
    """The line of the guide that begins so, as the words of a command."""
    with open(os.path.join(debian.TOP, "docs", "CONTAINERS.md")) as file:
        found = re.search(rf"(?:^|`)({re.escape(beginning)}[^`\n]*)", file.read(), re.M)
    return found[1].split()


@expects("0 hello")
def docker(guides):
    guides.place("daemon.json", "/etc/docker/daemon.json")
    guides.docker()
    return run(written("docker run --rm"))


@expects("its name; 1 reset; 1 bad address")
def docker_with_a_policy(guides):
    guides.place("daemon-policy.json", "/etc/docker/daemon.json")
    guides.place("web.json", "/etc/buntime/web.json")
    guides.docker()
    run(written("docker network create")).whole()
    served = run(written("docker run --detach")).whole()
    asking = written("docker run --rm --network app")
    until(lambda: run(asking).status == 0, "it answers", seconds=10)
    name = run(["docker", "inspect", "--format", "{{.Config.Hostname}}", served]).whole()
    said = run(asking).whole()

    def asked(url):
        return run([*asking[:-1], url]).says("bad address", "reset")
    return "; ".join(["its name" if said == name else said, asked("http://web:81/"), asked("http://example.org/")])


@expects("0 hello")
def ctr(guides):
    guides.containerd()
    image = "docker.io/library/busybox:latest"
    run(["ctr", "images", "import", guides.image(image)]).whole()
    words = {"IMAGE": [image], "ID": ["one"], "COMMAND": ["echo", "hello"]}
    return run([word for asked in written("ctr run") for word in words.get(asked, [asked])])


@expects("sleep 3600; /usr/local/bin/buntime; yes")
def a_pod_of_the_runtime_class(guides):
    with open(os.path.join(FILES, "containerd.toml")) as file:
        settings = file.read().replace("version = 2\n", "")
    with open("/etc/containerd/config.toml", "w") as file:
        file.write(MACHINE_OF_CONTAINERD + settings)
    with open(os.path.join(FILES, "runtimeclass.yaml")) as file:
        text = file.read()
    handler, image, command = (re.search(rf"^ *{key}: (.*)$", text, re.M)[1]
                               for key in ("handler", "image", "command"))
    address = guides.containerd()
    for archive in (guides.image(image), images.pause(guides.folder, PAUSE)):
        run(["ctr", "--namespace", "k8s.io", "images", "import", archive]).whole()
    call = Client(address, guides.folder)
    # The network of pods is another guide's.
    options = {"pid": "CONTAINER", "network": "NODE", "ipc": "POD"}
    security = {"security_context": {"namespace_options": options}}
    sandbox = {"metadata": {"name": "example", "uid": "example", "namespace": "default"},
               "annotations": {"buntime.dev/note": "yes"}, "linux": security}
    pod = call("RunPodSandbox", config=sandbox, runtime_handler=handler).pod_sandbox_id
    config = {"metadata": {"name": "main"}, "image": {"image": image}, "command": json.loads(command),
              "linux": security}
    container = call("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=sandbox).container_id
    call("StartContainer", container_id=container)

    def programs():
        done = call("ExecSync", container_id=container, cmd=["ps", "-o", "args"], timeout=20)
        return [line for line in done.stdout.decode().splitlines() if line.startswith("sleep")]
    lines = until(programs, "its program runs")
    info = json.loads(call("ContainerStatus", container_id=container, verbose=True).info["info"])
    annotations = info["runtimeSpec"]["annotations"]
    call("StopPodSandbox", pod_sandbox_id=pod)
    call("RemovePodSandbox", pod_sandbox_id=pod)
    return "; ".join([*lines, info["runtimeOptions"]["binary_name"], annotations.get("buntime.dev/note", "no")])


@expects("0 hello")
def podman(guides):
    with open("/etc/containers/containers.conf", "w") as file:
        file.write(MACHINE_OF_PODMAN)
    guides.place("containers.conf", "/etc/containers/containers.conf.d/containers.conf")
    run(["podman", "load", "--input", guides.image("docker.io/library/busybox:latest")]).whole()
    done = run(written("podman --runtime"))
    until(lambda: not run(["podman", "ps", "--all", "--quiet"]).whole(), "the container is gone")
    return done
