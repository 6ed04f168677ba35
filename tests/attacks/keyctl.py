"""Line 25. Uses the kernel's keyrings, which know no container."""

LIBC.syscall.restype = ctypes.c_long


@attempt
def api_keyring_id():
    # No library of Python's speaks keyctl; libc's syscall() is the usual way.
    ctypes.set_errno(0)
    checked(LIBC.syscall(250, 0, -4, 1, 0, 0))


@attempt
def raw_keyctl_join_session():
    syscall("keyctl", 1, 0, 0, 0, 0)


@attempt
def raw_keyctl_get_id():
    syscall("keyctl", 0, -4, 1, 0, 0)


@attempt
def raw_add_key():
    # Into the keyring of this process alone.
    syscall("add_key", b"user", b"attack", b"secret", 6, -2)


@attempt
def raw_request_key():
    # To one who may ask, the answer is that there is no such key.
    try:
        syscall("request_key", b"user", b"attack-no-such-key", 0, 0)
    except OSError as error:
        if error.errno != errno.ENOKEY:
            raise
