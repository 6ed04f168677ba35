"""Lines 2, 9, 20. Has the environment and the descriptors of whoever started it."""

ENVIRONMENT = b"environment-" + b"@MARK_HEAD@" + b"@MARK_TAIL@"
CONTENT = b"@MARK_HEAD@" + b"@MARK_TAIL@"


@attempt
def api_own_environment():
    if not any(ENVIRONMENT in value for value in os.environb.values()):
        raise FileNotFoundError(errno.ENOENT, "the mark is not there")


@attempt
def api_other_environments():
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if ENVIRONMENT in file.read():
                        return
            except OSError:
                continue
    raise PermissionError(errno.EACCES, "the mark is not there")


@attempt
def raw_environment_of_parents():
    for pid in {1, os.getppid(), os.getpid()}:
        try:
            descriptor = syscall("openat", AT_FDCWD, f"/proc/{pid}/environ".encode(), 0, 0)
        except OSError:
            continue
        content = ctypes.create_string_buffer(1 << 17)
        length = syscall("read", descriptor, content, 1 << 17)
        if ENVIRONMENT in content.raw[:length]:
            return
    raise PermissionError(errno.EACCES, "the mark is not there")


@attempt
def api_inherited_descriptors():
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                if CONTENT in os.pread(int(name), 4096, 0):
                    return
            except OSError:
                continue
    raise FileNotFoundError(errno.EBADF, "the mark is not there")


@attempt
def raw_inherited_descriptors():
    for number in range(3, 1024):
        content = ctypes.create_string_buffer(4096)
        try:
            os.lseek(number, 0, 0)
            length = syscall("read", number, content, 4096)
        except OSError:
            continue
        if CONTENT in content.raw[:length]:
            return
    raise FileNotFoundError(errno.EBADF, "the mark is not there")


@attempt
def api_descriptors_of_parents():
    for pid in {1, os.getppid(), os.getpid()}:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{name}"
                if int(name) > 2 and os.path.isfile(path):
                    with open(path, "rb") as file:
                        if CONTENT in file.read(4096):
                            return
        except OSError:
            continue
    raise PermissionError(errno.EACCES, "the mark is not there")


@attempt
def api_module_of_the_caller():
    # By a PYTHONPATH that the caller has.
    try:
        import planted
    except ImportError as error:
        raise FileNotFoundError(errno.ENOENT, str(error)) from None
    if not planted.LOADED:
        raise NotReached("another module of that name")
