"""Line 25. System calls with a history: bpf, userfaultfd, performance events."""


@attempt
def api_bpf_map():
    attributes = (ctypes.c_uint32 * 32)(2, 4, 8, 1)
    ctypes.set_errno(0)
    checked(LIBC.syscall(321, 0, attributes, 128))


@attempt
def raw_bpf_map():
    attributes = (ctypes.c_uint32 * 32)(2, 4, 8, 1)
    syscall("bpf", 0, attributes, 128)


@attempt
def raw_userfaultfd():
    syscall("userfaultfd", os.O_CLOEXEC)


@attempt
def raw_perf_event_open():
    # A software event, the task clock, of this process alone.
    attributes = ctypes.create_string_buffer(128)
    struct.pack_into("=IIQ", attributes, 0, 1, 128, 1)
    syscall("perf_event_open", attributes, 0, -1, -1, 0)
