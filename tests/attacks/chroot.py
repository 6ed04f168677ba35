"""Line 17. Gets another root."""


@attempt
def api_chroot():
    os.chroot(TMP)


@attempt
def api_chroot_proc():
    os.chroot("/proc/self/root")


@attempt
def raw_chroot():
    syscall("chroot", TMP.encode())


@attempt
def raw_pivot_root():
    # A place that is no mount is EINVAL to one who may, EPERM to one who may not.
    try:
        syscall("pivot_root", TMP.encode(), TMP.encode())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBUSY):
            raise
