"""Line 46. Makes what a rule denies and what was not there when the rule was read, and uses it."""

PATH = "@GROUND@/granted/absent"


def gone():
    try:
        os.unlink(PATH)
    except IsADirectoryError:
        os.rmdir(PATH)


@attempt
def api_made():
    with open(PATH, "w") as file:
        file.write("x")
    gone()


@attempt
def raw_made():
    os.close(syscall("openat", AT_FDCWD, PATH.encode(), os.O_CREAT | os.O_WRONLY, 0o600))
    gone()


@attempt
def raw_folder():
    syscall("mkdirat", AT_FDCWD, PATH.encode(), 0o700)
    gone()


@attempt
def raw_symlink():
    syscall("symlinkat", b"ok", AT_FDCWD, PATH.encode())
    gone()


def moved(call):
    other = PATH + "-before"
    with open(other, "w") as file:
        file.write("x")
    try:
        call(other.encode())
        with open(PATH) as file:
            file.read()
        gone()
    finally:
        if os.path.exists(other):
            os.unlink(other)


@attempt
def raw_renamed():
    moved(lambda other: syscall("rename", other, PATH.encode()))


@attempt
def raw_linked():
    moved(lambda other: syscall("link", other, PATH.encode()))
