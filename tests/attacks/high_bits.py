"""Line 14. Arguments that the kernel takes for an int, with bits above it that a filter might compare."""

HIGH = 0xDEAD << 32

@attempt
def clone_of_a_user_namespace():
    child = syscall("clone", HIGH | 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attempt
def personality_without_randomness():
    syscall("personality", HIGH | 0x0040000)


@attempt
def keyring():
    syscall("keyctl", HIGH | 0, HIGH | (-4 & 0xFFFFFFFF), 1, 0, 0)


@attempt
def packets():
    syscall("socket", HIGH | 17, HIGH | 3, 0)


@attempt
def socket_of_the_host_s_crypto():
    syscall("socket", HIGH | 38, 5, 0)


@attempt
def netlink():
    syscall("socket", HIGH | 16, 3, 0)


@attempt
def filter_by_prctl():
    # EFAULT is for one whose filter would have been read.
    LIBC.prctl(38, 1, 0, 0, 0)
    reaches((errno.EFAULT,), "prctl", HIGH | 22, 2, 8)
