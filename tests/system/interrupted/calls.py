"""Opens pipes that nobody opens from the other end, and is interrupted by signals; argument: folder."""

import ctypes
import errno
import os
import signal
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
SHORT = 0.05


def opened(path, flags):
    """What open(2) gives: a descriptor, or the error's name."""
    descriptor = LIBC.open(path.encode(), flags)
    return descriptor if descriptor >= 0 else errno.errorcode.get(ctypes.get_errno(), "none")


def alarms(restarts):
    """How often the alarm rang, counted from its handler on."""
    heard = []
    signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    signal.siginterrupt(signal.SIGALRM, not restarts)
    return heard


def meet(path, after):
    """Opens the other end later."""

    def other():
        time.sleep(after)
        os.close(os.open(path, os.O_WRONLY))

    thread = threading.Thread(target=other)
    thread.start()
    return thread


def main(folder):
    path = os.path.join(folder, "pipe")
    os.mkfifo(path)

    heard = alarms(restarts=False)
    signal.setitimer(signal.ITIMER_REAL, SHORT)
    print("alone:", opened(path, os.O_RDONLY), len(heard))

    class Late(Exception):
        pass

    def late(*_):
        raise Late

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SHORT)
    try:
        open(path)
        print("python: opened")
    except Late:
        print("python: late")

    # A child alone, so that nobody else takes its signal: the kernel makes the call again.
    child = os.fork()
    if child == 0:
        alarms(restarts=True)
        signal.setitimer(signal.ITIMER_REAL, SHORT)
        descriptor = opened(path, os.O_RDONLY)
        os._exit(0 if isinstance(descriptor, int) and os.fstat(descriptor) else 1)
    time.sleep(8 * SHORT)
    os.close(os.open(path, os.O_WRONLY))
    print("again:", os.waitpid(child, 0)[1])

    # What is handed over while signals come is what was opened, or nothing.
    alarms(restarts=True)
    signal.setitimer(signal.ITIMER_REAL, 0.013, 0.013)
    failed = []
    for _ in range(40):
        thread = meet(path, 0.02)
        descriptor = opened(path, os.O_RDONLY)
        while descriptor == "EINTR":
            descriptor = opened(path, os.O_RDONLY)
        try:
            os.fstat(descriptor)
            os.close(descriptor)
        except (OSError, TypeError):
            failed.append(descriptor)
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("threads:", failed)

    # A signal that is blocked or ignored interrupts nothing, and neither does it hide a later one.
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, SHORT)
    thread = meet(path, 6 * SHORT)
    print("blocked:", isinstance(opened(path, os.O_RDONLY), int))
    thread.join()

    # A terminated process is ended while it waits.
    child = os.fork()
    if child == 0:
        opened(path, os.O_RDONLY)
        os._exit(0)
    time.sleep(4 * SHORT)
    os.kill(child, signal.SIGTERM)
    print("ended by", os.WTERMSIG(os.waitpid(child, 0)[1]))


main(sys.argv[1])
