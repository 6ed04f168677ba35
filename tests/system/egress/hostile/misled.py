"""A server whose answers could be read in several ways, each under the path of its name.

What must never be taken for the answer to the request after that is `poison`; that one's own is `second`.
"""

import socketserver
import time

POISON = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
SIZE = len(POISON)
CHUNKED = "Transfer-Encoding: chunked\r\n"
OK = "HTTP/1.1 200 OK\r\n"
# Each with what comes of it: an answer with this status and content, or "cut" where it has to end before.
ANSWERS = {
    "plain": (OK + "Content-Length: 3\r\n\r\nabc", "200 abc"),
    "chunks": (OK + CHUNKED + "\r\n3;x=y\r\nabc\r\n0\r\n\r\n", "200 abc"),
    "equal-lengths": (OK + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "200 abc"),
    "interim": ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + OK + "Content-Length: 3\r\n\r\nabc", "200 abc"),
    "length-then-chunks": (OK + f"Content-Length: {SIZE + 5}\r\n" + CHUNKED + "\r\n0\r\n\r\n" + POISON, "502"),
    "chunks-then-length": (OK + CHUNKED + "Content-Length: 3\r\n\r\n0\r\n\r\n" + POISON, "502"),
    "two-lengths": (OK + f"Content-Length: 0\r\nContent-Length: {SIZE}\r\n\r\n" + POISON, "cut"),
    "listed-lengths": (OK + f"Content-Length: 0, {SIZE}\r\n\r\n" + POISON, "cut"),
    "signed-length": (OK + "Content-Length: +0\r\n\r\n" + POISON, "cut"),
    "huge-length": (OK + "Content-Length: 99999999999999999999\r\n\r\n" + POISON, "cut"),
    "identity": (OK + "Transfer-Encoding: identity\r\n\r\n" + POISON, "502"),
    "gzip-chunked": (OK + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + POISON, "502"),
    "chunked-identity": (OK + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + POISON, "502"),
    "chunked-twice": (OK + CHUNKED * 2 + "\r\n0\r\n\r\n" + POISON, "502"),
    "xchunked": (OK + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + POISON, "502"),
    "old-chunks": ("HTTP/1.0 200 OK\r\n" + CHUNKED + "\r\n0\r\n\r\n" + POISON, "cut"),
    "chunk-0x": (OK + CHUNKED + "\r\n0x3\r\nabc\r\n0\r\n\r\n" + POISON, "cut"),
    "chunk-plus": (OK + CHUNKED + "\r\n+3\r\nabc\r\n0\r\n\r\n" + POISON, "cut"),
    "chunk-lf": (OK + CHUNKED + "\r\n3\nabc\n0\n\n" + POISON, "cut"),
    "chunk-huge": (OK + CHUNKED + "\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n" + POISON, "cut"),
    "chunk-short": (OK + CHUNKED + "\r\n2\r\nabc\r\n0\r\n\r\n" + POISON, "cut"),
    "length-short": (OK + "Content-Length: 1\r\n\r\nabc" + POISON, "200 a"),
    "folded": (OK + "X: y\r\n Content-Length: 3\r\n\r\n" + POISON, "cut"),
    "spaced": (OK + "Content-Length : 0\r\n\r\n" + POISON, "cut"),
    "nul": (OK + "X: \0\r\nContent-Length: 0\r\n\r\n" + POISON, "cut"),
    "two": (OK + "Content-Length: 3\r\n\r\nabc" + POISON, "200 abc"),
    "none": ("HTTP/1.1 204 No Content\r\n\r\n" + POISON, "204 "),
    "none-with-length": (f"HTTP/1.1 204 No Content\r\nContent-Length: {SIZE}\r\n\r\n" + POISON, "502"),
    "none-in-chunks": ("HTTP/1.1 204 No Content\r\n" + CHUNKED + "\r\n0\r\n\r\n" + POISON, "502"),
    "unchanged": (f"HTTP/1.1 304 Not Modified\r\nContent-Length: {SIZE}\r\n\r\n" + POISON, "304 "),
    "switches": ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + POISON, "502"),
    "old": ("poison\r\n", "cut"),
    "version-2": ("HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "cut"),
    "flood": ("", "502"),
}


class Misleading(socketserver.StreamRequestHandler):
    timeout = 20

    def handle(self):
        try:
            while line := self.rfile.readline(65536):
                while self.rfile.readline(65536).strip():
                    pass
                self.answer(line.decode("latin-1").split(" ")[1].strip("/"))
        except OSError:
            pass

    def answer(self, name):
        if name == "second":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
        elif name == "flood":
            while True:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
                time.sleep(0.001)
        elif name.startswith("head-"):
            self.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n{POISON}".encode())
        else:
            self.wfile.write(ANSWERS[name][0].encode("latin-1"))
            if ANSWERS[name][1] == "cut":
                self.connection.shutdown(1)
