"""Lines 47, 48. Reads what every user's secrets are kept in. @SECRET@ is a file of the host."""

SECRET = "@SECRET@"
MARK = b"@MARK@"


def judge(content):
    if MARK not in content:
        raise NotReached("another file of the same name was read")


@attempt
def api_open():
    with open(SECRET, "rb") as file:
        judge(file.read())


@attempt
def api_os_open():
    judge(os.read(os.open(SECRET, os.O_RDONLY), 65536))


@attempt
def api_dotdot():
    with open("/proc/self/root/tmp/../" + SECRET, "rb") as file:
        judge(file.read())


@attempt
def api_other_program():
    import subprocess
    done = subprocess.run(["/bin/cat", SECRET], capture_output=True)
    if done.returncode != 0:
        raise PermissionError(errno.EACCES, done.stderr.decode())
    judge(done.stdout)


def take(descriptor):
    content = ctypes.create_string_buffer(65536)
    length = syscall("read", descriptor, content, 65536)
    judge(content.raw[:length])


@attempt
def raw_open():
    take(syscall("open", SECRET.encode(), 0, 0))


@attempt
def raw_openat():
    take(syscall("openat", AT_FDCWD, SECRET.encode(), 0, 0))


@attempt
def raw_openat2():
    how = (ctypes.c_uint64 * 3)(0, 0, 0)
    take(syscall("openat2", AT_FDCWD, SECRET.encode(), how, 24))


@attempt
def raw_name_to_handle():
    # The handle of the root, tried on every mount: how containers were once left.
    handle = ctypes.create_string_buffer(struct.pack("=II", 128, 0), 136)
    mount = ctypes.c_int()
    syscall("name_to_handle_at", AT_FDCWD, SECRET.encode(), handle, ctypes.byref(mount), 0x400)
