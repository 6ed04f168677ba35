"""Sends mutated requests and DNS queries, as many as it is told, by every way out: some within TLS that is opened.

Usage: mutated.py SEED NUMBER. What comes back is read to its end and not looked at, but a name or an
address that is not the resolver's may not be in it. Says how many of each it sent.
"""

import os
import random
import socket
import ssl
import struct
import sys
import urllib.parse

PATIENCE = 30
PROXY = urllib.parse.urlsplit(os.environ["http_proxy"]).netloc.split(":")
RESOLVER = ("127.0.0.53", 53)
HOST = "allowed.example"
# To whom requests are read out of TLS.
SECURE, SECURELY = "six.example", 8443
HEAD = f"Host: {HOST}:8080\r\n"
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: denied.example\r\n\r\n"
LENGTH = len(HIDDEN)
# Each as the fields and the body of one request, before another that is hidden in it or follows.
SHAPES = [
    "\r\n",
    "Content-Length: 3\r\n\r\nabc",
    f"Content-Length: {LENGTH}\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n@\r\nabc\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc@0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n@\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n@\r\n\r\n",
    f"Content-Length: {LENGTH}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    f"Transfer-Encoding: chunked\r\nContent-Length: {LENGTH}\r\n\r\n0\r\n\r\n",
    f"Content-Length: 0\r\nContent-Length: {LENGTH}\r\n\r\n",
    "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
    "Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc",
    "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "X: y\r\n z\r\n\r\n",
    "X: y\nZ: z\n\n",
    f"Host: {HOST}\r\n\r\n",
]
# What stands where a chunk says its size, and where it ends.
SIZES = ["3", "03", "0x3", "+3", "-3", " 3", "3 ", "3\t", "3;", "3;a=b", "3;a\nb", "3\n", "3\r", "0_3", "3g", "", "0", "00", "f" * 16,
         "1" + "0" * 15 + "3", "0" * 20 + "3", "\r\n", "\n", "\r", "X: y", "Content-Length: 3", "Transfer-Encoding: chunked"]
METHODS = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "TRACE", "PRI", "get"]
TARGETS = ["/", "/a?b=c", "*", "http://allowed.example:8080/", "//denied.example/", "http://denied.example/",
           "allowed.example:8080", "/a b", "/\u00e9", "/%00"]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "]
PIECES = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x85", b"\xa0", b"\xff", b":", b";", b",", b"+", b"-",
          b"0x", b"0", b"00", b"F", b"ffffffffffffffff", b"\r\n\r\n", b"0\r\n\r\n", b"\r\n ", b"Host: denied.example\r\n",
          b"Transfer-Encoding", b"Content-Length", b"chunked", b"xchunked", b"identity", b"Connection: close\r\n",
          b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"_", b"\"", b"HTTP/1.1", HIDDEN.encode()]


def request(chance, by_proxy):
    often = chance.random()
    method, target, version = "POST", "/seen", "HTTP/1.1"
    if often < 0.3:
        method, target, version = chance.choice(METHODS), chance.choice(TARGETS), chance.choice(VERSIONS)
    elif by_proxy:
        target = "http://allowed.example:8080/seen"
    shape = chance.choice(SHAPES).replace("@", chance.choice(SIZES))
    whole = f"{method} {target} {version}\r\n{HEAD}{shape}"
    whole = whole.encode("latin-1")
    for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 3, 6])):
        whole = changed(chance, whole)
    return whole + chance.choice([b"", HIDDEN.encode(), whole])


def changed(chance, whole):
    at = chance.randrange(len(whole) + 1)
    end = min(len(whole), at + chance.choice([1, 1, 2, 4, 16]))
    return {
        0: lambda: whole[:at] + chance.choice(PIECES) + whole[at:],
        1: lambda: whole[:at] + chance.choice(PIECES) + whole[end:],
        2: lambda: whole[:at] + whole[end:],
        3: lambda: whole[:at] + bytes([chance.randrange(256)]) + whole[end:],
        4: lambda: whole[:end] + whole[at:],
        5: lambda: lines_of(chance, whole),
    }[chance.randrange(6)]()


def lines_of(chance, whole):
    lines = whole.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    if chance.random() < 0.5:
        lines.insert(one, lines[other])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def ended(end, whole):
    """Says it all, and hears everything."""
    with end:
        try:
            end.sendall(whole)
            end.shutdown(socket.SHUT_WR)
            while end.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise


def by_tls(chance, context):
    whole = request(chance, False).replace(b"allowed.example:8080", f"{SECURE}:{SECURELY}".encode())
    try:
        end = context.wrap_socket(socket.create_connection((SECURE, SECURELY), PATIENCE), server_hostname=SECURE)
    except ssl.SSLError:
        return
    with end:
        try:
            end.sendall(whole)
            # Says that nothing more comes, and does not wait to be told the same.
            end.setblocking(False)
            try:
                end.unwrap()
            except ssl.SSLWantReadError:
                pass
            end.settimeout(PATIENCE)
            while end.recv(65536):
                pass
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise


def by_http(chance):
    way = chance.randrange(3)
    end = socket.create_connection((HOST, 8080) if way == 0 else PROXY, PATIENCE)
    before = b"CONNECT allowed.example:8080 HTTP/1.1\r\nHost: allowed.example:8080\r\n\r\n" if way == 2 else b""
    ended(end, before + request(chance, way == 1))


def by_dns(chance):
    labels = chance.choice(["allowed.example", "denied.example", "a." * 60 + "example", "x" * 63 + ".example",
                            "mfzwizlsnf2gq2ltnfzw65dimvzhg3dp.below.example", "xn--bcher-kva.example", ".", "a..b"]).split(".")
    asked = b"".join(bytes([len(one)]) + one.encode() for one in labels) + b"\0"
    query = struct.pack("!HHHHHH", chance.randrange(65536), 0x100, 1, 0, 0, 0) + asked
    query += struct.pack("!HH", chance.choice([1, 28, 16, 65, 255]), 1)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(query) + 1)
        query = chance.choice([query[:at] + bytes([chance.randrange(256)]) + query[at + 1:], query[:at],
                               query[:at] + b"\xc0\x0c" + query[at:], query + query[at:]])
    if chance.random() < 0.2:
        ended(socket.create_connection(RESOLVER, PATIENCE), struct.pack("!H", len(query)) + query)
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(query[:4096], RESOLVER)


def main():
    seed, number = map(int, sys.argv[1:])
    children = []
    for process in range(2):
        child = os.fork()
        if child == 0:
            chance, context = random.Random(seed * 2 + process), ssl.create_default_context()
            for done in range(number // 2):
                kind = chance.random()
                if kind < 0.3:
                    by_dns(chance)
                elif kind < 0.33:
                    by_tls(chance, context)
                else:
                    by_http(chance)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    # What is well formed is served after all of that.
    with socket.create_connection((HOST, 8080), PATIENCE) as end:
        end.sendall(f"GET /last HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n".encode())
        print(codes, end.recv(100).split(b"\r\n")[0].decode())


main()
