# SPDX-License-Identifier: MIT
"""What the tests of unmodified programs share: running under hugenuma, watching huge pages, checking the report.

A test runs its program once bare and once under `hugenuma run`, both watched, and then compares. It prints TAP lines,
or exits with 77 and a reason when the machine cannot do it.

Environment: HN_PROGRAMS=full asks for the long form (`make test-programs`); HN_PROGRAM_RESULTS names a file that gets a
line of JSON for each program and setting.
"""
import ctypes
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("HN_BUILD", os.path.join(HERE, "..", "..", "build"))
HUGENUMA = os.path.join(BUILD, "hugenuma")
SKIP_STATUS = 77
FULL = os.environ.get("HN_PROGRAMS") == "full"
RESULTS = os.environ.get("HN_PROGRAM_RESULTS")

# As hard as the settings go: everything that is huge is armed fifty times a second, on four virtual nodes where every
# page starts on a node that its address decides.
AGGRESSIVE = ["--topology", "node:4 pu:2", "--initial-node", "interleave", "--period-ms", "20", "--window-mib", "1024",
              "--min-mib", "8"]

# The policy users get, which leaves pages alone once they are where they are used, and the one that never does:
# every hint migrates its page, so that a program of one thread, too, works on memory that keeps moving.
POLICIES = [("default", []), ("always", ["--policy", "always"])]


# glibc's malloc: huge pages asked for, and one heap that grows by 64 MiB and is never mapped piece by piece.
GLIBC_HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:"
                                "glibc.malloc.top_pad=67108864"}


# A test that is ended goes the way of an exception, so that its servers are stopped.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def mib(n):
    return n << 20


def skip(reason):
    print(reason)
    sys.exit(SKIP_STATUS)


def which(name):
    return shutil.which(name)


def need_program(name):
    if not which(name):
        skip(f"{name} is not installed")


def need_full():
    if not FULL:
        skip("only in `make test-programs`")


def need_huge_pages():
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="ascii") as f:
            if "[never]" in f.read():
                skip("transparent huge pages are switched off")
    except FileNotFoundError:
        skip("this kernel has no transparent huge pages")


def need_manageable():
    """Skip where `hugenuma doctor` says that `run` would not manage anything."""
    done = subprocess.run([HUGENUMA, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 1:
        print(done.stdout)
        skip("hugenuma doctor: nothing can be managed here")


class Tap:
    """Numbered results; `finish` makes the plan and ends the script."""

    def __init__(self):
        self.number = self.failed = 0
        self.failed_before = 0

    def next(self):
        self.number += 1
        return self.number

    def check(self, name, good, seen=None):
        print(f"{'' if good else 'not '}ok {self.next()} - {name}", flush=True)
        if not good:
            self.failed += 1
            if seen is not None:
                print("# saw: " + str(seen).strip().replace("\n", "\n#      "), flush=True)
        return good

    def skip(self, name, reason):
        print(f"ok {self.next()} - {name} # SKIP {reason}", flush=True)

    def equal(self, name, seen, expected):
        return self.check(name, seen == expected, f"{seen!r}\nexpected: {expected!r}")

    def record(self, program, version, test, variant, run, slowdown=None):
        """Close a row of the table: everything checked since the row before was about this."""
        totals = run.report["totals"] if run.report else {}
        row = {"program": program, "version": version, "test": test, "variant": variant,
               "result": "FAILED" if self.failed > self.failed_before else "as bare",
               "migrated_pages": totals.get("migrated_pages", 0), "armed_count": totals.get("armed_count", 0),
               "samples_count": totals.get("samples_count", 0), "managed_peak_pages": totals.get("managed_peak_pages", 0),
               "lost_huge_pages": totals.get("lost_huge_pages", 0),
               "processes_count": run.report["managed_count"] if run.report else 0,
               "huge_mib": run.huge_bytes >> 20, "seconds": round(run.seconds, 1),
               "slowdown": round(slowdown, 2) if slowdown else None}
        self.failed_before = self.failed
        print(f"# row: {json.dumps(row)}", flush=True)
        if RESULTS:
            with open(RESULTS, "a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")

    def finish(self):
        print(f"1..{self.number}")
        sys.exit(1 if self.failed else 0)


def memory_folder():
    """Where files are not written to a disk, whose pace would be the test's; None for the usual place."""
    try:
        room = os.statvfs("/dev/shm")
        return "/dev/shm" if room.f_bavail * room.f_frsize >= mib(2048) and os.access("/dev/shm", os.W_OK) else None
    except OSError:
        return None


def children_of(pid):
    """The process and everything below it, as far as it can be seen now."""
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                    queue += [int(child) for child in f.read().split()]
        except OSError:
            pass
    return found


def huge_bytes(pid):
    """Anonymous memory of a process that is mapped by huge pages."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                if line.startswith("AnonHugePages:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


class Collapser:
    """Makes the memory of a process tree huge from outside, for programs that do not ask: MADV_COLLAPSE ten times a second.

    It needs no setting of the system. As khugepaged, it meets pages that are armed and must leave them alone.
    """
    PIDFD_OPEN, PROCESS_MADVISE, MADV_COLLAPSE = 434, 440, 25
    PIECE = mib(2)

    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    def __init__(self, pid, least_mib=4):
        self.pid, self.least = pid, mib(least_mib)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def ranges(self, pid):
        """Private anonymous read-write memory of some size, as whole huge pages."""
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as f:
            for line in f:
                words = line.split()
                if words[1] != "rw-p" or words[4] != "0" or (len(words) > 5 and words[5] != "[heap]"):
                    continue
                start, end = (int(number, 16) for number in words[0].split("-"))
                if end - start >= self.least:
                    yield -(-start // self.PIECE) * self.PIECE, end // self.PIECE * self.PIECE

    def collapse(self, pid):
        fd = self.libc.syscall(self.PIDFD_OPEN, pid, 0)
        if fd < 0:
            return
        try:
            for start, end in self.ranges(pid):
                for at in range(start, end, self.PIECE):
                    vector = self.Vector(at, self.PIECE)
                    self.libc.syscall(self.PROCESS_MADVISE, fd, ctypes.byref(vector), ctypes.c_size_t(1),
                                      self.MADV_COLLAPSE, 0)
                    if self.stopping.is_set():
                        return
        finally:
            os.close(fd)

    def work(self):
        while not self.stopping.wait(0.1):
            for pid in children_of(self.pid):
                try:
                    self.collapse(pid)
                except OSError:
                    pass

    def stop(self):
        self.stopping.set()
        self.thread.join()


class HugeWatch:
    """Looks at a process tree a few times a second and remembers the most huge memory seen at one time."""

    def __init__(self, pid):
        self.pid = pid
        self.peak_bytes = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopping.wait(0.25):
            self.peak_bytes = max(self.peak_bytes, sum(huge_bytes(pid) for pid in children_of(self.pid)))

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.peak_bytes


class Run:
    """A program started bare or under hugenuma. `wait` fills in status, stdout, stderr, huge_bytes, report, seconds."""

    def __init__(self, command, managed, env=None, stdin=None, options=(), cwd=None, collapse=False, prefix=(),
                 hugenuma=HUGENUMA):
        self.folder = tempfile.TemporaryDirectory(prefix="hugenuma-test-")
        self.report_path = os.path.join(self.folder.name, "report.json")
        self.managed = managed
        self.report = None
        if managed:
            command = [hugenuma, "run", *AGGRESSIVE, *options, "--report", self.report_path, "--", *command]
            # What runs as another user writes its report there, too.
            os.chmod(self.folder.name, 0o777)
        self.out = open(os.path.join(self.folder.name, "stdout"), "w+", encoding="utf-8", errors="replace")
        self.err = open(os.path.join(self.folder.name, "stderr"), "w+", encoding="utf-8", errors="replace")
        self.start = time.monotonic()
        self.process = subprocess.Popen([*prefix, *command], stdin=stdin or subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.err, env=dict(os.environ, **(env or {})), cwd=cwd)
        self.watch = HugeWatch(self.process.pid)
        self.collapser = Collapser(self.process.pid) if collapse else None

    def text(self, file):
        file.seek(0)
        return file.read()

    def wait(self, timeout=600):
        try:
            self.status = self.process.wait(timeout)
            self.status = self.status if self.status >= 0 else 128 - self.status  # as in a shell
        except subprocess.TimeoutExpired:
            for pid in reversed(children_of(self.process.pid)):
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            self.process.wait()
            self.status = "timed out"
        self.seconds = time.monotonic() - self.start
        if self.collapser:
            self.collapser.stop()
        self.huge_bytes = self.watch.stop()
        self.stdout, self.stderr = self.text(self.out), self.text(self.err)
        self.out.close()
        self.err.close()
        if os.path.exists(self.report_path):
            with open(self.report_path, encoding="utf-8") as f:
                self.report = json.load(f)
        self.folder.cleanup()
        kind = "managed" if self.managed else "bare"
        print(f"# {kind}: {self.seconds:.1f} s, {self.huge_bytes >> 20} MiB in huge pages at most", flush=True)
        if self.managed:
            print("# " + self.stderr.strip().replace("\n", "\n# "), flush=True)
        return self


class OtherUser:
    """For servers that refuse to be root: hugenuma and its library where another user can reach them, and how to get there.

    CAP_SYS_PTRACE comes along as an ambient capability, which is what a service manager would give.
    """

    def __init__(self, name):
        need_program("setpriv")
        try:
            self.entry = pwd.getpwnam(name)
        except KeyError:
            skip(f"there is no user {name}")
        if os.geteuid() != 0:
            skip(f"only root can become {name}")
        self.folder = tempfile.TemporaryDirectory(prefix="hn-other-user-")
        os.chmod(self.folder.name, 0o755)
        for file in (HUGENUMA, os.path.join(BUILD, "libhugenuma-agent.so")):
            shutil.copy(file, self.folder.name)
        self.hugenuma = os.path.join(self.folder.name, "hugenuma")
        self.become = ["setpriv", f"--reuid={name}", f"--regid={self.entry.pw_gid}", "--clear-groups"]
        self.become_able = [*self.become, "--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"]

    def make_folder(self, path):
        os.mkdir(path, 0o700)
        os.chown(path, self.entry.pw_uid, self.entry.pw_gid)
        return path


def conserved(o, handlers):
    """The first equation of the counters that does not hold, or None (DESIGN: I5).

    A process may end while each of its handlers is between two counts of one fault, and the scanner within a batch of 32.
    """
    outcomes = ("local_count", "refused_count", "migrated_pages", "failed_count", "raced_count")
    if not 0 <= o["samples_count"] - sum(o[key] for key in outcomes) <= handlers:
        return f"samples {o['samples_count']} != " + " + ".join(f"{key} {o[key]}" for key in outcomes)
    if abs(o["armed_count"] - o["disarmed_count"] - o["armed_now_pages"]) > 32 + handlers:
        return f"armed {o['armed_count']} != disarmed {o['disarmed_count']} + armed now {o['armed_now_pages']}"
    return None


def check_managed(tap, name, run, least_huge_mib):
    """What must hold for every program: huge pages were there, were managed and migrated, and the books balance."""
    tap.check(f"{name}: at least {least_huge_mib} MiB were in huge pages", run.huge_bytes >= mib(least_huge_mib),
              f"{run.huge_bytes >> 20} MiB")
    if not tap.check(f"{name}: a report was written", run.report is not None, run.stderr):
        return
    totals = run.report["totals"]
    summary = {key: totals[key] for key in ("managed_peak_pages", "armed_count", "samples_count", "migrated_pages",
                                            "failed_count", "raced_count", "lost_huge_pages")}
    print(f"# totals: {summary}", flush=True)
    tap.check(f"{name}: pages were migrated", totals["migrated_pages"] > 0, json.dumps(run.report["processes"])[:4000])
    handlers = run.report["config"]["handlers_count"]
    broken = [f"{p['command']} {p['pid']}: {conserved(p, handlers)}" for p in run.report["processes"]
              if conserved(p, handlers)]
    tap.check(f"{name}: every armed hint is accounted for", not broken, "\n".join(broken))


def debian_version(package):
    """What the package database says; where it knows nothing, a dash."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "-"
