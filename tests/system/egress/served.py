"""Files below a folder and repositories of git, as servers of them answer."""

import mimetypes
import os
import subprocess
import urllib.parse


def chunks(reader):
    """What a body of chunks has in it."""
    while length := int(reader.readline(), 16):
        yield reader.read(length)
        reader.readline()
    reader.readline()


def file(folder, path):
    """The status, headers and body of a file of FOLDER/files, or of the index of a directory there."""
    found = os.path.realpath(f"{folder}/{urllib.parse.urlsplit(path).path}")
    if os.path.isdir(found):
        found += "/index.html"
    if not found.startswith(f"{folder}/files/") or not os.path.exists(found):
        return 404, [], b""
    with open(found, "rb") as content:
        return 200, [("Content-Type", mimetypes.guess_type(found)[0] or "text/plain")], content.read()


def git(folder, request):
    """The status, headers and body that git's own server has for a request (CGI, RFC 3875)."""
    where = urllib.parse.urlsplit(request.path)
    headers = request.headers
    asked = b"".join(chunks(request.rfile)) if headers.get("Transfer-Encoding") == "chunked" \
        else request.rfile.read(int(headers.get("Content-Length", 0)))
    variables = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": f"{folder}/git", "GIT_HTTP_EXPORT_ALL": "1",
                 "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
                 "REQUEST_METHOD": request.command, "PATH_INFO": where.path.removeprefix("/git"),
                 "QUERY_STRING": where.query, "CONTENT_TYPE": headers.get("Content-Type", ""),
                 "CONTENT_LENGTH": str(len(asked)), "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
                 "GIT_PROTOCOL": headers.get("Git-Protocol", ""), "REMOTE_USER": "a", "REMOTE_ADDR": "beyond"}
    said = subprocess.run(["git", "http-backend"], input=asked, env=variables, stdout=subprocess.PIPE, check=True)
    head, body = said.stdout.split(b"\r\n\r\n", 1)
    fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
    status = next((int(value[:3]) for name, value in fields if name == "Status"), 200)
    return status, [field for field in fields if field[0] != "Status"], body
