# SPDX-License-Identifier: MIT
"""How fast this machine's time stamp counter runs.

An emulated processor has the counter of the real one. A guest measures it against emulated timers while it boots, and on a
busy machine comes to wrong results: its seconds then are a fraction of ours. So it is told.
"""
import ctypes
import mmap
import platform
import time

# rdtsc; shl $32, %rdx; or %rdx, %rax; ret
CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
SECONDS = 0.2
TRIES = 50


def read_both(counter):
    """(ns of the clock, counter), of many the pair that was read with the least between."""
    best = None
    for _ in range(TRIES):
        before, ticks, after = time.monotonic_ns(), counter(), time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, (before + after) // 2, ticks)
    return best[1:]


def khz():
    """None: unknown."""
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None  # some policy is against it
    page.write(CODE)
    counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    start_ns, start = read_both(counter)
    time.sleep(SECONDS)
    end_ns, end = read_both(counter)
    return round((end - start) * 1000000 / (end_ns - start_ns))
