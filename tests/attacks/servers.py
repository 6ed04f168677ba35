"""The servers of a world in which networks are attacked: what is allowed, what is not, and the resolver that
knows them. They are lenient, as servers are, and remember which attempts have reached what they must not."""

import array
import socketserver
import threading

TAG = re.compile(rb"tag-(\w+?)-end", re.IGNORECASE)
# The attempts that have been seen where they must not be, in what runs now.
SEEN = set()
A, CNAME, TXT, AAAA, HTTPS = 1, 5, 16, 28, 65
COUNTS = {}
FREEBIND = {socket.AF_INET: (0, 15), socket.AF_INET6: (41, 78)}
# Addresses of version 6 by which gateways lead to those of version 4.
LEADING = ("64:ff9b::2d50:51", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a09:50", "2002:2d50:51::1")
NAMES = {
    ALLOWED: ALLOWED_AT, "www." + ALLOWED: (ALLOWED_AT[0], None), HELM: (HELM_AT, None),
    "inside.example": INSIDE_AT, "own.example": OWN_AT,
    "localhost": ("127.0.0.1", "::1"), "host.buntime.internal": ("127.0.0.1", "::1"),
    "metadata.google.internal": METADATA_AT[0::3], "metadata.example": METADATA_AT[0::3],
    "mapped.example": (None, "::ffff:10.9.0.80"), "translated.example": (None, "64:ff9b::a09:50"),
    "any.example": ("0.0.0.0", "::"), "loopback.example": ("127.0.0.1", "::1"),
    "reserved.example": ("198.18.0.1", None),
}


def seen(said):
    SEEN.update(name.decode() for name in TAG.findall(said))


def found(name, kind):
    """The records of a name, as kind and data. What is not known leads where it must not."""
    if name == "cname.example":
        return [(CNAME, labels("inside.example")), *found("inside.example", kind)]
    if name == "mixed.example":
        # At the first nobody listens on the port that is meant.
        return [(A, socket.inet_aton(one)) for one in ("45.80.0.83", INSIDE_AT[0])] if kind == A else []
    if name == "many.example":
        return [(A, socket.inet_aton(f"45.80.0.{n}")) for n in range(100, 112)] + [
            (A, socket.inet_aton(INSIDE_AT[0]))] if kind == A else []
    if kind == HTTPS and name.startswith("hints"):
        return [(HTTPS, b"\0\x01\0\0\x04\0\x04" + socket.inet_aton(INSIDE_AT[0]))]
    if name.startswith("rebinding"):
        COUNTS[name] = COUNTS.get(name, 0) + (kind == A)
        where = ALLOWED_AT if COUNTS[name] % 2 else INSIDE_AT
        return [(A, socket.inet_aton(where[0]))] if kind == A else []
    if name.endswith(".unanswered.example"):
        return None
    v4, v6 = NAMES.get(name, DENIED_AT)
    if kind == TXT:
        return [(TXT, b"\x06answer")]
    if kind == A and v4:
        return [(A, socket.inet_aton(v4))]
    return [(AAAA, socket.inet_pton(socket.AF_INET6, v6))] if kind == AAAA and v6 else []


def resolved(query):
    seen(query)
    end = after_name(query, 12)
    at, parts = 12, []
    while query[at]:
        parts.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    (kind,) = struct.unpack("!H", query[end:end + 2])
    listed = found(".".join(parts).lower(), kind)
    if listed is None:
        return None
    answer = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(listed), 0, 0) + query[12:end + 4]
    has_alias = listed and listed[0][0] == CNAME
    for one, data in listed:
        # What an alias leads to has the alias's name.
        owner = labels("inside.example") if has_alias and one != CNAME else b"\xc0\x0c"
        answer += owner + struct.pack("!HHIH", one, 1, 0, len(data)) + data
    return answer


def name_of_hello(said):
    """The bytes of the first messages of TLS, however they are cut into records."""
    whole, at = b"", 0
    while at + 5 <= len(said) and said[at] in (20, 21, 22, 23):
        (length,) = struct.unpack("!H", said[at + 3:at + 5])
        whole += said[at + 5:at + 5 + length] if said[at] == 22 else b""
        at += 5 + length
    return whole


def is_whole(said):
    """Whether it is a first message to its end, of whatever version."""
    if said[:1] == b"\x80":
        return len(said) >= 2 + said[1]
    message = name_of_hello(said)
    return len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big")


class Forbidden(socketserver.BaseRequestHandler):
    """It must not be reached: whoever does hears the mark."""

    def handle(self):
        self.request.settimeout(SHORT)
        try:
            seen(self.request.recv(65536))
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(MARK), MARK))
            while piece := self.request.recv(65536):
                seen(piece)
        except OSError:
            pass


class Front(socketserver.StreamRequestHandler):
    """Serves what is allowed and what is not, by the names that it is told. It reads what it is sent as some
    server or other does: at an odd port lengths come first, at an even one chunks do."""

    timeout = 60

    def handle(self):
        try:
            first = self.rfile.peek(1)[:1]
            if first and first[0] in (0x14, 0x15, 0x16, 0x80):
                self.secure()
            elif first:
                while self.one():
                    pass
        except (OSError, ValueError, IndexError):
            pass

    def secure(self):
        """The certificate is the one of the host that is named, or that of the one that is denied."""
        self.request.settimeout(0.3)
        said = b""
        try:
            while not is_whole(said) and (piece := self.rfile.read1(65536)):
                said += piece
        except OSError:
            pass
        name = name_of_hello(said).lower()
        if DENIED.encode() in name or ALLOWED.encode() not in name:
            seen(said)
            self.wfile.write(MARK)
        else:
            self.wfile.write(b"agreed")

    def line(self):
        line = self.rfile.readline(1 << 24)
        return line.rstrip(b"\r\n") if line else None

    def head(self):
        """The first line, and the fields by their names as a lenient server finds them."""
        first = self.line()
        while first == b"":
            first = self.line()
        fields, last = {}, None
        while first is not None and (line := self.line()):
            if line[:1] in b" \t" and last:
                fields[last][-1] += b" " + line.strip()
                continue
            name, _, value = line.partition(b":")
            last = name.strip(b" \t\0\x0b").lower()
            fields.setdefault(last, []).append(value.strip(b" \t\x0b"))
        return first, fields

    def one(self):
        first, fields = self.head()
        if not first:
            return False
        if first.startswith(b"PRI "):
            return self.second_version()
        hosts = fields.get(b"host", [b""])
        lengths_first = self.server.server_address[1] % 2
        host = hosts[0] if lengths_first else hosts[-1]
        words = first.split()
        target = words[1] if len(words) > 1 else b""
        if target.startswith(b"http://") and not lengths_first:
            host = target[7:].split(b"/")[0]
        if words[0] == b"CONNECT":
            host, target = target, fields.get(b"x", [target])[0]
        self.body(fields, lengths_first)
        if DENIED.encode() in host.lower() or host.startswith(b"169.254"):
            seen(first + b" " + target + b" " + host)
            return self.answer(MARK)
        return self.go_on(target, fields)

    def body(self, fields, lengths_first):
        lengths = [re.match(rb"\+?(?:0x)?(\d*)", one)[1] for one in fields.get(b"content-length", [])]
        chunked = any(b"chunked" in one.lower() for one in fields.get(b"transfer-encoding", []))
        if lengths and (lengths_first or not chunked):
            self.rfile.read(int(lengths[-1 if lengths_first else 0] or 0))
        elif chunked:
            while size := int(re.match(rb"[0-9a-fA-F]*", self.line() or b"")[0] or b"0", 16):
                self.rfile.read(size)
                self.line()
            while self.line():
                pass

    def answer(self, said, status=b"200 OK", more=b""):
        self.wfile.write(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, more, len(said), said))
        return True

    def go_on(self, target, fields):
        """What an allowed host does of its own will."""
        tagged = TAG.search(target)
        tagged = b"tag-%b-end" % tagged[1] if tagged else b""
        kind = target.split(b"?")[0].split(b"/")[1] if b"/" in target else b""
        wanted = b",".join(fields.get(b"upgrade", [])).lower()
        if kind == b"led":
            where = target.split(b"?to=")[1]
            return self.answer(b"", b"302 Found", b"Location: " + where + b"\r\n")
        if kind == b"elsewhere":
            return self.answer(b"", b"200 OK", b"Alt-Svc: h1=\"%b:80\"\r\n" % DENIED_AT[0].encode())
        if b"h2c" in wanted or b"tls/1" in wanted:
            self.wfile.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            return self.second_version()
        if wanted and kind == b"switches":
            self.wfile.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while piece := self.rfile.read1(65536):
                self.wfile.write(piece)
            return False
        if wanted:
            # It wants no WebSocket, and goes on with requests.
            return self.answer(b"no", b"426 Upgrade Required")
        return self.answer(b"allowed " + tagged)

    def second_version(self):
        """Whatever names the other host in the open is for that."""
        self.request.settimeout(0.3)
        said = b""
        try:
            while DENIED.encode() not in said and (piece := self.rfile.read1(65536)):
                said += piece
        except OSError:
            pass
        if DENIED.encode() in said:
            seen(said)
            self.wfile.write(MARK)
        return False


class Echo(socketserver.BaseRequestHandler):
    """Says back what it is told. What is said after something was denied must not arrive."""

    def handle(self):
        self.request.settimeout(30)
        try:
            self.request.sendall(b"hello\n")
            while piece := self.request.recv(65536):
                if b"after" in piece:
                    seen(piece)
                self.request.sendall(piece)
        except OSError:
            pass


class Resolving(socketserver.BaseRequestHandler):
    def handle(self):
        query, end = self.request
        answer = resolved(query)
        if answer:
            end.sendto(answer, self.client_address)


class ResolvingByTcp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(5)
        try:
            (length,) = struct.unpack("!H", exactly(self.request, 2))
            answer = resolved(exactly(self.request, length)) or b""
            self.request.sendall(struct.pack("!H", len(answer)) + answer)
        except OSError:
            pass


class Receiving(socketserver.BaseRequestHandler):
    """Takes datagrams that must not come, and answers them."""

    def handle(self):
        said, end = self.request
        seen(said)
        end.sendto(MARK, self.client_address)


class Handing(socketserver.BaseRequestHandler):
    """Hands everybody a connection to what must not be reached."""

    def handle(self):
        with socket.create_connection((DENIED_AT[0], 80), PATIENCE) as end:
            rights = array.array("i", [end.fileno()])
            self.request.sendmsg([b"hello"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


class Anywhere:
    """At any address that leads here, were it nobody's."""

    def server_bind(self):
        if self.address_family in FREEBIND:
            self.socket.setsockopt(*FREEBIND[self.address_family], 1)
        super().server_bind()

    def handle_error(self, *_):
        pass


class Listening(Anywhere, socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 4096


class Datagrams(Anywhere, socketserver.ThreadingUDPServer):
    daemon_threads, allow_reuse_address = True, True


class Local(Listening):
    address_family, allow_reuse_address = socket.AF_UNIX, False


def serve(kind, where, handler):
    """In a thread, for as long as the world is there. Not every kernel has the newer version of IP."""
    family = socket.AF_INET6 if isinstance(where, tuple) and ":" in where[0] else kind.address_family
    try:
        made = type(kind.__name__, (kind,), {"address_family": family})(where, handler)
    except OSError as error:
        if family != socket.AF_INET6:
            raise
        return print(where, error, file=sys.stderr)
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 10}, daemon=True).start()
    return None


def serve_all():
    for where in (*DENIED_AT, *INSIDE_AT, *OWN_AT, *METADATA_AT, "127.0.0.1", "127.255.255.254", "::1", *LEADING):
        serve(Listening, (where, 80), Forbidden)
    serve(Listening, ("fe80::81", 80, 0, socket.if_nametoindex("lo")), Forbidden)
    for port in (53, 853, 443):
        serve(Listening, (DENIED_AT[0], port), Forbidden)
    serve(Listening, (INSIDE_AT[0], 8090), Forbidden)
    for where in ALLOWED_AT:
        for port in (80, 81, 443):
            serve(Listening, (where, port), Front)
        serve(Listening, (where, 7), Echo)
    serve(Listening, (HELM_AT, 80), Front)
    serve(Listening, (RESOLVER_AT, 53), ResolvingByTcp)
    serve(Datagrams, (RESOLVER_AT, 53), Resolving)
    for where in DENIED_AT:
        for port in (53, 443, 5353, 9):
            serve(Datagrams, (where, port), Receiving)
    for where in (INSIDE_AT[0], OWN_AT[0], METADATA_AT[0]):
        serve(Datagrams, (where, 9), Receiving)
