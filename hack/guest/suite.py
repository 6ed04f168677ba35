"""The project's own tests in a guest, as far as an emulated machine is quick enough for them."""

import json
import os
import subprocess
import sys
import tempfile

import debian

from . import image, machine

# By test program: the filters of what depends on the kernel and its control groups.
UNITS = ["launch::", "oci::", "sys::"]
WHOLE = ["basics::", "leaks::", "floods::memory", "floods::processes",
         "crowds::runs_that_end_badly"]
# The guest's path of the binary, and how long all of it may take, in seconds.
BINARY, PATIENCE = "/usr/local/bin/buntime", 1500.0


def test(kind, binary, filters):
    """Builds the tests, runs them in the guest, and returns the exit status: 0 if all passed."""
    if binary is None:
        binary = os.path.join(debian.TOP, "target", "release", "buntime")
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=debian.TOP, check=True)
    with tempfile.TemporaryDirectory(prefix="tests.", dir=image.STORE) as work:
        programs = stripped(work, {"buntime": binary, **built()})
        steps = [["/work/units", "--test-threads=1", *UNITS],
                 ["/work/system", "--test-threads=1", *WHOLE]]
        if filters:
            steps = [["/work/system", "--test-threads=1", *filters]]
        lines = [f"mkdir -p {os.path.join(debian.TOP, 'target', 'tmp')}", "failed=0"]
        for step in steps:
            lines += [" ".join(step) + " || failed=1"]
        order = machine.Order(
            command=["bash", "-c", "\n".join([*lines, "exit $failed"])],
            files=[(path, BINARY if name == "buntime" else f"/work/{name}")
                   for name, path in programs.items()],
            environment={"BUNTIME_BINARY": BINARY}, timeout=PATIENCE)
        return machine.run(kind, order)


def built():
    """The test programs, as cargo names them."""
    done = subprocess.run(["cargo", "test", "--locked", "--no-run", "--lib", "--test", "system",
                           "--message-format", "json"], cwd=debian.TOP, check=True, text=True,
                          stdout=subprocess.PIPE)
    programs = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            name = "units" if "lib" in message["target"]["kind"] else message["target"]["name"]
            programs[name] = message["executable"]
    if set(programs) != {"units", "system"}:
        sys.exit(f"hack/vm: cargo built {sorted(programs)}, not the two test programs")
    return programs


def stripped(work, programs):
    """Copies without what only a debugger reads: a guest's memory is small."""
    for name, path in programs.items():
        programs[name] = os.path.join(work, name)
        subprocess.run(["strip", "-o", programs[name], path], check=True)
    return programs
