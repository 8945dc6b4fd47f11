#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""python3 with threads that digest, change and pass on big bytearrays; the same digests as bare."""
import os
import subprocess

import programs

NR_THREADS, MIB_EACH, ROUNDS = 4, 80, 8
LEAST_HUGE_MIB = 250
PYTHON = "/usr/bin/python3"
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
COMMAND = [PYTHON, os.path.join(programs.HERE, "digest_threads.py"), str(NR_THREADS), str(MIB_EACH), str(ROUNDS)]


def main():
    programs.need_program(PYTHON)
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()

    version = subprocess.run([PYTHON, "-V"], stdout=subprocess.PIPE, text=True).stdout.split()[1]
    bare = programs.Run(COMMAND, managed=False, env=ENVIRONMENT).wait()
    tap.equal("python3: bare run", (bare.status, bare.stderr), (0, ""))
    tap.check("python3: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB), bare.huge_bytes)

    tap.equal("python3: as many digests as expected", len(bare.stdout.splitlines()), NR_THREADS * ROUNDS)
    for policy, options in programs.POLICIES:
        name = f"python3, {policy}"
        run = programs.Run(COMMAND, managed=True, env=ENVIRONMENT, options=options).wait()
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.equal(f"{name}: same digests as bare", run.stdout.splitlines(), bare.stdout.splitlines())
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("python3", version, "digest_threads.py", policy, run, run.seconds / bare.seconds)
    tap.finish()


if __name__ == "__main__":
    main()
