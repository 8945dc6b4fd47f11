#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
kernel.numa_balancing=1: `doctor` and `run` say who owns the pages; the kernel keeps off what is managed, as its own
counters show; what is no longer managed is the kernel's again.
"""
import os
import re
import subprocess
import sys
import time

import harness
from harness import HUGENUMA, Tap, check_ended_well, check_nodes, check_whole, policy_of, run, wait_until, worker_pid, write

PAGES = 8
PARTS = [f"1:{PAGES}:0", f"2:{PAGES}:3"]
TO = [1, 2]
BOUND = [f"1:{PAGES}:0:balanced=0,1", f"2:{PAGES}:0:balanced=0,1"]
BOUND_TO = [1, 0]
QUICK = "--quick" in sys.argv
SECONDS = 6 if QUICK else 12
TUNABLES = "/sys/kernel/debug/sched/numa_balancing"
STRAY_PAGES = 2
COUNTERS = ("numa_pte_updates", "numa_huge_pte_updates", "numa_hint_faults", "numa_pages_migrated",
            "thp_migration_success")


def make_eager():
    """The kernel's scanner from the start and often, so that seconds are enough to see it."""
    for name, value in (("scan_delay_ms", 50), ("scan_period_min_ms", 100), ("scan_period_max_ms", 200)):
        path = os.path.join(TUNABLES, name)
        if os.path.exists(path):
            write(path, value)


def counters(worker):
    return {k: worker.grown.get(k, 0) for k in COUNTERS}


def check_says(tap):
    text = subprocess.run([HUGENUMA, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    lines = re.search(r"^\S+\s+kernel balancing .*\n(?: .*\n)*", text, re.M)
    tap.check(lines is not None and "numa_balancing = 1" in lines.group(0) and "run'" in lines.group(0),
              "doctor says that the kernel balances, and who owns a program's pages", text)


def check_bare(tap):
    """What the rest is compared with: the kernel hints and moves this program's pages when nobody else does."""
    worker = run(PARTS, SECONDS)
    tap.note(counters(worker))
    if check_ended_well(tap, worker, "bare"):
        tap.check(worker.grown["numa_huge_pte_updates"] > 0 and worker.grown["thp_migration_success"] > 0,
                  "bare: the kernel hints and moves", counters(worker))
    return worker


def check_local_alloc(tap, bare):
    """That the counters stand still where nothing is there for the kernel to balance: the guest itself is quiet."""
    worker = run(PARTS, SECONDS, worker_options=["--local-policy"])
    tap.note(counters(worker))
    if check_ended_well(tap, worker, "policy local, bare"):
        tap.check(worker.grown["numa_huge_pte_updates"] <= STRAY_PAGES < bare.grown["numa_huge_pte_updates"],
                  "policy local, bare: the kernel hints nothing", counters(worker))


def check_fenced(tap, name, bare, managed, wanted, parts=PARTS, fence="local"):
    """Until its memory is managed it is the kernel's, so counters are compared from then on. wanted: None if unknown."""
    running = harness.Running(parts, 4 * SECONDS, managed)
    fenced = wait_until(lambda: largest_policy(worker_pid(running.child)) == fence, 3 * SECONDS)
    running.before = harness.vmstat()
    worker = running.finish()
    tap.note(counters(worker))
    tap.check(fenced, f"{name}: its mappings get the policy {fence}", worker)
    if not check_ended_well(tap, worker, name):
        return None
    if wanted:
        check_nodes(tap, worker, wanted, name)
    check_whole(tap, worker, name)
    # Other memory of the guest, in small pages, the kernel goes on hinting and moving, but none that is huge. What is
    # protected in place it counts like its own hints, each time it is armed and each time it is opened (vm-rwp-facts).
    p = worker.process()
    ours = p["armed_count"] + p["disarmed_count"] if p["arm"] == "rwp" else 0
    tap.check(worker.grown["numa_huge_pte_updates"] <= STRAY_PAGES + ours,
              f"{name}: the kernel gives managed pages no hints", counters(worker), f"ours: {ours}",
              f"bare: {counters(bare)}", worker)
    ours = p["migrated_pages"] if "kernel" in managed else 0
    tap.check(worker.grown["thp_migration_success"] <= ours, f"{name}: the kernel moves none of them", counters(worker),
              f"ours: {ours}", f"bare: {counters(bare)}")
    policies = [policy_of(p) for p in worker.data["parts"]]
    tap.check(policies == [fence] * len(parts), f"{name}: their policy is {fence}", policies)
    return worker


def largest_policy(pid):
    """Policy of all parts of a worker, as numa_maps says; None when they differ, or are not all filled yet."""
    try:
        lines = harness.read(f"/proc/{pid}/numa_maps").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines
             for anon in re.findall(r"\banon=(\d+)", line) if int(anon) == PAGES * harness.BASE_PER_HUGE]
    return found[0] if len(found) == len(PARTS) and len(set(found)) == 1 else None


def check_stop(tap, name, parts, fence, own):
    running = harness.Running(parts, 3 * SECONDS, ["--policy", "observe"])
    fenced = wait_until(lambda: largest_policy(worker_pid(running.child)) == fence, SECONDS)
    pid = worker_pid(running.child)
    tap.check(fenced, f"{name}: before, ranges are fenced", largest_policy(pid))
    done = subprocess.run([HUGENUMA, "stop", str(pid)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tap.check(done.returncode == 0, f"{name}: the command succeeds", done.stdout)
    # Looked at once: from then on the kernel moves pages, and while it does a mapping lacks some.
    back = wait_until(lambda: largest_policy(pid) == own, SECONDS)
    tap.check(back, f"{name}: ranges go back to their former policy", largest_policy(pid))
    before = harness.vmstat()
    time.sleep(SECONDS / 2)
    grown = {k: harness.vmstat()[k] - before[k] for k in COUNTERS}
    tap.check(grown["numa_huge_pte_updates"] > 0, f"{name}: the kernel balances them again", grown)
    worker = running.finish()
    if check_ended_well(tap, worker, name):
        check_whole(tap, worker, name)


def main():
    tap = Tap()
    harness.kernel_balancing(True)
    make_eager()
    harness.require_managed(tap)
    check_says(tap)
    bare = check_bare(tap)
    worker = check_fenced(tap, "managed", bare, [], TO)
    if not QUICK:
        check_local_alloc(tap, bare)
        if worker:
            tap.check(re.search("balancing", worker.err), "run says who owns the pages", worker.err)
        check_fenced(tap, "observed", bare, ["--policy", "observe"], None)
        check_fenced(tap, "kernel mover", bare, ["--mover", "kernel"], TO)
        check_fenced(tap, "bound", bare, [], BOUND_TO, BOUND, "bind:0-1")
        check_stop(tap, "stop", PARTS, "local", "default")
        check_stop(tap, "stop, bound", BOUND, "bind:0-1", "bind=balancing:0-1")
    tap.finish()


if __name__ == "__main__":
    main()
