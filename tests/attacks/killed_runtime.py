"""Line 11. SIGKILL for the runtime at moments of every start: what it has started runs unfiltered, or lives on."""

TOLD = f"{GROUND}/tmp/told"
# What the program says of itself once it runs, so that nobody has to wait for it: whether keyctl(2) is filtered.
PROGRAM = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
free = libc.syscall(250, 0, -3, 0) != -1 or ctypes.get_errno() not in (1, 38)
told = os.open({TOLD!r}, os.O_WRONLY | os.O_APPEND)
os.write(told, b"FREE\\n" if free else b"HELD\\n")
"""
# It would go on for longer than anybody waits.
STAYS = PROGRAM + "\nimport time\ntime.sleep(1000)\n"
MOMENTS = 10
# ptrace(2): requests, options, and what the stop of a system call adds to SIGTRAP.
SYSCALL, KILL_WITH_ME, MARKED = 24, 0x100000, 1
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def filtered(spec):
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                                "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}]}
    spec["mounts"].append(bound(os.path.dirname(TOLD), os.path.dirname(TOLD), "rw"))


def run_words(program):
    if BUNTIME:
        folder = os.path.dirname(TOLD)
        return [BUNTIME, "run", "--quiet", "--python", PYTHON, f"--allow-read={folder}", f"--allow-write={folder}",
                "-c", program]
    return verb("run", "--bundle", bundle(program, filtered), "one")


def traced(words):
    """Starts words, to be stopped at every system call."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(0)
        for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
            os.dup2(os.open("/dev/null" if number == 0 else f"{YARD}/said", flags | os.O_CREAT), number)
        LIBC.ptrace(0, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execve(words[0], words, {"PATH": os.environ["PATH"], "HOME": "/"})
    os.waitpid(pid, 0)
    checked(LIBC.ptrace(0x4200, pid, None, KILL_WITH_ME | MARKED))
    return pid


def killed_at(words, moment, over=lambda: False):
    """Kills it at one of its stops; tells how many there were if it ended before, or until it was over."""
    pid, seen, deliver = traced(words), 0, 0
    while True:
        LIBC.ptrace(SYSCALL, pid, None, deliver)
        # A call that waits for long may be the last one.
        ended = 0
        end = time.monotonic() + PATIENCE
        while not ended:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and (over() or time.monotonic() > end):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return seen
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return seen
        deliver = os.WSTOPSIG(status)
        if deliver == signal.SIGTRAP | 0x80:
            deliver, seen = 0, seen + 1
            if seen == moment:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return seen
        elif deliver in (signal.SIGTRAP, signal.SIGSTOP):
            deliver = 0


def told():
    with open(TOLD) as file:
        return file.read()


def forget():
    with open(TOLD, "w"):
        pass


def others():
    """Processes that the attempt has left."""
    reap()
    known, mine = {1, os.getpid()}, []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat") as file:
                state = file.read().rsplit(")", 1)[1].split()[0]
            if name.isdigit() and int(name) not in known and state not in "ZX":
                mine.append(int(name))
        except (OSError, IndexError):
            pass
    return mine


def is_free():
    return "FREE" in told()


def moments(words, prepared=lambda: None, afterwards=lambda: None):
    """Each moment of a call, in turn, until the program was seen to run unfiltered."""
    forget()
    prepared()
    count = killed_at(words, -1, told)
    if "create" not in words:
        until(told, "it does not run")
    if is_free():
        raise NotAttempted("nothing is filtered here")
    afterwards()
    for turn in range(MOMENTS):
        forget()
        prepared()
        # From the first stop to the last; one call makes more of them than another.
        killed_at(words, 1 + turn * (count - 1) // (MOMENTS - 1), told)
        yield turn
        afterwards()


def cleared():
    """Nothing of a container stays, whatever has become of it."""
    tidy()
    until(lambda: not others(), "something lives on")


def runs():
    """Whether the container's first process is the program already."""
    try:
        with open(f"{STATE}/one/state.json") as file:
            first = json.load(file)["first"]
        return os.readlink(f"/proc/{first['pid']}/exe") == PYTHON
    except (OSError, TypeError, ValueError):
        return False


def started_again():
    """Starts what there is, unless it runs, and waits until the program has told of itself or never will."""
    again = Called(verb("start", "one"))
    until(lambda: told() or (again.ended() and not runs()), "it does not run")
    if again.ended() is None:
        os.kill(again.pid, signal.SIGKILL)
        again.wait()


def unfiltered(all_moments, wait):
    for _ in all_moments:
        wait()
        if is_free():
            return
    denied("it was held at every moment, or did not run")


def outlived(or_else=lambda: False):
    """Whether something does not end in more time than that may take on a busy machine."""
    try:
        until(lambda: or_else() or not others(), "", 4)
    except NotReached:
        return True
    return False


def swept():
    """The next start removes what those before have left."""
    tidy()
    Called(run_words(PROGRAM)).wait()


@against
def run_is_killed():
    try:
        unfiltered(moments(run_words(PROGRAM), afterwards=tidy), lambda: outlived(is_free))
    finally:
        swept()


@against
def run_is_outlived():
    try:
        for _ in moments(run_words(STAYS), afterwards=tidy):
            if outlived():
                return
        denied("nothing outlived it")
    finally:
        swept()


@against
def creation_is_killed():
    """What was made of the container is started then, if it can be."""
    folder = bundle(STAYS, filtered)
    unfiltered(moments(verb("create", "--bundle", folder, "one"), afterwards=cleared), started_again)


@against
def start_is_killed():
    folder = bundle(STAYS, filtered)
    unfiltered(moments(verb("start", "one"), lambda: call("create", "--bundle", folder, "one"), cleared),
               started_again)
