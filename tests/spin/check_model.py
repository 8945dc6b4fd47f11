#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check model.pml, the protocol in Promela, with spin: a second opinion on the protocol and on its bugs. Prints TAP.

    check_model.py [--all] [--only WORD] [--update] [--json] [--trail MUTANT]

Shipped: in every scenario there must be no error, the search must have been complete, and the number of states and
transitions and the list of unreached statements must be those of expected.json, so that a model that shrinks by
accident fails. The numbers are for the version of spin named there; with another one they are printed and not compared.

Mutants: each must be found, with the kind of error it is there for. The founding bug's shortest trail is printed. Some
changes do no harm in this model, for reasons given with them; spin must say so too, lest a reason goes away unnoticed.

    --all      also the other mutants, harmless changes, and the scenarios with more page ids
    --only     only what has this in its name, of all
    --update   write expected.json anew
    --json     one JSON line for each run of the shipped protocol and of the founding bug, no TAP (for bench/spin)
    --trail    print the shortest way to this mutant's error

Needs spin and a C compiler (CC). Exit status 77 without spin.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = "model.pml"
EXPECTED = os.path.join(HERE, "expected.json")
MEMORY_MIB = 1500
DEPTH = 1500000
TIMEOUT_S = 120
# Not optimised: the compiler would take longer than the search it makes faster.
COMPILE = ["-O0", "-w", "-DSAFETY", "-DNOFAIR", f"-DMEMLIM={MEMORY_MIB}"]

SCENARIOS = ["RACE", "DROP", "PART", "UNMAP", "REMAP", "FORK", "RAWFORK"]
WIDE = ["PART", "REMAP", "RAWFORK"]  # also with two page ids, where one does for every day

SLEEPS = "invalid end state"
# (mutant, scenario, every day?, the error it must give: an invariant named beside the assert, or SLEEPS)
MUTANTS = [
    ("FOUNDING", "RACE", True, "I1"),
    ("NO_PAGE_LOCK", "RACE", True, "I2"),
    ("LATE_MIGRATE", "RACE", True, "I2"),
    ("COPY_ARM", "RACE", False, "I1"),
    ("GAP_ARM", "RACE", False, "I2"),
    ("TARGET_LEAK", "RACE", False, "I4"),
    ("CHARGE_STALE", "RACE", True, "I5"),
    ("NO_RECHECK", "DROP", False, "I5"),
    ("NO_QUARANTINE", "DROP", True, "I6"),
    ("NO_GATE_COMMIT", "DROP", False, "I6"),
    ("NO_REF", "DROP", False, "I2"),
    ("REF_LEAK", "DROP", True, "I4"),
    ("NO_WAKE", "DROP", False, SLEEPS),
    ("NO_GEN", "PART", True, "I6"),
    ("NO_ZERO", "PART", False, "I6"),
    ("LEADER_WAKES", "PART", True, SLEEPS),
    ("NO_GATE_ARM", "UNMAP", True, "I1"),
    ("NO_GATE_HOLE", "REMAP", False, "I1"),
    ("NO_WAKE_STALE", "REMAP", True, SLEEPS),
    ("NO_DRAIN", "FORK", True, "I1"),
    ("NO_WAIT_FORK", "FORK", False, "I1"),
    ("NO_GIVE", "RAWFORK", False, "I1"),
]
# (change, scenario, every day?, why no harm is seen)
HARMLESS = [
    ("SEED", "RACE", True,
     "every way to the page lock goes on under the entry lock, which is still held when the hint is cleared, and"
     " compares again there"),
    ("SEED", "PART", False, "as above"),
    ("SEED", "DROP", False, "as above"),
    ("FOUNDING_GEN", "RACE", False,
     "the generation hides the founding bug: the patch's second half is needed, as it says"),
    ("NO_GEN", "RACE", False, "the page lock keeps all but events from the page"),
    ("NO_GATE_FAULT", "DROP", False, "who holds the lead reads events and serves F1 to F4, so these never overlap"),
    ("NO_WAKE_EVENT", "REMAP", False,
     "each sleeper has a message, and its handler, or the migrator it waits for, wakes it"),
    ("NO_WAKE_EVENT", "UNMAP", False, "as above"),
    ("NO_WAKE_EVENT", "DROP", False, "as above"),
]

Run = collections.namedtuple("Run", "error complete states transitions depth memory_mib seconds cpu_seconds unreached text")


def spin_version():
    try:
        done = subprocess.run(["spin", "-V"], stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return None
    found = re.search(r"Version (\S+)", done.stdout)
    return found.group(1) if found else None


def limit_memory():
    # A macro that expands into itself makes spin take all the memory there is.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def children_cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def command(args, folder, seconds=TIMEOUT_S):
    return subprocess.run(args, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=seconds, preexec_fn=limit_memory)


class Pan:
    """The checker that spin generates for one scenario and at most one mutant. Close with remove()."""

    def __init__(self, names, shortest=False):
        self.defines = ["-D" + n for n in names]
        self.folder = tempfile.mkdtemp(prefix="hugenuma-spin-")
        try:
            shutil.copy(os.path.join(HERE, MODEL), self.folder)
            self.must(["spin", "-a", *self.defines, MODEL])
            self.must([os.environ.get("CC", "cc"), *COMPILE, *(["-DBFS"] if shortest else []), "-o", "pan", "pan.c"])
        except BaseException:
            self.remove()
            raise

    def must(self, args):
        done = command(args, self.folder)
        if done.returncode or "rror:" in done.stdout:
            raise RuntimeError(f"{args[0]} {' '.join(self.defines)}: {done.stdout[-2000:]}")

    def run(self):
        start, cpu = time.monotonic(), children_cpu_seconds()
        text = command(["./pan", f"-m{DEPTH}", "-w21"], self.folder).stdout
        # The CPU time has other runs of ours in it that were going on: it is of use where there are none (--json).
        return self.parse(text, time.monotonic() - start, children_cpu_seconds() - cpu)

    def parse(self, text, seconds, cpu_seconds):
        def number(pattern, kind=int):
            found = re.search(pattern, text)
            return kind(found.group(1)) if found else 0

        error = re.search(r"^pan:\d+: (.*?) \(at depth", text, re.M)
        error = error.group(1) if error else None
        if error and error.startswith("assertion violated"):
            error += " " + self.invariant()
        full = ("Full statespace search for" in text and re.search(r"invalid end states\s*\+", text)
                and re.search(r"assertion violations\s*\+", text))
        bad = re.search(r"max search depth too small|Search not completed|out of memory|aborted|truncat|resizing", text)
        errors = re.search(r"errors: (\d+)", text)
        return Run(error=error or (None if errors and errors.group(1) == "0" else "no result"),
                   complete=bool(full) and not bad, states=number(r"(\d+) states, stored"),
                   transitions=number(r"(\d+) transitions"), depth=number(r"depth reached (\d+)"),
                   memory_mib=number(r"([\d.]+)\s+total actual memory", float), seconds=seconds,
                   cpu_seconds=cpu_seconds, unreached=self.unreached(text), text=text)

    def invariant(self):
        """What the comment beside the failed assert says it is for."""
        steps = command(["spin", "-t", "-p", *self.defines, MODEL], self.folder).stdout
        with open(os.path.join(self.folder, MODEL), encoding="utf-8") as f:
            source = f.read().splitlines()
        found = re.findall(rf"{re.escape(MODEL)}:(\d+), Error: assertion violated", steps)
        found = re.findall(r"I\d", source[int(found[0]) - 1]) if found else []
        return "(" + "|".join(found) + ")"

    @staticmethod
    def unreached(text):
        """Statements never executed, without the numbers that change with every edit."""
        found, where = collections.Counter(), None
        for line in text.splitlines():
            begin = re.match(r"unreached in (?:proctype )?(\S+)", line)
            if begin:
                where = begin.group(1)
            statement = re.match(r'\s+\S+?:\d+, state \d+, (".*")', line)
            if where and statement:
                # D_STEP is followed by a line number
                found[f"{where}: {re.sub(r'D_STEP[0-9]+', 'D_STEP', statement.group(1))}"] += 1
        return dict(sorted(found.items()))

    def trail(self):
        text = command(["spin", "-t", "-T", *self.defines, MODEL], self.folder).stdout
        return [line.strip() for line in text.splitlines() if re.match(r"\s*(thread|handler|the scanner) ?\d? ", line)]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Explorer:
    """Explores in the order planned. Ahead: the next checker is built while one runs."""

    def __init__(self, plan, ahead=True):
        self.plan, self.ahead = list(plan), ahead
        self.builder = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self.next = self.begin()

    def begin(self):
        return self.builder.submit(Pan, *self.plan.pop(0)) if self.plan else None

    def explore(self):
        """(Run, trail) of the next one."""
        pan = self.next.result()
        self.next = self.begin() if self.ahead else None
        try:
            result = pan.run()
            return result, pan.trail() if result.error else []
        finally:
            pan.remove()
            self.next = self.next or self.begin()

    def close(self):
        """Nothing is left behind, also not when it ends early."""
        if self.next:
            with contextlib.suppress(Exception):
                self.next.result().remove()
        self.builder.shutdown()


class Tap:
    def __init__(self, planned):
        self.number = self.failed = 0
        print(f"1..{planned}", flush=True)

    def check(self, good, name, result=None, why=()):
        self.number += 1
        if result:
            print(f"# {result.states} states, {result.transitions} transitions, depth {result.depth}, "
                  f"{result.memory_mib:.0f} MiB, {result.seconds:.1f} s: {result.error or 'no error'}")
        for line in why:
            print(f"# {line}")
        if not good:
            self.failed += 1
            if result:
                print("\n".join("# " + line for line in result.text.splitlines()[:60]))
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}", flush=True)


def differences(result, want):
    for key in ("states", "transitions"):
        if getattr(result, key) != want[key]:
            yield f"{key}: {getattr(result, key)}, expected {want[key]}"
    for text in sorted(set(result.unreached) | set(want["unreached"])):
        seen, wanted = result.unreached.get(text, 0), want["unreached"].get(text, 0)
        if seen != wanted:
            yield f"unreached {seen} times, expected {wanted}: {text}"


def check_shipped(tap, explorer, names, expected, version):
    result, trail = explorer.explore()
    name = " ".join(names)
    why = [f"unreached: {sum(result.unreached.values())} statements"]
    good = result.error is None and result.complete
    if not result.complete:
        why.append("the search was not complete")
    if good and expected is not None:
        want = expected["scenarios"].get(name)
        found = list(differences(result, want)) if want else ["no numbers"]
        why += found
        if expected["spin"] == version:
            good = not found
        elif found:
            why.append(f"not compared: the numbers are for spin {expected['spin']}, this is {version}")
    tap.check(good, f"shipped protocol, {name}: verified", result, why + trail)
    return result


def check_mutant(tap, explorer, mutant, scenario, _, want):
    result, trail = explorer.explore()
    good = result.error is not None and re.search(want, result.error) is not None
    tap.check(good, f"{mutant}, {scenario}: found", result, trail if mutant == "FOUNDING" else ())


def check_harmless(tap, explorer, mutant, scenario, why):
    result, trail = explorer.explore()
    tap.check(result.error is None and result.complete, f"{mutant}, {scenario}: no harm", result, [why] + trail)


def print_json(version):
    runs = [([s], False) for s in SCENARIOS] + [(["RACE", "FOUNDING"], True), (["RACE", "SEED"], False)]
    explorer = Explorer(runs, ahead=False)
    for names, _ in runs:
        result, _ = explorer.explore()
        print(json.dumps({"bench": "spin", "side": "spin", "version": version, "scenario": names[0],
                          "mutant": names[1] if len(names) > 1 else None, "error": result.error,
                          "complete": result.complete and result.error is None, "states": result.states,
                          "transitions": result.transitions, "memory_mib": result.memory_mib,
                          "seconds": round(result.seconds, 2), "cpu_seconds": round(result.cpu_seconds, 2)},
                         separators=(",", ":")), flush=True)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trail", metavar="MUTANT")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    version = spin_version()
    if version is None:
        print("spin is not installed")
        return 77
    if args.json:
        print_json(version)
        return 0
    if args.trail:
        scenario = [m[1] for m in MUTANTS if m[0] == args.trail]
        if not scenario:
            parser.error(f"no mutant {args.trail}")
        result, trail = Explorer([([scenario[0], args.trail], True)]).explore()
        print("\n".join(trail + [str(result.error)]))
        return 0
    expected = None
    if not args.update:
        with open(EXPECTED, encoding="utf-8") as f:
            expected = json.load(f)
    shipped = [[s] for s in SCENARIOS] + ([[s, "WIDE"] for s in WIDE] if args.all or args.only or args.update else [])
    mutants, harmless = ([m for m in some if args.all or args.only or m[2]] for some in (MUTANTS, HARMLESS))
    if args.update:
        mutants, harmless = [], []
    shipped = [s for s in shipped if args.only in " ".join(s)]
    mutants = [m for m in mutants if args.only in f"{m[0]} {m[1]}"]
    harmless = [h for h in harmless if args.only in f"{h[0]} {h[1]}"]
    plan = [(s, False) for s in shipped]
    plan += [([scenario, mutant], mutant == "FOUNDING") for mutant, scenario, _, _ in mutants]
    plan += [([scenario, mutant], False) for mutant, scenario, _, _ in harmless]
    tap, explorer, results = Tap(len(plan)), Explorer(plan), {}
    try:
        for names in shipped:
            results[" ".join(names)] = check_shipped(tap, explorer, names, expected, version)
        for mutant in mutants:
            check_mutant(tap, explorer, *mutant)
        for mutant, scenario, _, why in harmless:
            check_harmless(tap, explorer, mutant, scenario, why)
    finally:
        explorer.close()
    if args.update and not tap.failed and not args.only:
        keys = ("states", "transitions", "unreached")
        keep = {name: {key: getattr(r, key) for key in keys} for name, r in results.items()}
        with open(EXPECTED, "w", encoding="utf-8") as f:
            json.dump({"spin": version, "flags": COMPILE, "scenarios": keep}, f, indent="\t")
            f.write("\n")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
