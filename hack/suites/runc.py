"""runc's integration tests, written for bats, from Debian's source package of runc."""

import glob
import os
import re
import shutil
import subprocess
import tarfile

import debian
from callers import images

from . import BUILT, results

VERSION = "1.1.5+ds1-1+deb12u1"
PACKAGES = ["bats", "jq", "gawk", "golang-go", "gcc", "libc6-dev", "libseccomp-dev", "pkg-config",
            "debootstrap", "xz-utils", "procps", "psmisc", "golang-dbus-dev", "golang-github-cilium-ebpf-dev",
            "golang-github-checkpoint-restore-go-criu-dev", "golang-github-containerd-console-dev",
            "golang-github-coreos-go-systemd-dev", "golang-github-cyphar-filepath-securejoin-dev",
            "golang-github-docker-go-units-dev", "golang-github-moby-sys-dev",
            "golang-github-mrunalp-fileutils-dev", "golang-github-opencontainers-selinux-dev",
            "golang-github-opencontainers-specs-dev", "golang-github-seccomp-libseccomp-golang-dev",
            "golang-github-sirupsen-logrus-dev", "golang-github-urfave-cli-dev",
            "golang-github-vishvananda-netlink-dev", "golang-gocapability-dev", "golang-golang-x-net-dev",
            "golang-google-protobuf-dev"]
FOLDER = os.path.join(BUILT, "runc")
# Programs that the tests use: they receive a terminal, and serve system calls.
PROGRAMS = ["recvtty", "seccompagent", "sd-helper"]


def build(_):
    """The tests with their programs and root archives."""
    if os.path.exists(os.path.join(FOLDER, "built")):
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(debian.source("runc", VERSION), FOLDER, symlinks=True)
    path = os.path.join(BUILT, "go")
    place = os.path.join(path, "src/github.com/opencontainers")
    os.makedirs(place, exist_ok=True)
    if not os.path.islink(place + "/runc"):
        os.symlink(FOLDER, place + "/runc")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": f"{path}:/usr/share/gocode",
                   "GOCACHE": os.path.join(BUILT, "go-cache"), "GOFLAGS": "",
                   "PATH": "/usr/bin:/bin:/usr/sbin"}
    for program in PROGRAMS:
        subprocess.run(["go", "build", "-tags", "seccomp", "-o", program, "."], env=environment, check=True,
                       cwd=f"{place}/runc/contrib/cmd/{program}")
    data = os.path.join(FOLDER, "tests/integration/testdata")
    busybox(os.path.join(data, "busybox-amd64.tar.xz"))
    minimal(os.path.join(data, "debian-amd64.tar.xz"))
    open(os.path.join(FOLDER, "built"), "w").close()


def busybox(path):
    """The archive of a root like that of the image called busybox."""
    plain = path.removesuffix(".xz")
    with open(plain, "wb") as file:
        file.write(images.busybox_layer(bare=True))
    subprocess.run(["xz", "-1", "--force", plain], check=True)


def minimal(path):
    """The archive of a minimal Debian."""
    with images.scratch() as folder:
        root = os.path.join(folder, "root")
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root], check=True,
                       stdout=subprocess.DEVNULL)
        with tarfile.open(path, "w:xz", preset=1) as archive:
            archive.add(root, ".", filter=lambda entry: None if entry.name.startswith("./dev/") else entry)


def units():
    """Every test by itself: one that hangs takes no other with it."""
    found = []
    for path in sorted(glob.glob(FOLDER + "/tests/integration/*.bats")):
        with open(path) as file:
            names = re.findall(r'^@test "(.*)" \{', file.read(), re.M)
        found += [f"{os.path.basename(path)}: {name}" for name in names]
    return found


def command(unit, runtime):
    """What runs one test, the variables that it reads, and its folder. It wants a terminal."""
    file, _, name = unit.partition(": ")
    exactly = "^" + re.sub(r"([][().*+?^$|{}\\])", r"\\\1", name) + "$"
    return (["bats", "--tap", "--filter", exactly, os.path.join(FOLDER, "tests/integration", file)],
            {"RUNC": runtime, "TERM": "xterm"}, os.path.join(FOLDER, "tests/integration"))


def outcomes(unit, text, _):
    """The result of the test. One that told nothing, as when it was ended, has failed."""
    found = results(text)
    return {unit: found[0].outcome if len(found) == 1 else "fail"}
