"""Runs a command beside a file system to whose names upper and lower case make no difference.

Usage: folding.py DIRECTORY COMMAND [ARGS...], in a mount namespace of its own. The directory has one
file, secret.key, which anybody may read.
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


def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100644, len(CONTENT))
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation, node, rest):
    """The error, and what it gives (the kernel's FUSE protocol 7.31)."""
    if operation == INIT:
        return 0, struct.pack("<IIIIHHIIHHI", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 0, 0, 0) + bytes(28)
    if operation == LOOKUP:
        if rest.rstrip(b"\0").lower() != NAME:
            return MISSING, b""
        return 0, struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + attributes(2)
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
if libc.mount(b"folding", sys.argv[1].encode(), b"fuse", 0, options) != 0:
    raise OSError(ctypes.get_errno(), "mount")
threading.Thread(target=serve, args=(device,), daemon=True).start()
command = subprocess.Popen(sys.argv[2:], pass_fds=())
# The end of this process closes the device, and with it the file system.
os._exit(command.wait(60))
