"""create, start, wait and delete of a container that runs /bin/true: by Buntime, runc and crun.

All of them run the same bundle, interleaved, with the default seccomp profile of Debian's
golang-github-containers-common and without a profile, on each cgroup layout that can be made here:
v1 is the machine's own without the cgroup2 mount of a hybrid layout, which crun refuses; v2 is a
cgroup2 mount alone. Each layout is in a mount namespace of its own. On v2 without CAP_SYS_RESOURCE
the bundle has no device rules, since crun raises a limit before it loads the program for them.
"""

import ctypes
import json
import os
import random
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from layouts import CONTROL_GROUPS, LAYOUTS

PROFILE = "/usr/share/containers/seccomp.json"
BUSYBOX = "/bin/busybox"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
STEPS = ["create", "start", "wait", "delete"]
PR_SET_CHILD_SUBREAPER = 36
CAP_SYS_RESOURCE = 24


def profile(capabilities):
    """The default profile as the OCI configuration says it, for a container with the capabilities."""
    with open(PROFILE) as file:
        source = json.load(file)
    held = set(capabilities)

    def applies(rule):
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        return (set(includes.get("caps") or []) <= held
                and not set(excludes.get("caps") or []) & held
                and (not includes.get("arches") or "amd64" in includes["arches"])
                and "amd64" not in (excludes.get("arches") or [])
                and not includes.get("minKernel"))

    rules = []
    for rule in filter(applies, source["syscalls"]):
        kept = {key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key)}
        rules.append({**kept, "names": rule.get("names") or [rule["name"]]})
    architectures = next([entry["architecture"], *entry["subArchitectures"]] for entry in source["archMap"]
                         if entry["architecture"] == "SCMP_ARCH_X86_64")
    found = {"defaultAction": source["defaultAction"], "architectures": architectures, "syscalls": rules}
    if source.get("defaultErrnoRet"):
        found["defaultErrnoRet"] = source["defaultErrnoRet"]
    return found


def bundle(folder, template, with_profile, group):
    """A bundle of busybox's /bin/true with the specification's usual namespaces, mounts and masks."""
    binaries = os.path.join(folder, "rootfs", "bin")
    os.makedirs(binaries)
    shutil.copy(BUSYBOX, binaries)
    os.symlink("busybox", os.path.join(binaries, "true"))
    subprocess.run([template, "spec", "--bundle", folder], check=True, env=ENVIRONMENT)
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        spec = json.load(file)
    spec["process"].update(terminal=False, args=["/bin/true"])
    # What a host without CAP_SYS_RESOURCE cannot raise measures nothing.
    spec["process"].pop("rlimits", None)
    spec["root"] = {"path": "rootfs", "readonly": True}
    spec["linux"]["cgroupsPath"] = f"{group}/container"
    if os.path.exists(f"{CONTROL_GROUPS}/cgroup.procs") and not raises_limits():
        del spec["linux"]["resources"]["devices"]
    if with_profile:
        spec["linux"]["seccomp"] = profile(spec["process"]["capabilities"]["bounding"])
    with open(path, "w") as file:
        json.dump(spec, file)
    return folder


def raises_limits():
    """Whether this process has CAP_SYS_RESOURCE."""
    with open("/proc/self/status") as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return bool(held & 1 << CAP_SYS_RESOURCE)


class Runtime:
    """A runtime with a folder for its state, and the bundles it is given."""

    def __init__(self, name, path, work):
        self.name = name
        manager = ["--cgroup-manager", "cgroupfs"] if name == "crun" else []
        # Each is a copy, as one that is installed: what a linker has just written lies in memory in
        # smaller pieces, and takes longer to start.
        folder = os.path.join(work, "program-" + name)
        os.makedirs(folder, exist_ok=True)
        self.command = [shutil.copy(path, folder), *manager, "--root", os.path.join(work, "state-" + name)]
        self.pid_file = os.path.join(work, name + ".pid")
        self.number = 0

    def steps(self, folder):
        """The three commands of one launch."""
        self.number += 1
        identity = f"launch-{os.getpid()}-{self.number}"
        return ([*self.command, "create", "--bundle", folder, "--pid-file", self.pid_file, identity],
                [*self.command, "start", identity], [*self.command, "delete", identity])


def spawn(command, log):
    """Runs one command to its end: with posix_spawn, so that it costs the same whoever asks."""
    files = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
             (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
             (os.POSIX_SPAWN_DUP2, 1, 2)]
    child = os.posix_spawn(command[0], command, ENVIRONMENT, file_actions=files)
    if os.waitpid(child, 0)[1] != 0:
        with open(log) as file:
            raise SystemExit(f"{' '.join(command)} failed: {file.read().strip()}")


def launch(runtime, folder, log):
    """Milliseconds of each step of one launch, which has run /bin/true to its good end."""
    create, start, delete = runtime.steps(folder)
    times = [time.perf_counter()]
    spawn(create, log)
    times.append(time.perf_counter())
    with open(runtime.pid_file) as file:
        process = int(file.read())
    # This process is the subreaper, so the container is its child by now.
    descriptor = os.pidfd_open(process)
    spawn(start, log)
    times.append(time.perf_counter())
    select.select([descriptor], [], [], 30)
    os.close(descriptor)
    ended, status = os.waitpid(process, os.WNOHANG)
    times.append(time.perf_counter())
    if (ended, status) != (process, 0):
        raise SystemExit(f"{runtime.name}: /bin/true did not end well: {ended} {status}")
    spawn(delete, log)
    times.append(time.perf_counter())
    os.unlink(runtime.pid_file)
    return [(after - before) * 1000 for before, after in zip(times, times[1:])]


def calls(runtime, folder, work):
    """System calls of all processes of one launch, the container's own included, as strace sees them."""
    create, start, delete = runtime.steps(folder)
    trace = os.path.join(work, "trace")
    wait = f"read pid < {runtime.pid_file}; while kill -0 $pid 2>/dev/null; do :; done"
    script = f"{' '.join(create)} && {' '.join(start)} && {wait}; {' '.join(delete)}"
    done = subprocess.run(["strace", "-f", "-qq", "-e", "signal=none", "-o", trace, "sh", "-c", script],
                          env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{runtime.name} under strace: {done.stdout}{done.stderr}")
    with open(trace, errors="replace") as file:
        lines = [line.split(None, 1) for line in file]
    shell = lines[0][0]
    # A call that another process interrupted in the trace has a second line.
    return sum(process != shell and "resumed>" not in text for process, text in lines)


def measure(options, work):
    """What was measured on the layout that is mounted: {profile: {runtime: ...}}."""
    group = f"/buntime-bench-{os.getpid()}"
    runtimes = [Runtime(name, path, work) for name, path in options.runtimes.items()]
    template = shutil.which("runc") or runtimes[0].command[0]
    bundles = {"profile": bundle(os.path.join(work, "with"), template, True, group),
               "none": bundle(os.path.join(work, "without"), template, False, group)}
    try:
        if options.count:
            return {kind: {runtime.name: calls(runtime, folder, work) for runtime in runtimes}
                    for kind, folder in bundles.items()}
        return times(options.runs, runtimes, bundles, os.path.join(work, "log"))
    finally:
        remove(group)


def times(runs, runtimes, bundles, log):
    """The times of interleaved launches, in random order: {profile: {runtime: summary}}."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("the subreaper could not be set")
    found = {kind: {runtime.name: [] for runtime in runtimes} for kind in bundles}
    order = [(kind, runtime) for kind in bundles for runtime in runtimes]
    for number in range(-3, runs):
        random.shuffle(order)
        for kind, runtime in order:
            took = launch(runtime, bundles[kind], log)
            # The first rounds fill the caches.
            if number >= 0:
                found[kind][runtime.name].append(took)
    return {kind: {name: summary(taken) for name, taken in of_kind.items()}
            for kind, of_kind in found.items()}


def summary(taken):
    """Median and tenths of the whole, and the median of each step, in milliseconds."""
    whole = [sum(steps) for steps in taken]
    tenths = statistics.quantiles(whole, n=10)
    return {"median": round(statistics.median(whole), 2),
            "p10": round(tenths[0], 2), "p90": round(tenths[8], 2),
            **{step: round(statistics.median(steps[number] for steps in taken), 2)
               for number, step in enumerate(STEPS)}}


def remove(group):
    """Removes the groups that the runtimes made on the way to that of the container."""
    hierarchies = [entry.path for entry in os.scandir(CONTROL_GROUPS) if entry.is_dir()]
    for hierarchy in [CONTROL_GROUPS, *hierarchies]:
        for folder, _, _ in os.walk(hierarchy + group, topdown=False):
            os.rmdir(folder)


def on_layout(layout, options):
    """The measurements of one layout, by this program in a mount namespace where it is mounted."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
               f'set -e; {LAYOUTS[layout]}\nexec "$@"', "sh", sys.executable, *sys.argv, "--inside"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        raise SystemExit(f"the measurement on cgroup {layout} failed")
    return json.loads(done.stdout)


def table(layout, kind, found, options):
    """One table of a layout and a kind of profile, the fastest first."""
    unit = "system calls" if options.count else f"ms, {options.runs} interleaved launches of each"
    what = "the default seccomp profile" if kind == "profile" else "no seccomp profile"
    medians = {name: value if options.count else value["median"] for name, value in found.items()}
    head = ["", "calls"] if options.count else ["", "p10", "median", "p90", *STEPS]
    head += ["/ " + name for name in medians]
    rows = [head]
    for name in sorted(medians, key=medians.get):
        value = found[name]
        columns = ["p10", "median", "p90", *STEPS]
        cells = [str(value)] if options.count else [f"{value[key]:.1f}" for key in columns]
        rows.append([name, *cells, *(f"{medians[name] / medians[other]:.2f}" for other in medians)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return f"\ncreate + start + wait + delete on cgroup {layout}, {what}, {unit}\n" + "\n".join(lines)


def main(options):
    if os.geteuid() != 0:
        raise SystemExit("hack/bench launch: only root can make containers without a user namespace")
    if not os.path.exists(PROFILE):
        raise SystemExit(f"{PROFILE} is not there: install golang-github-containers-common")
    for name, path in options.runtimes.items():
        if not os.access(path, os.X_OK):
            raise SystemExit(f"{name} cannot be executed at {path}: build it, or name others with --runtime")
    if options.inside:
        with tempfile.TemporaryDirectory(prefix="launches-") as work:
            json.dump(measure(options, work), sys.stdout)
        return
    found = {layout: on_layout(layout, options) for layout in options.layout or LAYOUTS}
    found = {layout: measured for layout, measured in found.items() if measured}
    if options.json:
        unit = "calls" if options.count else "ms"
        print(json.dumps({"unit": unit, "runs": options.runs, "layouts": found}, indent=2))
        return
    for layout, measured in found.items():
        for kind in ("profile", "none"):
            print(table(layout, kind, measured[kind], options))
