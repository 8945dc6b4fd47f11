# SPDX-License-Identifier: MIT
"""Swap for the tests that need some."""
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


class Swap:
    """
    Swap for as long as this is open: the machine's, else a file of our own, which goes when this process ends, in whatever way
    (swap_guard). `missing`: why there is none.
    """

    MIB = 64

    def __init__(self, directory):
        self.guard = self.missing = None
        with open("/proc/swaps", encoding="ascii") as f:
            if len(f.readlines()) > 1:
                return
        if os.geteuid():
            self.missing = "no swap, and only root can make some"
            return
        # A session of its own: who ends this one by its group must not end what cleans up.
        self.guard = subprocess.Popen([os.path.join(HERE, "swap_guard"), directory, str(self.MIB)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        said = self.guard.stdout.readline().strip()
        if said != "ready":
            self.missing = f"no swap: {said or 'swap_guard failed'}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.guard:
            self.guard.stdin.close()
            self.guard.stdout.close()
            self.guard.wait()
