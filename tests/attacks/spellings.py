"""Line 48. Writes a denied path in every other way that leads there."""

HERE, MARK = "@GROUND@/granted", b"@MARK@"
OUTSIDE = "@GROUND@/outside/secret"


def judge(descriptor):
    if MARK not in os.read(descriptor, 4096):
        raise NotReached("another file")


def define(name, path):
    path = path if isinstance(path, bytes) else path.encode()

    def raw():
        # By a buffer, so that a NUL goes along.
        judge(syscall("openat", AT_FDCWD, ctypes.create_string_buffer(path), 0, 0))

    raw.__name__ = f"raw_{name}"
    attempt(raw)


def longest(path):
    """The same, with as many `./` as go into 4,095 bytes."""
    head, tail = path.rsplit("/", 1)
    return head + "/" + "./" * ((4095 - len(path)) // 2) + tail


define("dots", f"{HERE}/./denied")
define("back", f"{HERE}/sub/../denied")
define("back_from_another", f"{HERE}/empty/../denied")
define("slashes", f"{HERE}////denied")
define("slashes_at_the_start", f"//{HERE}/denied")
define("through_the_root", f"/../../..{HERE}/denied")
define("after_a_nul", f"{HERE}/denied\0/../ok".encode())
define("longest", longest(f"{HERE}/denied"))
define("longest_outside", longest(OUTSIDE))
define("outside_and_back", f"{HERE}/../outside/secret")
define("outside_after_a_nul", f"{OUTSIDE}\0.txt".encode())
define("name_that_is_no_text", HERE.encode() + b"/sub/\xff\xfe")
define("outside_slashes", OUTSIDE.replace("/", "//"))


@attempt
def raw_folder_with_a_slash():
    held = syscall("openat", AT_FDCWD, f"{HERE}/sub/".encode(), os.O_RDONLY | os.O_DIRECTORY, 0)
    if not os.listdir(held):
        raise NotReached("it is empty")


@attempt
def raw_folder_by_its_own_dot():
    held = syscall("openat", AT_FDCWD, f"{HERE}/sub/.".encode(), os.O_RDONLY | os.O_DIRECTORY, 0)
    if not os.listdir(held):
        raise NotReached("it is empty")


@attempt
def api_list_of_bytes():
    if b"\xff\xfe" not in os.listdir(f"{HERE}/sub".encode()):
        raise NotReached("it is empty")


@attempt
def raw_relative():
    os.chdir(HERE)
    judge(syscall("open", b"./denied", 0, 0))


@attempt
def raw_case_is_not_folded():
    # Where names differ by case alone, a rule for one is none for the other; here there is but one.
    judge(syscall("openat", AT_FDCWD, f"{HERE}/denied".encode(), 0x8000, 0))
