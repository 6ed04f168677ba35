"""Line 39. Gets a connection to a denied host from somebody outside, by a socket in a folder that is shown.

One hands over a connection as a descriptor (SCM_RIGHTS), as whoever trusts his callers does; one takes
requests, as Docker does."""

import array

FOLDER = "/run/granted"


def connected(name="handing.sock", kind=socket.SOCK_STREAM):
    end = socket.socket(socket.AF_UNIX, kind)
    end.settimeout(PATIENCE)
    end.connect(f"{FOLDER}/{name}")
    return end


def handed(end):
    with end:
        _, rights, _, _ = end.recvmsg(16, socket.CMSG_SPACE(16))
        numbers = array.array("i")
        for _, _, data in rights:
            numbers.frombytes(data[:4])
        if not numbers:
            refused("nothing is handed over")
        tell(socket.socket(fileno=numbers[0]), request())


@reach
def api_descriptor():
    handed(connected())


@reach
def raw_descriptor():
    descriptor = syscall("socket", 1, 1, 0)
    address = struct.pack("=H", 1) + f"{FOLDER}/handing.sock".encode() + b"\0"
    syscall("connect", descriptor, address, len(address))
    handed(socket.socket(fileno=descriptor))


@reach
def descriptor_by_a_link():
    link = f"{TMP}/link"
    if not os.path.islink(link):
        os.symlink(f"{FOLDER}/handing.sock", link)
    end = socket.socket(socket.AF_UNIX)
    end.connect(link)
    handed(end)


@reach
def descriptor_by_a_relative_path():
    os.chdir(FOLDER)
    end = socket.socket(socket.AF_UNIX)
    end.connect("handing.sock")
    handed(end)


@reach
def descriptor_by_a_held_folder():
    held = os.open(FOLDER, os.O_PATH | os.O_DIRECTORY)
    end = socket.socket(socket.AF_UNIX)
    end.connect(f"/proc/self/fd/{held}/handing.sock")
    handed(end)


@reach
def requests_as_docker_takes_them():
    tell(connected("docker.sock"), request("docker", target=f"/containers/{tag()}/start", method="POST"))


@reach
def made_by_a_pair():
    """A pair needs no name, and one end of it can be connected anew where its kind permits that."""
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(f"{FOLDER}/datagram.sock")
    one.send(b"x")
