"""Makes calls one after the other as raw system calls, and says how each went.

One JSON object a line comes in: {"call", "path", "to", "flags", "mode", "how"}. One JSON list a line
goes out: the errno, and what was read. The first argument is the root of all paths; `how` says
whether a path is absolute (0), relative to the working directory (1) or to a descriptor (2).
"""

import ctypes
import json
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "open": 2, "creat": 85, "openat": 257, "truncate": 76, "mkdir": 83, "mkdirat": 258, "rmdir": 84,
    "unlink": 87, "unlinkat": 263, "rename": 82, "renameat2": 316, "link": 86, "linkat": 265,
    "symlink": 88, "symlinkat": 266, "mknod": 133, "mknodat": 259, "chmod": 90, "fchmodat": 268,
    "utimensat": 280, "setxattr": 188, "lchown": 94,
}
AT_FDCWD = -100
O_DIRECTORY, O_PATH, O_NONBLOCK = 0o200000, 0o10000000, 0o4000
S_IFIFO, S_IFREG = 0o010000, 0o100000

root = sys.argv[1].encode()
os.chdir(root)
base = os.open(root, O_PATH | O_DIRECTORY)


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
            os.write(value, asked["path"].encode())
    finally:
        os.close(value)
    return [0, said]


def made(asked):
    name, flags, mode = asked["call"], asked["flags"], asked["mode"]
    path, to = asked["path"].encode(), asked.get("to", "").encode()
    how = asked["how"]
    dirfd = (AT_FDCWD, AT_FDCWD, base)[how]
    if how == 0:
        path, to = root + b"/" + path, root + b"/" + to
    if name == "open":
        flags |= O_NONBLOCK
        if how == 2:
            return opened(*call("openat", dirfd, path, flags, mode), asked)
        return opened(*call("open", path, flags, mode), asked)
    at = how == 2
    result = {
        "truncate": lambda: call("truncate", path, 3),
        "mkdir": lambda: call("mkdirat", dirfd, path, mode) if at else call("mkdir", path, mode),
        "rmdir": lambda: call("unlinkat", dirfd, path, 0x200) if at else call("rmdir", path),
        "unlink": lambda: call("unlinkat", dirfd, path, 0) if at else call("unlink", path),
        "rename": lambda: call("renameat2", dirfd, path, dirfd, to, flags),
        "link": lambda: call("linkat", dirfd, path, dirfd, to, 0) if at else call("link", path, to),
        "symlink": lambda: call("symlinkat", b"x.txt", dirfd, path),
        "fifo": lambda: call("mknodat", dirfd, path, S_IFIFO | mode, 0),
        "node": lambda: call("mknod", path, S_IFREG | mode, 0),
        "chmod": lambda: call("fchmodat", dirfd, path, mode) if at else call("chmod", path, mode),
        "times": lambda: call("utimensat", dirfd, path, 0, 0),
        "attribute": lambda: call("setxattr", path, b"user.x", b"v", 1, 0),
    }[name]()
    return [result[1], ""]


os.umask(0)
for line in sys.stdin:
    sys.stdout.write(json.dumps(made(json.loads(line))) + "\n")
    sys.stdout.flush()
