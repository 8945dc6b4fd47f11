#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Threads that nobody has bound, with --move-threads: each program comes to a node, its memory follows, and all is undone."""
import json
import os
import re
import subprocess
import sys
import time

import harness
from harness import Tap, node_cpus, nodes_of, online_nodes

PAGES = 6
FREE = f"-1:{PAGES}:0"  # a thread that is not bound, pages from node 0
SETTLE_SECONDS = 60
QUICK = "--quick" in sys.argv
ENOUGH = 0.95


class Workers:
    """Several vm-workers at a time, in one `hugenuma run` or each in its own."""

    def __init__(self, parts, number, options, one_run=True):
        """parts: of each worker"""
        words = " ".join(f"--part {part}" for part in parts)
        self.files = [f"/tmp/worker-{i}" for i in range(number)]
        self.reports = [f"/tmp/report-{i}.json" for i in range(1 if one_run else number)]
        for path in self.files + self.reports:
            if os.path.exists(path):
                os.unlink(path)
        lines = [f"{harness.WORKER} {words} --seconds {SETTLE_SECONDS} --until-file /tmp/enough >{path}" for path in self.files]
        if os.path.exists("/tmp/enough"):
            os.unlink("/tmp/enough")
        shells = [" & ".join(lines) + " & wait"] if one_run else lines
        self.children = [subprocess.Popen([harness.HUGENUMA, "run", *harness.OPTIONS, *options, "--report", report, "--",
                                           "sh", "-c", shell], stdin=subprocess.DEVNULL)
                         for report, shell in zip(self.reports, shells)]
        self.number = number

    def pids(self):
        """Of the workers."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                    found += [int(pid)] if f.read().strip() == "vm-worker" else []
            except OSError:
                pass
        return found

    def end(self):
        """The JSON of each worker; None of one that failed."""
        harness.write("/tmp/enough", "")
        for child in self.children:
            child.wait(SETTLE_SECONDS + harness.GRACE_SECONDS)
        found = []
        for path in self.files:
            try:
                found.append(json.loads(harness.read(path)))
            except (OSError, ValueError):
                found.append(None)
        return found


def threads_of(pid):
    """CPUs that each of the program's threads, but the first, may run on."""
    found = {}
    for tid in sorted(map(int, os.listdir(f"/proc/{pid}/task")))[1:]:
        try:
            with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii") as f:
                text = f.read()
        except OSError:
            continue
        if not re.match(r"Name:\s*hugenuma", text):
            found[tid] = harness.number_set(re.search(r"^Cpus_allowed_list:\s*(\S+)", text, re.M).group(1))
    return found


def all_cpus():
    return set().union(*(node_cpus(n) for n in online_nodes()))


def mask(cpus):
    return sum(1 << cpu for cpu in cpus)


def node_of_mask(cpus):
    """The node whose CPUs these are, all of them and no other."""
    return next((n for n in online_nodes() if mask(node_cpus(n)) == cpus), None)


def kept_node(pid):
    """Where all its threads are kept, or None."""
    nodes = {node_of_mask(mask(cpus)) for cpus in threads_of(pid).values()}
    return nodes.pop() if len(nodes) == 1 else None


def share_local(worker):
    """Of its pages, by move_pages, on the node of their thread."""
    parts = worker["parts"]
    return sum(nodes_of(p).get(p["ran_on"], 0) for p in parts) / sum(p["pages"] for p in parts)


def check_come_together(tap, number, one_run=True):
    """As many programs of two threads as there are nodes of two CPUs, all of their memory on node 0."""
    name = f"{number} programs of two threads in {'one run' if one_run else 'a run each'}"
    workers = Workers([FREE, FREE], number, ["--move-threads"], one_run)
    settled = harness.wait_until(lambda: len(workers.pids()) == number and
                                 len({kept_node(p) for p in workers.pids()} - {None}) == number, SETTLE_SECONDS / 2)
    seen = {pid: threads_of(pid) for pid in workers.pids()}
    tap.check(settled, f"{name}: each comes to a node of its own", seen)
    time.sleep(SETTLE_SECONDS / 4)
    found = workers.end()
    if not tap.check(None not in found, f"{name}: the programs end well", found):
        return
    tap.check(sum(p["corrupt"] for w in found for p in w["parts"]) == 0, f"{name}: their data is right")
    shares = [share_local(w) for w in found]
    tap.check(min(shares) >= ENOUGH, f"{name}: at least 95 % of the pages of each are local", shares, json.dumps(found))
    kept = [{node_of_mask(p["cpus"]) for p in w["parts"]} for w in found]
    tap.check(all(len(k) == 1 for k in kept) and len(set.union(*kept)) == number, f"{name}: and they are there to the end", kept)
    processes = [p for report in workers.reports for p in json.loads(harness.read(report))["processes"]]
    moved = sum(p["migrated_pages"] for p in processes)
    tap.check(moved <= 2 * number * 2 * PAGES, f"{name}: {moved} migrations for {number * 2 * PAGES} pages")


def check_undone(tap):
    """Each way to end it gives threads all their CPUs back."""
    for name, *order in (("switched off", "ctl", "PID", "set", "move.threads=off"), ("pause", "pause", "PID"), ("stop", "stop", "PID")):
        workers = Workers([FREE, FREE], 1, ["--move-threads"])
        ok = harness.wait_until(lambda: workers.pids() and kept_node(workers.pids()[0]) is not None, SETTLE_SECONDS / 2)
        if tap.check(ok, f"{name}: threads were kept before", [threads_of(p) for p in workers.pids()]):
            pid = workers.pids()[0]
            done = subprocess.run([harness.HUGENUMA, *(str(pid) if word == "PID" else word for word in order)], check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            ok = harness.wait_until(lambda: set(map(mask, threads_of(pid).values())) == {mask(all_cpus())}, 10)
            tap.check(done.returncode == 0 and ok, f"{name}: they may run everywhere again", done.stdout, threads_of(pid))
        workers.end()


def check_own_affinity(tap):
    """A thread that the program has bound stays bound as it was, and its memory comes to it; the other one is kept."""
    name = "a thread that the program has bound"
    workers = Workers([f"2:{PAGES}:0", FREE], 1, ["--move-threads"])
    time.sleep(SETTLE_SECONDS / 3)
    worker, = workers.end()
    if tap.check(worker is not None, f"{name}: the program ends well"):
        bound, free = worker["parts"]
        tap.check(bound["cpus"] == mask(node_cpus(2)), f"{name}: is not touched", bound)
        tap.check(nodes_of(bound) == {2: PAGES}, f"{name}: its memory follows it", bound)
        tap.check(node_of_mask(free["cpus"]) is not None, f"{name}: the other one is kept on a node", free)
        tap.check(nodes_of(free) == {free["ran_on"]: PAGES}, f"{name}: and its memory is there", free)
    name = "a program that was bound from outside"
    some = node_cpus(1) | node_cpus(2)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, some)
    workers = Workers([FREE, FREE], 1, ["--move-threads"])
    os.sched_setaffinity(0, before)
    time.sleep(SETTLE_SECONDS / 3)
    worker, = workers.end()
    if tap.check(worker is not None, f"{name}: it ends well"):
        tap.check([p["cpus"] for p in worker["parts"]] == [mask(some)] * 2, f"{name}: its CPUs are as they were", worker)


def check_off_by_default(tap):
    workers = Workers([FREE, FREE], 1, [])
    time.sleep(5)
    worker, = workers.end()
    tap.check(worker is not None and [p["cpus"] for p in worker["parts"]] == [mask(all_cpus())] * 2,
              "without the option no thread is bound", worker)


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    harness.require_managed(tap)
    check_come_together(tap, len(online_nodes()))
    check_own_affinity(tap)
    if not QUICK:
        check_undone(tap)
        check_off_by_default(tap)
    tap.finish()


if __name__ == "__main__":
    main()
