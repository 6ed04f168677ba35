"""Runs a command as an ordinary user where user namespaces are forbidden.

forbid.py sysctl|filter UID COMMAND...

sysctl: in a user namespace of its own, whose user.max_user_namespaces is 0.
filter: under a system call filter like that of an unprivileged container."""

import ctypes
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
way, uid, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]


def checked(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def by_sysctl():
    ready_reader, ready = os.pipe()
    mapped_reader, mapped = os.pipe()
    child = os.getpid()
    mapper = os.fork()
    if mapper == 0:
        os.read(ready_reader, 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w") as file:
                file.write("0 0 4294967295\n")
        os.write(mapped, b"m")
        os._exit(0)
    checked(LIBC.unshare(CLONE_NEWUSER))
    os.write(ready, b"r")
    os.read(mapped_reader, 1)
    os.waitpid(mapper, 0)
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")


def by_filter():
    def statement(code, k, jt=0, jf=0):
        return struct.pack("=HBBI", code, jt, jf, k)

    # unshare 272; clone 56 with CLONE_NEWUSER; setns 308: EPERM. clone3 435: ENOSYS.
    text = [
        statement(0x20, 0),
        statement(0x15, 435, 0, 1), statement(0x06, 0x00050000 | 38),
        statement(0x15, 272, 0, 1), statement(0x06, 0x00050000 | 1),
        statement(0x15, 308, 0, 1), statement(0x06, 0x00050000 | 1),
        statement(0x15, 56, 0, 3),
        statement(0x20, 16), statement(0x45, CLONE_NEWUSER, 0, 1),
        statement(0x06, 0x00050000 | 1),
        statement(0x06, 0x7FFF0000),
    ]
    program = ctypes.create_string_buffer(b"".join(text))
    argument = ctypes.create_string_buffer(
        struct.pack("=HxxxxxxQ", len(text), ctypes.addressof(program)))
    checked(LIBC.prctl(38, 1, 0, 0, 0))
    checked(LIBC.prctl(22, 2, argument, 0, 0))


{"sysctl": by_sysctl, "filter": by_filter}[way]()
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
os.execvp(command[0], command)
