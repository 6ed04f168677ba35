"""Makes calls one after the other as raw system calls, and says how each went.

One JSON object a line comes in: {"call", "path", "to", "flags", "mode", "how"}. One JSON list a line
goes out: the errno, and what was read. The first argument is the root of all paths; `how` says
whether a path is absolute (0), relative to the working directory (1) or to a descriptor of the
directory around the root (2), or the first of two to the one and the second to the other (3), or
whether what is changed is itself a descriptor (4).
"""

import ctypes
import json
import os
import socket
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "open": 2, "creat": 85, "openat": 257, "truncate": 76, "mkdir": 83, "mkdirat": 258, "rmdir": 84,
    "unlink": 87, "unlinkat": 263, "rename": 82, "renameat2": 316, "link": 86, "linkat": 265,
    "symlink": 88, "symlinkat": 266, "mknod": 133, "mknodat": 259, "chmod": 90, "fchmodat": 268,
    "utimensat": 280, "setxattr": 188, "lsetxattr": 189, "chown": 92, "lchown": 94, "fchownat": 260,
    "fchmodat2": 452, "renameat": 264, "bind": 49, "connect": 42,
}
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x100, 0x400, 0x1000
O_DIRECTORY, O_PATH, O_NONBLOCK, O_NOFOLLOW = 0o200000, 0o10000000, 0o4000, 0o400000
S_IFIFO, S_IFREG = 0o010000, 0o100000
# Of the last access and the last change, each in seconds and nanoseconds.
TIMES = struct.pack("4q", 86400, 0, 86400, 0)
UNCHANGED = -1

root = sys.argv[1].encode()
os.chdir(root)
base = os.open(os.path.dirname(root), O_PATH | O_DIRECTORY)


def call(name, *arguments):
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    value = libc.syscall(ctypes.c_long(CALLS[name]), *given)
    return (value, ctypes.get_errno() if value < 0 else 0)


def opened(value, errno, asked):
    if errno:
        return [errno, ""]
    said = ""
    try:
        if asked["flags"] & 3 == os.O_RDONLY:
            try:
                said = os.read(value, 32).hex()
            except IsADirectoryError:
                said = " ".join(sorted(os.listdir(value)))
        else:
            # Shorter than what any file has in it: what is not cut is seen.
            os.write(value, asked["path"].encode()[-1:])
    finally:
        os.close(value)
    return [0, said]


def is_pipe(path):
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def named(name, path):
    """Binds a new socket to a path, or connects it there."""
    try:
        end = socket.socket(socket.AF_UNIX)
    except OSError as error:
        return [error.errno, "no socket"]
    with end:
        address = struct.pack("H", socket.AF_UNIX) + path + b"\0"
        return [call(name, end.fileno(), address, len(address))[1], ""]


def changed(asked, dirfd, path):
    """Changes a mode, an owner or times: by an old call, or by a newer one with flags."""
    name, flags, mode = asked["call"], asked["flags"], asked["mode"]
    opened = None
    if asked["how"] == 4:
        nofollow = O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0
        opened, errno = call("open", path, O_PATH | nofollow, 0)
        if errno:
            return [errno, ""]
        dirfd, path, flags = opened, b"", AT_EMPTY_PATH
    if name == "times":
        result = call("utimensat", dirfd, path, TIMES, flags)
    elif name == "chown" and asked["how"] < 2:
        old = "lchown" if flags else "chown"
        result = call(old, path, UNCHANGED, UNCHANGED)
    elif name == "chown":
        result = call("fchownat", dirfd, path, UNCHANGED, UNCHANGED, flags)
    elif flags:
        result = call("fchmodat2", dirfd, path, mode, flags)
    elif asked["how"] < 2:
        result = call("chmod", path, mode)
    else:
        result = call("fchmodat", dirfd, path, mode)
    if opened is not None:
        os.close(opened)
    return [result[1], ""]


def renamed(how, dirfd, path, other, to, flags):
    if flags or how == 0:
        return call("renameat2", dirfd, path, other, to, flags)
    if how == 1:
        return call("rename", path, to)
    return call("renameat", dirfd, path, other, to)


def made(asked):
    name, flags, mode = asked["call"], asked["flags"], asked["mode"]
    path, to = asked["path"].encode(), asked.get("to", "").encode()
    how = asked["how"]
    below = os.path.basename(root)
    dirfd = other = AT_FDCWD
    if how in (0, 4) or (how > 1 and name in ("truncate", "attribute", "bind", "connect")):
        path, to = root + b"/" + path, root + b"/" + to
    elif how == 3 and name in ("rename", "link"):
        other, to = base, below + b"/" + to
    elif how > 1:
        dirfd, path, other, to = base, below + b"/" + path, base, below + b"/" + to
    if name == "open":
        flags |= O_NONBLOCK
        if dirfd == base:
            return opened(*call("openat", dirfd, path, flags, mode), asked)
        creates = flags == os.O_WRONLY | os.O_CREAT | os.O_TRUNC | O_NONBLOCK
        # Nobody reads from the other end.
        if creates and not is_pipe(path):
            return opened(*call("creat", path, mode), asked)
        return opened(*call("open", path, flags, mode), asked)
    if name in ("bind", "connect"):
        return named(name, path)
    if name in ("chmod", "chown", "times"):
        return changed(asked, dirfd, path)
    at = dirfd == base
    result = {
        "truncate": lambda: call("truncate", path, 3),
        "mkdir": lambda: call("mkdirat", dirfd, path, mode) if at else call("mkdir", path, mode),
        "rmdir": lambda: call("unlinkat", dirfd, path, 0x200) if at else call("rmdir", path),
        "unlink": lambda: call("unlinkat", dirfd, path, 0) if at else call("unlink", path),
        "rename": lambda: renamed(how, dirfd, path, other, to, flags),
        "link": lambda: call("linkat", dirfd, path, other, to, flags)
        if flags or how > 1 else call("link", path, to),
        "symlink": lambda: call("symlinkat", b"x.txt", dirfd, path) if at
        else call("symlink", b"x.txt", path),
        "fifo": lambda: call("mknodat", dirfd, path, S_IFIFO | mode, 0),
        "node": lambda: call("mknodat", dirfd, path, S_IFREG | mode, 0) if at
        else call("mknod", path, S_IFREG | mode),
        "attribute": lambda: call("lsetxattr" if flags else "setxattr", path, b"user.x", b"v", 1, 0),
    }[name]()
    return [result[1], ""]


os.umask(0)
for line in sys.stdin:
    sys.stdout.write(json.dumps(made(json.loads(line))) + "\n")
    sys.stdout.flush()
