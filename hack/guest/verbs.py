#!/usr/bin/python3
"""Asks runtimes directly for what a machine with pure cgroup v2 is about, and compares the answers.

It runs in a guest, as root: `hack/vm test oci` starts it there.

usage: verbs.py NAME=PATH... [WORDS]    only scenarios with these words in the name
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from callers import answers  # noqa: E402
from guest.oci import groups, rootless  # noqa: E402
from guest.oci.caller import Caller  # noqa: E402


def main(words):
    runtimes = dict(word.split("=", 1) for word in words if "=" in word)
    only = " ".join(word for word in words if "=" not in word)
    outcomes = []
    for module, make in ((groups, Caller), (rootless, rootless.User)):
        name = module.__name__.rpartition(".")[2]
        scenarios = [scenario for scenario in module.SCENARIOS
                     if only in f"{name} {scenario.name}"]
        outcomes += answers.ask_all(name, scenarios, make(runtimes), runtimes)
    answers.report(outcomes, runtimes)
    return answers.status(outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
