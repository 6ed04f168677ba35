"""Line 49. Makes files that are more than files: devices, pipes, set-id programs, capabilities."""

HERE = "@GROUND@/granted"


def name():
    return f"{HERE}/special-{os.getpid()}"


def gone():
    if os.path.isdir(name()) and not os.path.islink(name()):
        os.rmdir(name())
    else:
        os.unlink(name())


def regular():
    with open(name(), "w") as file:
        file.write("#!/bin/sh\n")
    return name().encode()


def define(title, mode, device=0):
    def api():
        os.mknod(name(), mode | 0o666, device)
        gone()

    def raw():
        syscall("mknod", name().encode(), mode | 0o666, device)
        gone()

    def rawat():
        syscall("mknodat", AT_FDCWD, name().encode(), mode | 0o666, device)
        gone()

    for function in (api, raw, rawat):
        function.__name__ = f"{function.__name__}_{title}"
        attempt(function)


define("character_device", 0o020000, os.makedev(1, 5))
define("block_device", 0o060000, os.makedev(7, 0))
define("pipe", 0o010000)
define("socket", 0o140000)
define("whiteout", 0o020000, 0)


def with_set_id(call):
    path = regular()
    try:
        call(path)
        if not os.stat(path).st_mode & 0o6000:
            raise PermissionError(errno.EPERM, "the bits were not kept")
    finally:
        gone()


@attempt
def api_set_user_id():
    with_set_id(lambda path: os.chmod(path, 0o4755))


@attempt
def raw_set_user_id():
    with_set_id(lambda path: syscall("chmod", path, 0o4755))


@attempt
def raw_set_group_id():
    with_set_id(lambda path: syscall("fchmodat", AT_FDCWD, path, 0o2755))


@attempt
def raw_set_user_id_by_the_newest_call():
    with_set_id(lambda path: syscall("fchmodat2", AT_FDCWD, path, 0o4755, 0))


@attempt
def raw_made_with_set_user_id():
    descriptor = syscall("openat", AT_FDCWD, name().encode(), os.O_CREAT | os.O_WRONLY, 0o4755)
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    gone()
    if not mode & 0o4000:
        raise PermissionError(errno.EPERM, "the bit was not kept")


@attempt
def raw_node_with_set_user_id():
    syscall("mknod", name().encode(), 0o100000 | 0o4755, 0)
    mode = os.stat(name()).st_mode
    gone()
    if not mode & 0o4000:
        raise PermissionError(errno.EPERM, "the bit was not kept")


@attempt
def raw_unnamed_with_set_user_id():
    descriptor = syscall("openat", AT_FDCWD, HERE.encode(), 0o20200000 | os.O_WRONLY, 0o4755)
    if not os.fstat(descriptor).st_mode & 0o4000:
        raise PermissionError(errno.EPERM, "the bit was not kept")


def attribute(title, key, value):
    def raw():
        path = regular()
        try:
            syscall("setxattr", path, key, value, len(value), 0)
        finally:
            gone()

    raw.__name__ = f"raw_{title}"
    attempt(raw)


# Revision 2: effective, with CAP_SETUID permitted.
attribute("file_capability", b"security.capability", struct.pack("<IIIII", 0x02000001, 1 << 7, 0, 0, 0))
attribute("trusted_attribute", b"trusted.attack", b"x")
attribute("label", b"security.attack", b"x")


@attempt
def api_folder():
    os.mkdir(name())
    gone()


@attempt
def api_link():
    os.symlink("/etc/shadow", name())
    gone()


@attempt
def raw_owner():
    path = regular()
    try:
        syscall("fchownat", AT_FDCWD, path, 65534, 65534, 0)
    finally:
        gone()


@attempt
def api_device_of_the_memory():
    with open("/dev/mem", "rb"):
        pass
