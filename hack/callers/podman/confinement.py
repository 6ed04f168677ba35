"""Scenarios of Podman: what a container is confined to."""

import os
import socket

from .. import inside
from ..command import until
from . import SCENARIOS

expects = SCENARIOS.expects


@expects("137")
def out_of_memory(podman):
    container = podman.start("--memory", "16m", "--memory-swap", "16m", ["tail", "/dev/zero"])
    return podman("wait", container).whole()


@expects("0 67108864 50000 12 1")
def limits_of_the_group(podman):
    return podman.run("--memory", "64m", "--cpus", "0.5", "--pids-limit", "12", "--cpuset-cpus", "0",
                      "cd /sys/fs/cgroup; [ -e memory.max ] && "
                      "echo $(cat memory.max cpu.max pids.max) $(nproc) || echo $(cat "
                      "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max) $(nproc)")


@expects("100663296 30000")
def update(podman):
    container = podman.start("--memory", "64m", "--memory-swap", "64m", "sleep 60")
    podman("update", "--memory", "96m", "--memory-swap", "96m", "--cpu-quota", "30000", container).whole()
    return podman("exec", container, "sh", "-c",
                  "cd /sys/fs/cgroup; [ -e memory.max ] && echo $(cat memory.max cpu.max) || "
                  "echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us)").whole()


@expects("0 100 200")
def limits_of_the_process(podman):
    # Without a word on processes Podman asks for more of them than a host may be able to give.
    return podman.run("--ulimit", "nofile=100:200", "--ulimit", "nproc=4096:4096",
                      "echo $(ulimit -S -n) $(ulimit -H -n)")


@expects("1 read-only file system; 0 on tmpfs; noexec nosuid size=1024k")
def read_only_and_tmpfs(podman):
    refused = podman.run("--read-only", "echo x > /file").says("read-only file system")
    kept = podman.run("--read-only", "--tmpfs", "/t", "echo on tmpfs > /t/file; cat /t/file")
    options = podman.run("--tmpfs", "/t:size=1m,noexec,nosuid",
                         "grep ' /t ' /proc/mounts | cut -d' ' -f4").whole()
    found = " ".join(sorted(set(options.split(",")) & {"noexec", "nosuid", "size=1024k"}))
    return f"{refused}; {kept}; {found}"


@expects("0 from the host; 1 read-only file system; written")
def volumes(podman):
    folder = podman.path("volume")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "file"), "w") as file:
        file.write("from the host")
    read = podman.run("--volume", f"{folder}:/v:ro", "cat /v/file")
    refused = podman.run("--volume", f"{folder}:/v:ro", "echo x > /v/other").says("read-only file system")
    podman.run("--volume", f"{folder}:/v", "echo written > /v/other").whole()
    with open(os.path.join(folder, "other")) as file:
        return f"{read}; {refused}; {file.read().strip()}"


@expects("0 uid=1000(ann) gid=1001(1001); 0 2000; 0 0 1 100000 65536; 0 027")
def user(podman):
    both = podman.run("--user", "1000:1001", "id | cut -d' ' -f1,2")
    groups = podman.run("--user", "ann", "--group-add", "2000", "id -G | tr ' ' '\\n' | grep 2000")
    mapped = podman.run("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536",
                        "echo $(id -u) $(cat /proc/self/uid_map | sed 's/^ *0/1/')")
    umask = podman.run("--umask", "0027", "umask | sed s/^00/0/")
    return f"{both}; {groups}; {mapped}; {umask}"


@expects("0000000000000000; 0000000000001000; 1 not permitted; 0 1; 2 0")
def privileges(podman):
    effective = "grep CapEff /proc/self/status | cut -f2"
    mode = "grep Seccomp: /proc/self/status | cut -f2"
    said = [podman.run("--cap-drop", "ALL", effective).whole(),
            podman.run("--cap-drop", "ALL", "--cap-add", "NET_ADMIN", effective).whole(),
            podman.run("--cap-drop", "CHOWN", "chown 1:1 /srv/plain").says("not permitted"),
            podman.run("--security-opt", "no-new-privileges", "grep NoNewPrivs /proc/self/status | cut -f2"),
            f"{podman.run(mode).whole()} {podman.run('--security-opt', 'seccomp=unconfined', mode).whole()}"]
    return "; ".join(map(str, said))


@expects("0 crw------- a, c8; 0 1 500")
def devices_and_settings(podman):
    device = podman.run("--device", "/dev/net/tun:/dev/t", "stat -c '%A %t, %T' /dev/t")
    settings = podman.run("--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "500",
                          "echo $(cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj)")
    return f"{device}; {settings}"


@expects("0 1 lo; 0 lo eth0; answered")
def networks(podman):
    names = "ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d '\\n'"
    none = podman.run("--network", "none", "ip -o addr show dev lo | grep -c 127.0.0.1/8; " + names)
    bridge = podman.run(names)
    podman.start("--publish", "127.0.0.1:18081:80",
                 "mkdir /www; echo answered > /www/index.html; exec httpd -f -p 80 -h /www")

    def answer():
        try:
            with socket.create_connection(("127.0.0.1", 18081), timeout=5) as connection:
                connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
                return connection.makefile().read()
        except OSError:
            return ""
    said = until(lambda: "answered" in answer() and answer(), "the port answers")
    return f"{' '.join(str(none).split())}; {bridge}; {said.splitlines()[-1]}"


@expects("137")
def host_processes(podman):
    container = podman.start("--pid", "host", "sleep 63 & sleep 64")
    podman("kill", container).whole()
    return podman("wait", container).whole()


@expects(None)
def mounts(podman):
    return inside.mounts(podman.run(inside.MOUNTS).whole())


@expects(None)
def process_status(podman):
    return podman.run("--hostname", "name", inside.STATUS + "; " + inside.DEVICES)


@expects(None)
def privileged(podman):
    return podman.run("--privileged", "grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status; "
                      "[ -c /dev/loop-control ] && echo devices of the host")


@expects(None)
def of_systemd(podman):
    # What systemd needs is writable: its own hierarchy, which can be the host's, and places for its
    # state. Nothing stays there.
    return podman.run("--systemd", "always",
                      "for f in /run /tmp /var/log/journal /sys/fs/cgroup/systemd /sys/fs/cgroup/cpu; do "
                      "mkdir $f/made 2>/dev/null && rmdir $f/made && echo $f is writable; done; "
                      "echo $container")
