"""Line 15. Takes hold of another process, which could be the one that watches."""

TRACEME, ATTACH, SEIZE = 0, 16, 0x4206
LIBC.ptrace.restype = ctypes.c_long


def sleeping_child():
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        signal.pause()
        os._exit(0)
    return child


@attempt
def api_traceme():
    checked(LIBC.ptrace(TRACEME, 0, None, None))


@attempt
def api_attach_child():
    child = sleeping_child()
    try:
        checked(LIBC.ptrace(ATTACH, child, None, None))
    finally:
        os.kill(child, signal.SIGKILL)


@attempt
def raw_traceme():
    syscall("ptrace", TRACEME, 0, 0, 0)


@attempt
def raw_seize_child():
    child = sleeping_child()
    try:
        syscall("ptrace", SEIZE, child, 0, 0)
    finally:
        os.kill(child, signal.SIGKILL)


@attempt
def raw_seize_parent():
    syscall("ptrace", SEIZE, os.getppid(), 0, 0)


def vector(buffer):
    return (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), len(buffer))


@attempt
def raw_process_vm_readv():
    # The parent is a copy of this process: the address is one of its own.
    theirs, ours = ctypes.create_string_buffer(8), ctypes.create_string_buffer(8)
    there = ctypes.c_uint64 * 2
    where = there(ctypes.addressof(LIBC_PAGE), 8)
    del theirs
    syscall("process_vm_readv", os.getppid(), vector(ours), 1, where, 1, 0)


LIBC_PAGE = ctypes.create_string_buffer(8)


@attempt
def raw_process_vm_writev():
    ours = ctypes.create_string_buffer(8)
    where = (ctypes.c_uint64 * 2)(ctypes.addressof(LIBC_PAGE), 8)
    syscall("process_vm_writev", os.getppid(), vector(ours), 1, where, 1, 0)


@attempt
def raw_pidfd_getfd():
    syscall("pidfd_getfd", os.pidfd_open(os.getppid()), 0, 0)
