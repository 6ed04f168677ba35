"""Lines 15, 27. Sees a process of the host, by its command line and by its number."""

# Split, so that the attacker's own command line does not answer.
MARK = "@MARK_HEAD@" + "@MARK_TAIL@"
PID = [@PIDS@][0]


@attempt
def api_command_lines():
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if MARK.encode() in file.read():
                        return
            except OSError:
                continue
    raise FileNotFoundError(errno.ENOENT, "no such process")


@attempt
def api_command_line():
    with open(f"/proc/{PID}/cmdline", "rb") as file:
        if MARK.encode() not in file.read():
            raise ProcessLookupError(errno.ESRCH, "a process of the sandbox has that number")


@attempt
def api_exists():
    os.kill(PID, 0)


@attempt
def raw_exists():
    syscall("kill", PID, 0)


@attempt
def raw_pidfd():
    syscall("pidfd_open", PID, 0)
