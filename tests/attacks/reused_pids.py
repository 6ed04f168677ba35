"""Line 8. A signal for a container whose first process has ended, and whose number is another process's now."""

LAST = "/proc/sys/kernel/ns_last_pid"


def recorded():
    with open(f"{STATE}/one/state.json") as file:
        return json.load(file)["first"]["pid"]


def stranger():
    """A process with the number of a container's that has ended, and a later start."""
    started("pass")
    pid = recorded()
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the container does not end")
    # The time of a start is counted in hundredths of a second.
    time.sleep(0.05)
    for _ in range(200):
        with open(LAST, "w") as file:
            file.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            signal.alarm(0)
            while True:
                time.sleep(60)
        if child == pid:
            GONE.discard(pid)
            return pid
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise NotReached("the number was not given again")


def is_spared(pid):
    """Whether it lives after a while in which a signal would have arrived."""
    end = time.monotonic() + 0.2
    while time.monotonic() < end and pid not in GONE:
        reap()
        time.sleep(0.01)
    return pid not in GONE


def judge(pid, *words):
    call(*words)
    if is_spared(pid):
        os.kill(pid, signal.SIGKILL)
        denied("it lives")


@against
def killed():
    judge(stranger(), "kill", "one", "KILL")


@against
def ended():
    judge(stranger(), "kill", "one", "TERM")


@against
def killed_by_a_deletion():
    judge(stranger(), "delete", "--force", "one")


@against
def joined():
    """What is to run in the container runs in the namespaces of the stranger, and is a stranger there."""
    pid = stranger()
    mark = f"{GROUND}/outside/made"
    call("exec", "one", PYTHON, "-I", "-c", f"open({mark!r}, 'w').close()")
    os.kill(pid, signal.SIGKILL)
    if not os.path.exists(mark):
        denied("it did not run")
    os.unlink(mark)
