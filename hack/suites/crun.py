"""crun's tests, written in Python, from Debian's source package of crun."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

import debian

from . import BUILT, planned, results

VERSION = "1.8.1-1+deb12u1"
PACKAGES = ["gcc", "libc6-dev", "libseccomp-dev", "libmount-dev", "python3-dev", "pkg-config"]
FOLDER = os.path.join(BUILT, "crun")


def build(_):
    if os.path.exists(os.path.join(FOLDER, "built")):
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(debian.source("crun", VERSION), FOLDER, symlinks=True)
    # What the project's configure script would find out.
    with open(os.path.join(FOLDER, "config.h"), "w") as file:
        file.write("#define HAVE_SECCOMP 1\n#define HAVE_ERROR_H 1\n")
    subprocess.run(["gcc", "-O2", "-w", "-static", "-I.", "-o", "tests/init", "tests/init.c", "-lseccomp"],
                   cwd=FOLDER, check=True)
    libmount()
    open(os.path.join(FOLDER, "built"), "w").close()


def libmount():
    """Python's module of libmount, which the tests of mounts need and Debian has no package of."""
    place = os.path.join(FOLDER, "modules", "libmount")
    os.makedirs(place)
    top = debian.source("util-linux")
    sources = os.path.join(top, "libmount", "python")
    shutil.copy(os.path.join(sources, "__init__.py"), place)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "mount", "python3"], check=True,
                           capture_output=True, text=True).stdout.split()
    files = [os.path.join(sources, name) for name in ("pylibmount.c", "context.c", "fs.c", "tab.c")]
    subprocess.run(["gcc", "-O2", "-w", "-fPIC", "-shared", "-include", "errno.h", "-DHAVE_ERR_H",
                    "-I" + top + "/include", "-o", place + "/pylibmount.so", *files, *flags], check=True)


def adapted(name, path):
    """A program with the options that the tests say. runc has no name for two of them, which say
    what it does anyway: cgroups by their files, and the configuration where it is."""
    if name != "runc":
        return path
    with open(path + "-adapted", "w") as file:
        file.write(f"""#!/bin/sh
[ "$1" = --cgroup-manager ] && shift 2
for word; do
    shift
    if [ "$last" = --config ] && [ "$word" = config.json ]; then last=; continue; fi
    [ "$word" = --config ] || set -- "$@" "$word"
    last=$word
done
exec {path} "$@"
""")
    os.chmod(path + "-adapted", 0o755)
    return path + "-adapted"


def units():
    return sorted(os.path.basename(path) for path in glob.glob(FOLDER + "/tests/test_*.py"))


def command(file, runtime):
    """The tests make their folders where they are run, and look for tests/init there."""
    place = tempfile.mkdtemp(dir="/tmp")
    os.symlink(os.path.join(FOLDER, "tests"), os.path.join(place, "tests"))
    os.chmod(place, 0o755)
    return ["/usr/bin/python3", "-B", os.path.join("tests", file)], {
        "OCI_RUNTIME": runtime, "PYTHONPATH": os.path.join(FOLDER, "modules")}, place


def outcomes(file, text, _):
    """Results by name. Tests that were announced and told nothing have failed; they are run in the
    order in which the file lists them."""
    found = {f"{file}: {result.name}": result.outcome for result in results(text)}
    untold = [name for name in listed(file) if f"{file}: {name}" not in found]
    found.update({f"{file}: {name}": "fail" for name in untold[:planned(text) - len(found)]})
    return found


def listed(file):
    """The names in the table of tests at the end of a file."""
    with open(os.path.join(FOLDER, "tests", file)) as text:
        table = text.read().rpartition("all_tests = {")[2]
    return re.findall(r'^\s*"([^"]+)"\s*:', table, re.M)
