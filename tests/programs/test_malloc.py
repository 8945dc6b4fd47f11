#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Four allocators under a program that verifies every block, and (long form) under sqlite3: the same output as bare."""
import os

import programs
import test_sqlite

CHECK = os.path.join(programs.BUILD, "tests", "programs", "alloc-check")
# Threads, MiB and operations per round.
THREADS, MIB, OPERATIONS = ("4", "320", "4000") if programs.FULL else ("4", "200", "2000")
LEAST_HUGE_MIB = 80
FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]

# Name, Debian package, library to preload, environment that makes it use huge pages, or "collapse".
ALLOCATORS = [
    ("glibc malloc", "libc6", None, programs.GLIBC_HUGE),
    ("jemalloc", "libjemalloc2", "libjemalloc.so.2", {"MALLOC_CONF": "thp:always,dirty_decay_ms:3000"}),
    ("mimalloc", "libmimalloc2.0", "libmimalloc.so.2", {"MIMALLOC_LARGE_OS_PAGES": "1"}),
    ("tcmalloc", "libtcmalloc-minimal4", "libtcmalloc_minimal.so.4", "collapse"),
]


def preload_path(library):
    return next((path for path in (os.path.join(folder, library) for folder in FOLDERS) if os.path.exists(path)), None)


def arguments(library, huge):
    env = {} if huge == "collapse" else dict(huge)
    if library:
        env["LD_PRELOAD"] = preload_path(library)
    return {"env": env, "collapse": huge == "collapse"}


def run_check(allocator, managed, options=()):
    # What is made huge from outside is so later: it takes more rounds until pages are there and have moved.
    rounds = "12" if allocator[3] == "collapse" else "6" if programs.FULL else "4"
    return programs.Run([CHECK, THREADS, MIB, rounds, OPERATIONS], managed, options=options,
                        **arguments(*allocator[2:])).wait(600)


def run_sqlite(allocator, managed, options=()):
    with test_sqlite.script_file() as script:
        return programs.Run(["sqlite3", ":memory:"], managed, stdin=script, options=options,
                            **arguments(*allocator[2:])).wait()


def compare(tap, what, test, runner, allocator, bare, policies=tuple(programs.POLICIES)):
    name, package = allocator[:2]
    tap.check(f"{what}: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB),
              bare.huge_bytes >> 20)
    for policy, options in policies:
        title = f"{what}, {policy}"
        run = runner(allocator, True, options)
        tap.equal(f"{title}: exit status", run.status, 0)
        tap.equal(f"{title}: same output as bare", run.stdout.splitlines(), bare.stdout.splitlines())
        programs.check_managed(tap, title, run, LEAST_HUGE_MIB)
        tap.record(name, programs.debian_version(package), test, policy, run, run.seconds / bare.seconds)


def check_allocator(tap, allocator):
    name, _, library = allocator[:3]
    if library and not preload_path(library):
        tap.skip(name, f"{library} is not installed")
        return
    bare = run_check(allocator, managed=False)
    tap.equal(f"{name}: bare run", (bare.status, bare.stderr, bare.stdout[-20:]), (0, "", "all blocks verified\n"))
    compare(tap, name, "alloc-check", run_check, allocator, bare)
    if programs.FULL and programs.which("sqlite3"):
        bare = run_sqlite(allocator, managed=False)
        tap.equal(f"sqlite3 with {name}: bare run", bare.status, 0)
        compare(tap, f"sqlite3 with {name}", "sqlite3 in memory", run_sqlite, allocator, bare,
                programs.POLICIES[1:])


def main():
    programs.need_program(CHECK)
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    for allocator in ALLOCATORS:
        check_allocator(tap, allocator)
    tap.finish()


if __name__ == "__main__":
    main()
