"""Scenarios of Podman: containers that share namespaces, and Kubernetes' description of them."""

import json

import enclosure

from .. import images
from ..command import until
from . import SCENARIOS

expects = SCENARIOS.expects


def create(podman, shared):
    return podman("pod", "create", "--cgroup-parent", enclosure.group("podman"), "--share", shared).whole()


@expects("0 same same other; 0 the other's page; 2; Exited")
def pod(podman):
    name = create(podman, "net,ipc,uts")
    first = podman("run", "--detach", "--pod", name, "bb:1", "sh", "-c",
                   "mkdir /www; echo \"the other's page\" > /www/i; exec httpd -f -p 80 -h /www").whole()
    spaces = [podman("exec", first, "readlink", f"/proc/self/ns/{kind}").whole()
              for kind in ("net", "ipc", "pid")]
    found = podman("run", "--rm", "--pod", name, "bb:1", "sh", "-c",
                   "for kind in net ipc pid; do readlink /proc/self/ns/$kind; done")
    compared = " ".join("same" if a == b else "other" for a, b in zip(spaces, found.whole().splitlines()))
    page = podman("run", "--rm", "--pod", name, "bb:1", "sh", "-c",
                  "until wget -q -O - http://127.0.0.1/i; do sleep 0.1; done")
    members = podman("pod", "inspect", "--format", "{{range .Containers}}{{.ID}} {{end}}", name).whole()
    podman("pod", "stop", "--time", "0", name).whole()
    state = podman("pod", "inspect", "--format", "{{.State}}", name).whole()
    return f"{found.status} {compared}; {page}; {len(members.split())}; {state}"


@expects("PID 1 is pause")
def pod_that_shares_processes(podman):
    name = create(podman, "pid,ipc")
    first = podman("run", "--detach", "--pod", name, "bb:1", "sleep", "60").whole()
    return "PID 1 is " + podman("exec", first, "cat", "/proc/1/comm").whole()


@expects("yes; 0 shared; 0 of the pod file; sleep 60; yes; gone")
def kube_play(podman):
    file = podman.path("pod.json")
    container = {"image": images.IMAGE, "imagePullPolicy": "Never",
                 "resources": {"limits": {"memory": "64Mi"}},
                 "volumeMounts": [{"name": "memory", "mountPath": "/memory"}]}
    document = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "played", "annotations": {"example.org/key": "yes"}},
        "spec": {"hostname": "played", "restartPolicy": "Never",
                 "volumes": [{"name": "memory", "emptyDir": {}}],
                 "containers": [
                     {**container, "name": "one", "command": ["sleep", "60"],
                      "env": [{"name": "FROM", "value": "of the pod file"}]},
                     {**container, "name": "two",
                      "command": ["sh", "-c", "echo shared > /memory/file; sleep 60"],
                      "securityContext": {"runAsUser": 0, "readOnlyRootFilesystem": True}}]}}
    with open(file, "w") as out:
        json.dump(document, out)
    podman("kube", "play", "--network", "none", file).whole()
    until(lambda: podman("exec", "played-one", "test", "-e", "/memory/file").status == 0, "the other wrote")
    said = [podman.inspect("played-one", '{{index .Config.Annotations "example.org/key"}}'),
            podman("exec", "played-one", "cat", "/memory/file"),
            podman("exec", "played-one", "sh", "-c", "echo $FROM"),
            podman("exec", "played-one", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").whole(),
            "yes" if podman("exec", "played-two", "touch", "/x").status else "writable"]
    podman("kube", "down", file).whole()
    said.append("gone" if podman("pod", "exists", "played").status else "still there")
    return "; ".join(map(str, said))


@expects("ok; unhealthy")
def health_check(podman):
    container = podman.start("--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable",
                             "--health-retries", "1", "touch /tmp/healthy; sleep 60")
    until(lambda: podman("exec", container, "test", "-e", "/tmp/healthy").status == 0, "it is ready")
    first = "ok" if podman("healthcheck", "run", container).status == 0 else "not ok"
    podman("exec", container, "rm", "/tmp/healthy").whole()
    return f"{first}; {'unhealthy' if podman('healthcheck', 'run', container).status else 'healthy'}"
