"""On the host with a link: many sandboxes that have an interface, at once.

Usage: host.py COMMAND..., the command of one of them but for the program's code. Says a JSON object: the "addresses" that they
have, what came of reaching "others" of them, whether the host was "changed" while there were any or "after", how often their other
ends have "answered" what is no connection, what "neighbours" one has looked for, and how many interfaces are "left" when half of the supervisors were killed and the others ended.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

COUNT = 12

# Serves, says where, and reaches for what it is told.
INSIDE = r"""
import fcntl, socket, struct, sys, threading
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own = socket.inet_ntoa(fcntl.ioctl(udp, 0x8915, struct.pack("40s", b"eth0"))[20:24])
server = socket.create_server(("", 5000))
# Each would be a neighbour of its own.
udp.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
for last in range(20):
    udp.sendto(b"x", (f"45.81.0.{last}", 9))
def serve():
    while True:
        server.accept()[0].sendall(b"hello")
threading.Thread(target=serve, daemon=True).start()
print(own, flush=True)
for other in sys.stdin:
    try:
        with socket.create_connection((other.strip(), 5000), 20) as end:
            print(end.recv(5).decode() or "nothing", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


def host():
    """What there is of interfaces, addresses, routes and rules, but for addresses that the kernel gives by itself."""
    words = [["ip", "-o", "address"], ["ip", "route", "show", "table", "all"], ["ip", "-6", "route", "show", "table", "all"],
             ["ip", "rule"], ["nft", "list", "ruleset"]]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for command in words]
    lines = [line for text in said for line in text.splitlines() if "fe80:" not in line]
    return lines + sorted(os.listdir("/sys/class/net"))


def of_children(pid):
    found = [pid]
    for child in open(f"/proc/{pid}/task/{pid}/children").read().split():
        found += of_children(int(child))
    return found


def network(supervisor):
    """The sandbox's, which stays for as long as it is open here."""
    own = os.readlink("/proc/self/ns/net")
    for pid in of_children(supervisor):
        if os.readlink(f"/proc/{pid}/ns/net") != own:
            return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    raise SystemExit("a sandbox has no network of its own")


def within(namespace, code):
    """What code says that runs in a network."""
    words = ["nsenter", f"--net=/proc/self/fd/{namespace}", sys.executable, "-c", code]
    return subprocess.run(words, check=True, capture_output=True, text=True, pass_fds=[namespace]).stdout.split()


# How many of two that are said to be answered: an echo of each version of IP (RFC 792, RFC 4443).
ECHO = r"""
import socket, struct
answered = 0
for family, protocol, kind, there in [(socket.AF_INET, 1, 8, "45.80.0.80"), (socket.AF_INET6, 58, 128, "2a0e:aaaa::80")]:
    with socket.socket(family, socket.SOCK_RAW, protocol) as end:
        end.settimeout(1)
        echo = struct.pack("!BBHHH", kind, 0, 0, 7, 1)
        if kind == 8:
            echo = struct.pack("!BBHHH", kind, 0, 0xffff - (kind << 8) - 8, 7, 1)
        end.connect((there, 0))
        end.send(echo)
        try:
            answered += len(end.recv(100)) > 0
        except TimeoutError:
            pass
print(answered)
"""

NAMES = "import socket\nfor _, name in socket.if_nameindex(): print(name)"


def main():
    before = host()
    runs = [subprocess.Popen(sys.argv[1:] + [INSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(COUNT)]
    addresses = [run.stdout.readline().strip() for run in runs]
    others = []
    for number, run in enumerate(runs):
        run.stdin.write(addresses[number - 1] + "\n")
        run.stdin.flush()
        others.append(run.stdout.readline().strip())
    changed = host() != before
    networks = [network(run.pid) for run in runs]
    answered = sum(int(within(one, ECHO)[0]) for one in networks[:2])
    neighbours = subprocess.run(["nsenter", f"--net=/proc/self/fd/{networks[0]}", "ip", "neighbour"], check=True,
                                capture_output=True, text=True, pass_fds=networks).stdout
    for number, run in enumerate(runs):
        if number % 2:
            run.send_signal(signal.SIGKILL)
        else:
            run.stdin.close()
    for run in runs:
        run.wait()
    deadline = time.monotonic() + 30
    left = COUNT
    while left and time.monotonic() < deadline:
        left = sum("eth0" in within(one, NAMES) for one in networks)
    for one in networks:
        os.close(one)
    print(json.dumps({"addresses": addresses, "others": others, "changed": changed, "answered": answered, "neighbours": neighbours,
                      "left": left, "after": host() != before}))


main()
