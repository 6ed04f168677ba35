"""Line 24. Stacks a filter of its own that answers otherwise, or takes the listener of the one that holds it."""

NEW_LISTENER, SET_MODE_FILTER, PR_SET_SECCOMP = 8, 1, 22
RET_ALLOW, RET_NOTIFY = 0x7FFF0000, 0x7FC00000


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def program(answer):
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, answer))
    made = Program(1, ctypes.addressof(code))
    made.code = code
    return made


def no_new_privileges():
    checked(LIBC.prctl(38, 1, 0, 0, 0))


@attempt
def raw_allow_all_then_keyctl():
    """The aim is the call that was refused, whether or not the filter could be added."""
    no_new_privileges()
    try:
        syscall("seccomp", SET_MODE_FILTER, 0, ctypes.byref(program(RET_ALLOW)))
    except OSError:
        pass
    syscall("keyctl", 0, -4, 1, 0, 0)


@attempt
def raw_prctl_allow_all_then_keyctl():
    no_new_privileges()
    try:
        syscall("prctl", PR_SET_SECCOMP, 2, ctypes.byref(program(RET_ALLOW)), 0, 0)
    except OSError:
        pass
    syscall("keyctl", 0, -4, 1, 0, 0)


@attempt
def raw_listener_of_its_own():
    no_new_privileges()
    # One that lets everything through: a listener nobody serves would stop this process.
    syscall("seccomp", SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program(RET_ALLOW)))


@attempt
def raw_filter_for_every_thread():
    no_new_privileges()
    syscall("seccomp", SET_MODE_FILTER, 1, ctypes.byref(program(RET_ALLOW)))


@attempt
def raw_listener_is_inherited():
    """A listener among the descriptors of this process or of those that can be seen."""
    no_new_privileges()
    own = None
    try:
        own = syscall("seccomp", SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program(RET_ALLOW)))
    except OSError:
        pass
    for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                if "seccomp" in os.readlink(f"/proc/{pid}/fd/{name}"):
                    return
            except OSError:
                continue
    raise PermissionError(errno.EACCES, f"no listener, nor one of its own ({own})")
