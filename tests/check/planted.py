#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does `hugenuma check` see what it is there for?

Each planted/NAME.patch breaks a copy of src/core, or of a file of src/check, where that stands for the backend (ops);
the checker, linked with that copy, must find the violation that the patch's header names, in the scenario it names,
and print planted/NAME.trace. Where the header says that nothing is violated (Invariant: none), every execution of all
scenarios it names is explored, and how many those are is planted/NAME.counts. Prints TAP.

    planted.py [--build DIR] [--update] [NAME...]        --update: write the traces and counts anew instead of comparing

The header, to the first empty line; what follows it, up to the diff, is for people:

    Plants:     what is wrong, in one line
    Mirrors:    the races of the kernel it is like (optional)
    Invariant:  I1 .. I8, or none
    Scenario:   what to explore; several names and patterns, in several lines if need be, for `none`
    Options:    of hugenuma check (optional)
    Applies:    another patch of this project, to be applied first; behind its name the files of it that are wanted, if
                not all are (optional, several)
"""
import argparse
import concurrent.futures
import difflib
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PLANTED = os.path.join(HERE, "planted")
KEYS = ("plants", "invariant", "scenario")
FLAGS = ["-std=gnu11", "-O2", "-w", "-fno-stack-protector", "-pthread"]
HOLDS, VIOLATED = 0, 3  # exit statuses of hugenuma check
SECONDS = 300  # for one search; they all take seconds at most


class Wrong(Exception):
    """What is wrong with one planted bug, as lines."""


def run(command, **kw):
    """The exit status and all that was printed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
                              **kw)
    except subprocess.TimeoutExpired:
        raise Wrong(f"no end after {SECONDS} s: {' '.join(command)}")
    return done.returncode, done.stdout


def must(command, **kw):
    status, output = run(command, **kw)
    if status != 0:
        raise Wrong(f"{command[0]} ended with status {status}\n{output}")
    return output


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Bug:
    """A planted bug, from its patch's header."""

    def __init__(self, name):
        self.name = name
        self.text = read(os.path.join(PLANTED, name + ".patch"))
        found, self.applies, self.scenarios = {}, [], []
        for m in re.finditer(r"^(\w+): +(.*?) *$", self.text.split("\n\n", 1)[0], re.M):
            if m.group(1) == "Applies":
                self.applies.append(m.group(2).split())
            elif m.group(1) == "Scenario":
                self.scenarios += m.group(2).split()
            found[m.group(1).lower()] = m.group(2)
        for key in KEYS:
            if key not in found:
                sys.exit(f"planted.py: {name}.patch does not say what '{key}' is")
        self.plants, self.invariant = found["plants"], found["invariant"]
        self.options = found.get("options", "").split()
        self.found = self.invariant != "none"
        self.golden = os.path.join(PLANTED, name + (".trace" if self.found else ".counts"))

    def patches(self):
        """The texts to be applied, in order."""
        for path, *files in self.applies:
            text = read(os.path.join(SOURCE, path))
            if files:
                parts = re.split(r"^(?=diff --git )", text, flags=re.M)
                text = "".join(p for p in parts if any(p.startswith(f"diff --git a/{f} ") for f in files))
            yield text
        if re.search(r"^--- ", self.text, re.M):
            yield self.text

    def replay_options(self):
        return [o for o in self.options if o.startswith("--locks=")]


# ---- building ----

def wraps(library):
    """The linker's options for what src/check/locks.c stands in for."""
    symbols = must(["nm", library])
    return [f"-Wl,--wrap={name}" for name in sorted(set(re.findall(r" T __wrap_(\w+)", symbols)))]


def compile_one(args, tree, source, layer="core"):
    """The object of src/LAYER/SOURCE of the tree."""
    path = os.path.join(tree, "src", layer, source)
    must([*args.cc.split(), *FLAGS, "-I" + os.path.join(tree, "src"),
          "-I" + os.path.join(SOURCE, "include"), "-c", path, "-o", path + ".o"])
    return path + ".o"


def compile_core(args, tree, pool):
    """{name: object} of the unpatched engine: most of it is the same with each patch."""
    core = os.path.join(tree, "src", "core")
    shutil.copytree(os.path.join(SOURCE, "src", "core"), core)
    names = [os.path.basename(p) for p in sorted(glob.glob(core + "/*.c"))]
    return dict(zip(names, pool.map(lambda n: compile_one(args, tree, n), names)))


def build(args, bug, objects, tree):
    """The checker on a patched copy of src/core."""
    program = os.path.join(tree, "check")
    library = os.path.join(args.build, "libhn-check.a")
    for layer in ("core", "check"):
        shutil.copytree(os.path.join(SOURCE, "src", layer), os.path.join(tree, "src", layer))
    core, check = set(), set()
    for text in bug.patches():
        core |= set(re.findall(r"^\+\+\+ b/src/core/(\S+)", text, re.M))
        check |= set(re.findall(r"^\+\+\+ b/src/check/(\S+\.c)", text, re.M))
        must(["patch", "-p1", "--no-backup-if-mismatch", "-F0", "-s", "-d", tree], input=text)
    if not core | check:
        raise Wrong("nothing was patched")
    again = set(objects) if any(p.endswith(".h") for p in core) else core
    new = dict(objects, **{name: compile_one(args, tree, name) for name in again})
    theirs = {p for p in glob.glob(library + ".p/*.o") if not p.endswith(tuple(f"_check_{name}.o" for name in check))}
    theirs |= {compile_one(args, tree, name, "check") for name in check}
    must([*args.cc.split(), *FLAGS, *new.values(), *wraps(library), *sorted(theirs), "-ljansson", "-o", program])
    return program


# ---- looking ----

def compare(bug, printed, update):
    if update:
        with open(bug.golden, "w", encoding="utf-8") as f:
            f.write(printed)
        return
    if not os.path.exists(bug.golden):
        raise Wrong(f"there is no {bug.golden}; planted.py --update makes it")
    lines = list(difflib.unified_diff(read(bug.golden).splitlines(), printed.splitlines(), "expected", "printed",
                                      lineterm=""))
    if lines:
        raise Wrong("\n".join(lines))


def report_of(output):
    """What is printed of a violation, without the table around it, which has times in it."""
    m = re.search(r"^\w+(?:@rwp)?: .*?^  hugenuma check .*?$", output, re.M | re.S)
    return m.group(0) + "\n" if m else None


def play_again(bug, program, report):
    """The schedule that was printed shows the same execution, and another number of threads finds the same one."""
    schedule = re.search(r"--replay (\w+)$", report, re.M).group(1)
    status, output = run([program, *bug.scenarios, *bug.replay_options(), "--replay", schedule])
    if status != VIOLATED or output.strip() != report.split("\n\n", 1)[1].strip():
        raise Wrong(f"the replay of {schedule} differs\n{output}")
    for threads in ("1", "5"):
        output = run([program, *bug.scenarios, *bug.options, "--threads", threads])[1]
        if report_of(output) != report:
            raise Wrong(f"--threads {threads} finds something else\n{output}")


def look_for_violation(bug, program, update):
    status, output = run([program, *bug.scenarios, *bug.options])
    report = report_of(output)
    if status != VIOLATED or not report:
        raise Wrong(f"exit status {status}, wanted {VIOLATED}\n{output}")
    if not re.search(rf"^{bug.invariant} violated: ", report, re.M):
        raise Wrong(f"not {bug.invariant}\n{report}")
    play_again(bug, program, report)
    compare(bug, report, update)
    return ", ".join(re.findall(r"^I\d violated|^\d+ steps, \d+ preemptions?", report, re.M))


def explore_all(bug, program, update):
    """Everything is explored, and how much that is stands on file: nothing was left out."""
    status, output = run([program, *bug.scenarios, *bug.options])
    if status != HOLDS:
        raise Wrong(f"exit status {status}, wanted {HOLDS}\n{output}")
    table = re.sub(r"^(\S+ +[\d,]+ +[\d,]+ +\d+) +\d+\.\d+  ", r"\1  ", output, flags=re.M)
    compare(bug, re.sub(r" +seconds$", "", table, flags=re.M), update)
    return f"holds in {re.findall('[0-9][0-9,]*', output.splitlines()[-1])[0]} executions"


def look(args, bug, objects):
    """(fine, what to print)"""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hugenuma-planted-") as tree:
        try:
            program = build(args, bug, objects, tree)
            short = (look_for_violation if bug.found else explore_all)(bug, program, args.update)
        except Wrong as wrong:
            return False, str(wrong)
    return True, f"{short}, {time.monotonic() - start:.1f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("HN_BUILD", os.path.join(SOURCE, "build")))
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    parser.add_argument("--update", action="store_true", help="write the traces and counts anew")
    parser.add_argument("name", nargs="*", help="only these (all)")
    args = parser.parse_args()
    names = args.name or sorted(os.path.basename(p)[:-len(".patch")] for p in glob.glob(PLANTED + "/*.patch"))
    bugs = [Bug(name) for name in names]
    failed = 0
    print(f"1..{len(bugs)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hugenuma-planted-") as tree, \
            concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = compile_core(args, tree, pool)
        for number, (bug, (fine, text)) in enumerate(zip(bugs, pool.map(lambda b: look(args, b, objects), bugs)), 1):
            failed += not fine
            print(f"{'ok' if fine else 'not ok'} {number} - {'found' if bug.found else 'cleared'}: {bug.plants}")
            print("# " + f"{bug.name}: {text}".rstrip().replace("\n", "\n# "), flush=True)
    return 1 if failed or not bugs else 0


if __name__ == "__main__":
    sys.exit(main())
