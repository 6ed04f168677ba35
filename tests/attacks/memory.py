"""Line 15. The memory, the descriptors and the places of the first process, which started this one."""

FIRST = 1


def first_writable():
    with open(f"/proc/{FIRST}/maps") as maps:
        for line in maps:
            where, mode = line.split()[:2]
            if mode.startswith("rw"):
                return int(where.split("-")[0], 16)
    raise NotReached("nothing that can be written")


@attempt
def api_maps():
    first_writable()


@attempt
def api_memory_is_read():
    descriptor = os.open(f"/proc/{FIRST}/mem", os.O_RDONLY)
    os.pread(descriptor, 8, first_writable())


@attempt
def raw_memory_is_written():
    where = first_writable()
    descriptor = syscall("openat", AT_FDCWD, f"/proc/{FIRST}/mem".encode(), os.O_RDWR, 0)
    os.pwrite(descriptor, os.pread(descriptor, 8, where), where)


@attempt
def api_environment():
    with open(f"/proc/{FIRST}/environ", "rb") as file:
        file.read()


@attempt
def api_descriptors():
    os.listdir(f"/proc/{FIRST}/fd")


@attempt
def raw_root():
    syscall("openat", AT_FDCWD, f"/proc/{FIRST}/root/".encode(), os.O_RDONLY, 0)


@attempt
def raw_working_directory():
    syscall("openat", AT_FDCWD, f"/proc/{FIRST}/cwd/".encode(), os.O_RDONLY, 0)


@attempt
def raw_own_file():
    syscall("openat", AT_FDCWD, f"/proc/{FIRST}/exe".encode(), os.O_RDONLY, 0)


@attempt
def raw_descriptor_is_taken():
    syscall("pidfd_getfd", os.pidfd_open(FIRST), 0, 0)


@attempt
def raw_advice():
    vector = (ctypes.c_uint64 * 2)(0x10000, 4096)
    reaches((errno.ENOMEM,), "process_madvise", os.pidfd_open(FIRST), vector, 1, 20, 0)


@attempt
def raw_comparison():
    syscall("kcmp", os.getpid(), FIRST, 0, 0, 0)


@attempt
def api_score_of_memory():
    with open(f"/proc/{FIRST}/oom_score_adj", "r+") as file:
        value = file.read()
        file.seek(0)
        file.write(value)
