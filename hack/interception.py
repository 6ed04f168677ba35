"""What a decision about each open costs, beside the least that any answer from outside can cost.

open and close of one file, in one thread, in one with all that answers it on one processor, and in
several: as it is; in `buntime run` without rules and with rules that Landlock carries; under the
interceptor; *bare*, where another process is notified of each open and lets it go on without a look
at it; and *unchecked*, where it copies the path, opens whatever that is and hands it over
(examples/opens.rs). And the whole of `python3 -c 'import asyncio, json, urllib.request'`.

The others: sandlock without its supervisor, and with a denied path, where its supervisor opens each
file too; gVisor's runsc. They are installed where they are missing: runsc from Debian, sandlock by
cargo into target/tools. What one of them cannot run is said in its own words.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time

import debian
from rounds import Cannot, measured, table

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SANDLOCK = "0.9.0"
PLATFORM = "ptrace"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
SYSTEM = [folder for folder in ("/usr", "/bin", "/lib", "/lib64", "/etc") if os.path.exists(folder)]
# Every sandbox shows it, without a rule.
FILE = "/usr/lib/os-release"
# The end proves that it ran. It costs all of them the same.
PROGRAM = ["/usr/bin/python3", "-c", "import asyncio, json, urllib.request; print(7)"]
NATIVE, BARE, UNCHECKED, INTERCEPTED = "native", "bare notify", "unchecked", "buntime, interceptor"
FREE, LANDLOCK = "buntime, no rules", "buntime, Landlock only"
# What the answer costs is seen on one processor; on several there is what waking another costs.
PLACES = [("one thread", 1, ()), ("one thread, all on one processor", 1, ("taskset", "--cpu-list", "0")),
          ("4 threads at once", 4, ())]
LISTENER = "anon_inode:seccomp notify"


def sandlock():
    """The path of sandlock, at the version that is compared with."""
    tools = os.path.join(TOP, "target", "tools")
    found = os.path.join(tools, "bin", "sandlock")
    asked = subprocess.run([found, "--version"], capture_output=True, text=True) if os.path.exists(found) else None
    if not asked or asked.stdout.split()[-1:] != [SANDLOCK]:
        print(f"== installing sandlock-cli {SANDLOCK}", flush=True)
        subprocess.run(["cargo", "install", "--quiet", "--locked", "--force", "--root", tools,
                        "--version", SANDLOCK, "sandlock-cli"], check=True)
    return found


def policy(work, name, *rules):
    """A file with a policy of these rules about files, under which every program may run."""
    path = os.path.join(work, name + ".json")
    defaults = {"fs": "deny", "net": "deny", "exec": "allow"}
    with open(path, "w") as file:
        json.dump({"version": 1, "defaults": defaults, "fs": {"rules": rules}}, file)
    return path


def sandboxes(work, binary):
    """Each as the words that stand before the command."""
    ours = os.path.join(work, "buntime")
    shutil.copy(binary, ours)
    reading = {"action": "allow", "path": work, "perms": ["read_file", "read_dir"]}
    keys = {"action": "deny", "path": work + "/**/*.key"}
    policies = {FREE: policy(work, "free"), LANDLOCK: policy(work, "landlock", reading),
                INTERCEPTED: policy(work, "intercepted", reading, keys)}
    found = {NATIVE: []}
    found |= {name: [ours, "run", "--quiet", "--policy", file, "--"] for name, file in policies.items()}
    reads = [word for place in [*SYSTEM, "/proc", "/dev", work] for word in ("-r", place)]
    theirs = [sandlock(), "run", *reads]
    found["sandlock, Landlock only"] = [*theirs, "--no-supervisor", "--"]
    found["sandlock, denied path"] = [*theirs, "--fs-deny", work + "/denied", "--"]
    found[f"runsc, {PLATFORM}"] = [
        "runsc", "--root", os.path.join(work, "runsc"), "--network=none", "--ignore-cgroups",
        f"--platform={PLATFORM}", "do"]
    return found


def run(command):
    """Milliseconds of the command, and what it wrote."""
    start = time.perf_counter()
    done = subprocess.run(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=120, text=True)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Cannot(said[-1] if said else f"status {done.returncode}")
    return took, done.stdout.strip()


def opening(opens, threads, where=()):
    """Measures microseconds of one open and close behind the words of a sandbox, or by what answers."""
    def measure(words):
        before, after = ([], [words]) if isinstance(words, str) else (words, [])
        return int(run([*where, *before, opens, FILE, str(threads), *after])[1]) / 1000
    return measure


def importing(words):
    """Milliseconds of the program."""
    took, said = run([*words, *PROGRAM])
    if said != "7":
        raise Cannot(f"it wrote {said!r}")
    return took


def must(name):
    """Whether one has to be able to."""
    return name in (NATIVE, BARE, UNCHECKED) or name.startswith("buntime")


def listeners(words):
    """How many listeners of a filter the processes of a run hold while its program sleeps."""
    running = subprocess.Popen([*words, "/usr/bin/sleep", "60"], env=ENVIRONMENT, stdin=subprocess.DEVNULL)
    try:
        while True:
            family = descendants(running.pid)
            if "sleep" in map(name_of, family):
                return sum(LISTENER in links(pid) for pid in family)
            if running.poll() is not None:
                raise SystemExit(f"{' '.join(words)} did not start sleep")
            time.sleep(0.01)
    finally:
        running.terminate()
        running.wait(timeout=30)


def descendants(pid):
    """The process and all that came from it."""
    found = [pid]
    for parent in found:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children") as file:
                    found += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            # It has ended meanwhile.
            continue
    return found


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def links(pid):
    """What the descriptors of a process are called."""
    found = []
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        try:
            found.append(os.readlink(os.path.join(folder, number)))
        except FileNotFoundError:
            continue
    return found


def main(options):
    if os.geteuid() != 0:
        raise SystemExit("hack/bench intercept: only root can run runsc and look for listeners")
    opens = os.path.join(os.path.dirname(options.binary), "examples", "opens")
    for path in (options.binary, opens):
        if not os.access(path, os.X_OK):
            raise SystemExit(f"{path} is not there: cargo build --release --locked --bin buntime --example opens")
    debian.install(["runsc"])
    # Not below /tmp, of which each sandbox has its own.
    with tempfile.TemporaryDirectory(prefix="interception-", dir="/var/tmp") as work:
        os.chmod(work, 0o755)
        opens = shutil.copy(opens, work)
        found = sandboxes(work, options.binary)
        answering = {BARE: "notified", UNCHECKED: "opened"}
        for many, threads, where in PLACES:
            taken = measured(options.runs, {**found, **answering}, opening(opens, threads, where), must)
            print(table(f"open + close of {FILE}, {many}, µs, {options.runs} interleaved runs of each",
                        taken, [NATIVE, BARE, UNCHECKED]), flush=True)
        print(table(f"{' '.join(PROGRAM)}, ms, {options.runs} interleaved runs of each",
                    measured(options.runs, found, importing, must), [NATIVE]), flush=True)
        counted = ", ".join(f"{name}: {listeners(found[name])}" for name in (FREE, LANDLOCK, INTERCEPTED))
        print(f"\nlisteners of a filter: {counted}")
