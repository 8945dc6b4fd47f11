# SPDX-License-Identifier: MIT
"""What run_torture, run_split and planted_bug share: where things are, TAP lines, one run of torture under `hugenuma run`."""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
SKIP_STATUS = 77
# Beyond torture's own time: set-up, last checks, and its own patience with a thread that hangs.
STUCK_SECONDS = 20
GRACE_SECONDS = 40
VIRTUAL = ("--topology", "node:4 pu:2")


def default_build():
    return os.environ.get("HN_BUILD", os.path.join(SOURCE, "build"))


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def check(self, good, name):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)
        return good

    def note(self, text):
        for line in str(text).splitlines():
            print(f"# {line}", flush=True)

    def finish(self):
        print(f"1..{self.count}")
        return 1 if self.failed or not self.count else 0


class Build:
    """A build directory: the command, the agent it loads, and the program to torture it with."""

    def __init__(self, path, torture=None):
        self.path = os.path.abspath(path)
        self.command = os.path.join(self.path, "hugenuma")
        self.agent = os.path.join(self.path, "libhugenuma-agent.so")
        self.torture = torture or os.path.join(self.path, "tests", "torture", "torture")
        self.splitter = os.path.join(os.path.dirname(self.torture), "splitter")

    def missing(self):
        return [f for f in (self.command, self.agent, self.torture) if not os.access(f, os.R_OK)]

    def require(self):
        missing = self.missing()
        if missing:
            sys.exit(f"{os.path.basename(sys.argv[0])}: not built: {', '.join(missing)}; try 'make'")

    def environment(self):
        return dict(os.environ, HUGENUMA_AGENT=self.agent)


def skip_unless_possible(build):
    """Without permission or kernel support there is nothing to torture; doctor says what is missing."""
    done = subprocess.run([build.command, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=build.environment(), timeout=60)
    if done.returncode == 1:
        print("\n".join("# " + line for line in done.stdout.splitlines()))
        print("1..0")
        print("`hugenuma doctor` says that nothing can be managed here")
        sys.exit(SKIP_STATUS)


class Result:
    """Status is None when the run had to be killed."""

    def __init__(self, status, text, report, splits=0):
        self.status, self.text, self.report, self.splits = status, text, report, splits

    def stale_words(self):
        found = re.search(r"^FAIL: (\d+) stale or lost words$", self.text, re.M)
        return int(found.group(1)) if found else 0

    def words_checked(self):
        found = re.search(r"^torture: (\d+) words checked", self.text, re.M)
        return int(found.group(1)) if found else 0

    def total(self, key):
        return (self.report or {}).get("totals", {}).get(key, 0)


def read_report(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError):
        return None


def kill_group(child):
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def program_of(child, name):
    """The process that the controller `child` has started as the program `name`; None when it ends before."""
    while child.poll() is None:
        for path in glob.glob(f"/proc/{child.pid}/task/*/children"):
            try:
                with open(path, encoding="ascii") as f:
                    pids = f.read().split()
                for pid in pids:
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
                        if f.read().strip() == name:
                            return int(pid)
            except OSError:
                pass  # it has ended meanwhile
        time.sleep(0.002)
    return None


class Splitter:
    """Splits the huge pages of the program that the controller `child` runs, from outside, until that ends (splitter.c)."""

    def __init__(self, splitter, child, options):
        pid = program_of(child, "torture")
        self.child = pid and subprocess.Popen([splitter, *options, str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                              stderr=subprocess.STDOUT, text=True)

    def count(self):
        """How many it has split. The program has ended, and so does this one."""
        if not self.child:
            return 0
        text, _ = self.child.communicate()
        return sum(int(n) for n in re.findall(r"^splitter: \w+: \d+ pages tried, (\d+) split$", text, re.M))


def run(build, run_options, torture_options, seconds, nodes=VIRTUAL, slow=1, split=None):
    """
    Run torture for about `seconds` under build's hugenuma, on a machine that is `slow` times slower than most. split: the options
    of a splitter beside it.
    """
    stuck = STUCK_SECONDS * slow
    with tempfile.TemporaryDirectory(prefix="hugenuma-torture-") as scratch:
        path = os.path.join(scratch, "report.json")
        command = [build.command, "run", "--quiet", *nodes, "--start-now", "--min-mib", "2",
                   "--report", path, *run_options, "--", build.torture, "--seconds", str(seconds),
                   "--stuck-seconds", str(stuck), *torture_options]
        # A process group of its own, so that a run that hangs goes with its children.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, errors="replace", env=build.environment(), start_new_session=True)
        try:
            splitter = Splitter(build.splitter, child, split) if split is not None else None
            text, _ = child.communicate(timeout=seconds + stuck + GRACE_SECONDS * slow)
            status = child.returncode
        except subprocess.TimeoutExpired:
            kill_group(child)
            text, _ = child.communicate()
            status = None
        except BaseException:
            kill_group(child)
            raise
        return Result(status, text, read_report(path), splitter.count() if splitter else 0)
