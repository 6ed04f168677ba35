"""Runs a program under a supervisor that looks at the path of a call, and then lets the kernel go on
with it: the answer that must not be given. x86-64 only.

usage: unsound.py open|exec|connect|bind PROGRAM [ARGUMENT...]
"""

import ctypes
import errno
import fcntl
import os
import select
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
# The numbers of openat, execve, connect and bind, and which argument is the path or has it behind a head.
CALL, ARGUMENT, HEAD = {"open": (257, 1, 0), "exec": (59, 0, 0), "connect": (42, 1, 2), "bind": (49, 1, 2)}[sys.argv[1]]
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1


def filtered():
    """Has the listener of this process's filter, which holds the call and nothing else."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in [
        (0x20, 0, 0, 0), (0x15, 0, 1, CALL), (0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000)])
    instructions = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(instructions))
    assert LIBC.prctl(38, 1, 0, 0, 0) == 0
    listener = LIBC.syscall(317, 1, 8, described)
    assert listener >= 0, os.strerror(ctypes.get_errno())
    return listener


def path_of(process, pointer):
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        memory.seek(pointer + HEAD)
        return memory.read(256).split(b"\0")[0]


def is_denied(path):
    try:
        return b"/secret/" in os.path.realpath(path)
    except OSError:
        return True  # It was swapped while it was looked at.


def answer(listener):
    notification = bytearray(80)
    fcntl.ioctl(listener, RECEIVE, notification)
    number, process = struct.unpack_from("QI", notification)
    pointer = struct.unpack_from("Q", notification, 32 + 8 * ARGUMENT)[0]
    verdict = (-errno.EACCES, 0) if is_denied(path_of(process, pointer)) else (0, CONTINUE)
    fcntl.ioctl(listener, SEND, struct.pack("QqiI", number, 0, *verdict))


reader, writer = os.pipe()
taken, take = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, struct.pack("i", filtered()))
    os.read(taken, 1)
    os.execv(sys.argv[2], sys.argv[2:])
number = struct.unpack("i", os.read(reader, 4))[0]
listener = LIBC.syscall(438, os.pidfd_open(child), number, 0)
assert listener >= 0, os.strerror(ctypes.get_errno())
os.write(take, b".")
waits = select.poll()
waits.register(listener, select.POLLIN)
while waits.poll()[0][1] & select.POLLIN:
    try:
        answer(listener)
    except (FileNotFoundError, ProcessLookupError):
        pass  # The caller is gone.
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
