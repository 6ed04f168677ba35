"""Asks a server that answers badly, twice on each connection, and says what it heard as a client that is careful.

Prints a JSON list of [name, way, expected, first, second]: each the status and the content, or nothing.
"""

import http.client
import io
import json
import os
import socket
import urllib.parse

PATIENCE = 20
PROXY = urllib.parse.urlsplit(os.environ["http_proxy"]).netloc.split(":")
HOST, PORT = "allowed.example", 8082


class Said:
    """Stands for a connection on which this was said."""

    def __init__(self, said):
        self.file = io.BytesIO(said)
        self.file.close = lambda: None

    def makefile(self, *_):
        return self.file


def answer(said, method):
    try:
        response = http.client.HTTPResponse(said, method=method)
        response.begin()
        return f"{response.status} {response.read().decode('latin-1')}"
    except (http.client.HTTPException, ConnectionError, ValueError):
        return None


def asked(name, way):
    method = "HEAD" if name.startswith("head-") else "GET"
    before = f"http://{HOST}:{PORT}" if way == "proxy" else ""
    end = socket.create_connection(PROXY if way == "proxy" else (HOST, PORT), PATIENCE)
    heads = [f"{method} {before}/{name} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n\r\n",
             f"GET {before}/second HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nConnection: close\r\n\r\n"]
    said = b""
    with end:
        end.sendall("".join(heads).encode())
        # What has been answered before it broke is still to be heard.
        for _ in range(2):
            try:
                while piece := end.recv(65536):
                    said += piece
            except ConnectionError:
                pass
    heard = Said(said)
    first = answer(heard, method)
    return [name, way, first, answer(heard, "GET") if first else None]


def main():
    """With `ANSWERS` of the server."""
    expected = {name: expected for name, (_, expected) in ANSWERS.items()} | {"head-length": "200 "}
    told = []
    for way in ("proxy", "plain"):
        for name in expected:
            name, way, first, second = asked(name, way)
            told.append([name, way, expected[name], first, second])
    print(json.dumps(told))
