#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`hugenuma check` from outside: usage, exit statuses, tables, JSON, replay, and that threads change nothing.

    test_check.py [HUGENUMA]       default: $HN_BUILD/hugenuma, else build/hugenuma
"""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HUGENUMA = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HN_BUILD", ROOT + "/build") + "/hugenuma")
TIMEOUT = 120
# Quick ones; the last has several threads' worth of work.
SMALL = "lock_vs_lock_vs_lock"
SCENARIO = "local_vs_remote"


def same(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def found(pattern, text, what="output"):
    m = re.search(pattern, text, re.M)
    if not m:
        raise AssertionError(f"{what} has no match for {pattern!r}:\n{text}")
    return m


def check(*args, status=0, env=None, **kw):
    """Run `hugenuma check ARGS`; returns the completed process."""
    r = subprocess.run([HUGENUMA, "check", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       stdin=subprocess.DEVNULL, timeout=TIMEOUT, env=dict(os.environ, **(env or {})), **kw)
    same(r.returncode, status, f"exit status of {' '.join(args)}; {r.stderr}")
    return r


def results(*args):
    return json.loads(check(*args, "--json").stdout)["scenarios"]


def without_times(text):
    return re.sub(r" +\d+\.\d\d  ", "  ", text)


def test_usage_errors_are_1():
    for args, words in ((["--no-such"], "unrecognized option"), (["--threads", "0"], "from 1 to"),
                        (["--threads", "x"], "expected a whole number"), (["--bound", "-1"], "expected a whole number"),
                        (["--max-seconds", ""], "expected a whole number"), (["--locks", "x"], "shipped or steps"),
                        (["--replay", "a"], "expected one scenario"), (["--all", "--json"], "JSON has every step")):
        found(f"^hugenuma check: .*{words}", check(*args, status=1).stderr)


def test_bad_names_get_a_hint():
    found(f"'local_vs_remot': no such scenario; near: .*{SCENARIO}", check("local_vs_remot", status=1).stderr)
    found(f"'lcal_vs_rmote': no such scenario; near: .*{SCENARIO}", check("lcal_vs_rmote", status=1).stderr)
    found("'zzz': no such scenario; --list", check("zzz", status=1).stderr)
    found(r"'zzz\*': no such scenario; --list", check("zzz*", status=1).stderr)


def test_help():
    text = check("--help").stdout
    for option in ("--list", "--threads=N", "--bound=N", "--replay=SCHEDULE", "--json", "--all", "--quiet"):
        found(option, text)
    found("Exit status: 0 all", " ".join(text.split()))
    r = subprocess.run([HUGENUMA, "help", "check"], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
    same(r.stdout, text, "hugenuma help check")


def test_missing_checker_is_125():
    found("cannot run /nonexistent", check(status=125, env={"HUGENUMA_CHECK": "/nonexistent"}).stderr)


def test_list():
    lines = check("--list").stdout.splitlines()
    for line in lines:
        found(r"^\w+_vs_\w+(@rwp)? +R\d+( R\d+)*  +\S", line)
    names = [line.split()[0] for line in lines]
    same(len(set(names)), len(names), "names that are unique")
    same([s["name"] for s in json.loads(check("--list", "--json").stdout)], names)
    same([line.split()[0] for line in check("--list", "lock_*").stdout.splitlines()],
         [n for n in names if n.startswith("lock_")])


def test_both_ways_to_arm():
    same([s["name"] for s in results(SCENARIO, SCENARIO + "@rwp")], [SCENARIO, SCENARIO + "@rwp"])
    text = check(SCENARIO + "@rwp", "--replay", "d").stdout
    found("isolate, MOVE page 0 to staging", " ".join(text.split()))
    same("isolate" in check(SCENARIO, "--replay", "d").stdout, False, "isolate where arming is MOVE")


def test_table():
    lines = check(SMALL, SCENARIO).stdout.splitlines()
    same(len(lines), 4)
    found(r"^scenario +explored +blocked +longest +seconds$", lines[0])
    for name, line in ((SMALL, lines[1]), (SCENARIO, lines[2])):
        found(rf"^{name} +[\d,]+ +[\d,]+ +\d+ +\d+\.\d\d  holds$", line)
    found(r"^total .*  all hold$", lines[3])
    same(check(SMALL, "-q").stdout, "")
    same(len(check(SMALL).stdout.splitlines()), 2, "no total of one")


def test_patterns_and_order():
    same([r["name"] for r in results(SCENARIO, "lock_vs_*", SCENARIO)], [SCENARIO, SMALL])


def test_json():
    (r,) = results(SCENARIO)
    same((r["name"], r["verdict"], r["violation"], r["bounded"]), (SCENARIO, "holds", None, 0))
    for key in ("explored", "steps", "longest", "items"):
        same(r[key] > 0, True, key)


def test_threads_change_nothing():
    counts = []
    for threads in ("1", "2", "7"):
        rs = results(SMALL, SCENARIO, "--threads", threads)
        for r in rs:
            del r["seconds"]
        counts.append(rs)
    same(counts[1:], [counts[0]] * 2)
    same(len({without_times(check(SCENARIO, "--threads", t).stdout) for t in ("1", "2")}), 1)


def test_bound():
    unbounded = results(SCENARIO)[0]
    bounded = results(SCENARIO, "--bound", "0")[0]
    same((bounded["verdict"], bounded["bounded"] > 0), ("holds_within_bound", True))
    same(bounded["explored"] < unbounded["explored"], True, "fewer executions")
    found("holds within the bound$", check(SCENARIO, "--bound", "0").stdout)


def test_replay_of_what_holds():
    text = check(SCENARIO, "--replay", "").stdout
    found(r"^handler 1 +.*thread a", text)
    found(r"^-+  -+", text)
    found(r"^nothing is violated in these \d+ steps$", text)
    longer = check(SCENARIO, "--replay", "", "--all").stdout
    same(len(longer.splitlines()) > len(text.splitlines()), True, "--all shows more")
    j = json.loads(check(SCENARIO, "--replay", "", "--json").stdout)
    same(j["verdict"], "holds")


def test_replay_follows_the_schedule():
    first = json.loads(check(SCENARIO, "--replay", "d", "--json").stdout)
    same(first["verdict"], "holds")
    one, other = (check(SCENARIO, "--replay", s).stdout for s in ("c", "d"))
    same(one != other, True, "who is first shows")


def test_bad_schedules():
    found("expected letters a to d with counts, such as a12b3, not 'x1'",
          check(SCENARIO, "--replay", "cx1", status=1).stderr)
    found("not 'c0'", check(SCENARIO, "--replay", "c0", status=1).stderr)
    found("not 'c99999'", check(SCENARIO, "--replay", "c99999", status=1).stderr)
    # A warm handler sleeps at the beginning.
    found("handler 1 cannot go on at step 1", check(SCENARIO, "--replay", "a", status=1).stderr)


def test_time_limit():
    r = check("fault_vs_fault_vs_fault", "--max-seconds", "1", "--locks", "shipped", "--threads", "1", status=2)
    found("unfinished$", r.stdout)


def test_closed_output_is_noticed():
    with open("/dev/full", "w", encoding="ascii") as full:
        r = subprocess.run([HUGENUMA, "check", "--list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
    same(r.returncode, 2)
    found("cannot write", r.stderr)


def main():
    tests = [(n[len("test_"):].replace("_", " "), f) for n, f in globals().items() if n.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for i, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {i} - {name}", flush=True)
        except Exception as problem:  # an exception of any kind is a failed check
            failed += 1
            text = f"{type(problem).__name__}: {problem}".replace("\n", "\n# ")
            print(f"not ok {i} - {name}\n# {text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
