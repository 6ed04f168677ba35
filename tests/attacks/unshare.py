"""Line 16. Makes new namespaces, in which a process may become root."""

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET, NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x80


def define(name, flag):
    def api():
        checked(LIBC.unshare(flag))

    def raw():
        syscall("unshare", flag)

    def clone():
        child = syscall("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def clone3():
        # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
        arguments = (ctypes.c_uint64 * 8)(flag, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
        child = syscall("clone3", arguments, 64)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    for function in (api, raw, clone, clone3):
        function.__name__ = f"{function.__name__}_{name}"
        # clone's lowest byte is the signal, so a time namespace cannot be asked for there.
        if not (function is clone and flag == NEWTIME):
            attempt(function)


for name, flag in [
    ("user", NEWUSER), ("mount", NEWNS), ("net", NEWNET), ("pid", NEWPID), ("ipc", NEWIPC),
    ("uts", NEWUTS), ("cgroup", NEWCGROUP), ("time", NEWTIME), ("user_and_mount", NEWUSER | NEWNS),
]:
    define(name, flag)
