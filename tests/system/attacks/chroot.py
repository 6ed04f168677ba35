"""Gets another root."""


@attempt
def api_chroot():
    os.chroot("/tmp")


@attempt
def api_chroot_proc():
    os.chroot("/proc/self/root")


@attempt
def raw_chroot():
    syscall("chroot", b"/tmp")


@attempt
def raw_pivot_root():
    # A place that is no mount is EINVAL to one who may, EPERM to one who may not.
    try:
        syscall("pivot_root", b"/tmp", b"/tmp")
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBUSY):
            raise
