#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stress-ng --vm: two processes that map, fill, verify and unmap memory by some twenty methods, in huge pages."""
import re

import programs

COMMAND = ["stress-ng", "--vm", "2", "--vm-bytes", "256M", "--vm-method", "all", "--verify", "--vm-madvise", "hugepage",
           "--metrics", "--timeout"]
LEAST_HUGE_MIB = 200
SECONDS = {"default": 30, "always": 10}


def bogo_ops(run):
    m = re.search(r"metrc:.*\bvm\s+(\d+)\s", run.stdout + run.stderr)
    return int(m.group(1)) if m else 0


# The long form: what allocates, grows, moves, advises and forks, side by side, made huge from outside.
MORE = ["stress-ng", "--malloc", "1", "--malloc-bytes", "128M", "--mremap", "1", "--mremap-bytes", "64M", "--mmap", "1",
        "--mmap-bytes", "64M", "--fork", "1", "--madvise", "1", "--brk", "1", "--qsort", "1",
        "--matrix", "1", "--verify", "--metrics", "--timeout"]


def check_more(tap):
    for policy, options in programs.POLICIES:
        name = f"stress-ng, eight stressors, {policy}"
        run = programs.Run([*MORE, "10s"], True, env=programs.GLIBC_HUGE, options=options, collapse=True).wait()
        output = run.stdout + run.stderr
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.check(f"{name}: no complaint", "successful run completed" in output and
                  not re.search(r"stress-ng: fail|unsuccessful|terminated by", output), output)
        programs.check_managed(tap, name, run, 20)
        tap.record("stress-ng", programs.debian_version("stress-ng"),
                   "--malloc --mremap --mmap --fork --madvise --brk --qsort --matrix, --verify", policy, run)


def main():
    programs.need_program("stress-ng")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()

    bare = programs.Run(COMMAND + ["4s"], managed=False).wait()
    if bare.status != 0:
        print(bare.stdout + bare.stderr)
        programs.skip("stress-ng --vm does not work on this machine")
    tap.check("stress-ng: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB), bare.huge_bytes)

    for policy, options in programs.POLICIES:
        name = f"stress-ng, {policy}"
        run = programs.Run(COMMAND + [f"{SECONDS[policy]}s"], managed=True, options=options).wait()
        output = run.stdout + run.stderr
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.check(f"{name}: all memory verified", "successful run completed" in output and
                  not re.search(r"stress-ng: fail|bit errors? detected|unsuccessful|terminated by", output), output)
        tap.check(f"{name}: it did something", bogo_ops(run) > 0, output)
        print(f"# {bogo_ops(run) / run.seconds:.0f} operations/s managed, {bogo_ops(bare) / bare.seconds:.0f} bare")
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("stress-ng", programs.debian_version("stress-ng"), "--vm, all methods, --verify", policy, run,
                   (bogo_ops(bare) / bare.seconds) / max(bogo_ops(run) / run.seconds, 0.001))
    if programs.FULL:
        check_more(tap)
    tap.finish()


if __name__ == "__main__":
    main()
