"""The validation of opencontainers/runtime-tools, at the commit that Debian 12 packages.

Debian's binary package leaves the validation out, so it comes from the project's own repository.
"""

import os
import re
import shutil
import subprocess

from . import BUILT, PLAN, planned, results

COMMIT = "0105384f68e16803891d0a17d9067b1def6a2778"
REPOSITORY = "https://github.com/opencontainers/runtime-tools"
PACKAGES = ["git", "golang-go", "gcc", "libc6-dev"]
FOLDER = os.path.join(BUILT, "runtime-tools")


def build(repository):
    if os.path.exists(os.path.join(FOLDER, "built")):
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", repository or REPOSITORY, FOLDER], check=True)
    subprocess.run(["git", "checkout", "--quiet", "--detach", COMMIT], cwd=FOLDER, check=True)
    environment = {**os.environ, "GOFLAGS": "-mod=vendor", "GO111MODULE": "on", "GOPROXY": "off",
                   "GOCACHE": os.path.join(BUILT, "go-cache"), "PATH": "/usr/bin:/bin:/usr/sbin"}
    # The programs are linked as the project's Makefile does it.
    for what in ("runtimetest", "validation-executables"):
        subprocess.run(["make", "--quiet", what], cwd=FOLDER, env=environment, check=True)
    open(os.path.join(FOLDER, "built"), "w").close()


def units():
    found = []
    for folder, _, names in os.walk(os.path.join(FOLDER, "validation")):
        found += [os.path.relpath(os.path.join(folder, name), FOLDER + "/validation")
                  for name in names if name.endswith(".t")]
    return sorted(found)


def command(file, runtime):
    return [os.path.join(FOLDER, "validation", file)], {"RUNTIME": runtime}, FOLDER


def outcomes(file, text, status):
    """One result for the file, as the program that the project runs its tests with counts: a file that
    ends badly has failed. Some announce no result at all, and then write only of what went wrong."""
    found = results(text)
    name = os.path.basename(file).removesuffix(".t")
    complained = not found and re.search(r"^  (---|\.\.\.)$", text, re.M)
    if status != 0 or "Bail out!" in text or complained or not PLAN.search(text) or len(found) < planned(text):
        return {name: "fail"}
    if any(result.outcome == "fail" for result in found):
        return {name: "fail"}
    skipped = found and all(result.outcome == "skip" for result in found)
    return {name: "skip" if skipped else "pass"}
