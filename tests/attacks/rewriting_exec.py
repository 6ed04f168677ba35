"""Line 22. Has another process write over the path of a program while it is decided whether it may run."""

import time

GOOD, BAD = b"/usr/bin/true", b"/usr/bin/id"
LONG = @ROUNDS@ > 100_000
ROUNDS = @ROUNDS@ if LONG else 600


def race(start):
    signal.alarm(0)
    address, flipper, page = flipped(GOOD, BAD)
    end = time.monotonic() + (300 if LONG else 6)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    tried = 0
    try:
        while tried < ROUNDS and time.monotonic() < end:
            tried += 1
            child = os.fork()
            if child == 0:
                os.dup2(writer, 1)
                try:
                    start(address)
                except OSError:
                    pass
                os._exit(1)
            os.waitpid(child, 0)
            try:
                if b"uid=" in os.read(reader, 4096):
                    return
            except BlockingIOError:
                pass
    finally:
        os.kill(flipper, signal.SIGKILL)
        os.waitpid(flipper, 0)
    raise PermissionError(errno.EACCES, f"{tried} attempts")


@attempt
def raw_execve():
    race(lambda address: syscall("execve", address, vector(b"x"), vector()))


@attempt
def raw_execveat():
    race(lambda address: syscall("execveat", AT_FDCWD, address, vector(b"x"), vector(), 0))
