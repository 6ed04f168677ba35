"""Line 14. Turns defences off for programs to come: addresses no longer random, all memory executable."""

QUERY = 0xFFFFFFFF


def define(name, flag):
    def api():
        checked(LIBC.personality(flag))
        if LIBC.personality(QUERY) & flag != flag:
            raise PermissionError(errno.EPERM, "the personality stayed as it was")

    def raw():
        syscall("personality", flag)
        if syscall("personality", QUERY) & flag != flag:
            raise PermissionError(errno.EPERM, "the personality stayed as it was")

    for function in (api, raw):
        function.__name__ = f"{function.__name__}_{name}"
        attempt(function)


for name, flag in [
    ("no_randomize", 0x0040000), ("read_implies_exec", 0x0400000), ("mmap_page_zero", 0x0100000),
    ("linux32", 8), ("compat_layout", 0x0200000),
]:
    define(name, flag)
