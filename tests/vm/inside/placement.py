#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pages go to the node of the thread that uses them, whole, with both movers; and nowhere when nobody moves them."""
import subprocess
import sys

import harness
from harness import Tap, check_ended_well, check_nodes, check_whole, run

PAGES = 12
# Thread's node, pages, node the pages come from.
PARTS = [f"1:{PAGES}:0", f"2:{PAGES}:0", f"3:{PAGES}:1", f"0:{PAGES}:0"]
FROM, TO = [0, 0, 1, 0], [1, 2, 3, 0]
SETTLE_SECONDS = 90
STAY_SECONDS = 4


def check_mover(tap, mover):
    name = f"{mover} mover"
    worker = run(PARTS, SETTLE_SECONDS, ["--mover", mover], until_local=True)
    if not check_ended_well(tap, worker, name):
        return
    tap.check(worker.data["settled"], f"{name}: all pages became local within {SETTLE_SECONDS} s", worker)
    stall = max(p["longest_ms"] for p in worker.data["parts"])
    tap.note(f"after {worker.data['seconds']} s of guest time; longest stall {stall} ms")
    check_nodes(tap, worker, TO, name)
    check_whole(tap, worker, name)
    p = worker.process()
    tap.check(p["mover"] == mover, f"{name}: it was the one at work", p["mover"])
    if harness.ARM:
        tap.check(p["arm"] == harness.ARM, f"{name}: and pages were armed by {harness.ARM}", p["arm"])
    tap.check(p["migrated_pages"] >= 3 * PAGES, f"{name}: our count of migrations agrees", worker)
    arrived = p["migrated_to_node_pages"]
    tap.check(all(n >= PAGES for n in arrived[1:4]), f"{name}: and says where to", arrived)
    # Where the guest's CPU is slow to zero a page, a fault does not wait for the next one, and asks again later.
    tap.check(p["failed_count"] == p["failed"]["target_count"] and p["failed_count"] <= PAGES and p["lost_huge_pages"] == 0,
              f"{name}: no migration failed, but for want of a page just then", worker)


def check_stays(tap, name, managed):
    """What the other checks rest on: without us, or when we only look, nothing moves."""
    worker = run(PARTS, STAY_SECONDS, managed)
    if check_ended_well(tap, worker, name):
        check_nodes(tap, worker, FROM, name)
        check_whole(tap, worker, name)


def check_rotate(tap):
    """The example, whose memory changes hands all the time and which verifies every word."""
    done = subprocess.run([harness.HUGENUMA, "run", "--quiet", *harness.OPTIONS, "--policy", "alternate", "--",
                           "rotate", "--mib", "32", "--phases", "4", "--seconds-per-phase", "5"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tap.check(done.returncode == 0 and " 0 corrupt" in done.stdout, "rotate: nothing is lost", done.stdout)


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    harness.require_managed(tap)
    check_stays(tap, "bare", None)
    for mover in ("copy", "kernel"):
        check_mover(tap, mover)
    if "--quick" not in sys.argv:
        check_stays(tap, "observe", ["--policy", "observe"])
        check_rotate(tap)
    tap.finish()


if __name__ == "__main__":
    main()
