"""Line 27. Ends a process of the host. Each way has one that waits for it."""

VICTIMS = [@PIDS@]


def information():
    return struct.pack("=iiiiII", 9, 0, -1, 0, os.getpid(), 0) + bytes(104)


def define(name, hit):
    victim = VICTIMS.pop()

    def function():
        hit(victim)

    function.__name__ = name
    attempt(function)


def by_its_group(pid):
    os.killpg(os.getpgid(pid), signal.SIGKILL)


def by_a_pipe(pid):
    """The kernel sends it, when there is something to read."""
    import fcntl

    reader, writer = os.pipe()
    syscall("fcntl", reader, fcntl.F_SETOWN, pid)
    fcntl.fcntl(reader, 10, signal.SIGKILL)
    fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)
    os.write(writer, b"x")
    # Whom it went to is not told: the owner that the kernel noted is whom it goes to.
    if fcntl.fcntl(reader, fcntl.F_GETOWN) != pid:
        raise ProcessLookupError(errno.ESRCH, "somebody else")
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            raise ProcessLookupError(errno.ESRCH, "no such process") from None
        __import__("time").sleep(0.01)
    raise PermissionError(errno.EPERM, "it lives on")


define("api_kill", lambda pid: os.kill(pid, signal.SIGKILL))
define("api_its_group", by_its_group)
define("api_pidfd", lambda pid: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL))
define("raw_kill", lambda pid: syscall("kill", pid, 9))
define("raw_tkill", lambda pid: syscall("tkill", pid, 9))
define("raw_tgkill", lambda pid: syscall("tgkill", pid, pid, 9))
define("raw_sigqueue", lambda pid: syscall("rt_sigqueueinfo", pid, 9, information()))
define("raw_tgsigqueue", lambda pid: syscall("rt_tgsigqueueinfo", pid, pid, 9, information()))
define("raw_pidfd", lambda pid: syscall("pidfd_send_signal", syscall("pidfd_open", pid, 0), 9, 0, 0))
define("raw_owner_of_a_pipe", by_a_pipe)
