#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""perf bench numa mem: four threads that read and write one arena of huge pages and move between CPUs."""
import re

import programs

# One process, 512 MiB touched first by CPU 0 and shared by all threads, both ways, read and written, with a
# perturbation: every three seconds thread 0 is sent elsewhere.
COMMAND = ["perf", "bench", "numa", "mem", "--nr_proc", "1", "--nr_threads", "4", "--mb_proc", "512", "--thp", "1",
           "--init_zero", "--init_cpu0", "--data_reads", "--data_writes", "--data_backwards", "--perturb_secs", "3",
           "--quiet", "--nr_secs"]
LEAST_HUGE_MIB = 400
SECONDS = {"default": "10", "always": "4"}


def processed_gb(run):
    m = re.search(r"([\d.]+) GB data processed, total", run.stdout)
    return float(m.group(1)) if m else 0.0


def main():
    programs.need_program("perf")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()

    bare = programs.Run(COMMAND + ["4"], managed=False).wait()
    if bare.status != 0:
        print(bare.stdout + bare.stderr)
        programs.skip("perf bench numa mem does not work on this machine")
    tap.check("perf: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB), bare.huge_bytes)

    for policy, options in programs.POLICIES:
        name = f"perf, {policy}"
        run = programs.Run(COMMAND + [SECONDS[policy]], managed=True, options=options).wait()
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.check(f"{name}: data was processed", processed_gb(run) > 1.0, run.stdout)
        tap.check(f"{name}: no complaint", not re.search(r"error|abort|assert|signal", run.stdout, re.I), run.stdout)
        print(f"# {processed_gb(run) / run.seconds:.2f} GB/s managed, {processed_gb(bare) / bare.seconds:.2f} bare")
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("perf", programs.debian_version("linux-perf"), "perf bench numa mem", policy, run,
                   (processed_gb(bare) / bare.seconds) / max(processed_gb(run) / run.seconds, 0.001))
    tap.finish()


if __name__ == "__main__":
    main()
