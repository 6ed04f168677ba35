"""A person at a terminal: a command with a pseudo-terminal of a given size, and what is typed."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time

from .command import Patience

ROWS, COLUMNS = 33, 97


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Session:
    """A command on a terminal of 33 rows and 97 columns."""

    def __init__(self, command, environment=None, seconds=None):
        self.terminal, other = os.openpty()
        resize(self.terminal, ROWS, COLUMNS)
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other,
                                        env=environment, preexec_fn=lambda: os.login_tty(0))
        os.close(other)
        self.text = ""
        self.deadline = time.monotonic() + (seconds or Patience.seconds)

    def read(self):
        """Takes what there is; false at the end."""
        ready, _, _ = select.select([self.terminal], [], [], 0.2)
        if time.monotonic() > self.deadline:
            self.process.kill()
            raise TimeoutError(f"the terminal shows only {self.text!r}")
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.terminal, 65536)
        except OSError:
            # A terminal whose other end is closed answers EIO.
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def expect(self, text):
        while text not in self.text:
            if not self.read():
                raise EOFError(f"{text!r} was not shown, only {self.text!r}")
        return self

    def type(self, keys):
        os.write(self.terminal, keys.encode())
        return self

    def resize(self, rows, columns):
        resize(self.terminal, rows, columns)
        return self

    def finish(self):
        """Exit status, and all that was shown, with line ends as in a file."""
        while self.read():
            continue
        status = self.process.wait(timeout=Patience.seconds)
        os.close(self.terminal)
        return status, self.text.replace("\r", "")
