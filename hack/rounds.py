"""Rounds of a benchmark: everything once in each, in random order, so that what else the machine does
hits all of them alike."""

import random
import statistics


class Cannot(Exception):
    """What a contender says of itself."""


def measured(runs, contenders, measure, must, before=1):
    """What each took in interleaved rounds, in random order, or why it cannot.

    It has to be able to where `must` of its name says so. So many rounds `before` fill the caches.
    """
    found = {name: [] for name in contenders}
    for number in range(-before, runs):
        order = [name for name in contenders if not isinstance(found[name], str)]
        random.shuffle(order)
        for name in order:
            try:
                took = measure(contenders[name])
            except Cannot as error:
                if must(name):
                    raise SystemExit(f"{name}: {error}") from error
                found[name] = str(error)
                continue
            if number >= 0:
                found[name].append(took)
    return found


def table(title, found, bases=(), over=None, highest_first=False):
    """One table, the best first, with what each has over one of them, and the ratio to each of the bases."""
    medians = {name: statistics.median(taken) for name, taken in found.items() if not isinstance(taken, str)}
    more = ["over " + over] if over else []
    rows = [["", "p10", "median", "p90", *more, *("/ " + base for base in bases)]]
    for name in sorted(medians, key=medians.get, reverse=highest_first):
        tenths = statistics.quantiles(found[name], n=10, method="inclusive")
        added = [medians[name] - medians[over]] if over else []
        rows.append([name, *(f"{value:.2f}" for value in (tenths[0], medians[name], tenths[8], *added)),
                     *(f"{medians[name] / medians[base]:.2f}" for base in bases)])
    whys = [f"{name} cannot: {why}" for name, why in found.items() if isinstance(why, str)]
    return "\n".join([f"\n{title}", drawn(rows), *whys])


def drawn(rows):
    """A table in Markdown, the first of the rows its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
