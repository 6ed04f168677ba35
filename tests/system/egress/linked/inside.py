"""Says what interfaces there are, and tries what it is told to by them: each of a JSON list on the command line.

{"to": [host, port]}: a TCP connection, and the first that comes of it; with "udp", a datagram and what comes back. It is
bound to a "device", or to the "own" address of one. {"family", "kind", "protocol"}: a socket of that. {"run"}: a
command, and its status.
"""

import errno
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys

PATIENCE = 20
SIOCGIFADDR, SIOCGIFMTU = 0x8915, 0x8921


def asked(request, name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        return fcntl.ioctl(end, request, struct.pack("40s", name.encode()))


def address(name):
    return socket.inet_ntoa(asked(SIOCGIFADDR, name)[20:24])


def default():
    """The interface and the gateway of the default route (proc_net_route(5) has them in hexadecimal)."""
    for line in open("/proc/net/route").read().splitlines()[1:]:
        name, destination, gateway = line.split()[:3]
        if destination == "00000000":
            return name, socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
    return None


def interfaces():
    mtu = struct.unpack_from("i", asked(SIOCGIFMTU, "eth0"), 16)[0]
    return {"names": [name for _, name in socket.if_nameindex()], "address": address("eth0"), "mtu": mtu,
            "default": default()}


def connected(wanted):
    host, port = wanted["to"]
    kind = socket.SOCK_DGRAM if wanted.get("udp") else socket.SOCK_STREAM
    if host == "gateway":
        host = default()[1]
    family = socket.AF_INET if "own" in wanted else 0
    family, _, _, _, there = socket.getaddrinfo(host, port, family, kind)[0]
    with socket.socket(family, kind) as end:
        end.settimeout(PATIENCE)
        if "device" in wanted:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted["device"].encode())
        if "own" in wanted:
            end.bind((address(wanted["own"]), 0))
        if kind == socket.SOCK_DGRAM:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        end.connect(there)
        if kind == socket.SOCK_DGRAM:
            end.send(b"hello")
        return end.recv(5).decode()


def tried(wanted):
    try:
        if "run" in wanted:
            return subprocess.run(wanted["run"], capture_output=True).returncode
        if "family" in wanted:
            socket.socket(wanted["family"], wanted["kind"], wanted["protocol"]).close()
            return "made"
        return connected(wanted)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


print(json.dumps([interfaces()] + [tried(wanted) for wanted in json.loads(sys.argv[1])]))
