#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A node without a free huge page: migrations to it are refused with a reason, nothing is split, the kernel is not made to
compact memory over and over, the program runs on; and when there is room again, its pages come home.
"""
import sys
import time

import harness
from harness import NODES, Tap, check_ended_well, check_nodes, check_whole, read, wait_until, write

PAGES = 12
FULL = 1
QUICK = "--quick" in sys.argv
FULL_SECONDS = 15
ROOM_SECONDS = 90
POOL = f"{NODES}/node{FULL}/hugepages/hugepages-2048kB"
EVERYTHING = 1 << 20
# Attempts to make room while the node was full; a page asked for at each hint would be hundreds.
MAX_COMPACTIONS = 30


def fill():
    """All huge pages of the node, for nobody."""
    taken = -1
    while int(read(f"{POOL}/nr_hugepages")) > taken:
        taken = int(read(f"{POOL}/nr_hugepages"))
        write(f"{POOL}/nr_hugepages", EVERYTHING)
    return taken


def free_huge_blocks():
    """Blocks of 2 MiB and more that the buddy allocator of the node has free."""
    free = 0
    for line in read("/proc/buddyinfo").splitlines():
        fields = line.replace(",", "").split()
        if int(fields[1]) == FULL:
            free += sum(int(n) << order for order, n in enumerate(fields[4:]) if order >= 9) >> 9
    return free


def check(tap, mover):
    name = f"full node, {mover} mover"
    taken = fill()
    tap.note(f"{taken} huge pages taken from node {FULL}, {free_huge_blocks()} blocks left")
    running = harness.Running([f"{FULL}:{PAGES}:0", f"2:{PAGES}:0"], FULL_SECONDS + ROOM_SECONDS, ["--mover", mover],
                              until_local=True)
    before = harness.vmstat()
    time.sleep(FULL_SECONDS)
    after = harness.vmstat()
    alive = running.child.poll() is None
    used = int(read(f"{POOL}/nr_hugepages")) - int(read(f"{POOL}/free_hugepages"))
    write(f"{POOL}/nr_hugepages", 0)
    wait_until(lambda: running.child.poll() is not None, ROOM_SECONDS)
    worker = running.finish()
    tap.check(alive and used == 0, f"{name}: the program runs, and waits for room", worker)
    if not check_ended_well(tap, worker, name):
        return
    watched = ("compact_", "thp_split", "thp_fault", "allocstall")
    grown = {k: after[k] - before[k] for k in after if k.startswith(watched)}
    tap.note(f"in {FULL_SECONDS} s: {({k: v for k, v in grown.items() if v})}")
    tap.check(grown["compact_stall"] <= MAX_COMPACTIONS, f"{name}: no compaction storm", grown)
    tap.check(grown["thp_split_page"] == 0, f"{name}: nothing was split", grown)
    reasons = {k: v for kind in ("refused", "failed") for k, v in worker.report["totals"][kind].items() if v}
    tap.note(f"reasons: {reasons}")
    tap.check(worker.total("failed")["target_count"] + worker.total("refused")["room_count"] > 0,
              f"{name}: the reason is counted", reasons)
    check_nodes(tap, worker, [FULL, 2], f"{name}: pages come home when there is room")
    check_whole(tap, worker, name)


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    harness.require_managed(tap)
    for mover in ("copy",) if QUICK else ("copy", "kernel"):
        check(tap, mover)
    tap.finish()


if __name__ == "__main__":
    main()
