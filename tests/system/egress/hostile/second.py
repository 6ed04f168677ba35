"""Reads what was recorded as the server of Python's library reads it.

Usage: second.py FILE, which has a JSON list of texts. Prints a list of what each is: [method, target, content].
"""

import http.server
import io
import json
import sys


class Reading(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, text):
        self.rfile, self.wfile, self.heard = io.BytesIO(text.encode("latin-1")), io.BytesIO(), []
        self.client_address, self.close_connection = ("", 0), False
        while not self.close_connection:
            self.handle_one_request()

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.take
        raise AttributeError(name)

    def take(self):
        content = b""
        if self.headers.get("Transfer-Encoding"):
            while length := int(self.rfile.readline(), 16):
                content += self.rfile.read(length)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.heard.append([self.command, self.path, content.decode("latin-1")])

    def log_message(self, *_):
        pass


print(json.dumps([Reading(text).heard for text in json.load(open(sys.argv[1]))]))
