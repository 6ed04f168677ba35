"""A server that takes one reading of HTTP/1.1 (RFC 9112) and no other, and says what it could not take.

What does not begin with a line that says HTTP is another protocol, which is not looked into on its way.
"""

import json
import re
import socketserver

LINE = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+) (?:/[\x21-\x7e]*|\*) HTTP/1\.[01]\Z")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff\t]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\Z")
HOST = re.compile(rb"(?:allowed\.example(?::80(?:80|81)|:8444)?|six\.example(?::8443)?)\Z", re.IGNORECASE)


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
                self.took(*self.request_of(line))
                type(self).served()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                line = self.rfile.readline(65536)
        except Ambiguous as error:
            type(self).violation(str(error))
        except OSError:
            pass

    def took(self, line, content):
        """Of each request that is whole."""

    def line(self):
        line = self.rfile.readline(65536)
        if not line.endswith(b"\n"):
            # It was cut off, which nobody can read as a whole message.
            raise ConnectionError
        if not line.endswith(b"\r\n"):
            raise Ambiguous(f"a line ends as {line[-20:]!r}")
        return line[:-2]

    def request_of(self, first):
        """The first line and the content of the request that begins so."""
        if not first.endswith(b"\r\n") or not LINE.match(first[:-2]):
            raise Ambiguous(f"a request begins with {first[:200]!r}")
        fields = {}
        while line := self.line():
            field = FIELD.match(line)
            if not field:
                raise Ambiguous(f"a field is {line[:200]!r}")
            fields.setdefault(field[1].lower(), []).append(field[2])
        hosts = fields.get(b"host", [])
        if len(hosts) != 1 or not HOST.match(hosts[0]):
            raise Ambiguous(f"it is for {hosts}")
        lengths, codings = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if lengths and codings:
            raise Ambiguous(f"it has both {lengths} and {codings}")
        if codings:
            if codings != [b"chunked"]:
                raise Ambiguous(f"it is encoded as {codings}")
            return first, self.chunks()
        if lengths and (len(lengths) != 1 or not lengths[0].isdigit()):
            raise Ambiguous(f"its length is {lengths}")
        return first, self.exactly(int(lengths[0]) if lengths else 0)

    def exactly(self, length):
        content = b""
        while len(content) < length:
            piece = self.rfile.read1(min(length - len(content), 65536))
            if not piece:
                raise ConnectionError
            content += piece
        return content

    def chunks(self):
        content = b""
        while True:
            size = CHUNK.match(self.line())
            if not size:
                raise Ambiguous("a chunk has no plain size")
            if int(size[1], 16) == 0:
                break
            content += self.exactly(int(size[1], 16))
            if self.exactly(2) != b"\r\n":
                raise Ambiguous("a chunk does not end where it says")
        while line := self.line():
            if not FIELD.match(line):
                raise Ambiguous(f"a trailer is {line[:200]!r}")
        return content


class Heard:
    """A stream of which everything is kept that is read of it."""

    def __init__(self, file):
        self.file, self.bytes = file, b""

    def kept(self, piece):
        self.bytes += piece
        return piece

    def readline(self, most):
        return self.kept(self.file.readline(most))

    def read1(self, most):
        return self.kept(self.file.read1(most))

    def close(self):
        self.file.close()


class Recorder(Strict):
    """Serves one connection, and has it recorded byte by byte with what it is read as."""

    def setup(self):
        super().setup()
        self.rfile, self.requests = Heard(self.rfile), []

    def took(self, line, content):
        method, target, _ = line.decode("latin-1").split(" ")
        self.requests.append([method, target, content.decode("latin-1")])

    def finish(self):
        try:
            while self.rfile.read1(65536):
                pass
        except OSError:
            pass
        said = {"bytes": self.rfile.bytes.decode("latin-1"), "requests": self.requests}
        type(self).recorded(json.dumps(said))
        super().finish()
