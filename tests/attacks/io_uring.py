"""Line 12. A queue of system calls that no filter sees: made, entered, registered with."""


@attempt
def api_setup():
    ctypes.set_errno(0)
    checked(LIBC.syscall(425, 4, ctypes.create_string_buffer(120)))


@attempt
def raw_setup():
    syscall("io_uring_setup", 4, ctypes.create_string_buffer(120))


@attempt
def raw_setup_polled():
    parameters = ctypes.create_string_buffer(120)
    struct.pack_into("=III", parameters, 0, 0, 0, 2)
    syscall("io_uring_setup", 4, parameters)


@attempt
def raw_enter():
    # Without a queue: the call itself must be refused, before EBADF.
    reaches((errno.EBADF,), "io_uring_enter", -1, 1, 0, 0, 0, 0)


@attempt
def raw_register():
    reaches((errno.EBADF, errno.EINVAL), "io_uring_register", -1, 0, 0, 0)
