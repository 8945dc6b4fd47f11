#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What run-all makes of a test's output and exit status."""
import importlib.machinery
import importlib.util
import os
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("run_all", os.path.join(HERE, "..", "run-all"))
run_all = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_all", loader))
loader.exec_module(run_all)

# Name, exit status (None: timed out), output, (passed, failed, skipped).
JUDGED = [
    ("silent success counts once", 0, "", (1, 0, 0)),
    ("talkative success counts once", 0, "okay\nnothing to report\n", (1, 0, 0)),
    ("plain failure", 1, "oops\n", (0, 1, 0)),
    ("skip with a reason", 77, "no userfaultfd here\n", (0, 0, 1)),
    ("timeout", None, "working\n", (0, 1, 0)),
    ("killed by a signal", -11, "", (0, 1, 0)),
    ("every TAP line counts", 0, "1..3\nok 1 - a\nok 2 - b\nok 3 - c # SKIP no perf\n", (2, 0, 1)),
    ("TAP failure with exit status 0", 0, "ok 1 - a\nnot ok 2 - b\n", (1, 1, 0)),
    ("TAP failure and exit status are one failure", 1, "ok 1 - a\nnot ok 2 - b\n", (1, 1, 0)),
    ("exit status after passing lines", 3, "ok 1 - a\n", (1, 1, 0)),
    ("skip status after results is a failure", 77, "ok 1 - a\n", (1, 1, 0)),
    ("timeout after passing lines", None, "ok 1 - a\n", (1, 1, 0)),
    ("fewer lines than planned", 0, "1..3\nok 1 - a\n", (1, 1, 0)),
    ("two groups in one output", 0, "1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n", (3, 0, 0)),
    ("cmocka's way to skip", 0, "1..1\nnot ok 1 # SKIP a\n", (0, 0, 1)),
]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_timeout_ends_everything(folder):
    """A test that hangs is ended with the process it started."""
    log = os.path.join(folder, "log")
    command = ["sh", "-c", "sleep 300 & echo $!; wait"]
    status, text = run_all.run_logged({"cmd": command, "env": {}, "timeout": 1, "workdir": None}, folder, log)
    assert status is None, status
    end = time.monotonic() + 5
    while is_running(int(text)):  # it may take a moment to die
        assert time.monotonic() < end, "the child of the test is still running"
        time.sleep(0.02)


def test_missing_command(folder):
    test = {"cmd": ["/nonexistent/program"], "env": {}, "timeout": 5, "workdir": None}
    status, text = run_all.run_logged(test, folder, os.path.join(folder, "log"))
    assert status == 127 and "cannot start" in text, (status, text)


def test_signals_are_as_usual(folder):
    """Also when run-all itself is run by nohup or in the background."""
    def state():
        command = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
        status, text = run_all.run_logged({"cmd": command, "env": {}, "timeout": 5, "workdir": None}, folder,
                                          os.path.join(folder, "log"))
        assert status == 0, status
        return text
    before = state()
    old = {sig: signal.signal(sig, signal.SIG_IGN) for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        after = state()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        for sig, handler in old.items():
            signal.signal(sig, handler)
    assert before == after, (before, after)


def test_remarks_of_failures(folder):
    """The lines that tell why, wherever in the output, and not those of lines that passed or were skipped."""
    del folder
    text = "# seed 5\nnot ok 1 - a\nok 2 - b\n# fine\nnot ok 3 - c\n#  why\nnot ok 4 # SKIP d\n# so\nok 5 - e\n"
    assert run_all.remarks(text) == ["# seed 5", "not ok 1 - a", "# fine", "not ok 3 - c", "#  why"], run_all.remarks(text)
    assert run_all.remarks("ok 1 - a\nkilled\n") == []
    assert len(run_all.remarks("not ok - a\n" * 100)) == run_all.REMARKED_FAILURES


def main():
    failed = 0
    checks = []
    for name, status, text, expected in JUDGED:
        counts, _ = run_all.judge(status, text)
        checks.append((name, (counts.passed, counts.failed, counts.skipped) == expected, str(counts)))
    with tempfile.TemporaryDirectory() as folder:
        for test in (test_timeout_ends_everything, test_missing_command, test_signals_are_as_usual, test_remarks_of_failures):
            try:
                test(folder)
                checks.append((test.__name__, True, ""))
            except AssertionError as error:
                checks.append((test.__name__, False, str(error)))
    print(f"1..{len(checks)}")
    for number, (name, good, seen) in enumerate(checks, 1):
        print(f"{'' if good else 'not '}ok {number} - {name}")
        if not good:
            print(f"# saw: {seen}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
