"""Public suites of tests for OCI runtimes: where each comes from, how it is built, what it says.

Nothing of them is changed or left out. Each is built below target/conformance and then read only.
"""

import os
import re
from dataclasses import dataclass

import debian

BUILT = os.path.join(debian.TOP, "target", "conformance")
# A line of TAP: whether it is well, its number, a name, and what is said about skipping.
LINE = re.compile(r"^(not ok|ok) (\d+)[ -]*(.*?)(?:\s+#\s*(skip|todo)\b.*)?$", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)", re.M)


@dataclass(frozen=True)
class Result:
    name: str
    outcome: str


def results(text):
    """The results in the output of tests that speak TAP: pass, fail or skip, each with its name."""
    found = []
    for line in text.replace("\r", "").splitlines():
        match = LINE.match(line)
        if match:
            well, _, name, directive = match.groups()
            skipped = directive and directive.lower() == "skip"
            found.append(Result(name.strip(), "skip" if skipped else "pass" if well == "ok" else "fail"))
    return found


def planned(text):
    """How many results the output announced."""
    plans = [int(match.group(1)) for match in map(PLAN.match, text.replace("\r", "").splitlines()) if match]
    return sum(plans)
