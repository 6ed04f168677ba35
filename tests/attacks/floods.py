"""Line 26. Takes more than its limits say: processes, descriptors, memory, space, inodes, output.

The amounts are small, so that the attempts harm nothing where no limit is."""

WHAT = "@WHAT@"


def full(place, make):
    try:
        make()
    finally:
        for name in os.listdir(place):
            os.unlink(f"{place}/{name}")
        os.rmdir(place)


def processes():
    children = []
    try:
        for _ in range(60):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def descriptors():
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
    assert len(held) == 100


def memory():
    try:
        held = bytearray(b"x") * (256 << 20)
    except MemoryError:
        raise OSError(errno.ENOMEM, "no memory") from None
    assert len(held) == 256 << 20


def files():
    place = f"{TMP}/attack-files"
    os.mkdir(place)

    def make():
        with open(f"{place}/large", "wb", buffering=0) as file:
            for _ in range(256):
                if file.write(bytes(1 << 20)) < 1 << 20:
                    raise OSError(errno.ENOSPC, "no space")

    full(place, make)


def inodes():
    place = f"{TMP}/attack-inodes"
    os.mkdir(place)

    def make():
        for number in range(20_000):
            os.close(os.open(f"{place}/{number}", os.O_CREAT | os.O_WRONLY))

    full(place, make)


def output():
    for _ in range(8):
        os.write(1, b"." * (1 << 20) + b"\n")


attempt(globals()[WHAT])
