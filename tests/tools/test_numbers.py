#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/policy.md has numbers of two programs that print the same on every machine: they must be those that they print.

    test_numbers.py BENCH-ODDITIES BENCH-SHARED [POLICY.md]

Prints TAP; what does not agree is named with both numbers. The document's rounding is allowed for.
"""
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# How the document calls the rows of bench-shared, and its columns: sampling, policy.
PATTERNS = {"2 nodes at random": "random, 2 nodes", "3 nodes at random": "random, 3 nodes", "4 nodes at random": "random, 4 nodes",
            "2 nodes by turns of 1 s": "turns of 1 s", "2 nodes by turns of 2 s": "turns of 2 s",
            "2 nodes by turns of 4 s: to be followed": "turns of 4 s", "2 nodes by turns of 5 s: to be followed": "turns of 5 s"}
COLUMNS = (("one a period", "automatic"), ("watch of 10 s, questions", "automatic"), ("one a period", "kernel"),
           ("one a period", "two-stage"))
# The columns of bench-oddities.
KEYS = ("local_after_s", "local_percent", "hint_faults", "migrations", "period_before_s", "period_s")


def run(*command):
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def agrees(text, value, key=""):
    """Is that how the value is written? It is rounded once by the program, once by the document."""
    if value is None:
        return text == "never"
    if text in ("-", ""):
        return key == "period_before_s" and value == 0
    if not re.fullmatch(r"[\d,]+(\.\d+)?", text):
        return False
    decimals = len(text.partition(".")[2])
    return abs(float(text.replace(",", "")) - value) <= 0.5 * 10 ** -decimals + 0.0501 * 10 ** -decimals


def cells(line):
    return [c.strip() for c in line.strip().strip("|").split("|")]


def table(text, header):
    """Rows below the header and its ruler."""
    at = text.index(f"\n{header}")
    lines = text[at + 1:].split("\n\n", 1)[0].splitlines()
    return [cells(line) for line in lines[2:] if line.startswith("|")]


def check_shared(text, rows):
    said = {(r["pattern"], r["sampling"], r["policy"]): r for r in rows}
    listed = table(text, "| the page is used by |")
    for name in PATTERNS.keys() - {row[0] for row in listed}:
        yield f"there is no row for {name!r}"
    for name, *numbers in listed:
        if name not in PATTERNS:
            yield f"{name!r}: bench-shared has no such pattern"
            continue
        for number, column in zip(numbers, COLUMNS):
            r = said[(PATTERNS[name], *column)]
            m = re.fullmatch(r"([\d.]+)(?: \((\d+)\))?", number)
            if not m or not agrees(m[1], r["migrations_an_hour"]) or not agrees(m[2] or m[1], r["worst_page_an_hour"]):
                yield f"{name}, {' '.join(column)}: {number}, bench-shared says {r['migrations_an_hour']} ({r['worst_page_an_hour']})"


def check_shared_sentences(text, rows):
    chance = [r for r in rows if r["policy"] == "automatic" and r["sampling"] == "one a period" and r["pattern"].startswith("random")]
    yield from sentence(text, r"minutes up to (\d+) in a thousand", max(r["busy_minutes_permille"] for r in chance))
    yield from sentence(text, r"moves up to (\d+) times until it is known", max(r["worst_first_minute"] for r in chance))


def check_oddities(text, rows):
    sides = {}
    for r in rows:
        sides.setdefault(r["scenario"], {})[r["side"]] = r
    missing, scenario, side = set(sides), None, 0
    for name, *numbers in table(text, "| | 95 % local after, s |"):
        if m := re.match(r"\*\*(.*?)\*\*", name):
            # "the same, late": the scenario before, later
            scenario = {"the same, late": "one failure, late"}.get(m[1], m[1])
            side = 0
            missing.discard(scenario)
            continue
        r = list(sides[scenario].values())[side]
        side += 1
        for number, key in zip(numbers, KEYS):
            if not agrees(number, r[key], key):
                yield f"{scenario}, {name}: {key} {number}, bench-oddities says {r[key]}"
        if name == "hugenuma" and side != 1 or len(numbers) != len(KEYS):
            yield f"{scenario}, {name}: not the row that was expected here"
    yield from (f"there is nothing about {name!r}" for name in missing)


def check_oddities_sentences(text, rows):
    by = {(r["scenario"], r["side"]): r for r in rows}
    with_failure, without = by["one failure", "hugenuma"]["hint_faults"], by["one failure", "hugenuma, no failure"]["hint_faults"]
    runs = by["nine to one", "hugenuma, runs"]
    yield from sentence(text, r"differs by (\d+) hints of ([\d,]+)", with_failure - without, with_failure)
    yield from sentence(text, r"([\d.]+) s in half of the runs, more than (\d+) s in one of ten and (\d+) s in the worst of a hundred",
                        runs["half_after_s"], runs["nine_of_ten_after_s"], runs["worst_after_s"])
    # hints that led to a migration, in percent
    yield from sentence(text, r"recorded \(([\d.]+) % and ([\d.]+) %\)",
                        *(100 * by["nine to one", s]["migrations"] / by["nine to one", s]["hint_faults"]
                          for s in ("hugenuma", "kernel's rules without it")))


def sentence(text, pattern, *values):
    m = re.search(pattern, re.sub(r"\s+", " ", text))
    if not m:
        yield f"no sentence with /{pattern}/"
    elif not all(agrees(t, v) for t, v in zip(m.groups(), values)):
        yield f"{m[0]!r}: it is {', '.join(f'{v:.4g}' for v in values)}"


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.splitlines()[2].strip())
    oddities, shared = run(sys.argv[1], "--json"), run(sys.argv[2])
    with open(sys.argv[3] if len(sys.argv) == 4 else os.path.join(ROOT, "docs", "policy.md"), encoding="utf-8") as f:
        text = f.read()
    checks = (("pages that are shared: the table", check_shared, shared), ("the same: what is said of it", check_shared_sentences, shared),
              ("oddities: the table", check_oddities, oddities), ("the same: what is said of it", check_oddities_sentences, oddities))
    print(f"1..{len(checks)}")
    failed = False
    for n, (name, check, rows) in enumerate(checks, 1):
        problems = list(check(text, rows))
        failed |= bool(problems)
        print(f"{'not ' if problems else ''}ok {n} - {name}")
        for p in problems:
            print(f"#   docs/policy.md: {p}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
