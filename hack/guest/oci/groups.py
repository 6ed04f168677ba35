"""What pure cgroup v2 is about: limits, device rules, freezing, and groups that come and go."""

import json
import os
import subprocess

from callers import answers
from callers.command import until

from .caller import MIB, PARENT, PATIENCE, TOP, WORK, group, groups, lines, values

SCENARIOS = answers.Scenarios()
expects = SCENARIOS.expects


@expects("created 1; running 1; stopped; gone False")
def a_life(runtime):
    name = runtime.create("sleep 600")
    said = [f"{runtime.state(name)} {len(lines(group(name) + '/cgroup.procs'))}"]
    runtime("start", name).whole()
    said.append(f"{runtime.state(name)} {len(lines(group(name) + '/cgroup.procs'))}")
    runtime("kill", name, "KILL").whole()
    said.append(runtime.state(runtime.stopped(name)))
    runtime("delete", name).whole()
    return "; ".join([*said, f"{runtime.state(name)} {os.path.exists(group(name))}"])


@expects("0 0::/ cgroup2 ro cgroup.procs 1")
def its_own_view(runtime):
    return runtime.run("echo $(cat /proc/self/cgroup) $(grep -o 'cgroup2 r.' /proc/self/mounts) "
                       "$(cd /sys/fs/cgroup; ls cgroup.procs) "
                       "$(head -1 /sys/fs/cgroup/cgroup.procs)")


@expects("0 0::/verbs/ID")
def the_hosts_view(runtime):
    def share(made):
        made["linux"]["namespaces"] = [kind for kind in made["linux"]["namespaces"]
                                       if kind["type"] != "cgroup"]
    name = runtime.bundle("cat /proc/self/cgroup", change=share)
    done = runtime("run", "--bundle", f"{WORK}/bundle-{name}", name)
    return str(done).replace(name, "ID")


@expects(f"memory.max={64 * MIB} memory.swap.max={64 * MIB} memory.low={16 * MIB} pids.max=42 "
         "cpu.max=50000 200000 cpuset.cpus=0 cpuset.mems=0")
def limits_are_written(runtime):
    name = runtime.create("true", memory={"limit": 64 * MIB, "swap": 128 * MIB,
                                          "reservation": 16 * MIB},
                          pids={"limit": 42}, cpu={"quota": 50000, "period": 200000,
                                                   "cpus": "0", "mems": "0"})
    return values(name, "memory.max", "memory.swap.max", "memory.low", "pids.max", "cpu.max",
                  "cpuset.cpus", "cpuset.mems")


@expects("cpu.weight=59 io.weight=default 910")
def weights_are_converted(runtime):
    """By the newer of two formulas, in which the defaults of v1 and v2 are the same weight."""
    name = runtime.create("true", cpu={"shares": 512}, blockIO={"weight": 100})
    return values(name, "cpu.weight", "io.weight")


@expects("memory.max=max memory.swap.max=max pids.max=max cpu.max=max 100000")
def no_limit_is_max(runtime):
    name = runtime.create("true", memory={"limit": -1, "swap": -1}, pids={"limit": -1},
                          cpu={"quota": -1})
    return values(name, "memory.max", "memory.swap.max", "pids.max", "cpu.max")


@expects("memory.high=33554432 cpu.weight=77 pids.max=9")
def unified_keys_are_written(runtime):
    name = runtime.create("true", unified={"memory.high": "33554432", "cpu.weight": "77",
                                           "pids.max": "9"})
    return values(name, "memory.high", "cpu.weight", "pids.max")


@expects("True True; False False")
def unified_keys_that_cannot_be_are_refused(runtime):
    said = []
    for key in ("no.such.file", "../escape"):
        name = runtime.bundle("true", unified={key: "1"})
        done = runtime("run", "--bundle", f"{WORK}/bundle-{name}", name)
        said.append((done.status != 0, os.path.exists(group(name))))
    return f"{said[0][0]} {said[1][0]}; {said[0][1]} {said[1][1]}"


@expects(f"hugetlb.2MB.max={4 * MIB}")
def huge_pages(runtime):
    name = runtime.create("true", hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}])
    return values(name, "hugetlb.2MB.max")


@expects("io.max=254:0 rbps=1048576 wbps=max riops=max wiops=100")
def throttles(runtime):
    rule = {"major": 254, "minor": 0}
    name = runtime.create("true", blockIO={
        "throttleReadBpsDevice": [{**rule, "rate": MIB}],
        "throttleWriteIOPSDevice": [{**rule, "rate": 100}]})
    return values(name, "io.max")


# The disk with the files, which is read from in the end, and opened for writing only.
DISK = [int(number) for number in lines("/sys/block/vdb/dev")[0].split(":")]
PROBE = (f"mknod /tmp/disk b {DISK[0]} {DISK[1]}; for try in 'cat /dev/null' 'head -c 1 /tmp/disk' "
         "': > /tmp/disk'; do sh -c \"$try\" >/dev/null 2>/tmp/said && echo ok || "
         "grep -o 'not permitted' /tmp/said; done")


@expects("0 ok not permitted not permitted; 0 ok ok not permitted; 0 ok ok ok; 0 ok not permitted ok")
def devices(runtime):
    """A node may always be made and the standard devices used; the others as the rules say."""
    deny = {"allow": False, "access": "rwm"}
    rule = {"allow": True, "type": "b", "major": DISK[0], "minor": DISK[1]}
    said = [runtime.run(PROBE), runtime.run(PROBE, devices=[deny, {**rule, "access": "r"}]),
            runtime.run(PROBE, devices=[{"allow": True, "access": "rwm"}]),
            runtime.run(PROBE, devices=[deny, {**rule, "access": "rw"},
                                        {**rule, "allow": False, "access": "r"}])]
    return "; ".join(str(done).replace("\n", " ") for done in said)


@expects("137; oom_kill 1")
def out_of_memory(runtime):
    limits = {"limit": 16 * MIB, "swap": 16 * MIB}
    done = runtime.run(["tail", "/dev/zero"], memory=limits)
    name = runtime.start(["tail", "/dev/zero"], memory=limits)
    runtime.stopped(name)
    events = [line for line in lines(f"{group(name)}/memory.events") if line.startswith("oom_kill ")]
    return f"{done.status}; {' '.join(events)}"


@expects("can't fork; pids.max=5")
def no_more_processes(runtime):
    name = runtime.start("for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; sleep 600", pids={"limit": 5})
    said = until(lambda: runtime.output(name), "the shell complains", PATIENCE)
    return f"{'can' + said.split('can')[1].split(':')[0]}; {values(name, 'pids.max')}"


@expects("paused 1; True; running 0; 0 back; stopped")
def pause_and_resume(runtime):
    name = runtime.start("sleep 600")
    runtime("pause", name).whole()
    said = [f"{runtime.state(name)} {lines(group(name) + '/cgroup.freeze')[0]}",
            str(runtime("exec", name, "true").status != 0)]
    runtime("resume", name).whole()
    said += [f"{runtime.state(name)} {lines(group(name) + '/cgroup.freeze')[0]}",
             str(runtime("exec", name, "echo", "back"))]
    runtime("pause", name).whole()
    runtime("kill", name, "KILL").whole()
    return "; ".join([*said, runtime.state(runtime.stopped(name))])


@expects("gone")
def delete_of_a_paused_one(runtime):
    name = runtime.start("sleep 600")
    runtime("pause", name).whole()
    runtime("delete", "--force", name).whole()
    return runtime.state(name)


@expects("0 0::/; 2 2; 3")
def exec(runtime):
    name = runtime.start("sleep 600")
    seen = runtime("exec", name, "cat", "/proc/self/cgroup")
    subprocess.run(runtime.command("exec", "--detach", name, "sleep", "601"), check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listed = json.loads(runtime("ps", "--format", "json", name).whole())
    procs = lines(f"{group(name)}/cgroup.procs")
    return f"{seen}; {len(listed)} {len(procs)}; {runtime('exec', name, 'sh', '-c', 'exit 3').status}"


def writable(made):
    made["mounts"][-1]["options"].remove("ro")


@expects("0 0::/inner; True; gone False")
def groups_of_its_own(runtime):
    """A container that hands controllers down has no processes in its own group, and can be
    entered and removed all the same."""
    name = runtime.start("cd /sys/fs/cgroup && mkdir inner && echo 1 > inner/cgroup.procs && "
                         "echo +pids > cgroup.subtree_control && echo ready && sleep 600",
                         change=writable)
    until(lambda: "ready" in runtime.output(name), "it has its groups", PATIENCE)
    seen = str(runtime("exec", name, "cat", "/proc/self/cgroup"))
    listed = len(json.loads(runtime("ps", "--format", "json", name).whole())) >= 1
    runtime("delete", "--force", name).whole()
    return f"{seen}; {listed}; {runtime.state(name)} {os.path.exists(group(name))}"


@expects(f"memory.max={80 * MIB} pids.max=20 cpu.max=20000 100000; memory.max={90 * MIB} pids.max=21 "
         "cpu.max=30000 100000; running")
def update(runtime):
    name = runtime.start("sleep 600", memory={"limit": 64 * MIB}, pids={"limit": 10})
    runtime("update", "--memory", str(80 * MIB), "--pids-limit", "20", "--cpu-quota", "20000",
            "--cpu-period", "100000", name).whole()
    said = [values(name, "memory.max", "pids.max", "cpu.max")]
    runtime("update", "--resources", "-", name, stdin=json.dumps(
        {"memory": {"limit": 90 * MIB}, "pids": {"limit": 21}, "cpu": {"quota": 30000}})).whole()
    return "; ".join([*said, values(name, "memory.max", "pids.max", "cpu.max"), runtime.state(name)])


@expects("0 ok not permitted not permitted")
def devices_after_an_update(runtime):
    """What is updated without a word about devices does not open them."""
    name = runtime.start("sleep 600")
    runtime("update", "--pids-limit", "20", name).whole()
    return str(runtime("exec", name, "sh", "-c", PROBE)).replace("\n", " ")


@expects("0")
def kill_all_in_the_hosts_namespace(runtime):
    def share(made):
        made["linux"]["namespaces"] = [kind for kind in made["linux"]["namespaces"]
                                       if kind["type"] != "pid"]
    name = runtime.start("sleep 600 & sleep 601 & sleep 602", change=share)
    until(lambda: len(lines(f"{group(name)}/cgroup.procs")) >= 3, "they are there", PATIENCE)
    runtime("kill", "--all", name, "KILL").whole()
    until(lambda: not lines(f"{group(name)}/cgroup.procs"), "all are gone", PATIENCE)
    return str(len(lines(f"{group(name)}/cgroup.procs")))


@expects("True True running; gone; 0")
def delete(runtime):
    """Not what runs; with force anything, and again."""
    name = runtime.start("sleep 600")
    done = runtime("delete", name)
    said = f"{done.status != 0} {os.path.exists(group(name))} {runtime.state(name)}"
    runtime("delete", "--force", name).whole()
    return f"{said}; {runtime.state(name)}; {runtime('delete', '--force', name).status}"


@expects("pids 2, memory True, cpu True")
def statistics(runtime):
    name = runtime.start("sleep 600 & sleep 601")
    until(lambda: len(lines(f"{group(name)}/cgroup.procs")) == 2, "two processes", PATIENCE)
    said = json.loads(runtime("events", "--stats", name).whole().splitlines()[-1])["data"]
    return (f"pids {said['pids']['current']}, memory {said['memory']['usage']['usage'] > 0}, "
            f"cpu {said['cpu']['usage']['total'] > 0}")


@expects("inside True; gone")
def without_a_path(runtime):
    """The runtime chooses a group that nobody else has."""
    before = groups()
    name = runtime.start("sleep 600", path=None)
    new = [folder for folder in groups() - before if lines(f"{folder}/cgroup.procs")]
    said = f"inside {len(new) == 1}"
    runtime("delete", "--force", name).whole()
    return f"{said}; {'gone' if not [folder for folder in new if os.path.exists(folder)] else new}"


@expects("True; 0 fine")
def a_failed_start_leaves_nothing(runtime):
    before = groups() | {TOP + PARENT}
    done = runtime.run(["/does/not/exist"], pids={"limit": 5})
    left = groups() - before
    return f"{done.status != 0 and not left}; {runtime.run('echo fine')}"
