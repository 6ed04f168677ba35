"""Scenarios, what each runtime answered to them, and the verdict."""

import difflib
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field

# The runtime that the others are held against.
REFERENCE = "runc"
WIDTH = 44


class Scenarios(list):
    """The scenarios of one caller, in the order in which they are written."""

    def expects(self, answer, **needs):
        """Registers a function from the caller to its answer, and the answer that is right.

        Without one (None) any answer is right that is also the reference's.
        """
        def register(function):
            self.append(Scenario(function.__name__.replace("_", " "), function, answer, **needs))
            return function
        return register


@dataclass
class Scenario:
    name: str
    function: object
    expected: str | None


@dataclass
class Outcome:
    """One scenario with each runtime."""

    caller: str
    scenario: Scenario
    answers: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)

    def ask(self, runtime, caller):
        start = time.monotonic()
        try:
            caller.use(runtime)
            self.answers[runtime] = str(self.scenario.function(caller)).strip()
        except Exception as error:  # A scenario that fails is a result, not the end of the run.
            said = error.details() if hasattr(error, "details") else error
            self.failures[runtime] = f"{type(error).__name__}: {said}"
        try:
            caller.clear()
        except Exception as error:
            self.failures.setdefault(runtime, f"clearing up: {error}")
        self.seconds[runtime] = round(time.monotonic() - start, 2)

    def right(self, runtime):
        if runtime in self.failures:
            return False
        return self.scenario.expected is None or self.answers[runtime] == self.scenario.expected

    def verdict(self, runtime):
        """`ok`, `FAILS`, `DIFFERS`, or that the reference fails here as well."""
        reference = REFERENCE if REFERENCE in self.seconds else runtime
        if self.right(runtime):
            same = self.right(reference) and self.answers[reference] == self.answers[runtime]
            if same:
                return "ok"
            return f"ok, and {reference} fails" if not self.right(reference) else "DIFFERS"
        if runtime != reference and not self.right(reference):
            return f"fails, and so does {reference}"
        return "FAILS"

    def bad(self):
        """Runtimes other than the reference that fail where it does not, or where nothing may."""
        return [runtime for runtime in self.seconds
                if (runtime != REFERENCE or len(self.seconds) == 1)
                and (self.verdict(runtime).isupper()
                     or "CI" in os.environ and self.verdict(runtime).startswith("fails"))]

    def said(self, runtime):
        return self.failures.get(runtime, self.answers.get(runtime, ""))


def ask_all(name, scenarios, caller, runtimes, progress=True):
    """The outcomes of a caller's scenarios, each asked of every runtime in turn."""
    outcomes = []
    for scenario in scenarios:
        outcome = Outcome(name, scenario)

        def ask(runtime):
            outcome.ask(runtime, caller)
            if progress:
                print(f"{name}: {scenario.name}: {runtime}: {short(outcome.said(runtime))} "
                      f"({outcome.seconds[runtime]} s)", file=sys.stderr, flush=True)

        for runtime in runtimes:
            ask(runtime)
        # An answer that the reference itself gives only once is nothing to be held against.
        if any(outcome.verdict(runtime) == "DIFFERS" for runtime in runtimes):
            ask(REFERENCE)
        outcomes.append(outcome)
    return outcomes


def report(outcomes, runtimes):
    """Prints the answers, what differs and the counts."""
    bad = sum(bool(outcome.bad()) for outcome in outcomes)
    print(table(outcomes, list(runtimes)))
    print(differences(outcomes))
    print(f"\n{len(outcomes) - bad} passed, {bad} failed")


def status(outcomes):
    """The exit status: nothing asked is nothing shown."""
    return 1 if not outcomes or any(outcome.bad() for outcome in outcomes) else 0


def short(text):
    """One line that fits a cell."""
    line = re.sub(r"\s+", " ", text).replace("|", "/")
    return line if len(line) <= WIDTH else line[:WIDTH - 1] + "…"


def table(outcomes, runtimes):
    """The table of all answers, and below it whatever differs, in full."""
    names = [f"{outcome.caller}: {outcome.scenario.name}" for outcome in outcomes]
    wide = max(map(len, names), default=0)
    lines = [" | ".join(["scenario".ljust(wide)] + [f"{name:{WIDTH}}" for name in runtimes] + ["verdict"])]
    lines.append("-|-".join(["-" * wide] + ["-" * WIDTH for _ in runtimes] + ["-" * 7]))
    for name, outcome in zip(names, outcomes):
        cells = [f"{short(outcome.said(runtime)):{WIDTH}}" for runtime in runtimes]
        verdicts = [outcome.verdict(runtime) for runtime in runtimes
                    if runtime != REFERENCE or len(runtimes) == 1]
        lines.append(" | ".join([name.ljust(wide), *cells, ", ".join(verdicts)]))
    return "\n".join("| " + line + " |" for line in lines)


def differences(outcomes):
    """Of every scenario that is not right everywhere: what was expected and what each answered."""
    parts = []
    for outcome in outcomes:
        if all(outcome.verdict(runtime) == "ok" for runtime in outcome.seconds):
            continue
        parts.append(f"\n== {outcome.caller}: {outcome.scenario.name}")
        if outcome.scenario.expected is not None:
            parts.append(f"expected:\n{indented(outcome.scenario.expected)}")
        for runtime in outcome.seconds:
            said, reference = outcome.said(runtime), outcome.said(REFERENCE)
            long = reference.count("\n") > 5
            if long and runtime == REFERENCE and len(outcome.seconds) > 1:
                continue
            if long and runtime != REFERENCE:
                lines = difflib.unified_diff(reference.splitlines(), said.splitlines(), REFERENCE,
                                             runtime, n=0, lineterm="")
                said = "\n".join(lines)
            parts.append(f"{runtime} ({outcome.verdict(runtime)}):\n{indented(said)}")
    return "\n".join(parts)


def indented(text):
    return "\n".join("    " + line for line in text.splitlines())


def as_json(outcomes):
    return json.dumps([{
        "caller": outcome.caller, "scenario": outcome.scenario.name,
        "expected": outcome.scenario.expected,
        "runtimes": {runtime: {"answer": outcome.answers.get(runtime),
                               "failure": outcome.failures.get(runtime),
                               "seconds": outcome.seconds[runtime],
                               "verdict": outcome.verdict(runtime)} for runtime in outcome.seconds},
    } for outcome in outcomes], indent=2)
