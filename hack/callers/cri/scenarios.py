"""Scenarios of the Container Runtime Interface."""

import os
import subprocess

import enclosure

from .. import inside
from ..command import until
from . import SCENARIOS, memory_folder, page

expects = SCENARIOS.expects


def error(function, *words):
    """Which of the words are in the error that a call ends with."""
    try:
        function()
    except Exception as failure:
        text = str(failure).lower()
        return " ".join(["refused", *[word for word in words if word in text]])
    return "accepted"


@expects("0 written by one; 0 same; 0 pause; 0 sleep 61; 8192")
def pod_with_two_containers(cri):
    folder = memory_folder(cri)
    mounts = [{"host_path": folder, "container_path": "/memory"}]
    pod = cri.pod(processes="POD")
    one = pod.start("echo written by one > /memory/file; sleep 61", mounts=mounts)
    two = pod.start("sleep 62", mounts=mounts)
    until(lambda: two.exec("test", "-e", "/memory/file") == "0", "the file is there")
    spaces = {container.exec("readlink", "/proc/self/ns/pid") for container in (one, two)}
    size = two.exec("sh", "-c", "df -k /memory | tail -n 1 | tr -s ' ' | cut -d' ' -f2").split()[-1]
    return "; ".join([two.exec("cat", "/memory/file"), "0 same" if len(spaces) == 1 else str(spaces),
                      two.exec("cat", "/proc/1/comm"),
                      two.exec("sh", "-c", "ps -o args | grep '^sleep 61' | head -n 1"), size])


@expects("0 out err; 3; refused deadline exceeded; refused no such file")
def exec_sync(cri):
    container = cri.pod().start("sleep 60")
    done = cri.call("ExecSync", container_id=container.id, timeout=10,
                    cmd=["sh", "-c", "echo out; echo err >&2"])
    return "; ".join([f"{done.exit_code} {done.stdout.decode().strip()} {done.stderr.decode().strip()}",
                      container.exec("sh", "-c", "exit 3"),
                      error(lambda: container.exec("sleep", "30", timeout=1), "deadline exceeded"),
                      error(lambda: container.exec("/does/not/exist"), "no such file")])


@expects("pod pod; pod of-container; None None")
def annotations(cri):
    pod = cri.pod(annotations={"example.org/one": "pod", "example.org/two": "pod", "other.org/three": "x"})
    container = pod.start("sleep 60", annotations={"example.org/two": "of-container"})
    found = container.settings()["annotations"]
    sandbox = pod.settings()["annotations"]
    return "; ".join([f"{sandbox.get('example.org/one')} {found.get('example.org/one')}",
                      f"{sandbox.get('example.org/two')} {found.get('example.org/two')}",
                      f"{sandbox.get('other.org/three')} {found.get('other.org/three')}"])


@expects("67108864 50000; 100663296 25000")
def resources_and_update(cri):
    container = cri.pod().start("sleep 60", resources={"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000,
                                                       "cpu_period": 100000})

    def limits():
        path = container.settings()["linux"]["cgroupsPath"]
        found = []
        for names in (("memory.limit_in_bytes", "memory.max"), ("cpu.cfs_quota_us", "cpu.max")):
            files = [f"{top}{path}/{name}" for top in enclosure.hierarchies() for name in names]
            with open(next(file for file in files if os.path.exists(file))) as file:
                found.append(file.read().split()[0])
        return " ".join(found)
    before = limits()
    cri.call("UpdateContainerResources", container_id=container.id,
             linux={"memory_limit_in_bytes": 96 << 20, "cpu_quota": 25000, "cpu_period": 100000})
    return f"{before}; {limits()}"


@expects("memory is counted, processors are counted; 1 of 1 listed")
def stats(cri):
    container = cri.pod().start("while :; do :; done")

    def counted():
        found = cri.call("ContainerStats", container_id=container.id).stats
        return found.memory.working_set_bytes.value > 0 and found.cpu.usage_core_nano_seconds.value > 0
    until(counted, "memory and processors are counted")
    listed = cri.call("ListContainerStats", filter={"id": container.id}).stats
    return f"memory is counted, processors are counted; {len(listed)} of 1 listed"


@expects("0 Completed hello; 42 Error")
def end_and_exit_code(cri):
    pod = cri.pod()
    one, two = pod.start(["echo", "hello"]), pod.start("exit 42")
    said = []
    for container in (one, two):
        status = container.ended()
        said.append(f"{status.exit_code} {status.reason} {' '.join(container.lines())}".strip())
    return "; ".join(said)


@expects("137 OOMKilled")
def out_of_memory(cri):
    # containerd begins to listen for it after the start, whichever runtime it was.
    folder = memory_folder(cri)
    container = cri.pod().start("until [ -e /memory/go ]; do sleep 0.05; done; exec tail /dev/zero",
                                mounts=[{"host_path": folder, "container_path": "/memory"}],
                                resources={"memory_limit_in_bytes": 16 << 20})
    open(f"{folder}/go", "w").close()
    container.ended()
    # The news of the end may come before that of its reason.
    status = until(lambda: (said := container.status()).reason == "OOMKilled" and said,
                   "containerd is told of it")
    return f"{status.exit_code} {status.reason}"


@expects("3; 137; gone; not ready")
def stop(cri):
    pod = cri.pod()
    one = pod.start("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    until(one.lines, "it is ready")
    cri.call("StopContainer", container_id=one.id, timeout=20)
    # A signal that comes before the trap is for the runtime's own program.
    two = pod.start("trap '' TERM; echo ready; sleep 60")
    until(two.lines, "it is ready")
    cri.call("StopContainer", container_id=two.id, timeout=1)
    said = [str(one.ended().exit_code), str(two.ended().exit_code)]
    cri.call("RemoveContainer", container_id=two.id)
    said.append(error(two.status, "not found").replace("refused not found", "gone"))
    pod.start("sleep 60")
    cri.call("StopPodSandbox", pod_sandbox_id=pod.id)
    state = cri.call("PodSandboxStatus", pod_sandbox_id=pod.id).status.state
    return "; ".join([*said, "not ready" if state == cri.call.value("SANDBOX_NOTREADY") else "ready"])


@expects("137; other ended")
def stop_in_a_shared_namespace(cri):
    pod = cri.pod(processes="POD")
    container = pod.start("sleep 63 & sleep 64")
    until(lambda: enclosure.processes_of_command("sleep\x0063"), "its other process runs")
    cri.call("StopContainer", container_id=container.id, timeout=0)
    code = container.ended().exit_code
    until(lambda: not enclosure.processes_of_command("sleep\x0063"), "its other process has ended")
    return f"{code}; other ended"


@expects("refused no such file; refused permission denied; 128 StartError")
def what_cannot_be_executed(cri):
    pod = cri.pod()
    missing = error(lambda: pod.start(["/does/not/exist"]), "no such file")
    plain = error(lambda: pod.start(["/srv/plain"]), "permission denied")
    container = pod.create(["/does/not/exist"])
    error(lambda: cri.call("StartContainer", container_id=container.id))
    status = container.status()
    return f"{missing}; {plain}; {status.exit_code} {status.reason}"


@expects("stdout F out; stderr F err")
def log(cri):
    container = cri.pod().start("echo out; sleep 0.3; echo err >&2")
    container.ended()
    with open(container.log) as file:
        return "; ".join(line.strip().split(" ", 1)[1] for line in file)


@expects("0 pod; an address; served; served; host's")
def network(cri):
    pod = cri.pod(ports=[{"container_port": 80, "host_port": 18082}])
    server = pod.start("mkdir /www; echo served > /www/i; exec httpd -f -p 80 -h /www")
    other = pod.start("sleep 60")
    name = server.exec("hostname")
    mapped = until(lambda: page(18082), "the port of the host answers")
    local = until(lambda: (said := other.exec("wget", "-q", "-O", "-", "http://127.0.0.1/i")) and
                  said.startswith("0") and said.split()[-1], "the other container is answered")
    host = cri.pod(network="NODE").start("sleep 60").exec("readlink", "/proc/self/ns/net").split()[-1]
    address = "an address" if pod.address().startswith("10.88.7.") else pod.address()
    return "; ".join([name, address, mapped, local,
                      "host's" if host == os.readlink("/proc/self/ns/net") else "another"])


@expects("0 1000 1000 2000; 0 1; 0 0000000000001000; 0 1; 0 2")
def security(cri):
    pod = cri.pod()

    def run(command, **security):
        return pod.run(command, security=security)
    bounding = "grep CapBnd /proc/self/status | cut -f2"
    return "; ".join([
        run("echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | grep 2000)", run_as_user={"value": 1000},
            run_as_group={"value": 1000}, supplemental_groups=[2000]),
        run("touch /x 2>&1 | grep -c -i read-only", readonly_rootfs=True),
        run(bounding, capabilities={"drop_capabilities": ["ALL"], "add_capabilities": ["NET_ADMIN"]}),
        run("grep NoNewPrivs /proc/self/status | cut -f2", no_new_privs=True),
        run("grep Seccomp: /proc/self/status | cut -f2", seccomp={"profile_type": "RuntimeDefault"})])


@expects("0 5 Mar; refused; 0 rw; 0 a, e5")
def mounts_and_devices(cri):
    folder = memory_folder(cri)
    with open(os.path.join(folder, "file"), "w") as file:
        file.write("5 Mar")
    pod = cri.pod()
    read = [{"host_path": folder, "container_path": "/v", "readonly": True}]
    write = [{"host_path": folder, "container_path": "/made/for/it",
              "propagation": "PROPAGATION_BIDIRECTIONAL"}]
    # Propagation in both directions is only given to a mount that is shared.
    subprocess.run(["mount", "--make-shared", folder], check=True)
    said = [pod.run("cat /v/file", mounts=read),
            "refused" if not pod.run("echo x > /v/new", mounts=read).startswith("0") else "written",
            pod.run("echo rw > /made/for/it/new; cat /made/for/it/new", mounts=write),
            pod.run("stat -c '%t, %T' /dev/t", devices=[
                {"host_path": "/dev/fuse", "container_path": "/dev/t", "permissions": "rw"}])]
    return "; ".join(said)


@expects("7 7")
def sysctls(cri):
    pod = cri.pod(sysctls={"net.ipv4.ip_unprivileged_port_start": "7"})
    read = ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]
    return f"{pod.run(read).split()[-1]} {pod.start('sleep 60').exec(*read).split()[-1]}"


@expects(None)
def how_it_looks_from_inside(cri):
    return cri.pod().run(inside.STATUS + "; " + inside.DEVICES)


@expects(None)
def how_its_mounts_look(cri):
    text = cri.pod().run(inside.MOUNTS).split(" ", 1)[1]
    return inside.mounts(text)


@expects("nothing")
def what_is_left(cri):
    pod = cri.pod()
    container = pod.start("sleep 60")
    container.exec("true")
    cri.clear()

    def files():
        # The plugin names no folder for the runtime's state, so the shim takes its own.
        folders = (cri.path("state/io.containerd.runtime.v2.task/k8s.io"), "/run/containerd/runc/k8s.io")
        return [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
    return "\n".join(enclosure.left_behind("cri", files)) or "nothing"
