"""What calls answer at their edges: one line for each attempt, with what came of it or the errno."""

import ctypes
import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import threading

libc = ctypes.CDLL(None, use_errno=True)
CWD, NOFOLLOW, EMPTY = -100, 0x100, 0x1000


def line(name, call):
    try:
        print(name, call())
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno))


def raw(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
    return "done"


def opened(*arguments, **named):
    """Opens, closes, and gives the flags that fcntl shows."""
    descriptor = os.open(*arguments, **named)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    os.close(descriptor)
    return oct(flags)


def mode(path):
    return stat.filemode(os.lstat(path).st_mode)


def of_child(call):
    """What a child prints, and how it ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        try:
            os.write(1, str(call()).encode())
        except OSError as error:
            os.write(1, errno.errorcode[error.errno].encode())
        os._exit(7)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def by_thread(*command):
    thread = threading.Thread(target=lambda: os.execv(command[0], command))
    thread.start()
    thread.join()


def busy_then_by_thread():
    for _ in range(4):
        threading.Thread(target=lambda: open("/etc/passwd").read(), daemon=True).start()
    by_thread("/bin/sh", "-c", "echo ran; exit 3")


def script(name, text):
    with open(name, "w") as file:
        file.write(text)
    os.chmod(name, 0o755)
    return name


os.umask(0o022)
with open("file", "w") as file:
    file.write("text")
os.mkdir("folder")
os.symlink("nowhere", "dangling")
os.symlink("folder", "linked")
os.symlink("turning", "turning")
os.mkfifo("pipe")

# Opening.
for title, flags in {
    "read": os.O_RDONLY, "append": os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC, "both bits": 3,
    "no times": os.O_RDONLY | os.O_NOATIME, "directory": os.O_DIRECTORY, "path": os.O_PATH,
    "make": os.O_CREAT | os.O_WRONLY, "exclusively": os.O_CREAT | os.O_EXCL | os.O_WRONLY,
    "without a name": os.O_TMPFILE | os.O_RDWR,
}.items():
    for path in ["file", "folder", "dangling", "linked", "turning", "none", "none/x", "file/", "file/x",
                 "folder/", "none/", "dangling/", ".", "..", ""]:
        line(f"{title} {path!r}", lambda: opened(path, flags))
        for new in ["none", "nowhere"]:
            if os.path.lexists(new):
                print("made", new, mode(new))
                os.unlink(new)
line("new, without following", lambda: opened("new", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW))
line("new, direct", lambda: opened("direct", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOCTTY | os.O_DIRECT))
line("long name", lambda: opened("x" * 256, os.O_CREAT | os.O_WRONLY))
line("long path", lambda: opened("./" * 2048 + "file", os.O_RDONLY))
line("no pointer", lambda: raw("open", ctypes.c_void_p(8), 0))
line("no descriptor", lambda: opened("file", 0, dir_fd=77))
line("no folder", lambda: opened("file", 0, dir_fd=os.open("file", os.O_RDONLY)))
line("an absolute path", lambda: opened("/etc/passwd", 0, dir_fd=77))
line("a writer without a reader", lambda: opened("pipe", os.O_WRONLY | os.O_NONBLOCK))


def met(times):
    """Each end of a named pipe waits for the other."""
    arrived = 0
    for _ in range(times):
        child = os.fork()
        if child == 0:
            try:
                with open("pipe", "wb") as file:
                    file.write(b"through")
            finally:
                os._exit(0)
        with open("pipe", "rb") as file:
            arrived += file.read() == b"through"
        os.waitpid(child, 0)
    return arrived


line("a pipe that is opened at both ends", lambda: met(100))


def as_many(limit):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    held = []
    try:
        while True:
            held.append(os.open("file", 0))
    except OSError as error:
        return errno.errorcode[error.errno], held[-1]


line("as many as may be", lambda: of_child(lambda: as_many(20)))


def shorter():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    os.truncate("file", 1000)
    os.truncate("file", 1001)


line("as long as may be", lambda: of_child(shorter))


def named(flags):
    descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | flags, 0o640)
    os.write(descriptor, b"x")
    path = f"/proc/self/fd/{descriptor}"
    raw("linkat", CWD, path.encode(), CWD, f"named{flags}".encode(), 0x400)
    return mode(f"named{flags}"), open(f"named{flags}").read()


line("a name for one without", lambda: named(0))
line("a name for one that stays without", lambda: named(os.O_EXCL))
line("without a name, to read", lambda: opened(".", os.O_TMPFILE))


def mapped_by_name():
    descriptor = os.memfd_create("memory")
    os.write(descriptor, b"abc")
    os.truncate(descriptor, 1)
    return os.read(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY), 9)


def deleted():
    descriptor = os.open("gone", os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink("gone")
    os.fchmod(descriptor, 0o640)
    os.utime(descriptor, (1, 2))
    os.fchown(descriptor, os.getuid(), os.getgid())
    with open(f"/proc/self/fd/{descriptor}", "w") as file:
        file.write("more")
    found = os.fstat(descriptor)
    return stat.filemode(found.st_mode), found.st_nlink, os.read(descriptor, 9)


def through_a_pipe():
    reader, writer = os.pipe()
    os.fchmod(reader, 0o600)
    os.write(os.open(f"/proc/self/fd/{writer}", os.O_WRONLY), b"x")
    return os.read(reader, 1)


def own_memory():
    text = ctypes.create_string_buffer(b"hello")
    descriptor = os.open("/proc/self/mem", os.O_RDWR)
    os.pwrite(descriptor, b"HE", ctypes.addressof(text))
    return text.value


def named_itself(name):
    with open("/proc/thread-self/comm", "wb") as file:
        file.write(name)
    with open("/proc/self/comm", "rb") as file:
        said = file.read()
    return said, opened("of-that-name", os.O_CREAT | os.O_WRONLY)


line("memory by its name", mapped_by_name)
line("deleted", deleted)
line("a pipe by its name", through_a_pipe)
line("one's own memory", own_memory)
line("a name of any bytes", lambda: of_child(lambda: named_itself(b"\xff) \xfe")))
for name in ["maps", "status", "environ", "cmdline", "mountinfo", "limits", "smaps", "exe", "fdinfo/1",
             "root/etc/passwd", "cwd/file", "ns/mnt"]:
    line(name, lambda: opened(f"/proc/self/{name}", os.O_RDONLY))
    line(f"parent {name}", lambda: of_child(lambda: opened(f"/proc/{os.getppid()}/{name}", os.O_RDONLY)))

# Descriptors that only name something, that are closed, or that may not be written.
held = os.open("folder", os.O_PATH)
for title, descriptor in {"path": held, "closed": 99, "read": os.open("folder", os.O_RDONLY)}.items():
    line(f"{title} mode", lambda: os.fchmod(descriptor, 0o700))
    line(f"{title} owner", lambda: os.fchown(descriptor, -1, -1))
    line(f"{title} times", lambda: os.utime(descriptor))
    line(f"{title} attribute", lambda: os.setxattr(descriptor, "user.x", b"1"))
    line(f"{title} attribute away", lambda: os.removexattr(descriptor, "user.x"))
    line(f"{title} empty owner", lambda: raw("fchownat", descriptor, b"", -1, -1, EMPTY))
    line(f"{title} make", lambda: os.mkdir(f"by-{title}", dir_fd=descriptor))

# Making, moving and removing.
for name, calls in {
    "mkdir": [["dangling"], ["dangling/"], ["file"], ["file/"], ["new//"], ["none/x"], ["."], ["/"], [""]],
    "rmdir": [["."], [".."], ["folder/."], ["file"], ["linked"], ["linked/"], ["dangling"], ["none"], ["new//"]],
    "unlink": [["."], ["folder"], ["file/"], ["none"], ["linked/"], ["/"], ["file/x"]],
    "symlink": [["x", "file"], ["x", "new/"], ["", "new"], ["x", "dangling"], ["x", "none/x"]],
    "link": [["folder", "new"], ["file", "new/"], ["none", "new"], ["file", "folder"], ["file", "/dev/shm/x"],
             ["dangling", "other-link"], ["file", ""]],
    "rename": [[".", "new"], ["file", "."], ["file", "new/"], ["folder/", "moved/"], ["moved", "moved/in/it"],
               ["file", "moved"], ["moved", "file"], ["file", "file"], ["none", "file"], ["file", "none/x"],
               ["moved", "folder"], ["file", "/dev/shm/x"], ["dangling", "also-dangling"],
               ["also-dangling", "dangling"]],
    "mknod": [["node", 0o600], ["node", 0o600], ["sock", stat.S_IFSOCK | 0o600], ["dir", stat.S_IFDIR | 0o600],
              ["device", stat.S_IFCHR | 0o600, os.makedev(1, 3)], ["fifo/", stat.S_IFIFO | 0o600]],
    "chmod": [["none", 0o600], ["dangling", 0o600], ["file", 0o1644], ["folder", 0o1755], ["folder", 0o2755],
              ["folder", 0o4755], ["file/", 0o600]],
    "truncate": [["folder", 0], ["file", -1], ["none", 0], ["pipe", 0], ["file", 3], ["dangling", 0]],
    "utime": [["none"], ["file", (1, 2)], ["folder/"], ["file/"]],
    "open": [["sock", os.O_RDWR], ["node", os.O_RDONLY | os.O_TRUNC], ["/dev/null", os.O_WRONLY | os.O_TRUNC]],
}.items():
    for arguments in calls:
        call = opened if name == "open" else getattr(os, name)
        line(f"{name} {arguments}", lambda: call(*arguments))
for flags, a, b in [(1, b"file", b"node"), (1, b"file", b"free"), (2, b"free", b"folder"), (2, b"free", b"none"),
                    (3, b"folder", b"free"), (64, b"folder", b"free"), (2, b"folder", b"free")]:
    line(f"renameat2 {flags} {a} {b}", lambda: raw("renameat2", CWD, a, CWD, b, flags))
print(mode("free"), mode("folder"))
line("unlinkat flags", lambda: raw("unlinkat", CWD, b"free", 4))
line("fchmodat flags", lambda: raw("fchmodat", CWD, b"free", 0o600, 4))
line("utimensat flags", lambda: raw("utimensat", CWD, b"free", None, 4))
line("linkat flags", lambda: raw("linkat", CWD, b"free", CWD, b"other", 2))
line("times of a link", lambda: (os.utime("dangling", (1, 2), follow_symlinks=False), os.lstat("dangling").st_mtime))
line("owner of a link", lambda: os.lchown("dangling", os.getuid(), -1))

# Attributes.
for name in ["user.x", "trusted.x", "security.x", "system.x", "", "x", "user." + "x" * 300]:
    line(f"attribute {name!r}", lambda: os.setxattr("free", name, b"1"))
line("attributes", lambda: os.listxattr("free"))
line("attribute anew", lambda: os.setxattr("free", "user.x", b"1", os.XATTR_CREATE))
line("attribute again", lambda: os.setxattr("free", "user.y", b"1", os.XATTR_REPLACE))
line("attribute flags", lambda: os.setxattr("free", "user.x", b"1", 4))
line("a great attribute", lambda: os.setxattr("free", "user.x", b"1" * 70000))
line("no attribute", lambda: os.removexattr("free", "user.none"))
line("attribute away", lambda: os.removexattr("free", "user.x"))
line("attribute of a link", lambda: os.setxattr("dangling", "user.x", b"1", follow_symlinks=False))
ACCESS = "0200000001000600ffffffff04000400ffffffff10000400ffffffff20000400ffffffff"
line("access list", lambda: os.setxattr("free", "system.posix_acl_access", bytes.fromhex(ACCESS)))
print(mode("free"))

# Executing.
program = os.open("/bin/echo", os.O_RDONLY)
line("by a descriptor", lambda: of_child(lambda: os.execve(program, ["echo", "by a descriptor"], {})))
line("by a thread", lambda: of_child(lambda: by_thread("/bin/echo", "by a thread")))
line("by a thread among others", lambda: of_child(busy_then_by_thread))
line("itself", lambda: subprocess.run(["x", "-c", "print(5)"], executable="/proc/self/exe", capture_output=True).stdout)
script("script", "#!/bin/sh -e\necho \"$0\" \"$@\"\n")
line("a script", lambda: of_child(lambda: os.execv("./script", ["x", "a", "b"])))
line("a script of a script", lambda: of_child(
    lambda: os.execv(script("outer", f"#!{os.getcwd()}/script\n"), ["x", "a"])))
for name in [".", "none", "none/x", "file", "file/x", "pipe", "dangling", "turning", script("empty", ""),
             script("garbage", "\x7fELFxxxx"), script("without", "#!/none\n"),
             script("around", f"#!{os.getcwd()}/around\n"), script("no text", "#!\n")]:
    line(f"execute {name}", lambda: of_child(lambda: os.execv(f"./{name}", ["x"])))
line("too much", lambda: of_child(lambda: os.execv("/bin/true", ["x" * 200000])))
with open("busy", "wb") as file, open("/bin/true", "rb") as true:
    file.write(true.read())
    file.flush()
    os.chmod("busy", 0o755)
    line("still written", lambda: of_child(lambda: os.execv("./busy", ["x"])))
line("no longer written", lambda: of_child(lambda: os.execv("./busy", ["x"])))
line("runs and is written", lambda: of_child(lambda: open(os.readlink("/proc/self/exe"), "ab").close()))
