"""Line 45. Reads and changes a denied file by another name that it had before the start."""

HERE, MARK = "@GROUND@/linked", b"@MARK@"


@attempt
def api_read():
    with open(f"{HERE}/alias", "rb") as file:
        if MARK not in file.read():
            raise NotReached("another file")


@attempt
def raw_read():
    descriptor = syscall("openat", AT_FDCWD, f"{HERE}/alias".encode(), 0, 0)
    if MARK not in os.read(descriptor, 4096):
        raise NotReached("another file")


@attempt
def raw_write():
    os.close(syscall("openat", AT_FDCWD, f"{HERE}/alias".encode(), os.O_WRONLY, 0))
