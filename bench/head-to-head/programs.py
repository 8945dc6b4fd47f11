# SPDX-License-Identifier: MIT
"""The programs of the head-to-head: how each is started, where its pages are, who uses them, when that changes."""
import ctypes
import fcntl
import glob
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.append("/hugenuma/tests/programs")
import resp  # noqa: E402  pylint: disable=wrong-import-position

BUILD = os.environ.get("HN_BUILD", "/hugenuma/build")
HUGENUMA = os.path.join(BUILD, "hugenuma")
WATCH = os.path.join(BUILD, "bench", "bench-watch")
MAPS_LIBRARY = os.path.join(BUILD, "bench", "libbench-maps.so")
NODES = "/sys/devices/system/node"
SHARED = "/dev/shm/hugenuma.*/run"
REPORT, MAPS, SOCKET = "/tmp/report.json", "/tmp/maps", "/tmp/redis.sock"
HUGE, BASE = 2 << 20, 4096
INTERVAL_MS = 50
PATIENCE_SECONDS = 30
LOOKS = 8
TURNS = 5
SLACK_MS = 200  # perf's clock and ours do not start together
SYS_SET_MEMPOLICY, MPOL_DEFAULT = 238, 0
PAGEMAP_SCAN, PAGE_IS_PRESENT, PAGE_IS_PFNZERO, PAGE_IS_HUGE = 0xC0606610, 1 << 3, 1 << 5, 1 << 6
SCAN_REGIONS = 512
libc = ctypes.CDLL(None)


def read(path):
    with open(path, encoding="ascii", errors="replace") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(str(text))


def now_ms():
    return round(time.monotonic() * 1000, 1)


def first_cpu(node):
    return int(re.match(r"\d+", read(f"{NODES}/node{node}/cpulist")).group())


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)
    return found


class Watch:
    """bench-watch, and what it says."""

    def __init__(self):
        self.child = subprocess.Popen([WATCH, str(INTERVAL_MS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        self.names, self.samples, self.phases, self.until = None, [], [], None
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        self.names = self.child.stdout.readline().split()
        for line in self.child.stdout:
            self.samples.append([float(w) if "." in w else int(w) for w in line.split()])

    def say(self, *lines):
        self.child.stdin.write("".join(f"{line}\n" for line in lines))
        self.child.stdin.flush()

    def phase(self, areas):
        """areas: (pid, address, pages, threads) of each"""
        self.phases.append(now_ms())
        self.say(*(f"area {pid} {at} {pages} {','.join(map(str, users))}" for pid, at, pages, users in areas), "phase")

    def phases_end(self, at=None):
        """Now, or at that time: what comes after is not measured."""
        self.until = at or now_ms()

    def is_complete(self):
        """Every page of every area has been seen."""
        return bool(self.samples) and self.samples[-1][2] == self.samples[-1][1] > 0

    def end(self):
        self.child.stdin.close()
        self.reader.join()
        self.child.wait()


class FirstExit(threading.Thread):
    """When the first of these processes has ended; None: none has."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.poll, self.at = select.poll(), None
        self.files = [os.pidfd_open(pid) for pid in pids]
        for fd in self.files:
            self.poll.register(fd, select.POLLIN)
        self.start()

    def run(self):
        self.poll.poll()
        self.at = now_ms()


def children(pid):
    try:
        return [int(p) for task in os.listdir(f"/proc/{pid}/task")
                for p in read(f"/proc/{pid}/task/{task}/children").split()]
    except OSError:
        return []


def name_of(pid, tid):
    try:
        return read(f"/proc/{pid}/task/{tid}/comm").rstrip("\n")
    except OSError:
        return ""


def threads_of(pid):
    """Of the program, not of the agent; the first thread is the first."""
    tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    return [tid for tid in tids if not name_of(pid, tid).startswith("hugenuma")]


def bind(tids, node):
    for tid in tids:
        os.sched_setaffinity(tid, {first_cpu(node)})


class Running:
    """A program in a mode, watched."""

    def __init__(self, mode, command, environment=(), before=()):
        """before: put in front of everything, such as taskset"""
        for path in (REPORT, MAPS, SOCKET):
            if os.path.exists(path):
                os.unlink(path)
        managed = mode.managed is not None
        wrap = [HUGENUMA, "run", "--quiet", *mode.managed, "--report", REPORT, "--"] if managed else []
        self.watch = Watch()
        self.managed, self.says = managed, {}
        self.child = subprocess.Popen([*before, *wrap, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
                                      env=dict(os.environ, LD_PRELOAD=MAPS_LIBRARY, BENCH_MAPS=MAPS, **dict(environment)),
                                      preexec_fn=self.as_usual)
        self.pid = wait_for("the program", lambda: children(self.child.pid))[0] if managed else self.child.pid
        if managed:
            self.watch.say(f"agents {wait_for('its shared memory', lambda: glob.glob(SHARED))[0]}")

    @staticmethod
    def as_usual():
        """In the child: no trace of how the measuring side has set itself apart."""
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        libc.syscall(SYS_SET_MEMPOLICY, MPOL_DEFAULT, None, 0)

    def lines(self):
        for line in self.child.stdout:
            yield line.rstrip("\n")

    def mappings(self, number):
        """Wait for that many large private mappings: (pid, tid, address, pages) of each, huge pages only."""
        def look():
            lines = read(MAPS).splitlines() if os.path.exists(MAPS) else []
            found = [tuple(map(int, line.split())) for line in lines]
            private = [m for m in found if not m[4]]
            return private if len(private) >= number else None

        aligned = []
        for pid, tid, at, size, _ in wait_for("mappings", look):
            # Both programs ask for one huge page more than they use, to align what they use.
            aligned.append((pid, tid, -(-at // HUGE) * HUGE, size // HUGE - 1))
        return aligned

    def result(self):
        try:
            self.child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()
            self.child.wait()
        self.watch.end()
        record = {"status": self.child.returncode, "names": self.watch.names, "phases": self.watch.phases,
                  "until": self.watch.until, "samples": self.watch.samples, "says": self.says}
        if self.managed and os.path.exists(REPORT):
            report = json.loads(read(REPORT))
            record.update(report=brief(report))
        return record

    def stop(self):
        """Nothing of it lives on, whatever went wrong."""
        for child in (self.child, self.watch.child):
            if child.poll() is None:
                child.kill()
        if self.managed and os.path.isdir(f"/proc/{self.pid}"):
            os.kill(self.pid, signal.SIGKILL)


def scan(pid, start, end, inverted, wanted):
    """Addresses of huge pages' size in [start, end) where something has all categories of `wanted` and is not zero."""
    regions = (ctypes.c_uint64 * (3 * SCAN_REGIONS))()
    order = struct.pack("12Q", 96, 0, start, end, 0, ctypes.addressof(regions), SCAN_REGIONS, 0,
                        PAGE_IS_PFNZERO | inverted, wanted | inverted | PAGE_IS_PFNZERO, 0, PAGE_IS_HUGE)
    with open(f"/proc/{pid}/pagemap", "rb") as f:
        found = fcntl.ioctl(f, PAGEMAP_SCAN, bytearray(order))
    return {at // HUGE * HUGE for i in range(found) for at in range(regions[3 * i], regions[3 * i + 1], BASE)}


def huge_pages(pid, start, end):
    """What is mapped huge at this moment."""
    return scan(pid, start, end, 0, PAGE_IS_HUGE)


def small_pages(pid, start, end):
    """What is mapped by small pages: there was no huge one."""
    return scan(pid, start, end, PAGE_IS_HUGE, PAGE_IS_PRESENT)


def runs_of(pages):
    """[address, pages] of neighbours."""
    runs = []
    for at in sorted(pages):
        if runs and at == runs[-1][0] + runs[-1][1] * HUGE:
            runs[-1][1] += 1
        else:
            runs.append([at, 1])
    return runs


def brief(report):
    totals = report["totals"]
    keys = ("samples_count", "fault_messages_count", "local_count", "migrated_pages", "refused_count", "refused",
            "failed_count", "raced_count", "waited_count", "armed_count", "lost_huge_pages", "managed_peak_pages")
    found = {k: totals[k] for k in keys}
    found.update({"fault_p50_ns": totals["fault_service"]["p50_ns"], "fault_max_ns": totals["fault_service"]["max_ns"],
                  "migration_p50_ns": totals["migration_stall"]["p50_ns"], "agent_cpu_ns": totals["agent"]["cpu_ns"],
                  "scans": totals["agent"]["scans_count"], "messages": [m["text"] for m in report["messages"]]})
    return found


class Program:
    name = None
    skip_phases = 0  # what is before the program works, and is not measured

    def run(self, mode, turn=0):
        """turn: of TURNS, where something is not to happen at the same moment in every round"""
        running = self.start(mode)
        self.turn = turn % TURNS
        try:
            self.drive(running)
            return {**running.result(), "skip_phases": self.skip_phases}
        finally:
            running.stop()


class Rotate(Program):
    """One thread touches the arena first; four, each on a node of its own, work on its parts, which change hands."""
    name, threads, mib, phases, seconds = "rotate", 4, 64, 3, 5

    def start(self, mode):
        return Running(mode, ["rotate", "--threads", str(self.threads), "--mib", str(self.mib), "--phases",
                              str(self.phases), "--seconds-per-phase", str(self.seconds)])

    def workers(self, running):
        """Its threads but main, bound to a node each."""
        def look():
            tids = threads_of(running.pid)[1:]
            return tids if len(tids) == self.threads else None

        tids = wait_for("workers", look)
        for node, tid in enumerate(tids):
            bind([tid], node)
        return tids

    def drive(self, running):
        tids, phase, longest = None, 0, []
        for line in running.lines():
            if "touched first" in line:
                tids = self.workers(running)
                _, _, arena, pages = running.mappings(1)[0]
                self.begin(running, tids, arena, pages, phase)
            elif m := re.search(r"longest page ([\d.]+) ms", line):
                longest.append(float(m.group(1)))
                phase += 1
                if phase < self.phases:
                    self.begin(running, tids, arena, pages, phase)
                else:
                    running.watch.phases_end()
            elif m := re.search(r"(\d+) words checked, (\d+) corrupt", line):
                running.says["corrupt"] = int(m.group(2))
        running.says["stall_ms"] = max(longest, default=None)

    def begin(self, running, tids, arena, pages, phase):
        part = pages // self.threads
        running.watch.phase([(running.pid, arena + (i + phase) % self.threads * part * HUGE, part, [tid])
                             for i, tid in enumerate(tids)])


class Perf(Program):
    """
    `perf bench numa mem`. Memory that all threads of a process use (-P), that is each thread's own (-T), and that all
    processes share (-G; shared memory is no huge page here, and is not watched).
    """
    skip_phases = 1  # until every page has been touched

    def __init__(self, name, options, processes, threads, parts, seconds, bound=True):
        self.name, self.processes, self.threads, self.parts = name, processes, threads, parts
        self.options, self.seconds, self.bound = options, seconds, bound

    def start(self, mode):
        cpus = ",".join(str(first_cpu(n)) for n in range(self.processes * self.threads)) if self.bound else None
        return Running(mode, ["perf", "bench", "numa", "mem", "-q", "-p", str(self.processes), "-t", str(self.threads), "-H",
                              "1", "-0", "-z", "-R", "-W", "-s", str(self.seconds), *self.options,
                              *(["-C", cpus] if cpus else [])])

    def drive(self, running):
        found = running.mappings(self.processes * (("P" in self.parts) + ("T" in self.parts) * self.threads))
        areas = []
        for pid, tid, at, pages in found:
            # What a process's first thread maps is for all others; that one only waits for them.
            users = wait_for("threads", lambda p=pid: self.all_threads(p)) if tid == pid else [tid]
            areas.append((pid, at, pages, users))
        running.watch.phase(areas)
        wait_for("all pages", running.watch.is_complete)
        running.watch.say("forget")
        running.watch.phase([(pid, run_at, run_pages, users) for pid, at, pages, users in areas
                             for run_at, run_pages in self.not_small(pid, at, pages)])
        first = FirstExit({pid for pid, _, _, _ in areas})
        self.read_output("\n".join(running.lines()), running.says)
        # Not when all have ended: the pages of the first one are on nobody's node then.
        running.watch.phases_end(min(running.watch.phases[-1] + 1000 * self.seconds, first.at or now_ms()) - SLACK_MS)

    @staticmethod
    def not_small(pid, at, pages):
        end = at + pages * HUGE
        return runs_of(set(range(at, end, HUGE)) - small_pages(pid, at, end))

    def all_threads(self, pid):
        """They name themselves, processes "process N" and threads "thread N/M"."""
        tids = [tid for tid in threads_of(pid) if name_of(pid, tid).startswith("thread")]
        return tids if len(tids) == self.threads else None

    @staticmethod
    def read_output(text, says):
        for key, pattern in (("gb", r"([\d.]+) GB data processed, total"), ("gb_s", r"([\d.]+) GB/sec total speed"),
                             ("converged_s", r"([\d.]+) secs latency to NUMA-converge")):
            if m := re.search(pattern, text):
                says[key] = float(m.group(1))


class Redis(Program):
    """
    redis-server, filled while it is bound to node 0, then sent to node 1, halfway to node 2; clients on node 3.

    The kernel scans after each second of CPU time, and here time is as even as a clock: in every round it would be the same
    few moments after its scan that the server is sent, or before. So that moment is another fifth of a second in each round.
    """
    name, seconds, keys, value_bytes = "redis", 4, 8000, 4000
    settings = ["--port", "0", "--save", "", "--appendonly", "no", "--disable-thp", "no", "--daemonize", "no",
                "--unixsocket", SOCKET, "--dir", "/tmp", "--logfile", ""]

    def start(self, mode):
        return Running(mode, ["redis-server", *self.settings], environment={"MALLOC_CONF": "thp:always"},
                       before=["taskset", "-c", str(first_cpu(0))])

    def benchmark(self, kind, requests):
        """Requests by redis-benchmark; the longest anybody waited for one, in ms."""
        done = subprocess.run(["taskset", "-c", str(first_cpu(3)), "redis-benchmark", "-s", SOCKET, "-t", kind, "-r",
                               str(self.keys), "-n", str(requests), "-d", str(self.value_bytes), "-c", "4", "--csv"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              preexec_fn=Running.as_usual, check=True)
        return float(done.stdout.strip().splitlines()[-1].replace('"', "").split(",")[-1])

    def load(self, seconds):
        """The longest that anybody waited, in ms."""
        longest, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            longest = max(longest, self.benchmark("get", 2000 if left > 0.5 else 200))
        return longest

    def fill(self):
        client = wait_for("redis", self.connect)
        value = os.urandom(self.value_bytes // 2).hex().encode()
        for start in range(0, self.keys, 100):
            client.pipeline([("SET", f"key:{key:012d}", value) for key in range(start, min(start + 100, self.keys))])
        return client

    def read_all(self, client):
        """Every page is used once or more, so that none is armed any more."""
        for start in range(0, self.keys, 1000):
            client.pipeline([("GET", f"key:{key:012d}") for key in range(start, min(start + 1000, self.keys), 10)])

    @staticmethod
    def connect():
        try:
            client = resp.Client(SOCKET)
            client.call("PING")
            return client
        except (OSError, resp.Error):
            return None

    def huge_areas(self, pid, client):
        """(address, pages) of runs of huge pages, the agent's own left out. A page that is armed is seen another time."""
        pages = set()
        for _ in range(LOOKS):
            self.read_all(client)
            for start, end in Redis.mappings(pid):
                pages |= huge_pages(pid, start, end)
        return runs_of(pages)

    @staticmethod
    def mappings(pid):
        """(start, end) of those with huge pages that may be the program's: the agent's are not copied by a fork."""
        found = []
        for block in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", read(f"/proc/{pid}/smaps"), flags=re.M)[1:]:
            start, end = (int(w, 16) for w in block.split(" ", 1)[0].split("-"))
            start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
            huge = re.search(r"^AnonHugePages: +(\d+)", block, re.M)
            flags = re.search(r"^VmFlags: (.*)$", block, re.M).group(1).split()
            if end - start >= 2 * HUGE and int(huge.group(1)) and "dc" not in flags:
                found.append((start, end))
        return found

    def drive(self, running):
        client, longest = self.fill(), 0
        tids = threads_of(running.pid)
        areas = [(running.pid, at, pages, tids[:1]) for at, pages in self.huge_areas(running.pid, client)]
        self.load(self.turn / TURNS)
        for node in (1, 2):
            bind(tids, node)
            running.watch.phase(areas)
            longest = max(longest, self.load(self.seconds + self.turn / TURNS))
        running.says["stall_ms"] = longest
        running.watch.phases_end()
        client.send([("SHUTDOWN", "NOSAVE")])
        running.child.stdout.read()


PROGRAMS = (
    Rotate(),
    Perf("perf-private", ["-P", "16"], 4, 1, "P", 4),
    Perf("perf-thread", ["-T", "16"], 1, 4, "T", 4),
    Perf("perf-shared", ["-P", "48"], 1, 4, "P", 4),
    Perf("perf-mixed", ["-G", "8", "-P", "16", "-T", "8"], 2, 2, "PT", 4),
    Redis(),
    Perf("perf-converge", ["-P", "16", "-m"], 4, 2, "P", 6, bound=False),
)
