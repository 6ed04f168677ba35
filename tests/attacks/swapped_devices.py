"""Line 4. Has `/dev/null`, a terminal or the console be another file when masks and the console are made of them."""

import array
import socket

# A file of the host's that is shown inside, and masked there; and a place that is masked before it.
SHOWN, PLACE = "/shown", "/place"
READ = f"""
import os, stat
for path in ({PLACE!r}, "/dev/console"):
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            print(open(path).read())
    except OSError as error:
        print(path, error)
if not stat.S_ISREG(os.stat({SHOWN!r}).st_mode):
    print("COVERED")
"""


def shown(spec):
    spec["mounts"].append(bound(SECRET, SHOWN, "rw"))


def masked(spec):
    """A root that brings its own /dev along, as a shared volume or an image does."""
    shown(spec)
    spec["mounts"] = [one for one in spec["mounts"] if not one["destination"].startswith("/dev")]
    spec["linux"]["maskedPaths"] = [PLACE, SHOWN]
    with open(f"{YARD}/rootfs{PLACE}", "w") as file:
        file.write("of the image\n")


def judge(said, *signs):
    if not any(sign in said for sign in signs):
        denied(said)


@against
def null_is_a_link():
    def change(spec):
        masked(spec)
        os.symlink(SHOWN, f"{YARD}/rootfs/dev/null")

    judge(run(READ, change).said(), MARK)


@against
def null_is_swapped_in_a_race():
    """The device itself and a link take each other's place. Root alone can make a device; for others a
    runtime shows the host's on an empty file, which does as well."""
    bundle(READ)
    null, link = f"{YARD}/rootfs/dev/null", f"{YARD}/rootfs/dev/link"
    try:
        os.mknod(null, 0o666 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        open(null, "w").close()
    os.symlink(SHOWN, link)
    meanwhile(lambda: LIBC.syscall(316, AT_FDCWD, null.encode(), AT_FDCWD, link.encode(), 2))
    said = ""
    for _ in range(12):
        said += run(READ, masked).said()
        if MARK in said:
            break
    judge(said, MARK)


class Console:
    """Who takes the terminal of a container from the runtime, and reads what is written there."""

    def __init__(self):
        self.path = f"{YARD}/console"
        self.line = socket.socket(socket.AF_UNIX)
        # A path of a socket has 107 bytes; this one is told from where it lies.
        os.chdir(YARD)
        self.line.bind("console")
        self.line.listen()
        self.line.settimeout(PATIENCE)

    def read(self):
        line, _ = self.line.accept()
        _, passed, _, _ = line.recvmsg(4096, socket.CMSG_SPACE(4))
        master = array.array("i", passed[0][2][:4])[0]
        said = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                piece = b""
            if not piece:
                return said.decode(errors="replace")
            said += piece


def terminal(change):
    """What a container says whose terminal is asked for."""
    asked = Console()

    def whole(spec):
        spec["process"]["terminal"] = True
        shown(spec)
        change(spec)

    folder = bundle(READ, whole)
    made = call("create", "--bundle", folder, "--console-socket", "console", "one")
    said = made.said()
    if made.status == 0:
        call("start", "one")
        said += asked.read()
        said += call("delete", "--force", "one").said()
        with open(made.stem + ".out") as file:
            said += file.read()
    return said


def kept(spec):
    """The /dev is the image's."""
    spec["mounts"] = [one for one in spec["mounts"] if one["destination"] != "/dev"]


@against
def console_is_a_link():
    def change(spec):
        kept(spec)
        os.symlink(f"..{SHOWN}", f"{YARD}/rootfs/dev/console")

    judge(terminal(change), "COVERED")


@against
def terminal_is_a_link():
    def change(spec):
        kept(spec)
        spec["mounts"] = [one for one in spec["mounts"] if one["destination"] != "/dev/pts"]
        os.makedirs(f"{YARD}/rootfs/dev/pts")
        for number in range(64):
            os.symlink(SHOWN, f"{YARD}/rootfs/dev/pts/{number}")

    judge(terminal(change), MARK)
