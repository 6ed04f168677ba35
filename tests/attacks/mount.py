"""Line 17. Changes what is mounted, by the old calls and by the new ones."""

os.makedirs(f"{TMP}/attack", exist_ok=True)
MS_BIND, MS_REMOUNT = 4096, 32
PLACE = f"{TMP}/attack".encode()


@attempt
def raw_mount_setattr():
    attributes = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    syscall("mount_setattr", AT_FDCWD, b"/proc", 0, attributes, 32)


@attempt
def api_mount_tmpfs():
    checked(LIBC.mount(b"tmpfs", PLACE, b"tmpfs", 0, None))


@attempt
def api_bind():
    checked(LIBC.mount(b"/", PLACE, None, MS_BIND, None))


@attempt
def raw_mount_tmpfs():
    syscall("mount", b"tmpfs", PLACE, b"tmpfs", 0, None)


@attempt
def raw_mount_proc():
    syscall("mount", b"proc", PLACE, b"proc", 0, None)


@attempt
def raw_fsopen():
    syscall("fsopen", b"tmpfs", 0)


@attempt
def raw_open_tree():
    syscall("open_tree", AT_FDCWD, b"/", 1)


@attempt
def raw_move_mount():
    # Without a descriptor of a mount: the call itself must be refused, before EBADF.
    try:
        syscall("move_mount", -1, b"", AT_FDCWD, PLACE, 4)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


@attempt
def raw_fsconfig():
    reaches((errno.EBADF, errno.EINVAL), "fsconfig", -1, 6, 0, 0, 0)


@attempt
def raw_fsmount():
    reaches((errno.EBADF,), "fsmount", -1, 0, 0)


@attempt
def raw_fspick():
    syscall("fspick", AT_FDCWD, b"/proc", 0)


@attempt
def raw_remount_writable():
    syscall("mount", 0, b"/proc", 0, MS_BIND | MS_REMOUNT, 0)


@attempt
def raw_bind_over_a_program():
    syscall("mount", b"/dev/null", os.path.realpath(sys.executable).encode(), 0, MS_BIND, 0)


@attempt
def raw_whole_way():
    """A file system of one's own, made and attached by the new calls alone."""
    context = syscall("fsopen", b"tmpfs", 0)
    syscall("fsconfig", context, 6, 0, 0, 0)
    tree = syscall("fsmount", context, 0, 0)
    syscall("move_mount", tree, b"", AT_FDCWD, PLACE, 4)


# These come last: where they succeed, /proc is gone for every other attempt.
@attempt
def api_umount():
    os.chdir("/")
    checked(LIBC.umount2(b"/proc", 2))


@attempt
def raw_umount():
    os.chdir("/")
    syscall("umount2", b"/proc", 2)
