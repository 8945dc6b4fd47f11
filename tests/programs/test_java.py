#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""OpenJDK under each of its collectors, the heap in transparent huge pages; the same digests as bare.

Each collector runs once more with the virtual machine's own heap verification around every collection. Arguments name
the collectors to try.
"""
import os
import re
import subprocess
import sys
import tempfile

import programs

HEAP = ["-XX:+UseTransparentHugePages", "-XX:+AlwaysPreTouch", "-Xms384m", "-Xmx384m"]
VERIFY = ["-XX:+UnlockDiagnosticVMOptions", "-XX:+VerifyBeforeGC", "-XX:+VerifyAfterGC"]
THREADS, ROUNDS, ITEMS = "4", "8", "14000"
VERIFY_ROUNDS = "4"
LEAST_HUGE_MIB = 200

COLLECTORS = [("Serial", ["-XX:+UseSerialGC"]), ("Parallel", ["-XX:+UseParallelGC"]), ("G1", ["-XX:+UseG1GC"]),
              ("Shenandoah", ["-XX:+UseShenandoahGC"]), ("Z", ["-XX:+UseZGC"])]


def compiled(folder):
    subprocess.run(["javac", "-d", folder, os.path.join(programs.HERE, "HeapCheck.java")], check=True)


def run_java(folder, options, rounds, managed, hugenuma_options=()):
    command = ["java", *HEAP, *options, "-cp", folder, "HeapCheck", THREADS, rounds, ITEMS]
    return programs.Run(command, managed, options=hugenuma_options).wait(600)


def java_version():
    done = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True)
    m = re.search(r'version "([^"]+)"', done.stderr)
    return m.group(1) if m else "-"


def has_collector(options):
    return subprocess.run(["java", *options, "-version"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


def check_collector(tap, folder, name, options, test, rounds, policies):
    bare = run_java(folder, options, rounds, managed=False)
    what = f"java, {name}, {test}"
    tap.equal(f"{what}: bare run", (bare.status, len(bare.stdout.splitlines())), (0, int(THREADS) * int(rounds) + 1))
    for policy, hugenuma_options in policies:
        title = f"{what}, {policy}"
        run = run_java(folder, options, rounds, True, hugenuma_options)
        tap.equal(f"{title}: exit status", run.status, 0)
        tap.check(f"{title}: no error of the virtual machine", "fatal error" not in run.stdout + run.stderr, run.stdout)
        tap.equal(f"{title}: same digests as bare", run.stdout.splitlines(), bare.stdout.splitlines())
        if name == "Z":
            # Its heap is a shared mapping, which is left alone: only that nothing goes wrong can be seen.
            tap.check(f"{title}: its heap is shared memory, left alone", run.report is not None)
        else:
            programs.check_managed(tap, title, run, LEAST_HUGE_MIB)
        tap.record(f"OpenJDK, {name}", java_version(), test, policy, run, run.seconds / bare.seconds)


def main():
    programs.need_full()
    programs.need_program("java")
    programs.need_program("javac")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    with tempfile.TemporaryDirectory(prefix="hn-java-") as folder:
        compiled(folder)
        for name, options in [entry for entry in COLLECTORS if not sys.argv[1:] or entry[0] in sys.argv[1:]]:
            if not has_collector(options):
                tap.skip(f"java, {name}", "this java has no such collector")
                continue
            check_collector(tap, folder, name, options, "HeapCheck", ROUNDS, programs.POLICIES)
            if name != "Z":
                check_collector(tap, folder, name, [*options, *VERIFY], "HeapCheck, heap verified by the JVM",
                                VERIFY_ROUNDS, programs.POLICIES[1:])
    tap.finish()


if __name__ == "__main__":
    main()
