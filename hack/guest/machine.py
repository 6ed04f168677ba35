"""Boots a guest in QEMU's emulation, runs one command in it and hands back its exit status.

No network, no device of the host's, no state left behind: the disk is a snapshot, and the
machine ends with the command, by its process id, whatever happens to this program.
"""

import fcntl
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

from . import image

# What a shell says of these; 125 is this program's own failure, as of env and docker.
TIMED_OUT, FAILED = 124, 125
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Order:
    """What a guest is to do."""

    command: list
    files: list = field(default_factory=list)  # (path on the host, path in the guest)
    environment: dict = field(default_factory=dict)
    group: str = ""  # the control group that the command starts in, below the root one
    folder: str = "/work"
    timeout: float = 600.0  # seconds, from the start of the machine
    terminal: bool = False
    processors: int = 2
    console: bool = False  # show what the kernel and the first process say


def run(kind, order, out=None, err=None):
    """Runs an order with its output to two binary files, and returns the exit status."""
    out, err = out or sys.stdout.buffer, err or sys.stderr.buffer
    folder = image.ready(kind)
    work = tempfile.mkdtemp(prefix="running.", dir=image.STORE)
    # Emulation takes whole processors: one guest at a time.
    with open(os.path.join(image.STORE, "running.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            mark = secrets.token_hex(16)
            second_disk(work, order, mark)
            image.initial(folder, os.path.join(work, "initial"))
            return boot(kind, folder, work, order, mark, out, err)
        finally:
            shutil.rmtree(work)


def second_disk(work, order, mark):
    """The disk with the files and the command, as hack/guest/command reads it."""
    stage = os.path.join(work, "stage")
    os.makedirs(os.path.join(stage, "files"))
    for source, target in order.files:
        target = os.path.join(stage, "files", target.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # Holes stay holes, owners and times stay, and a folder may be given more than once.
        merge = ["-T"] if os.path.isdir(source) else []
        subprocess.run(["cp", "--archive", "--dereference", "--sparse=always", *merge, source,
                        target], check=True)
    lines = [f"export PATH={PATH} HOME=/root LANG=C.UTF-8 TERM={os.environ.get('TERM', 'dumb')}"]
    lines += [f"export {shlex.quote(name)}={shlex.quote(value)}"
              for name, value in order.environment.items()]
    lines += [f"mkdir -p {shlex.quote(order.folder)}", f"cd {shlex.quote(order.folder)}",
              "exec " + shlex.join(order.command)]
    for name, text in [("script", "\n".join(lines) + "\n"), ("mark", mark),
                       ("group", order.group), ("terminal", "yes" if order.terminal else "no")]:
        with open(os.path.join(stage, name), "w") as file:
            file.write(text)
    used = int(subprocess.run(["du", "-s", "--block-size=1M", stage], check=True, text=True,
                              capture_output=True).stdout.split()[0])
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", stage, os.path.join(work, "files.img"),
                    f"{used * 5 // 4 + 64}M"], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(stage)


def machine(kind, folder, work, order, ports):
    """The command that is the machine."""
    disk = os.path.join(folder, "disk.img")
    words = ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "10", "qemu-system-x86_64",
             "-accel", "tcg,thread=multi", "-cpu", "max", "-M", "q35", "-m", str(kind.memory),
             "-smp", str(order.processors), "-display", "none", "-no-reboot", "-nodefaults",
             "-kernel", os.path.join(folder, "vmlinuz"), "-initrd", os.path.join(work, "initial"),
             "-append", f"console=ttyS0 quiet panic=-1 reboot=t guest.init={kind.init} "
                        + kind.words,
             "-drive", f"if=none,id=root,file={disk},format=raw,cache=unsafe,snapshot=on",
             "-device", "virtio-blk-pci,drive=root",
             "-drive", f"if=none,id=files,file={work}/files.img,format=raw,cache=unsafe",
             "-device", "virtio-blk-pci,drive=files",
             "-serial", f"file:{work}/console", "-device", "virtio-serial-pci"]
    for name, number in ports.items():
        words += ["-chardev", f"file,id={name},path=/dev/fd/{number}",
                  "-device", f"virtserialport,chardev={name},name={name}"]
    if order.terminal:
        words += ["-serial", "chardev:terminal", "-chardev", "stdio,id=terminal,signal=off"]
    return words


class Port(threading.Thread):
    """Passes on what comes out of the machine until the mark, behind which the status stands."""

    def __init__(self, source, target, mark):
        super().__init__(daemon=True)
        self.source, self.target, self.mark = source, target, b"\0" + mark.encode() + b" "
        self.status = None

    def run(self):
        held = b""
        while self.status is None:
            more = os.read(self.source, 1 << 16)
            if not more:
                break
            held += more
            at = held.find(self.mark)
            if at >= 0:
                end = held.find(b"\n", at)
                if end < 0:
                    continue
                self.status = int(held[at + len(self.mark):end])
                held = held[:at]
                break
            # A part of the mark may stand at the end.
            keep = held.rfind(b"\0", max(0, len(held) - len(self.mark)))
            keep = len(held) if keep < 0 else keep
            self.pass_on(held[:keep])
            held = held[keep:]
        self.pass_on(held)

    def pass_on(self, text):
        self.target.write(text)
        self.target.flush()


def boot(kind, folder, work, order, mark, out, err):
    """Starts the machine, waits for its command, and ends it."""
    pipes = {name: os.pipe() for name in ("out", "err")}
    ports = {name: ends[1] for name, ends in pipes.items()}
    console = os.path.join(work, "console")
    log = open(os.path.join(work, "qemu"), "wb")
    began = time.monotonic()
    emulator = subprocess.Popen(machine(kind, folder, work, order, ports), stdout=None if
                                order.terminal else log, stderr=log, pass_fds=ports.values(),
                                stdin=None if order.terminal else subprocess.DEVNULL)
    try:
        for number in ports.values():
            os.close(number)
        readers = [Port(pipes["out"][0], out, mark), Port(pipes["err"][0], err, mark)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, began + order.timeout - time.monotonic()))
        late = any(reader.is_alive() for reader in readers)
    finally:
        emulator.kill()
        emulator.wait()
        log.close()
    for reader in readers:
        reader.join()
        os.close(reader.source)
    status = readers[0].status
    if order.console or status is None and not late:
        for path in (os.path.join(work, "qemu"), console):
            show(path)
    if status is not None:
        return status
    if late:
        print(f"hack/vm: the guest was ended after {order.timeout:g} s", file=sys.stderr)
        return TIMED_OUT
    print("hack/vm: the guest ended without an exit status; its console is above",
          file=sys.stderr)
    return FAILED


def show(path):
    """The end of a log, on standard error."""
    if os.path.exists(path):
        with open(path, errors="replace") as file:
            sys.stderr.writelines(file.readlines()[-60:])
