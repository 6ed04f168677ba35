"""Scenarios of Podman as a user without privileges: everything in that user's namespace."""

import os
import subprocess

from .. import inside
from ..command import run
from . import SCENARIOS, USER

expects = SCENARIOS.expects
NAME = "rootless"
HOME = "/run/home-of-rootless"


def prepare(podman):
    """An account with subordinate ids, known inside of the enclosure only."""
    if os.path.isdir(HOME):
        return
    for file, line, own in (("passwd", f"{NAME}:x:{USER}:{USER}::{HOME}:/bin/sh", f":{USER}:"),
                            ("group", f"{NAME}:x:{USER}:", f":{USER}:"),
                            ("subuid", f"{NAME}:200000:65536", NAME),
                            ("subgid", f"{NAME}:200000:65536", NAME)):
        path, changed = "/etc/" + file, podman.path(file)
        lines = []
        if os.path.exists(path):
            with open(path) as text:
                lines = [kept for kept in text.read().splitlines() if own not in kept]
        else:
            open(path, "w").close()
        with open(changed, "w") as text:
            text.write("\n".join([*lines, line]) + "\n")
        subprocess.run(["mount", "--bind", changed, path], check=True)
    for folder in (HOME, f"/run/user/{USER}"):
        os.makedirs(folder)
        os.chown(folder, USER, USER)
    os.chmod(podman.folder, 0o755)
    for archive in podman.archives:
        done(podman, "load", "--input", archive).whole()


def done(podman, *arguments, stdin=""):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": HOME, "USER": NAME,
                   "XDG_RUNTIME_DIR": f"/run/user/{USER}", "CONTAINERS_CONF": podman.path("containers.conf")}
    command = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups",
               *podman.command(*arguments)]
    return run(command, stdin, 60, environment)


def rootless(podman, *arguments, stdin=""):
    prepare(podman)
    *flags, command = arguments
    command = command if isinstance(command, list) else ["sh", "-c", command]
    return done(podman, "run", "--rm", "--network", "none", *flags, "bb:1", *command, stdin=stdin)


@expects("0 0 1000; 7; 0 12345; 0 1000")
def as_a_user(podman):
    ids = rootless(podman, "echo $(id -u) $(awk 'NR == 1 {print $2}' /proc/self/uid_map)")
    other = rootless(podman, "--user", "1000", "id -u")
    read = rootless(podman, "--interactive", "cat", stdin="12345")
    return f"{ids}; {rootless(podman, 'exit 7')}; {read}; {other}"


@expects("0 inside; exited 137; 0 gone")
def life_as_a_user(podman):
    prepare(podman)
    container = done(podman, "run", "--detach", "--network", "none", "bb:1", "sleep", "60").whole()
    inside = done(podman, "exec", container, "echo", "inside")
    done(podman, "stop", "--time", "0", container).whole()
    state = done(podman, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container).whole()
    removed = done(podman, "rm", container)
    left = done(podman, "ps", "--all", "--quiet").whole()
    return f"{inside}; {state}; {removed.status} {'gone' if not left else left}"


@expects(None)
def status_as_a_user(podman):
    return rootless(podman, "--hostname", "name", inside.STATUS + "; " + inside.DEVICES)


@expects(None)
def mounts_as_a_user(podman):
    return inside.mounts(rootless(podman, inside.MOUNTS).whole())
