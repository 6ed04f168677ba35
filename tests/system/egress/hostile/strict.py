"""A server that takes one reading of HTTP/1.1 (RFC 9112) and no other, and says what it could not take.

What does not begin with a line that says HTTP is another protocol, which is not looked into on its way.
"""

import re
import socketserver

LINE = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+) (?:/[\x21-\x7e]*|\*) HTTP/1\.[01]\Z")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff\t]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\Z")
TRAILER_END = b"\r\n"
HOSTS = (b"allowed.example:8080", b"allowed.example")


class Ambiguous(Exception):
    """It could be read otherwise."""


class Strict(socketserver.StreamRequestHandler):
    """Serves one connection; its class has `violation` and `served`, which are told."""

    timeout = 20

    def handle(self):
        try:
            line = self.rfile.readline(65536)
            while not line.strip() and line:
                line = self.rfile.readline(65536)
            if b"http/" not in line.lower():
                return
            while line:
                self.request_of(line)
                type(self).served()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                line = self.rfile.readline(65536)
        except Ambiguous as error:
            type(self).violation(str(error))
        except OSError:
            pass

    def line(self):
        line = self.rfile.readline(65536)
        if not line.endswith(b"\n"):
            # It was cut off, which nobody can read as a whole message.
            raise ConnectionError
        if not line.endswith(b"\r\n"):
            raise Ambiguous(f"a line ends as {line[-20:]!r}")
        return line[:-2]

    def request_of(self, first):
        if not first.endswith(b"\r\n") or not LINE.match(first[:-2]):
            raise Ambiguous(f"a request begins with {first[:200]!r}")
        fields = {}
        while line := self.line():
            field = FIELD.match(line)
            if not field:
                raise Ambiguous(f"a field is {line[:200]!r}")
            fields.setdefault(field[1].lower(), []).append(field[2])
        if fields.get(b"host") not in [[host] for host in HOSTS]:
            raise Ambiguous(f"it is for {fields.get(b'host')}")
        lengths, codings = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if lengths and codings:
            raise Ambiguous(f"it has both {lengths} and {codings}")
        if codings:
            if codings != [b"chunked"]:
                raise Ambiguous(f"it is encoded as {codings}")
            self.chunks()
        elif lengths:
            if len(lengths) != 1 or not lengths[0].isdigit():
                raise Ambiguous(f"its length is {lengths}")
            self.exactly(int(lengths[0]))

    def exactly(self, length):
        while length > 0:
            piece = self.rfile.read(min(length, 65536))
            if not piece:
                raise ConnectionError
            length -= len(piece)

    def chunks(self):
        while True:
            size = CHUNK.match(self.line())
            if not size:
                raise Ambiguous("a chunk has no plain size")
            if int(size[1], 16) == 0:
                break
            self.exactly(int(size[1], 16))
            if self.rfile.read(2) != b"\r\n":
                raise Ambiguous("a chunk does not end where it says")
        while line := self.line():
            if not FIELD.match(line):
                raise Ambiguous(f"a trailer is {line[:200]!r}")
