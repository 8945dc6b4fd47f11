#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What bench/head-to-head/run runs in the guest: each program in each mode, in turn; a JSON line for each run.

    inside.py --rounds N [--programs NAME,...] [--modes NAME,...]
"""
import argparse
import ctypes
import json
import os
import sys
import time

import programs

BALANCING = "/proc/sys/kernel/numa_balancing"
TUNABLES = "/sys/kernel/debug/sched/numa_balancing"
DEFAULT_SCAN = {"scan_delay_ms": 1000, "scan_period_min_ms": 1000, "scan_period_max_ms": 60000, "scan_size_mb": 256}
FAST_MS = 100
FAST_SCAN = {"scan_delay_ms": FAST_MS, "scan_period_min_ms": FAST_MS, "scan_period_max_ms": 10 * FAST_MS,
             "scan_size_mb": 256}
SYS_SET_MEMPOLICY, MPOL_LOCAL = 238, 4


class Mode:
    def __init__(self, name, scan=None, managed=None, once=False):
        """scan: the kernel balances, like this; managed: options of `hugenuma run`; once: in the first round only."""
        self.name, self.scan, self.managed, self.once = name, scan, managed, once

    def set(self):
        for name, value in (self.scan or DEFAULT_SCAN).items():
            programs.write(f"{TUNABLES}/{name}", value)
        programs.write(BALANCING, int(self.scan is not None))


MODES = (
    Mode("bare", once=True),
    Mode("kernel", scan=DEFAULT_SCAN),
    Mode("kernel-fast", scan=FAST_SCAN),
    Mode("hugenuma", managed=[]),
    Mode("hugenuma-fast", managed=["--period-ms", str(FAST_MS), "--start-now"]),
    Mode("hugenuma-threads", managed=["--move-threads"]),
    Mode("hugenuma-threads-fast", managed=["--move-threads", "--period-ms", str(FAST_MS), "--start-now"]),
)


def stand_aside():
    """What measures comes first, and its own memory is nothing for the kernel to balance."""
    os.nice(-10)
    ctypes.CDLL(None).syscall(SYS_SET_MEMPOLICY, MPOL_LOCAL, None, 0)


def choose(things, names, what):
    unknown = set(names) - {t.name for t in things}
    if unknown:
        sys.exit(f"no {what} {', '.join(sorted(unknown))}; there are {', '.join(t.name for t in things)}")
    return [t for t in things if not names or t.name in names]


def words(text):
    return [w for w in text.split(",") if w]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=words, default=[])
    parser.add_argument("--modes", type=words, default=[])
    args = parser.parse_args()
    modes = choose(MODES, args.modes, "mode")
    chosen = choose(programs.PROGRAMS, args.programs, "program")
    stand_aside()
    for n in range(args.rounds):
        for program in chosen:
            # Who comes first takes turns.
            for mode in modes[n % len(modes):] + modes[:n % len(modes)]:
                if mode.once and n > 0:
                    continue
                mode.set()
                start = time.monotonic()
                record = program.run(mode, n)
                record.update({"bench": "head-to-head", "program": program.name, "mode": mode.name, "round": n + 1})
                print(json.dumps(record, separators=(",", ":")), flush=True)
                print(f"round {n + 1}, {program.name}, {mode.name}: {time.monotonic() - start:.0f} s of the guest's time",
                      file=sys.stderr, flush=True)
    MODES[0].set()


if __name__ == "__main__":
    main()
