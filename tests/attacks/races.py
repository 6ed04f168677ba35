"""Line 43. Has another process exchange names and links while this one opens what they lead to."""

import time

HERE, MARK = "@GROUND@/granted", b"@MARK@"
ROUNDS, LONGEST = @ROUNDS@, 3
EXCHANGE = 2
LONG = @ROUNDS@ > 100_000


def place():
    """A folder of this process's own among those that may be changed."""
    path = f"{HERE}/race-{os.getpid()}"
    os.makedirs(f"{path}/folder", exist_ok=True)
    with open(f"{path}/folder/denied", "w") as file:
        file.write("harmless")
    return path


def exchanged(one, other):
    one, other = one.encode(), other.encode()

    def exchange():
        for _ in range(100):
            LIBC.syscall(316, AT_FDCWD, one, AT_FDCWD, other, EXCHANGE)

    return meanwhile(exchange)


def race(one, other, path, open_it=None):
    """Exchanges the first two, and opens the third until what may not be read was read."""
    signal.alarm(0)
    before = os.lstat(one).st_ino
    child = exchanged(one, other)
    path = path.encode()
    open_it = open_it or (lambda: syscall("openat", AT_FDCWD, path, 0, 0))
    end = time.monotonic() + (100 if LONG else LONGEST)
    tried = 0
    try:
        while tried < ROUNDS and time.monotonic() < end:
            tried += 1
            try:
                descriptor = open_it()
            except OSError:
                continue
            content = os.read(descriptor, 4096)
            os.close(descriptor)
            if MARK in content:
                return
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if os.lstat(one).st_ino != before:
            syscall("renameat2", AT_FDCWD, one.encode(), AT_FDCWD, other.encode(), EXCHANGE)
    raise PermissionError(errno.EACCES, f"{tried} attempts")


def linked(aim):
    here = place()
    os.symlink(f"{HERE}/ok", f"{here}/one")
    os.symlink(aim, f"{here}/other")
    race(f"{here}/one", f"{here}/other", f"{here}/one")


@attempt
def raw_link_to_what_is_denied():
    linked(f"{HERE}/denied")


@attempt
def raw_link_to_outside():
    linked("@GROUND@/outside/secret")


@attempt
def raw_folder_for_a_link():
    here = place()
    os.symlink(f"{HERE}/sub", f"{here}/link")
    race(f"{here}/folder", f"{here}/link", f"{here}/folder/denied")


@attempt
def raw_denied_folder_for_another():
    race(f"{HERE}/sub", f"{HERE}/other", f"{HERE}/other/denied")


@attempt
def raw_denied_file_for_another():
    race(f"{HERE}/denied", f"{HERE}/ok", f"{HERE}/ok")


@attempt
def raw_parent_of_a_folder_that_is_held():
    here = place()
    os.mkdir(f"{here}/deep")
    os.mkdir(f"{here}/deep/er")
    folder = os.open(f"{here}/deep/er", os.O_PATH)
    up = b"../../../sub/denied"
    race(f"{here}/deep", f"{here}/folder", "", lambda: syscall("openat", folder, up, 0, 0))


@attempt
def raw_link_that_is_written():
    """The file that was opened for writing tells by its own name whether it is one that may not be."""
    here = place()
    os.symlink(f"{HERE}/ok", f"{here}/one")
    os.symlink(f"{HERE}/keep", f"{here}/other")
    path = f"{here}/one".encode()

    def open_it():
        descriptor = syscall("openat", AT_FDCWD, path, os.O_WRONLY, 0)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        os.close(descriptor)
        reader, writer = os.pipe()
        if name == f"{HERE}/keep":
            os.write(writer, MARK)
        os.close(writer)
        return reader

    race(f"{here}/one", f"{here}/other", f"{here}/one", open_it)
