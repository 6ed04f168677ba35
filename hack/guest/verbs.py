#!/usr/bin/python3
"""Asks runtimes directly for what a machine with pure cgroup v2 is about, and compares the answers.

It runs in a guest, as root: `hack/vm test oci` starts it there.

usage: verbs.py NAME=PATH... [WORDS]    only scenarios with these words in the name
"""

import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from callers import answers  # noqa: E402
from guest.oci import groups, rootless  # noqa: E402
from guest.oci.caller import Caller  # noqa: E402


def main(words):
    runtimes = dict(word.split("=", 1) for word in words if "=" in word)
    only = " ".join(word for word in words if "=" not in word)
    outcomes, began = [], time.monotonic()
    for module, make in ((groups, Caller), (rootless, rootless.User)):
        name = module.__name__.rpartition(".")[2]
        caller = make(runtimes)
        for scenario in module.SCENARIOS:
            if only not in f"{name} {scenario.name}":
                continue
            outcomes.append(answers.Outcome(name, scenario))
            for runtime in runtimes:
                outcomes[-1].ask(runtime, caller)
                print(f"{name}: {scenario.name}: {runtime}: {outcomes[-1].seconds[runtime]} s",
                      file=sys.stderr, flush=True)
    bad = [outcome for outcome in outcomes if outcome.bad()]
    print(answers.table(outcomes, list(runtimes)))
    print(answers.differences(outcomes))
    print(f"\n{len(outcomes) - len(bad)} passed, {len(bad)} failed in {time.monotonic() - began:.0f} s")
    return 1 if bad or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
