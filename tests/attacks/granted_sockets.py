"""Line 39. Reaches a socket of the host that lies in a folder which may only be read."""

import socket

STREAM, DATAGRAM = "@STREAM@", "@DATAGRAM@"


def address(path):
    return struct.pack("=H", 1) + path.encode() + b"\0"


@attempt
def api_connect():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(STREAM)


@attempt
def api_send():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(b"x", DATAGRAM)


@attempt
def api_pair_sends():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", DATAGRAM)


@attempt
def api_pair_connects():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(DATAGRAM)
    one.send(b"x")


@attempt
def raw_connect():
    descriptor = syscall("socket", 1, 1, 0)
    syscall("connect", descriptor, address(STREAM), len(address(STREAM)))


@attempt
def raw_connect_sequential():
    # The wrong type is told apart from a refusal: whoever gets so far has reached the socket.
    descriptor = syscall("socket", 1, 5, 0)
    try:
        syscall("connect", descriptor, address(STREAM), len(address(STREAM)))
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise


@attempt
def inherited_descriptors():
    # The worker's own connection must not be one that can be turned to another name.
    reached = 0
    for descriptor in range(3, 256):
        for path in (STREAM, DATAGRAM):
            try:
                syscall("connect", descriptor, address(path), len(address(path)))
                reached += 1
            except OSError:
                pass
    if not reached and "@OUTSIDE@" != "yes":
        raise PermissionError(errno.EACCES, "nothing was reached")
