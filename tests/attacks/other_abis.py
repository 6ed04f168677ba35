"""Line 13. The numbers of other architectures, which a filter for one does not know."""

import mmap

X32 = 0x40000000


def machine_code(code):
    """A function of these bytes, in memory that may be executed."""
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                     mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(ctypes.c_int)(address)
    function.page = page
    return function


def by_interrupt(number, first=0, second=0, third=0):
    """A system call by `int 0x80`, with a number and arguments of i386."""
    # push rbx; mov eax, number; mov ebx, first; mov ecx, second; mov edx, third; int 0x80; pop rbx; ret
    code = b"\x53\xb8" + struct.pack("=I", number) + b"\xbb" + struct.pack("=I", first)
    code += b"\xb9" + struct.pack("=I", second) + b"\xba" + struct.pack("=I", third) + b"\xcd\x80\x5b\xc3"
    result = machine_code(code)()
    if -4096 < result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


@attempt
def i386_getpid():
    if by_interrupt(20) != os.getpid():
        raise NotReached("another number came back")


@attempt
def i386_keyctl():
    by_interrupt(288, 0, 0xFFFFFFFC, 1)


@attempt
def i386_socket():
    by_interrupt(359, 1, 1, 0)


@attempt
def i386_ptrace():
    by_interrupt(26, 0)


def x32(number, *arguments):
    ctypes.set_errno(0)
    return checked(LIBC.syscall(ctypes.c_long(X32 | number), *map(ctypes.c_long, arguments)))


@attempt
def x32_getpid():
    x32(39)


@attempt
def x32_keyctl():
    x32(250, 0, -4, 1)


@attempt
def x32_ptrace():
    # One of the numbers that x32 has for itself.
    x32(521, 0, 0, 0, 0)
