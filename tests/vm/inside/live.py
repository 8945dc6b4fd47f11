#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tests of tests/live, all of them, on the guest's real nodes: no virtual topology, and more patience.

    live.py [--only TEXT] [--arm move|rwp]

Some of those programs live for half a second, which is little under emulation: a test that failed is tried again, but
never one that has seen wrong data.
"""
import os
import shutil
import sys

import harness

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "live"))
import test_live  # noqa: E402  pylint: disable=wrong-import-position

SLOWER = 4
TRIES = 3


def run_patiently(test):
    for left in reversed(range(TRIES)):
        try:
            return test()
        except AssertionError as error:
            if not left or " instead of " in str(error):
                raise
            print("#   again, after " + str(error).strip().replace("\n", "\n#     "), flush=True)


def two_halves(bench):
    del bench
    raise test_live.Skip("made for two CPUs, a node each; placement.py has the same on real nodes")


def main():
    harness.kernel_balancing(False)
    # malloc asks for huge pages, and grows the heap by whole ones, only where programs have to ask.
    harness.write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")
    if not shutil.which("cc"):
        os.environ["CC"] = "false"
    test_live.TIMEOUT *= SLOWER
    test_live.Bench.finish.__defaults__ = (test_live.TIMEOUT,)
    test_live.run_undisturbed = run_patiently
    test_live.test_two_halves = two_halves
    virtual = test_live.FAST[:2]
    if virtual[0] != "--topology":
        sys.exit("live: tests/live no longer starts its options with a topology")
    # Tests that bring a topology of their own keep it.
    test_live.FAST = test_live.FAST[2:]
    test_live.EAGER = [o for o in test_live.EAGER if o not in virtual]
    sys.exit(test_live.main())


if __name__ == "__main__":
    main()
