"""Types into a sandboxed shell as a person would, and looks at what the terminal shows."""

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

PROMPT = "READY> "
PATIENCE = 30


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


def shell(*flags):
    command = [sys.argv[1], "run", "--allow-run", "--env", f"PS1={PROMPT}", "--env", "TERM=dumb", *flags,
               "--", "/bin/bash", "--norc", "--noprofile", "-i"]
    terminal = Terminal(command, 33, 101)
    terminal.expect(PROMPT)
    return terminal


def window_size(terminal):
    terminal.type("stty size\n")
    terminal.expect(r"33 101\r\n")
    terminal.expect(PROMPT)
    terminal.resize(44, 77)
    # The news of it travels by signal; ask until it has arrived.
    for _ in range(PATIENCE * 5):
        terminal.type("stty size\n")
        if terminal.expect(r"(\d+ \d+)\r\n").group(1) == "44 77":
            terminal.expect(PROMPT)
            return
        terminal.expect(PROMPT)
        time.sleep(0.2)
    raise SystemExit("the new size never arrived")


def interrupt(terminal):
    terminal.type("echo started; sleep 1000\n")
    terminal.expect(r"\nstarted\r\n")
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.expect(PROMPT)
    terminal.type("echo status $?\n")
    terminal.expect(r"\nstatus 130\r\n")
    terminal.expect(PROMPT)


def job_control(terminal):
    terminal.type("echo started; sleep 1000\n")
    terminal.expect(r"\nstarted\r\n")
    time.sleep(0.5)
    terminal.type("\x1a")
    terminal.expect(r"Stopped\s+sleep 1000")
    terminal.expect(PROMPT)
    terminal.type("bg\n")
    terminal.expect(PROMPT)
    terminal.type("jobs\n")
    terminal.expect(r"Running\s+sleep 1000")
    terminal.expect(PROMPT)
    terminal.type("fg\n")
    terminal.expect(r"\nsleep 1000\r\n")
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.expect(PROMPT)


def main():
    terminal = shell()
    terminal.type("tty -s && echo it is a terminal\n")
    terminal.expect(r"\nit is a terminal\r\n")
    terminal.expect(PROMPT)
    window_size(terminal)
    interrupt(terminal)
    job_control(terminal)
    terminal.type("\x04")
    code = terminal.wait()
    if code != 130 and code != 0:
        raise SystemExit(f"Ctrl-D ended it with {code}; shown: {terminal.seen!r}")
    if termios.tcgetattr(terminal.master) != terminal.before:
        raise SystemExit("the terminal was left in another mode")
    terminal = shell()
    terminal.type("exit 7\n")
    if (code := terminal.wait()) != 7:
        raise SystemExit(f"exit 7 gave {code}")
    print("all seen")


main()
