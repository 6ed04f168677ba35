"""Line 50. Changes a file that may be read but not written, through every call that changes files."""

import fcntl
import mmap

HERE = "@GROUND@/granted"
KEEP = f"{HERE}/keep"
NAME = KEEP.encode()


def define(title, call):
    call.__name__ = title
    attempt(call)


def opened(flags):
    os.close(syscall("openat", AT_FDCWD, NAME, flags, 0o600))


for title, flags in [
    ("raw_open_to_write", os.O_WRONLY), ("raw_open_to_change", os.O_RDWR),
    ("raw_open_to_append", os.O_WRONLY | os.O_APPEND), ("raw_open_to_empty", os.O_RDONLY | os.O_TRUNC),
    ("raw_open_to_make", os.O_WRONLY | os.O_CREAT),
]:
    define(title, lambda flags=flags: opened(flags))


@attempt
def raw_creat():
    os.close(syscall("creat", NAME, 0o600))


@attempt
def raw_truncate():
    syscall("truncate", NAME, 1)


@attempt
def raw_truncate_by_descriptor_s_name():
    held = os.open(KEEP, os.O_RDONLY)
    syscall("truncate", f"/proc/self/fd/{held}".encode(), 1)


@attempt
def raw_written_by_descriptor_s_name():
    held = os.open(KEEP, os.O_PATH)
    os.close(syscall("openat", AT_FDCWD, f"/proc/self/fd/{held}".encode(), os.O_WRONLY, 0))


def target():
    return os.open(KEEP, os.O_WRONLY)


@attempt
def raw_copied_over():
    source = os.open(f"{HERE}/ok", os.O_RDONLY)
    syscall("copy_file_range", source, 0, target(), 0, 4, 0)


@attempt
def raw_sent_over():
    source = os.open(f"{HERE}/ok", os.O_RDONLY)
    syscall("sendfile", target(), source, 0, 4)


@attempt
def raw_spliced_over():
    reader, writer = os.pipe()
    os.write(writer, b"x")
    syscall("splice", reader, 0, target(), 0, 1, 0)


@attempt
def raw_hole():
    syscall("fallocate", target(), 3, 0, 4096)


@attempt
def raw_written_at():
    vector = ctypes.create_string_buffer(b"x")
    iov = (ctypes.c_uint64 * 2)(ctypes.addressof(vector), 1)
    syscall("pwritev2", target(), iov, 1, 0, 0, 0)


@attempt
def api_mapped():
    descriptor = os.open(KEEP, os.O_RDWR)
    with mmap.mmap(descriptor, 0) as page:
        page[0:1] = b"x"


@attempt
def raw_replaced():
    other = f"{HERE}/replacement-{os.getpid()}"
    with open(other, "w") as file:
        file.write("x")
    try:
        syscall("rename", other.encode(), NAME)
    finally:
        if os.path.exists(other):
            os.unlink(other)


@attempt
def raw_removed():
    syscall("unlink", NAME)
    with open(KEEP, "w") as file:
        file.write("x")


@attempt
def raw_removed_at():
    syscall("unlinkat", AT_FDCWD, NAME, 0)
    with open(KEEP, "w") as file:
        file.write("x")


@attempt
def raw_unnamed_in_a_denied_folder():
    unnamed = syscall("openat", AT_FDCWD, f"{HERE}/sub".encode(), 0o20200000 | os.O_WRONLY, 0o600)
    name = f"{HERE}/sub/from-nowhere".encode()
    syscall("linkat", AT_FDCWD, f"/proc/self/fd/{unnamed}".encode(), AT_FDCWD, name, 0x400)
    os.unlink(name)


@attempt
def raw_mode():
    syscall("chmod", NAME, 0o600)


@attempt
def raw_mode_at():
    syscall("fchmodat", AT_FDCWD, NAME, 0o600)


@attempt
def raw_mode_of_a_reader():
    os.fchmod(os.open(KEEP, os.O_RDONLY), 0o600)


@attempt
def raw_owner():
    syscall("fchownat", AT_FDCWD, NAME, os.getuid(), os.getgid(), 0)


@attempt
def raw_times():
    syscall("utimensat", AT_FDCWD, NAME, struct.pack("=qqqq", 1, 0, 1, 0), 0)


@attempt
def raw_times_of_a_reader():
    syscall("utimensat", os.open(KEEP, os.O_RDONLY), 0, struct.pack("=qqqq", 1, 0, 1, 0), 0)


@attempt
def raw_attribute():
    syscall("setxattr", NAME, b"user.attack", b"x", 1, 0)


@attempt
def raw_flags():
    # What lsattr shows, set to what it is.
    descriptor = os.open(KEEP, os.O_RDONLY)
    flags = bytearray(8)
    fcntl.ioctl(descriptor, 0x80086601, flags)
    syscall("ioctl", descriptor, 0x40086602, bytes(flags))


@attempt
def raw_clone_over():
    source = os.open(f"{HERE}/ok", os.O_RDONLY)
    syscall("ioctl", target(), 0x40049409, source)


@attempt
def raw_exchanged():
    syscall("renameat2", AT_FDCWD, f"{HERE}/ok".encode(), AT_FDCWD, NAME, 2)


@attempt
def api_inside_a_denied_folder():
    with open(f"{HERE}/sub/new", "w") as file:
        file.write("x")
    os.unlink(f"{HERE}/sub/new")


@attempt
def api_outside():
    with open("@GROUND@/outside/new", "w") as file:
        file.write("x")
    os.unlink("@GROUND@/outside/new")
