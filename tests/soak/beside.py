# SPDX-License-Identifier: MIT
"""
What runs beside the torture: cases of the programs of tests/live, and real programs that check themselves (sqlite3; a program
that verifies every block of its heap, over each malloc that is installed).

Each says how it is to end, so that any other end is an anomaly.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), folder) for folder in ("live", "programs")]
from programs import Collapser  # noqa: E402  pylint: disable=wrong-import-position
import test_live  # noqa: E402  pylint: disable=wrong-import-position
import test_malloc  # noqa: E402  pylint: disable=wrong-import-position
import test_sqlite  # noqa: E402  pylint: disable=wrong-import-position

LIVE_PROGRAMS = ("access", "change", "ends", "fds", "forks", "jumps", "mapping", "pressure", "signals", "spark", "stacks", "start",
                 "workers")
# What is to be prepared, or watched, in a way that only tests/live has.
NOT_ALONE = ("a system call filter first", "preloaded", "reserve after malloc")
# These wait for the agent to find out by itself that there is something to manage.
LATE = ("spark", "start")
# Said when its own patience with pages that are to be taken away is over: the machine is busy.
TOO_SLOW = re.compile(r'not so: (!"absent"|live_now_ms\(\) - start)')
SQLITE_ROWS = 20_000
CHECK_ARGUMENTS = ("2", "48", "3", "600")
BARE_SECONDS = 120


def is_possible(program, case):
    """Of those that end, the ones with a status that is known and without a core dump."""
    return case in (*test_live.ENDS, "outlive the controller") if program == "ends" else case not in NOT_ALONE


def environment(program, folder):
    more = {"LIVE_FILE": os.path.join(folder, "live-file")}  # "outlive the controller" writes it
    return dict(more, **test_live.MALLOC_HUGE) if program == "start" else more


def wanted_status(program, case):
    if case in test_live.WATCHED_ENDS:
        return 128 + test_live.WATCHED_ENDS[case]
    if case == "status 7":
        return 7
    return test_live.ENDS.get(case, 0) if program == "ends" else 0


def wrong(program, case, status, text):
    """What is wrong with a case of tests/live that has ended so, or None. status None: it had to be killed."""
    if status is None:
        return "had to be killed"
    disturbed = re.search(r"disturbed ([1-9]\d*)", text)
    if program == "spark" and disturbed:
        return f"{disturbed.group(1)} calls were disturbed"
    if status == wanted_status(program, case) or TOO_SLOW.search(text):
        return None
    return f"status {status}, wanted {wanted_status(program, case)}"


class Program:
    """
    A program of others. stdin: its input or None. collapse: its memory is made huge from outside. What it prints bare is what it
    is to print.
    """

    def __init__(self, name, command, env=None, stdin=None, collapse=False):
        self.name, self.command, self.env, self.stdin, self.collapse = name, command, dict(env or {}), stdin, collapse
        self.printed = None

    def bare(self):
        """Run it once as it is; False: it cannot be run here."""
        try:
            done = subprocess.run(self.command, input=self.stdin or "", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  errors="replace", env=dict(os.environ, **self.env), timeout=BARE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return False
        self.printed = done.stdout
        return done.returncode == 0 and bool(done.stdout)


def installed(build):
    """Those that there are, each run once to know what it prints."""
    check = os.path.join(build, "tests", "programs", "alloc-check")
    found = [Program("sqlite3", ["sqlite3", ":memory:"], test_sqlite.ENVIRONMENT, stdin=test_sqlite.script(SQLITE_ROWS))]
    for name, _, library, huge in test_malloc.ALLOCATORS:
        if not library or test_malloc.preload_path(library):
            found.append(Program(f"alloc-check over {name}", [check, *CHECK_ARGUMENTS], **test_malloc.arguments(library, huge)))
    return [p for p in found if p.bare()]
