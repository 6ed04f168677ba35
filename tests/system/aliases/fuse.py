"""Runs a command beside a FUSE file system with a file secret.key, which anybody may read.

Usage: fuse.py folding|linked DIRECTORY COMMAND [ARGS...], in a mount namespace of its own. To the names
of a folding one upper and lower case make no difference. A linked one has the file under the name `other`
too, and gives each name an inode of its own, as libfuse does unless it is told otherwise.
"""

import ctypes
import os
import struct
import subprocess
import sys
import threading

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT = 25, 26, 27, 28, 29, 36
NAME, CONTENT = b"secret.key", b"it is read\n"
MISSING, UNKNOWN = -2, -38
KIND, DIRECTORY, *COMMAND = sys.argv[1:]


def lookup(name):
    """The inode of a name, or none."""
    if KIND == "folding":
        return 2 if name.lower() == NAME else None
    return {NAME: 2, b"other": 3}.get(name)


def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100644, len(CONTENT))
    links = 2 if KIND == "linked" and node != 1 else 1
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, 1, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def answer(operation, node, rest):
    """The error, and what it gives (the kernel's FUSE protocol 7.31)."""
    if operation == INIT:
        return 0, struct.pack("<IIIIHHIIHHI", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 0, 0, 0) + bytes(28)
    if operation == LOOKUP:
        found = lookup(rest.rstrip(b"\0"))
        if found is None:
            return MISSING, b""
        return 0, struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + attributes(found)
    if operation == GETATTR:
        return 0, struct.pack("<QII", 0, 0, 0) + attributes(node)
    if operation in (OPEN, OPENDIR):
        return 0, struct.pack("<QII", 7, 0, 0)
    if operation == READ:
        (offset,) = struct.unpack_from("<Q", rest, 8)
        return 0, CONTENT[offset:]
    if operation == READDIR:
        (offset,) = struct.unpack_from("<Q", rest, 8)
        entry = struct.pack("<QQII", 2, 1, len(NAME), 8) + NAME.ljust(16, b"\0")
        return 0, b"" if offset else entry
    if operation == STATFS:
        return 0, bytes(80)
    return (0, b"") if operation in (RELEASE, RELEASEDIR, FLUSH) else (UNKNOWN, b"")


def serve(device):
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            return
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        if operation in (FORGET, INTERRUPT):
            continue
        error, body = answer(operation, node, request[40:])
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"tested", DIRECTORY.encode(), b"fuse", 0, options) != 0:
    raise OSError(ctypes.get_errno(), "mount")
threading.Thread(target=serve, args=(device,), daemon=True).start()
command = subprocess.Popen(COMMAND, pass_fds=())
# The end of this process closes the device, and with it the file system.
os._exit(command.wait(60))
