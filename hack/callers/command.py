"""A command of a client, what it said, and the words that an answer is made of."""

import subprocess
import time
from dataclasses import dataclass


@dataclass
class Done:
    status: int
    out: str
    err: str

    def __str__(self):
        """Status and output: `0 hello`."""
        return f"{self.status} {self.out.strip()}".strip()

    def whole(self):
        """Output of a command that succeeded."""
        if self.status != 0:
            raise RuntimeError(f"status {self.status}: {(self.out + self.err).strip()}")
        return self.out.strip()

    def says(self, *words):
        """Status, and which of the words stand in the output or the error, whatever the case."""
        text = (self.out + self.err).lower()
        return " ".join([str(self.status)] + [word for word in words if word.lower() in text])


def run(command, stdin="", timeout=60, environment=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="replace",
                          timeout=timeout, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


class Patience:
    """How long is waited for what must come, in seconds; an emulated machine takes longer."""

    seconds = 30


def until(condition, what, seconds=None):
    """Waits until the condition holds, and answers its value."""
    seconds = seconds or Patience.seconds
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"in {seconds} seconds it did not come true that {what}")
