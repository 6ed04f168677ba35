"""Line 25. Changes the machine, or its kernel: modules, another kernel, clocks, swap, names, files by handle.

Each call has an argument that is wrong: to who may, the kernel says so, and does nothing."""

NOWHERE = b"/nonexistent/attack"


def define(name, numbers, *arguments):
    def function():
        reaches(numbers, name, *arguments)

    function.__name__ = f"raw_{name}"
    attempt(function)


define("kexec_load", (errno.EINVAL,), 0, 0, 0, 0xFFFFFFFF)
define("kexec_file_load", (errno.EINVAL,), -1, -1, 0, 0, 0xFFFFFFFF)
define("init_module", (errno.EFAULT, errno.ENOEXEC), 0, 16, 0)
define("finit_module", (errno.EBADF, errno.EINVAL), -1, 0, 0)
define("delete_module", (errno.ENOENT,), b"attack_no_such_module", 0x800)
define("reboot", (errno.EINVAL,), 1, 2, 3, 0)
define("swapon", (errno.ENOENT,), NOWHERE, 0)
define("swapoff", (errno.ENOENT,), NOWHERE)
define("acct", (errno.ENOENT,), NOWHERE)
define("syslog", (), 10, 0, 0)
define("settimeofday", (errno.EINVAL,), struct.pack("=qq", 0, 1 << 40), 0)
define("clock_settime", (errno.EINVAL,), 0, struct.pack("=qq", 0, 1 << 40))
define("sethostname", (), b"attack", 6)
define("quotactl", (errno.ENOENT, errno.ENODEV, errno.ENOTBLK), 0x80000200, NOWHERE, 0, 0)
define("fanotify_init", (), 0, 0)
define("iopl", (), 0)
define("ioperm", (), 0x80, 1, 0)
define("modify_ldt", (), 0, ctypes.create_string_buffer(64), 64)
define("mbind", (errno.EINVAL,), 0, 4096, 0xFF, 0, 0, 0)
define("move_pages", (), 0, 0, 0, 0, 0, 0)
define("migrate_pages", (errno.EFAULT, errno.EINVAL), 0, 64, 0, 0)
define("memfd_secret", (), 0)
define("io_setup", (errno.EINVAL,), 0, 0)


@attempt
def raw_handle():
    """A file by its handle, past every path: how containers were once left."""
    handle = ctypes.create_string_buffer(struct.pack("=II", 128, 0), 136)
    mount = ctypes.c_int()
    syscall("name_to_handle_at", AT_FDCWD, b"/", handle, ctypes.byref(mount), 0)
    root = os.open("/", os.O_RDONLY)
    syscall("open_by_handle_at", root, handle, os.O_RDONLY)


@attempt
def raw_handle_of_another_s_making():
    handle = ctypes.create_string_buffer(struct.pack("=IIQ", 8, 1, 2), 136)
    root = os.open("/", os.O_RDONLY)
    reaches((errno.ESTALE, errno.EOPNOTSUPP, errno.EINVAL), "open_by_handle_at", root, handle, os.O_RDONLY)
