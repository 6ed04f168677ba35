"""The project's own tests in a guest, as far as an emulated machine is quick enough for them."""

import json
import os
import shlex
import subprocess
import sys
import tempfile

import debian

from . import image, machine

# The filters of what depends on the kernel and its control groups.
UNITS = ["launch::", "sys::"]
# Pure searches that take minutes in emulation.
PURE = ["--skip", "profile::tests", "--skip", "seccomp::text_tests"]
WHOLE = ["basics::", "leaks::", "floods::memory", "floods::processes",
         "crowds::runs_that_end_badly"]
# The guest's path of the binary, and how long all of it may take, in seconds.
BINARY, PATIENCE = "/usr/local/bin/buntime", 3000.0
HACK = os.path.join(debian.TOP, "hack")
PARTS = ("units", "whole", "oci", "calls", "defaults")
# "defaults" needs the full guest, and takes longest.
USUAL = PARTS[:4]


def steps(part, filters):
    """The commands of a part."""
    if part == "units":
        return [["/work/units", "--test-threads=2", *(filters or UNITS + PURE)]]
    if part == "whole":
        return [["mkdir", "-p", os.path.join(debian.TOP, "target", "tmp")],
                ["/work/whole", "--test-threads=1", *(filters or WHOLE)]]
    if part == "calls":
        return [["python3", "/work/hack/bench", "launch", "--count", "--layout", "v2",
                 "--runtime", f"buntime={BINARY}", "--runtime", "runc=/usr/sbin/runc",
                 "--runtime", "crun=/usr/bin/crun"]]
    program = {"oci": "verbs.py", "defaults": "defaults.py"}[part]
    return [["python3", f"/work/hack/guest/{program}", f"buntime={BINARY}", "runc=/usr/sbin/runc",
             *filters]]


def test(kind, parts, binary, filters):
    """Builds the tests, runs them in the guest, and returns the exit status: 0 if all passed."""
    parts = parts or USUAL
    if "defaults" in parts and kind is not image.FULL:
        sys.exit("hack/vm: only the full guest has daemons: hack/vm full test defaults")
    if binary is None:
        binary = os.path.join(debian.TOP, "target", "release", "buntime")
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=debian.TOP, check=True)
    os.makedirs(image.STORE, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tests.", dir=image.STORE) as work:
        files = [(stripped(work, binary), BINARY), (HACK, "/work/hack")]
        for name, path in built(part for part in parts if part in ("units", "whole")).items():
            files.append((stripped(work, path), f"/work/{name}"))
        script = ["failed=0"]
        script += [f"echo; echo '== {shlex.join(step)}'; {shlex.join(step)} || failed=1"
                   for part in parts for step in steps(part, filters)]
        order = machine.Order(command=["bash", "-c", "\n".join([*script, "exit $failed"])],
                              files=files, environment={"BUNTIME_BINARY": BINARY},
                              timeout=PATIENCE)
        return machine.run(kind, order)


def built(wanted):
    """The test programs of the parts, as cargo names them."""
    flags = {"units": ["--lib"], "whole": ["--test", "system"]}
    flags = [flag for part in wanted for flag in flags[part]]
    if not flags:
        return {}
    done = subprocess.run(["cargo", "test", "--locked", "--no-run", "--message-format", "json",
                           *flags], cwd=debian.TOP, check=True, text=True, stdout=subprocess.PIPE)
    programs = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            name = "units" if "lib" in message["target"]["kind"] else "whole"
            programs[name] = message["executable"]
    if not programs:
        sys.exit("hack/vm: cargo built no test program")
    return programs


def stripped(work, path):
    """A copy without what only a debugger reads: a guest's memory is small."""
    copy = os.path.join(work, os.path.basename(path))
    subprocess.run(["strip", "-o", copy, path], check=True)
    return copy
