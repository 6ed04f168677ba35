"""Line 15. Init has the uid of the worker: what asks for no more than that reaches it."""

SYSCALLS.update({"setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144,
                 "sched_setaffinity": 203, "ioprio_set": 251, "prlimit64": 302, "sched_setattr": 314})


@attempt
def api_prlimit():
    import resource

    resource.prlimit(1, resource.RLIMIT_NOFILE, (512, 512))


@attempt
def raw_prlimit():
    syscall("prlimit64", 1, 7, struct.pack("QQ", 512, 512), 0)


@attempt
def raw_sched_setaffinity():
    mask = ctypes.create_string_buffer(128)
    mask[0] = b"\x01"
    syscall("sched_setaffinity", 1, len(mask), mask)


@attempt
def raw_sched_setscheduler():
    syscall("sched_setscheduler", 1, 5, struct.pack("i", 0))


@attempt
def raw_sched_setparam():
    syscall("sched_setparam", 1, struct.pack("i", 0))


@attempt
def raw_sched_setattr():
    syscall("sched_setattr", 1, struct.pack("IIQiIQQQ", 48, 5, 0, 0, 0, 0, 0, 0), 0)


@attempt
def raw_setpriority():
    syscall("setpriority", 0, 1, 19)


@attempt
def raw_setpriority_of_a_user():
    syscall("setpriority", 2, 0, 19)


@attempt
def raw_ioprio_set():
    syscall("ioprio_set", 1, 1, 3 << 13)


@attempt
def raw_ioprio_set_of_a_user():
    syscall("ioprio_set", 3, os.getuid(), 3 << 13)
