"""What every attack stands on. An attempt is a function that raises OSError when it is
denied, and returns when the attack has succeeded. Each runs in a child of its own, because
a successful one may leave its process changed, and a failed one may be killed for it."""

import ctypes
import errno
import os
import platform
import signal
import struct
import sys

assert platform.machine() == "x86_64", "the numbers below are those of x86-64"

SYSCALLS = {
    "read": 0, "open": 2, "close": 3, "mprotect": 10, "ioctl": 16, "getpid": 39, "socket": 41,
    "connect": 42, "clone": 56, "fork": 57, "execve": 59, "kill": 62, "creat": 85, "ptrace": 101,
    "setuid": 105, "setgid": 106, "setreuid": 113, "capset": 126, "mknod": 133, "personality": 135,
    "pivot_root": 155, "prctl": 157, "chroot": 161, "mount": 165, "umount2": 166, "add_key": 248,
    "request_key": 249, "keyctl": 250, "openat": 257, "mkdirat": 258, "unshare": 272,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "memfd_create": 319, "bpf": 321, "execveat": 322, "userfaultfd": 323,
    "perf_event_open": 298, "tgkill": 234, "rt_sigqueueinfo": 129, "pidfd_send_signal": 424,
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "pidfd_open": 434, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
    "mount_setattr": 442, "unlinkat": 263, "symlinkat": 266, "truncate": 76, "memfd_secret": 447,
}
AT_FDCWD = -100
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ATTEMPTS = []


class NotReached(Exception):
    """The attempt could not be made, which must not be taken for a denial."""


def attempt(function):
    ATTEMPTS.append(function)
    return function


def checked(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(name, *arguments):
    """A system call with nothing between it and the kernel but libc's syscall()."""
    ctypes.set_errno(0)
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(LIBC.syscall(ctypes.c_long(SYSCALLS[name]), *plain))


def in_child(function):
    """Runs a function in a child and says how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            function()
            answer = "SUCCEEDED"
        except OSError as error:
            answer = "denied " + errno.errorcode.get(error.errno, str(error.errno))
        except NotReached as error:
            answer = "NOT REACHED " + str(error)
        except BaseException as error:
            answer = f"BROKEN {type(error).__name__}: {error}"
        os.write(writer, answer.replace("\n", " ").encode())
        os._exit(0)
    os.close(writer)
    answer = b""
    while True:
        piece = os.read(reader, 4096)
        if not piece:
            break
        answer += piece
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if answer:
        return answer.decode()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return "denied SIGSYS"
        return f"BROKEN killed by signal {number}"
    return f"BROKEN exit {os.waitstatus_to_exitcode(status)}"


def main():
    for function in ATTEMPTS:
        print(f"{function.__name__}: {in_child(function)}", flush=True)
