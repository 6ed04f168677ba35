"""Changes what is mounted, by the old calls and by the new ones."""

os.makedirs("/tmp/attack", exist_ok=True)
MS_BIND, MS_REMOUNT = 4096, 32


@attempt
def raw_mount_setattr():
    attributes = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    syscall("mount_setattr", AT_FDCWD, b"/proc", 0, attributes, 32)


@attempt
def api_mount_tmpfs():
    checked(LIBC.mount(b"tmpfs", b"/tmp/attack", b"tmpfs", 0, None))


@attempt
def api_bind():
    checked(LIBC.mount(b"/", b"/tmp/attack", None, MS_BIND, None))


@attempt
def api_umount():
    os.chdir("/")
    checked(LIBC.umount2(b"/proc", 2))


@attempt
def raw_mount_tmpfs():
    syscall("mount", b"tmpfs", b"/tmp/attack", b"tmpfs", 0, None)


@attempt
def raw_mount_proc():
    syscall("mount", b"proc", b"/tmp/attack", b"proc", 0, None)


@attempt
def raw_umount():
    os.chdir("/")
    syscall("umount2", b"/proc", 2)


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
        syscall("move_mount", -1, b"", AT_FDCWD, b"/tmp/attack", 4)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
