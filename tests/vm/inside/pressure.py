#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What needs settings of the whole machine: KSM at work, control groups of version 2, swap where there is any.

The tests are those of tests/live; here the guest is made so that they need not be skipped.
"""
import os
import sys

import harness

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import live  # noqa: E402  pylint: disable=wrong-import-position

NAMES = ("pressure: pages merged", "pressure: pages swapped", "memory limit")


def main():
    harness.write("/sys/kernel/mm/ksm/pages_to_scan", 20000)
    harness.write("/sys/kernel/mm/ksm/run", 1)
    try:
        harness.write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
    except OSError:
        pass  # the test says that there is none
    sys.argv = [a for a in sys.argv if a != "--quick"]  # there is nothing to leave out
    all_tests = live.test_live.all_tests
    live.test_live.all_tests = lambda b: [t for t in all_tests(b) if t[0].startswith(NAMES)]
    live.main()


if __name__ == "__main__":
    main()
