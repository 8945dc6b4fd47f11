#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The ways to arm: what the kernel has is what is offered, said and used; and what the two cost, in counts."""
import ctypes
import fcntl
import os
import re
import struct
import subprocess

import harness
from harness import Tap, check_ended_well, check_nodes, check_whole, run

SYS_USERFAULTFD, UFFDIO_API, UFFD_API = 323, 0xc018aa3f, 0xaa
FEATURE_RWP = 1 << 17
PAGES = 12
PARTS = [f"1:{PAGES}:0", f"2:{PAGES}:0"]
SETTLE_SECONDS = 90
WATCH_SECONDS = 15


def kernel_has_rwp():
    fd = ctypes.CDLL(None).syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
    api = fcntl.ioctl(fd, UFFDIO_API, struct.pack("QQQ", UFFD_API, 0, 0))
    os.close(fd)
    return bool(struct.unpack("QQQ", api)[1] & FEATURE_RWP)


def check_said(tap, doctor, way):
    line = next((line for line in doctor.splitlines() if re.match(r"ok +arming ", line)), "")
    tap.check(re.match(rf"ok +arming +{way}: ", line), f"doctor names {way}", doctor)


def check_refused(tap):
    done = subprocess.run([harness.HUGENUMA, "run", "--arm", "rwp", "--", "echo", "started"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    tap.check((done.returncode, done.stdout) == (125, "") and "Linux 7.3 or later" in done.stderr,
              "--arm rwp is not offered here: refused, with the reason", done)


def check_facts(tap):
    """What the protocol rests on; a program prints it, a line each."""
    done = subprocess.run([os.path.join(harness.BUILD, "tests", "vm", "vm-rwp-facts")], stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        fact = re.match(r"(not )?ok \d+ - (.*)", line)
        if fact:
            tap.check(not fact.group(1), f"the kernel: {fact.group(2)}")
    tap.check(done.returncode == 0 and re.search(r"^1\.\.\d+$", done.stdout, re.M), "the kernel: all was asked", done)


def check_way(tap, options, way):
    name = " ".join(options) or "by itself"
    worker = run(PARTS, SETTLE_SECONDS, options, until_local=True)
    if not check_ended_well(tap, worker, name):
        return
    tap.check(worker.process()["arm"] == way, f"{name}: {way} is at work, says the report", worker.process()["arm"])
    check_nodes(tap, worker, [1, 2], name)
    check_whole(tap, worker, name)


def costs(way):
    """Faults on pages that stay: no migration, so this is arming, faults and put-backs alone."""
    worker = run(PARTS, WATCH_SECONDS, ["--arm", way, "--policy", "observe"])
    p = worker.process()
    return p["samples_count"], p["fault_service"]["p50_ns"] / 1000, p["agent"]["cpu_ns"] / max(p["samples_count"], 1) / 1000


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    doctor = harness.require_managed(tap)
    if not kernel_has_rwp():
        check_said(tap, doctor, "move")
        check_refused(tap)
        check_way(tap, [], "move")
        tap.finish()
    check_said(tap, doctor, "rwp")
    check_facts(tap)
    check_way(tap, [], "rwp")
    check_way(tap, ["--arm", "move"], "move")
    seen = {way: costs(way) for way in ("move", "rwp")}
    for way, (samples, service, cpu) in seen.items():
        tap.note(f"{way}: {samples} samples, p50 {service:.0f} us of emulated time a fault, agent {cpu:.0f} us CPU a sample")
    tap.note("rwp / move: fault {:.2f}, CPU {:.2f}".format(*(r / m for r, m in zip(seen["rwp"][1:], seen["move"][1:]))))
    tap.check(all(samples > 0 for samples, _, _ in seen.values()), "both ways see the accesses", seen)
    tap.finish()


if __name__ == "__main__":
    main()
