"""A host with a network and what lies beyond it, for as long as a command runs.

Usage: outside.py FOLDER COMMAND [ARGS...], in a network and a mount namespace of its own. The host has
one link, to a namespace with a DNS server and hosts that answer HTTP, and its resolver is there. Each
connection and each datagram that arrives there, and each name that is asked for, is a line of FOLDER/arrived. What is in
FOLDER/files and FOLDER/git is served, and requests of one reading on port 8080; on port 8081 they are recorded
byte by byte, and on port 8082 answered badly. Where there is FOLDER/key.pem, HTTP/2 over TLS is there as well,
and on ports 8443 and 8444 what is of one reading and what is recorded. FOLDER/resident gets the KiB that any process of the
command had resident at most. BEYOND is the process whose network namespace that is.
"""

import ctypes
import hashlib
import http.server
import json
import os
import resource
import selectors
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading

sys.dont_write_bytecode = True

import served  # noqa: E402
from hostile.misled import Misleading  # noqa: E402
from hostile.strict import Recorder, Strict  # noqa: E402

# What has a name beyond: its addresses of each version of IP.
NAMES = {
    "allowed.example": (["45.80.0.80"], ["2a0e:aaaa::80"]),
    "www.allowed.example": (["45.80.0.80"], []),
    "denied.example": (["45.80.0.81"], ["2a0e:aaaa::81"]),
    "six.example": ([], ["2a0e:aaaa::80"]),
    "nothing.example": ([], []),
    # Names that lead to where their rules do not mean: inside the host's network, to the host, to metadata.
    "inside.example": (["10.9.0.80"], []),
    "host.example": (["45.80.0.1"], ["2a0e:aaaa::1"]),
    "loopback.example": (["127.0.0.1"], ["::1", "::ffff:127.0.0.1"]),
    "metadata.example": (["169.254.169.254"], ["fd00:ec2::254"]),
    "mixed.example": (["10.9.0.80", "45.80.0.80"], []),
    # One of a group, by whose name it is left to the host to whom that goes.
    "group.example": (["224.0.0.251"], []),
}
HOST = [("45.80.0.1/24", "2a0e:aaaa::1/64"), ("10.9.0.1/24", "fd00:ec2::1/64"), ("169.254.169.1/24", None)]
BEYOND = ["45.80.0.53/24", "45.80.0.80/24", "45.80.0.81/24", "10.9.0.80/24", "169.254.169.254/24",
          "2a0e:aaaa::80/64", "2a0e:aaaa::81/64", "fd00:ec2::254/64"]
# At any other port, as 9, nobody is.
DATAGRAM_PORTS = (7, 19, 80, 123, 443)
A, AAAA = 1, 28
CLONE_NEWNET, PR_SET_PDEATHSIG = 0x40000000, 1

folder, *command = sys.argv[1:]
records = os.open(f"{folder}/arrived", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def record(*words):
    os.write(records, (" ".join(map(str, words)) + "\n").encode())


def resolved(query):
    number, _, _ = struct.unpack("!HHH", query[:6])
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    at += 1
    (kind,) = struct.unpack("!H", query[at:at + 2])
    name = ".".join(labels).lower()
    record("name", name)
    v4, v6 = NAMES.get(name, ([], []))
    found = [socket.inet_aton(one) for one in v4] if kind == A else []
    found += [socket.inet_pton(socket.AF_INET6, one) for one in v6] if kind == AAAA else []
    code = 0 if name in NAMES else 3
    answer = struct.pack("!HHHHHH", number, 0x8180 | code, 1, len(found), 0, 0) + query[12:at + 4]
    for address in found:
        answer += struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(address)) + address
    return answer


class Resolver(socketserver.BaseRequestHandler):
    def handle(self):
        query, end = self.request
        end.sendto(resolved(query), self.client_address)


class Web(http.server.BaseHTTPRequestHandler):
    """Says what it was asked, and what was sent to it."""

    protocol_version = "HTTP/1.1"

    def say(self, said):
        self.answer(200, [], json.dumps(said).encode())

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        record("request", self.headers.get("Host"), self.path)
        if self.path.startswith("/bytes/"):
            return self.give(int(self.path.rsplit("/", 1)[1]))
        if self.path.startswith("/git/"):
            return self.answer(*served.git(folder, self))
        if self.path.startswith("/files/"):
            return self.answer(*served.file(folder, self.path))
        if self.headers.get("Upgrade") == "websocket":
            return self.switch()
        headers = [name for name in self.headers if name.startswith("X")]
        return self.say({"host": self.headers.get("Host"), "path": self.path} | dict.fromkeys(headers))

    def give(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        piece = bytes(range(256)) * 4096
        while length > 0:
            length -= self.connection.send(piece[:length])

    def switch(self):
        """Goes on as what is said comes back, which is as much of RFC 6455 as it takes here."""
        self.send_response(101)
        self.send_header("Connection", "upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        self.close_connection = True
        while piece := self.rfile.read1(65536):
            self.wfile.write(piece)

    def do_POST(self):
        record("request", self.headers.get("Host"), self.path)
        if self.path.startswith("/git/"):
            return self.answer(*served.git(folder, self))
        if self.headers.get("Transfer-Encoding") == "chunked":
            sent = b"".join(served.chunks(self.rfile))
            return self.say({"sha256": hashlib.sha256(sent).hexdigest()})
        digest, left = hashlib.sha256(), int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            digest.update(piece)
            left -= len(piece)
        return self.say({"sha256": digest.hexdigest()})

    do_PUT = do_POST

    def log_message(self, *_):
        pass


class Echo(socketserver.BaseRequestHandler):
    """Says hello first, and what it was told until its end."""

    def handle(self):
        self.request.sendall(b"hello\n")
        while piece := self.request.recv(65536):
            self.request.sendall(piece)
        self.request.sendall(b"bye\n")


class Reading(Strict):
    count, label, each = 0, "served", 20

    @staticmethod
    def violation(said):
        record("violation", said)

    @classmethod
    def served(cls):
        cls.count += 1
        if cls.count % cls.each == 0:
            record(cls.label, cls.count)


class ReadingSecurely(Reading):
    count, label, each = 0, "served-securely", 1


class Recording(Recorder):
    @staticmethod
    def violation(said):
        record("violation", said)

    @staticmethod
    def served():
        pass

    @staticmethod
    def recorded(said):
        record("recorded", said)


class Listening(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, address_family = True, True, socket.AF_INET6
    request_queue_size = 1024

    def verify_request(self, request, _):
        address = request.getsockname()[0].removeprefix("::ffff:")
        record("connection", address, self.server_address[1])
        return True


def answer_datagrams(addresses, ports):
    """Says each datagram again, at port 123 the time, and at port 19 also what nobody has asked for."""
    waiting = selectors.DefaultSelector()
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in ports:
            end = socket.socket(family, socket.SOCK_DGRAM)
            end.bind((address, port))
            waiting.register(end, selectors.EVENT_READ, (family, address, port))
    while True:
        for key, _ in waiting.select():
            family, address, port = key.data
            said, asker = key.fileobj.recvfrom(65536)
            record("datagram", address, port, len(said), said[:16].hex())
            if port == 123:
                said = b"\x24\x02" + said[2:24] + said[40:48] + bytes(8) + struct.pack("!II", 3_900_000_000, 0)
            if port == 19:
                with socket.socket(family, socket.SOCK_DGRAM) as other:
                    other.sendto(b"from elsewhere", asker)
            key.fileobj.sendto(said, asker)


class Securely(Listening):
    """The same over TLS."""

    def finish_request(self, request, address):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/certificate.pem", f"{folder}/key.pem")
        with context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, address)


def beyond(ready):
    """Serves inside the other namespace."""
    at = [address.split("/")[0] for address in BEYOND]
    threading.Thread(target=answer_datagrams, args=(at, DATAGRAM_PORTS), daemon=True).start()
    resolver = socketserver.ThreadingUDPServer(("45.80.0.53", 53), Resolver)
    servers = [resolver, Listening(("::", 80), Web), Listening(("::", 8000), Web), Listening(("::", 7), Echo),
               Listening(("::", 8080), Reading), Listening(("::", 8081), Recording), Listening(("::", 8082), Misleading)]
    if os.path.exists(f"{folder}/key.pem"):
        servers += [Securely(("::", 8443), ReadingSecurely), Securely(("::", 8444), Recording)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    if os.path.exists(f"{folder}/key.pem"):
        serve_securely()
    os.write(ready, b"x")
    signal.pause()


def serve_securely():
    code = os.path.join(os.path.dirname(__file__), "tools", "secure.js")
    libc = ctypes.CDLL(None)
    server = subprocess.Popen(["node", code, folder], stdout=subprocess.PIPE,
                              preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    if server.stdout.readline() != b"ready\n":
        raise SystemExit("nothing answers over TLS")


def run(*words):
    subprocess.run(words, check=True)


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    readable, ready = os.pipe()
    made, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if libc.unshare(CLONE_NEWNET) != 0:
            os._exit(1)
        os.write(made[1], b"x")
        os.read(go[0], 1)
        beyond(ready)
    os.read(made[0], 1)
    inside = ["nsenter", f"--net=/proc/{child}/ns/net"]
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "out", "type", "veth", "peer", "name", "in", "netns", str(child))
    for name, words in [("out", []), ("in", inside)]:
        run(*words, "ip", "link", "set", name, "up")
    run(*inside, "ip", "link", "set", "lo", "up")
    of_host = [address for pair in HOST for address in pair if address]
    for name, words, addresses in [("out", [], of_host), ("in", inside, BEYOND)]:
        for address in addresses:
            # An address is used at once.
            more = ["nodad"] if ":" in address else []
            run(*words, "ip", "address", "add", address, "dev", name, *more)
    os.write(go[1], b"x")
    if os.read(readable, 1) != b"x":
        raise SystemExit("nothing answers beyond")
    resolver = f"{folder}/resolv.conf"
    with open(resolver, "w") as file:
        file.write("nameserver 45.80.0.53\n")
    run("mount", "--bind", resolver, os.path.realpath("/etc/resolv.conf"))
    # Services of the host itself, which nobody may reach by what leads elsewhere.
    host = Listening(("::", 8000), Web)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    os.environ["BEYOND"] = str(child)
    at = [address.split("/")[0] for address in of_host] + ["127.0.0.1", "::1"]
    threading.Thread(target=answer_datagrams, args=(at, (8000,)), daemon=True).start()
    code = subprocess.run(command).returncode
    with open(f"{folder}/resident", "w") as file:
        file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os._exit(code)


main()
