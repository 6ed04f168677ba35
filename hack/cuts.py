"""The committed tree with texts of its source replaced, and what is built of it."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(TOP, "target", "cuts")
TREE = os.path.join(WORK, "tree")
BUILD = os.path.join(WORK, "build")
KEPT = os.path.join(WORK, "kept")


class Broken(Exception):
    """It does not compile, for the reason that this says."""


class Copy:
    """Builds variants of the tree as it was committed when this began. Each is kept, so that a run
    which was interrupted goes on where it ended."""

    def __init__(self):
        trees = ["HEAD:src", "HEAD:worker", "HEAD:tests", "HEAD:Cargo.lock"]
        said = subprocess.run(["git", "-C", TOP, "rev-parse", "HEAD", *trees], text=True, check=True,
                              stdout=subprocess.PIPE)
        self.commit, *self.parts = said.stdout.split()
        # What the tests run besides, as hack/test has installed it.
        for name in ("bun", "cpython"):
            installed, there = (os.path.join(top, "target", name) for top in (TOP, TREE))
            if os.path.isdir(installed) and not os.path.isdir(there):
                shutil.copytree(installed, there, symlinks=True, copy_function=os.link)

    def program(self, cuts=()):
        """The program, in which each (file, text, instead) was replaced everywhere in its file."""
        def build():
            _cargo("build", "--locked", "--bin", "buntime")
            return os.path.join(BUILD, "debug", "buntime")
        # Its tests do not go into it.
        source = [part for name, part in zip(("src", "worker", "tests", "lock"), self.parts)
                  if name != "tests"]
        return self._variant(["program", *source], cuts, build)

    def tests(self, suite, cuts=()):
        """The tests of a suite, or those of the library for `lib`."""
        def build():
            which = ["--lib"] if suite == "lib" else ["--test", suite]
            stem = "buntime" if suite == "lib" else suite
            said = _cargo("test", "--locked", "--no-run", *which)
            return os.path.join(TREE, re.search(rf"\(([^()]*/{stem}-[0-9a-f]+)\)", said)[1])
        return self._variant([suite, *self.parts], cuts, build)

    def _variant(self, basis, cuts, build):
        folder = os.path.join(KEPT, f"{basis[0]}-{_digest(basis)}")
        built = os.path.join(folder, _digest(cuts))
        with _alone():
            if os.path.exists(built):
                return built
            _forget(basis[0], folder)
            _take(self.commit)
            for name, text, instead in cuts:
                _replace(os.path.join(TREE, name), text.encode(), instead.encode())
            os.makedirs(folder, exist_ok=True)
            shutil.copy(build(), built + ".new")
            os.rename(built + ".new", built)
        return built


def check(program, entries):
    """Fails when a text that is to be replaced, as each (name, cuts) says, is not in the source."""
    missing = [f"{name}: {file} has not got\n{text}" for name, cuts in entries
               for file, text, _ in cuts if text.encode() not in _read(os.path.join(TOP, file))]
    if missing:
        raise SystemExit(f"{program}: these cannot be cut\n" + "\n".join(missing))
    print(f"{program}: {len(entries)} can be cut")


def _digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _alone():
    os.makedirs(WORK, exist_ok=True)
    with open(os.path.join(WORK, "lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget(kind, folder):
    """Removes what was kept of this kind of another tree."""
    for name in os.listdir(KEPT) if os.path.isdir(KEPT) else []:
        old = os.path.join(KEPT, name)
        if name.startswith(f"{kind}-") and old != folder:
            shutil.rmtree(old)


def _take(commit):
    """Makes the copy what was committed. Only what differs is written, so that cargo builds again no
    more than it must."""
    fresh = TREE + ".fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh)
    archive = subprocess.Popen(["git", "-C", TOP, "archive", commit], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", fresh], stdin=archive.stdout, check=True)
    if archive.wait() != 0:
        raise SystemExit("git archive failed")
    for folder, _, names in os.walk(fresh):
        there = os.path.join(TREE, os.path.relpath(folder, fresh))
        os.makedirs(there, exist_ok=True)
        for name in names:
            ours, theirs = os.path.join(folder, name), os.path.join(there, name)
            if os.path.exists(theirs) and _read(theirs) == _read(ours):
                continue
            shutil.copyfile(ours, theirs)
            shutil.copymode(ours, theirs)
    for folder in ("src", "tests", "worker", "benches", "examples"):
        for there, _, names in os.walk(os.path.join(TREE, folder)):
            for name in names:
                path = os.path.join(there, name)
                if not os.path.exists(os.path.join(fresh, os.path.relpath(path, TREE))):
                    os.remove(path)
    shutil.rmtree(fresh)


def _replace(path, text, instead):
    source = _read(path)
    if text not in source:
        raise SystemExit(f"{path} has not got\n{text.decode()}")
    with open(path, "wb") as file:
        file.write(source.replace(text, instead))


def _cargo(*arguments):
    # Without debug information, which takes longer to write than the code.
    environment = {**os.environ, "CARGO_TARGET_DIR": BUILD, "CARGO_PROFILE_DEV_DEBUG": "0"}
    done = subprocess.run(["cargo", *arguments], cwd=TREE, capture_output=True, text=True,
                          env=environment)
    if done.returncode != 0:
        raise Broken(f"cargo {' '.join(arguments)} failed\n{done.stderr[-4000:]}")
    return done.stderr


def _read(path):
    with open(path, "rb") as file:
        return file.read()
