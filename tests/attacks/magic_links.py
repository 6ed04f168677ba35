"""Line 47. Goes by the links of /proc, which lead to files and not to names."""

HERE, MARK = "@GROUND@/granted", b"@MARK@"
DENIED, OUTSIDE = f"{HERE}/denied", "@GROUND@/outside/secret"


def judge(descriptor):
    if MARK not in os.read(descriptor, 4096):
        raise NotReached("another file")


def read(path):
    judge(syscall("openat", AT_FDCWD, path.encode(), 0, 0))


def define(name, prefix):
    def denied():
        read(prefix + DENIED)

    def outside():
        read(prefix + OUTSIDE)

    for function in (denied, outside):
        function.__name__ = f"raw_{function.__name__}_by_{name}"
        attempt(function)


define("own_root", "/proc/self/root")
define("thread_root", "/proc/thread-self/root")
define("root_of_the_parent", f"/proc/{os.getppid()}/root")
define("root_of_the_first", "/proc/1/root")


@attempt
def raw_denied_by_the_root_of_a_task():
    read(f"/proc/self/task/{os.getpid()}/root{DENIED}")


@attempt
def raw_working_directory():
    os.chdir(HERE)
    read("/proc/self/cwd/denied")


@attempt
def raw_out_of_the_working_directory():
    os.chdir(HERE)
    read("/proc/self/cwd/../outside/secret")


@attempt
def raw_held_file_reopened():
    held = syscall("openat", AT_FDCWD, DENIED.encode(), os.O_PATH, 0)
    read(f"/proc/self/fd/{held}")


@attempt
def raw_held_file_reopened_by_dev():
    held = syscall("openat", AT_FDCWD, DENIED.encode(), os.O_PATH, 0)
    read(f"/dev/fd/{held}")


@attempt
def raw_held_folder():
    held = syscall("openat", AT_FDCWD, f"{HERE}/sub".encode(), os.O_PATH, 0)
    read(f"/proc/self/fd/{held}/denied")


@attempt
def raw_up_from_a_held_folder():
    held = syscall("openat", AT_FDCWD, HERE.encode(), os.O_PATH, 0)
    judge(syscall("openat", held, b"../outside/secret", 0, 0))


@attempt
def raw_every_inherited_descriptor():
    """Up from each that is open, and down again to the secret."""
    syscall("openat", AT_FDCWD, b"/proc/self", os.O_PATH, 0)
    names = [int(name) for name in os.listdir("/proc/self/fd")]
    for held in names:
        for up in range(12):
            try:
                judge(syscall("openat", held, ("../" * up + OUTSIDE[1:]).encode(), 0, 0))
                return
            except (OSError, NotReached):
                continue
    raise PermissionError(errno.EACCES, f"none of {names}")


@attempt
def raw_read_only_file_reopened_for_writing():
    held = os.open(f"{HERE}/keep", os.O_RDONLY)
    os.close(syscall("openat", AT_FDCWD, f"/proc/self/fd/{held}".encode(), os.O_RDWR, 0))
