"""Executes programs one after the other as raw system calls, and says how each went.

One JSON object a line comes in: {"path", "how"}. One JSON list a line goes out: the errno, and the
exit status, negative for a signal. The first argument is the root of all paths, the second the
dynamic loader.
"""

import ctypes
import json
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
EXECVE, EXECVEAT = 59, 322
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x100
O_DIRECTORY, O_PATH, O_CLOEXEC = 0o200000, 0o10000000, 0o2000000

root, loader = sys.argv[1].encode(), sys.argv[2].encode()
os.chdir(root)
base = os.open(root, O_PATH | O_DIRECTORY | O_CLOEXEC)


def descriptor(path):
    """Without close-on-exec, as a script needs it; never 0 to 2."""
    number = libc.syscall(ctypes.c_long(257), ctypes.c_long(AT_FDCWD), path, ctypes.c_long(O_PATH))
    return number if number >= 0 else None


def execute(asked, argv, environment):
    path, how = asked["path"].encode(), asked["how"]
    whole = root + b"/" + path
    long = ctypes.c_long
    if how == "absolute":
        libc.syscall(long(EXECVE), whole, argv, environment)
    elif how == "relative":
        libc.syscall(long(EXECVE), path, argv, environment)
    elif how == "at":
        libc.syscall(long(EXECVEAT), long(base), path, argv, environment, long(0))
    elif how == "nofollow":
        libc.syscall(long(EXECVEAT), long(base), path, argv, environment, long(AT_SYMLINK_NOFOLLOW))
    elif how == "empty":
        number = descriptor(whole)
        if number is not None:
            libc.syscall(long(EXECVEAT), long(number), b"", argv, environment, long(AT_EMPTY_PATH))
    elif how == "descriptor":
        number = descriptor(whole)
        if number is not None:
            libc.syscall(long(EXECVE), b"/proc/self/fd/%d" % number, argv, environment)
    elif how == "loader":
        libc.syscall(long(EXECVE), loader, (ctypes.c_char_p * 3)(loader, whole, None), environment)
    return ctypes.get_errno()


def made(asked):
    argv = (ctypes.c_char_p * 2)(b"program", None)
    environment = (ctypes.c_char_p * 1)(None)
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        ctypes.set_errno(0)
        errno = execute(asked, argv, environment)
        os.write(writing, str(errno).encode())
        os._exit(99)
    os.close(writing)
    said = b""
    while part := os.read(reading, 16):
        said += part
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return [int(said or b"0"), status]


for line in sys.stdin:
    sys.stdout.write(json.dumps(made(json.loads(line))) + "\n")
    sys.stdout.flush()
