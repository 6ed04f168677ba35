"""Makes what package managers ask for: FOLDER/files with an index of each, and FOLDER/git/tree.git.

Usage: planted.py FOLDER
"""

import base64
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile

folder = sys.argv[1]
files = f"{folder}/files"
CODE = {"py": "SAYS = 'out of a wheel'\n", "js": "module.exports = 'out of a tarball';\n"}


def write(name, content):
    path = f"{files}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def wheel():
    info = "padding-1.0.dist-info"
    parts = {"padding.py": CODE["py"],
             f"{info}/METADATA": "Metadata-Version: 2.1\nName: padding\nVersion: 1.0\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    parts[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*parts, f"{info}/RECORD"])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarball():
    parts = {"package.json": json.dumps({"name": "padding", "version": "1.0.0", "main": "index.js"}),
             "index.js": CODE["js"]}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    return made.getvalue()


def git(*words):
    named = ["-c", "user.name=A", "-c", "user.email=a@allowed.example", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *named, *words], check=True, stdout=subprocess.DEVNULL)


write("bytes", random.Random(1).randbytes(3 << 20))
write("simple/padding/padding-1.0-py3-none-any.whl", wheel())
write("simple/padding/index.html", b"<a href='padding-1.0-py3-none-any.whl'>padding-1.0-py3-none-any.whl</a>")
packed = tarball()
dist = {"tarball": "http://allowed.example/files/npm/padding-1.0.0.tgz",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode(),
        "shasum": hashlib.sha1(packed).hexdigest()}
version = {"name": "padding", "version": "1.0.0", "main": "index.js", "dist": dist}
index = {"name": "padding", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
write("npm/padding-1.0.0.tgz", packed)
write("npm/padding", json.dumps(index).encode())

work, bare = f"{folder}/work", f"{folder}/git/tree.git"
git("init", "--quiet", work)
with open(f"{work}/file", "wb") as file:
    file.write(random.Random(2).randbytes(1 << 20))
git("-C", work, "add", ".")
git("-C", work, "commit", "--quiet", "--message", "one")
git("clone", "--quiet", "--bare", work, bare)
git("-C", bare, "config", "http.receivepack", "true")
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "30", "-subj", "/CN=allowed.example", "-addext", "subjectAltName=DNS:allowed.example",
                "-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"],
               check=True, stderr=subprocess.DEVNULL)
