"""Tries to reach what it is told to, each as one JSON object of the list on the command line, and says
what came of it, a JSON list.

{"url"}: GET by urllib. {"names"}: the addresses of a name. {"connect": [host, port], "send", "host"}: a
TCP connection, by name or address, and what comes back. {"query": [bytes in hexadecimal], "tcp"}: a
query to the resolver, or by UDP to another "at" an address. {"tls": [host, port], "name"}: the beginning of TLS for a name. {"socks": [host,
port], "send"}: the same as "connect" by SOCKS5. With {"proxy": true}, "url" goes by the proxy that the
environment names, and "connect" by its CONNECT; without, nothing does.
"""

import json
import os
import socket
import ssl
import struct
import sys
import urllib.error
import urllib.parse
import urllib.request

PATIENCE = 20


def url(wanted):
    proxies = None if wanted.get("proxy") else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(wanted["url"], timeout=PATIENCE) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return {"status": error.code, "said": error.read().decode()}


def names(wanted):
    found = socket.getaddrinfo(wanted["names"], 80, type=socket.SOCK_STREAM)
    return [where[0] for *_, where in found]


def proxy():
    where = urllib.parse.urlsplit(os.environ["http_proxy"])
    return socket.create_connection((where.hostname, where.port), PATIENCE)


def exactly(end, length):
    said = b""
    while len(said) < length:
        piece = end.recv(length - len(said))
        if not piece:
            raise EOFError
        said += piece
    return said


def by_connect(host, port):
    end = proxy()
    end.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += exactly(end, 1)
    status = int(said.split(b" ", 2)[1])
    if status != 200:
        raise PermissionError(f"{status}: {end.recv(65536).decode()}")
    return end


def by_socks(host, port):
    end = proxy()
    end.sendall(bytes([5, 1, 0]))
    assert exactly(end, 2) == bytes([5, 0])
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        there = bytes([4 if ":" in host else 1]) + socket.inet_pton(family, host)
    except OSError:
        there = bytes([3, len(host)]) + host.encode()
    end.sendall(bytes([5, 1, 0]) + there + struct.pack("!H", port))
    code = exactly(end, 10)[1]
    if code != 0:
        raise PermissionError(code)
    return end


def socks(wanted):
    return talk(by_socks(*wanted["socks"]), wanted)


def connect(wanted):
    if wanted.get("proxy"):
        return talk(by_connect(*wanted["connect"]), wanted)
    return talk(socket.create_connection(wanted["connect"], PATIENCE), wanted)


def talk(end, wanted):
    with end:
        end.sendall(wanted.get("send", "").encode("latin-1"))
        if wanted.get("half"):
            end.shutdown(socket.SHUT_WR)
        said = b""
        while piece := end.recv(65536):
            said += piece
            if wanted.get("until") and wanted["until"].encode() in said:
                break
        return said.decode("latin-1")


def query(wanted):
    question = bytes.fromhex(wanted["query"])
    if wanted.get("tcp"):
        with socket.create_connection(("127.0.0.53", 53), PATIENCE) as end:
            end.sendall(struct.pack("!H", len(question)) + question)
            end.shutdown(socket.SHUT_WR)
            said = b""
            while piece := end.recv(65536):
                said += piece
            return said[2:].hex()
    where = wanted.get("at", "127.0.0.53")
    with socket.socket(socket.AF_INET6 if ":" in where else socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(wanted.get("patience", PATIENCE))
        end.connect((where, 53))
        end.send(question)
        return end.recv(65536).hex()


def tls(wanted):
    context = ssl._create_unverified_context()
    ways = [lambda *there: socket.create_connection(there, PATIENCE), by_connect, by_socks]
    with ways[wanted.get("by", 0)](*wanted["tls"]) as end:
        with context.wrap_socket(end, server_hostname=wanted["name"]):
            return "agreed"


def tried(wanted):
    try:
        for kind in (url, names, connect, socks, query, tls):
            if kind.__name__ in wanted:
                return kind(wanted)
    except urllib.error.URLError as error:
        return {"error": type(error.reason).__name__}
    except Exception as error:
        return {"error": type(error).__name__, "said": str(error)}
    return None


print(json.dumps([tried(wanted) for wanted in json.loads(sys.argv[1])]))
