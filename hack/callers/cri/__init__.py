"""The kubelet's side of the Container Runtime Interface, spoken to a containerd with its CRI plugin."""

import json
import os
import socket
import subprocess

import enclosure

from .. import images
from ..answers import Scenarios
from ..command import run, until
from .client import Client, prepare  # noqa: F401  Asked for before there is no network.

PACKAGES = ["containerd", "gcc", "libc6-dev", "python3-grpcio", "python3-protobuf", "protobuf-compiler"]
SCENARIOS = Scenarios()
PLUGIN = 'plugins."io.containerd.grpc.v1.cri"'
SETTINGS = """
version = 2
[{plugin}]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [{plugin}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [{plugin}.containerd]
    default_runtime_name = "{default}"
"""
RUNTIME = """
  [{plugin}.containerd.runtimes.{name}]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["example.org/*"]
    container_annotations = ["example.org/*"]
    [{plugin}.containerd.runtimes.{name}.options]
      BinaryName = "{path}"
"""
NETWORK = {"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.7.0/24"}]],
              "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": True}}]}


class Caller:
    """The daemon, its client, and the runtime that is asked at the moment."""

    def __init__(self, runtimes):
        self.runtimes = runtimes
        self.runtime = None
        self.folder = os.path.join(enclosure.STATE, "cri")
        self.number = 0
        os.makedirs(self.folder + "/cni")
        os.makedirs(self.folder + "/logs")

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        with open(self.path("cni/10-pods.conflist"), "w") as file:
            json.dump(NETWORK, file)
        settings = SETTINGS.format(plugin=PLUGIN, default="under-test-" + next(iter(self.runtimes)),
                                   pause=images.PAUSE, folder=self.folder)
        for name, path in self.runtimes.items():
            settings += RUNTIME.format(plugin=PLUGIN, name="under-test-" + name, path=path)
        with open(self.path("config.toml"), "w") as file:
            file.write(settings)
        address = self.path("containerd.sock")
        ctr = ["ctr", "--address", address, "--namespace", "k8s.io"]
        self.daemon = enclosure.Daemon(
            "cri-containerd",
            ["containerd", "--config", self.path("config.toml"), "--root", self.path("root"),
             "--state", self.path("state"), "--address", address],
            lambda: run([*ctr, "version"]).status == 0)
        for archive in (images.busybox(self.folder), images.pause(self.folder)):
            run([*ctr, "images", "import", archive]).whole()
        self.call = Client(address, self.folder)
        until(lambda: all(condition.status for condition in self.call("Status").status.conditions),
              "runtime and network are ready")
        return self

    def __exit__(self, *_):
        self.daemon.stop()

    def use(self, runtime):
        self.runtime = runtime

    def clear(self):
        for pod in self.call("ListPodSandbox").items:
            self.call("StopPodSandbox", pod_sandbox_id=pod.id)
            self.call("RemovePodSandbox", pod_sandbox_id=pod.id)

    def name(self):
        self.number += 1
        return f"n{self.number}"

    def pod(self, processes="CONTAINER", network="POD", annotations=None, ports=(), **linux):
        """Runs the sandbox of a pod, and answers it with its configuration."""
        name = self.name()
        options = {"pid": processes, "network": network, "ipc": "POD"}
        config = {"metadata": {"name": name, "uid": name, "namespace": "default"},
                  "hostname": "pod" if network == "POD" else "",
                  "log_directory": self.path("logs"), "annotations": annotations or {},
                  "port_mappings": list(ports),
                  "linux": {"cgroup_parent": enclosure.group("cri"),
                            "security_context": {"namespace_options": options}, **linux}}
        done = self.call("RunPodSandbox", config=config, runtime_handler="under-test-" + self.runtime)
        return Pod(self, done.pod_sandbox_id, config, options)


class Pod:
    def __init__(self, cri, identity, config, options):
        self.cri, self.id, self.config, self.options = cri, identity, config, options

    def create(self, command, mounts=(), annotations=None, resources=None, security=None, **more):
        """Creates a container: the command is a list, or a script for the shell."""
        name = self.cri.name()
        command = command if isinstance(command, list) else ["sh", "-c", command]
        config = {"metadata": {"name": name}, "image": {"image": images.IMAGE}, "command": command,
                  "log_path": name + ".log", "mounts": list(mounts), "annotations": annotations or {},
                  "linux": {"resources": resources or {},
                            "security_context": {"namespace_options": self.options, **(security or {})}},
                  **more}
        done = self.cri.call("CreateContainer", pod_sandbox_id=self.id, config=config,
                             sandbox_config=self.config)
        return Container(self.cri, done.container_id, self.cri.path("logs/" + name + ".log"))

    def start(self, command, **settings):
        container = self.create(command, **settings)
        self.cri.call("StartContainer", container_id=container.id)
        return container

    def run(self, command, **settings):
        """Exit status and output of a container that ends by itself."""
        container = self.start(command, **settings)
        status = container.ended()
        text = "\n".join(container.lines())
        return f"{status.exit_code} {text}".strip()

    def settings(self):
        return settings(self.cri, self.id)

    def address(self):
        return self.cri.call("PodSandboxStatus", pod_sandbox_id=self.id).status.network.ip


class Container:
    def __init__(self, cri, identity, log):
        self.cri, self.id, self.log = cri, identity, log

    def status(self):
        return self.cri.call("ContainerStatus", container_id=self.id).status

    def ended(self):
        def state():
            status = self.status()
            return status if status.state == self.cri.call.value("CONTAINER_EXITED") else None
        return until(state, "the container has ended")

    def lines(self):
        """What it wrote, from the log: each line there has a time, a stream and a tag before it."""
        with open(self.log) as file:
            return [line.rstrip("\n").split(" ", 3)[3] for line in file]

    def exec(self, *command, timeout=20):
        """Exit status and output of a command in the container."""
        done = self.cri.call("ExecSync", container_id=self.id, cmd=list(command), timeout=timeout)
        return f"{done.exit_code} {done.stdout.decode().strip()}".strip()

    def settings(self):
        return settings(self.cri, self.id)


def settings(cri, identity):
    """The configuration that the runtime was given for a container or a sandbox."""
    with open(cri.path(f"state/io.containerd.runtime.v2.task/k8s.io/{identity}/config.json")) as file:
        return json.load(file)


def page(port):
    """What a web server on a port of this host answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /i HTTP/1.0\r\n\r\n")
            return connection.makefile().read().splitlines()[-1]
    except (OSError, IndexError):
        return ""


def memory_folder(cri):
    """A tmpfs of this host, as the kubelet makes one for an emptyDir in memory."""
    folder = cri.path("empty-" + cri.name())
    os.makedirs(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "empty", folder], check=True)
    return folder


from . import scenarios  # noqa: E402, F401  They register themselves.
