"""Lines 29, 38. Connects to a listener on the host: by address, by other spellings of it, by abstract socket."""

import socket

PORT = @PORT@
NAME = "@NAME@"


def told(connection):
    if connection.recv(5) != b"hello":
        raise NotReached("somebody else answered")


@attempt
def api_ipv4():
    told(socket.create_connection(("127.0.0.1", PORT), timeout=5))


@attempt
def api_name():
    try:
        told(socket.create_connection(("localhost", PORT), timeout=5))
    except socket.gaierror as error:
        raise ConnectionRefusedError(errno.ECONNREFUSED, str(error)) from None


@attempt
def api_any():
    told(socket.create_connection(("0.0.0.0", PORT), timeout=5))


@attempt
def api_mapped():
    told(socket.create_connection(("::ffff:127.0.0.1", PORT), timeout=5))


@attempt
def api_abstract():
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect("\0" + NAME)
    told(connection)


@attempt
def raw_ipv4():
    descriptor = syscall("socket", 2, 1, 0)
    address = struct.pack("=H", 2) + struct.pack("!H", PORT) + bytes([127, 0, 0, 1]) + bytes(8)
    syscall("connect", descriptor, address, 16)


@attempt
def raw_abstract():
    descriptor = syscall("socket", 1, 1, 0)
    address = struct.pack("=H", 1) + b"\0" + NAME.encode()
    syscall("connect", descriptor, address, len(address))


@attempt
def raw_netlink_sees_the_host():
    # The host's interfaces are more than loopback, or the host has this listener's address.
    with open("/proc/net/tcp") as table:
        if f":{PORT:04X} " not in table.read():
            raise PermissionError(errno.EACCES, "the listener is not in this network")
