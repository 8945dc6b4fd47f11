# SPDX-License-Identifier: MIT
"""For the tests that run in a guest: TAP lines, vm-worker bare or under `hugenuma run`, what the kernel says of it."""
import json
import os
import re
import signal
import subprocess
import sys
import time

BUILD = os.environ.get("HN_BUILD", "/hugenuma/build")
HUGENUMA = os.path.join(BUILD, "hugenuma")
WORKER = os.path.join(BUILD, "tests", "vm", "vm-worker")
NODES = "/sys/devices/system/node"
BASE_PER_HUGE = 512
GRACE_SECONDS = 120
# A scan pass takes every page of a worker; emulated nodes are slow, so passes are not too close.
OPTIONS = ["--start-now", "--min-mib", "2", "--period-ms", "200"]
# How pages are armed, where a test is to have it one way: --arm move, --arm rwp.
ARM = sys.argv[sys.argv.index("--arm") + 1] if "--arm" in sys.argv[:-1] else None
if ARM:
    OPTIONS += ["--arm", ARM]
REPORT = "/tmp/report.json"
SKIP_STATUS = 77


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def check(self, good, name, *seen):
        """`seen` is shown when the check fails."""
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)
        if not good:
            for thing in seen:
                self.note(thing)
        return good

    def skip(self, name, why):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    def note(self, text):
        for line in str(text).splitlines():
            print(f"#   {line}", flush=True)

    def finish(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed or not self.count else 0)


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(str(text))


def number_set(text):
    """ "0-2,5" """
    ranges = [part.split("-") for part in text.split(",") if part]
    return {n for r in ranges for n in range(int(r[0]), int(r[-1]) + 1)}


def node_cpus(node):
    return number_set(read(f"{NODES}/node{node}/cpulist"))


def online_nodes():
    return sorted(number_set(read(f"{NODES}/online")))


def kernel_balancing(on):
    write("/proc/sys/kernel/numa_balancing", int(on))


def vmstat():
    with open("/proc/vmstat", encoding="ascii") as f:
        return {name: int(value) for name, value in map(str.split, f)}


class Worker:
    """What came of one run of vm-worker. report is None without hugenuma, data None when it did not come to its end."""

    def __init__(self, status, out, err, before, after):
        self.status, self.out, self.err = status, out, err
        self.grown = {k: after[k] - before.get(k, 0) for k in after}
        self.data = self.report = None
        if status in (0, 1) and out.startswith("{"):
            self.data = json.loads(out)
        if os.path.exists(REPORT):
            with open(REPORT, encoding="utf-8") as f:
                self.report = json.load(f)

    def __str__(self):
        lines = [f"status {self.status}", self.out.rstrip(), self.err.rstrip()]
        if self.report:
            keys = ("samples_count", "local_count", "migrated_pages", "refused", "failed", "lost_huge_pages")
            lines.append(json.dumps({k: self.report["totals"].get(k) for k in keys}))
        return "\n".join(line for line in lines if line)

    def part(self, index):
        return self.data["parts"][index]

    def total(self, key):
        return self.report["totals"][key]

    def process(self):
        return next(p for p in self.report["processes"] if p["command"].startswith("vm-worker"))


class Running:
    def __init__(self, parts, seconds, managed=None, until_local=False, wrap=(), inner=(), worker_options=()):
        """managed: options of `hugenuma run`, None: bare. wrap comes before everything, inner before the worker."""
        if os.path.exists(REPORT):
            os.unlink(REPORT)
        command = [WORKER, "--seconds", str(seconds), *(["--until-local"] if until_local else []), *worker_options]
        for part in parts:
            command += ["--part", part]
        if managed is not None:
            command = [HUGENUMA, "run", *OPTIONS, *managed, "--report", REPORT, "--", *inner, *command]
        else:
            command = [*inner, *command]
        self.patience = seconds + GRACE_SECONDS
        self.before = vmstat()
        self.child = subprocess.Popen([*wrap, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)

    def finish(self):
        try:
            out, err = self.child.communicate(timeout=self.patience)
            status = self.child.returncode
            status = status if status >= 0 else 128 - status  # as in a shell
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            out, err = self.child.communicate()
            status, err = None, err + "killed: took too long\n"
        return Worker(status, out, err, self.before, vmstat())


def run(*args, **kw):
    return Running(*args, **kw).finish()


def nodes_of(part, when="last"):
    """Node: huge pages, as move_pages(2) says."""
    return {int(n): count for n, count in part[when]["nodes"].items()}


def mapped_nodes(part, when="last"):
    """Node: huge pages, as numa_maps says."""
    return {int(n): int(count) // BASE_PER_HUGE
            for n, count in re.findall(r"\bN(\d+)=(\d+)", part[when]["numa_maps"])}


def policy_of(part, when="last"):
    fields = part[when]["numa_maps"].split()
    return fields[1] if len(fields) > 1 else None


def check_ended_well(tap, worker, name):
    """The program came to its end with its data right; else nothing more can be said about it."""
    if not tap.check(worker.status == 0 and worker.data is not None, f"{name}: the program ends well", worker):
        return False
    corrupt = sum(p["corrupt"] for p in worker.data["parts"])
    words = sum(p["words"] for p in worker.data["parts"])
    tap.check(corrupt == 0 and words > 0, f"{name}: its data is right ({words} words verified)", worker)
    return True


def check_whole(tap, worker, name):
    """No huge page was split: AnonHugePages of each part is the same as before, and the kernel counts no split."""
    parts = worker.data["parts"]
    sizes = [(p["first"]["huge_kib"], p["last"]["huge_kib"], p["pages"] * 2048) for p in parts]
    tap.check(all(first == last == size for first, last, size in sizes), f"{name}: AnonHugePages is unchanged",
              f"first, last, size in KiB: {sizes}")
    splits = {k: worker.grown[k] for k in ("thp_split_page", "thp_split_page_failed", "thp_split_pmd") if
              worker.grown.get(k)}
    tap.check("thp_split_page" not in splits, f"{name}: the kernel split no huge page", splits)


def check_nodes(tap, worker, wanted, name):
    """wanted: for each part the node all its pages are on. Both of the kernel's answers have to say so."""
    parts = worker.data["parts"]
    expected = [{node: part["pages"]} for node, part in zip(wanted, parts)]
    asked, mapped = [nodes_of(p) for p in parts], [mapped_nodes(p) for p in parts]
    tap.check(asked == expected, f"{name}: move_pages says so", f"wanted {expected}, got {asked}", worker)
    tap.check(mapped == expected, f"{name}: numa_maps says so", f"wanted {expected}, got {mapped}")


def worker_pid(child):
    """Of the program that `hugenuma run`, this child, has started; None: not yet."""
    try:
        pids = read(f"/proc/{child.pid}/task/{child.pid}/children").split()
    except OSError:
        return None
    return int(pids[0]) if pids else None


def require_managed(tap):
    """End the test where hugenuma can manage nothing."""
    done = subprocess.run([HUGENUMA, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not tap.check(done.returncode == 0, "doctor finds that programs can be managed here", done.stdout):
        tap.finish()
    return done.stdout


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
