#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A node without CPUs is a slow tier: hot pages leave it, cold ones go there when a fast node is low on memory, as fast as may
be, and nothing else moves between the tiers. Where pages lie is the kernel's word, asked without touching them.

Made for a guest with two nodes with CPUs and one without.
"""
import re
import subprocess
import sys
import time

import harness
from harness import HUGENUMA, NODES, Tap, check_ended_well, check_whole, nodes_of, read, run, worker_pid

PAGES = 8
MANY = 32
NEAR, OTHER, SLOW = 0, 1, 2
HOT_MS = 800
COLD = "@0"     # never touched
SLACK = 8  # pages
OFTEN = "@100"  # each page for a moment, ten times a second: hot, however slow the guest is
WARM = "@4000"  # seldom: a hint is much older by then than what is hot
# Hints run out after a second here, so that is how long a page must not be touched to count as idle once. What is seldom
# used must have a hint most of the time, which takes more of a CPU here than the agent's share.
TIERS = ["--hot-ms", str(HOT_MS), "--cold-rounds", "2", "--cpu-percent", "0"]
QUICK = "--quick" in sys.argv


def free_permille(node):
    """As the agent counts it: what can be had at once."""
    kib = {k: int(v) for k, v in re.findall(r"(\S+):\s+(\d+) kB", read(f"{NODES}/node{node}/meminfo"))}
    return 1000 * (kib["MemFree"] + kib["Inactive(file)"]) // kib["MemTotal"]


def heard(worker, index):
    """Node: pages. Asked of the kernel all the time, the last answer about each page counts; nobody touched it for that."""
    return nodes_of(worker.part(index), "heard")


def check_heard(tap, worker, wanted, name):
    got = [heard(worker, i) for i in range(len(wanted))]
    tap.check(got == [{node: worker.part(i)["pages"]} for i, node in enumerate(wanted)], f"{name}: move_pages says so",
              f"wanted {wanted}, got {got}", worker)


def promoted(worker):
    reasons = worker.process()["migrated_for"]
    return {k: reasons[f"{k}_count"] for k in ("hot", "room")}


def check_room(tap):
    """There is much room on the fast nodes: all that is used on them comes, however seldom it is."""
    name = "promotion, much room"
    worker = run([f"{NEAR}:{PAGES}:{SLOW}", f"{OTHER}:{PAGES}:{SLOW}{WARM}", f"{NEAR}:{PAGES}:{SLOW}:stays{COLD}"], 90,
                 [*TIERS, "--low-permille", "1"], until_local=True)
    if not check_ended_well(tap, worker, name):
        return
    machine = worker.report["machine"]["nodes"]
    tap.check({n["os_node"] for n in machine if n["slow"]} == {SLOW}, f"{name}: the node without CPUs is the slow one", machine)
    check_heard(tap, worker, [NEAR, OTHER, SLOW], name)
    check_whole(tap, worker, name)
    tap.check(promoted(worker)["room"] >= 2 * PAGES, f"{name}: for that reason", promoted(worker))


def tight(node):
    """A threshold with which the node is neither low on memory nor has four times as much free."""
    return ["--low-permille", str(free_permille(node) // 2)]


def check_hot(tap):
    """Neither much room nor too little: what is touched soon after its hint comes, and what is touched late does not."""
    name = "promotion of hot pages"
    worker = run([f"{NEAR}:{PAGES}:{SLOW}", f"{NEAR}:{PAGES}:{SLOW}{WARM}", f"{NEAR}:{PAGES}:{NEAR}{COLD}"], 26,
                 [*TIERS, *tight(NEAR)])
    if not check_ended_well(tap, worker, name):
        return
    check_heard(tap, worker, [NEAR, SLOW, NEAR], name)
    check_whole(tap, worker, name)
    p = worker.process()
    # More may come at the end, when the worker reads everything to see that it is right.
    tap.check(promoted(worker)["hot"] >= PAGES and not promoted(worker)["room"], f"{name}: by the age of their hints",
              promoted(worker))
    tap.check(p["refused"]["cold_count"] > 0 and p["demoted_pages"] == 0, f"{name}: the others are refused as cold",
              p["refused"])
    # Pages are turned away and nothing is used up: an eighth up, each 10 s.
    tap.check(HOT_MS < p["agent"]["hot_threshold_ms"] <= HOT_MS * 2, f"{name}: the threshold rises",
              p["agent"]["hot_threshold_ms"])


def check_rate(tap):
    """One page a second may come, and more are hot; so the threshold falls."""
    name, seconds = "rate of promotion", 24
    worker = run([f"{NEAR}:{MANY}:{SLOW}{OFTEN}", f"{OTHER}:{MANY}:{SLOW}{OFTEN}"], seconds,
                 [*TIERS, "--promote-mib-s", "2", *tight(NEAR)])
    if not check_ended_well(tap, worker, name):
        return
    p = worker.process()
    came = sum(heard(worker, 0).get(n, 0) + heard(worker, 1).get(n, 0) for n in (NEAR, OTHER))
    # What is on its way does not count yet, so both handlers may have a page in the same second.
    limit = 2 * (p["elapsed_ms"] // 1000 + 1)
    tap.check(1 <= came <= limit, f"{name}: {came} pages come in {p['elapsed_ms'] / 1000:.0f} s", worker)
    tap.check(sum(promoted(worker).values()) <= limit, f"{name}: as many as are counted", promoted(worker))
    tap.check(p["refused"]["rate_count"] > 0, f"{name}: the others are refused for it", p["refused"])
    tap.check(p["agent"]["hot_threshold_ms"] < HOT_MS, f"{name}: the threshold falls", p["agent"]["hot_threshold_ms"])
    check_whole(tap, worker, name)


def fill_for(permille, others):
    """Pages of the other node that leave so much of it free, besides `others`; and what there is then, in pages and permille."""
    total = int(re.search(r"MemTotal:\s+(\d+)", read(f"{NODES}/node{OTHER}/meminfo")).group(1)) / 2048
    pages = int(total * (free_permille(OTHER) - permille) / 1000) - others
    return pages, total, free_permille(OTHER) - (pages + others) * 1000 / total


def check_demotion(tap):
    """A node low on memory: its cold pages go to the slow node; used ones stay, nothing hot comes, and bound ones stay."""
    name = "demotion"
    cold, total, free = fill_for(400, 2 * PAGES)
    low = int(free) + 60
    if not tap.check(cold >= 2 * PAGES, f"{name}: {cold} cold pages make the node low on memory", total, free_permille(OTHER)):
        return
    running = harness.Running([f"{OTHER}:{cold}:{OTHER}{COLD}", f"{OTHER}:{PAGES}:{OTHER}", f"{OTHER}:{PAGES}:{SLOW}",
                               f"{OTHER}:{PAGES}:{OTHER}:balanced={NEAR},{OTHER}{COLD}", f"{NEAR}:{PAGES}:{NEAR}"], 32,
                              [*TIERS, "--low-permille", str(low)])
    # So many pages would never all be in place when the worker looks.
    time.sleep(28)
    subprocess.run([HUGENUMA, "pause", str(worker_pid(running.child))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    worker = running.finish()
    if not check_ended_well(tap, worker, name):
        return
    got = [heard(worker, i) for i in range(5)]
    p = worker.process()
    # Half as much again as the threshold is to be free then; a promotion or two may come between, and the kernel has its own uses.
    wanted = min(cold, int(total * (1.5 * low - free) / 1000))
    tap.note(f"low with {low} permille free, {free:.0f} are; {cold} cold pages, {wanted} to go, {p['demoted_pages']} gone")
    tap.check(set(got[0]) <= {OTHER, SLOW} and [set(got[i]) for i in (1, 3, 4)] == [{OTHER}, {OTHER}, {NEAR}],
              f"{name}: only what is cold, and free to, goes: move_pages says so", got, worker)
    tap.check(wanted - SLACK <= got[0].get(SLOW, 0) <= wanted + SLACK, f"{name}: until half as much again is free", got, wanted)
    tap.check(p["demoted_pages"] >= got[0].get(SLOW, 0), f"{name}: that many are counted", p["demoted_pages"], got)
    tap.check(p["refused"]["low_count"] > 0, f"{name}: what is hot is refused meanwhile, with the reason", p["refused"])
    check_whole(tap, worker, name)


def check_observed(tap):
    name = "observed"
    cold, _, free = fill_for(400, 0)
    worker = run([f"{OTHER}:{cold}:{OTHER}{COLD}", f"{NEAR}:{PAGES}:{SLOW}:stays"], 12,
                 [*TIERS, "--low-permille", str(int(free) + 60), "--policy", "observe"])
    if check_ended_well(tap, worker, name):
        check_heard(tap, worker, [OTHER, SLOW], f"{name}: nothing moves between the tiers")


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    harness.require_managed(tap)
    tap.note(f"free permille of nodes: {[free_permille(n) for n in harness.online_nodes()]}")
    check_hot(tap)
    check_demotion(tap)
    if not QUICK:
        check_room(tap)
        check_rate(tap)
        check_observed(tap)
    tap.finish()


if __name__ == "__main__":
    main()
