#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does `hugenuma check` see what it is there for?

Each planted/NAME.patch breaks a copy of src/core; the checker, linked with that copy, must find the violation that the
patch's header names, in the scenario it names, and print planted/NAME.trace. Prints TAP.

    planted.py [--build DIR] [--update] [NAME...]        --update: write the traces anew instead of comparing
"""
import argparse
import difflib
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PLANTED = os.path.join(HERE, "planted")
KEYS = ("plants", "invariant", "scenario")
FLAGS = ["-std=gnu11", "-O2", "-w", "-fno-stack-protector", "-pthread"]


def header(patch):
    """{"plants": ..., "invariant": "I3", "scenario": ..., "options": ...} from the lines above the diff."""
    found = {"options": ""}
    with open(patch, encoding="utf-8") as f:
        for line in f:
            if line.startswith("---"):
                break
            m = re.match(r"(\w+): (.*)", line)
            if m:
                found[m.group(1).lower()] = m.group(2).strip()
    for key in KEYS:
        if key not in found:
            sys.exit(f"planted.py: {patch} does not say what '{key}' is")
    return found


def wraps(library):
    """The linker's options for what src/check/locks.c stands in for."""
    symbols = subprocess.run(["nm", library], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [f"-Wl,--wrap={name}" for name in sorted(set(re.findall(r" T __wrap_(\w+)", symbols)))]


def build(args, patch, tree):
    """The checker on a patched copy of src/core, or None when it does not come about."""
    core, program = os.path.join(tree, "src", "core"), os.path.join(tree, "check")
    library = os.path.join(args.build, "libhn-check.a")
    shutil.copytree(os.path.join(SOURCE, "src", "core"), core)
    with open(patch, encoding="utf-8") as f:
        done = subprocess.run(["patch", "-p1", "--no-backup-if-mismatch", "-F0", "-d", tree], stdin=f,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        done = subprocess.run([*args.cc.split(), *FLAGS, "-I" + os.path.join(tree, "src"),
                               *sorted(glob.glob(core + "/*.c")), *wraps(library), "-Wl,--whole-archive", library,
                               "-Wl,--no-whole-archive", "-ljansson", "-o", program],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print("# " + done.stdout.replace("\n", "\n# "))
        return None
    return program


def report_of(output):
    """What is printed of a violation, without the table around it, which has times in it."""
    m = re.search(r"^\w+: .*?^  hugenuma check .*?$", output, re.M | re.S)
    return m.group(0) + "\n" if m else None


def differences(golden, report):
    with open(golden, encoding="utf-8") as f:
        return list(difflib.unified_diff(f.read().splitlines(), report.splitlines(), "expected", "printed", lineterm=""))


def played_again(program, what, report):
    """The schedule that was printed shows the same execution, and another number of threads finds the same one."""
    schedule = re.search(r"--replay (\w+)$", report).group(1)
    replayed = subprocess.run([program, what["scenario"], "--replay", schedule], stdout=subprocess.PIPE, text=True)
    if replayed.returncode != 3 or replayed.stdout.strip() != report.split("\n\n", 1)[1].strip():
        return [f"the replay of {schedule} differs", *replayed.stdout.splitlines()]
    for threads in ("1", "5"):
        other = subprocess.run([program, what["scenario"], *what["options"].split(), "--threads", threads],
                               stdout=subprocess.PIPE, text=True)
        if report_of(other.stdout) != report:
            return [f"--threads {threads} finds something else", *other.stdout.splitlines()]
    return []


def look(args, name, patch, tree):
    """What is wrong, as lines; nothing: the bug is found and shown as expected."""
    what = header(patch)
    golden = patch[:-len(".patch")] + ".trace"
    program = build(args, patch, tree)
    if not program:
        return [f"{name}.patch does not apply to src/core, or the result does not build"]
    done = subprocess.run([program, what["scenario"], *what["options"].split()], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    report = report_of(done.stdout)
    if report and not args.update:
        again = played_again(program, what, report)
        if again:
            return again
    if done.returncode != 3 or not report:
        return [f"exit status {done.returncode}, wanted 3", *done.stdout.splitlines()]
    if not re.search(rf"^{what['invariant']} violated: ", report, re.M):
        return [f"not {what['invariant']}", *report.splitlines()]
    if args.update:
        with open(golden, "w", encoding="utf-8") as f:
            f.write(report)
        return []
    if not os.path.exists(golden):
        return [f"there is no {golden}; planted.py --update makes it"]
    return differences(golden, report)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("HN_BUILD", os.path.join(SOURCE, "build")))
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    parser.add_argument("--update", action="store_true", help="write the traces anew")
    parser.add_argument("name", nargs="*", help="only these (all)")
    args = parser.parse_args()
    names = args.name or sorted(os.path.basename(p)[:-len(".patch")] for p in glob.glob(PLANTED + "/*.patch"))
    failed = 0
    print(f"1..{len(names)}")
    for number, name in enumerate(names, 1):
        patch = os.path.join(PLANTED, name + ".patch")
        with tempfile.TemporaryDirectory(prefix="hugenuma-planted-") as tree:
            wrong = look(args, name, patch, tree)
        failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - found: {header(patch)['plants']}")
        for line in wrong:
            print(f"# {line}")
        sys.stdout.flush()
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
