"""A person at a terminal: types, and looks at what is shown."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 60


class Terminal:
    def __init__(self, command, rows, columns):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            # The prompt must not come before the size is set.
            signal.signal(signal.SIGWINCH, lambda *_: None)
            os.read(0, 1)
            os.execv(command[0], command)
        self.before = termios.tcgetattr(self.master)
        self.resize(rows, columns)
        os.write(self.master, b"\n")
        self.seen = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            piece = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, pattern):
        """Waits for what is shown, and forgets all up to it."""
        end = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            if time.monotonic() > end or (not self.read(1) and self.ended()):
                raise SystemExit(f"{pattern!r} was not shown, but {self.seen!r}")

    def press(self, key, pattern):
        """Types the key until the pattern is shown: a shell itself heeds no key that is meant for the
        command that it is about to start."""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.seen) and time.monotonic() < end:
            self.type(key)
            again = time.monotonic() + 1
            while not re.search(pattern, self.seen) and time.monotonic() < again:
                self.read(0.1)
        self.expect(pattern)

    def ended(self):
        # Peeks, so that the status is still there for `wait`.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def type(self, text):
        os.write(self.master, text.encode())

    def wait(self):
        end = time.monotonic() + PATIENCE
        while not self.ended():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise SystemExit(f"it does not end; shown: {self.seen!r}")
            self.read(0.05)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


