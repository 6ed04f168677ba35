"""Line 45. Gives a denied file another name, by a hard link, and reads or changes it by that."""

HERE, MARK = "@GROUND@/granted", b"@MARK@"


def name():
    return f"{HERE}/another-name-{os.getpid()}"


def judge():
    try:
        with open(name(), "rb") as file:
            if MARK not in file.read():
                raise NotReached("another file")
    finally:
        os.unlink(name())


@attempt
def api_link():
    os.link(f"{HERE}/denied", name())
    judge()


@attempt
def raw_link():
    syscall("link", f"{HERE}/denied".encode(), name().encode())
    judge()


@attempt
def raw_linkat():
    syscall("linkat", AT_FDCWD, f"{HERE}/denied".encode(), AT_FDCWD, name().encode(), 0)
    judge()


@attempt
def raw_linkat_by_descriptor_s_name():
    held = os.open(f"{HERE}/denied", os.O_PATH)
    syscall("linkat", AT_FDCWD, f"/proc/self/fd/{held}".encode(), AT_FDCWD, name().encode(), 0x400)
    judge()


@attempt
def raw_linkat_below_a_denied_folder():
    syscall("linkat", AT_FDCWD, f"{HERE}/sub/denied".encode(), AT_FDCWD, name().encode(), 0)
    judge()


@attempt
def raw_link_that_is_written():
    syscall("link", f"{HERE}/keep".encode(), name().encode())
    try:
        with open(name(), "r+b") as file:
            content = file.read()
            file.seek(0)
            file.write(content)
    finally:
        os.unlink(name())


@attempt
def raw_link_out_of_the_outside():
    syscall("link", b"@GROUND@/outside/secret", name().encode())
    judge()
