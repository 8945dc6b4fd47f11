#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tests of tests/live on the guest's real nodes: no virtual topology, and more patience.

    live.py [--quick | --only TEXT...] [--arm move|rwp]

--quick: one or two of each group, some with each mover.
"""
import os
import shutil
import sys

import harness

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLOWER = 4
QUICK = (
    "start malloc", "two halves", "stay huge when written, copy mover", "stay huge when written, kernel mover", "end by exec",
    "mapping: munmap inside a page", "mapping: mremap to an aligned place", "mapping: MADV_DONTNEED across pages",
    "mapping: mprotect read-only, 12 KiB", "streams: send and recv", "fds: no foreign descriptors", "forks: parent and child",
    "stacks: 32 threads", "hwpoison: lost while armed, touched", "hwpoison: lost in a child",
)


def check_names(test_live):
    """Whoever gives a test another name says so here."""
    bench = test_live.Bench(harness.BUILD, real_nodes=True)
    names = [name for name, _ in test_live.all_tests(bench)]
    shutil.rmtree(bench.tmp)
    gone = [text for text in QUICK if not any(text in name for name in names)]
    if gone:
        sys.exit(f"Bail out! tests/live has no test called {', '.join(gone)}")


def main():
    harness.kernel_balancing(False)
    # malloc asks for huge pages, and grows the heap by whole ones, only where programs have to ask.
    harness.write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")
    os.environ.setdefault("LIVE_SLOW", str(SLOWER))
    os.environ["LIVE_HWPOISON"] = "1"  # this machine is gone soon anyway
    sys.path.insert(0, os.path.join(TESTS, "live"))
    import test_live  # pylint: disable=import-outside-toplevel

    only = [word for text in QUICK for word in ("--only", text)]
    args = sys.argv[1:]
    if "--quick" in args:
        args.remove("--quick")
        check_names(test_live)
        args += only
    sys.exit(test_live.main(["--real-nodes", *args]))


if __name__ == "__main__":
    main()
