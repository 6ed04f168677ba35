"""Line 23. Asks whoever decides about programs more than it can hear, or so that the answer comes too late."""

import resource
import threading

# The one program that is there for sure.
PROGRAM = os.path.realpath("/proc/self/exe").encode()


def runs():
    """Whether a child became another program: the pipe is closed by that, and written to otherwise."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        LIBC.syscall(59, PROGRAM, vector(b"python3", b"-c", b"pass"), vector())
        os.write(writer, b"x")
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 1)
    os.close(reader)
    os.waitpid(child, 0)
    return not answer


def denied():
    raise PermissionError(errno.EACCES, "none of them ran")


@attempt
def raw_again_and_again():
    if not any([runs() for _ in range(20)]):
        denied()


@attempt
def raw_many_at_once():
    ran = []
    threads = [threading.Thread(target=lambda: ran.append(runs())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not any(ran):
        denied()


@attempt
def raw_interrupted():
    """A signal ends the wait for the answer, over and over; the call is made again each time."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
        for _ in range(500):
            LIBC.syscall(59, PROGRAM, vector(b"python3", b"-c", b"pass"), vector())
        os.write(writer, b"x")
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 1)
    os.waitpid(child, 0)
    if answer:
        denied()


@attempt
def raw_ended_while_it_waits():
    """Callers that are killed while they are answered leave nothing that answers the next one."""
    for _ in range(50):
        child = os.fork()
        if child == 0:
            for _ in range(100):
                LIBC.syscall(59, b"/nonexistent", vector(b"x"), vector())
            os._exit(0)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not runs():
        denied()


@attempt
def raw_without_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    if not runs():
        denied()


@attempt
def raw_first_process_stopped():
    """Whoever answers is told to stop first."""
    for pid in {1, os.getppid()}:
        if pid != os.getppid() or pid == 1:
            LIBC.syscall(62, pid, signal.SIGSTOP)
    if not runs():
        denied()
