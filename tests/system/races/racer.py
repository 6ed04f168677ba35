"""Opens, executes, connects to or binds what is swapped all the time, and counts what the policy denies and
it got all the same.

usage: racer.py KIND WAY ATTEMPTS ROOT [until-one-got-through]
"""

import ctypes
import mmap
import os
import signal
import socket
import sys

KIND, WAY, ATTEMPTS, ROOT = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
MUST_GET_THROUGH = len(sys.argv) > 5
# Nobody is this patient: the race has not opened.
MOST = max(ATTEMPTS, 3_000_000)
LIBC = ctypes.CDLL(None, use_errno=True)
NAME = "new" if KIND == "bind" else "it"
PLACES = [f"{ROOT}/{folder}/{NAME}".encode() for folder in ("opened", "secret", "race/link", "race/folder", "race/other")]
OPENED, SECRET, LINK, FOLDER, OTHER = PLACES
PATHS = {"arguments": OPENED, "link": LINK, "exchange": FOLDER}
HEAD = b"\x01\x00" if KIND in ("connect", "bind") else b""

page = mmap.mmap(-1, 4096)
page.write(HEAD + PATHS[WAY] + b"\0")
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
length = len(HEAD + PATHS[WAY])


def rewriting():
    """A process that writes the one path and the other over what is to be opened."""
    begin, end = len(HEAD), len(HEAD) + len(OPENED)
    child = os.fork()
    if child != 0:
        return child
    LIBC.prctl(1, signal.SIGKILL)
    while True:
        page[begin:end] = SECRET
        page[begin:end] = OPENED


def opened():
    descriptor = LIBC.open(ctypes.c_void_p(address), os.O_RDONLY)
    if descriptor < 0:
        return None
    content = os.read(descriptor, 6)
    os.close(descriptor)
    return content


ARGUMENTS = (ctypes.c_char_p * 2)(b"it", None)
ENVIRONMENT = (ctypes.c_char_p * 1)(None)


def executed():
    """The one program ends with 0, the other with 1."""
    child = ctypes.c_int()
    if LIBC.posix_spawn(ctypes.byref(child), ctypes.c_void_p(address), None, None, ARGUMENTS, ENVIRONMENT) != 0:
        return None
    return {0: b"opened", 1: b"secret"}.get(os.waitstatus_to_exitcode(os.waitpid(child.value, 0)[1]))


def connected():
    with socket.socket(socket.AF_UNIX) as client:
        if LIBC.connect(client.fileno(), ctypes.c_void_p(address), length) != 0:
            return None
        return client.recv(6, socket.MSG_WAITALL)


def bound():
    """Where the socket is tells which folder it was made in."""
    with socket.socket(socket.AF_UNIX) as server:
        if LIBC.bind(server.fileno(), ctypes.c_void_p(address), length) != 0:
            return None
    found = b"secret" if os.path.lexists(SECRET) else b"opened"
    for place in PLACES:
        try:
            os.unlink(place)
        except OSError:
            pass  # It is in another folder, or that one was exchanged meanwhile.
    return found


def race():
    attempt = {"open": opened, "exec": executed, "connect": connected, "bind": bound}[KIND]
    count = {None: 0, b"opened": 0, b"secret": 0}
    tried = 0
    while True:
        found = attempt()
        count[found] += 1
        tried += 1
        if tried < ATTEMPTS:
            continue
        # Both were there to be had, or the race was none.
        shown = count[b"secret"] if MUST_GET_THROUGH else count[None] and count[b"opened"]
        if shown or tried >= MOST:
            return tried, count


child = rewriting() if WAY == "arguments" else None
try:
    tried, count = race()
finally:
    if child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
print(tried, count[b"opened"], count[None], count[b"secret"])
