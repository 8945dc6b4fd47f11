#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What needs settings of the whole machine: KSM and khugepaged at work, control groups of version 2, swap where there is any.

The tests are those of tests/live; here the guest is made so that they need not be skipped.
"""
import sys

import harness
import live

NAMES = ("pressure: pages merged", "pressure: pages collapsed by khugepaged", "pressure: pages swapped", "memory limit")


def main():
    harness.write("/sys/kernel/mm/ksm/pages_to_scan", 20000)
    harness.write("/sys/kernel/mm/ksm/run", 1)
    harness.write("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", 100000)
    harness.write("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", 1000)
    try:
        harness.write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
    except OSError:
        pass  # the test says that there is none
    sys.argv[1:] = [word for name in NAMES for word in ("--only", name)]
    live.main()


if __name__ == "__main__":
    main()
