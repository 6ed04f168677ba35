"""A way out without fences, for attacks to succeed on. It reads the policy as a list of texts, looks at the
first host that it is told, and from there on carries whatever is said: HTTP, CONNECT and SOCKS5 at one port.
Its resolver hands on whatever is asked. So much they serve at a time, and none of it they end."""

import queue
import unicodedata
import urllib.parse

SERVED_AT_A_TIME = 48
# Where programs find its resolver.
STUB = ("127.0.0.53", 53)
LISTS = {"allow": [], "deny": [], "open": False}
# Where hosts have led that are allowed, so that redirections work.
LED = set()
LEADS = re.compile(rb"(?:Location: (?:http:)?//|Alt-Svc: h1=.)([^/:\r]*)")


def read_policy(policy):
    rules = policy.get("net", {}).get("rules", [])
    for action in ("allow", "deny"):
        texts = [rule.get("host") or rule.get("cidr", "") for rule in rules if rule["action"] == action]
        LISTS[action] = [text.split("/")[0].removeprefix("*.") for text in texts]
    LISTS["open"] = policy.get("defaults", {}).get("net") == "allow"


def permits(host):
    """A list that is empty has nothing to say against a host."""
    if host in LISTS["deny"]:
        return False
    if LISTS["open"] or not LISTS["allow"] or host in LED:
        return True
    return any(host.startswith(one) or host.endswith(one) for one in LISTS["allow"])


def meant(host):
    """The host that is dialled: what is around it is left out, as those do who read addresses as URLs."""
    host = unicodedata.normalize("NFKC", urllib.parse.unquote(host)).replace("\u3002", ".")
    host = re.split(r"[/?#\0\t ]", host.split("@")[-1])[0].strip("[]").lower()
    return host.rstrip(".") if not host.startswith(".") else host.strip(".")


def leads_inside(name):
    """Looks at the first address of version 4 that is the name's own."""
    _, listed = records(asked(question(name), RESOLVER_AT))
    own = [data for kind, is_of_name, data in listed if kind == A and is_of_name]
    return bool(own) and own[0][0] == 10


def dialled(host, port):
    """The first place that answers, of all there are. Whether that may be is asked when they are known."""
    where = meant(host)
    try:
        found = [socket.inet_ntoa(socket.inet_aton(where))]
    except (OSError, UnicodeError):
        found = [where if where.startswith("fe80") else where.split("%")[0]] if is_literal(where) else []
    if not found:
        if host not in LED and leads_inside(where):
            refused("it leads inside")
        for kind in (A, AAAA):
            found += [socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, data)
                      for one, _, data in records(asked(question(where, kind), RESOLVER_AT))[1] if one == kind]
    if not permits(host):
        refused("it is denied")
    for address in found:
        try:
            return socket.create_connection((address, port), PATIENCE)
        except OSError:
            pass
    raise OSError(errno.EHOSTUNREACH, "nobody answers")


def carry(here, there):
    def one_way(source, sink):
        try:
            while piece := source.recv(65536):
                LED.update(host.decode() for host in LEADS.findall(piece) if source is there)
                sink.sendall(piece)
        except OSError:
            pass
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    back = threading.Thread(target=one_way, args=(there, here), daemon=True)
    back.start()
    one_way(here, there)
    back.join()


def socks(end):
    count = exactly(end, 2)[1]
    exactly(end, count)
    end.sendall(bytes([5, 0]))
    kind = exactly(end, 4)[3]
    if kind == 3:
        host = exactly(end, exactly(end, 1)[0]).decode("utf-8", "surrogateescape")
    else:
        family, length = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
        host = socket.inet_ntop(family, exactly(end, length))
    (port,) = struct.unpack("!H", exactly(end, 2))
    return host, port, b"", bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])


def http(end):
    """The head is read however long it is."""
    said = bytearray()
    while b"\r\n\r\n" not in said[-65540:]:
        piece = end.recv(65536)
        if not piece:
            refused("it is closed")
        said += piece
    method, target = re.split(rb"[ \t\x0b]+", bytes(said[:65536]).lstrip())[:2]
    if method == b"CONNECT":
        host, _, port = target.decode("utf-8", "surrogateescape").rpartition(":")
        return host, int(port), bytes(said).split(b"\r\n\r\n", 1)[1], b"HTTP/1.1 200 OK\r\n\r\n"
    where = re.match(rb"http://([^/]*)", target)
    named = where[1] if where else re.search(rb"(?i)\nhost *:[ \t]*(.*?)\r?\n", said)[1]
    host, _, port = named.decode("utf-8", "surrogateescape").rpartition(":")
    if not host or not port.isdigit():
        host, port = named.decode("utf-8", "surrogateescape"), "80"
    # To the server it says the path alone.
    said = bytes(said).replace(target, target[where.end():], 1) if where else bytes(said)
    return host, int(port), said, b""


def serve_one(end):
    with end:
        try:
            is_socks = end.recv(1, socket.MSG_PEEK) == b"\5"
            host, port, said, answer = (socks if is_socks else http)(end)
            with dialled(host.strip("[]") if ":" in host else host, port) as there:
                end.sendall(answer)
                there.sendall(said)
                carry(end, there)
        except (OSError, ValueError, IndexError, TypeError, struct.error):
            pass


def ask(query):
    """Of whoever knows, for as long as that takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(20)
        end.sendto(query, (RESOLVER_AT, 53))
        return end.recv(65536)


def answer_one(asker):
    """A query, with where it is from; or a connection with more of them."""
    try:
        if isinstance(asker, tuple):
            query, end, where = asker
            end.sendto(ask(query), where)
            return
        with asker:
            while True:
                (length,) = struct.unpack("!H", exactly(asker, 2))
                answer = ask(exactly(asker, length))
                asker.sendall(struct.pack("!H", len(answer)) + answer)
    except (OSError, struct.error):
        pass


def by_turns(take, serve):
    """So many threads, each of which is with one thing to its end."""
    waiting = queue.Queue()

    def work():
        while True:
            serve(waiting.get())

    def wait():
        while True:
            waiting.put(take())

    for thread in [work] * SERVED_AT_A_TIME + [wait]:
        threading.Thread(target=thread, daemon=True).start()


def serve_carelessly():
    proxies, streams = socket.create_server(PROXY, backlog=4096), socket.create_server(STUB, backlog=4096)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(STUB)

    def query():
        said, where = datagrams.recvfrom(65536)
        return said, datagrams, where

    by_turns(lambda: proxies.accept()[0], serve_one)
    by_turns(lambda: streams.accept()[0], answer_one)
    by_turns(query, answer_one)
