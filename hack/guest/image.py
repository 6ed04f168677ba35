"""Makes the disk of a guest: Debian's packages, unpacked below target/vm, never on the host.

A disk is named after what it is made of, and made again when that changes. It is written once;
a guest that runs writes to a snapshot of it. The initial file system is put together at each
start, from the modules kept with the disk and the scripts beside this file.
"""

import fcntl
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import debian

HERE = os.path.dirname(os.path.abspath(__file__))
STORE = os.path.join(debian.TOP, "target", "vm")
ARCHIVE = "http://deb.debian.org/debian"
# What the host needs.
TOOLS = ["qemu-system-x86", "debootstrap", "e2fsprogs", "busybox-static", "kmod", "util-linux"]
# Without these a kernel of Debian's for clouds sees neither its disk nor the way out.
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"]
# The profiles of AppArmor's that are about what runs here.
PROFILES = ["runc", "crun", "podman", "passt", "slirp4netns", "busybox"]


@dataclass(frozen=True)
class Kind:
    """A guest, as what it is made of. `size` is its disk's, `init` the first process, `words`
    go to the kernel's command line."""

    name: str
    release: str
    packages: tuple
    size: str
    memory: int
    init: str
    words: str = ""


MINIMAL = Kind(
    name="minimal", release="bookworm", size="3G", memory=2048, init="/guest/init",
    packages=("bash", "python3", "strace", "runc", "crun", "busybox-static", "util-linux",
              "uidmap", "iproute2", "procps", "kmod", "gcc", "libc6-dev", "bubblewrap",
              # debootstrap chooses nothing for a package that is only a name, as this one's network is.
              "golang-github-containers-common", "containernetworking-plugins"))
FULL = Kind(
    name="full", release="trixie", size="10G", memory=3072, init="/usr/lib/systemd/systemd",
    packages=("systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "procps",
              "util-linux", "uidmap", "python3", "strace", "busybox-static", "gcc", "libc6-dev",
              "apparmor", "iptables", "nftables", "containernetworking-plugins", "runc", "crun",
              "containerd", "docker.io", "docker-cli", "tini", "podman", "conmon", "netavark",
              "aardvark-dns", "fuse-overlayfs", "slirp4netns", "passt", "bubblewrap"),
    words="apparmor=1 security=apparmor")


def key(kind):
    """What the disk is made of, as a short name."""
    with open(os.path.abspath(__file__), "rb") as file:
        recipe = file.read()
    return kind.name + "-" + hashlib.sha256(recipe + repr(kind).encode()).hexdigest()[:16]


def ready(kind):
    """The folder with `disk.img`, `vmlinuz` and `modules/` of a guest, made if it is not there."""
    folder = os.path.join(STORE, key(kind))
    if os.path.exists(folder):
        return folder
    if os.geteuid() != 0:
        sys.exit("hack/vm: making a guest's disk needs root, for the owners of its files")
    os.makedirs(STORE, exist_ok=True)
    with open(os.path.join(STORE, "making.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder):
            debian.install(TOOLS)
            print(f"hack/vm: making the {kind.name} guest of Debian {kind.release}, once",
                  file=sys.stderr)
            make(kind, folder)
    return folder


def make(kind, folder):
    """Makes a disk and moves it into place; what an older recipe made is removed."""
    work = tempfile.mkdtemp(prefix="making.", dir=STORE)
    try:
        root, result = os.path.join(work, "root"), os.path.join(work, "result")
        os.makedirs(os.path.join(result, "modules"))
        log = os.path.join(STORE, f"{kind.name}.log")
        with open(log, "w") as out:
            steps = [["debootstrap", "--variant=minbase", "--include=" + ",".join(kind.packages),
                      kind.release, root, ARCHIVE]]
            said(steps, out, log)
            version = kernel(root, result, work, out, log)
            furnish(root)
            said([["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root,
                   os.path.join(result, "disk.img"), kind.size]], out, log)
        keep_modules(root, version, os.path.join(result, "modules"))
        for old in os.listdir(STORE):
            if old.startswith(kind.name + "-"):
                shutil.rmtree(os.path.join(STORE, old))
        os.rename(result, folder)
    finally:
        shutil.rmtree(work)


def said(steps, out, log):
    """Runs commands whose words go to a log that a failure names."""
    for step in steps:
        done = subprocess.run(step, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"hack/vm: {step[0]} failed with {done.returncode}; see {log}")


def kernel(root, result, work, out, log):
    """Unpacks the release's kernel for clouds into the root, and returns its version. It is not
    installed: that would make an initial file system, for minutes."""
    asked = subprocess.run(["chroot", root, "apt-cache", "depends", "linux-image-cloud-amd64"],
                           check=True, capture_output=True, text=True).stdout
    package = next(line.split()[1] for line in asked.splitlines() if "Depends:" in line)
    said([["chroot", root, "sh", "-c", f"cd /root && apt-get -o APT::Sandbox::User=root "
           f"download {package}"]], out, log)
    archive = next(name for name in os.listdir(os.path.join(root, "root"))
                   if name.endswith(".deb"))
    archive = shutil.move(os.path.join(root, "root", archive), work)
    unpacked = os.path.join(work, "kernel")
    said([["dpkg-deb", "-x", archive, unpacked]], out, log)
    modules = next(place for place in ("lib/modules", "usr/lib/modules")
                   if os.path.isdir(os.path.join(unpacked, place)))
    modules = os.path.join(unpacked, modules)
    version = os.listdir(modules)[0]
    shutil.copytree(os.path.join(modules, version),
                    os.path.join(root, "usr/lib/modules", version), symlinks=True)
    shutil.copy(os.path.join(unpacked, "boot", f"vmlinuz-{version}"),
                os.path.join(result, "vmlinuz"))
    shutil.copy(os.path.join(unpacked, "boot", f"config-{version}"), os.path.join(root, "boot"))
    said([["depmod", "-b", root, version]], out, log)
    return version


def furnish(root):
    """What a system needs that nobody installs: names, an ordinary user, no downloaded archives."""
    for path, text in [("etc/hostname", "guest\n"), ("etc/fstab", ""), ("etc/resolv.conf", ""),
                       ("etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
                       # A system that has been started before.
                       ("etc/machine-id", "6775657374" + "0" * 22 + "\n")]:
        with open(os.path.join(root, path), "w") as file:
            file.write(text)
    subprocess.run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash",
                    "--uid", "1000", "user"], check=True)
    # Compiling a hundred profiles of programs that are not there takes half of a boot.
    profiles = os.path.join(root, "etc/apparmor.d")
    for entry in os.scandir(profiles) if os.path.isdir(profiles) else ():
        if entry.is_file() and entry.name not in PROFILES:
            os.unlink(entry.path)
    for folder in ("guest", "work"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for folder in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(os.path.join(root, folder), ignore_errors=True)


def keep_modules(root, version, kept):
    """Copies what the initial file system loads, plain, named in the order of loading."""
    folder = os.path.join(root, "usr/lib/modules", version)
    with open(os.path.join(folder, "modules.dep")) as file:
        needs = {path: rest.split() for path, rest in
                 (line.rstrip("\n").split(":") for line in file)}
    with open(os.path.join(folder, "modules.builtin")) as file:
        builtin = {module_name(line.strip()) for line in file}
    by_name = {module_name(path): path for path in needs}
    order = []
    for name in MODULES:
        if name in by_name:
            # modules.dep lists first what is loaded last.
            order += [*reversed(needs[by_name[name]]), by_name[name]]
        elif name not in builtin:
            sys.exit(f"hack/vm: the kernel {version} has no module {name}")
    for number, path in enumerate(dict.fromkeys(order)):
        with open(os.path.join(folder, path), "rb") as file:
            code = file.read()
        if path.endswith(".xz"):
            code = lzma.decompress(code)
        with open(os.path.join(kept, f"{number:02}-{module_name(path)}.ko"), "wb") as file:
            file.write(code)


def module_name(path):
    """modules.dep writes paths, with dashes where names have underscores."""
    return os.path.basename(path).split(".")[0].replace("-", "_")


def initial(folder, path):
    """Writes the initial file system: busybox, modules, and the scripts of the guest."""
    with open(path, "wb") as out:
        archive = Archive(out)
        for place in ("bin", "dev", "guest", "modules", "proc", "root", "sys"):
            archive.add(place, stat.S_IFDIR | 0o755, b"")
        archive.add_file("bin/busybox", "/bin/busybox", 0o755)
        archive.add_file("init", os.path.join(HERE, "initramfs"), 0o755)
        for name in ("init", "command", "guest.service"):
            archive.add_file(f"guest/{name}", os.path.join(HERE, name), 0o755)
        for name in sorted(os.listdir(os.path.join(folder, "modules"))):
            archive.add_file(f"modules/{name}", os.path.join(folder, "modules", name), 0o644)
        archive.add("TRAILER!!!", 0, b"")


class Archive:
    """The cpio format that the kernel unpacks ("newc", in its initramfs-buffer-format.rst)."""

    def __init__(self, out):
        self.out, self.number = out, 0

    def add_file(self, name, source, mode):
        with open(source, "rb") as file:
            self.add(name, stat.S_IFREG | mode, file.read())

    def add(self, name, mode, content):
        self.number += 1
        name = name.encode() + b"\0"
        fields = [self.number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        for part in (head, content):
            self.out.write(part + b"\0" * (-len(part) % 4))
