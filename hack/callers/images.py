"""Images made of Debian's busybox, since no registry need be reachable: docker-archives.

All four callers load that form.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile

BUSYBOX = "/bin/busybox"
IMAGE = "docker.io/library/bb:1"
PAUSE = "docker.io/library/pause:1"
# The first process of a pod: holds its namespaces, reaps, and ends at SIGTERM.
PAUSE_PROGRAM = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, 0, WNOHANG) > 0) continue; }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""


def scratch():
    """A folder that is removed when it is left; not in memory, for it may become large."""
    return tempfile.TemporaryDirectory(dir="/var/tmp")


def add(archive, name, data=b"", mode=0o644, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type, entry.linkname = len(data), mode, kind, link
    archive.addfile(entry, io.BytesIO(data))


def layer(files, folders=(), links=()):
    """A layer as bytes: files as (name, data, mode), folders as (name, mode), links as (name, to)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, mode in folders:
            add(archive, name, mode=mode, kind=tarfile.DIRTYPE)
        for name, content, mode in files:
            add(archive, name, content, mode)
        for name, target in links:
            add(archive, name, mode=0o777, kind=tarfile.SYMTYPE, link=target)
    return data.getvalue()


def archive(path, name, content, config):
    """Writes a docker-archive of one layer."""
    digest = hashlib.sha256(content).hexdigest()
    image = json.dumps({"architecture": "amd64", "os": "linux", "config": config,
                        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
                        "history": [{"created_by": "busybox"}]}).encode()
    image_name = hashlib.sha256(image).hexdigest() + ".json"
    manifest = [{"Config": image_name, "RepoTags": [name], "Layers": [digest + "/layer.tar"]}]
    with tarfile.open(path, "w") as out:
        add(out, image_name, image)
        add(out, digest, mode=0o755, kind=tarfile.DIRTYPE)
        add(out, digest + "/layer.tar", content)
        add(out, "manifest.json", json.dumps(manifest).encode())
    return path


def busybox_layer(bare=False):
    """A root with every applet of busybox. A bare one is as the well-known image called busybox has it:
    without a user besides root, and without places for what a runtime mounts."""
    with open(BUSYBOX, "rb") as file:
        program = file.read()
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout
    folders = [(name, 0o755) for name in ("bin", "etc", "root", "dev", "var", "home", "srv", "shared")]
    folders += [("tmp", 0o1777), ("shared/owned", 0o700)]
    passwd, group = b"root::0:0:root:/root:/bin/sh\n", b"root:x:0:\n"
    if not bare:
        folders += [("proc", 0o755), ("sys", 0o755)]
        passwd += b"ann:x:1000:1000::/home:/bin/sh\n"
        group += b"ann:x:1000:\nextra:x:2000:ann\n"
    files = [("bin/busybox", program, 0o755), ("etc/passwd", passwd, 0o644), ("etc/group", group, 0o644),
             ("srv/plain", b"not a program\n", 0o644)]
    # Its su says whether a set-uid bit is honoured; root has no password.
    files.append(("srv/busybox", program, 0o4755))
    return layer(files, folders, [("bin/" + name, "busybox") for name in applets.split()
                                  if name != "busybox"])


def busybox(folder):
    """The archive of an image with every applet of busybox."""
    config = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "WorkingDir": "/"}
    return archive(os.path.join(folder, "bb.tar"), IMAGE, busybox_layer(), config)


def pause(folder, name=PAUSE):
    """The archive of the image of a pod's first process."""
    source, program = os.path.join(folder, "pause.c"), os.path.join(folder, "pause")
    with open(source, "w") as file:
        file.write(PAUSE_PROGRAM)
    subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True)
    with open(program, "rb") as file:
        content = layer([("pause", file.read(), 0o755)])
    return archive(os.path.join(folder, "pause.tar"), name, content, {"Entrypoint": ["/pause"]})
