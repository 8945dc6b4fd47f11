#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""node.js with worker threads, buffers, objects, zlib and files; the same digests as bare.

The engine does not ask for huge pages: they are made from outside, in its own heap, too.
"""
import os
import subprocess
import tempfile

import programs

NR_THREADS, MIB_EACH, ROUNDS = "4", "48", "8"
LEAST_HUGE_MIB = 150


def run_node(managed, options=()):
    with tempfile.TemporaryDirectory(prefix="hn-node-") as folder:
        return programs.Run(["node", os.path.join(programs.HERE, "digest_workers.js"), NR_THREADS, MIB_EACH, ROUNDS,
                             folder], managed, env=programs.GLIBC_HUGE, options=options, collapse=True).wait(600)


def main():
    programs.need_full()
    programs.need_program("node")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    version = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True).stdout.strip().lstrip("v")

    bare = run_node(managed=False)
    tap.equal("node: bare run", (bare.status, bare.stderr, len(bare.stdout.splitlines())),
              (0, "", int(NR_THREADS) * int(ROUNDS)))
    for policy, options in programs.POLICIES:
        name = f"node, {policy}"
        run = run_node(True, options)
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.equal(f"{name}: same digests as bare", run.stdout.splitlines(), bare.stdout.splitlines())
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("node.js", version, "digest_workers.js", policy, run, run.seconds / bare.seconds)
    tap.finish()


if __name__ == "__main__":
    main()
