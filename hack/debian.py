"""Debian's packages and source packages, installed or unpacked only when they are missing."""

import os
import re
import shutil
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RETRIES = ["-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300"]
# A maintainer script that starts its daemon asks this program whether it may.
POLICY = "/usr/sbin/policy-rc.d"


def missing(packages):
    """Those of the packages that are not installed."""
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
                           capture_output=True, text=True)
    installed = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def install(packages):
    """Installs what is missing, and starts none of the daemons that come with it."""
    wanted = missing(packages)
    if not wanted:
        return
    print(f"== installing {' '.join(wanted)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    forbidding = not os.path.exists(POLICY)
    if forbidding:
        with open(POLICY, "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(POLICY, 0o755)
    try:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *wanted]):
            subprocess.run(["apt-get", "-qq", *RETRIES, *command], env=environment, check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    finally:
        if forbidding:
            os.unlink(POLICY)


def source(name, version=None):
    """The unpacked source package, which apt checks against Debian's signatures: its folder.

    Without a version it is the newest, of when it was first asked for.

    The lists of source packages are this function's own, so that nothing changes for the host.
    """
    place = os.path.join(TOP, "target", "sources")
    folder = os.path.join(place, f"{name}-{version}" if version else name)
    if os.path.isdir(folder):
        return folder
    print(f"== source of {os.path.basename(folder)}", flush=True)
    os.makedirs(place, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as work:
        for part in ("lists/partial", "cache", "parts", "out"):
            os.makedirs(os.path.join(work, part))
        for file in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
            if os.path.exists(file):
                with open(file) as text:
                    lines = re.sub(r"^Types:.*", "Types: deb-src", text.read(), flags=re.M)
                lines = re.sub(r"^deb ", "deb-src ", lines, flags=re.M)
                name_of_part = "own" + (os.path.splitext(file)[1])
                with open(os.path.join(work, "parts", name_of_part), "w") as part:
                    part.write(lines)
        apt = ["apt-get", "-qq", *RETRIES, "-o", "Dir::Etc::sourcelist=/dev/null",
               "-o", f"Dir::Etc::sourceparts={work}/parts", "-o", f"Dir::State::lists={work}/lists",
               "-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User=root"]
        subprocess.run([*apt, "update"], check=True)
        wanted = f"{name}={version}" if version else name
        subprocess.run([*apt, "source", wanted], check=True, cwd=work + "/out", stdout=subprocess.DEVNULL)
        unpacked = next(entry.path for entry in os.scandir(work + "/out") if entry.is_dir())
        shutil.move(unpacked, folder)
    return folder
