"""Line 22. Has another process write over a path while the kernel, or who decides in its place, looks at it."""

import time

HERE, MARK = "@GROUND@/granted", b"@MARK@"
ROUNDS, LONGEST = @ROUNDS@, 4
GOOD, BAD = f"{HERE}/ok".encode(), f"{HERE}/denied".encode()
OUTSIDE = b"@GROUND@/outside/secret"
LONG = @ROUNDS@ > 100_000


def race(one, other, open_it):
    """Opens whatever stands in the buffer, and looks whether it is what may not be read."""
    signal.alarm(0)
    address, child, page = flipped(one, other)
    end = time.monotonic() + (100 if LONG else LONGEST)
    tried = 0
    try:
        while tried < ROUNDS and time.monotonic() < end:
            tried += 1
            try:
                descriptor = open_it(address)
            except OSError:
                continue
            content = os.read(descriptor, 4096)
            os.close(descriptor)
            if MARK in content:
                return
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise PermissionError(errno.EACCES, f"{tried} attempts")


@attempt
def raw_open():
    race(GOOD, BAD, lambda address: syscall("open", address, 0, 0))


@attempt
def raw_openat():
    race(GOOD, BAD, lambda address: syscall("openat", AT_FDCWD, address, 0, 0))


@attempt
def raw_openat_outside():
    race(GOOD, OUTSIDE, lambda address: syscall("openat", AT_FDCWD, address, 0, 0))


@attempt
def raw_openat_in_a_folder():
    folder = os.open(HERE, os.O_PATH)
    race(b"ok", b"sub/denied", lambda address: syscall("openat", folder, address, 0, 0))
