"""The ways out of a network, and how whoever takes one knows what it has reached. What must not be reached
says the mark, and finds the name of the attempt in whatever is sent to it."""

import re
import socket
import time

MARK = b"@MARK@"
ALLOWED, DENIED = "allowed.example", "denied.example"
ALLOWED_AT, DENIED_AT = ("45.80.0.80", "2a0e:aaaa::80"), ("45.80.0.81", "2a0e:aaaa::81")
INSIDE_AT = ("10.9.0.80", "fd00:9::80")
# What is the host's own beside its loopback.
OWN_AT = ("45.80.1.1", "2a0e:aaaa:1::1")
METADATA_AT = ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
# Where the world outside is asked for what an attack needs, under a name that every policy allows.
HELM, HELM_AT, HELM_PORT = "helm.example", "45.80.0.82", 99
RESOLVER_AT = "45.80.0.53"
PROXY = ("127.0.0.1", 8080)
# Seconds that an answer may take, and one that nobody may give.
PATIENCE, SHORT = 5, 0.7
# What the attempt is known by outside.
NAME = ["nobody"]


def reach(function):
    """An attempt whose name stands in what it sends."""

    def made():
        if UNABLE:
            raise NotAttempted(UNABLE)
        NAME[0] = function.__name__
        function()

    made.__name__ = function.__name__
    return attempt(made)


def tag():
    return f"tag-{NAME[0]}-end"


def refused(why, number=errno.EACCES):
    raise PermissionError(number, why)


def labels(name):
    """A name as it goes into a query; one with bytes is taken as it is."""
    parts = name if isinstance(name, list) else [part.encode() for part in name.rstrip(".").split(".")]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def question(name, kind=1):
    return struct.pack("!HHHHHH", 0x4154, 0x100, 1, 0, 0, 0) + labels(name) + struct.pack("!HH", kind, 1)


def after_name(message, at):
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def records(message):
    """The code of an answer, and its records, each as kind, whether it is the asked name's, and data."""
    count, found, code = struct.unpack("!H", message[6:8])[0], [], message[3] & 15
    at = after_name(message, 12) + 4
    for _ in range(count):
        is_of_name = message[at:at + 2] == b"\xc0\x0c"
        at = after_name(message, at)
        kind, _, _, length = struct.unpack("!HHIH", message[at:at + 10])
        found.append((kind, is_of_name, message[at + 10:at + 10 + length]))
        at += 10 + length
    return code, found


def resolver():
    with open("/etc/resolv.conf") as file:
        return next(line.split()[1] for line in file if line.startswith("nameserver"))


def exactly(end, length):
    said = b""
    while len(said) < length:
        piece = end.recv(length - len(said))
        if not piece:
            refused("it is closed", errno.ECONNRESET)
        said += piece
    return said


def asked(message, where=None, port=53, tcp=False, patience=PATIENCE):
    """What a resolver answers."""
    where = where or resolver()
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as end:
        end.settimeout(patience)
        try:
            end.connect((where, port))
            end.sendall(struct.pack("!H", len(message)) + message if tcp else message)
            return exactly(end, struct.unpack("!H", exactly(end, 2))[0]) if tcp else end.recv(65536)
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "no answer") from None


def addresses(name, kind=1):
    """The addresses of a name: of version 4, or with 28 of version 6."""
    code, found = records(asked(question(name, kind)))
    if code:
        refused(f"the resolver says {code}")
    family = socket.AF_INET if kind == 1 else socket.AF_INET6
    return [socket.inet_ntop(family, data) for one, _, data in found if one == kind]


def is_literal(host):
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.split("%")[0])
            return True
        except (OSError, ValueError):
            pass
    return False


def direct(host, port=80):
    """As programs go that know of no proxy."""
    found = [host] if is_literal(host) else addresses(host) or addresses(host, 28)
    last = PermissionError(errno.EACCES, "the name has no address")
    for where in found:
        try:
            return socket.create_connection((where, port), PATIENCE)
        except TimeoutError:
            last = TimeoutError(errno.ETIMEDOUT, "nobody answers")
        except OSError as error:
            last = error
    raise last


def proxy():
    return socket.create_connection(PROXY, PATIENCE)


def line_of(end):
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += exactly(end, 1)
    return said


def by_calls(address):
    """To an address of IPv4, by system calls and nothing else."""
    descriptor = syscall("socket", 2, 1, 0)
    where = struct.pack("=H", 2) + struct.pack("!H", 80) + socket.inet_aton(address) + bytes(8)
    syscall("connect", descriptor, where, 16)
    return socket.socket(fileno=descriptor)


def by_connect(host, port=80):
    host = host if isinstance(host, bytes) else host.encode()
    host = b"[" + host + b"]" if b":" in host and not host.startswith(b"[") else host
    end = proxy()
    end.sendall(b"CONNECT %b:%d HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (host, port, host, port))
    status = line_of(end).split(b" ")[1]
    if status != b"200":
        refused(f"the proxy says {status.decode()}")
    return end


def by_socks(host, port=80):
    """By its address, where that is how it is written in full, and by its name otherwise."""
    end = proxy()
    end.sendall(bytes([5, 1, 0]))
    exactly(end, 2)
    name = host if isinstance(host, bytes) else host.encode()
    there = bytes([3, len(name)]) + name
    for kind, family in ((1, socket.AF_INET), (4, socket.AF_INET6)):
        try:
            there = bytes([kind]) + socket.inet_pton(family, host)
        except (OSError, ValueError, TypeError):
            pass
    end.sendall(bytes([5, 1, 0]) + there + struct.pack("!H", port))
    code = exactly(end, 10)[1]
    if code:
        refused(f"the proxy says {code}")
    return end


TUNNELS = {"direct": direct, "connect": by_connect, "socks": by_socks}


def request(host=DENIED, more="", method="GET", target=None):
    return f"{method} {target or '/' + tag()} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


def heard(end, said=b"", until=MARK, patience=PATIENCE):
    """Says this, and hears what comes until there is what is waited for, or an end."""
    whole, last = b"", time.monotonic() + patience
    end.settimeout(patience)
    if said:
        end.sendall(said)
    while until not in whole and time.monotonic() < last:
        try:
            piece = end.recv(65536)
        except TimeoutError:
            break
        if not piece:
            break
        whole += piece
    return whole


def tell(end, said, patience=PATIENCE):
    """The attempt succeeds where what must not be reached answers."""
    with end:
        whole = heard(end, said, patience=patience)
        if MARK not in whole:
            refused("it has not answered: " + whole[:60].decode("latin-1"))


def by_request(host, port=80, target=None):
    """By a request to the proxy, whose target is that."""
    host = host if isinstance(host, bytes) else host.encode()
    host = b"[" + host + b"]" if b":" in host and not host.startswith(b"[") else host
    where = host if port == 80 else host + b":%d" % port
    there = target or b"http://" + where + b"/" + tag().encode()
    tell(proxy(), b"GET " + there + b" HTTP/1.1\r\nHost: " + where + b"\r\nConnection: close\r\n\r\n")


def define(name, function, *arguments):
    """An attempt that is one of many alike."""

    def made():
        function(*arguments)

    made.__name__ = name
    return reach(made)


def helm(order):
    """Has the world outside do something, which it answers when it is done."""
    with direct(HELM, HELM_PORT) as end:
        answer = heard(end, order.encode() + b"\n", b"\n", 20).decode().strip()
    if answer.startswith("unable"):
        raise NotAttempted(answer)
    return answer


def unable():
    """Why what is denied shows nothing: what is allowed has to get out first, by every way."""
    for way in TUNNELS:
        try:
            with TUNNELS[way](HELM) as end:
                if b"allowed" not in heard(end, request(HELM, target="/ok"), b"allowed"):
                    return f"{way}: what is allowed is not answered"
        except OSError as error:
            return f"{way}: what is allowed is not reached: {error}"
    return ""


UNABLE = unable() if "@ALLOWS@" == "yes" else ""
