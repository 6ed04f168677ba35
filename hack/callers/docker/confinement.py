"""Scenarios of Docker: what a container is confined to."""

import json
import os
import re
import stat

from .. import inside
from ..command import until
from . import SCENARIOS

expects = SCENARIOS.expects
# A file of the container's own control group, on v1 and on v2.
NO_FORK = "can't fork"
GROUP = "cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"


def limit(v1, v2):
    return GROUP.format(v1=v1, v2=v2)


@expects("0 67108864")
def memory(docker):
    return docker.run("--memory", "64m", limit("memory/memory.limit_in_bytes", "memory.max"))


@expects("137 true")
def out_of_memory(docker):
    # containerd begins to listen after the start, whichever runtime it was: what is over by then is
    # not told to Docker.
    container = docker.start("--memory", "16m", "--memory-swap", "16m",
                             "until [ -e /tmp/go ]; do sleep 0.05; done; exec tail /dev/zero")
    go = f"/proc/{docker.inspect(container, '{{.State.Pid}}')}/root/tmp/go"
    open(go, "w").close()
    code = docker("wait", container).whole()
    until(lambda: docker.inspect(container, "{{.State.OOMKilled}}") == "true", "Docker is told of it")
    return f"{code} {docker.inspect(container, '{{.State.OOMKilled}}')}"


@expects("0 12; 2 can't fork")
def processes(docker):
    shown = docker.run("--pids-limit", "12", limit("pids/pids.max", "pids.max"))
    many = docker.run("--pids-limit", "12", "for n in $(seq 20); do sleep 50 & done")
    return f"{shown}; {many.says(NO_FORK)}"


@expects("0 50000 100000; 0 512; 0 1")
def processors(docker):
    quota = docker.run("--cpus", "0.5", "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || "
                       "echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us)")
    shares = docker.run("--cpu-shares", "512", limit("cpu/cpu.shares", "cpu.weight"))
    pinned = docker.run("--cpuset-cpus", "0", "nproc")
    return f"{quota}; {shares}; {pinned}"


@expects("100663296 30000 77")
def update(docker):
    container = docker.start("--memory", "64m", "--memory-swap", "64m", "sleep 60")
    docker("update", "--memory", "96m", "--memory-swap", "96m", "--cpu-quota", "30000",
           "--pids-limit", "77", container).whole()
    return docker("exec", container, "sh", "-c",
                  "cd /sys/fs/cgroup; [ -e memory.max ] && echo $(cat memory.max cpu.max pids.max) || "
                  "echo $(cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max)").whole()


@expects("0 100 200; 0 7")
def limits(docker):
    files = docker.run("--ulimit", "nofile=100:200", "echo $(ulimit -S -n) $(ulimit -H -n)")
    core = docker.run("--ulimit", "core=7:7", "grep core /proc/self/limits | tr -s ' ' | cut -d' ' -f5")
    return f"{files}; {core}"


@expects("1 read-only file system; 0 on tmpfs")
def read_only(docker):
    refused = docker.run("--read-only", "echo x > /file").says("read-only file system")
    return f"{refused}; {docker.run('--read-only', '--tmpfs', '/t', 'echo on tmpfs > /t/file; cat /t/file')}"


@expects("noexec nosuid size=1024k; 126 permission denied")
def tmpfs(docker):
    options = docker.run("--tmpfs", "/t:size=1m,noexec,nosuid",
                         "grep ' /t ' /proc/mounts | cut -d' ' -f4").whole()
    found = " ".join(sorted(set(options.split(",")) & {"noexec", "nosuid", "size=1024k"}))
    run = docker.run("--tmpfs", "/t:noexec", "cp /bin/busybox /t/echo; /t/echo ran")
    return f"{found}; {run.says('permission denied')}"


@expects("0 from the host; 1 read-only file system; written; 0 file")
def volumes(docker):
    folder = docker.path("volume")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "file"), "w") as file:
        file.write("from the host")
    read = docker.run("--volume", f"{folder}:/v:ro", "cat /v/file")
    refused = docker.run("--volume", f"{folder}:/v:ro", "echo x > /v/other").says("read-only file system")
    docker.run("--volume", f"{folder}:/v", "echo written > /v/other").whole()
    with open(os.path.join(folder, "other")) as file:
        written = file.read().strip()
    named = docker.run("--volume", f"{folder}/file:/made/for/it", "ls /made/for | sed s/it/file/")
    return f"{read}; {refused}; {written}; {named}"


@expects("kept; shared master")
def volumes_named_and_propagated(docker):
    docker.run("--volume", "data:/data", "echo kept > /data/file").whole()
    kept = docker.run("--volume", "data:/data", "cat /data/file").whole()
    docker("volume", "rm", "data").whole()
    folder = docker.path("propagated")
    os.makedirs(folder, exist_ok=True)
    if not os.path.ismount(folder):
        os.system(f"mount --bind {folder} {folder} && mount --make-shared {folder}")
    said = []
    for way in ("rshared", "rslave"):
        line = docker.run("--mount", f"type=bind,source={folder},target=/p,bind-propagation={way}",
                          "grep ' /p ' /proc/self/mountinfo").whole()
        said += re.findall(r"shared|master", line)
    return f"{kept}; {' '.join(said)}"


@expects("0 uid=1000(ann) gid=1001; 0 1000 2000; 0 123 0")
def user(docker):
    both = docker.run("--user", "1000:1001", "id | cut -d' ' -f1,2")
    groups = docker.run("--user", "ann", "--group-add", "2000", "id -u; id -G | tr ' ' '\\n' | grep 2000")
    unknown = docker.run("--user", "123", "echo $(id -u) $(id -g)")
    return f"{both}; {' '.join(str(groups).split())}; {unknown}"


@expects("00000000a80425fb; 0000000000000000; 0000000000001000; 1 not permitted; 0000000000000000")
def capabilities(docker):
    effective = "grep CapEff /proc/self/status | cut -f2"
    said = [docker.run(effective).whole(), docker.run("--cap-drop", "ALL", effective).whole(),
            docker.run("--cap-drop", "ALL", "--cap-add", "NET_ADMIN", effective).whole(),
            docker.run("--cap-drop", "CHOWN", "chown 1:1 /srv/plain").says("not permitted"),
            docker.run("--user", "1000", effective).whole()]
    return "; ".join(said)


@expects("0 0; 0 1; 0 0; 1 must be suid")
def no_new_privileges(docker):
    own = "grep NoNewPrivs /proc/self/status | cut -f2"
    grow = ["/srv/busybox", "su", "-c", "id -u"]
    grown = docker.run("--user", "1000", grow)
    held = docker.run("--user", "1000", "--security-opt", "no-new-privileges", grow).says("must be suid")
    return f"{docker.run(own)}; {docker.run('--security-opt', 'no-new-privileges', own)}; {grown}; {held}"


@expects("2 0; 1 not permitted; 0 through; 1 not permitted; 0 before")
def seccomp(docker):
    mode = "grep Seccomp: /proc/self/status | cut -f2"
    with_profile, without = docker.run(mode), docker.run("--security-opt", "seccomp=unconfined", mode)
    namespace = "unshare -r true && echo through"
    refused = docker.run(namespace).says("not permitted")
    unconfined = docker.run("--security-opt", "seccomp=unconfined", namespace)
    profile = docker.path("profile.json")
    with open(profile, "w") as file:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}, file)
    own = docker.run("--security-opt", f"seccomp={profile}", "mkdir /made").says("not permitted")
    other = docker.run("--security-opt", f"seccomp={profile}", "echo before")
    return f"{with_profile.out.strip()} {without.out.strip()}; {refused}; {unconfined}; {own}; {other}"


@expects("1 not permitted; 0 as outside a, e5; 0; 1 not permitted")
def devices(docker):
    refused = docker.run("mknod /dev/t c 10 229; exec 5< /dev/t").says("not permitted")
    device = "/dev/fuse:/dev/t"
    mode = stat.filemode(os.stat("/dev/fuse").st_mode)
    given = str(docker.run("--device", device, "stat -c '%A %t, %T' /dev/t")).replace(mode, "as outside")
    read = docker.run("--device", device, "exec 5< /dev/t")
    write = docker.run("--device", device + ":r", "exec 5> /dev/t").says("not permitted")
    return f"{refused}; {given}; {read}; {write}"


@expects("0 1 500 64M")
def other_settings(docker):
    return docker.run("--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "500", "--shm-size", "64m",
                      "echo $(cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj) "
                      "$(df -h /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2 | sed s/.0M/M/)")


@expects("0 0; 1 read-only file system; 0 0")
def masked_paths(docker):
    masked = docker.run("cat /proc/kcore | wc -c")
    kept = docker.run("echo 1 > /proc/sys/net/ipv4/ip_forward").says("read-only file system")
    empty = docker.run("ls /proc/scsi /sys/firmware 2>/dev/null | grep -v : | grep -c .; true")
    return f"{masked}; {kept}; {empty}"


@expects("other same; same other; same same")
def namespaces_shared(docker):
    holder = docker.start("--ipc", "shareable", "sleep 60")
    read = "readlink /proc/self/ns/{}"
    kinds = ("ipc", "pid")
    held = [docker("exec", holder, *read.format(kind).split()).whole() for kind in kinds]

    def compare(*flags):
        found = docker.run(*flags, "; ".join(read.format(kind) for kind in kinds)).whole().splitlines()
        return " ".join("same" if a == b else "other" for a, b in zip(found, held))
    own = f"container:{holder}"
    return "; ".join([compare("--pid", own), compare("--ipc", own), compare("--pid", own, "--ipc", own)])


@expects("0 /")
def cgroup_namespace_private(docker):
    return docker.run("--cgroupns", "private",
                      "grep -E '^0:|:memory:' /proc/self/cgroup | cut -d: -f3 | sort -u")


@expects(None)
def mounts(docker):
    return inside.mounts(docker.run(inside.MOUNTS).whole())


@expects(None)
def device_nodes(docker):
    return docker.run(inside.DEVICES)


@expects(None)
def process_status(docker):
    return docker.run("--hostname", "name", inside.STATUS)


@expects(None)
def process_status_of_a_user(docker):
    return docker.run("--user", "ann",
                      "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; id; "
                      " pwd; echo $HOME; ls -ld /proc/self/fd/0 2>&1 | cut -c1-10; echo x > /dev/stdout")


@expects(None)
def kernel_settings(docker):
    return docker.run("cd /proc/sys; for f in net/ipv4/ip_forward net/ipv4/ip_unprivileged_port_start "
                      "net/ipv4/ping_group_range kernel/shmmax kernel/msgmax; do echo $f $(cat $f); done")


@expects(None)
def control_groups(docker):
    return inside.without_names(docker.run("cut -d: -f2- /proc/self/cgroup | sort").whole())


@expects("125 refused")
def privileged(docker):
    done = docker.run("--privileged", "grep CapEff /proc/self/status | cut -f2; ls /dev | wc -l")
    return f"{done.status} refused" if done.status else done
