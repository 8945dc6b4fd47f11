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
import threading
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
        self.injector = os.path.join(self.path, "tests", "inject", "libinject-agent.so")
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

    def __init__(self, status, text, report, splits=0, left_kib=None):
        self.status, self.text, self.report, self.splits, self.left_kib = status, text, report, splits, left_kib

    def stale_words(self):
        found = re.search(r"^FAIL: (\d+) stale or lost words$", self.text, re.M)
        return int(found.group(1)) if found else 0

    def words_checked(self):
        found = re.search(r"^torture: (\d+) words checked", self.text, re.M)
        return int(found.group(1)) if found else 0

    def total(self, key):
        return (self.report or {}).get("totals", {}).get(key, 0)


def as_in_a_shell(status):
    """`hugenuma run` dies of the signal that ended the program."""
    return status if status >= 0 else 128 - status


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


def staging_kib(pid):
    """What is in the agent's staging and trash: mappings whose only userfaultfd mode is write-protection."""
    sum_kib = kib = 0
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
        for line in f:
            key, _, rest = line.partition(":")
            if key == "Rss":
                kib = int(rest.split()[0])
            elif key == "Swap":
                kib += int(rest.split()[0])
            elif key == "VmFlags" and "uw" in rest.split() and "um" not in rest.split():
                sum_kib += kib
    return sum_kib


class Paused:
    """
    In the middle of a run: with every page back in place, what is left in staging? left_kib: None when nobody can tell, as it
    has ended; -1 when it lives and cannot be paused.
    """

    def __init__(self, build, child, seconds):
        self.build, self.child, self.seconds, self.left_kib = build, child, seconds, None
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def ctl(self, word, pid):
        return subprocess.run([self.build.command, word, str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=self.build.environment(), check=False).returncode == 0

    def look(self):
        pid = program_of(self.child, "torture")
        time.sleep(self.seconds / 2)
        try:
            if not pid:
                return
            if not self.ctl("pause", pid):
                with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as f:
                    self.left_kib = -1 if f.read(1) else None
                return
            for _ in range(100):  # a handler may still have an old page to get rid of, when it gets a processor
                self.left_kib = staging_kib(pid)
                if not self.left_kib:
                    break
                time.sleep(0.05)
            self.ctl("resume", pid)
        except OSError:
            self.left_kib = None  # it has ended

    def result(self):
        self.thread.join()
        return self.left_kib


def run(build, run_options, torture_options, seconds, nodes=VIRTUAL, slow=1, split=None, env=None):
    """
    Run torture for about `seconds` under build's hugenuma, on a machine that is `slow` times slower than most. split: the options
    of a splitter beside it; then it is paused in the middle, too, and looked at.
    """
    stuck = STUCK_SECONDS * slow
    with tempfile.TemporaryDirectory(prefix="hugenuma-torture-") as scratch:
        path = os.path.join(scratch, "report.json")
        command = [build.command, "run", "--quiet", *nodes, "--start-now", "--min-mib", "2",
                   "--report", path, *run_options, "--", build.torture, "--seconds", str(seconds),
                   "--stuck-seconds", str(stuck), *torture_options]
        # A process group of its own, so that a run that hangs goes with its children.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, errors="replace", env=dict(build.environment(), **(env or {})),
                                 start_new_session=True)
        splitter = paused = None
        try:
            if split is not None:
                paused = Paused(build, child, seconds)
                splitter = Splitter(build.splitter, child, split)
            text, _ = child.communicate(timeout=seconds + stuck + GRACE_SECONDS * slow)
            status = as_in_a_shell(child.returncode)
        except subprocess.TimeoutExpired:
            kill_group(child)
            text, _ = child.communicate()
            status = None
        except BaseException:
            kill_group(child)
            raise
        return Result(status, text, read_report(path), splitter.count() if splitter else 0,
                      paused.result() if paused else None)
