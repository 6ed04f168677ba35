"""What every attack stands on. An attempt is a function that raises OSError when it is
denied, and returns when the attack has succeeded. Each runs in a child of its own, because
a successful one may leave its process changed, and a failed one may be killed for it."""

import ctypes
import errno
import mmap
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
    "seccomp": 317, "renameat2": 316, "linkat": 265, "rename": 82, "link": 86, "unlink": 87,
    "fspick": 433, "io_uring_enter": 426, "io_uring_register": 427, "process_madvise": 440,
    "process_mrelease": 448, "kcmp": 312, "mknodat": 259, "fchmodat": 268, "fchmodat2": 452,
    "setxattr": 188, "ftruncate": 77, "fallocate": 285, "copy_file_range": 326, "sendfile": 40,
    "splice": 275, "utimensat": 280, "fchownat": 260, "pwritev2": 328, "readlinkat": 267,
    "chmod": 90, "tkill": 200, "fcntl": 72, "rt_tgsigqueueinfo": 297, "kexec_load": 246,
    "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "syslog": 103, "iopl": 172,
    "ioperm": 173, "modify_ldt": 154, "fanotify_init": 300, "quotactl": 179, "settimeofday": 164,
    "clock_settime": 227, "adjtimex": 159, "sethostname": 170, "mbind": 237, "move_pages": 279,
    "migrate_pages": 256, "lookup_dcookie": 212, "open_tree_attr": 467, "statmount": 457,
    "listmount": 458, "lsm_set_self_attr": 460, "io_setup": 206, "file_setattr": 469,
}
AT_FDCWD = -100
# Where this program may write for itself.
TMP = os.environ.get("TMPDIR") or "/tmp"
# The dynamic loader, which is a program too.
LOADER = next((p for p in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-x86-64.so.2") if os.path.exists(p)), None)
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ATTEMPTS = []


class NotReached(Exception):
    """The attempt could not be made, which must not be taken for a denial."""


class NotAttempted(NotReached):
    """What the attempt needs cannot be had here, which is no denial either."""


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


def reaches(numbers, name, *arguments):
    """A call with arguments that the kernel finds wrong only after it has let the caller in: the
    errors with these numbers are those of one who may, and nothing comes of the call."""
    try:
        return syscall(name, *arguments)
    except OSError as error:
        if error.errno not in numbers:
            raise
    return None


def vector(*items):
    """The words as execve(2) takes them."""
    words = [item.encode() if isinstance(item, str) else item for item in items]
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def mine(name):
    """A path of this attempt's own."""
    return f"{TMP}/attack-{name}-{os.getpid()}"


def shows(start, *marks):
    """Runs `start` in a child, and finds whether the program's own words came out."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(os.open("/dev/null", os.O_RDWR), 2)
        try:
            start()
            number = errno.EACCES
        except OSError as error:
            number = error.errno
        os._exit(number if 0 < number < 126 else 1)
    os.close(writer)
    said = b""
    while True:
        piece = os.read(reader, 4096)
        if not piece:
            break
        said += piece
    _, status = os.waitpid(child, 0)
    if not any(mark in said for mark in marks):
        # A shell, and the loader, say with 126 and more that they could not start it.
        number = os.waitstatus_to_exitcode(status)
        raise PermissionError(number if 0 < number < 126 else errno.EACCES, "the program said nothing")


def meanwhile(work):
    """A child that does `work` again and again for as long as this process lives."""
    first, child = os.getpid(), os.fork()
    if child == 0:
        LIBC.prctl(1, signal.SIGKILL)
        signal.alarm(0)
        while os.getppid() == first:
            work()
        os._exit(0)
    return child


def flipped(one, other):
    """The address of memory in which a child writes the two texts over each other, that child, and
    what keeps the memory."""
    page = mmap.mmap(-1, 4096)
    length = max(len(one), len(other)) + 1
    one, other = one.ljust(length, b"\0"), other.ljust(length, b"\0")
    page[:length] = one

    def flip():
        for _ in range(1000):
            page[:length] = other
            page[:length] = one

    child = meanwhile(flip)
    return ctypes.addressof(ctypes.c_char.from_buffer(page)), child, page


def throwaway(more=0):
    """Goes on as root of namespaces that end with this program, with `more` of them. The first process only
    waits."""
    flags, user, group = 0x20000 | 0x20000000 | 0x8000000 | 0x4000000 | more, os.geteuid(), os.getegid()
    try:
        checked(LIBC.unshare(flags if user == 0 else flags | 0x10000000))
        if user != 0:
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
        os._exit(77)
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 1)
    checked(LIBC.prctl(1, signal.SIGKILL))
    checked(LIBC.mount(None, b"/", None, 0x4000 | 0x40000, None))
    try:
        checked(LIBC.mount(b"proc", b"/proc", b"proc", 0, None))
    except OSError as error:
        # Where the one outside is masked, the kernel gives no other; what needs one fails then.
        print("no /proc:", error, file=sys.stderr)


def enter_groups(name):
    """Goes into control groups below those that are removed afterwards, so that nothing is left of what is
    killed. Whoever may make none has none that could be left."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file if " - cgroup" in line]
    for point in points:
        try:
            os.makedirs(f"{point}/{name}/driver", exist_ok=True)
            with open(f"{point}/{name}/driver/cgroup.procs", "w") as file:
                file.write("0")
        except OSError as error:
            print(point, error, file=sys.stderr)


def ending(function):
    """Runs a function and says how it ended."""
    try:
        function()
        answer = "SUCCEEDED"
    except OSError as error:
        answer = "denied " + errno.errorcode.get(error.errno, str(error.errno))
    except NotAttempted as error:
        answer = "NOT ATTEMPTED " + str(error)
    except NotReached as error:
        answer = "NOT REACHED " + str(error)
    except BaseException as error:
        answer = f"BROKEN {type(error).__name__}: {error}"
    return answer.replace("\n", " ")


def in_child(function):
    """The same in a child, or here where no process can be made: without namespaces there is one alone."""
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except PermissionError:
        return ending(function)
    if child == 0:
        signal.alarm(60)
        os.write(writer, ending(function).encode())
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
