"""Ends a process of the host. @PID@ is one that waits for it."""

PID = @PID@
WAY = "@WAY@"


@attempt
def hit():
    if WAY == "api_kill":
        os.kill(PID, signal.SIGKILL)
    elif WAY == "api_killpg":
        os.killpg(PID, signal.SIGKILL)
    elif WAY == "raw_kill":
        syscall("kill", PID, 9)
    elif WAY == "raw_tgkill":
        syscall("tgkill", PID, PID, 9)
    elif WAY == "raw_sigqueue":
        syscall("rt_sigqueueinfo", PID, 9, struct.pack("=iiiiII", 9, 0, -1, 0, os.getpid(), 0) + bytes(104))
    elif WAY == "raw_pidfd":
        syscall("pidfd_send_signal", syscall("pidfd_open", PID, 0), 9, 0, 0)
    else:
        raise NotReached(WAY)
